package federation

import (
	"context"
	"sync"
	"time"
)

// defaultTimeout is a call's time limit where nothing else is said.
const defaultTimeout = 60 * time.Second

// deadline bounds the time that an upstream may take for one call. It is a
// hard limit: progress does not extend it. Time spent
// waiting for the agent's answer to a question of the upstream does not
// count.
type deadline struct {
	cancel context.CancelCauseFunc
	detach func() bool // lets the call's own end pass the caller's by

	mu      sync.Mutex
	timer   *time.Timer
	left    time.Duration
	since   time.Time // when the timer was last started
	waiting int       // questions that the agent was asked
	stopped bool
}

// withDeadline returns a context that ends with ctx, or with cause
// errTimedOut when the upstream has used up its time. stop releases it. It is
// no child of ctx, so that what is left of a stream can still be read away
// when the caller already has its answer (detach).
func withDeadline(ctx context.Context, limit time.Duration) (context.Context, *deadline) {
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	d := &deadline{cancel: cancel, left: limit, since: time.Now()}
	d.detach = context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	d.timer = time.AfterFunc(limit, func() { cancel(errTimedOut) })
	return inner, d
}

// pause stops the clock until as many calls to resume.
func (d *deadline) pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting++; d.waiting == 1 && d.timer.Stop() {
		d.left -= time.Since(d.since)
	}
}

func (d *deadline) resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting--; d.waiting == 0 && !d.stopped {
		d.since = time.Now()
		d.timer.Reset(max(d.left, 0))
	}
}

func (d *deadline) stop() {
	d.mu.Lock()
	d.stopped = true
	d.timer.Stop()
	d.mu.Unlock()
	d.detach()
	d.cancel(nil)
}

// linger gives what is left of an answered call a little time of its own,
// whatever becomes of the caller.
func (d *deadline) linger(t time.Duration) {
	d.detach()
	d.mu.Lock()
	d.timer.Reset(t)
	d.mu.Unlock()
}

// timeout is the time limit of c.
func (d *dialConfig) timeout(c *Call) time.Duration {
	if c.Item != nil && c.Item.Timeout > 0 {
		return c.Item.Timeout
	}
	if t := d.Upstream.Limits.Timeout; t > 0 {
		return t
	}
	return defaultTimeout
}
