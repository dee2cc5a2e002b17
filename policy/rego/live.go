package rego

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ostiary/ostiary/policy"
)

// Watch timing.
const (
	DefaultEvery = 500 * time.Millisecond // between two looks
	settle       = 50 * time.Millisecond
	maxSettles   = 20 // then a directory that never rests is read as it is
)

// Live is the engine of a directory as it is now: a reload builds a new engine
// and swaps it. It implements policy.Decider and is safe for concurrent use;
// a decision under way ends with the engine that it began with.
type Live struct {
	dir    string
	o      Options
	engine atomic.Pointer[Engine]

	mu       sync.Mutex
	problems Problems
}

var (
	_ policy.Decider = (*Live)(nil)
	_ policy.Reader  = (*Live)(nil)
)

// Open loads dir. What is broken at the start is refused: its error is of
// type Problems.
func Open(dir string, o Options) (*Live, error) {
	e, err := Load(dir, o)
	if err != nil {
		return nil, err
	}
	l := &Live{dir: dir, o: o}
	l.engine.Store(e)
	return l, nil
}

// Decide judges with the engine of now.
func (l *Live) Decide(ctx context.Context, r *policy.Request) (policy.Decision, error) {
	return l.engine.Load().Decide(ctx, r)
}

// Visible judges a list with the engine of now.
func (l *Live) Visible(ctx context.Context, r *policy.Request, upstreams []string, targets []policy.Target) ([]bool, error) {
	return l.engine.Load().Visible(ctx, r, upstreams, targets)
}

// Revision is that of the engine of now.
func (l *Live) Revision() string { return l.engine.Load().Revision() }

// DependsOn tells whether decisions of now depend on path or something below it.
func (l *Live) DependsOn(path string) bool { return l.engine.Load().DependsOn(path) }

// Obliges tells whether the rules of now may oblige to something.
func (l *Live) Obliges() bool { return l.engine.Load().Obliges() }

// Engine is the engine of now.
func (l *Live) Engine() *Engine { return l.engine.Load() }

// Status is what is wrong with the files now; nil is nothing. While there is
// something, the last good engine decides.
func (l *Live) Status() Problems {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.problems
}

// Watch looks at the directory every now and then (DefaultEvery when every is
// 0 or less) until ctx ends, and applies each good change. It tells report,
// one call at a time, of each engine that was swapped in, and of the problems
// of what could not be, once for each distinct state of the files.
//
// It reads the files again instead of asking the system for notifications,
// which don't cross network, container and FUSE mounts, and compares contents,
// since times and sizes can repeat.
func (l *Live) Watch(ctx context.Context, every time.Duration, report func(*Engine, Problems)) {
	if every <= 0 {
		every = DefaultEvery
	}
	seen := l.engine.Load().revision
	for pause(ctx, every) {
		s, state := look(l.dir)
		if state == seen {
			continue
		}
		// A file may be half written, or one of two already replaced.
		for range maxSettles {
			if !pause(ctx, min(settle, every)) {
				return
			}
			before := state
			if s, state = look(l.dir); state == before {
				break
			}
		}
		seen = state
		report(l.apply(s, state))
	}
}

// look reads the directory; state is equal for equal files, and for equal
// reasons why they can't be read.
func look(dir string) (s *sources, state string) {
	s, ps := readSources(dir)
	if len(ps) > 0 {
		return nil, ps.Error()
	}
	return s, s.digest
}

// apply swaps in the engine of s, or notes why it can't be.
func (l *Live) apply(s *sources, state string) (*Engine, Problems) {
	e := l.engine.Load()
	var ps Problems
	switch {
	case s == nil:
		ps = Problems{{Text: state}}
	case s.digest != e.revision: // else the files are back as they were
		e, ps = load(s, l.o)
	}
	l.mu.Lock()
	l.problems = ps
	l.mu.Unlock()
	if len(ps) > 0 {
		return nil, ps
	}
	l.engine.Store(e)
	return e, nil
}

// pause reports false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
