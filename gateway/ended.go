package gateway

import (
	"context"
	"errors"
	"net/http"
)

// errEnded is the cause of contexts that end with a principal.
var errEnded = errors.New("the principal no longer stands")

// untilEnded is ctx that also ends when ended is closed, as a principal's Ended is
// once it no longer stands; nil never is. The cause is then errEnded. cancel is
// due in any case.
func untilEnded(ctx context.Context, ended <-chan struct{}) (_ context.Context, cancel context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	if ended != nil {
		go func() {
			select {
			case <-ended:
				end(errEnded)
			case <-ctx.Done():
			}
		}()
	}
	return ctx, func() { end(nil) }
}

// Challenge is implemented by errors of a Verifier that know how the request is
// to be answered: with 400 what is malformed, else with 401, and with which
// WWW-Authenticate (RFC 6750 3, RFC 9728 5.1).
type Challenge interface {
	error
	Challenge() (status int, wwwAuthenticate string)
}

// unverified answers a request whose sender is not known, whatever it asks for.
func (g *Gateway) unverified(w http.ResponseWriter, r *http.Request, err error) {
	status, challenge, text := http.StatusUnauthorized, `Bearer scope="mcp"`, "a bearer token is needed"
	if c, ok := errors.AsType[Challenge](err); ok {
		code, header := c.Challenge()
		challenge = header
		if code == http.StatusBadRequest {
			status, text = code, "the bearer token must be sent once, in the Authorization header"
		}
	}
	g.unknownSender(r, failureKind(r, status))
	w.Header().Set("WWW-Authenticate", challenge)
	plain(w, status, text)
}
