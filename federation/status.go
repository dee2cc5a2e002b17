package federation

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

// Status of one upstream.
type Status struct {
	Name        string        `json:"name"`
	State       string        `json:"state"` // "ready", "connecting", "unavailable", "disabled"
	Era         string        `json:"era,omitempty"`
	Version     string        `json:"version,omitempty"` // protocol revision
	Transport   string        `json:"transport"`
	Detail      string        `json:"detail,omitempty"` // why unavailable, for the operator
	Since       time.Time     `json:"since"`
	Tools       int           `json:"tools"`
	Prompts     int           `json:"prompts"`
	Resources   int           `json:"resources"`
	Templates   int           `json:"templates"`
	LeftOut     []LeftOut     `json:"left_out,omitempty"`
	Notes       []Note        `json:"notes,omitempty"`
	Server      string        `json:"server,omitempty"`      // name and version it reports of itself
	Confinement string        `json:"confinement,omitempty"` // of a stdio upstream: what it is confined by
	Latency     time.Duration `json:"-"`                     // of the last connect and first listing
}

// LeftOut is an item that is not offered, or not everywhere, and why.
type LeftOut struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Status says how each upstream is doing, sorted by name.
func (f *Federation) Status() []Status {
	snapshot := f.Snapshot()
	var all []Status
	for name, u := range *f.upstreams.Load() {
		s := u.health.status()
		s.Name = name
		s.Transport, s.Confinement = transportOf(u.config.Load()), u.confinement()
		if section := snapshot.sections[name]; section != nil {
			s.Era, s.Version = section.info.Era, section.info.Version
			s.Server = serverOf(section.peer)
			s.Tools, s.Prompts = len(section.lists[Tool]), len(section.lists[Prompt])
			s.Resources, s.Templates = len(section.lists[Resource]), len(section.lists[Template])
			s.LeftOut = slices.Concat(section.malformed(), snapshot.leftOut[name])
			s.Notes = snapshot.notesOf(name)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func transportOf(u *catalogs.Upstream) string {
	switch {
	case u.Transport != "" && u.Transport != catalogs.Auto:
		return string(u.Transport)
	case u.URL == "" && len(u.Command) > 0:
		return string(catalogs.Stdio)
	}
	return string(catalogs.Auto)
}

func serverOf(p *peer) string {
	if p == nil {
		return ""
	}
	o, err := wire.Fields(p.ServerInfo)
	if err != nil {
		return ""
	}
	name, _ := o.String("name")
	version, _ := o.String("version")
	return shortened(strings.TrimSpace(name + " " + version))
}

// detail is an error in words for Status: without the upstream's name, which
// stands beside it.
func detail(err error) string {
	if err == nil {
		return ""
	}
	var f *Failure
	if errors.As(err, &f) && f.Error() == err.Error() {
		if f.Detail != "" {
			return f.Kind.Error() + ": " + f.Detail
		}
		return f.Kind.Error()
	}
	return err.Error()
}

// health is how an upstream is doing.
type health struct {
	mu       sync.Mutex
	state    string
	detail   string
	since    time.Time
	latency  time.Duration
	ttl      time.Duration
	ttlKnown bool
}

func (h *health) set(now time.Time, state, detail string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != state {
		h.since = now
	}
	h.state, h.detail = state, detail
}

func (h *health) reached(after time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.latency = after
}

func (h *health) isReady() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state == "ready"
}

// lifetime is how long the upstream says that its lists stay fresh.
func (h *health) lifetime() (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ttl, h.ttlKnown
}

func (h *health) setTTL(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ttl, h.ttlKnown = d, true
}

func (h *health) status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Status{State: h.state, Detail: h.detail, Since: h.since, Latency: h.latency}
}

// States of an upstream's change notifications.
const (
	flowOpening = iota // on their way
	flowing
	flowNone // down, or it sends none
)

// flow says whether change notifications flow, and lets others wait for it.
type flow struct {
	mu      sync.Mutex
	state   int
	changed chan struct{} // closed and replaced at each change
}

func (f *flow) set(state int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != state {
		f.state = state
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

func (f *flow) is(state int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state == state
}

// wait returns when notifications flow or won't, or ctx ends.
func (f *flow) wait(ctx context.Context) {
	for {
		f.mu.Lock()
		state, changed := f.state, f.changed
		f.mu.Unlock()
		if state != flowOpening {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Watching waits until change notifications of these upstreams flow, for at
// most the time ctx gives; an upstream that is down or sends none is not
// waited for.
func (f *Federation) Watching(ctx context.Context, upstreams []string) {
	for _, name := range upstreams {
		if u := f.upstream(name); u != nil {
			waiting, cancel := context.WithCancel(ctx)
			stop := context.AfterFunc(u.ctx, cancel)
			u.flow.wait(waiting)
			stop()
			cancel()
		}
	}
}
