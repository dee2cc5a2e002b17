package authserver

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Limits of the shell around the endpoints.
const (
	maxForm       = 64 << 10 // bytes of a body at the token, revocation and pushed-request endpoints
	maxQuery      = 16 << 10 // bytes of a query at the authorization endpoint
	maxParameters = 64       // parameters in one request
	maxScopeName  = 128      // bytes of one scope
	maxScopes     = 64       // scopes in one request
)

// form reads what a client posted to an endpoint that takes nothing but a form:
// no query, no JSON, no repeated parameter.
func (s *Server) form(w http.ResponseWriter, r *http.Request) (url.Values, *oauthError) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST, OPTIONS")
		return nil, &oauthError{status: http.StatusMethodNotAllowed, code: "invalid_request", description: "use POST"}
	}
	// RFC 6749 2.3.1: credentials MUST NOT be in the request URI; neither is
	// anything else of these endpoints.
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return nil, refuse("invalid_request", "parameters belong in the body, none in the URL")
	}
	return readForm(w, r)
}

// readForm reads a form body.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, *oauthError) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" || len(r.Header.Values("Content-Type")) != 1 {
		return nil, refuse("invalid_request", "the body must be application/x-www-form-urlencoded")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, &oauthError{status: http.StatusUnsupportedMediaType, code: "invalid_request", description: "send the body without Content-Encoding"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			return nil, &oauthError{status: http.StatusRequestEntityTooLarge, code: "invalid_request", description: "the body is too large"}
		}
		return nil, errMalformed
	}
	return parseParameters(string(body))
}

// parseParameters is the one strict reading of a query or form. Whoever calls
// it hands on its result, never the raw text, so nothing is read twice in two
// ways.
//
// RFC 6749 3.1 and 3.2: parameters MUST NOT be included more than once, and
// those without a value are treated as if they were omitted. RFC 8707 2: only
// resource may be repeated.
func parseParameters(raw string) (url.Values, *oauthError) {
	// Counted before they are parsed: that is the costly part.
	if strings.Count(raw, "&") >= maxParameters {
		return nil, refuse("invalid_request", "too many parameters")
	}
	v, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errMalformed
	}
	var twice *oauthError
	for name, values := range v {
		for _, value := range values {
			if !plainText(name) || !plainText(value) {
				return nil, errMalformed
			}
		}
		if len(values) > 1 && name != "resource" {
			twice = refuse("invalid_request", "a parameter is given more than once")
		}
		if values = dropEmpty(values); len(values) == 0 {
			delete(v, name)
		} else {
			v[name] = values
		}
	}
	if twice != nil {
		return v, twice // with v: the authorization endpoint answers by redirect where it can
	}
	return v, nil
}

// plainText refuses what no parameter of ours can hold (RFC 6749 Appendix A).
func plainText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) < 0
}

func dropEmpty(values []string) []string {
	out := values[:0]
	for _, v := range values {
		if v != "" {
			out = append(out, v)
		}
	}
	return out
}

// crossOrigin lets pages of any origin use an endpoint that reads no cookie:
// agents that run in browsers need metadata, registration and tokens.
func (s *Server) crossOrigin(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Origin") != "" {
			// The wildcard excludes credentials (Fetch, CORS protocol and credentials).
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
		}
		if r.Method == http.MethodOptions {
			w.Header().Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
			w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, MCP-Protocol-Version")
			w.Header().Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h(w, r)
	}
}
