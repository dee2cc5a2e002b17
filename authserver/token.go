package authserver

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ostiary/ostiary/store"
)

const (
	tokenAccess  = "access"
	tokenRefresh = "refresh"
)

// tokenRequest is a request at the token endpoint whose client has
// authenticated and whose grant type it may use.
type tokenRequest struct {
	Form     url.Values
	Client   *store.Client
	Resource string // canonical; "" = none was sent
	Base     string // the issuer under the name that was used
	Source   string // address of the client
}

// tokenAnswer is what a grant gives.
type tokenAnswer struct {
	Access   string
	Refresh  string // "" = none
	Scopes   []string
	Lifetime time.Duration
}

// grantFunc serves one grant type. Its error is an *oauthError, or one that
// Server.oauthError can map.
type grantFunc func(ctx context.Context, t *tokenRequest) (*tokenAnswer, error)

// serveToken is the token endpoint (RFC 6749 3.2).
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	form, oerr := s.form(w, r)
	if oerr != nil {
		writeError(w, oerr)
		return
	}
	answer, err := s.token(r, form)
	if err != nil {
		writeError(w, s.oauthError(r.Context(), err))
		return
	}
	noStore(w.Header())
	writeJSON(w, http.StatusOK, struct {
		Access  string `json:"access_token"`
		Type    string `json:"token_type"`
		Expires int64  `json:"expires_in"`
		Refresh string `json:"refresh_token,omitempty"`
		Scope   string `json:"scope"`
	}{answer.Access, "Bearer", int64(answer.Lifetime / time.Second), answer.Refresh, strings.Join(answer.Scopes, " ")})
}

func (s *Server) token(r *http.Request, form url.Values) (*tokenAnswer, error) {
	kind := form.Get("grant_type")
	if kind == "" {
		return nil, refuse("invalid_request", "grant_type is missing")
	}
	serve, ok := s.grants[kind]
	if !ok {
		return nil, descriptions["unsupported_grant_type"]
	}
	c, oerr := s.authenticate(r, form)
	if oerr != nil {
		return nil, oerr
	}
	if !slices.Contains(c.GrantTypes, kind) {
		return nil, errUnauthorize
	}
	resource, oerr := s.oneResource(form["resource"])
	if oerr != nil {
		return nil, oerr
	}
	// Nothing is issued that can't be recorded. Asked before anything is spent,
	// so that a full log costs nobody the sign-in.
	if err := s.Audit.Err(); err != nil {
		return nil, err
	}
	return serve(r.Context(), &tokenRequest{form, c, resource, s.base(r), s.source(r)})
}

// engineGrant serves the code and refresh grants.
func (s *Server) engineGrant(ctx context.Context, t *tokenRequest) (*tokenAnswer, error) {
	f := &flow{server: s, client: s.view(t.Client, "", "", nil), verifier: t.Form.Get("code_verifier")}
	if code := t.Form.Get("code"); code != "" {
		hash := hashToken(code)
		f.raced = s.races.enter(hash)
		defer s.races.leave(hash)
	}
	ctx = withFlow(ctx, f)
	r, err := engineRequest(ctx, t.Form)
	if err != nil {
		return nil, err
	}
	request, err := s.engine.NewAccessRequest(ctx, r, session{})
	if err != nil {
		return nil, err
	}
	if err := s.checkRedemption(ctx, t, f); err != nil {
		return nil, err
	}
	response, err := s.engine.NewAccessResponse(ctx, request)
	if err != nil {
		return nil, err
	}
	event := eventIssued
	if t.Form.Get("grant_type") == grantRefresh {
		event = eventRefreshed
	}
	if err := s.issued(ctx, f.grant, f.tokens, event, t.Source); err != nil {
		return nil, err
	}
	s.used(ctx, t.Client.ID)
	if f.code != nil {
		time.Sleep(raceSettle)
	}
	refresh, _ := response.GetExtra("refresh_token").(string)
	return &tokenAnswer{response.GetAccessToken(), refresh, f.scopes, f.tokens[0].Expires.Sub(f.tokens[0].Issued)}, nil
}

// checkRedemption checks what the engine does not know about, before anything
// is spent.
func (s *Server) checkRedemption(ctx context.Context, t *tokenRequest, f *flow) error {
	// RFC 8707 2.2: a resource at the token endpoint is one of those granted.
	if t.Resource != "" && t.Resource != f.grant.Resource {
		return errTarget
	}
	u, err := s.Store.User(ctx, f.grant.User)
	if err != nil {
		return err // one who is gone: invalid_grant
	}
	if u.Disabled {
		return errGrant
	}
	if t.Form.Get("grant_type") != grantRefresh {
		return nil
	}
	// RFC 6749 6: the scope MUST NOT include any that was not granted.
	if asked := strings.Fields(t.Form.Get("scope")); len(asked) > 0 {
		for _, scope := range asked {
			if !slices.Contains(f.grant.Scopes, scope) {
				return errScope
			}
		}
		asked = append(asked, scopeMCP)
		slices.Sort(asked)
		f.scopes = slices.Compact(asked)
	}
	return s.stillKnown(ctx, u)
}

// engineRequest is a token request as the engine reads one.
func engineRequest(ctx context.Context, form url.Values) (*http.Request, error) {
	own := url.Values{}
	for _, name := range []string{"grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "client_id"} {
		if form.Has(name) {
			own.Set(name, form.Get(name))
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/oauth/token", strings.NewReader(own.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r, err
}

// accessEnd is when an access token made now ends: never after its grant.
func (s *Server) accessEnd(g *store.Grant, ttl time.Duration) time.Time {
	end := s.Now().Add(ttl)
	if !g.Expires.IsZero() && g.Expires.Before(end) {
		return g.Expires
	}
	return end
}
