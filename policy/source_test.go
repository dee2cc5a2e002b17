package policy

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// Security catalogue A-103.
func TestForwardedHeadersCountFromTrustedProxiesOnly(t *testing.T) {
	for _, c := range []struct {
		name    string
		peer    string
		forward []string
		proto   string
		tls     bool
		proxies string
		want    Source
	}{
		{name: "nobody in between", peer: "192.0.2.7:4000", want: Source{IP: "192.0.2.7"}},
		{name: "TLS of our own", peer: "192.0.2.7:4000", tls: true, want: Source{IP: "192.0.2.7", TLS: true}},
		{name: "no proxy declared, header ignored", peer: "10.0.0.1:1", forward: []string{"203.0.113.9"}, proto: "https", want: Source{IP: "10.0.0.1"}},
		{name: "peer is not a proxy, header ignored", peer: "192.0.2.7:1", forward: []string{"203.0.113.9"}, proto: "https", proxies: "10.0.0.0/8", want: Source{IP: "192.0.2.7"}},
		{name: "proxy honoured", peer: "10.0.0.1:1", forward: []string{"203.0.113.9"}, proto: "https", proxies: "10.0.0.0/8", want: Source{IP: "203.0.113.9", Proxied: true, TLS: true}},
		{name: "proxy in a later prefix honoured", peer: "[fd00::1]:1", forward: []string{"203.0.113.9"}, proxies: "10.0.0.0/8 fd00::/8", want: Source{IP: "203.0.113.9", Proxied: true}},
		{name: "what the agent wrote in front does not count", peer: "10.0.0.1:1", forward: []string{"127.0.0.1, 203.0.113.9"}, proxies: "10.0.0.0/8", want: Source{IP: "203.0.113.9", Proxied: true}},
		{name: "a chain of proxies", peer: "10.0.0.1:1", forward: []string{"8.8.8.8, 203.0.113.9", "10.0.0.2"}, proxies: "10.0.0.0/8", want: Source{IP: "203.0.113.9", Proxied: true}},
		{name: "an agent inside the proxies' network", peer: "10.0.0.1:1", forward: []string{"10.0.0.9"}, proxies: "10.0.0.0/8", want: Source{IP: "10.0.0.9", Proxied: true}},
		{name: "with ports", peer: "10.0.0.1:1", forward: []string{"[2001:db8::7]:55"}, proxies: "10.0.0.0/8", want: Source{IP: "2001:db8::7", Proxied: true}},
		{name: "mapped addresses are one", peer: "[::ffff:10.0.0.1]:1", forward: []string{"::ffff:203.0.113.9"}, proxies: "10.0.0.0/8", want: Source{IP: "203.0.113.9", Proxied: true}},
		{name: "no header from the proxy", peer: "10.0.0.1:1", proxies: "10.0.0.0/8", want: Source{IP: "10.0.0.1", Proxied: true}},
		{name: "an unreadable hop ends the search", peer: "10.0.0.1:1", forward: []string{"203.0.113.9, unknown, 10.0.0.2"}, proxies: "10.0.0.0/8", want: Source{IP: "10.0.0.2", Proxied: true}},
		{name: "the last proto is the proxy's own", peer: "10.0.0.1:1", forward: []string{"203.0.113.9"}, proto: "https, http", proxies: "10.0.0.0/8", want: Source{IP: "203.0.113.9", Proxied: true}},
		{name: "at the bound of hops", peer: "10.0.0.1:1", forward: []string{"203.0.113.9" + strings.Repeat(", 10.0.0.2", maxForwarded-1)}, proxies: "10.0.0.0/8", want: Source{IP: "203.0.113.9", Proxied: true}},
		{name: "beyond the bound of hops", peer: "10.0.0.1:1", forward: []string{"203.0.113.9" + strings.Repeat(", 10.0.0.2", maxForwarded)}, proxies: "10.0.0.0/8", want: Source{IP: "10.0.0.2", Proxied: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
			for _, f := range c.forward {
				r.Header.Add("X-Forwarded-For", f)
			}
			if c.proto != "" {
				r.Header.Set("X-Forwarded-Proto", c.proto)
			}
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			var proxies []netip.Prefix
			for _, p := range strings.Fields(c.proxies) {
				proxies = append(proxies, netip.MustParsePrefix(p))
			}
			if got := SourceOf(r, proxies); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
