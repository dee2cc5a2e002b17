package federation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// errForbiddenAddress: a name resolved to an address that only an operator's
// own url may name.
var errForbiddenAddress = errors.New("address not permitted")

// dialTimeout bounds one TCP connect.
const dialTimeout = 10 * time.Second

// never are reserved or dangerous everywhere: no entry can permit them.
// Metadata services hand out the machine's own credentials.
var never = prefixes("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32",
	"::/128", "::/96", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64", "2001:db8::/32", "fd00:ec2::254/128")

// inside are the addresses of a private network or of this machine.
var inside = prefixes("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
	"198.18.0.0/15", "::1/128", "fc00::/7")

// embedding are IPv6 ranges that carry an IPv4 address, and at which byte.
var embedding = []struct {
	netip.Prefix
	at int
}{{netip.MustParsePrefix("64:ff9b::/96"), 12}, {netip.MustParsePrefix("64:ff9b:1::/48"), 12}, {netip.MustParsePrefix("2002::/16"), 2}}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// guard decides, after name resolution, which addresses may be dialled. A
// literal private or loopback address in the operator's own url, or
// localhost, is permission for that host and port; a name that
// resolves to one is not, whoever controls that name.
type guard struct {
	host    string // of the url, lower case, without brackets
	port    string
	literal netip.Addr // the host where it is an address
	local   bool       // the host is localhost
	proxy   string     // host:port of the operator's proxy, "" = none
}

func newGuard(u, proxy *url.URL) *guard {
	g := &guard{host: strings.ToLower(u.Hostname()), port: portOf(u)}
	if a, err := netip.ParseAddr(g.host); err == nil {
		g.literal = a.Unmap().WithZone("")
	}
	g.local = g.host == "localhost"
	if proxy != nil {
		g.proxy = net.JoinHostPort(strings.ToLower(proxy.Hostname()), portOf(proxy))
	}
	return g
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// dial connects to addr. Each candidate address is checked when it is about
// to be used, so that a second resolution can't slip another one in.
func (g *guard) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	viaProxy := g.proxy != "" && strings.EqualFold(addr, g.proxy)
	d := net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %.60q", errForbiddenAddress, address)
		}
		return g.check(ap, viaProxy)
	}}
	return d.DialContext(ctx, network, addr)
}

// check says whether ap may be dialled. The proxy is the operator's own word
// and may have a private address under any name.
func (g *guard) check(ap netip.AddrPort, viaProxy bool) error {
	a := ap.Addr().Unmap().WithZone("")
	for _, e := range embedding {
		if e.Contains(a) {
			b := a.As16()
			inner := netip.AddrFrom4([4]byte(b[e.at : e.at+4]))
			if within(never, inner) || within(inside, inner) {
				return fmt.Errorf("%w: %s carries a private address", errForbiddenAddress, a)
			}
		}
	}
	switch {
	case a == netip.IPv6Loopback(): // ::1 lies in the reserved ::/96
	case within(never, a):
		return fmt.Errorf("%w: %s is reserved, link-local or a metadata service", errForbiddenAddress, a)
	}
	if !within(inside, a) || viaProxy {
		return nil
	}
	samePort := fmt.Sprint(ap.Port()) == g.port
	if samePort && (g.literal == a || g.local && a.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%w: %s resolved to the private address %s; write the address itself into the entry's url to permit it", errForbiddenAddress, g.host, a)
}
