package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/store"
)

// serveAuthorize is the authorization endpoint (RFC 6749 3.1). A request whose
// client or redirect URI can't be trusted ends on an error page; any other
// refusal goes back to the client, of a stranger's site not without the person
// (refuseEarly); what is left goes to consent.
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	noStore(w.Header())
	query, oerr := s.authorizeParameters(w, r)
	if query == nil {
		s.errorPage(w, r, oerr)
		return
	}
	base := s.base(r)
	query, perr := s.pushed(r.Context(), query)
	if perr != nil {
		s.errorPage(w, r, perr)
		return
	}
	a, redirected, err := s.checkAuthorization(r.Context(), query, base)
	switch {
	case err != nil:
		s.errorPage(w, r, s.oauthError(r.Context(), err))
		return
	case oerr != nil && redirected == nil:
		redirected = oerr
	}
	if redirected == nil && slices.Contains(a.Prompt, "none") {
		if u, _ := s.signedIn(r); u == nil {
			redirected = refuse("login_required", "nobody is signed in")
		}
	}
	if redirected != nil {
		s.refuseEarly(w, r, a, redirected)
		return
	}
	sealed, err := s.sealAuthorization(a)
	if err != nil {
		s.errorPage(w, r, s.oauthError(r.Context(), err))
		return
	}
	http.Redirect(w, r, "/consent?"+url.Values{"request": {sealed}}.Encode(), http.StatusSeeOther)
}

// authorizeParameters reads the query of a GET or the form of a POST, never
// both. With parameters and an error, the error may go to the client.
func (s *Server) authorizeParameters(w http.ResponseWriter, r *http.Request) (url.Values, *oauthError) {
	var v url.Values
	var oerr *oauthError
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if len(r.URL.RawQuery) > maxQuery {
			return nil, refuse("invalid_request", "the request is too long; use a pushed authorization request")
		}
		v, oerr = parseParameters(r.URL.RawQuery)
	case http.MethodPost:
		v, oerr = s.form(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		return nil, &oauthError{status: http.StatusMethodNotAllowed, code: "invalid_request", description: "use GET or POST"}
	}
	if v != nil && (len(v["client_id"]) > 1 || len(v["redirect_uri"]) > 1) {
		return nil, oerr // which client, which redirect: nobody can say
	}
	return v, oerr
}

// checkAuthorization checks query against the client as it is now. An error:
// no answer may go to a redirect URI. An oauthError: it may, a says where.
func (s *Server) checkAuthorization(ctx context.Context, query url.Values, base string) (*authorization, *oauthError, error) {
	id := query.Get("client_id")
	if id == "" {
		return nil, nil, refuse("invalid_request", "client_id is missing")
	}
	c, err := s.client(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, refuse("invalid_client", "no program is registered under this client_id; it must register again")
	} else if err != nil {
		return nil, nil, err
	}
	a := &authorization{Query: query, Client: c, State: query.Get("state"), Base: base, MaxAge: -1}
	if a.RedirectURI, err = redirectURI(c, query.Get("redirect_uri")); err != nil {
		return nil, nil, err
	}
	if s.Loopback && client.Loopback(a.RedirectURI) && ownPage(a.RedirectURI) {
		return nil, nil, refuse("invalid_request", "redirect_uri has the path of one of this gateway's own pages; register another path")
	}
	a.RedirectHost = client.RedirectHost(a.RedirectURI)
	return a, s.checkAsked(ctx, a), nil
}

// redirectURI is where answers go. RFC 6749 3.1.2.3: it may be left out when
// exactly one is registered.
func redirectURI(c *store.Client, asked string) (string, error) {
	if asked == "" {
		if len(c.RedirectURIs) == 1 {
			return c.RedirectURIs[0], nil
		}
		return "", refuse("invalid_request", "redirect_uri is missing")
	}
	if !client.MatchRedirect(c, asked) {
		return "", refuse("invalid_request", "redirect_uri is not one that the program registered")
	}
	return asked, nil
}

// checkAsked checks everything that may be answered by redirect.
func (s *Server) checkAsked(ctx context.Context, a *authorization) *oauthError {
	q := a.Query
	switch {
	case q.Has("request"):
		return refuse("request_not_supported", "request objects are not supported")
	case q.Has("request_uri"):
		return refuse("request_uri_not_supported", "use a request_uri of the pushed authorization request endpoint")
	case q.Has("registration"):
		return refuse("registration_not_supported", "register at the registration endpoint")
	case !slices.Contains(a.Client.GrantTypes, grantCode):
		return errUnauthorize
	}
	// RFC 9700 2.1.1, OAuth 2.1 7.6: PKCE is required of everyone, S256 alone.
	// Said before anybody is asked to sign in.
	if !challenge(q.Get("code_challenge")) {
		return refuse("invalid_request", "code_challenge is missing or malformed (RFC 7636)")
	}
	if q.Get("code_challenge_method") != "S256" {
		return refuse("invalid_request", "use code_challenge_method=S256")
	}
	resource, oerr := s.oneResource(q["resource"])
	if oerr != nil {
		return oerr
	}
	if a.Resource = resource; resource == "" {
		a.Resource = s.Issuer + mergedPath
	}
	if a.Prompt, oerr = prompts(q.Get("prompt")); oerr != nil {
		return oerr
	}
	if asked := q.Get("max_age"); asked != "" {
		seconds, err := strconv.ParseUint(asked, 10, 31)
		if err != nil {
			return refuse("invalid_request", "max_age is a number of seconds")
		}
		a.MaxAge = time.Duration(seconds) * time.Second
	}
	if a.Scopes, oerr = s.askedScopes(q.Get("scope")); oerr != nil {
		return oerr
	}
	_, err := s.engineAuthorize(ctx, a)
	if err != nil {
		return s.oauthError(ctx, err)
	}
	return nil
}

// askedScopes are the scopes that will be granted: what was asked, and always
// mcp, without which a token opens nothing (RFC 6749 3.3: the answer says so).
func (s *Server) askedScopes(asked string) ([]string, *oauthError) {
	scopes := append(strings.Fields(asked), scopeMCP)
	if len(scopes) > maxScopes {
		return nil, errScope
	}
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	known := s.scopes()
	for _, scope := range scopes {
		if !slices.Contains(known, scope) {
			return nil, errScope
		}
	}
	return scopes, nil
}

// prompts reads the prompt parameter (OpenID Connect Core 3.1.2.1).
func prompts(asked string) ([]string, *oauthError) {
	words := strings.Fields(asked)
	for _, word := range words {
		switch word {
		case "none", "login", "consent", "select_account":
		default:
			return nil, refuse("invalid_request", "prompt has an unknown value")
		}
	}
	if len(words) > 1 && slices.Contains(words, "none") {
		return nil, refuse("invalid_request", "prompt=none stands alone")
	}
	return words, nil
}

// challenge says whether c is an S256 challenge: 43 characters of base64url
// (RFC 7636 4.2).
func challenge(c string) bool {
	return len(c) == 43 && strings.IndexFunc(c, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// redirect sends the browser back to the client. RFC 9207 2: iss is in every
// answer, errors included, and is the issuer that the client's metadata named.
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, a *authorization, answer url.Values) {
	noStore(w.Header())
	w.Header().Set("Referrer-Policy", "no-referrer") // the code must not leak from the target (RFC 9700 4.2.4)
	w.Header().Set("Location", a.answerURL(answer))
	w.WriteHeader(http.StatusSeeOther) // RFC 9700 4.12: never 307, which would repeat a password form
}

// answerURL is the redirect URI with an answer.
func (a *authorization) answerURL(answer url.Values) string {
	answer.Set("iss", a.Base)
	if a.State != "" {
		answer.Set("state", a.State)
	}
	// The registered query is kept (RFC 6749 3.1.2).
	separator := "?"
	if strings.Contains(a.RedirectURI, "?") {
		separator = "&"
	}
	return a.RedirectURI + separator + answer.Encode()
}

func (s *Server) redirectError(w http.ResponseWriter, r *http.Request, a *authorization, e *oauthError) {
	s.redirect(w, r, a, e.answer())
}

// answer is e as an authorization response (RFC 6749 4.1.2.1).
func (e *oauthError) answer() url.Values {
	return url.Values{"error": {e.code}, "error_description": {e.description}}
}

// errorPage tells the person what can't be told to the client.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, e *oauthError) {
	s.showError(w, r, e.status, e.description)
}

// engineAuthorize lets the flow engine check what the shell let through.
func (s *Server) engineAuthorize(ctx context.Context, a *authorization) (fosite.AuthorizeRequester, error) {
	q := url.Values{
		"client_id":             {a.Client.ID},
		"redirect_uri":          {a.RedirectURI},
		"response_type":         {a.Query.Get("response_type")},
		"scope":                 {strings.Join(a.Scopes, " ")},
		"audience":              {a.Resource},
		"code_challenge":        {a.Query.Get("code_challenge")},
		"code_challenge_method": {a.Query.Get("code_challenge_method")},
		// The engine insists on a long one; the client's own, or none, is the
		// shell's to answer with.
		"state": {"is-answered-by-the-shell"},
	}
	if mode := a.Query.Get("response_mode"); mode != "" {
		q.Set("response_mode", mode)
	}
	ctx = withFlow(ctx, &flow{server: s, client: s.view(a.Client, a.RedirectURI, a.Resource, a.Scopes)})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/oauth/authorize?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	return s.engine.NewAuthorizeRequest(ctx, r)
}
