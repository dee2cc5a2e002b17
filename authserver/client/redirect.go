package client

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ostiary/ostiary/store"
)

// MatchRedirect says whether asked is a redirect URI of c. RFC 9700 2.1: simple
// string comparison, nothing is normalised. RFC 8252 7.3: of an http URI on a
// loopback name or address the port may be any; the host may not, so localhost,
// 127.0.0.1 and [::1] are three hosts. RFC 8252 8.3 would rather see localhost
// left out, but most agents register it and MCP 2026-07-28 allows it.
func MatchRedirect(c *store.Client, asked string) bool {
	if slices.Contains(c.RedirectURIs, asked) {
		return true
	}
	host, rest, ok := cutLoopback(asked)
	if !ok {
		return false
	}
	return slices.ContainsFunc(c.RedirectURIs, func(known string) bool {
		h, r, ok := cutLoopback(known)
		return ok && h == host && r == rest
	})
}

// cutLoopback takes an http loopback URI apart around its port. It reads
// characters rather than a parsed URL: what a parser would forgive (other
// spellings of the host, a user, a backslash) is not a loopback URI at all.
func cutLoopback(uri string) (host, rest string, ok bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", "", false
	}
	for _, h := range loopbackHosts {
		if rest, ok = strings.CutPrefix(after, h); ok {
			host = h
			break
		}
	}
	if !ok {
		return "", "", false
	}
	if digits, colon := strings.CutPrefix(rest, ":"); colon {
		end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(digits)
		}
		if !portNumber(digits[:end]) {
			return "", "", false
		}
		rest = digits[end:]
	}
	if rest != "" && rest[0] != '/' && rest[0] != '?' {
		return "", "", false
	}
	return host, rest, true
}

var loopbackHosts = []string{"localhost", "127.0.0.1", "[::1]"}

// portNumber says whether s names a port, in its only decimal spelling.
func portNumber(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s == strconv.FormatUint(n, 10)
}

// Loopback says whether uri leads back to the machine that the browser runs
// on, where any program may be listening.
func Loopback(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && (a.Unmap().IsLoopback() || a.Unmap().IsUnspecified())
}

// PrivateScheme says whether uri leads to a program that claimed a scheme of
// its own on the machine (RFC 8252 7.1): any program may have.
func PrivateScheme(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https"
}

// RedirectHost names for people and for consents where uri leads: the host, with
// a port that is not the scheme's own; of a loopback URI without the port, which
// may differ each time; of a private-use scheme the scheme and ":"; "" of what
// is no URI.
func RedirectHost(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "":
		return ""
	case PrivateScheme(uri):
		return u.Scheme + ":"
	}
	host := strings.ToLower(u.Hostname())
	port := u.Port()
	if port == "" || port == defaultPorts[u.Scheme] || Loopback(uri) {
		if strings.Contains(host, ":") {
			return "[" + host + "]"
		}
		return host
	}
	return net.JoinHostPort(host, port)
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}
