package client

import (
	"context"
	"net/netip"
	"net/url"
	"sync"

	"golang.org/x/net/publicsuffix"
)

// Fetches at a time. Whoever runs slow hosts can't hold all of them: a site and
// an address have few, strangers together leave room for the clients that people
// let in before.
const (
	fetchSlots    = 16
	strangerSlots = 12
	siteSlots     = 2 // names below one registrable domain
	addressSlots  = 4 // behind which many sites may be
)

// gate lets few fetches through at a time.
type gate struct {
	all, strangers chan struct{}

	mu    sync.Mutex
	lanes map[string]*lane
}

// lane is one site's or address's part of a gate; it is there while somebody
// uses it or waits for it.
type lane struct {
	slots chan struct{}
	users int
}

func newGate() *gate {
	return &gate{all: make(chan struct{}, fetchSlots), strangers: make(chan struct{}, strangerSlots), lanes: map[string]*lane{}}
}

// stay is one fetch with what it holds of the gate.
type stay struct {
	gate  *gate
	known bool // the operator, or a client that people let in

	mu   sync.Mutex
	left bool
	held []func()
}

// enter waits until a fetch of uri may begin. errBusy: it may not before ctx
// ends. The caller calls leave when it is over.
func (g *gate) enter(ctx context.Context, uri *url.URL, known bool) (*stay, error) {
	s := &stay{gate: g, known: known}
	var err error
	if !known { // the narrow one first: who waits there holds nobody else up
		if err = s.lane(ctx, "site "+siteOf(uri.Hostname()), siteSlots); err == nil {
			err = s.take(ctx, g.strangers)
		}
	}
	if err == nil {
		err = s.take(ctx, g.all)
	}
	if err != nil {
		s.leave()
		return nil, err
	}
	return s, nil
}

// address waits until the fetch may dial a.
func (s *stay) address(ctx context.Context, a netip.Addr) error {
	if s.known {
		return nil
	}
	return s.lane(ctx, "address "+sourceOf(a).String(), addressSlots)
}

func (s *stay) leave() {
	s.mu.Lock()
	held := s.held
	s.held, s.left = nil, true
	s.mu.Unlock()
	for _, release := range held {
		release()
	}
}

// hold keeps release until the fetch leaves; a dial may outlive its fetch.
func (s *stay) hold(release func()) {
	s.mu.Lock()
	left := s.left
	if !left {
		s.held = append(s.held, release)
	}
	s.mu.Unlock()
	if left {
		release()
	}
}

func (s *stay) take(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		s.hold(func() { <-slots })
		return nil
	case <-ctx.Done():
		return errBusy
	}
}

func (s *stay) lane(ctx context.Context, key string, size int) error {
	g := s.gate
	g.mu.Lock()
	l := g.lanes[key]
	if l == nil {
		l = &lane{slots: make(chan struct{}, size)}
		g.lanes[key] = l
	}
	l.users++
	g.mu.Unlock()
	s.hold(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(g.lanes, key)
		}
	})
	return s.take(ctx, l.slots)
}

// siteOf is what names of one owner share: the registrable domain, or the address.
func siteOf(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return domain
	}
	return host
}
