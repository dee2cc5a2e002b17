package policy

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxForwarded bounds the hops of one X-Forwarded-For that are looked at.
const maxForwarded = 32

// SourceOf says where r came from. X-Forwarded-For and X-Forwarded-Proto count
// only from a peer in proxies, for anybody can send them: the source is then the
// last hop that is no proxy itself, and never what stands before it. A hop that
// can't be read ends the search at the one behind it.
func SourceOf(r *http.Request, proxies []netip.Prefix) Source {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	s := Source{IP: host, TLS: r.TLS != nil}
	if len(proxies) == 0 {
		return s
	}
	at, err := netip.ParseAddr(host)
	if err != nil || !within(at, proxies) {
		return s
	}
	s.Proxied = true
	// A proxy that ends TLS says so; one that says nothing does not.
	if proto := last(r.Header.Values("X-Forwarded-Proto")); proto != "" {
		s.TLS = strings.EqualFold(proto, "https")
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for n, hop := range slices.Backward(hops) {
		if len(hops)-n > maxForwarded {
			break
		}
		next, err := hopAddr(hop)
		if err != nil {
			break
		}
		if at = next; !within(at, proxies) {
			break
		}
	}
	s.IP = at.String()
	return s
}

// hopAddr reads one hop: an address, with or without a port.
func hopAddr(hop string) (netip.Addr, error) {
	hop = strings.TrimSpace(hop)
	if p, err := netip.ParseAddrPort(hop); err == nil {
		return p.Addr().Unmap().WithZone(""), nil
	}
	a, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	return a.Unmap().WithZone(""), err
}

func within(a netip.Addr, prefixes []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// last is the last element of a list header: what the nearest proxy added.
func last(values []string) string {
	list := strings.Join(values, ",")
	return strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
}
