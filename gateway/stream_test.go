package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

type event struct{ id, data string }

// readEvents delivers the events of a stream until it ends.
func readEvents(r io.Reader) <-chan event {
	events := make(chan event, 1000)
	reader := wire.NewEventReader(r, 8<<20)
	go func() {
		defer close(events)
		for {
			e, err := reader.Next()
			if err != nil {
				return
			}
			events <- event{e.ID, string(e.Data)}
		}
	}()
	return events
}

// agentOf serves a session over real HTTP: GET is its stream, POST is answered
// by call.
func agentOf(t *testing.T, s *session, call func(rp *reply)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			s.serveGET(w, r)
			return
		}
		rp := newReply(w, r, replyOptions{json: true, sse: true, session: s})
		defer rp.close()
		call(rp)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(s.home.g.hub.closeAll) // else Close waits for GET streams
	return server.URL
}

// request opens a stream and its events; cancelling ctx hangs up.
func request(t *testing.T, ctx context.Context, method, url, last string) (*http.Response, <-chan event) {
	t.Helper()
	r, _ := http.NewRequestWithContext(ctx, method, url, nil)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp, readEvents(resp.Body)
}

func numbered(i int) []byte { return fmt.Appendf(nil, note, i) }

func TestResumeGetsExactlyWhatWasMissedOnce(t *testing.T) {
	s := newSession(t, "2025-06-18", Limits{})
	more := make(chan int)
	url := agentOf(t, s, func(rp *reply) {
		for i := range more {
			if err := rp.send(numbered(i)); err != nil {
				t.Errorf("send %d: %v", i, err)
			}
		}
		rp.finish(http.StatusOK, []byte(result), nil)
	})
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		for i := range 3 {
			more <- i
		}
	}()
	_, events := request(t, ctx, http.MethodPost, url, "")
	var last string
	for i := range 3 {
		e := <-events
		if e.data != string(numbered(i)) {
			t.Fatalf("event %d: %+v", i, e)
		}
		if i == 1 {
			last = e.id // the third arrives, but the agent loses it
		}
	}
	hangUp()
	more <- 3 // while nobody reads
	more <- 4
	resp, events := request(t, t.Context(), http.MethodGet, url, last)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("resume: %s", resp.Status)
	}
	ids := map[string]bool{}
	for i := 2; i < 6; i++ {
		if i == 5 {
			more <- 5 // live again
		}
		e := <-events
		if e.data != string(numbered(i)) {
			t.Errorf("event %d after resuming: %+v", i, e)
		}
		if ids[e.id] || !strings.HasPrefix(e.id, last[:strings.Index(last, "-")+1]) {
			t.Errorf("event id %q is not unique or names another stream than %q", e.id, last)
		}
		ids[e.id] = true
		last = e.id
	}
	close(more)
	if e := <-events; e.data != result {
		t.Errorf("result after resuming: %+v", e)
	}
	if e, ok := <-events; ok {
		t.Errorf("an event after the result: %+v", e)
	}
	// Once more, after the end: only what followed, and then the end.
	_, events = request(t, t.Context(), http.MethodGet, url, last)
	if e := <-events; e.data != result {
		t.Errorf("result replayed: %+v", e)
	}
	if e, ok := <-events; ok {
		t.Errorf("an event after the replayed result: %+v", e)
	}
}

func TestResumedStreamHasOneConnection(t *testing.T) {
	s := newSession(t, "2025-06-18", Limits{})
	more := make(chan int)
	url := agentOf(t, s, func(rp *reply) {
		for i := range more {
			_ = rp.send(numbered(i))
		}
		rp.finish(http.StatusOK, []byte(result), nil)
	})
	go func() { more <- 0 }()
	_, old := request(t, t.Context(), http.MethodPost, url, "")
	first := <-old
	_, events := request(t, t.Context(), http.MethodGet, url, first.id) // the old one still stands
	more <- 1
	if e := <-events; e.data != string(numbered(1)) {
		t.Errorf("on the new connection: %+v", e)
	}
	close(more)
	if e := <-events; e.data != result {
		t.Errorf("on the new connection: %+v", e)
	}
	if e, ok := <-old; ok {
		t.Errorf("on the old connection: %+v", e)
	}
}

func TestResumedGETStreamEndsTheOldConnection(t *testing.T) {
	s := newSession(t, "2025-06-18", Limits{})
	url := agentOf(t, s, nil)
	_, old := request(t, t.Context(), http.MethodGet, url, "")
	s.broadcast([]byte(`{"n":1}`))
	first := <-old
	_, events := request(t, t.Context(), http.MethodGet, url, first.id)
	select {
	case e, ok := <-old:
		if ok {
			t.Errorf("on the old connection: %+v", e)
		}
	case <-time.After(5 * time.Second):
		t.Error("the old connection stays open")
	}
	s.broadcast([]byte(`{"n":2}`))
	if e := <-events; e.data != `{"n":2}` {
		t.Errorf("on the new connection: %+v", e)
	}
}

func TestResumeThatCannotBeHonouredIs404(t *testing.T) {
	s, other := newSession(t, "2025-06-18", Limits{}), newSession(t, "2025-06-18", Limits{})
	finished := func(s *session) *stream {
		rp := newReply(newTape(), post(t.Context()), replyOptions{sse: true, session: s})
		_ = rp.send(numbered(0))
		rp.finish(http.StatusOK, []byte(result), nil)
		return rp.stream
	}
	mine, foreign := finished(s), finished(other)
	for _, c := range []struct {
		name, id string
		status   int
	}{
		{"an event of the session", mine.name + "-1", http.StatusOK},
		{"before the first event", mine.name + "-0", http.StatusOK},
		{"an event that was never sent", mine.name + "-3", http.StatusNotFound},
		{"another session's stream", foreign.name + "-1", http.StatusNotFound},
		{"no number", mine.name, http.StatusNotFound},
		{"not a number", mine.name + "-x", http.StatusNotFound},
		{"negative", mine.name + "--1", http.StatusNotFound},
		{"overflow", mine.name + "-99999999999999999999", http.StatusNotFound},
		{"nonsense", "nonsense", http.StatusNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTape()
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/mcp", nil)
			r.Header.Set("Last-Event-ID", c.id)
			s.serveGET(w, r)
			if w.status != c.status {
				t.Errorf("status %d, want %d", w.status, c.status)
			}
		})
	}
}

func TestPrimingEventByRevision(t *testing.T) {
	for version, primed := range map[string]bool{
		"2024-11-05": false, "2025-03-26": false, "2025-06-18": false, "2025-11-25": true,
	} {
		s := newSession(t, version, Limits{})
		w := newTape()
		rp := newReply(w, post(t.Context()), replyOptions{sse: true, session: s})
		_ = rp.send(numbered(0))
		name := rp.stream.name
		want := "id: " + name + "-1\ndata: " + string(numbered(0)) + "\n\n"
		if primed {
			want = "id: " + name + "-0\ndata: \n\n" + want
		}
		if w.text() != want {
			t.Errorf("%s: %q, want %q", version, w.text(), want)
		}
		rp.close()
	}
}

func TestReplayLimit(t *testing.T) {
	s := newSession(t, "2025-06-18", Limits{Replay: 4096})
	cost := func(n int) int {
		return len(wire.AppendEvent(nil, strings.Repeat("x", 18), make([]byte, n))) + keptOverhead
	}
	fits := 4096 - cost(0) // a message of this size fills the box with its frame
	for _, c := range []struct {
		name  string
		sizes []int
		from  map[int]bool // resuming after event n works
	}{
		{"one that just fits", []int{fits}, map[int]bool{0: true, 1: true}},
		{"one just too large", []int{fits + 1}, map[int]bool{0: false, 1: true}},
		{"two that just fit", []int{100, fits - cost(100)}, map[int]bool{0: true, 1: true}},
		{"two just too large: the oldest goes", []int{100, fits - cost(100) + 1}, map[int]bool{0: false, 1: true}},
		{"one too large keeps the others", []int{100, 5000, 100}, map[int]bool{0: false, 1: false, 2: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := s.replay.open(false)
			for _, n := range c.sizes {
				_ = st.send([]byte(strings.Repeat("a", n)), false)
			}
			for n, want := range c.from {
				if frames, ok := s.replay.since(st, uint64(n)); ok != want || ok && len(frames) != len(c.sizes)-n {
					t.Errorf("after event %d: %v with %d events, want %v", n, ok, len(frames), want)
				}
			}
			st.end()
			s.replay.mu.Lock()
			s.replay.forget(st)
			used := s.replay.used
			s.replay.mu.Unlock()
			if used != 0 {
				t.Errorf("%d bytes are still counted", used)
			}
		})
	}
	if n := s.home.kept.n; len(n) != 0 {
		t.Errorf("the ledger still counts %v", n)
	}
}

func TestReplayShareOfOnePrincipal(t *testing.T) {
	g := newSessionGateway(t, Limits{Replay: 1024})
	p := person("alice", "cli")
	full := func() *session {
		s, _ := g.sessions.create(p, "", "2025-06-18", nil, noAgent)
		st := s.replay.open(false)
		for range 20 {
			_ = st.send([]byte(strings.Repeat("a", 100)), false)
		}
		return s
	}
	for range 3 * replayShare {
		full()
	}
	if n := g.sessions.kept.n[p.Key()]; n > replayShare*1024 || n < replayShare*1024-1024 {
		t.Errorf("all sessions together keep %d bytes, want about %d", n, replayShare*1024)
	}
	// Another principal is not touched.
	s, _ := g.sessions.create(person("bob", "cli"), "", "2025-06-18", nil, noAgent)
	st := s.replay.open(false)
	_ = st.send(numbered(0), false)
	if frames, ok := s.replay.since(st, 0); !ok || len(frames) != 1 {
		t.Error("another principal's event was not kept")
	}
}

func TestFinishedStreamIsReplayableForReplayAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, "2025-06-18", Limits{})
		rp := newReply(newTape(), post(t.Context()), replyOptions{sse: true, session: s})
		_ = rp.send(numbered(0))
		rp.finish(http.StatusOK, []byte(result), nil)
		id := rp.stream.name + "-0"
		time.Sleep(replayAge - time.Nanosecond)
		s.replay.expire(time.Now())
		if _, _, ok := s.replay.find(id); !ok {
			t.Error("just below: forgotten")
		}
		time.Sleep(time.Nanosecond)
		if left := s.replay.expire(time.Now()); left || s.replay.used != 0 {
			t.Errorf("at it: left %v, %d bytes", left, s.replay.used)
		}
	})
}

func TestUnreadGETStreamsAreBounded(t *testing.T) {
	s := newSession(t, "2025-06-18", Limits{})
	var names []string
	for range awayStreams + 1 {
		st := s.replay.open(true)
		k := openSink(newTape(), post(t.Context()))
		st.attach(k, false)
		_ = st.send(numbered(0), false)
		st.detach(k)
		names = append(names, st.name)
		time.Sleep(time.Millisecond) // an order in time
	}
	if _, _, ok := s.replay.find(names[0] + "-0"); ok {
		t.Error("the oldest was not forgotten")
	}
	for _, name := range names[1:] {
		if _, _, ok := s.replay.find(name + "-0"); !ok {
			t.Errorf("%s was forgotten", name)
		}
	}
	// One that never had an event leaves nothing.
	st := s.replay.open(true)
	k := openSink(newTape(), post(t.Context()))
	st.attach(k, false)
	st.detach(k)
	if len(s.replay.streams) != awayStreams {
		t.Errorf("%d streams, want %d", len(s.replay.streams), awayStreams)
	}
}
