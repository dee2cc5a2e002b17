package client

import (
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// maxSources bounds the sources whose rate is kept.
const maxSources = 10_000

// limiter is one token bucket for each source of registrations.
type limiter struct {
	burst int
	every time.Duration // one more registration
	max   int           // sources

	mu      sync.Mutex
	buckets map[netip.Prefix]time.Time // when the bucket will be full again
}

// take asks for one registration of a source at now. 0 means yes; otherwise it
// is the time until the next one may be had. A source is an IPv4 address or an
// IPv6 /64, of which one machine has all.
//
// While the table is full, sources that are not in it share one bucket: a flood
// from more addresses than that slows newcomers down, and takes no memory.
func (l *limiter) take(source netip.Addr, now time.Time) time.Duration {
	key := sourceOf(source)
	l.mu.Lock()
	defer l.mu.Unlock()
	full, known := l.buckets[key]
	if !known && len(l.buckets) >= l.max {
		for k, t := range l.buckets {
			if !t.After(now) {
				delete(l.buckets, k)
			}
		}
		if len(l.buckets) >= l.max {
			key = netip.Prefix{}
			full = l.buckets[key]
		}
	}
	if full.Before(now) {
		full = now
	}
	full = full.Add(l.every)
	if over := full.Sub(now) - time.Duration(l.burst)*l.every; over > 0 {
		return over
	}
	if l.buckets == nil {
		l.buckets = map[netip.Prefix]time.Time{}
	}
	l.buckets[key] = full
	return 0
}

func sourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // of the zero Addr: the zero Prefix
	return p
}

// peer is the address of the connection.
func peer(r *http.Request) netip.Addr {
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr()
}
