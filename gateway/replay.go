package gateway

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// replayAge is how long a stream stays replayable once it ended, or once
	// its agent left an open GET stream for another.
	replayAge = 5 * time.Minute

	// awayStreams bounds the GET streams of a session that nobody reads.
	awayStreams = 16

	// keptOverhead is what an event in a box costs beside its bytes.
	keptOverhead = 64

	// replayShare bounds what all sessions of one principal keep, in units of
	// Limits.Replay: else many sessions would be a way around it.
	replayShare = 16
)

// replay keeps the last events of a session's streams, so that an agent that
// lost its connection gets what it missed (MCP 2025-11-25, Streamable HTTP,
// resumability). It is bounded in bytes; the oldest go first.
type replay struct {
	limit  int // bytes, with keptOverhead each
	owner  string
	shared *ledger // of all sessions
	now    func() time.Time

	mu      sync.Mutex
	streams map[string]*stream
	events  []kept // oldest first
	used    int
}

type kept struct {
	st    *stream
	n     uint64
	frame []byte
}

// open makes a stream of the session. Its name is random, so that an event id
// of another session, or of the time before a restart, means nothing here.
func (b *replay) open(get bool) *stream {
	st := &stream{name: rand.Text()[:16], box: b, get: get}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streams == nil {
		b.streams = make(map[string]*stream)
	}
	b.streams[st.name] = st
	return st
}

// find is the stream that an event id names, and the event's number.
func (b *replay) find(id string) (*stream, uint64, bool) {
	name, number, ok := strings.Cut(id, "-")
	if !ok {
		return nil, 0, false
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return nil, 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	st, ok := b.streams[name]
	return st, n, ok
}

// keep adds an event, at the cost of the oldest ones. An event that is larger
// than the whole box is not kept, and the stream can't be resumed before it.
func (b *replay) keep(st *stream, n uint64, frame []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	cost := len(frame) + keptOverhead
	if cost > b.limit {
		st.lost = n
		return
	}
	for b.used+cost > b.limit {
		b.drop()
	}
	for !b.shared.take(b.owner, cost, replayShare*b.limit) {
		if len(b.events) == 0 { // other sessions of the principal have it all
			st.lost = n
			return
		}
		b.drop()
	}
	b.used += cost
	b.events = append(b.events, kept{st, n, frame})
	st.kept++
}

// drop needs mu.
func (b *replay) drop() {
	e := b.events[0]
	b.events[0] = kept{}
	b.events = b.events[1:]
	cost := len(e.frame) + keptOverhead
	b.used -= cost
	b.shared.give(b.owner, cost)
	e.st.lost = e.n
	if e.st.kept--; e.st.kept == 0 && !e.st.away.IsZero() {
		delete(b.streams, e.st.name)
	}
}

// since is what followed event n of st; false when some of it is gone.
func (b *replay) since(st *stream, n uint64) ([][]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streams[st.name] != st || n < st.lost {
		return nil, false
	}
	var frames [][]byte
	for _, e := range b.events {
		if e.st == st && e.n > n {
			frames = append(frames, e.frame)
		}
	}
	return frames, true
}

// leave notes that nobody reads st now, or that it ended.
func (b *replay) leave(st *stream, ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !ended && !st.get {
		return // the call goes on, and its agent may come back
	}
	st.away = b.now()
	if st.kept == 0 {
		delete(b.streams, st.name)
		return
	}
	var oldest *stream
	away := 0
	for _, o := range b.streams {
		if o.get && !o.away.IsZero() {
			away++
			if oldest == nil || o.away.Before(oldest.away) {
				oldest = o
			}
		}
	}
	if away > awayStreams {
		b.forget(oldest)
	}
}

// join notes that somebody reads st again.
func (b *replay) join(st *stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st.away = time.Time{}
}

// forget removes a stream and its events. It needs mu.
func (b *replay) forget(st *stream) {
	delete(b.streams, st.name)
	rest := b.events[:0]
	for _, e := range b.events {
		if e.st == st {
			cost := len(e.frame) + keptOverhead
			b.used -= cost
			b.shared.give(b.owner, cost)
			continue
		}
		rest = append(rest, e)
	}
	clear(b.events[len(rest):])
	b.events = rest
	st.kept = 0
}

// expire forgets streams that ended long ago and reports whether any is left.
func (b *replay) expire(now time.Time) (left bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, st := range b.streams {
		if !st.get && !st.away.IsZero() && now.Sub(st.away) >= replayAge {
			b.forget(st)
		}
	}
	if len(b.events) == 0 {
		b.events = nil
	}
	return len(b.streams) > 0
}

// close ends all streams and forgets them.
func (b *replay) close() {
	b.mu.Lock()
	all := make([]*stream, 0, len(b.streams))
	for _, st := range b.streams {
		all = append(all, st)
	}
	b.mu.Unlock()
	for _, st := range all { // a stream's own lock comes before the box's
		st.end()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.events) > 0 {
		b.drop()
	}
	clear(b.streams)
}

// ledger counts bytes per principal.
type ledger struct {
	mu sync.Mutex
	n  map[string]int
}

func (l *ledger) take(key string, n, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == nil {
		l.n = make(map[string]int)
	}
	if l.n[key]+n > limit {
		return false
	}
	l.n[key] += n
	return true
}

func (l *ledger) give(key string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n[key] -= n; l.n[key] <= 0 {
		delete(l.n, key)
	}
}
