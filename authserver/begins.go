package authserver

import (
	"sync"
	"time"
)

// At most maxBegins sign-ins at the identity provider begin from one source in
// beginsEvery: each writes to the store before anybody has proved anything.
const (
	maxBegins       = 60
	maxBeginSources = 10_000 // above it, sources share one count
	beginsEvery     = 10 * time.Minute
)

type begins struct {
	mu    sync.Mutex
	since time.Time
	count map[string]int
}

// take counts one. Zero = go on, otherwise how long to wait.
func (b *begins) take(source string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count == nil || now.Sub(b.since) >= beginsEvery {
		b.since, b.count = now, map[string]int{}
	}
	if _, known := b.count[source]; !known && len(b.count) >= maxBeginSources {
		source = otherSources
	}
	if b.count[source] >= maxBegins {
		return b.since.Add(beginsEvery).Sub(now)
	}
	b.count[source]++
	return 0
}
