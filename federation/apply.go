package federation

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/ostiary/ostiary/catalogs"
)

// drainTime is how long calls in flight to an upstream that is gone from the
// catalog may go on.
const drainTime = 30 * time.Second

// Apply makes c the catalog: starts what is new, keeps what is unchanged,
// drains what is gone. It returns as soon as persisted snapshots are merged;
// connecting goes on in the background, and an upstream that can't be reached
// is a Status, not an error. With an error nothing has changed.
func (f *Federation) Apply(ctx context.Context, c *catalogs.Catalog) error {
	if c == nil {
		return errors.New("federation: no catalog")
	}
	f.applying.Lock()
	defer f.applying.Unlock()
	if f.closed {
		return errors.New("federation: closed")
	}

	running := *f.upstreams.Load()
	plan := f.plan(ctx, running, c)
	before, after, err := f.namespace.update(plan.yielding, func(sections map[string]*section) {
		for name := range sections {
			if plan.next[name] == nil || plan.next[name].disabled {
				delete(sections, name)
			}
		}
		for _, u := range plan.start {
			sections[u.name] = u.firstSection(sections[u.name], plan.restored[u.name])
		}
		for u, config := range plan.adopt {
			// Under the writer's lock: a listing that finishes meanwhile
			// encodes for the entry that holds when it commits.
			u.config.Store(config)
			sections[u.name] = reencoded(sections[u.name], config)
		}
		for _, u := range plan.drain {
			u.retired.Store(true)
		}
	})
	if err != nil {
		for _, u := range plan.start {
			u.cancel()
		}
		return fmt.Errorf("federation: catalog not applied: %w", err)
	}
	f.upstreams.Store(&plan.next)

	for _, u := range plan.start {
		f.work.Go(u.run)
	}
	for _, u := range plan.drain {
		f.work.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), drainTime)
			defer cancel()
			u.end(ctx)
		})
	}
	for name := range running {
		if plan.next[name] == nil {
			f.saver.remove(name)
		}
	}
	f.persist(before, after)
	f.announce(before, after)
	return nil
}

// plan is what an Apply does.
type plan struct {
	next     map[string]*upstream
	start    []*upstream
	drain    []*upstream
	adopt    map[*upstream]*catalogs.Upstream // same connection, other words about it
	restored map[string]*stored
	yielding map[string]yields
}

func (f *Federation) plan(ctx context.Context, running map[string]*upstream, c *catalogs.Catalog) *plan {
	p := &plan{
		next:     make(map[string]*upstream, len(c.Upstreams)),
		adopt:    map[*upstream]*catalogs.Upstream{},
		restored: map[string]*stored{},
		yielding: map[string]yields{},
	}
	for _, config := range c.Upstreams {
		name := config.Name
		if was := running[name]; was != nil && was.disabled == !config.Enabled && sameReach(was.config.Load(), config) {
			p.next[name] = was
			if !reflect.DeepEqual(was.config.Load(), config) && !was.disabled {
				p.adopt[was] = config
			}
			continue
		}
		u := f.newUpstream(config)
		p.next[name] = u
		if u.disabled {
			continue
		}
		p.start = append(p.start, u)
		// What the entry's own listing said last is at hand or was persisted.
		if was := running[name]; was == nil || was.disabled {
			if s := f.saver.load(ctx, u); s != nil {
				p.restored[name] = s
				p.yielding[name] = s.yields()
			}
		}
	}
	for name, was := range running {
		if p.next[name] != was && !was.disabled {
			p.drain = append(p.drain, was)
		}
	}
	return p
}

// sameReach says that two entries reach their upstream in the same way, so
// that what is connected for the one serves the other. What only words it
// differently (labels, prefix, title, where it stands in the file) may differ.
func sameReach(a, b *catalogs.Upstream) bool {
	return reflect.DeepEqual(reach(a), reach(b))
}

func reach(u *catalogs.Upstream) catalogs.Upstream {
	r := *u
	r.Title, r.Prefix, r.Labels, r.Tools = "", "", nil, nil
	r.TrustAnnotations, r.FoldedArguments, r.MergedApps = false, false, false
	r.Reads, r.Source = nil, catalogs.Position{}
	return r
}

// announce tells the watchers what differs between two snapshots.
func (f *Federation) announce(before, after *Snapshot) {
	for name, s := range after.sections {
		if change, differs := difference(before.sections[name], s); differs {
			change.Upstream = name
			f.watchers.notify(change)
		}
	}
	for name, s := range before.sections {
		if after.sections[name] == nil {
			change, _ := difference(s, nil)
			change.Upstream = name
			f.watchers.notify(change)
		}
	}
}

// difference says which lists of an upstream differ, and whether anything
// does. Either section may be nil.
func difference(a, b *section) (c Change, differs bool) {
	if a == b {
		return c, false
	}
	for k := range kinds {
		var was, is string
		if a != nil && len(a.lists[k]) > 0 {
			was = a.digests[k]
		}
		if b != nil && len(b.lists[k]) > 0 {
			is = b.digests[k]
		}
		c.Kinds[k] = was != is
	}
	return c, a == nil || b == nil || a.revision != b.revision
}
