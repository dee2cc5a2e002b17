package federation

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

// Config is what a Federation needs.
type Config struct {
	Logger      *slog.Logger // nil = slog.Default()
	Now         func() time.Time
	Credentials credential.Source // nil = credential.None
	Snapshots   SnapshotStore     // nil = not persisted
	Version     string            // of the gateway, for clientInfo
	Confined    []string          // files and directories that a stdio upstream must not read: data directory, keys
	Fixed       []string          // those that it must not change: what the gateway reads again while it runs
	Shim        string            // program that calls Shim first ("/proc/self/exe" where we do); "" = can't confine

	// OnDrift and OnInventory hear what a listing changed, also compared to what
	// was persisted before a restart. They are called when Snapshot already
	// shows it, at once for several upstreams, and keep that upstream's next
	// listing waiting. nil = nobody listens.
	OnDrift     func([]Drift)
	OnInventory func(Inventory)
}

// Federation keeps the connections to all upstreams and the namespace that
// they make together. It is safe for concurrent use.
type Federation struct {
	config    Config
	dial      func(context.Context, dialConfig) (connection, error)
	namespace *namespace
	upstreams atomic.Pointer[map[string]*upstream] // disabled ones included
	opening   gate                                 // of the background connections
	saver     *saver
	watchers  watchers[Change]
	elicited  watchers[Elicited]

	applying sync.Mutex // Apply and Close, one at a time
	closed   bool
	work     sync.WaitGroup // everything that runs in the background
}

// New makes a Federation without upstreams; Apply gives it some.
func New(c Config) *Federation {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Credentials == nil {
		c.Credentials = credential.None{}
	}
	f := &Federation{
		config:    c,
		dial:      dial,
		namespace: newNamespace(),
		opening:   make(gate, openAtOnce),
		watchers:  watchers[Change]{fns: map[int]func(Change){}},
		elicited:  watchers[Elicited]{fns: map[int]func(Elicited){}},
	}
	f.saver = newSaver(c.Snapshots, c.Logger)
	f.upstreams.Store(&map[string]*upstream{})
	return f
}

// Snapshot is the namespace now: one atomic load.
func (f *Federation) Snapshot() *Snapshot { return f.namespace.current.Load() }

// upstream is the running upstream of that name, nil when there is none or it
// is disabled.
func (f *Federation) upstream(name string) *upstream {
	u := (*f.upstreams.Load())[name]
	if u == nil || u.disabled {
		return nil
	}
	return u
}

// Call sends c to its upstream on behalf of p. Errors are *Failure; what the
// upstream itself answers, errors included, is an Answer. The request is sent
// once, save where the protocol says that it was not executed: a modern
// upstream that refuses the mirrored headers (-32020) is asked again, once,
// after its tools were listed anew (MCP 2026-07-28, Transports).
func (f *Federation) Call(ctx context.Context, p *identity.Principal, c *Call) (*Answer, error) {
	for {
		u := f.upstream(c.Upstream)
		if u == nil {
			return nil, &Failure{Upstream: c.Upstream, Kind: ErrUnknownUpstream}
		}
		answer, err := u.call(ctx, p, c)
		if errors.Is(err, errReplaced) {
			if f.upstream(c.Upstream) != u {
				continue // a reload came between: the next one is ready
			}
			return nil, &Failure{Upstream: c.Upstream, Kind: ErrUnavailable, Detail: "shutting down"}
		}
		if err != nil || !headersRefused(c, answer) {
			return answer, err
		}
		fresh := f.refreshed(ctx, u, c.Item)
		if fresh == nil {
			return answer, nil
		}
		again := *c
		again.Item = fresh
		second, err := u.call(ctx, p, &again)
		if errors.Is(err, errReplaced) {
			return answer, nil
		}
		return second, err
	}
}

// headersRefused: MCP 2026-07-28, HeaderMismatch. The server MUST refuse such
// a request, so it did not run.
func headersRefused(c *Call, a *Answer) bool {
	return c.Method == "tools/call" && c.Item != nil && a.Era == wire.Modern &&
		a.Error != nil && a.Error.Code == wire.CodeHeaderMismatch
}

// refreshed is the item as its upstream lists it now; nil when that can't be
// told or it is gone.
func (f *Federation) refreshed(ctx context.Context, u *upstream, i *Item) *Item {
	if err := u.refresh(ctx, Tool); err != nil {
		return nil
	}
	if section := f.Snapshot().sections[u.name]; section != nil {
		return section.names[Tool][i.Name]
	}
	return nil
}

// Settle waits until every enabled upstream was tried once, or ctx ends.
func (f *Federation) Settle(ctx context.Context) {
	for _, u := range *f.upstreams.Load() {
		if u.disabled {
			continue
		}
		select {
		case <-u.tried:
		case <-u.ctx.Done():
		case <-ctx.Done():
			return
		}
	}
}

// FirstContact waits until the upstreams behind an endpoint were tried once, or
// ctx ends. No upstream is waited for once patience has passed since its entry
// came: one that hangs is late for the first requests after a start alone, and
// for no request to another upstream's endpoint.
func (f *Federation) FirstContact(ctx context.Context, endpoint string, patience time.Duration) {
	for name, u := range *f.upstreams.Load() {
		left := patience - time.Since(u.since)
		if u.disabled || endpoint != Merged && endpoint != name || left <= 0 {
			continue
		}
		select {
		case <-u.tried:
		case <-u.ctx.Done():
		case <-time.After(left):
		case <-ctx.Done():
			return
		}
	}
}

// Close ends all connections and processes in good order. Calls in flight are
// cut when ctx ends. A closed Federation can't be used again.
func (f *Federation) Close(ctx context.Context) error {
	f.applying.Lock()
	defer f.applying.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	for _, u := range *f.upstreams.Load() {
		f.work.Go(func() { u.end(ctx) })
	}
	done := make(chan struct{})
	go func() {
		f.work.Wait()
		f.saver.close()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	// What was in use is being cut now; no process may be left behind.
	select {
	case <-done:
	case <-time.After(closeIn):
	}
	return ctx.Err()
}

// Change says which lists of which upstream changed (or may have).
type Change struct {
	Upstream string
	Kinds    [kinds]bool
}

// Watch calls fn after each change, when Snapshot already shows it; fn must
// not block. stop ends it.
func (f *Federation) Watch(fn func(Change)) (stop func()) { return f.watchers.add(fn) }

// watchers are those who want to know of something.
type watchers[T any] struct {
	mu   sync.Mutex
	next int
	fns  map[int]func(T)
}

func (w *watchers[T]) add(fn func(T)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.next
	w.next++
	w.fns[n] = fn
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.fns, n)
	}
}

func (w *watchers[T]) notify(c T) {
	w.mu.Lock()
	fns := slices.Collect(maps.Values(w.fns))
	w.mu.Unlock()
	for _, fn := range fns {
		fn(c)
	}
}
