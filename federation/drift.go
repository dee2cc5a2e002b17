package federation

import "time"

// Drift is a definition that is not what it was: the upstream still offers the
// item, but says something else of it (its digest differs). The item is served
// on; policy sees the digest.
type Drift struct {
	Upstream string
	Kind     Kind
	Name     string // the upstream's own
	Exposed  string // in the merged namespace

	Before, After             []byte // the definitions, raw and compact
	DigestBefore, DigestAfter string
	At                        time.Time
}

// maxNamed is how many items of each list an Inventory names.
const maxNamed = 100

// Inventory says which items an upstream offers that it did not offer before,
// and which it no longer does. The counts are of all, the lists hold the first
// maxNamed of them, sorted by kind and name.
type Inventory struct {
	Upstream                 string
	Added, Removed           []ItemName
	AddedCount, RemovedCount int
	At                       time.Time
}

// ItemName names an item of an upstream.
type ItemName struct {
	Kind Kind
	Name string // the upstream's own, shortened if it is long
}

// compare tells what differs between two lists of one upstream.
func compare(was, is *section, at time.Time) ([]Drift, Inventory) {
	upstream := is.info.Config.Name
	all := Inventory{Upstream: upstream, At: at}
	var drifts []Drift
	for k := range kinds {
		for _, i := range is.lists[k] {
			before := was.names[k][i.Name]
			switch {
			case before == nil:
				all.AddedCount++
				all.Added = named(all.Added, i)
			case before != i && before.Digest != i.Digest:
				drifts = append(drifts, Drift{
					Upstream: upstream, Kind: k, Name: i.Name, Exposed: i.Exposed,
					Before: before.Own, After: i.Own, DigestBefore: before.Digest, DigestAfter: i.Digest, At: at,
				})
			}
		}
		for _, i := range was.lists[k] {
			if is.names[k][i.Name] == nil {
				all.RemovedCount++
				all.Removed = named(all.Removed, i)
			}
		}
	}
	return drifts, all
}

func named(list []ItemName, i *Item) []ItemName {
	if len(list) == maxNamed {
		return list
	}
	return append(list, ItemName{i.Kind, shortened(i.Name)})
}

// tell lets the configured listeners know what a listing changed. It runs in the
// goroutine that listed: who listens slowly keeps that upstream alone waiting.
func (u *upstream) tell(was, is *section) {
	c := &u.f.config
	if was == is || c.OnDrift == nil && c.OnInventory == nil {
		return
	}
	drifts, all := compare(was, is, c.Now())
	if c.OnDrift != nil && len(drifts) > 0 {
		c.OnDrift(drifts)
	}
	if c.OnInventory != nil && all.AddedCount+all.RemovedCount > 0 {
		c.OnInventory(all)
	}
}
