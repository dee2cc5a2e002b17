package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/store"
)

// anew is the same desk after a restart.
func (d *desk) anew() *desk {
	r := &Registry{Store: d.store, Now: d.clock.read}
	withDocuments(r)
	return &desk{r, d.store, "", d.clock}
}

// A client that people let in goes on while its document is slow or can't be
// had, over a restart, too, but not for ever; nobody is asked by what is stale.
func TestAClientThatWasLetInOutlivesAnOutageOfItsSite(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	s.set(down)
	if _, err := d.Standing(t.Context(), s.url); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a stranger has nothing to stand on: %v", err)
	}
	d.clock.add(negativeFor)
	s.set(s.json(nil))
	if _, err := d.Client(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	if err := d.Used(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	read := d.clock.read()
	s.set(down)
	d.clock.add(MinFresh)
	for _, desk := range []*desk{d, d.anew()} {
		for range 3 {
			if c, err := desk.Standing(t.Context(), s.url); err != nil || c.Name != "Agent" || c.AuthMethod != authNone {
				t.Errorf("the site is down: %+v, %v", c, err)
			}
		}
		if _, err := desk.Client(t.Context(), s.url); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a person would be asked by a stale document: %v", err)
		}
		if err := desk.Used(t.Context(), s.url); err != nil {
			t.Errorf("its use can't be noted: %v", err)
		}
	}
	d.clock.add(read.Add(maxStale - time.Second).Sub(d.clock.read()))
	if _, err := d.Standing(t.Context(), s.url); err != nil {
		t.Errorf("just before the bound: %v", err)
	}
	d.clock.add(time.Second)
	for _, desk := range []*desk{d, d.anew()} {
		if _, err := desk.Standing(t.Context(), s.url); !errors.Is(err, ErrUnavailable) {
			t.Errorf("at the bound: %v", err)
		}
	}
	d.clock.add(negativeFor)
	s.set(s.json(nil))
	if _, err := d.Standing(t.Context(), s.url); err != nil {
		t.Errorf("the site is back: %v", err)
	}
}

// What stands is read anew meanwhile, and what that brings counts: a change, and
// that the document was withdrawn.
func TestWhatAStandingClientPublishesIsReadAnew(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	if err := d.Used(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		serve http.HandlerFunc
		want  func(*store.Client, error) bool
	}{
		{s.json(map[string]any{"client_name": "Renamed"}), func(c *store.Client, err error) bool { return err == nil && c.Name == "Renamed" }},
		{func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, func(_ *store.Client, err error) bool { return errors.Is(err, store.ErrNotFound) }},
	} {
		s.set(step.serve)
		d.clock.add(MaxFresh)
		if c, err := d.Standing(t.Context(), s.url); err != nil || c.ID != s.url {
			t.Fatalf("while it is read: %v", err)
		}
		_, _ = d.Client(t.Context(), s.url) // waits for the same fetch
		if c, err := d.Standing(t.Context(), s.url); !step.want(c, err) {
			t.Errorf("after it: %+v, %v", c, err)
		}
	}
	// It stays so whenever it is asked about again, also while the site is down.
	for range 2 {
		d.clock.add(negativeFor)
		if c, err := d.Standing(t.Context(), s.url); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("its document is gone, and it came back: %+v, %v", c, err)
		}
	}
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	d.clock.add(negativeFor)
	if c, err := d.Standing(t.Context(), s.url); err == nil {
		t.Errorf("its document is gone, its site is down, and it came back: %+v", c)
	}
}

// Slow hosts hold their own lanes, all strangers together leave room, and what
// is known is not pushed out by what is not.
func TestStrangersLeaveRoomForKnownClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		enter := func(uri string, known bool) (*stay, error) {
			u, err := url.Parse(uri)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), fetchTime)
			defer cancel()
			return g.enter(ctx, u, known)
		}
		var in []*stay
		let := func(rule, uri string, known, want bool) {
			t.Helper()
			s, err := enter(uri, known)
			if (err == nil) != want || err != nil && !errors.Is(err, errBusy) {
				t.Errorf("%s: %v", rule, err)
			}
			if err == nil {
				in = append(in, s)
			}
		}
		for i := range siteSlots + 1 {
			let("one site", fmt.Sprintf("https://h%d.evil.example.co.uk/%d", i, i), false, i < siteSlots)
		}
		for i := siteSlots; i < strangerSlots; i++ {
			let("many sites", fmt.Sprintf("https://evil%d.example/", i), false, true)
		}
		let("all strangers", "https://another.example/", false, false)
		for i := range fetchSlots - strangerSlots + 1 {
			let("known clients", "https://claude.ai/", true, i < fetchSlots-strangerSlots)
		}
		for _, s := range in {
			s.leave()
		}
		if len(g.all)+len(g.strangers)+len(g.lanes) != 0 {
			t.Errorf("left behind: %d, %d, %d", len(g.all), len(g.strangers), len(g.lanes))
		}
		// Many names at one address.
		for i := range addressSlots + 1 {
			s, err := enter(fmt.Sprintf("https://many%d.example/", i), false)
			if err != nil {
				t.Fatal(err)
			}
			defer s.leave()
			ctx, cancel := context.WithTimeout(t.Context(), fetchTime)
			defer cancel()
			if err := s.address(ctx, netip.MustParseAddr("203.0.113.7")); (err == nil) != (i < addressSlots) {
				t.Errorf("name %d at one address: %v", i, err)
			}
		}
	})
}

func TestASiteIsWhatOneOwnerHas(t *testing.T) {
	for host, want := range map[string]string{
		"a.b.example.com": "example.com", "example.co.uk": "example.co.uk", "x.example.co.uk": "example.co.uk",
		"alice.github.io": "alice.github.io", "127.0.0.1": "127.0.0.1", "localhost": "localhost", "2001:db8::1": "2001:db8::1",
	} {
		if got := siteOf(host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

func TestAFloodOfDocumentsPushesNoKnownOneOut(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	s.set(s.json(nil, "Cache-Control", "max-age=86400"))
	if err := d.Used(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Client(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	hits := s.hits.Load()
	for i := range 2 * maxCached {
		_, _ = d.docs.get(t.Context(), fmt.Sprint(i), d.Now, false, func(context.Context) (*store.Client, time.Duration, error) {
			return &store.Client{}, MaxFresh, nil
		})
	}
	if _, err := d.Client(t.Context(), s.url); err != nil || s.hits.Load() != hits {
		t.Errorf("read %d times anew, %v", s.hits.Load()-hits, err)
	}
}
