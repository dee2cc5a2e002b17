package client

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	// MaxRedirectURIs bounds the redirect URIs of one client.
	MaxRedirectURIs = 20
	// MaxURI bounds a URI in bytes: a redirect URI, a client id that is a URL.
	MaxURI = 2048
)

// neverSchemes can't be allowed by an operator either: a browser runs them,
// reads files by them or has a meaning of its own for them.
var neverSchemes = []string{"about", "blob", "chrome", "content", "data", "file", "filesystem", "ftp", "intent",
	"jar", "javascript", "mailto", "resource", "sms", "tel", "vbscript", "view-source", "ws", "wss"}

var schemeForm = regexp.MustCompile(`^[a-z][a-z0-9+.-]{1,63}$`)

// checkScheme says whether an operator may list scheme as a private-use one.
func checkScheme(scheme string) error {
	switch {
	case !schemeForm.MatchString(scheme):
		return fmt.Errorf("private scheme %.80q: write the scheme alone, in lower case, without a colon", scheme)
	case scheme == "http" || scheme == "https" || slices.Contains(neverSchemes, scheme):
		return fmt.Errorf("private scheme %q can't be allowed: browsers have a meaning of their own for it", scheme)
	}
	return nil
}

// checkRedirect says why uri may not be registered, or nil. https may lead
// anywhere, http only to the user's own machine (RFC 8252 7.3; MCP 2026-07-28:
// redirect URIs are localhost or https), a private-use scheme only where the
// operator lists it.
func checkRedirect(uri string, privateSchemes []string) error {
	scheme, _, _ := strings.Cut(uri, ":")
	if err := plainURI(uri); err != nil {
		return err
	}
	switch scheme {
	case "https":
		_, err := webURL(uri)
		return err
	case "http":
		if _, _, ok := cutLoopback(uri); !ok {
			return errors.New("http is for http://localhost, http://127.0.0.1 and http://[::1] only; use https")
		}
		return nil
	}
	if slices.Contains(neverSchemes, scheme) || !slices.Contains(privateSchemes, scheme) {
		return fmt.Errorf("scheme %.64q is not allowed here; use https or a loopback address, or ask the operator to list it in oauth.privateSchemes", scheme)
	}
	if u, err := url.Parse(uri); err != nil || u.User != nil || u.Opaque == "" && u.Host == "" && u.Path == "" {
		return errors.New("no usable URI")
	}
	return nil
}

// plainURI holds what every URI must: a length, characters that all parsers
// read alike, no fragment (RFC 6749 3.1.2), no wildcard.
func plainURI(uri string) error {
	switch {
	case uri == "":
		return errors.New("empty")
	case len(uri) > MaxURI:
		return fmt.Errorf("longer than %d bytes", MaxURI)
	case strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\\\"<>^`{|}", r) }):
		return errors.New("only printable ASCII without spaces, backslashes, quotes and brackets; write other characters percent-encoded, host names in punycode")
	case strings.Contains(uri, "#"):
		return errors.New("a fragment is not allowed")
	case strings.Contains(uri, "*"):
		return errors.New("a wildcard is not allowed")
	}
	return nil
}

// webURL parses an https or http URL in the one spelling that we take: no user,
// no dot segments, and a host that browsers and Go read alike.
func webURL(uri string) (*url.URL, error) {
	if err := plainURI(uri); err != nil {
		return nil, err
	}
	u, err := url.Parse(uri)
	if err != nil {
		return nil, errors.New("no valid URL")
	}
	authority, _, _ := strings.Cut(strings.TrimPrefix(uri, u.Scheme+"://"), "/")
	authority, _, _ = strings.Cut(authority, "?")
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || !strings.HasPrefix(uri, u.Scheme+"://"):
		return nil, errors.New("no https URL in lower case")
	case u.User != nil || strings.Contains(authority, "@"):
		return nil, errors.New("a user name is not allowed")
	case !hostForm.MatchString(authority):
		return nil, errors.New("no valid host name")
	case u.Port() != "" && !portNumber(u.Port()):
		return nil, errors.New("no valid port")
	case numericHost(u.Hostname()):
		return nil, errors.New("write an IP address in its usual form")
	}
	for segment := range strings.SplitSeq(u.Path, "/") { // decoded: %2e is a dot too
		if segment == "." || segment == ".." {
			return nil, errors.New("dot segments are not allowed")
		}
	}
	return u, nil
}

// hostForm is a name of letters, digits, "-", "_" and ".", or an IPv6 address in
// brackets, and a port where there is a colon.
var hostForm = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?$`)

// numericHost says whether browsers would read host as an IPv4 address in
// another spelling: 127.1, 0x7f.1, 2130706433 (WHATWG URL, "ends in a number").
func numericHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	last := host[strings.LastIndexByte(host, '.')+1:]
	hex, isHex := strings.CutPrefix(last, "0x")
	if isHex {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}
