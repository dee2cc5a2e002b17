package audit

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Outside is a place for checkpoints that who changes the log can't change. Put
// may be slow or fail: nothing waits for it. Its errors and its name are for
// the operator, and hold no secret.
type Outside interface {
	// Put keeps c there. It should end when ctx does.
	Put(ctx context.Context, c *Checkpoint) error
	// String names the place, e.g. "file /mnt/worm/checkpoints".
	String() string
}

const (
	putTimeout  = 10 * time.Second // of one attempt
	maxBackoff  = time.Minute      // between attempts
	closeCopies = 2 * time.Second  // for the last ones, at the end
)

// copier brings the newest checkpoint to one outside place, again until it is
// there: a newer one covers what an older did, so one waits at most.
type copier struct {
	log   *Log
	place Outside
	wake  chan struct{}
	quit  context.Context // ends when no further attempt is wanted
	end   context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex
	next    *Checkpoint
	closing bool
	err     error
}

func newCopier(l *Log, place Outside) *copier {
	c := &copier{log: l, place: place, wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.quit, c.end = context.WithCancel(context.Background())
	return c
}

// offer replaces what waits.
func (c *copier) offer(p Checkpoint) {
	c.mu.Lock()
	c.next = &p
	c.mu.Unlock()
	c.poke()
}

func (c *copier) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *copier) problem() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", c.place, c.err)
}

// waiting returns what is to be put, and whether the end was announced.
func (c *copier) waiting() (*Checkpoint, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next, c.closing
}

func (c *copier) run() {
	defer close(c.done)
	first := min(c.log.CheckpointEvery, time.Second)
	backoff := first
	for {
		p, closing := c.waiting()
		if p == nil {
			if closing {
				return
			}
			select {
			case <-c.wake:
			case <-c.quit.Done():
				return
			}
			continue
		}
		err := c.put(p)
		c.report(err)
		if err == nil {
			backoff = first
			continue
		}
		if closing {
			return
		}
		select {
		case <-time.After(backoff):
		case <-c.quit.Done():
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// put tries once; it takes p off the list unless a newer one replaced it.
func (c *copier) put(p *Checkpoint) error {
	ctx, cancel := context.WithTimeout(c.quit, putTimeout)
	defer cancel()
	err := c.log.Fail("outside")
	if err == nil {
		err = c.place.Put(ctx, p)
	}
	if err == nil {
		c.mu.Lock()
		if c.next == p {
			c.next = nil
		}
		c.mu.Unlock()
	}
	return err
}

// report records that a place fails, once, and that it works again.
func (c *copier) report(err error) {
	c.mu.Lock()
	was := c.err
	c.err = err
	c.mu.Unlock()
	switch {
	case was == nil && err != nil:
		c.log.Logger.Warn("audit checkpoints are not copied", "to", c.place.String(), "error", err)
		c.note("audit.checkpoint_failed", c.place.String()+": "+err.Error())
	case was != nil && err == nil:
		c.log.Logger.Info("audit checkpoints are copied again", "to", c.place.String())
		c.note("audit.checkpoint_recovered", c.place.String())
	}
}

// note records what happened, unless the log takes nothing more.
func (c *copier) note(event, detail string) {
	c.log.mu.Lock()
	closing := c.log.closing
	c.log.mu.Unlock()
	if !closing {
		c.log.Note(&Record{Kind: "event", Event: event, Detail: detail})
	}
}

// closeCopiers lets each make a last attempt, together, for a bounded time: one
// that hangs in the kernel is left behind.
func closeCopiers(all []*copier) {
	for _, c := range all {
		c.mu.Lock()
		c.closing = true
		c.mu.Unlock()
		c.poke()
	}
	late := time.After(closeCopies)
	for _, c := range all {
		select {
		case <-c.done:
		case <-late:
			late = time.After(0)
		}
		c.end()
	}
}
