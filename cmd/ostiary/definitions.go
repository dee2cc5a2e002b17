package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

// Events about what upstreams say of their items.
const (
	eventDefinition = "definition.changed" // one item says something else now
	eventItems      = "catalog.items"      // items came or went
)

// Bounds of these events: an upstream that changes all the time fills neither
// the log nor anyone's patience. Which definition a call was decided under
// stands in its decision record, whatever was told here.
const (
	maxDiff      = 4 << 10 // bytes of one diff, and of one list of names
	driftsAnHour = 200     // definition.changed of one upstream
	itemsAnHour  = 60      // catalog.items of one upstream
)

// reasonMany marks the one event that stands for those over the bound.
const reasonMany = "many"

// definitions records what the federation hears of changed definitions. While
// the audit log is unwell nothing can be called, and what changes then is
// logged alone: the space that a full disk has left is for revocations.
type definitions struct {
	sink audit.Sink
	log  *slog.Logger

	mu    sync.Mutex
	spent map[string]*allowance // by event and upstream
}

// allowance counts the events of one hour.
type allowance struct {
	since time.Time
	used  int
}

// listen makes the federation tell d.
func (d *definitions) listen(c *federation.Config) {
	c.OnDrift, c.OnInventory = d.drifted, d.counted
}

// take says whether one more event may be recorded; last, that it is the first
// one that may not: it is said once an hour.
func (d *definitions) take(event, upstream string, limit int, now time.Time) (ok, last bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := event + " " + upstream
	a := d.spent[key]
	if a == nil || now.Sub(a.since) >= time.Hour {
		a = &allowance{since: now}
		if d.spent == nil {
			d.spent = map[string]*allowance{}
		}
		d.spent[key] = a
	}
	a.used++
	return a.used <= limit, a.used == limit+1
}

// drifted records changed definitions, each with its diff.
func (d *definitions) drifted(all []federation.Drift) {
	if err := d.sink.Err(); err != nil {
		d.log.Warn("definitions changed and are not recorded", "upstream", all[0].Upstream, "changed", len(all), "error", err)
		return
	}
	for n, drift := range all {
		ok, last := d.take(eventDefinition, drift.Upstream, driftsAnHour, drift.At)
		r := &audit.Record{
			Format: audit.Format, Kind: "event", Event: eventDefinition, Time: drift.At, Upstream: drift.Upstream,
			Target: policy.Target{Kind: drift.Kind.String(), Name: drift.Name, Digest: drift.DigestAfter},
		}
		switch {
		case ok:
			r.Detail = driftDetail(&drift)
		case last:
			r.Target, r.Reason = policy.Target{}, reasonMany
			r.Detail = fmt.Sprintf("over %d definitions of this upstream changed within an hour; %d more changed now, and the rest of this hour is not recorded one by one", driftsAnHour, len(all)-n)
		default:
			return
		}
		d.sink.Note(r)
	}
}

// driftForm is the first line of a diff in the record: the exposed name, the
// digest before, the digest after.
const driftForm = "%s: %s → %s"

func driftDetail(d *federation.Drift) string {
	return fmt.Sprintf(driftForm, d.Exposed, d.DigestBefore, d.DigestAfter) + "\n" + d.Diff(maxDiff)
}

// readDrift takes a detail apart.
func readDrift(detail string) (exposed, before, after string, changes []string) {
	first, rest, _ := strings.Cut(detail, "\n")
	if at := strings.LastIndex(first, ": "); at >= 0 {
		exposed = first[:at]
		before, after, _ = strings.Cut(first[at+2:], " → ")
	}
	return exposed, before, after, strings.Split(rest, "\n")
}

// counted records items that came and went.
func (d *definitions) counted(i federation.Inventory) {
	if err := d.sink.Err(); err != nil {
		d.log.Warn("items came or went and are not recorded", "upstream", i.Upstream, "added", i.AddedCount, "removed", i.RemovedCount, "error", err)
		return
	}
	r := &audit.Record{Format: audit.Format, Kind: "event", Event: eventItems, Time: i.At, Upstream: i.Upstream}
	switch ok, last := d.take(eventItems, i.Upstream, itemsAnHour, i.At); {
	case ok:
		var parts []string
		if i.AddedCount > 0 {
			parts = append(parts, fmt.Sprintf("added %d: %s", i.AddedCount, itemNames(i.Added, i.AddedCount)))
		}
		if i.RemovedCount > 0 {
			parts = append(parts, fmt.Sprintf("removed %d: %s", i.RemovedCount, itemNames(i.Removed, i.RemovedCount)))
		}
		r.Detail = strings.Join(parts, "; ")
	case last:
		r.Reason = reasonMany
		r.Detail = fmt.Sprintf("the items of this upstream changed over %d times within an hour; the rest of this hour is not recorded", itemsAnHour)
	default:
		return
	}
	d.sink.Note(r)
}

func itemNames(names []federation.ItemName, of int) string {
	var b strings.Builder
	for n, i := range names {
		word := i.Kind.String() + " " + i.Name
		if b.Len()+len(word) > maxDiff {
			names = names[:n]
			break
		}
		if n > 0 {
			b.WriteString(", ")
		}
		b.WriteString(word)
	}
	if more := of - len(names); more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}
