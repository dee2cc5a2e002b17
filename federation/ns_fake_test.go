package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

// script is a scripted upstream behind the connection interface. It stands in
// for the transports, which have tests of their own against real servers.
type script struct {
	mu       sync.Mutex
	era      wire.Era
	caps     string
	lists    [kinds][]string
	paging   int // items a page; 0 = all
	ttl      string
	refuse   error         // of dials
	hang     bool          // dials hang until their context ends
	slow     time.Duration // of a dial, whatever its context says
	listFail map[string]error
	listErr  map[string]*wire.Error
	listen   func(ctx context.Context, c *link, f listenFilter, ready func()) error // nil = flows until the end
	answer   func(ctx context.Context, c *link, call *Call) (*Answer, error)

	dials []dialConfig
	links []*link
	asked []string // methods and cursors of list requests
}

const allCaps = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true}}`

func tools(names ...string) *script {
	s := &script{era: wire.Modern, caps: allCaps}
	s.set(Tool, names...)
	return s
}

func (s *script) set(k Kind, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists[k] = nil
	for _, n := range names {
		if strings.HasPrefix(n, "{\"") || strings.HasPrefix(n, "[") {
			s.lists[k] = append(s.lists[k], n)
			continue
		}
		def := fmt.Sprintf(`{%q: %q}`, vocabulary[k].name, n)
		if k == Tool {
			def = fmt.Sprintf(`{"name": %q, "inputSchema": {"type": "object"}}`, n)
		}
		s.lists[k] = append(s.lists[k], def)
	}
}

func (s *script) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *script) dial(ctx context.Context, d dialConfig) (connection, error) {
	s.mu.Lock()
	s.dials = append(s.dials, d)
	refuse, hang, slow := s.refuse, s.hang, s.slow
	s.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
		ctx = context.WithoutCancel(ctx)
	}
	if hang {
		<-ctx.Done()
		return nil, &Failure{Upstream: d.Upstream.Name, Kind: ErrTimeout}
	}
	if refuse != nil {
		return nil, &Failure{Upstream: d.Upstream.Name, Kind: refuse, Detail: "refused"}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &link{script: s, config: d, gone: make(chan struct{}), events: make(chan event, 16)}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.said = &peer{Era: s.era, Version: "2026-07-28", Capabilities: []byte(s.caps), ServerInfo: []byte(`{"name":"fake","version":"1"}`)}
	s.links = append(s.links, l)
	return l, nil
}

// open links, in the order of dialing.
func (s *script) open() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.links), (*link).closed)
}

// say sends a notification to every listener.
func (s *script) say(method, params string) {
	for _, l := range s.open() {
		if l.listens() {
			l.events <- event{method, params}
		}
	}
}

type event struct{ method, params string }

// link is one connection to a script.
type link struct {
	script *script
	config dialConfig
	said   *peer
	gone   chan struct{}
	once   sync.Once
	events chan event

	mu        sync.Mutex
	listeners int
	ended     bool // close was called
}

func (l *link) peer() *peer           { return l.said }
func (l *link) done() <-chan struct{} { return l.gone }
func (l *link) lose()                 { l.once.Do(func() { close(l.gone) }) }

func (l *link) close(context.Context) error {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.lose()
	return nil
}

func (l *link) closed() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

func (l *link) listens() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listeners > 0
}

func (l *link) do(ctx context.Context, c *Call) (*Answer, error) {
	if l.closed() {
		return nil, &Failure{Upstream: c.Upstream, Kind: ErrUnavailable, Detail: "closed"}
	}
	for k := range kinds {
		if vocabulary[k].method == c.Method {
			return l.list(c, k)
		}
	}
	l.script.mu.Lock()
	answer := l.script.answer
	l.script.mu.Unlock()
	if answer != nil {
		return answer(ctx, l, c)
	}
	return &Answer{Result: []byte(`{"content":[]}`), Era: l.said.Era}, nil
}

func (l *link) list(c *Call, k Kind) (*Answer, error) {
	s := l.script
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, c.Method)
	if err := s.listFail[c.Method]; err != nil {
		return nil, &Failure{Upstream: c.Upstream, Kind: err}
	}
	if e := s.listErr[c.Method]; e != nil {
		return &Answer{Error: e, Era: s.era}, nil
	}
	var params struct{ Cursor *string }
	if err := json.Unmarshal(c.Params, &params); err != nil {
		return nil, err
	}
	start := 0
	if params.Cursor != nil {
		if _, err := fmt.Sscanf(*params.Cursor, "at%d", &start); err != nil {
			return &Answer{Error: &wire.Error{Code: -32602, Message: "bad cursor"}, Era: s.era}, nil
		}
	}
	end, next := len(s.lists[k]), ""
	if s.paging > 0 && start+s.paging < end {
		end = start + s.paging
		next = fmt.Sprintf(`,"nextCursor":"at%d"`, end)
	}
	ttl := ""
	if s.ttl != "" {
		ttl = `,"ttlMs":` + s.ttl
	}
	return &Answer{Era: s.era, Result: fmt.Appendf(nil, `{"%s":[%s]%s%s}`, vocabulary[k].list, strings.Join(s.lists[k][start:end], ","), next, ttl)}, nil
}

func (l *link) listen(ctx context.Context, f listenFilter, ready func(), events func(string, []byte)) error {
	l.script.mu.Lock()
	custom := l.script.listen
	l.script.mu.Unlock()
	if custom != nil {
		return custom(ctx, l, f, ready)
	}
	l.mu.Lock()
	l.listeners++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.listeners--
		l.mu.Unlock()
	}()
	ready()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.gone:
			return &Failure{Kind: ErrUnknownOutcome}
		case e := <-l.events:
			events(e.method, []byte(e.params))
		}
	}
}

// world is a Federation over scripts.
type world struct {
	*Federation
	t       testing.TB
	scripts map[string]*script
	mu      sync.Mutex
}

func newWorld(t testing.TB, store SnapshotStore, scripts map[string]*script) *world {
	w := &world{t: t, scripts: scripts}
	w.Federation = New(Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Snapshots: store, Version: "test"})
	w.Federation.dial = func(ctx context.Context, d dialConfig) (connection, error) {
		w.mu.Lock()
		s := w.scripts[d.Upstream.Name]
		w.mu.Unlock()
		if s == nil {
			return nil, &Failure{Upstream: d.Upstream.Name, Kind: ErrUnavailable, Detail: "no such script"}
		}
		return s.dial(ctx, d)
	}
	return w
}

// apply applies entries and waits until each was tried.
func (w *world) apply(entries ...*catalogs.Upstream) {
	w.t.Helper()
	if err := w.Apply(context.Background(), &catalogs.Catalog{Upstreams: entries}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	w.Settle(ctx)
}

func (w *world) stop() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.Close(ctx); err != nil {
		w.t.Error("close:", err)
	}
}

func entry(name string) *catalogs.Upstream {
	return &catalogs.Upstream{Name: name, Prefix: name, Enabled: true, URL: "http://127.0.0.1:1/" + name}
}

func program(name string) *catalogs.Upstream {
	return &catalogs.Upstream{Name: name, Prefix: name, Enabled: true, Command: []string{"server", name}}
}

func (w *world) names(endpoint string, k Kind) []string {
	var out []string
	for _, i := range w.Snapshot().List(endpoint, k) {
		out = append(out, i.ExposedAt(endpoint))
	}
	return out
}

func (w *world) status(name string) Status {
	w.t.Helper()
	for _, s := range w.Status() {
		if s.Name == name {
			return s
		}
	}
	w.t.Fatalf("no status of %s", name)
	return Status{}
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func user(name string) *identity.Principal {
	return &identity.Principal{Issuer: "local", Subject: name, Client: identity.Client{ID: "cli"}}
}

func toolCall(upstream, tool string) *Call {
	return &Call{Upstream: upstream, Method: "tools/call", Params: fmt.Appendf(nil, `{"name":%q}`, tool)}
}

// keeper is a SnapshotStore in memory.
type keeper struct {
	mu      sync.Mutex
	values  map[string][]byte
	saves   int
	deletes int
	block   chan struct{} // not nil: SaveSnapshot waits for it
}

func (k *keeper) SaveSnapshot(_ context.Context, upstream string, value []byte) error {
	if k.block != nil {
		<-k.block
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.values == nil {
		k.values = map[string][]byte{}
	}
	k.values[upstream] = value
	k.saves++
	return nil
}

func (k *keeper) LoadSnapshot(_ context.Context, upstream string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.values[upstream], nil
}

func (k *keeper) DeleteSnapshot(_ context.Context, upstream string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.values, upstream)
	k.deletes++
	return nil
}

func catalogOf(entries ...*catalogs.Upstream) *catalogs.Catalog {
	return &catalogs.Catalog{Upstreams: entries}
}
