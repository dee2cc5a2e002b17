package login

import (
	"net/netip"
	"sync"
	"time"
)

// How failures are slowed down. An account is never locked. What is counted is
// the pair of an account and a source, so whoever fails for somebody else makes
// themselves wait; an account as a whole has a bound that is far looser, which
// only many sources together reach, and which does not hold back sources that
// the account was signed in from before. Guessing at the pace that is left does
// not find a password of eight characters.
const (
	pairFree    = 10          // failures of a source at an account without a wait
	pairCap     = time.Minute // the longest wait
	accountFree = 1000        // failures of all sources together at an account
	accountCap  = 10 * time.Second
	sourceFree  = 30 // of an address, behind which many people may be
	sourceCap   = 5 * time.Minute
	firstWait   = time.Second // doubles with every further failure
	forgetAfter = time.Hour   // without a failure
	maxTracked  = 20_000      // pairs, and as many accounts and sources

	// What comes after the password is counted by account alone: strangers don't
	// get there, and a one-time code has no more than a million values.
	knownFree = 10
	knownCap  = time.Minute

	// homeFor is how long a source counts as one that an account is used from,
	// maxHomes how many such pairs are remembered.
	homeFor  = 30 * 24 * time.Hour
	maxHomes = 20_000
)

// attempts counts failures by key, in bounded memory.
type attempts struct {
	free int
	cap  time.Duration

	mu    sync.Mutex
	byKey map[string]*attempt
	swept time.Time
	// rest stands for every key that finds the table full of such as wait:
	// during such a flood newcomers wait together, and nobody's wait is
	// forgotten early.
	rest attempt
}

type attempt struct {
	failures int
	last     time.Time
	until    time.Time // nothing is judged before
}

// admit counts an attempt as failed before it is judged, so that a hundred at
// once are a hundred. Zero means go on, and what was counted is for undo;
// otherwise it is how long to wait.
func (a *attempts) admit(key string, now time.Time) (counted *attempt, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.entry(key, now)
	if now.Before(e.until) {
		return nil, e.until.Sub(now)
	}
	if now.Sub(e.last) >= forgetAfter {
		*e = attempt{}
	}
	e.failures++
	e.last = now
	if over := e.failures - a.free; over > 0 {
		e.until = now.Add(min(firstWait<<min(over-1, 20), a.cap))
	}
	return e, 0
}

// undo takes one admitted attempt back: it succeeded or was not judged.
func (a *attempts) undo(e *attempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.failures > 0 {
		e.failures--
		e.until = time.Time{}
	}
}

// forget clears a key that has proved itself; e is what was counted for it.
func (a *attempts) forget(key string, e *attempt) {
	a.undo(e)
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.byKey, key)
}

// homes are the sources that accounts were signed in from.
type homes struct {
	mu   sync.Mutex
	last map[string]time.Time // by pair
}

// add notes a success. Who has the most accounts of their own forgets first
// what is nearest at hand: a full table drops any entry.
func (h *homes) add(pair string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil {
		h.last = map[string]time.Time{}
	}
	for k := range h.last {
		if len(h.last) < maxHomes {
			break
		}
		delete(h.last, k)
	}
	h.last[pair] = now
}

func (h *homes) has(pair string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.last[pair]
	return ok && now.Sub(at) < homeFor
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
	if len(a.byKey) >= maxTracked && !a.evict() {
		return &a.rest
	}
	e := &attempt{}
	a.byKey[key] = e
	return e
}

// evictLooks is how many entries are looked at to make room for one.
const evictLooks = 64

// evict makes room for a newcomer by forgetting somebody who has failures left
// without a wait. It gains an attacker nothing: who wants to be forgotten so
// needs more attempts elsewhere than they would get. Otherwise one failure each
// of many addresses would make everybody wait.
func (a *attempts) evict() bool {
	looks := 0
	for k, e := range a.byKey { // in random order
		if e.failures < a.free {
			delete(a.byKey, k)
			return true
		}
		if looks++; looks == evictLooks {
			break
		}
	}
	return false
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
