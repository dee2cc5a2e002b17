package audit

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// EventFailures is a summary of what somebody unknown did in vain.
	EventFailures = "source.failures"
	// EventQuota is a summary of what a principal was refused over its quota.
	EventQuota = "principal.over_quota"

	// FloodWindow is what one summary covers.
	FloodWindow = time.Minute
	// MaxSources is how many sources a Flood tells apart in a window; what the
	// others do is counted together, under OtherSources.
	MaxSources   = 10_000
	OtherSources = "other sources"

	maxKinds  = 16 // of one source
	otherKind = "other"
)

// Failures are what a summary counts.
type Failures struct {
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Kinds []Failed  `json:"kinds"`
}

// Failed is one kind of failure.
type Failed struct {
	Kind  string `json:"kind"` // machine word
	Count int    `json:"count"`
}

// Flood counts what is not worth a record each, into one record per source and
// window, so that nobody can fill the log from outside. Its methods are safe
// for concurrent use. Add never waits for the log.
type Flood struct {
	Sink Sink
	Now  func() time.Time // nil = time.Now

	mu      sync.Mutex
	since   time.Time
	sources map[string]*summary
	timer   *time.Timer
	closed  bool
}

type summary struct {
	record Record
	Failures
}

// Add counts a failure of a kind, which is one of few words of ours, from an
// address: an IPv6 network of 64 bits is one source, since whoever has one
// address of it has all.
func (f *Flood) Add(address, kind string) {
	source := Source(address)
	f.add(source, kind, Record{Kind: "event", Event: EventFailures, RequestedBy: source})
}

// AddBy counts what the principal called key did over its quota. r says who it
// is; it is not kept.
func (f *Flood) AddBy(key, kind string, r *Record) {
	f.add("\x00"+key, kind, Record{Kind: "event", Event: EventQuota, User: r.User, Client: r.Client, Source: r.Source, RequestedBy: r.RequestedBy})
}

func (f *Flood) add(key, kind string, r Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if now.Sub(f.since) >= FloodWindow || now.Before(f.since) {
		f.write()
		f.since, f.sources = now, map[string]*summary{}
		if !f.closed {
			f.timer = time.AfterFunc(FloodWindow, func() { f.due(now) })
		}
	}
	s := f.sources[key]
	if s == nil && len(f.sources) >= MaxSources {
		key, r = OtherSources, Record{Kind: "event", Event: EventFailures, RequestedBy: OtherSources}
		s = f.sources[key]
	}
	if s == nil {
		s = &summary{record: r, Failures: Failures{First: now}}
		f.sources[key] = s
	}
	s.Count++
	s.Last = now
	s.count(kind)
	if f.closed { // nobody comes to write it
		f.write()
	}
}

func (s *summary) count(kind string) {
	i := slices.IndexFunc(s.Kinds, func(k Failed) bool { return k.Kind == kind })
	if i < 0 && len(s.Kinds) >= maxKinds {
		kind = otherKind
		i = slices.IndexFunc(s.Kinds, func(k Failed) bool { return k.Kind == kind })
	}
	if i < 0 {
		s.Kinds = append(s.Kinds, Failed{kind, 1})
		return
	}
	s.Kinds[i].Count++
}

// due writes the window that began at since, unless somebody else did.
func (f *Flood) due(since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since.Equal(since) {
		f.write()
	}
}

// Flush writes what was counted, also before its window is over.
func (f *Flood) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write()
}

// write writes the window and forgets it. f.mu is held.
func (f *Flood) write() {
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	now := f.now()
	for _, s := range f.sources {
		s.record.Format, s.record.Time, s.record.Failures = Format, now, &s.Failures
		f.Sink.Note(&s.record)
	}
	f.sources, f.since = nil, time.Time{}
}

// Close writes what was counted. What is added later is written at once.
func (f *Flood) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.write()
}

func (f *Flood) now() time.Time {
	if f.Now == nil {
		return time.Now()
	}
	return f.Now()
}

// Source is what an address is counted under.
func Source(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if a = a.Unmap().WithZone(""); a.Is6() {
		p, _ := a.Prefix(64) // 64 bits of 128 always are one
		return p.String()
	}
	return a.String()
}
