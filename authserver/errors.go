package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/ory/fosite"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// oauthError is an error in the words of RFC 6749 5.2 and its extensions. The
// description is for the client's developer and never repeats what was sent.
type oauthError struct {
	status      int // 0 = 400
	code        string
	description string
	basic       bool // the client tried HTTP Basic: the answer names the scheme
	retry       int  // seconds, of a 503; 0 = not said
}

func (e *oauthError) Error() string { return e.code + ": " + e.description }

func refuse(code, description string) *oauthError {
	return &oauthError{code: code, description: description}
}

func invalidClient() *oauthError {
	// One text for an unknown client and a wrong secret: neither can be told
	// from the other. RFC 6749 5.2: 401 makes clients register again.
	return &oauthError{status: http.StatusUnauthorized, code: "invalid_client", description: "the client is unknown or did not authenticate; register again"}
}

var (
	errMalformed   = refuse("invalid_request", "the request is malformed")
	errBusy        = &oauthError{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", description: "try again later", retry: 5}
	errDocument    = &oauthError{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", description: "what the program publishes about itself, at the address that is its client id, can't be read from here; the operator's log says why", retry: 60}
	errGrant       = refuse("invalid_grant", "the code or token is invalid, expired, used or revoked")
	errScope       = refuse("invalid_scope", "a scope is unknown or was not granted")
	errTarget      = refuse("invalid_target", "the resource is not one of this server, or not the one that was granted")
	errUnauthorize = refuse("unauthorized_client", "the client may not use this grant type")
)

// descriptions are our texts for the errors that fosite makes. Its own are
// long, and quote the request.
var descriptions = map[string]*oauthError{
	"invalid_request":           errMalformed,
	"invalid_grant":             errGrant,
	"invalid_scope":             errScope,
	"unauthorized_client":       errUnauthorize,
	"invalid_client":            invalidClient(),
	"unsupported_response_type": refuse("unsupported_response_type", "use response_type=code"),
	"unsupported_response_mode": refuse("invalid_request", "use response_mode=query"),
	"unsupported_grant_type":    refuse("unsupported_grant_type", "the grant type is not supported"),
}

// oauthError says in OAuth's words what err is. What is not the client's doing
// is logged here, and answered as server_error or as temporarily_unavailable.
func (s *Server) oauthError(ctx context.Context, err error) *oauthError {
	var own *oauthError
	var rfc *fosite.RFC6749Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, store.ErrSpent), errors.Is(err, store.ErrRevoked), errors.Is(err, store.ErrNotFound):
		return errGrant
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrBroken), errors.Is(err, store.ErrClosed), errors.Is(err, audit.ErrUnavailable):
		s.Logger.LogAttrs(ctx, slog.LevelError, "sign-in can't be served", slog.Any("err", err))
		return errBusy
	case errors.Is(err, client.ErrUnavailable):
		return errDocument
	case errors.Is(err, login.ErrUnavailable), ctx.Err() != nil:
		return errBusy
	case errors.Is(err, login.ErrUnknownPerson):
		return errGrant
	case errors.As(err, &rfc):
		if e, ok := descriptions[rfc.ErrorField]; ok {
			return e
		}
	}
	// As text: fosite's errors carry their stack, which a JSON log would print.
	s.Logger.LogAttrs(ctx, slog.LevelError, "an authorization request failed", slog.String("err", err.Error()))
	return &oauthError{status: http.StatusInternalServerError, code: "server_error", description: "something went wrong here; the operator's log has it"}
}

// noStore keeps an answer that may hold a secret out of every cache
// (RFC 6749 5.1, RFC 9126 2.2, RFC 7009).
func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// writeError answers in the form of RFC 6749 5.2.
func writeError(w http.ResponseWriter, e *oauthError) {
	noStore(w.Header())
	status := e.status
	if status == 0 {
		status = http.StatusBadRequest
	}
	if e.basic && status == http.StatusUnauthorized {
		// RFC 6749 5.2: the scheme that the client used MUST be named.
		w.Header().Set("WWW-Authenticate", `Basic realm="ostiary"`)
	}
	if e.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.retry))
	}
	writeJSON(w, status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.code, e.description})
}
