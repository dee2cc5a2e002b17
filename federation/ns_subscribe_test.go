package federation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// subscriber records what one Subscribe delivers.
type subscriber struct {
	mu    sync.Mutex
	got   []string
	ready int
	err   error
	ended chan struct{}
}

func (w *world) subscribe(ctx context.Context, upstream string, uris ...string) *subscriber {
	s := &subscriber{ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		s.err = w.Subscribe(ctx, user("u"), Agent{}, upstream, uris, func() { s.ready++ }, func(params []byte) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.got = append(s.got, string(params))
		})
	}()
	return s
}

func (s *subscriber) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func TestSubscriptionDeliversUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.era = wire.Legacy
		a.caps = `{"resources":{"subscribe":true}}`
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		ctx, cancel := context.WithCancel(t.Context())
		s := w.subscribe(ctx, "a", "file:///r")
		synctest.Wait()
		a.say("notifications/resources/updated", `{"uri":"file:///r","x":1}`)
		a.say("notifications/tools/list_changed", `{}`)
		synctest.Wait()
		equal(t, "updates", s.take(), []string{`{"uri":"file:///r","x":1}`})
		time.Sleep(2 * idleTime)
		synctest.Wait()
		if callLinks(a) != 1 {
			t.Error("the subscription's connection was closed as idle")
		}
		cancel()
		<-s.ended
		if !errors.Is(s.err, context.Canceled) || s.ready != 1 {
			t.Errorf("%v, ready %d times", s.err, s.ready)
		}
	})
}

func TestSubscriptionSurvivesALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.caps = `{"resources":{}}`
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		s := w.subscribe(t.Context(), "a", "file:///r", "file:///s")
		synctest.Wait()
		a.open()[1].lose()
		time.Sleep(2 * retryFirst)
		synctest.Wait()
		// What changed meanwhile nobody can tell.
		equal(t, "updates", s.take(), []string{`{"uri":"file:///r"}`, `{"uri":"file:///s"}`})
		if s.ready != 1 {
			t.Errorf("ready %d times", s.ready)
		}
		w.apply()
		<-s.ended
		if !errors.Is(s.err, ErrUnknownUpstream) {
			t.Errorf("after the upstream is gone: %v", s.err)
		}
	})
}

func TestSubscriptionFollowsAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.caps = `{"resources":{}}`
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		ctx, cancel := context.WithCancel(t.Context())
		s := w.subscribe(ctx, "a", "file:///r")
		synctest.Wait()
		other := entry("a")
		other.Proxy = "http://proxy"
		w.apply(other)
		synctest.Wait()
		a.say("notifications/resources/updated", `{"n":1}`)
		synctest.Wait()
		if got := s.take(); !slices.Contains(got, `{"n":1}`) {
			t.Errorf("updates: %v", got)
		}
		cancel()
		<-s.ended
	})
}

func TestSubscriptionThatCannotStandFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, deaf := tools("x"), tools("x")
		a.refuse = ErrUnavailable
		deaf.listen = func(context.Context, *link, listenFilter, func()) error { return errNoNotifications }
		w := newWorld(t, nil, map[string]*script{"a": a, "deaf": deaf})
		defer w.stop()
		w.apply(entry("a"), entry("deaf"))
		for upstream, want := range map[string]error{"a": ErrUnavailable, "deaf": ErrUnavailable, "nobody": ErrUnknownUpstream} {
			s := w.subscribe(t.Context(), upstream, "file:///r")
			<-s.ended
			var f *Failure
			if !errors.As(s.err, &f) || f.Kind != want || s.ready != 0 {
				t.Errorf("%s: %v", upstream, s.err)
			}
		}
	})
}
