package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store"
)

var noAgent = policy.Agent{}

func person(name, client string) *identity.Principal {
	return &identity.Principal{Issuer: "local", Subject: name, Name: name, Client: identity.Client{ID: client}}
}

// newSessionGateway is as much of a gateway as sessions need, over a real
// store.
func newSessionGateway(t testing.TB, limits Limits) *Gateway {
	return sessionGatewayOn(t, openStore(t, t.TempDir()), limits)
}

func openStore(t testing.TB, dir string) *store.Store {
	t.Helper()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func sessionGatewayOn(t testing.TB, st *store.Store, limits Limits) *Gateway {
	g := &Gateway{Config: Config{Sealer: st, Once: st, Now: time.Now, Limits: limits.withDefaults()}}
	ctx, stop := context.WithCancel(context.Background())
	g.hub = newHub(g)
	g.sessions = newSessions(ctx, g)
	g.sessions.sees = nil
	t.Cleanup(func() {
		g.hub.closeAll()
		g.sessions.closeAll()
		stop()
	})
	return g
}

// newSession is a live session of alice.
func newSession(t testing.TB, version string, limits Limits) *session {
	t.Helper()
	g := newSessionGateway(t, limits)
	_, token := g.sessions.create(person("alice", "cli"), "", version, nil, noAgent)
	return reopen(t, g, token)
}

func reopen(t testing.TB, g *Gateway, token string) *session {
	t.Helper()
	s, err := g.sessions.open(context.Background(), person("alice", "cli"), "", token)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSessionSurvivesRestartWithNothingStored(t *testing.T) {
	dir := t.TempDir()
	st := openStore(t, dir)
	g := sessionGatewayOn(t, st, Limits{})
	caps := []byte(`{"roots":{"listChanged":true},"x":1e2}`)
	made, token := g.sessions.create(person("alice", "cli"), "files", "2025-06-18", caps, policy.Agent{Name: "agent", Version: "1.2"})
	if strings.ContainsFunc(token, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		t.Errorf("token is not visible ASCII: %q", token)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	g = sessionGatewayOn(t, openStore(t, dir), Limits{})
	s, err := g.sessions.open(t.Context(), person("alice", "cli"), "files", token)
	if err != nil {
		t.Fatal(err)
	}
	if s.id != made.id || s.endpoint != "files" || s.version != "2025-06-18" || string(s.capabilities) != string(caps) ||
		s.agent != (policy.Agent{Name: "agent", Version: "1.2"}) || !s.created.Equal(made.created) {
		t.Errorf("after restart: %+v", s)
	}
	again, err := g.sessions.open(t.Context(), person("alice", "cli"), "files", token)
	if err != nil || again != s {
		t.Errorf("opened twice: %p and %p, %v", s, again, err)
	}
}

func TestForeignAndBrokenTokensAreNoSession(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	issuer := person("alice", "cli")
	issuer.Issuer = "https://login.example.com"
	for _, c := range []struct {
		name     string
		p        *identity.Principal
		endpoint string
		token    string
	}{
		{"another user", person("bob", "cli"), "", token},
		{"another client of the same user", person("alice", "app"), "", token},
		{"another issuer", issuer, "", token},
		{"another endpoint", person("alice", "cli"), "files", token},
		{"cut", person("alice", "cli"), "", token[:len(token)-1]},
		{"one byte changed", person("alice", "cli"), "", "A" + token[1:]},
		{"empty", person("alice", "cli"), "", ""},
		{"of another use", person("alice", "cli"), "", g.Sealer.Seal("cursor", []byte("x"), sessionBound(person("alice", "cli"), ""))},
		{"of another format", person("alice", "cli"), "", g.Sealer.Seal(sessionPurpose, []byte{99}, sessionBound(person("alice", "cli"), ""))},
		{"cut inside", person("alice", "cli"), "", g.Sealer.Seal(sessionPurpose, []byte{1, 1, 9}, sessionBound(person("alice", "cli"), ""))},
		{"huge", person("alice", "cli"), "", strings.Repeat("A", sessionToken+1)},
	} {
		if c.name == "one byte changed" && token[0] == 'A' {
			c.token = "B" + token[1:]
		}
		if s, err := g.sessions.open(t.Context(), c.p, c.endpoint, c.token); !errors.Is(err, errNoSession) || s != nil {
			t.Errorf("%s: %v, %v", c.name, s, err)
		}
		if err := g.sessions.delete(t.Context(), c.p, c.endpoint, c.token); !errors.Is(err, errNoSession) {
			t.Errorf("%s: delete: %v", c.name, err)
		}
	}
	reopen(t, g, token) // nobody deleted it
}

func TestSessionLife(t *testing.T) {
	g := newSessionGateway(t, Limits{SessionLife: time.Hour})
	start := time.Now()
	now := start
	g.Now = func() time.Time { return now }
	s, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	now = s.created.Add(time.Hour - time.Nanosecond)
	if _, err := g.sessions.open(t.Context(), person("alice", "cli"), "", token); err != nil {
		t.Errorf("just below: %v", err)
	}
	now = s.created.Add(time.Hour)
	if _, err := g.sessions.open(t.Context(), person("alice", "cli"), "", token); !errors.Is(err, errNoSession) {
		t.Errorf("at it: %v", err)
	}
}

func TestDeletedSessionStaysDeletedAfterRestart(t *testing.T) {
	dir := t.TempDir()
	st := openStore(t, dir)
	g := sessionGatewayOn(t, st, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	s := reopen(t, g, token)
	if err := g.sessions.delete(t.Context(), person("alice", "cli"), "", token); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.done:
	default:
		t.Error("the session in memory goes on")
	}
	if _, err := g.sessions.open(t.Context(), person("alice", "cli"), "", token); !errors.Is(err, errNoSession) {
		t.Errorf("opened after delete: %v", err)
	}
	if err := g.sessions.delete(t.Context(), person("alice", "cli"), "", token); !errors.Is(err, errNoSession) {
		t.Errorf("deleted twice: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	g = sessionGatewayOn(t, openStore(t, dir), Limits{})
	if _, err := g.sessions.open(t.Context(), person("alice", "cli"), "", token); !errors.Is(err, errNoSession) {
		t.Errorf("opened after restart: %v", err)
	}
}

func TestDeletionByAnotherReplicaIsSeen(t *testing.T) {
	st := openStore(t, t.TempDir())
	here, there := sessionGatewayOn(t, st, Limits{}), sessionGatewayOn(t, st, Limits{})
	now := time.Now()
	here.Now = func() time.Time { return now }
	_, token := here.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	s := reopen(t, here, token)
	if err := there.sessions.delete(t.Context(), person("alice", "cli"), "", token); err != nil {
		t.Fatal(err)
	}
	now = now.Add(sessionRecheck)
	if _, err := here.sessions.open(t.Context(), person("alice", "cli"), "", token); !errors.Is(err, errNoSession) {
		t.Errorf("opened %v after a deletion elsewhere: %v", sessionRecheck, err)
	}
	select {
	case <-s.done:
	default:
		t.Error("the session in memory goes on")
	}
}

// A store that can't be asked does not make a deleted session good.
func TestSessionIsNotOpenedWithoutTheStore(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	g.Once = downOnce{}
	if s, err := g.sessions.open(t.Context(), person("alice", "cli"), "", token); err == nil || errors.Is(err, errNoSession) || s != nil {
		t.Errorf("opened with the store down: %v, %v", s, err)
	}
}

type downOnce struct{}

var errDown = errors.New("store is down")

func (downOnce) InsertIfAbsent(context.Context, string, string, time.Time) (bool, error) {
	return false, errDown
}
func (downOnce) Present(context.Context, string, string) (bool, error) { return false, errDown }

func TestDeleteThatCannotBeWrittenIsNotDone(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	s := reopen(t, g, token)
	good := g.Once
	g.Once = downOnce{}
	if err := g.sessions.delete(t.Context(), person("alice", "cli"), "", token); !errors.Is(err, errDown) {
		t.Errorf("delete: %v", err)
	}
	g.Once = good
	if again := reopen(t, g, token); again != s {
		t.Error("the session was dropped")
	}
}

// racingOnce lets a deletion happen right after the store said that there was
// none.
type racingOnce struct {
	Once
	first func()
}

func (o *racingOnce) Present(ctx context.Context, class, key string) (bool, error) {
	present, err := o.Once.Present(ctx, class, key)
	if first := o.first; first != nil {
		o.first = nil
		first()
	}
	return present, err
}

func TestDeletionBetweenLookAndOpenIsSeen(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	g.Once = &racingOnce{Once: g.Once, first: func() {
		if err := g.sessions.delete(t.Context(), person("alice", "cli"), "", token); err != nil {
			t.Error(err)
		}
	}}
	if s, err := g.sessions.open(t.Context(), person("alice", "cli"), "", token); !errors.Is(err, errNoSession) || s != nil {
		t.Errorf("opened while it was deleted: %v, %v", s, err)
	}
	if n := len(g.sessions.all()); n != 0 {
		t.Errorf("%d live sessions", n)
	}
}

func TestDeleteWhileOthersOpen(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	for range 50 {
		_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
		var work sync.WaitGroup
		opened := make([]*session, 4)
		for i := range opened {
			work.Go(func() { opened[i], _ = g.sessions.open(context.Background(), person("alice", "cli"), "", token) })
		}
		work.Go(func() {
			if err := g.sessions.delete(context.Background(), person("alice", "cli"), "", token); err != nil {
				t.Error(err)
			}
		})
		work.Wait()
		for _, s := range opened {
			if s == nil {
				continue
			}
			select {
			case <-s.done:
			default:
				t.Fatal("a deleted session lives on in memory")
			}
		}
	}
}

func TestDeleteEndsCallsStreamsAndSubscriptions(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	s := reopen(t, g, token)
	call, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, ok := s.register([]byte("1"), cancel); !ok {
		t.Fatal("not registered")
	}
	ended := make(chan struct{})
	if err := s.subscribe("file:///a", func(ctx context.Context) { <-ctx.Done(); close(ended) }); err != nil {
		t.Fatal(err)
	}
	url := agentOf(t, s, nil)
	_, events := request(t, t.Context(), http.MethodGet, url, "")
	if err := g.sessions.delete(t.Context(), person("alice", "cli"), "", token); err != nil {
		t.Fatal(err)
	}
	<-call.Done()
	<-ended
	if e, ok := <-events; ok {
		t.Errorf("an event on a deleted session's stream: %+v", e)
	}
	if _, ok := s.register([]byte("2"), func() {}); ok {
		t.Error("a call of a deleted session was registered")
	}
	if err := s.subscribe("file:///b", func(context.Context) {}); !errors.Is(err, errSessionEnded) {
		t.Errorf("subscribed in a deleted session: %v", err)
	}
	if _, _, err := s.ask(t.Context(), nil, "roots/list", nil); !errors.Is(err, errSessionEnded) {
		t.Errorf("asked in a deleted session: %v", err)
	}
	if s.addGET(&stream{}) {
		t.Error("a stream of a deleted session was opened")
	}
	w := newTape()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/mcp", nil)
	if s.serveGET(w, r); w.status != http.StatusNotFound {
		t.Errorf("GET of a deleted session: %d", w.status)
	}
}

func TestCancellationStaysInItsSession(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	sessions := make([]*session, 2)
	calls := make([]context.Context, 2)
	for i := range sessions {
		_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
		sessions[i] = reopen(t, g, token)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		calls[i] = ctx
		if _, ok := sessions[i].register([]byte(`7`), cancel); !ok {
			t.Fatal("not registered")
		}
	}
	if sessions[0].cancelled([]byte(`"7"`)) {
		t.Error(`the string "7" cancelled the number 7`)
	}
	if !sessions[0].cancelled([]byte(`7`)) {
		t.Error("its own call was not found")
	}
	if calls[0].Err() == nil || calls[1].Err() != nil {
		t.Errorf("cancelled: own %v, other session's %v", calls[0].Err(), calls[1].Err())
	}
}

func TestRequestIDIsUniqueWhileInFlight(t *testing.T) {
	s := newSession(t, "2025-11-25", Limits{})
	done, ok := s.register([]byte(`"a"`), func() {})
	if !ok {
		t.Fatal("not registered")
	}
	if _, ok := s.register([]byte(`"a"`), func() {}); ok {
		t.Error("the same id twice in flight")
	}
	done()
	if s.cancelled([]byte(`"a"`)) {
		t.Error("a call that is done was cancelled")
	}
	if _, ok := s.register([]byte(`"a"`), func() {}); !ok {
		t.Error("the id is not free again")
	}
}

func TestCapabilitiesAndAgentAreBounded(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	caps := func(n int) string {
		head := `{"roots":{"listChanged":true},"sampling":{},"experimental":{"x":"`
		tail := `"}}`
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	for _, c := range []struct{ name, caps, want string }{
		{"just below", caps(sessionCapabilities), caps(sessionCapabilities)},
		{"just above", caps(sessionCapabilities + 1), `{"roots":{"listChanged":true},"sampling":{}}`},
		{"a large known one", `{"sampling":{"x":"` + strings.Repeat("y", 4096) + `"}}`, `{"sampling":{}}`},
		{"none", "", ""},
	} {
		_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", []byte(c.caps), noAgent)
		if s := reopen(t, g, token); string(s.capabilities) != c.want {
			t.Errorf("%s: %.100s, want %.100s", c.name, s.capabilities, c.want)
		}
		if len(token) > sessionToken/2 {
			t.Errorf("%s: token of %d bytes", c.name, len(token))
		}
	}
	for n, want := range map[int]int{sessionAgent: sessionAgent, sessionAgent + 1: sessionAgent} {
		_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, policy.Agent{Name: strings.Repeat("a", n)})
		if s := reopen(t, g, token); len(s.agent.Name) != want {
			t.Errorf("name of %d bytes kept as %d", n, len(s.agent.Name))
		}
	}
	if got := shorten("aé", 2); got != "a" {
		t.Errorf("cut inside a character: %q", got)
	}
}

func TestIdleStateIsDroppedAndTheTokenStaysGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSessionGateway(t, Limits{Session: time.Hour})
		open := func() (*session, string) {
			_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
			return reopen(t, g, token), token
		}
		empty, token := open()
		level, _ := open()
		level.setLevel("debug")
		busy, _ := open()
		done, _ := busy.register([]byte("1"), func() {})
		live := func(s *session) bool {
			g.sessions.mu.Lock()
			defer g.sessions.mu.Unlock()
			return g.sessions.live[s.owner][s.id] == s
		}
		time.Sleep(emptyIdle - time.Second)
		synctest.Wait()
		if !live(empty) {
			t.Error("empty state was dropped early")
		}
		time.Sleep(2 * sessionSweep)
		synctest.Wait()
		if live(empty) || !live(level) || !live(busy) {
			t.Errorf("after %v: empty %v, with level %v, busy %v", emptyIdle, live(empty), live(level), live(busy))
		}
		if again := reopen(t, g, token); again == empty || again.id != empty.id {
			t.Error("the token does not open the same session anew")
		}
		time.Sleep(time.Hour + 2*sessionSweep)
		synctest.Wait()
		if live(level) || !live(busy) {
			t.Errorf("after Limits.Session: with level %v, busy %v", live(level), live(busy))
		}
		done()
	})
}

func TestLiveSessionsOfOnePrincipal(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	now := time.Now()
	g.Now = func() time.Time { now = now.Add(time.Millisecond); return now }
	tokens := make([]string, liveSessions+1)
	all := make([]*session, len(tokens))
	for i := range tokens {
		_, tokens[i] = g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
		if all[i] = reopen(t, g, tokens[i]); i == 0 {
			defer func(done func(), _ bool) { done() }(all[0].register([]byte("1"), func() {}))
		}
		if i == liveSessions-1 {
			if n := len(g.sessions.all()); n != liveSessions {
				t.Errorf("%d live sessions at the limit, want all", n)
			}
		}
	}
	if n := len(g.sessions.all()); n != liveSessions {
		t.Errorf("%d live sessions just above the limit, want %d", n, liveSessions)
	}
	if reopen(t, g, tokens[0]) != all[0] {
		t.Error("a session with a call in flight lost its state")
	}
	if s := reopen(t, g, tokens[1]); s == all[1] || s.id != all[1].id {
		t.Error("the one unused for longest kept its state, or its token is void")
	}
}

func TestMemoryOfIdleSessions(t *testing.T) {
	const sessions, most = 1000, 4 << 10
	g := newSessionGateway(t, Limits{})
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range sessions {
		caps := []byte(`{"roots":{"listChanged":true},"elicitation":{"form":{},"url":{}}}`)
		p := person(fmt.Sprintf("user%d", i), "cli")
		_, token := g.sessions.create(p, "", "2025-11-25", caps, policy.Agent{Name: "claude-code", Version: "2.1.330"})
		s, err := g.sessions.open(t.Context(), p, "", token)
		if err != nil {
			t.Fatal(err)
		}
		s.setLevel("info")
		done, _ := s.register([]byte("1"), func() {})
		done()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/mcp", nil)
		ctx, hangUp := context.WithCancel(t.Context())
		hangUp()
		s.serveGET(newTape(), r.WithContext(ctx))
	}
	each := int(heap()-before) / sessions
	t.Logf("%d bytes a session", each)
	if each > most {
		t.Errorf("%d bytes a session, want at most %d", each, most)
	}
	runtime.KeepAlive(g)
}

func TestSubscriptions(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	s := reopen(t, g, token)
	started, ended := make(chan string, 10), make(chan string, 10)
	start := func(uri string) func(context.Context) {
		return func(ctx context.Context) { started <- uri; <-ctx.Done(); ended <- uri }
	}
	for range 2 {
		if err := s.subscribe("a", start("a")); err != nil {
			t.Fatal(err)
		}
	}
	<-started
	if len(started) != 0 {
		t.Error("subscribed twice")
	}
	if !s.unsubscribe("a") || s.unsubscribe("a") || s.unsubscribe("b") {
		t.Error("unsubscribe reports wrongly")
	}
	if uri := <-ended; uri != "a" {
		t.Errorf("ended %q", uri)
	}
}

// Security catalogue A-115.
func TestSubscriptionsOfOnePrincipal(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	var last *session
	for i := range subscriptionsKept {
		if i%100 == 0 {
			_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
			last = reopen(t, g, token)
		}
		if err := last.subscribe(fmt.Sprint(i), func(ctx context.Context) { <-ctx.Done() }); err != nil {
			t.Fatalf("subscription %d: %v", i+1, err)
		}
	}
	if err := last.subscribe("more", func(context.Context) {}); !errors.Is(err, errTooManySubscribe) {
		t.Errorf("just above: %v", err)
	}
}

func BenchmarkSessionOpen(b *testing.B) {
	g := newSessionGateway(b, Limits{})
	p := person("alice", "cli")
	caps := []byte(`{"roots":{"listChanged":true},"elicitation":{"form":{},"url":{}}}`)
	_, token := g.sessions.create(p, "", "2025-11-25", caps, policy.Agent{Name: "claude-code", Version: "2.1.330"})
	b.ReportAllocs()
	for b.Loop() {
		s, err := g.sessions.open(b.Context(), p, "", token)
		if err != nil {
			b.Fatal(err)
		}
		done, _ := s.register([]byte("1"), func() {})
		done()
	}
}

func BenchmarkSessionCreate(b *testing.B) {
	g := newSessionGateway(b, Limits{})
	p := person("alice", "cli")
	b.ReportAllocs()
	for b.Loop() {
		g.sessions.create(p, "", "2025-11-25", nil, noAgent)
	}
}

func TestClosingGatewayEndsSubscriptionsAndLeavesCalls(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	s := reopen(t, g, token)
	call, cancel := context.WithCancel(t.Context())
	defer cancel()
	done, _ := s.register([]byte("1"), cancel)
	defer done()
	if err := s.subscribe("a", func(ctx context.Context) { <-ctx.Done() }); err != nil {
		t.Fatal(err)
	}
	g.sessions.closeAll() // returns when the subscription has ended
	if call.Err() != nil {
		t.Error("a call in flight was cancelled")
	}
	_, fresh := g.sessions.create(person("alice", "cli"), "", "2025-11-25", nil, noAgent)
	for _, s := range []*session{s, reopen(t, g, fresh)} {
		if err := s.subscribe("b", func(context.Context) {}); !errors.Is(err, errSessionEnded) {
			t.Errorf("subscribed while closing: %v", err)
		}
	}
}
