package federation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

// upstream is one running entry of the catalog: its listing connection, its
// pool, how it is doing. Each has goroutines, limits and a breaker of its own,
// so that one's trouble is nobody else's (promise 7).
type upstream struct {
	f        *Federation
	name     string
	disabled bool
	config   atomic.Pointer[catalogs.Upstream] // changes only in words (sameReach)

	ctx        context.Context // ends when the entry goes or the gateway does
	cancel     context.CancelFunc
	retired    atomic.Bool // another has its place in the namespace: commit nothing
	breaker    *breaker
	pool       *pool
	slots      slots
	era        atomic.Pointer[wire.Era] // as probed last; nil = unknown
	confinedBy atomic.Pointer[string]   // of its latest process

	since   time.Time     // its entry came
	tried   chan struct{} // closed after the first attempt to list
	tryOnce sync.Once
	health  health
	flow    flow
	ledger  ledger
	wake    chan struct{} // a call got through: try listing now
}

func (f *Federation) newUpstream(config *catalogs.Upstream) *upstream {
	ctx, cancel := context.WithCancel(context.Background())
	u := &upstream{
		f: f, name: config.Name, disabled: !config.Enabled,
		ctx: ctx, cancel: cancel,
		breaker: newBreaker(f.config.Now),
		slots:   newSlots(config.Limits.Concurrency),
		since:   time.Now(),
		tried:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
	}
	u.config.Store(config)
	u.pool = newPool(u)
	u.ledger.dirty = make(chan struct{}, 1)
	u.flow.changed = make(chan struct{})
	u.health.set(f.config.Now(), "connecting", "")
	if u.disabled {
		u.health.set(f.config.Now(), "disabled", "")
	}
	return u
}

// end closes everything of the upstream: idle connections at once, those in
// use when their calls are done or ctx ends.
func (u *upstream) end(ctx context.Context) {
	u.cancel()
	u.pool.drain(ctx)
}

// firstSection is what a starting upstream offers before it is reached: what
// the entry listed last, if it still means the same server, or what was
// persisted, or nothing.
func (u *upstream) firstSection(was *section, s *stored) *section {
	config := u.config.Load()
	switch {
	case was != nil && fingerprint(was.info.Config) == fingerprint(config):
		u.rememberEra(was.peer)
		return reencoded(was, config)
	case s != nil:
		said := s.peer()
		u.rememberEra(said)
		return s.section(config, said)
	}
	return newSection(config, nil, [kinds][]*Item{}, [kinds][]LeftOut{})
}

func (u *upstream) rememberEra(said *peer) {
	if said != nil {
		u.era.Store(&said.Era)
	}
}

// reencoded is the same offer under another entry: other labels, other prefix.
func reencoded(was *section, config *catalogs.Upstream) *section {
	var lists [kinds][]*Item
	reports := was.reports
	for k := range kinds {
		raws := make([][]byte, len(was.lists[k]))
		for n, i := range was.lists[k] {
			raws[n] = i.Own
		}
		lists[k], _ = encode(config, k, raws, nil) // well-formed before, and still
	}
	return newSection(config, was.peer, lists, reports)
}

// open makes a connection. A remembered era spares the probe; when a dial with
// it fails, the next one probes again. elicited is that of dialConfig.
func (u *upstream) open(ctx context.Context, c credential.Credential, capabilities []byte, elicited func([]byte)) (connection, error) {
	era := u.era.Load()
	conn, err := u.f.dial(ctx, dialConfig{
		Upstream: u.config.Load(), Credential: c, Capabilities: capabilities, Era: era,
		Version: u.f.config.Version, Logger: u.f.config.Logger, Now: u.f.config.Now,
		Confined: slices.Concat(u.f.config.Confined, u.secretFiles()), Fixed: u.f.config.Fixed, Shim: u.f.config.Shim,
		Elicited: elicited,
	})
	if err != nil {
		u.era.CompareAndSwap(era, nil)
		return nil, u.failure(err)
	}
	u.rememberEra(conn.peer())
	u.notice(conn)
	return conn, nil
}

// credential is the gateway's own for this upstream, on behalf of p; nil = for
// listing.
func (u *upstream) credential(ctx context.Context, p *identity.Principal) (credential.Credential, error) {
	c, err := u.f.config.Credentials.Credential(ctx, u.config.Load(), p)
	if err != nil {
		return c, &Failure{Upstream: u.name, Kind: ErrUnavailable, Detail: err.Error()}
	}
	return c, nil
}

// failure makes any error a *Failure.
func (u *upstream) failure(err error) error {
	var f *Failure
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, context.Canceled):
		return &Failure{Upstream: u.name, Kind: ErrCancelled}
	}
	return &Failure{Upstream: u.name, Kind: ErrUnavailable, Detail: err.Error()}
}

// closeIn is how long one connection may take to end in good order.
const closeIn = 10 * time.Second

func (u *upstream) hangUp(conn connection) {
	ctx, cancel := context.WithTimeout(context.Background(), closeIn)
	defer cancel()
	if err := conn.close(ctx); err != nil {
		u.f.config.Logger.Debug("closing upstream connection", "upstream", u.name, "error", err)
	}
}
