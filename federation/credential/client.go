package credential

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"

	"github.com/ostiary/ostiary/catalogs"
)

// Limits of getting tokens.
const (
	tokenTime   = 15 * time.Second // for discovery and one token request
	renewBefore = 30 * time.Second // of its end, at most, a token is renewed
	renewShare  = 10               // of its life the last tenth, where that is less
	renewPause  = time.Second      // between two attempts to renew one that is still good
	// youngToken: a token that is refused at this age is not asked for again. A
	// new one would be refused too, and an upstream that refuses all must not
	// become traffic at the authorization server.
	youngToken = 10 * time.Second
)

// grant gets access tokens for one entry by client credentials (RFC 6749 4.4).
// They are kept in memory alone. It is safe for concurrent use: taking a token
// that is valid is one atomic load.
type grant struct {
	u      *catalogs.Upstream
	at     *url.URL // where tokens may go
	secret []string // what else must not come back
	server *http.Client
	home   *http.Client // to the upstream itself
	now    func() time.Time

	token  atomic.Pointer[token]
	mask   atomic.Pointer[Mask]
	tried  atomic.Int64 // to renew one that was still good; Unix nanoseconds
	flight singleflight.Group
	way    *way   // as found out; used in flight alone
	last   string // access token; in flight alone
}

// token is an access token. It is immutable.
type token struct {
	header       []string // Authorization; shared, never written to
	got          time.Time
	renew, until time.Time // zero = until it is refused
}

func (t *token) good(now time.Time) bool {
	return t != nil && (t.until.IsZero() || now.Before(t.until))
}

// due: it is good, and time for another one.
func (t *token) due(now time.Time) bool { return !t.renew.IsZero() && !now.Before(t.renew) }

func newGrant(u *catalogs.Upstream, secrets []string, client Outbound, now func() time.Time) (*grant, error) {
	at, err := destination(u)
	if err != nil {
		return nil, err
	}
	if client == nil {
		return nil, unsupported(u)
	}
	c := &u.Auth.Client
	g := &grant{u: u, at: at, now: now, secret: append(secrets, c.Secret.Reveal())}
	server := c.TokenURL
	if server == "" {
		server = c.Issuer
	}
	if g.server, err = client(u, server); err == nil {
		g.home, err = client(u, u.URL)
	}
	if err != nil {
		return nil, err
	}
	g.mask.Store(NewMask(g.secret...))
	return g, nil
}

// authorize puts a valid token into r, waiting for one if need be. One that is
// about to end is renewed meanwhile.
func (g *grant) authorize(r *http.Request) error {
	if !sameOrigin(r.URL, g.at) {
		return errElsewhere
	}
	now := g.now()
	t := g.token.Load()
	switch {
	case !t.good(now):
		var err error
		if t, err = g.wait(r.Context()); err != nil {
			return err
		}
	case t.due(now) && now.UnixNano()-g.tried.Swap(now.UnixNano()) >= int64(renewPause):
		g.flight.DoChan("", g.next(t)) // meanwhile the old one still works
	}
	r.Header["Authorization"] = t.header
	return nil
}

// renew is called for a 401 and says whether another token than r's can be had.
func (g *grant) renew(r *http.Request) bool {
	t := g.token.Load()
	if t == nil || t.header[0] != r.Header.Get("Authorization") {
		return true // another request found out first
	}
	if g.now().Sub(t.got) < youngToken {
		return false
	}
	g.token.CompareAndSwap(t, nil)
	return true
}

// wait gets a token together with all who need one now. The request for it
// outlives a caller who gives up.
func (g *grant) wait(ctx context.Context) (*token, error) {
	select {
	case done := <-g.flight.DoChan("", g.next(g.token.Load())):
		if done.Err != nil {
			return nil, done.Err
		}
		return done.Val.(*token), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// next replaces old, unless somebody already did.
func (g *grant) next(old *token) func() (any, error) {
	return func() (any, error) {
		if t := g.token.Load(); t != old && t.good(g.now()) {
			return t, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), tokenTime)
		defer cancel()
		t, err := g.fetch(ctx)
		if err != nil {
			g.way = nil // it may have changed
			return nil, fmt.Errorf("%w (auth in %s)", err, g.u.Source)
		}
		g.token.Store(t)
		return t, nil
	}
}

// fetch asks the authorization server for a token.
func (g *grant) fetch(ctx context.Context) (*token, error) {
	if g.way == nil {
		w, err := g.find(ctx)
		if err != nil {
			return nil, err
		}
		g.way = w
	}
	c := &g.u.Auth.Client
	// RFC 8707 2.2: the token is for this upstream and no other.
	params := url.Values{"resource": {g.way.resource}}
	config := clientcredentials.Config{
		ClientID: c.ID, ClientSecret: c.Secret.Reveal(), TokenURL: g.way.token, Scopes: g.way.scopes,
		EndpointParams: params, AuthStyle: oauth2.AuthStyleInHeader,
	}
	switch {
	case c.Key != "":
		assertion, err := g.assertion(g.way.audience)
		if err != nil {
			return nil, err
		}
		config.AuthStyle, config.ClientSecret = oauth2.AuthStyleInParams, ""
		params.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		params.Set("client_assertion", assertion)
	case c.How == catalogs.ClientPost:
		config.AuthStyle = oauth2.AuthStyleInParams
	}
	got, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, g.server))
	if err != nil {
		return nil, g.refusal(err)
	}
	if got.Type() != "Bearer" || !printable(got.AccessToken) {
		return nil, fmt.Errorf("the token endpoint at %s gave something else than a bearer token", hostOf(g.way.token))
	}
	// What is about to travel is masked first. The one before it may still be on
	// its way back.
	g.mask.Store(NewMask(append([]string{got.AccessToken, g.last}, g.secret...)...))
	g.last = got.AccessToken
	t := &token{header: []string{"Bearer " + got.AccessToken}, got: g.now()}
	if !got.Expiry.IsZero() {
		life := time.Until(got.Expiry)
		t.until = t.got.Add(life)
		t.renew = t.until.Add(-min(renewBefore, life/renewShare))
	}
	return t, nil
}

// printable: RFC 6750 2.1, b64token, and what servers take for it.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return s != ""
}

// refusal says what went wrong without the server's own words: they may repeat
// the secret.
func (g *grant) refusal(err error) error {
	where := hostOf(g.way.token)
	var said *oauth2.RetrieveError
	switch {
	case errors.As(err, &said) && said.Response != nil:
		text := fmt.Sprintf("the token endpoint at %s answered HTTP %d", where, said.Response.StatusCode)
		switch said.ErrorCode { // RFC 6749 5.2, RFC 8707 2
		case "invalid_client":
			text += " invalid_client: check clientId and its secret or key"
		case "invalid_scope":
			text += " invalid_scope: check scopes"
		case "invalid_target":
			text += " invalid_target: the client may have no tokens for " + hostOf(g.way.resource)
		case "unauthorized_client", "unsupported_grant_type":
			text += " " + said.ErrorCode + ": the client is not registered for the grant client_credentials"
		case "invalid_request", "invalid_grant":
			text += " " + said.ErrorCode
		}
		return errors.New(text)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the token endpoint at %s did not answer in time", where)
	}
	if cause, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("the token endpoint at %s can't be reached: %w", where, cause.Err)
	}
	return fmt.Errorf("the token endpoint at %s gave no usable answer", where)
}

func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "?"
	}
	return u.Host
}
