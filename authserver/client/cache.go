package client

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	maxCached   = 1000 // entries of a cache
	negativeFor = time.Minute
	// reloadAfter bounds how often an entry is loaded because someone asks for
	// more than it has, such as a key id that nobody knows.
	reloadAfter = time.Minute
	// maxStale bounds how long a client that people let in goes on without what
	// it publishes about itself, from when that was last read. It is more than
	// MaxFresh, for what is still fresh may be older than a day.
	maxStale = MaxFresh + 24*time.Hour
)

// errBusy: too much is being fetched already. It is not remembered.
var errBusy = errors.New("too many fetches at a time")

// cache remembers what was fetched, failures too. Any number of askers for one
// key cause one fetch. Failures and what nobody asked for lately go first when
// it is full.
type cache[T any] struct {
	max int

	mu      sync.Mutex
	entries map[string]*entry[T]
}

type entry[T any] struct {
	done    chan struct{} // closed once the rest is set
	value   T
	err     error
	loaded  time.Time
	expires time.Time
	before  good[T] // set when the entry is made
}

// good is the last value that was loaded well, and when; zero = none.
type good[T any] struct {
	value T
	at    time.Time
}

// good is what the next load is preceded by. A refusal ends what was before it:
// while it is asked about again, nothing counts.
func (e *entry[T]) good() good[T] {
	switch {
	case e.err == nil:
		return good[T]{e.value, e.loaded}
	case errors.Is(e.err, errRefused):
		return good[T]{}
	}
	return e.before
}

func newCache[T any](max int) cache[T] {
	return cache[T]{max: max, entries: map[string]*entry[T]{}}
}

// get returns what is remembered under key, or loads it. With anew it loads
// also what is remembered, unless that is younger than reloadAfter; the old
// value then outlives a failure.
//
// A load runs on after its asker has gone: others wait for it.
func (c *cache[T]) get(ctx context.Context, key string, now func() time.Time, anew bool, load func(context.Context) (T, time.Duration, error)) (T, error) {
	e, err := c.entry(ctx, key, now, anew, load)
	if err != nil {
		var none T
		return none, err
	}
	select {
	case <-e.done:
		return e.value, e.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// standing is get for who can't wait: while a value is being loaded anew, or
// can't be had now, the one before counts until it is maxStale old. One that was
// refused counts no more.
func (c *cache[T]) standing(ctx context.Context, key string, now func() time.Time, load func(context.Context) (T, time.Duration, error)) (T, error) {
	e, err := c.entry(ctx, key, now, false, load)
	switch {
	case err != nil: // no room
	case e.over() && (e.err == nil || errors.Is(e.err, errRefused)):
		return e.value, e.err
	case !e.before.at.IsZero() && now().Sub(e.before.at) < maxStale:
		return e.before.value, nil
	}
	return c.get(ctx, key, now, false, load)
}

// seed remembers a value that was loaded at a time before, by another process
// perhaps. It is to be loaded anew before it counts for get.
func (c *cache[T]) seed(key string, value T, at, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != nil || len(c.entries) >= c.max && !c.evict(now) {
		return
	}
	e := &entry[T]{done: make(chan struct{}), value: value, loaded: at, expires: at}
	close(e.done)
	c.entries[key] = e
}

func (c *cache[T]) entry(ctx context.Context, key string, now func() time.Time, anew bool, load func(context.Context) (T, time.Duration, error)) (*entry[T], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.entries[key]
	if old != nil {
		if !old.over() {
			return old, nil
		}
		t := now()
		if t.Before(old.expires) && !(anew && t.Sub(old.loaded) >= reloadAfter) {
			return old, nil
		}
	} else if len(c.entries) >= c.max && !c.evict(now()) {
		return nil, errBusy
	}
	e := &entry[T]{done: make(chan struct{})}
	if old != nil {
		e.before = old.good()
	}
	c.entries[key] = e
	go func() {
		defer close(e.done)
		var ttl time.Duration
		e.value, ttl, e.err = load(context.WithoutCancel(ctx))
		e.loaded = now()
		e.expires = e.loaded.Add(ttl)
		switch {
		case e.err == nil:
		case errors.Is(e.err, errBusy):
			e.expires = e.loaded
		case old != nil && old.err == nil && e.loaded.Before(old.expires):
			e.value, e.err, e.expires = old.value, nil, old.expires
		default:
			e.expires = e.loaded.Add(negativeFor)
		}
	}()
	return e, nil
}

// over says whether the entry was loaded.
func (e *entry[T]) over() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// evict makes room for one entry: what expired goes, else the failure that was
// first to expire, else the value. It says whether there is room now.
func (c *cache[T]) evict(now time.Time) bool {
	var victim string
	var worst *entry[T]
	for key, e := range c.entries {
		switch {
		case !e.over():
		case !now.Before(e.expires):
			delete(c.entries, key)
		case worst == nil || (e.err != nil) != (worst.err != nil) && e.err != nil ||
			(e.err != nil) == (worst.err != nil) && e.expires.Before(worst.expires):
			victim, worst = key, e
		}
	}
	if len(c.entries) >= c.max && worst != nil {
		delete(c.entries, victim)
	}
	return len(c.entries) < c.max
}
