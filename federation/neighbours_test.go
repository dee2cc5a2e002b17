package federation

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation/credential"
)

// Points at which an upstream can keep whoever speaks to it waiting. The
// upstream that is held there has its name.
var holdPoints = []string{"credential", "dial", "list", "inventory", "listen", "call", "close"}

// holds keeps everybody at the point that the upstream is named after, whatever
// their context says, until released is closed.
type holds struct {
	released chan struct{}
	at       chan string // one word for each who came to wait
}

func (h *holds) wait(point, upstream string) {
	if point == upstream {
		h.at <- point
		<-h.released
	}
}

// Credential is that of a source which asks an authorization server that hangs.
func (h *holds) Credential(_ context.Context, u *catalogs.Upstream, _ *identity.Principal) (credential.Credential, error) {
	h.wait("credential", u.Name)
	return credential.Credential{}, nil
}

// held is a connection to an upstream that stops at its point.
type held struct {
	*link
	holds *holds
	name  string
}

func (c *held) do(ctx context.Context, call *Call) (*Answer, error) {
	switch {
	case strings.HasSuffix(call.Method, "/list"):
		c.holds.wait("list", c.name)
	default:
		c.holds.wait("call", c.name)
	}
	return c.link.do(ctx, call)
}

func (c *held) listen(ctx context.Context, f listenFilter, ready func(), events func(string, []byte)) error {
	c.holds.wait("listen", c.name)
	return c.link.listen(ctx, f, ready, events)
}

func (c *held) close(ctx context.Context) error {
	c.holds.wait("close", c.name)
	return c.link.close(ctx)
}

// Promise 7: with one upstream held at each point, the healthy one is listed,
// called, followed and reloaded in no time at all. The clock of the test stands
// still unless everybody waits, so any queue or timeout in common would show as
// time; a lock in common would hang the test.
func TestHealthyUpstreamWaitsForNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &holds{released: make(chan struct{}), at: make(chan string, 1000)}
		scripts := map[string]*script{"healthy": tools("x"), "late": tools("x")}
		catalog := catalogOf(entry("healthy"))
		for _, name := range holdPoints {
			scripts[name] = tools("x")
			catalog.Upstreams = append(catalog.Upstreams, entry(name))
		}
		w := newWorld(t, &keeper{}, scripts)
		w.config.Credentials = h
		w.config.OnInventory = func(i Inventory) { h.wait("inventory", i.Upstream) }
		dialed := w.dial
		w.dial = func(ctx context.Context, d dialConfig) (connection, error) {
			h.wait("dial", d.Upstream.Name)
			c, err := dialed(ctx, d)
			if err != nil {
				return nil, err
			}
			return &held{c.(*link), h, d.Upstream.Name}, nil
		}
		defer w.stop()
		defer close(h.released)
		start := time.Now()
		inNoTime := func(what string) {
			t.Helper()
			synctest.Wait()
			if d := time.Since(start); d != 0 {
				t.Fatalf("%s took %v while the others were held", what, d)
			}
		}
		call := func(ctx context.Context, upstream string) error {
			_, err := w.Call(ctx, user("alice"), toolCall(upstream, "x"))
			return err
		}

		if err := w.Apply(t.Context(), catalog); err != nil {
			t.Fatal(err)
		}
		w.FirstContact(t.Context(), "healthy", time.Minute)
		inNoTime("the first contact")
		// More calls than an upstream takes at once, by the same principal.
		for range 2 * defaultConcurrency {
			for _, name := range holdPoints {
				go call(t.Context(), name)
			}
		}
		// The entry of one is taken out: its connections close in their own time.
		catalog.Upstreams = slices.DeleteFunc(catalog.Upstreams, func(u *catalogs.Upstream) bool { return u.Name == "close" })
		if err := w.Apply(t.Context(), catalog); err != nil {
			t.Fatal(err)
		}
		inNoTime("a reload")
		waiting := map[string]int{}
		for len(h.at) > 0 {
			waiting[<-h.at]++
		}
		for _, name := range holdPoints {
			if waiting[name] == 0 {
				t.Errorf("nobody waits at %q: %v", name, waiting)
			}
		}

		if err := call(t.Context(), "healthy"); err != nil {
			t.Error(err)
		}
		inNoTime("a call")
		scripts["healthy"].set(Tool, "x", "y")
		scripts["healthy"].say("notifications/tools/list_changed", "{}")
		inNoTime("a changed list")
		equal(t, "tools", w.names("healthy", Tool), []string{"x", "y"})
		if !slices.Contains(w.names(Merged, Tool), "healthy__y") {
			t.Error("the merged list has no healthy__y")
		}
		ready := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go w.Subscribe(ctx, user("alice"), Agent{}, "healthy", []string{"file:///r"}, func() { close(ready) }, func([]byte) {})
		<-ready
		inNoTime("a subscription")
		w.Watching(t.Context(), []string{"healthy"})
		inNoTime("waiting for notifications")
		catalog.Upstreams = append(catalog.Upstreams, entry("late"))
		if err := w.Apply(t.Context(), catalog); err != nil {
			t.Fatal(err)
		}
		w.FirstContact(t.Context(), "late", time.Minute)
		if err := call(t.Context(), "late"); err != nil {
			t.Error(err)
		}
		inNoTime("an upstream that joins")
		if n := len(w.Status()); n != len(catalog.Upstreams) {
			t.Errorf("status of %d upstreams", n)
		}
		inNoTime("the status")
	})
}

// An upstream that was never reached is waited for once, right after its entry
// came.
func TestFirstContactIsOverAfterItsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, map[string]*script{"hang": {hang: true}, "well": tools("x")})
		defer w.stop()
		if err := w.Apply(t.Context(), catalogOf(entry("hang"), entry("well"))); err != nil {
			t.Fatal(err)
		}
		const patience = 3 * time.Second
		for n, c := range []struct {
			endpoint string
			sleep    time.Duration // before
			want     time.Duration
		}{
			{"well", 0, 0},
			{"nowhere", 0, 0},
			{Merged, time.Second, patience - time.Second},
			{Merged, 0, 0},
			{"hang", 0, 0},
		} {
			time.Sleep(c.sleep)
			start := time.Now()
			w.FirstContact(t.Context(), c.endpoint, patience)
			if got := time.Since(start); got != c.want {
				t.Errorf("%d: endpoint %q waited %v, want %v", n, c.endpoint, got, c.want)
			}
		}
	})
}
