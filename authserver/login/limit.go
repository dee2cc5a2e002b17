package login

import (
	"net/netip"
	"sync"
	"time"
)

// How failures are slowed down. An account is never locked: whoever fails for
// somebody else can make them wait for accountCap, and guessing at that pace
// does not find a password of eight characters.
const (
	accountFree = 10          // failures without a wait
	accountCap  = time.Minute // the longest wait
	sourceFree  = 30          // of an address, behind which many people may be
	sourceCap   = 5 * time.Minute
	firstWait   = time.Second // doubles with every further failure
	forgetAfter = time.Hour   // without a failure
	maxTracked  = 20_000      // accounts, and as many sources
)

// attempts counts failures by key, in bounded memory.
type attempts struct {
	free int
	cap  time.Duration

	mu    sync.Mutex
	byKey map[string]*attempt
	swept time.Time
	// rest stands for every key that finds the table full: during such a
	// flood newcomers wait together, and nobody's count is forgotten early.
	rest attempt
}

type attempt struct {
	failures int
	last     time.Time
	until    time.Time // nothing is judged before
}

// admit counts an attempt as failed before it is judged, so that a hundred at
// once are a hundred. Zero means go on; otherwise it is how long to wait.
func (a *attempts) admit(key string, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.entry(key, now)
	if now.Before(e.until) {
		return e.until.Sub(now)
	}
	if now.Sub(e.last) >= forgetAfter {
		*e = attempt{}
	}
	e.failures++
	e.last = now
	if over := e.failures - a.free; over > 0 {
		e.until = now.Add(min(firstWait<<min(over-1, 20), a.cap))
	}
	return 0
}

// undo takes one admitted attempt back: it succeeded or was not judged.
func (a *attempts) undo(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.byKey[key]
	if e == nil {
		e = &a.rest
	}
	if e.failures > 0 {
		e.failures--
		e.until = time.Time{}
	}
}

// forget clears a key that has proved itself.
func (a *attempts) forget(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byKey, key)
}

// entry finds or makes the entry of key. The caller holds mu.
func (a *attempts) entry(key string, now time.Time) *attempt {
	if e := a.byKey[key]; e != nil {
		return e
	}
	if a.byKey == nil {
		a.byKey = map[string]*attempt{}
	}
	if len(a.byKey) >= maxTracked && now.Sub(a.swept) >= time.Minute {
		a.swept = now
		for k, e := range a.byKey {
			if now.Sub(e.last) >= forgetAfter {
				delete(a.byKey, k)
			}
		}
	}
	if len(a.byKey) >= maxTracked {
		return &a.rest
	}
	e := &attempt{}
	a.byKey[key] = e
	return e
}

// SourceKey is what an address is counted under: an IPv6 network of 64 bits is
// one household, and one attacker.
func SourceKey(source string) string {
	ip, err := netip.ParseAddr(source)
	if err != nil {
		return source
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return p.String()
}
