package credential

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/ostiary/ostiary/catalogs"
)

var (
	// errInsecure: MCP 2026-07-28, Authorization, and RFC 6750 5.3: bearer
	// tokens travel over TLS alone. Loopback never leaves the machine.
	errInsecure = errors.New("its url is plain http to another machine, so no credential is sent there; use https")
	// errElsewhere can't happen while no redirect is followed and an endpoint
	// event is held to the entry's origin. It is the last of three locks.
	errElsewhere = errors.New("not sent to another origin than the entry's url")
)

// fixed is a header with a value that does not change while the entry doesn't: a
// new value of a variable or file comes with the catalog's next reload.
func fixed(u *catalogs.Upstream) (Credential, error) {
	at, err := destination(u)
	if err != nil {
		return Credential{}, err
	}
	name := textproto.CanonicalMIMEHeaderKey(u.Auth.Header)
	value := []string{u.Auth.Prefix + u.Auth.Value.Reveal()} // shared, never written to
	return Credential{
		Authorize: func(r *http.Request) error {
			if !sameOrigin(r.URL, at) {
				return errElsewhere
			}
			r.Header[name] = value
			return nil
		},
	}, nil
}

// headerSecrets are what of the header must not come back: the value and, of
// Basic, what it says (RFC 7617 2).
func headerSecrets(a *catalogs.Auth) []string {
	value := a.Value.Reveal()
	list := []string{value}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(a.Prefix+value), " ")
	if strings.EqualFold(scheme, "Basic") {
		rest = strings.TrimSpace(rest)
		list = append(list, rest)
		if pair, err := base64.StdEncoding.DecodeString(rest); err == nil {
			_, password, _ := strings.Cut(string(pair), ":")
			list = append(list, string(pair), password)
		}
	}
	return list
}

// destination is the origin that a credential of u may go to.
func destination(u *catalogs.Upstream) (*url.URL, error) {
	at, err := url.Parse(u.URL)
	switch {
	case err != nil || at.Host == "":
		return nil, fmt.Errorf("auth type %s needs a url; for a command, name its variables under env", u.Auth.Type)
	case at.Scheme == "https":
		return at, nil
	case at.Scheme != "http" || !loopback(at.Hostname()):
		return nil, errInsecure
	case u.Proxy != "":
		return nil, errors.New("its url is plain http through a proxy, so no credential is sent there; use https or drop proxy")
	}
	return at, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// sameOrigin is RFC 6454 4: scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}
