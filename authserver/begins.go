package authserver

import (
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/store/audit"
)

// At most maxBegins sign-ins at the identity provider begin from one source in
// beginsEvery: each writes to the store before anybody has proved anything.
const (
	maxBegins       = 60
	maxBeginSources = 10_000 // above it, sources share one count
	beginsEvery     = 10 * time.Minute

	// Pushed authorization requests are kept, too: so many from one source, and
	// from all, in beginsEvery.
	maxPushes    = 600
	maxAllPushes = 6000
)

// begins counts what writes to the store before anybody has proved anything.
type begins struct {
	mu    sync.Mutex
	since time.Time
	count map[string]int
	all   int
}

// take counts one from a source (of IPv6 a /64: one machine has all of it), of
// which each may have max, and all together total in beginsEvery; 0 = as many
// as there are sources. Zero = go on, otherwise how long to wait.
func (b *begins) take(source string, now time.Time, max, total int) time.Duration {
	source = login.SourceKey(source)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count == nil || now.Sub(b.since) >= beginsEvery {
		b.since, b.count, b.all = now, map[string]int{}, 0
	}
	if _, known := b.count[source]; !known && len(b.count) >= maxBeginSources {
		source = audit.OtherSources
	}
	if b.count[source] >= max || total > 0 && b.all >= total {
		return b.since.Add(beginsEvery).Sub(now)
	}
	b.count[source]++
	b.all++
	return 0
}
