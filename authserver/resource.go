package authserver

import (
	"net/http"
	"net/url"
	"strings"
)

// The resources of this server are {issuer}/mcp, which covers every upstream,
// and {issuer}/mcp/{upstream}. Their canonical form is written with the issuer
// as configured.
const (
	mergedPath      = "/mcp"
	maxUpstreamName = 63 // bytes
)

// base is the issuer under the name that r used: the configured one, but on
// plain-http loopback with whichever of localhost, 127.0.0.1 and [::1] the
// client knows us by, so that what it compares is equal (RFC 8414 3.3,
// RFC 9728 3.3). Another Host never gets into a document.
func (s *Server) base(r *http.Request) string {
	if !s.Loopback {
		return s.Issuer
	}
	name, port := splitHost(r.Host)
	if !loopbackName(name) || !loopbackName(s.issuer.Hostname()) || port != s.issuer.Port() {
		return s.Issuer
	}
	return s.issuer.Scheme + "://" + strings.ToLower(r.Host)
}

// bases are all names of the issuer.
func (s *Server) bases() []string {
	if !s.Loopback || !loopbackName(s.issuer.Hostname()) {
		return []string{s.Issuer}
	}
	port := ""
	if s.issuer.Port() != "" {
		port = ":" + s.issuer.Port()
	}
	return []string{"http://localhost" + port, "http://127.0.0.1" + port, "http://[::1]" + port}
}

func splitHost(hostport string) (name, port string) {
	u := url.URL{Host: hostport}
	return strings.ToLower(u.Hostname()), u.Port()
}

func loopbackName(name string) bool {
	return name == "localhost" || name == "127.0.0.1" || name == "::1"
}

// resource is the canonical form of an asked resource, or "" when it is none
// of ours. The rule: an absolute URI without fragment, query and user; scheme
// and host compare without case, a default port is no port, one slash at the
// end is none (MCP 2026-07-28, Authorization, canonical URI), on loopback the
// three names are one; the path compares exactly. The bare issuer means /mcp:
// agents of MCP 2025-03-26 name the server so.
//
// A well-formed upstream name is enough: whether it exists is not told here.
func (s *Server) resource(asked string) string {
	u, err := url.Parse(asked)
	if err != nil || u.Host == "" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(asked, "#") {
		return ""
	}
	if u.RawPath != "" || !strings.EqualFold(u.Scheme, s.issuer.Scheme) || !s.sameHost(u) {
		return ""
	}
	path := strings.TrimSuffix(u.Path, "/")
	if path == "" {
		path = mergedPath
	}
	if !resourcePath(path) {
		return ""
	}
	return s.Issuer + path
}

func (s *Server) sameHost(u *url.URL) bool {
	if port(u) != port(s.issuer) {
		return false
	}
	a, b := strings.ToLower(u.Hostname()), strings.ToLower(s.issuer.Hostname())
	return a == b || s.Loopback && loopbackName(a) && loopbackName(b)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	default:
		return "80"
	}
}

// resourcePath says whether path is that of a resource: /mcp, or /mcp/ and a
// well-formed upstream name.
func resourcePath(path string) bool {
	if path == mergedPath {
		return true
	}
	name, ok := strings.CutPrefix(path, mergedPath+"/")
	return ok && upstreamName(name)
}

// upstreamName says whether name can be that of an upstream: [a-z0-9-].
func upstreamName(name string) bool {
	return name != "" && len(name) <= maxUpstreamName && strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}) < 0
}

// oneResource reads the resource parameters: the canonical form of the one
// that is meant, "" when none was sent, errTarget when one is not ours or two
// differ. A token has one audience here (RFC 8707 2 lets a server refuse more).
func (s *Server) oneResource(asked []string) (string, *oauthError) {
	one := ""
	for _, a := range asked {
		canonical := s.resource(a)
		if canonical == "" || one != "" && canonical != one {
			return "", errTarget
		}
		one = canonical
	}
	return one, nil
}

// covers says whether a token for the resource with path granted may be used
// at path: one for /mcp covers every upstream, any other only itself.
func covers(granted, path string) bool {
	path = strings.TrimSuffix(path, "/")
	if granted == mergedPath {
		return path == mergedPath || strings.HasPrefix(path, mergedPath+"/")
	}
	return path == granted && granted != ""
}
