package authserver

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/ostiary/ostiary/authserver/identity"
)

// ChallengeError is why a request carries no valid token. It says how to answer.
type ChallengeError struct {
	status int
	header string
	reason string
}

func (e *ChallengeError) Error() string { return e.reason }

// Challenge is the status of the answer and its WWW-Authenticate header
// (RFC 6750 3, RFC 9728 5.1).
func (e *ChallengeError) Challenge() (status int, wwwAuthenticate string) { return e.status, e.header }

// maxBearer is more than any token of ours has; what is longer is none.
const maxBearer = 64

// Verify checks the bearer token of a request to /mcp or /mcp/{upstream}: that
// it is one of ours, live, and for this resource (MCP, Authorization: servers
// MUST validate that tokens were issued for them). It touches no disk and logs
// nothing. An error is a *ChallengeError.
func (s *Server) Verify(_ context.Context, r *http.Request) (*identity.Principal, error) {
	// RFC 6750 2.3 allowed tokens in the query; OAuth 2.1 forbids it, and there
	// they would get into logs.
	if strings.Contains(r.URL.RawQuery, "access_token") && r.URL.Query().Has("access_token") {
		return nil, s.challenge(r, http.StatusBadRequest, "invalid_request", "a token in the URL is not read")
	}
	headers := r.Header["Authorization"]
	if len(headers) > 1 {
		return nil, s.challenge(r, http.StatusBadRequest, "invalid_request", "more than one Authorization header")
	}
	if len(headers) == 0 || headers[0] == "" {
		return nil, s.challenge(r, http.StatusUnauthorized, "", "a bearer token is needed")
	}
	scheme, token, two := strings.Cut(headers[0], " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer") && two:
		return nil, s.challenge(r, http.StatusUnauthorized, "", "a bearer token is needed")
	case !strings.EqualFold(scheme, "Bearer"):
		return nil, s.challenge(r, http.StatusBadRequest, "invalid_request", "the Authorization header has no scheme")
	case token == "":
		return nil, s.challenge(r, http.StatusUnauthorized, "", "a bearer token is needed")
	}
	var text [maxBearer]byte // on the stack: a token check allocates nothing
	if n := copy(text[:], token); n == len(token) {
		now, hash := s.Now(), sha256.Sum256(text[:n])
		if p, t := s.index.lookup(&hash, now); p != nil && t.covers(r.URL.Path) {
			s.touched(t, now)
			return p, nil
		}
	}
	return nil, s.challenge(r, http.StatusUnauthorized, "invalid_token", "the token is unknown, expired, revoked or for another resource")
}

// InsufficientScope is the WWW-Authenticate header of a 403 that asks for more
// scopes: all that the operation needs, in one challenge (RFC 6750 3.1; MCP
// 2026-07-28, Authorization, scope challenge).
func (s *Server) InsufficientScope(r *http.Request, needed []string) string {
	return s.header(r, "insufficient_scope", strings.Join(needed, " "))
}

func (s *Server) challenge(r *http.Request, status int, code, reason string) *ChallengeError {
	return &ChallengeError{status, s.header(r, code, scopeMCP), reason}
}

func (s *Server) header(r *http.Request, code, scope string) string {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if !resourcePath(path) {
		path = mergedPath
	}
	h := "Bearer "
	if code != "" {
		h += `error="` + code + `", `
	}
	return h + `resource_metadata="` + s.base(r) + "/.well-known/oauth-protected-resource" + path + `", scope="` + scope + `"`
}
