package federation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

// owned gives each user a credential of their own.
type owned struct{}

func (owned) Credential(_ context.Context, _ *catalogs.Upstream, p *identity.Principal) (credential.Credential, error) {
	if p == nil {
		return credential.Credential{}, nil
	}
	return credential.Credential{ID: "c-" + p.Subject, Owner: p.ID(), Authorize: func(*http.Request) error { return nil }}, nil
}

func mustCall(t testing.TB, w *world, p *identity.Principal, c *Call) *Answer {
	t.Helper()
	a, err := w.Call(context.Background(), p, c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// callLinks counts the connections for calls: all but the listing one.
func callLinks(s *script) int { return len(s.open()) - 1 }

func TestWhoSharesAConnection(t *testing.T) {
	alice, bob := user("alice"), user("bob")
	other := user("alice")
	other.Client.ID = "other"
	caps := func(c *Call, s string) *Call { c.Agent.Capabilities = []byte(s); return c }
	for _, c := range []struct {
		rule   string
		era    wire.Era
		entry  *catalogs.Upstream
		shared bool
		owned  bool
		want   int
	}{
		{"modern over HTTP: everyone", wire.Modern, entry("a"), false, false, 1},
		{"modern over HTTP with users' credentials: one each", wire.Modern, entry("a"), false, true, 2},
		{"legacy over HTTP: user, client and capabilities", wire.Legacy, entry("a"), false, false, 4},
		{"legacy process: user, client and capabilities", wire.Legacy, program("a"), false, false, 4},
		{"modern process: user and client", wire.Modern, program("a"), false, false, 3},
		{"legacy, sharing: shared", wire.Legacy, program("a"), true, false, 1},
	} {
		t.Run(c.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := tools("x")
				a.era = c.era
				w := newWorld(t, nil, map[string]*script{"a": a})
				if c.owned {
					w.config.Credentials = owned{}
				}
				defer w.stop()
				c.entry.Shared = c.shared
				w.apply(c.entry)
				for range 2 {
					mustCall(t, w, alice, toolCall("a", "x"))
					mustCall(t, w, alice, caps(toolCall("a", "x"), `{"roots":{}}`))
					mustCall(t, w, other, toolCall("a", "x"))
					mustCall(t, w, bob, toolCall("a", "x"))
				}
				if got := callLinks(a); got != c.want {
					t.Errorf("%d connections, want %d", got, c.want)
				}
			})
		})
	}
}

func TestSharedLegacyConnectionDeclaresNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.era = wire.Legacy
		var got *Call
		a.answer = func(_ context.Context, _ *link, c *Call) (*Answer, error) { got = c; return &Answer{}, nil }
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		e := program("a")
		e.Shared = true
		w.apply(e)
		c := toolCall("a", "x")
		c.Agent.Capabilities = []byte(`{"sampling":{}}`)
		c.Ask = func(context.Context, string, []byte) ([]byte, *wire.Error, error) { return nil, nil, nil }
		mustCall(t, w, user("u"), c)
		if got.Ask != nil || got.Agent.Capabilities != nil || string(a.dials[1].Capabilities) != `{}` {
			t.Errorf("got %+v, dialed with %s", got, a.dials[1].Capabilities)
		}
	})
}

// A connection that was opened when the era was believed to be modern, and
// turns out to be a legacy session, must not be everyone's.
func TestConnectionOfAnotherEraIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		used := map[string]*link{}
		a.answer = func(_ context.Context, l *link, c *Call) (*Answer, error) {
			a.do(func() { used[string(c.Params)] = l })
			return &Answer{}, nil
		}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a")) // listed as modern
		a.do(func() { a.era = wire.Legacy })
		var wg sync.WaitGroup
		for _, name := range []string{"alice", "bob"} {
			wg.Go(func() {
				if _, err := w.Call(t.Context(), user(name), toolCall("a", name)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if used[`{"name":"alice"}`] == used[`{"name":"bob"}`] {
			t.Error("two users got one legacy session")
		}
	})
}

func TestUnknownEraEndsInOneModernConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.do(func() { a.refuse = ErrUnavailable })
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		a.do(func() { a.refuse = nil })
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				if _, err := w.Call(t.Context(), user(fmt.Sprint(n)), toolCall("a", "x")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if n := callLinks(a); n != 1 {
			t.Errorf("%d connections for calls", n)
		}
	})
}

func TestConcurrentFirstCallsOpenOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.era = wire.Legacy
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := w.Call(t.Context(), user("u"), toolCall("a", "x")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := callLinks(a); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestIdleConnectionIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.era = wire.Legacy
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		mustCall(t, w, user("u"), toolCall("a", "x"))
		time.Sleep(idleTime / 2)
		mustCall(t, w, user("u"), toolCall("a", "x"))
		time.Sleep(idleTime - time.Second)
		synctest.Wait()
		if callLinks(a) != 1 {
			t.Fatal("closed before it was idle long enough")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if callLinks(a) != 0 {
			t.Fatal("not closed")
		}
		mustCall(t, w, user("u"), toolCall("a", "x"))
		if callLinks(a) != 1 {
			t.Fatal("not opened again")
		}
	})
}

func TestConnectionInUseIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.era = wire.Legacy
		a.answer = func(context.Context, *link, *Call) (*Answer, error) {
			time.Sleep(3 * idleTime)
			return &Answer{}, nil
		}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		mustCall(t, w, user("u"), toolCall("a", "x"))
		synctest.Wait()
		if callLinks(a) != 1 {
			t.Error("closed under a call")
		}
	})
}

func TestConnectionCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.era = wire.Legacy
		hold := make(chan struct{})
		a.answer = func(_ context.Context, _ *link, c *Call) (*Answer, error) {
			if c.Meta != nil {
				<-hold
			}
			return &Answer{}, nil
		}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		e := entry("a")
		e.Limits.Concurrency = 1000
		w.apply(e)
		capable := func(n int) *Call {
			c := toolCall("a", "x")
			c.Agent.Capabilities = fmt.Appendf(nil, `{"n":%d}`, n)
			return c
		}
		// One principal: the connection idle longest makes room.
		for n := range maxPerPrincipal + 1 {
			mustCall(t, w, user("u"), capable(n))
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if n := callLinks(a); n != maxPerPrincipal {
			t.Fatalf("%d connections of one principal", n)
		}
		for _, l := range a.open()[1:] {
			if string(l.config.Capabilities) == `{"n":0}` {
				t.Error("not the one idle longest was closed")
			}
		}
		// All in use: busy.
		var wg sync.WaitGroup
		for n := range maxPerPrincipal {
			wg.Go(func() {
				c := capable(n + 1)
				c.Meta = []byte(`{}`)
				if _, err := w.Call(t.Context(), user("u"), c); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		_, err := w.Call(t.Context(), user("u"), capable(99))
		if !errors.Is(err, ErrBusy) {
			t.Errorf("at the principal's cap: %v", err)
		}
		// All principals.
		for n := range maxConnections - maxPerPrincipal {
			wg.Go(func() {
				c := toolCall("a", "x")
				c.Meta = []byte(`{}`)
				if _, err := w.Call(t.Context(), user(fmt.Sprint(n)), c); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := callLinks(a); n != maxConnections {
			t.Errorf("%d connections", n)
		}
		if _, err := w.Call(t.Context(), user("late"), toolCall("a", "x")); !errors.Is(err, ErrBusy) {
			t.Errorf("at the upstream's cap: %v", err)
		}
		close(hold)
		wg.Wait()
		mustCall(t, w, user("late"), toolCall("a", "x"))
		synctest.Wait()
		if n := callLinks(a); n != maxConnections {
			t.Errorf("%d connections after one made room", n)
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		hold := make(chan struct{})
		a.answer = func(_ context.Context, _ *link, c *Call) (*Answer, error) {
			if c.Ask != nil {
				var wg sync.WaitGroup
				for range 2 {
					wg.Go(func() { _, _, _ = c.Ask(context.Background(), "roots/list", nil) })
				}
				wg.Wait()
				return &Answer{}, nil
			}
			<-hold
			return &Answer{}, nil
		}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		e := entry("a")
		e.Limits.Concurrency = 2
		w.apply(e)
		var wg sync.WaitGroup
		// A call that waits for its agent takes no slot, however much it asks.
		wg.Go(func() {
			c := toolCall("a", "x")
			c.Ask = func(context.Context, string, []byte) ([]byte, *wire.Error, error) { <-hold; return nil, nil, nil }
			mustCall(t, w, user("u"), c)
		})
		synctest.Wait()
		for range 2 {
			wg.Go(func() { mustCall(t, w, user("u"), toolCall("a", "x")) })
		}
		synctest.Wait()
		began := time.Now()
		_, err := w.Call(t.Context(), user("u"), toolCall("a", "x"))
		if !errors.Is(err, ErrBusy) || time.Since(began) != queueTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.Call(ctx, user("u"), toolCall("a", "x")); !errors.Is(err, ErrCancelled) {
			t.Errorf("cancelled in the queue: %v", err)
		}
		close(hold)
		wg.Wait()
		if n := len(w.upstream("a").slots); n != 0 {
			t.Errorf("%d slots are still taken", n)
		}
		mustCall(t, w, user("u"), toolCall("a", "x"))
	})
}

func TestCallThatEndsBeforeItsQuestionGivesItsSlotBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1)
		if err := s.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		turn := &turn{slots: s, held: true, over: make(chan struct{})}
		turn.pause()
		if err := s.enter(t.Context()); err != nil { // another call takes the slot
			t.Fatal(err)
		}
		go turn.resume()
		synctest.Wait()
		turn.end()
		synctest.Wait()
		if len(s) != 1 {
			t.Errorf("%d slots taken, want the other call's", len(s))
		}
	})
}

func TestFailuresOfTheUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		var answer error
		calls := 0
		a.answer = func(context.Context, *link, *Call) (*Answer, error) {
			calls++
			if answer != nil {
				return nil, &Failure{Upstream: "a", Kind: answer}
			}
			return &Answer{Error: &wire.Error{Code: -32602, Message: "no"}}, nil
		}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		if _, err := w.Call(t.Context(), user("u"), toolCall("nobody", "x")); !errors.Is(err, ErrUnknownUpstream) {
			t.Errorf("unknown upstream: %v", err)
		}
		for range 2 * breakerFailures { // its own errors are answers
			if got := mustCall(t, w, user("u"), toolCall("a", "x")); got.Error == nil {
				t.Fatal("no error")
			}
		}
		calls, answer = 0, ErrUnknownOutcome
		for range breakerFailures {
			if _, err := w.Call(t.Context(), user("u"), toolCall("a", "x")); !errors.Is(err, ErrUnknownOutcome) {
				t.Fatal(err)
			}
		}
		if calls != breakerFailures {
			t.Errorf("%d calls sent: an unknown outcome was repeated", calls)
		}
		_, err := w.Call(t.Context(), user("u"), toolCall("a", "x"))
		var f *Failure
		if !errors.As(err, &f) || f.Kind != ErrUnavailable || f.RetryAfter <= 0 || calls != breakerFailures {
			t.Errorf("open breaker: %v, %d calls", err, calls)
		}
		answer = nil
		time.Sleep(breakerLongest)
		mustCall(t, w, user("u"), toolCall("a", "x"))
	})
}

func TestDeadConnectionIsReplacedBeforeTheRequestIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.era = wire.Legacy
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		mustCall(t, w, user("u"), toolCall("a", "x"))
		a.open()[1].lose()
		mustCall(t, w, user("u"), toolCall("a", "x"))

		// Lost as the request came: it did not run, and is sent once more.
		tries := 0
		a.answer = func(_ context.Context, l *link, _ *Call) (*Answer, error) {
			if tries++; tries == 1 {
				l.lose()
				return nil, &Failure{Upstream: "a", Kind: ErrUnavailable, Detail: "session expired"}
			}
			return &Answer{}, nil
		}
		mustCall(t, w, user("u"), toolCall("a", "x"))
		if tries != 2 {
			t.Errorf("%d tries", tries)
		}
	})
}

func TestCredentialsOfAnotherUserDoNotBreakTheUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.config.Credentials = unlinked{"bob"}
		w.apply(entry("a"))
		for range 2 * breakerFailures {
			_, err := w.Call(t.Context(), user("bob"), toolCall("a", "x"))
			if !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
		}
		mustCall(t, w, user("alice"), toolCall("a", "x"))
	})
}

type unlinked struct{ user string }

func (s unlinked) Credential(_ context.Context, _ *catalogs.Upstream, p *identity.Principal) (credential.Credential, error) {
	if p != nil && p.Subject == s.user {
		return credential.Credential{}, errors.New("no account linked")
	}
	return credential.Credential{}, nil
}

// MCP 2026-07-28, HeaderMismatch: list the tools anew and try once more.
func TestHeaderMismatchIsRetriedOnceWithTheFreshDefinition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.caps = `{"tools":{}}`
		var seen []*Item
		a.answer = func(_ context.Context, l *link, c *Call) (*Answer, error) {
			seen = append(seen, c.Item)
			if len(c.Item.ParamHeaders) == 0 {
				return &Answer{Era: l.said.Era, Error: &wire.Error{Code: -32020, Message: "header missing"}}, nil
			}
			return &Answer{Era: l.said.Era, Result: []byte(`{}`)}, nil
		}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		item, _ := w.Snapshot().Find("a", Tool, "x")
		c := toolCall("a", "x")
		c.Item = item

		if got := mustCall(t, w, user("u"), c); got.Error == nil || len(seen) != 2 {
			t.Errorf("no better definition: %+v after %d calls", got, len(seen))
		}
		seen = nil
		a.set(Tool, `{"name":"x","inputSchema":{"type":"object","properties":{"r":{"type":"string","x-mcp-header":"R"}}}}`)
		if got := mustCall(t, w, user("u"), c); got.Error != nil || len(seen) != 2 || c.Item != item {
			t.Errorf("%+v after %d calls", got, len(seen))
		}
		seen = nil
		a.do(func() { a.era = wire.Legacy })
		a.open()[1].lose()
		if got := mustCall(t, w, user("u"), c); got.Error == nil || len(seen) != 1 {
			t.Errorf("legacy: %+v after %d calls", got, len(seen))
		}
	})
}

func TestCallGetsAnUpstreamListedAtOnceAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.refuse = ErrUnavailable
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		time.Sleep(10 * time.Minute) // the pause between attempts is at its longest
		a.do(func() { a.refuse = nil })
		mustCall(t, w, user("u"), toolCall("a", "x"))
		synctest.Wait()
		if s := w.status("a"); s.State != "ready" {
			t.Errorf("status: %+v", s)
		}
	})
}
