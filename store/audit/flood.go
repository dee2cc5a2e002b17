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
	// MaxSources is how many sources a Flood tells apart in a window, and how
	// many principals; what the others do is counted together, under
	// OtherSources. It is what anybody can make the log grow by.
	MaxSources   = 1_000
	OtherSources = "other sources"

	// maxNetworks is how many IPv6 networks of 64 bits are told apart of one of
	// 48 bits, which one customer of a provider has: the others count as that.
	maxNetworks = 16

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
// for concurrent use. Add never waits for the disk. What a window counted so far
// is lost in a crash.
type Flood struct {
	Sink Sink
	Now  func() time.Time // nil = time.Now

	mu         sync.Mutex
	since      time.Time
	sources    map[string]*summary
	principals map[string]*summary
	networks   map[netip.Prefix]int // of 48 bits: how many of 64 bits are among the sources
	timer      *time.Timer
	closed     bool
}

type summary struct {
	record Record
	Failures
}

// Add counts a failure of a kind, which is one of few words of ours, from an
// address: an IPv6 network of 64 bits is one source, since whoever has one
// address of it has all.
func (f *Flood) Add(address, kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.begin()
	source := Source(address)
	if _, known := f.sources[source]; !known && len(f.sources) < MaxSources {
		if p, err := netip.ParsePrefix(source); err == nil {
			wide, _ := p.Addr().Prefix(48) // 48 bits of 128 always are one
			if f.networks[wide] < maxNetworks {
				f.networks[wide]++
			} else {
				source = wide.String()
			}
		}
	}
	f.add(f.sources, source, kind, now, Record{Kind: "event", Event: EventFailures, RequestedBy: source})
}

// AddBy counts what the principal called key did over its quota. r says who it
// is; it is not kept.
func (f *Flood) AddBy(key, kind string, r *Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.begin()
	f.add(f.principals, key, kind, now, Record{Kind: "event", Event: EventQuota, User: r.User, Client: r.Client, Source: r.Source, RequestedBy: r.RequestedBy})
}

// begin begins a window unless one is open, and says what time it is. f.mu is held.
func (f *Flood) begin() time.Time {
	now := f.now()
	if now.Sub(f.since) >= FloodWindow || now.Before(f.since) {
		f.write()
		f.since, f.sources, f.principals, f.networks = now, map[string]*summary{}, map[string]*summary{}, map[netip.Prefix]int{}
		if !f.closed {
			f.timer = time.AfterFunc(FloodWindow, func() { f.due(now) })
		}
	}
	return now
}

func (f *Flood) add(all map[string]*summary, key, kind string, now time.Time, r Record) {
	s := all[key]
	if s == nil && len(all) >= MaxSources {
		key, r = OtherSources, Record{Kind: "event", Event: r.Event, RequestedBy: OtherSources}
		s = all[key]
	}
	if s == nil {
		s = &summary{record: r, Failures: Failures{First: now}}
		all[key] = s
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
	for _, all := range []map[string]*summary{f.sources, f.principals} {
		for _, s := range all {
			s.record.Format, s.record.Time, s.record.Failures = Format, now, &s.Failures
			f.Sink.Note(&s.record)
		}
	}
	f.sources, f.principals, f.networks, f.since = nil, nil, nil, time.Time{}
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
