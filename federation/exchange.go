package federation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

// Limits of the calls to one upstream.
const (
	defaultConcurrency = 32              // calls at once, where the entry says nothing
	queueTime          = 5 * time.Second // a call may wait for its turn
)

// call sends c over a connection of its principal's. Errors are *Failure, or
// errReplaced.
func (u *upstream) call(ctx context.Context, p *identity.Principal, c *Call) (*Answer, error) {
	if ok, after := u.breaker.allow(); !ok {
		return nil, &Failure{Upstream: u.name, Kind: ErrUnavailable, RetryAfter: after, Detail: "it failed repeatedly; not tried again yet"}
	}
	if err := u.slots.enter(ctx); err != nil {
		if errors.Is(err, errQueued) {
			return nil, &Failure{Upstream: u.name, Kind: ErrBusy, RetryAfter: time.Second}
		}
		return nil, &Failure{Upstream: u.name, Kind: ErrCancelled, Detail: "while waiting for its turn"}
	}
	t := &turn{slots: u.slots, held: true, over: make(chan struct{})}
	defer t.end()

	for attempt := 0; ; attempt++ {
		m, err := u.pool.acquire(ctx, p, c.Agent.Capabilities)
		if err != nil {
			return nil, err
		}
		answer, err := m.conn.do(ctx, u.relayed(c, m.conn, t))
		answer, err = usedBy(m.key.credential, answer, err)
		f, _ := errors.AsType[*Failure](err)
		stale := f != nil && errors.Is(f, ErrUnavailable) && !f.final && m.lost()
		u.pool.release(m)
		if stale && attempt == 0 && ctx.Err() == nil {
			// The connection was dead before the request could be sent over it
			// (a session that expired, a process that had exited): the
			// request was not executed, and a new connection takes it.
			continue
		}
		u.report(err)
		if err != nil {
			return nil, u.failure(err)
		}
		return answer, nil
	}
}

// usedBy is how a call ended, with the id of the credential that it was made
// with.
func usedBy(id string, a *Answer, err error) (*Answer, error) {
	if id == "" {
		return a, err
	}
	if f, ok := err.(*Failure); ok {
		g := *f
		g.Credential = id
		return nil, &g
	}
	if err == nil {
		b := *a
		b.Credential = id
		a = &b
	}
	return a, err
}

// relayed is c as the connection gets it.
func (u *upstream) relayed(c *Call, conn connection, t *turn) *Call {
	shared := u.config.Load().Shared && conn.peer().Era == wire.Legacy
	if c.Ask == nil && !shared {
		return c
	}
	r := *c
	if shared {
		r.Ask, r.Agent.Capabilities = nil, nil
		return &r
	}
	ask := c.Ask
	r.Ask = func(ctx context.Context, method string, params []byte) ([]byte, *wire.Error, error) {
		// A call that waits for a person keeps nobody from the upstream.
		t.pause()
		defer t.resume()
		return ask(ctx, method, params)
	}
	return &r
}

// report tells the breaker how an exchange ended: whether the upstream was
// there, not whether it liked the request.
func (u *upstream) report(err error) {
	var f *Failure
	switch {
	case err == nil, errors.Is(err, ErrBadAnswer), errors.Is(err, ErrTooLarge):
		u.breaker.success()
		if !u.health.isReady() {
			select {
			case u.wake <- struct{}{}:
			default:
			}
		}
	case breaks(err) && errors.As(err, &f):
		u.breaker.failFor(f.RetryAfter)
	case breaks(err):
		u.breaker.failure()
	}
}

var errQueued = errors.New("queued too long")

// slots bounds the calls at once.
type slots chan struct{}

func newSlots(n int) slots {
	if n <= 0 {
		n = defaultConcurrency
	}
	return make(slots, n)
}

func (s slots) enter(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	default:
	}
	t := time.NewTimer(queueTime)
	defer t.Stop()
	select {
	case s <- struct{}{}:
		return nil
	case <-t.C:
		return errQueued
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn is one call's slot. It is given back while the call waits for answers
// of its agent.
type turn struct {
	slots slots
	over  chan struct{} // closed when the call is

	mu     sync.Mutex
	held   bool
	asking int
}

func (t *turn) pause() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asking++; t.held {
		<-t.slots
		t.held = false
	}
}

// resume takes a slot back when no question is left. It was promised one, so
// it waits as long as it takes for others to finish.
func (t *turn) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asking--; t.asking > 0 {
		return
	}
	select {
	case <-t.over:
		return
	default:
	}
	select {
	case t.slots <- struct{}{}:
		t.held = true
	case <-t.over:
	}
}

func (t *turn) end() {
	close(t.over)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held {
		<-t.slots
		t.held = false
	}
}
