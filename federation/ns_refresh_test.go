package federation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// changes records what watchers were told.
type changes struct {
	mu  sync.Mutex
	all []Change
}

func (c *changes) note(ch Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, ch)
}

func (c *changes) take() []Change {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.all
	c.all = nil
	return out
}

func TestUpstreamsAreListedInOneNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tools("x", "y"), tools("x")
		a.set(Prompt, "hello")
		a.set(Resource, "file:///r")
		a.set(Template, "file:///{id}")
		b.caps = `{"tools":{}}`
		w := newWorld(t, nil, map[string]*script{"a": a, "b": b})
		defer w.stop()
		w.apply(entry("a"), entry("b"))
		equal(t, "tools", w.names(Merged, Tool), []string{"a__x", "a__y", "b__x"})
		equal(t, "prompts", w.names(Merged, Prompt), []string{"a__hello"})
		equal(t, "resources", w.names(Merged, Resource), []string{"file:///r#upstream=a"})
		equal(t, "templates", w.names(Merged, Template), []string{"file:///{id}#upstream=a"})
		equal(t, "asked of b, which has tools alone", b.asked, []string{"tools/list"})
		info, ok := w.Snapshot().Upstream("a")
		if !ok || !info.Known || info.Era != "modern" || string(info.Capabilities) != allCaps {
			t.Errorf("info: %+v", info)
		}
		if got := string(a.dials[0].Capabilities); got != string(fullCapabilities) {
			t.Errorf("the listing connection declares %s", got)
		}
		s := w.status("a")
		if s.State != "ready" || s.Tools != 2 || s.Prompts != 1 || s.Resources != 1 || s.Templates != 1 || s.Server != "fake 1" {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestHangingUpstreamDoesNotDelayOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scripts := map[string]*script{"zz": tools("x")}
		catalog := catalogOf()
		for n := range 2 * openAtOnce {
			name := fmt.Sprintf("hang%02d", n)
			scripts[name] = &script{hang: true}
			catalog.Upstreams = append(catalog.Upstreams, entry(name))
		}
		w := newWorld(t, nil, scripts)
		defer w.stop()
		if err := w.Apply(t.Context(), catalog); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // all places are taken
		if err := w.Apply(t.Context(), catalogOf(append(catalog.Upstreams, entry("zz"))...)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * openSlow)
		synctest.Wait()
		equal(t, "tools", w.names(Merged, Tool), []string{"zz__x"})
		if s := w.status("hang00"); s.State != "connecting" {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestAllPagesAreWalked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("1", "2", "3", "4", "5")
		a.paging = 2
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		equal(t, "tools", w.names("a", Tool), []string{"1", "2", "3", "4", "5"})
	})
}

// pager answers list requests by cursor, nil = none.
func listWith(t *testing.T, page func(cursor *string) string) (*pages, error) {
	t.Helper()
	f := newWorld(t, nil, nil)
	u := f.newUpstream(entry("a"))
	conn := &pagerConn{page: page}
	return u.listKind(t.Context(), conn, Tool, &budget{items: maxItems, bytes: maxListing})
}

type pagerConn struct {
	connection
	page func(cursor *string) string
}

func (c *pagerConn) peer() *peer { return &peer{} }

func (c *pagerConn) do(_ context.Context, call *Call) (*Answer, error) {
	params, err := wire.Fields(call.Params)
	if err != nil {
		return nil, err
	}
	var cursor *string
	if s, ok := params.String("cursor"); ok {
		cursor = &s
	}
	return &Answer{Result: []byte(c.page(cursor))}, nil
}

func TestEmptyCursorIsACursor(t *testing.T) {
	p, err := listWith(t, func(cursor *string) string {
		if cursor == nil {
			return `{"tools":[{"name":"a"}],"nextCursor":""}`
		}
		return `{"tools":[{"name":"b"}]}`
	})
	if err != nil || len(p.items) != 2 || len(p.notes) != 0 {
		t.Errorf("%+v %v", p, err)
	}
}

func TestServerThatEndsItsListWithAnEmptyCursorIsReadOnce(t *testing.T) {
	p, err := listWith(t, func(*string) string { return `{"tools":[{"name":"a"},{"name":"b"}],"nextCursor":""}` })
	if err != nil || len(p.items) != 2 || len(p.notes) != 0 {
		t.Errorf("%+v %v", p, err)
	}
}

func TestCursorLoopEndsTheWalk(t *testing.T) {
	asked := 0
	p, err := listWith(t, func(*string) string {
		asked++
		return fmt.Sprintf(`{"tools":[{"name":"t%d"}],"nextCursor":"c%d"}`, asked, asked%3)
	})
	if err != nil || asked != 4 || len(p.items) != 4 || len(p.notes) != 1 {
		t.Errorf("asked %d: %+v %v", asked, p, err)
	}
}

func TestUnusableListIsAnError(t *testing.T) {
	for _, result := range []string{`{}`, `{"tools":{}}`, `{"tools":[],"nextCursor":7}`, `[]`} {
		if p, err := listWith(t, func(*string) string { return result }); err == nil {
			t.Errorf("%s: %+v", result, p)
		}
	}
}

func TestLimitsOfAListing(t *testing.T) {
	count := func(pages, perPage, size int) (int, int) {
		n := 0
		item := `{"d":"` + strings.Repeat("d", max(size-8, 0)) + `"},`
		page := strings.TrimSuffix(strings.Repeat(item, perPage), ",")
		p, err := listWith(t, func(*string) string {
			n++
			if n == pages {
				return `{"tools":[` + page + `]}`
			}
			return fmt.Sprintf(`{"tools":[%s],"nextCursor":"c%d"}`, page, n)
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(p.items), len(p.notes)
	}
	for _, c := range []struct {
		rule                 string
		pages, perPage, size int
		wantItems, wantNotes int
	}{
		{"1000 pages", maxPages, 1, 0, maxPages, 0},
		{"1001 pages", maxPages + 1, 1, 0, maxPages, 1},
		{"20,000 items", 2, maxItems / 2, 0, maxItems, 0},
		{"20,001 items", 1, maxItems + 1, 0, maxItems, 1},
		{"64 MiB", 64, 1, 1 << 20, 64, 0},
		{"64 MiB and one item", 65, 1, 1 << 20, 64, 1},
	} {
		if items, notes := count(c.pages, c.perPage, c.size); items != c.wantItems || notes != c.wantNotes {
			t.Errorf("%s: %d items, %d notes", c.rule, items, notes)
		}
	}
}

func TestListChangedNotifiesEvenIfTheListIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		synctest.Wait()
		var told changes
		defer w.Watch(told.note)()
		revision := w.Snapshot().Revision()

		began := time.Now()
		a.say("notifications/tools/list_changed", `{}`)
		synctest.Wait()
		got := told.take()
		if len(got) != 1 || got[0] != (Change{Upstream: "a", Kinds: [kinds]bool{Tool: true}}) {
			t.Fatalf("told %v", got)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("the first refresh waited %v", waited)
		}
		if w.Snapshot().Revision() != revision {
			t.Error("the revision changed")
		}

		a.set(Resource, "file:///new")
		a.say("notifications/resources/list_changed", `{}`)
		a.say("notifications/prompts/list_changed", `{}`)
		time.Sleep(2 * debounce)
		synctest.Wait()
		got = told.take()
		if len(got) != 1 || got[0].Kinds != [kinds]bool{Prompt: true, Resource: true, Template: true} {
			t.Fatalf("told %v", got)
		}
		equal(t, "resources", w.names("a", Resource), []string{"file:///new"})
	})
}

func TestSnapshotShowsAChangeWhenItsWatcherIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		synctest.Wait()
		seen := 0
		defer w.Watch(func(Change) { seen = len(w.Snapshot().List("a", Tool)) })()
		a.set(Tool, "x", "y")
		a.say("notifications/tools/list_changed", `{}`)
		synctest.Wait()
		if seen != 2 {
			t.Errorf("the watcher saw %d tools", seen)
		}
	})
}

func TestAFloodOfListChangedIsDebounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.caps = `{"tools":{"listChanged":true}}`
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		synctest.Wait()
		before := len(a.asked)
		for range 100 {
			a.say("notifications/tools/list_changed", `{}`)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(debounce)
		synctest.Wait()
		if n := len(a.asked) - before; n < 5 || n > 7 {
			t.Errorf("1 s of changes made %d listings", n)
		}
	})
}

func TestLastSnapshotIsServedWhileAnUpstreamIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		synctest.Wait()
		a.do(func() { a.refuse = ErrUnavailable })
		a.open()[0].lose()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		equal(t, "tools", w.names(Merged, Tool), []string{"a__x"})
		if s := w.status("a"); s.State != "unavailable" || !strings.Contains(s.Detail, "refused") {
			t.Errorf("status: %+v", s)
		}

		var told changes
		defer w.Watch(told.note)()
		a.set(Tool, "x", "new")
		a.do(func() { a.refuse = nil })
		time.Sleep(retryLast + time.Second)
		synctest.Wait()
		equal(t, "tools", w.names(Merged, Tool), []string{"a__new", "a__x"})
		if got := told.take(); len(got) != 1 || !got[0].Kinds[Tool] || got[0].Kinds[Prompt] {
			t.Errorf("told %v", got)
		}
		if s := w.status("a"); s.State != "ready" || s.Detail != "" {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestBackoffGrowsToItsCeilingWithJitter(t *testing.T) {
	var b backoff
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		want *= time.Second
		if got := b.next(); got < want/2 || got > want {
			t.Errorf("pause %d: %v, want up to %v", n, got, want)
		}
	}
	b.reset()
	if got := b.next(); got > retryFirst {
		t.Errorf("after reset: %v", got)
	}
}

func TestOneFailingListKeepsItsLastVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.set(Prompt, "p")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		synctest.Wait()
		a.set(Tool, "x", "y")
		a.set(Prompt, "p", "q")
		a.do(func() { a.listErr = map[string]*wire.Error{"prompts/list": {Code: -32603, Message: "oops"}} })
		a.say("notifications/tools/list_changed", `{}`)
		a.say("notifications/prompts/list_changed", `{}`)
		time.Sleep(2 * debounce)
		synctest.Wait()
		equal(t, "tools", w.names("a", Tool), []string{"x", "y"})
		equal(t, "prompts", w.names("a", Prompt), []string{"p"})
		if s := w.status("a"); s.State != "ready" || !strings.Contains(s.Detail, "oops") {
			t.Errorf("status: %+v", s)
		}
		a.do(func() { a.listErr = nil })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		equal(t, "prompts once it answers", w.names("a", Prompt), []string{"p", "q"})
		if s := w.status("a"); s.Detail != "" {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestMethodNotFoundIsAnEmptyList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.listErr = map[string]*wire.Error{"resources/templates/list": {Code: -32601, Message: "no"}}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		if s := w.status("a"); s.State != "ready" || s.Detail != "" || s.Tools != 1 {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestUpstreamWithoutNotificationsIsPolled(t *testing.T) {
	for _, c := range []struct {
		rule string
		era  wire.Era
		ttl  string
		want time.Duration
	}{
		{"modern, by its ttl", wire.Modern, "45000", 45 * time.Second},
		{"modern, not more often than the floor", wire.Modern, "0", pollFloor},
		{"modern, not more seldom than the ceiling", wire.Modern, "999999999999999", pollCeiling},
		{"modern, no ttl", wire.Modern, "", pollLegacy},
		{"legacy", wire.Legacy, "", pollLegacy},
	} {
		t.Run(c.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := tools("x")
				a.era, a.ttl, a.caps = c.era, c.ttl, `{"tools":{}}`
				w := newWorld(t, nil, map[string]*script{"a": a})
				defer w.stop()
				w.apply(entry("a"))
				synctest.Wait()
				time.Sleep(c.want - time.Millisecond)
				synctest.Wait()
				if n := len(a.asked); n != 1 {
					t.Fatalf("%d listings before it was time", n)
				}
				a.set(Tool, "y")
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				equal(t, "tools", w.names("a", Tool), []string{"y"})
				time.Sleep(c.want)
				synctest.Wait()
				if n := len(a.asked); n != 3 {
					t.Errorf("%d listings after two polls", n)
				}
			})
		})
	}
}

func TestLostStreamOfALiveUpstreamIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		streams := 0
		a.listen = func(ctx context.Context, c *link, f listenFilter, ready func()) error {
			a.do(func() { streams++ })
			ready()
			select {
			case <-time.After(10 * time.Second):
				return &Failure{Kind: ErrUnknownOutcome}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		a.set(Tool, "x", "missed") // while no stream is open
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s := w.status("a"); s.State != "ready" || streams < 2 || len(a.dials) != 1 {
			t.Errorf("%+v after %d streams, %d dials", s, streams, len(a.dials))
		}
		equal(t, "tools", w.names("a", Tool), []string{"missed", "x"})
	})
}

func TestWatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, down, quiet := tools("x"), tools("x"), tools("x")
		slow.listen = func(ctx context.Context, c *link, f listenFilter, ready func()) error {
			time.Sleep(300 * time.Millisecond)
			ready()
			<-ctx.Done()
			return ctx.Err()
		}
		down.refuse = ErrUnavailable
		quiet.caps = `{"tools":{}}`
		w := newWorld(t, nil, map[string]*script{"slow": slow, "down": down, "quiet": quiet})
		defer w.stop()
		w.apply(entry("down"), entry("quiet"), entry("slow"))

		began := time.Now()
		w.Watching(t.Context(), []string{"down", "quiet", "unknown"})
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v for upstreams that send nothing", waited)
		}
		w.Watching(t.Context(), []string{"down", "slow"})
		if waited := time.Since(began); waited != 300*time.Millisecond {
			t.Errorf("waited %v for the slow one", waited)
		}
	})
}

func TestWatchingEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &script{hang: true}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		if err := w.Apply(t.Context(), catalogOf(entry("a"))); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		w.Watching(ctx, []string{"a"})
		w.Settle(ctx)
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestOneHangingListCostsTheOthersNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.listFail = map[string]error{"prompts/list": ErrTimeout}
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := w.status("a"); s.State != "ready" || s.Detail == "" || s.Tools != 1 || len(a.dials) != 1 {
			t.Errorf("%+v after %d dials", s, len(a.dials))
		}
	})
}

// A stateless connection is never lost: the upstream behind it is.
func TestUpstreamGoneBehindAStatelessConnectionIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		a.caps = `{"tools":{}}`
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		a.do(func() {
			a.listFail = map[string]error{"tools/list": ErrUnavailable}
			a.refuse = ErrUnavailable
		})
		time.Sleep(pollLegacy + time.Second)
		synctest.Wait()
		if s := w.status("a"); s.State != "unavailable" {
			t.Errorf("status: %+v", s)
		}
		equal(t, "tools", w.names("a", Tool), []string{"x"})
	})
}
