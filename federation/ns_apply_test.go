package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

func TestReloadKeepsWhatIsUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tools("x"), tools("y")
		w := newWorld(t, nil, map[string]*script{"a": a, "b": b})
		defer w.stop()
		w.apply(entry("a"), entry("b"))
		mustCall(t, w, user("u"), toolCall("a", "x"))
		kept := a.open()
		moved := entry("a")
		moved.Source.Line = 40
		w.apply(moved, entry("b"))
		w.apply(entry("a"))
		synctest.Wait()
		if now := a.open(); !slices.Equal(now, kept) {
			t.Errorf("connections %v became %v", kept, now)
		}
		if len(b.open()) != 0 {
			t.Error("the removed upstream is still connected")
		}
		equal(t, "tools", w.names(Merged, Tool), []string{"a__x"})
		if _, err := w.Call(t.Context(), user("u"), toolCall("b", "y")); !errors.Is(err, ErrUnknownUpstream) {
			t.Errorf("removed upstream: %v", err)
		}
	})
}

func TestReloadOfWordsKeepsConnectionsAndAppliesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		mustCall(t, w, user("u"), toolCall("a", "x"))
		synctest.Wait()
		var told changes
		defer w.Watch(told.note)()
		kept := a.open()
		other := entry("a")
		other.Prefix, other.Labels = "renamed", []string{"write"}
		w.apply(other)
		equal(t, "tools", w.names(Merged, Tool), []string{"renamed__x"})
		if i := w.Snapshot().List(Merged, Tool)[0]; !slices.Equal(i.Labels, []string{"write"}) || i.Upstream != other {
			t.Errorf("item: %+v", i)
		}
		if !slices.Equal(a.open(), kept) {
			t.Error("reconnected")
		}
		if got := told.take(); len(got) != 1 || !got[0].Kinds[Tool] {
			t.Errorf("told %v", got)
		}
		a.set(Tool, "x", "y")
		a.say("notifications/tools/list_changed", `{}`)
		synctest.Wait()
		equal(t, "tools after a refresh", w.names(Merged, Tool), []string{"renamed__x", "renamed__y"})
	})
}

func TestChangedSecretReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		one, two := entry("a"), entry("a")
		one.Auth.Value, two.Auth.Value = "one", "two"
		w.apply(one)
		first := a.open()[0]
		w.apply(two)
		synctest.Wait()
		if !first.closed() || len(a.dials) != 2 || a.dials[1].Upstream.Auth.Value.Reveal() != "two" {
			t.Error("the old credential is still in use")
		}
		equal(t, "tools", w.names(Merged, Tool), []string{"a__x"})
	})
}

func TestRemovedUpstreamIsDrained(t *testing.T) {
	for _, c := range []struct {
		rule  string
		takes time.Duration
		cut   bool
	}{
		{"a call in flight finishes", drainTime - time.Second, false},
		{"a call that takes longer is cut", drainTime + 10*time.Second, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := tools("x")
				a.answer = func(_ context.Context, l *link, _ *Call) (*Answer, error) {
					select {
					case <-time.After(c.takes):
						return &Answer{}, nil
					case <-l.gone:
						return nil, &Failure{Upstream: "a", Kind: ErrUnknownOutcome}
					}
				}
				w := newWorld(t, nil, map[string]*script{"a": a})
				defer w.stop()
				w.apply(entry("a"))
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := w.Call(t.Context(), user("u"), toolCall("a", "x"))
					if cut := errors.Is(err, ErrUnknownOutcome); cut != c.cut || !cut && err != nil {
						t.Errorf("call: %v", err)
					}
				})
				synctest.Wait()
				began := time.Now()
				w.apply()
				if time.Since(began) != 0 {
					t.Error("Apply waited for the call")
				}
				wg.Wait()
				synctest.Wait()
				if len(a.open()) != 0 {
					t.Error("still connected")
				}
			})
		})
	}
}

func TestConnectionThatNobodyWaitsForAnyMoreIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		a.do(func() { a.slow = 10 * time.Second })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.Call(ctx, user("u"), toolCall("a", "x")); !errors.Is(err, ErrCancelled) {
			t.Errorf("call: %v", err)
		}
		w.apply()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if len(a.links) != 2 || len(a.open()) != 0 {
			t.Errorf("%d of %d connections are open", len(a.open()), len(a.links))
		}
	})
}

func TestCallDuringAReloadReachesTheNewUpstream(t *testing.T) {
	a := tools("x")
	w := newWorld(t, nil, map[string]*script{"a": a})
	defer w.stop()
	w.apply(entry("a"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := w.Call(context.Background(), user("u"), toolCall("a", "x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := range 30 {
		e := entry("a")
		e.Proxy = fmt.Sprint(n) // something that needs a new connection
		if err := w.Apply(t.Context(), catalogOf(e)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestDisabledUpstreamIsNotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		off := entry("a")
		off.Enabled = false
		w.apply(off)
		synctest.Wait()
		if s := w.status("a"); s.State != "disabled" || len(a.dials) != 0 || len(w.Snapshot().Upstreams()) != 0 {
			t.Errorf("status: %+v", s)
		}
		if _, err := w.Call(t.Context(), user("u"), toolCall("a", "x")); !errors.Is(err, ErrUnknownUpstream) {
			t.Errorf("call: %v", err)
		}
		w.apply(entry("a"))
		equal(t, "tools", w.names(Merged, Tool), []string{"a__x"})
		w.apply(off)
		synctest.Wait()
		if len(a.open()) != 0 || len(w.names(Merged, Tool)) != 0 {
			t.Error("still there after it was disabled")
		}
	})
}

func TestUnreachableUpstreamIsAStatusNotAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.refuse = ErrUnavailable
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(program("a"))
		s := w.status("a")
		if s.State != "unavailable" || s.Detail == "" || s.Transport != "stdio" {
			t.Errorf("status: %+v", s)
		}
		if info, ok := w.Snapshot().Upstream("a"); !ok || info.Known {
			t.Errorf("info: %+v %v", info, ok)
		}
	})
}

func TestColdStartListsWithEveryUpstreamDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keeper{}
		odd := `{"name":"odd","title":"<&>","n":123456789012345678901234567890.10,"inputSchema":{"type":"object"}}`
		a, b := tools("x", odd, `{"name":7}`), tools("x")
		a.set(Resource, "file:///r")
		a.era = wire.Legacy
		w := newWorld(t, store, map[string]*script{"a": a, "b": b})
		plain := bare("b")
		w.apply(entry("a"), plain)
		before := w.Snapshot()
		w.stop()

		a.do(func() { a.refuse = ErrUnavailable })
		b.do(func() { b.hang = true })
		again := newWorld(t, store, map[string]*script{"a": a, "b": b})
		defer again.stop()
		if err := again.Apply(t.Context(), catalogOf(entry("a"), bare("b"))); err != nil {
			t.Fatal(err)
		}
		after := again.Snapshot()
		if after.Revision() != before.Revision() {
			t.Error("the revision is another one after the restart")
		}
		for k := range kinds {
			was, is := before.List(Merged, k), after.List(Merged, k)
			if len(was) != len(is) {
				t.Fatalf("%v: %d became %d", k, len(was), len(is))
			}
			for n := range was {
				if string(was[n].Own) != string(is[n].Own) || string(was[n].Merged) != string(is[n].Merged) {
					t.Errorf("%s became %s", was[n].Own, is[n].Own)
				}
			}
		}
		info, _ := after.Upstream("a")
		if !info.Known || info.Era != "legacy" || string(info.Capabilities) != allCaps {
			t.Errorf("info: %+v", info)
		}
		synctest.Wait()
		if last := a.dials[len(a.dials)-1]; last.Era == nil || *last.Era != wire.Legacy {
			t.Error("the era was not remembered")
		}
		if s := again.status("a"); len(s.LeftOut) != 1 || s.State != "unavailable" {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestHeldNameStaysWithItsHolderAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keeper{}
		a, z := tools("x"), tools("x")
		scripts := map[string]*script{"a": a, "z": z}
		w := newWorld(t, store, scripts)
		w.apply(bare("z"))
		w.apply(bare("a"), bare("z"))
		if got := holder(w.Snapshot(), Tool, "x"); got != "z" {
			t.Fatalf("held by %q", got)
		}
		w.stop()
		a.refuse, z.refuse = ErrUnavailable, ErrUnavailable
		again := newWorld(t, store, scripts)
		defer again.stop()
		again.apply(bare("a"), bare("z"))
		if got := holder(again.Snapshot(), Tool, "x"); got != "z" {
			t.Errorf("held by %q after the restart", got)
		}
	})
}

func TestPersistedSnapshotOfAnotherServerIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keeper{}
		a := tools("x")
		scripts := map[string]*script{"a": a}
		w := newWorld(t, store, scripts)
		w.apply(entry("a"))
		w.stop()
		a.refuse = ErrUnavailable
		again := newWorld(t, store, scripts)
		defer again.stop()
		elsewhere := entry("a")
		elsewhere.URL = "http://127.0.0.1:2/elsewhere"
		again.apply(elsewhere)
		if names := again.names(Merged, Tool); len(names) != 0 {
			t.Errorf("served %v", names)
		}
	})
}

func TestUnusablePersistedSnapshotIsIgnored(t *testing.T) {
	for _, value := range []string{"", "{", `{"format":2}`, `{"format":1}`} {
		synctest.Test(t, func(t *testing.T) {
			store := &keeper{values: map[string][]byte{"a": []byte(value)}}
			w := newWorld(t, store, map[string]*script{"a": tools("x")})
			defer w.stop()
			w.apply(entry("a"))
			equal(t, "tools", w.names(Merged, Tool), []string{"a__x"})
		})
	}
}

func TestPersistedSnapshotGoesWithItsEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keeper{}
		w := newWorld(t, store, map[string]*script{"a": tools("x"), "b": tools("y")})
		defer w.stop()
		w.apply(entry("a"), entry("b"))
		synctest.Wait()
		off := entry("b")
		off.Enabled = false
		w.apply(off)
		synctest.Wait()
		if store.values["a"] != nil || store.values["b"] == nil {
			t.Errorf("kept a: %v, b: %v", store.values["a"] != nil, store.values["b"] != nil)
		}
	})
}

func TestSavesAreCoalescedAndSlowStoresHoldUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &keeper{block: make(chan struct{})}
		a := tools("x")
		w := newWorld(t, store, map[string]*script{"a": a})
		w.apply(entry("a"))
		synctest.Wait()
		for n := range 10 {
			a.set(Tool, fmt.Sprint(n))
			a.say("notifications/tools/list_changed", `{}`)
			time.Sleep(2 * debounce)
		}
		synctest.Wait()
		equal(t, "tools", w.names("a", Tool), []string{"9"})
		close(store.block)
		w.stop()
		if store.saves != 2 {
			t.Errorf("%d saves", store.saves)
		}
		var s stored
		if err := json.Unmarshal(store.values["a"], &s); err != nil || len(s.Items["tool"]) != 1 || !strings.Contains(string(s.Items["tool"][0]), `"9"`) {
			t.Errorf("stored %s: %v", store.values["a"], err)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	// synctest reports a goroutine that is left.
	synctest.Test(t, func(t *testing.T) {
		a, hang := tools("x"), &script{hang: true}
		a.era = wire.Legacy
		w := newWorld(t, &keeper{}, map[string]*script{"a": a, "hang": hang})
		if err := w.Apply(t.Context(), catalogOf(entry("a"), entry("hang"), entry("down"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		mustCall(t, w, user("u"), toolCall("a", "x"))
		w.stop()
		for _, l := range a.links {
			if !l.ended {
				t.Error("a connection was not closed")
			}
		}
		if err := w.Apply(t.Context(), catalogOf(entry("a"))); err == nil {
			t.Error("a closed Federation takes a catalog")
		}
		if _, err := w.Call(t.Context(), user("u"), toolCall("a", "x")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("call: %v", err)
		}
		w.stop()
	})
}

func TestCloseCutsCallsWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.answer = func(_ context.Context, l *link, _ *Call) (*Answer, error) {
			<-l.gone
			return nil, &Failure{Upstream: "a", Kind: ErrUnknownOutcome}
		}
		w := newWorld(t, nil, map[string]*script{"a": a})
		w.apply(entry("a"))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := w.Call(t.Context(), user("u"), toolCall("a", "x")); err == nil {
				t.Error("an answer")
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		wg.Wait()
		if len(a.open()) != 0 {
			t.Error("still connected")
		}
	})
}

func TestApplySnapshotAndCallTogether(t *testing.T) {
	scripts := map[string]*script{}
	for n := range 6 {
		s := tools("x", "y")
		if n%2 == 0 {
			s.era = wire.Legacy
		}
		scripts[fmt.Sprint("u", n)] = s
	}
	w := newWorld(t, &keeper{}, scripts)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	loop := func(f func(n int)) {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					f(n)
				}
			}
		})
	}
	loop(func(n int) {
		s := w.Snapshot()
		for _, i := range s.List(Merged, Tool) {
			if found, ok := s.Find(Merged, Tool, i.Exposed); !ok || found != i {
				t.Error("a snapshot disagrees with itself")
			}
		}
		w.Status()
	})
	for c := range 3 {
		loop(func(n int) {
			_, err := w.Call(context.Background(), user(fmt.Sprint(n%3)), toolCall(fmt.Sprint("u", (n+c)%6), "x"))
			if err != nil && !errors.Is(err, ErrUnknownUpstream) && !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		})
	}
	loop(func(n int) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_ = w.Subscribe(ctx, user("s"), Agent{}, fmt.Sprint("u", n%6), []string{"file:///r"}, func() {}, func([]byte) {})
	})
	loop(func(n int) {
		scripts[fmt.Sprint("u", n%6)].say("notifications/tools/list_changed", `{}`)
		time.Sleep(time.Millisecond)
	})
	for n := range 40 {
		var entries []*catalogs.Upstream
		for u := range 6 {
			if (n>>u)&1 == 0 {
				e := entry(fmt.Sprint("u", u))
				if n%3 == 0 {
					e.Labels = []string{"l"}
				}
				if n%5 == 0 {
					e.Proxy = "p"
				}
				entries = append(entries, e)
			}
		}
		if err := w.Apply(t.Context(), catalogOf(entries...)); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Millisecond)
		// A listing that was under way for an earlier catalog changes nothing.
		now := w.Snapshot()
		if len(now.Upstreams()) != len(entries) {
			t.Errorf("%d upstreams after a catalog of %d", len(now.Upstreams()), len(entries))
		}
		for _, i := range now.List(Merged, Tool) {
			if want := entries[slices.IndexFunc(entries, func(e *catalogs.Upstream) bool { return e.Name == i.Upstream.Name })]; !slices.Equal(i.Labels, want.Labels) {
				t.Errorf("%s has labels %v, want %v", i.Exposed, i.Labels, want.Labels)
			}
		}
	}
	close(stop)
	wg.Wait()
	w.stop()
}
