package client

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// errAddress: a name leads to an address that strangers may not send us to.
var errAddress = errors.New("address not permitted")

// never are reserved, link-local, multicast or a metadata service: nobody may
// name them. The same ranges guard the upstream connections of package
// federation, which has its own rules on top; neither may import the other.
var never = prefixes("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.51.100.0/24",
	"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "100.100.100.200/32",
	"::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16",
	"fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254/128")

// inside are this machine and private networks: the operator may name them.
var inside = prefixes("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
	"198.18.0.0/15", "::1/128", "fc00::/7")

// nat64 carries an IPv4 address in its last four bytes.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// trust is how far an address may reach.
type trust int

const (
	stranger     trust = iota // public addresses only
	strangerHere              // and loopback, for tests
	operator                  // and private networks
)

// check says whether a may be dialled.
func (t trust) check(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case a.IsLoopback() && t != stranger: // ::1 lies in the reserved ::/96
		return nil
	case !a.IsValid(), within(never, a), within(inside, a) && t != operator:
		return fmt.Errorf("%w: %s", errAddress, a)
	}
	return nil
}

// control is net.Dialer.Control: it sees each address after name resolution,
// just before it is used, so a second resolution can't slip another one in.
func (t trust) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %.60q", errAddress, address)
	}
	return t.check(ap.Addr())
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
