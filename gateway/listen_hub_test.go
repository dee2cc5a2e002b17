package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func hubOf(limits Limits) *hub {
	return newHub(&Gateway{Config: Config{Limits: limits.withDefaults()}})
}

// heard is an outlet that remembers what came when.
type heard struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func (h *heard) outlet() outlet {
	h.start = time.Now()
	note := func(s string) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.lines = append(h.lines, fmt.Sprintf("%v %s", time.Since(h.start), s))
		return nil
	}
	return outlet{
		changed: func(method string) error {
			return note(strings.TrimSuffix(strings.TrimPrefix(method, "notifications/"), "/list_changed"))
		},
		send: func(message []byte) error { return note(string(message)) },
	}
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

// serving serves l until the returned function is called.
func serving(t *testing.T, h *hub, l *listener, o outlet) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.serve(ctx, l, o); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	return func() { cancel(); <-done }
}

func TestChangesAreToldAtOnceThenOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, out := hubOf(Limits{}), &heard{}
		l := &listener{wants: toolsChanged | promptsChanged}
		h.register(l)
		stop := serving(t, h, l, out.outlet())
		synctest.Wait()
		for range 25 { // a flapping upstream, every 10 ms
			h.changed("files", toolsChanged)
			time.Sleep(10 * time.Millisecond)
		}
		h.changed("files", promptsChanged|resourcesChanged) // another kind has its own interval; the third is not wanted
		time.Sleep(2 * changeInterval)
		stop()
		want := []string{"0s tools", "250ms prompts", "1s tools"}
		if got := out.all(); !slices.Equal(got, want) {
			t.Errorf("heard %q, want %q", got, want)
		}
	})
}

func TestChangesReachOnlyWhoMayKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubOf(Limits{})
		listeners := map[string]*listener{
			"merged":          {wants: anyChanged},
			"its endpoint":    {wants: anyChanged, endpoint: "files"},
			"other endpoint":  {wants: anyChanged, endpoint: "mail"},
			"another kind":    {wants: promptsChanged},
			"upstream hidden": {wants: anyChanged, sees: func(u string) bool { return u != "files" }},
			"upstream shown":  {wants: anyChanged, sees: func(u string) bool { return u == "files" }},
			"unregistered":    {wants: anyChanged},
		}
		outs := map[string]*heard{}
		for name, l := range listeners {
			h.register(l)
			outs[name] = &heard{}
			defer serving(t, h, l, outs[name].outlet())()
		}
		h.unregister(listeners["unregistered"])
		h.changed("files", toolsChanged)
		synctest.Wait()
		for name, want := range map[string]int{"merged": 1, "its endpoint": 1, "upstream shown": 1} {
			if got := len(outs[name].all()); got != want {
				t.Errorf("%s: heard %d", name, got)
			}
			delete(outs, name)
		}
		for name, out := range outs {
			if got := out.all(); len(got) != 0 {
				t.Errorf("%s: heard %q", name, got)
			}
		}
	})
}

// A change is told if any of the upstreams behind it may be known, and also
// when they were too many to remember.
func TestChangesOfSeveralUpstreamsAreOne(t *testing.T) {
	for n, want := range map[int]int{changeNames: 0, changeNames + 1: 1} {
		synctest.Test(t, func(t *testing.T) {
			h, out := hubOf(Limits{}), &heard{}
			l := &listener{wants: anyChanged, sees: func(string) bool { return false }}
			h.register(l)
			for i := range n {
				h.changed(fmt.Sprint("upstream", i), toolsChanged)
				h.changed(fmt.Sprint("upstream", i), toolsChanged)
			}
			stop := serving(t, h, l, out.outlet())
			synctest.Wait()
			stop()
			if got := out.all(); len(got) != want {
				t.Errorf("%d upstreams: heard %q", n, got)
			}
		})
	}
}

func TestSlowListenerHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hubOf(Limits{})
		slow, quick := &listener{wants: anyChanged}, &listener{wants: anyChanged}
		h.register(slow)
		h.register(quick)
		release := make(chan struct{})
		told := 0
		stopSlow := serving(t, h, slow, outlet{
			changed: func(string) error { told++; <-release; return nil },
			send:    func([]byte) error { return nil },
		})
		out := &heard{}
		stopQuick := serving(t, h, quick, out.outlet())
		synctest.Wait()
		for range 10 {
			h.changed("files", toolsChanged) // never blocks
			slow.post([]byte("x"))
			time.Sleep(changeInterval)
		}
		synctest.Wait()
		if got := len(out.all()); got != 10 {
			t.Errorf("the quick one heard %d of 10", got)
		}
		close(release)
		time.Sleep(changeInterval)
		synctest.Wait()
		stopQuick()
		stopSlow()
		if told != 2 {
			t.Errorf("the slow one was told %d times, want once and once for all it missed", told)
		}
	})
}

func TestEqualMessagesThatWaitAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, out := hubOf(Limits{}), &heard{}
		l := &listener{}
		for range 3 {
			l.post([]byte("a"))
			l.post([]byte("b"))
		}
		stop := serving(t, h, l, out.outlet())
		synctest.Wait()
		l.post([]byte("a"))
		time.Sleep(time.Second)
		stop()
		if got, want := out.all(), []string{"0s a", "0s b", "100ms a"}; !slices.Equal(got, want) {
			t.Errorf("heard %q, want %q", got, want)
		}
	})
}

func TestQueueOfASlowListenerIsBounded(t *testing.T) {
	message := func(i int) []byte { return fmt.Appendf(nil, "%1024d", i) }
	l := &listener{}
	for i := range queueBytes / 1024 {
		l.post(message(i))
	}
	if len(l.queue) != queueBytes/1024 || string(l.queue[0]) != string(message(0)) {
		t.Errorf("at the limit: %d messages", len(l.queue))
	}
	l.post(message(-1))
	if len(l.queue) != queueBytes/1024 || string(l.queue[0]) != string(message(1)) || l.queued != queueBytes {
		t.Errorf("just above: %d messages, %d bytes", len(l.queue), l.queued)
	}
}

func TestLaterServeTakesOverUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, first, second := hubOf(Limits{}), &heard{}, &heard{}
		l := &listener{wants: anyChanged}
		h.register(l)
		stopFirst := serving(t, h, l, first.outlet())
		synctest.Wait()
		stopSecond := serving(t, h, l, second.outlet())
		synctest.Wait()
		h.changed("files", toolsChanged)
		synctest.Wait()
		stopSecond()
		time.Sleep(time.Second)
		h.changed("files", promptsChanged)
		synctest.Wait()
		stopFirst()
		h.changed("files", resourcesChanged) // nobody serves: it waits
		third := &heard{}
		stopThird := serving(t, h, l, third.outlet())
		synctest.Wait()
		stopThird()
		for i, c := range []struct{ got, want []string }{
			{first.all(), []string{"1s prompts"}}, {second.all(), []string{"0s tools"}}, {third.all(), []string{"0s resources"}},
		} {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("stream %d heard %q, want %q", i+1, c.got, c.want)
			}
		}
	})
}

func TestServeEnds(t *testing.T) {
	ended := make(chan struct{})
	close(ended)
	failing := errors.New("write failed")
	for _, c := range []struct {
		name string
		run  func(h *hub) error
		want error
	}{
		{"with the gateway", func(h *hub) error {
			h.closeAll()
			h.closeAll()
			return h.serve(t.Context(), &listener{}, outlet{})
		}, errClosing},
		{"with its stream", func(h *hub) error { return h.serve(t.Context(), &listener{}, outlet{ended: ended}) }, nil},
		{"when a change can't be sent", func(h *hub) error {
			l := &listener{wants: anyChanged}
			h.register(l)
			h.changed("files", toolsChanged)
			return h.serve(t.Context(), l, outlet{changed: func(string) error { return failing }})
		}, failing},
		{"when a message can't be sent", func(h *hub) error {
			l := &listener{}
			l.post([]byte("x"))
			return h.serve(t.Context(), l, outlet{send: func([]byte) error { return failing }})
		}, failing},
		{"when a keep-alive can't be sent", func(h *hub) error {
			return h.serve(t.Context(), &listener{}, outlet{keepAlive: time.Millisecond, beat: func() error { return failing }})
		}, failing},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(hubOf(Limits{})); !errors.Is(err, c.want) {
				t.Errorf("serve: %v, want %v", err, c.want)
			}
		})
	}
}

// Security catalogue A-115.
func TestStreamsOfOnePrincipal(t *testing.T) {
	s := newSession(t, "2025-11-25", Limits{Streams: 2})
	url := agentOf(t, s, nil)
	ctx, hangUp := context.WithCancel(t.Context())
	for i := range 2 {
		if resp, _ := request(t, ctx, http.MethodGet, url, ""); resp.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %s", i+1, resp.Status)
		}
	}
	resp, _ := request(t, t.Context(), http.MethodGet, url, "")
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("just above: %s %v", resp.Status, resp.Header)
	}
	if !s.home.g.hub.enter(person("bob", "cli").Key()) {
		t.Error("another principal has no stream left")
	}
	hangUp()
	waitFor(t, func() bool { return !s.busy() })
	waitFor(t, func() bool {
		resp, _ := request(t, t.Context(), http.MethodGet, url, "")
		return resp.StatusCode == http.StatusOK
	})
}

func TestGETStreamHearsChangesAndKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, "2025-06-18", Limits{KeepAlive: 15 * time.Second})
		w := newTape()
		ctx, hangUp := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "/mcp", nil)
		done := make(chan struct{})
		go func() { defer close(done); s.serveGET(w, r) }()
		synctest.Wait()
		if w.code() != http.StatusOK || w.text() != "" {
			t.Errorf("opened: %d %q", w.code(), w.text())
		}
		s.home.g.hub.changed("files", toolsChanged)
		s.broadcast([]byte(`{"updated":1}`))
		synctest.Wait()
		name := s.gets[0].name
		want := "id: " + name + "-1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n" +
			"id: " + name + "-2\ndata: {\"updated\":1}\n\n"
		if w.text() != want {
			t.Errorf("stream %q, want %q", w.text(), want)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if w.text() != want+keepAliveComment {
			t.Errorf("after KeepAlive: %q", w.text())
		}
		hangUp()
		<-done
		// What happens while the agent is away waits for its next stream.
		s.home.g.hub.changed("files", promptsChanged)
		w = newTape()
		ctx, hangUp = context.WithCancel(t.Context())
		r, _ = http.NewRequestWithContext(ctx, http.MethodGet, "/mcp", nil)
		r.Header.Set("Last-Event-ID", name+"-1")
		go s.serveGET(w, r)
		synctest.Wait()
		want = "id: " + name + "-2\ndata: {\"updated\":1}\n\n" +
			"id: " + name + "-3\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/prompts/list_changed\"}\n\n"
		if w.text() != want {
			t.Errorf("after resuming %q, want %q", w.text(), want)
		}
		hangUp()
	})
}

func TestClosingGatewayEndsGETStreamsWithRetry(t *testing.T) {
	for version, want := range map[string]string{"2025-06-18": "", "2025-11-25": retryField} {
		s := newSession(t, version, Limits{})
		w := newTape()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/mcp", nil)
		done := make(chan struct{})
		go func() { defer close(done); s.serveGET(w, r) }()
		waitFor(t, s.busy)
		s.home.g.hub.closeAll()
		<-done
		if w.text() != want {
			t.Errorf("%s: %q, want %q", version, w.text(), want)
		}
	}
}

// A stream whose agent does not read holds up neither the session's other
// requests nor those of others.
func TestSessionWithAStuckStreamStillOpens(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	s := reopen(t, g, token)
	w := newTape()
	w.stuck = make(chan struct{})
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/mcp", nil)
	done := make(chan struct{})
	go func() { defer close(done); s.serveGET(w, r) }()
	waitFor(t, s.busy)
	s.broadcast([]byte("{}"))
	waitFor(t, func() bool { l := s.listens(); l.mu.Lock(); defer l.mu.Unlock(); return len(l.queue) == 0 })
	ctx, cancel := context.WithCancel(t.Context())
	asked := askLater(ctx, s, nil) // waits for the stream
	waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.asks) == 1 })
	time.Sleep(10 * time.Millisecond)
	g.sessions.tidy()
	if reopen(t, g, token) != s {
		t.Error("the session was dropped")
	}
	release, ok := s.register([]byte("1"), func() {})
	if !ok {
		t.Error("no call can be made")
	}
	release()
	close(w.stuck)
	cancel()
	<-asked
	g.hub.closeAll()
	<-done
}

func BenchmarkChangedFor10kListeners(b *testing.B) {
	h := hubOf(Limits{})
	for range 10_000 {
		l := &listener{wants: anyChanged}
		l.claim()
		h.register(l)
	}
	b.ReportAllocs()
	for b.Loop() {
		h.changed("files", toolsChanged)
	}
}
