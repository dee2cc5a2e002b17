package federation

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Limits of the circuit breaker (promise 7: one bad upstream is one bad
// upstream).
const (
	breakerFailures = 5                      // in a row, until it opens
	breakerPatience = 2 * time.Second        // of nothing but failures, until it opens
	breakerFirst    = 500 * time.Millisecond // until the first probe
	breakerLongest  = 5 * time.Second        // between probes: recovery is noticed within it
)

// breaker keeps calls from an upstream that does not answer. Closed, it lets
// everything through; open, nothing; after a pause it lets one call through
// as a probe, whose fate decides. It is safe for concurrent use.
type breaker struct {
	now    func() time.Time
	jitter func() float64 // in [0,1)

	mu       sync.Mutex
	failures int           // in a row
	first    time.Time     // when the row began
	pause    time.Duration // 0 while closed
	until    time.Time     // of the pause
	probing  bool
}

func newBreaker(now func() time.Time) *breaker {
	return &breaker{now: now, jitter: rand.Float64}
}

// allow says whether a call may go ahead, and if not, when to ask again. A
// caller that was let through must report success or failure.
func (b *breaker) allow() (ok bool, retryAfter time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause == 0 {
		return true, 0
	}
	if left := b.until.Sub(b.now()); left > 0 {
		return false, left
	}
	b.probing = true
	// The next probe does not wait for this one's fate for ever: it may hang.
	b.until = b.now().Add(breakerLongest)
	return true, 0
}

// success closes the breaker: the upstream answered, be it with an error.
func (b *breaker) success() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures, b.pause, b.probing = 0, 0, false
}

// failure counts a call that the upstream did not answer.
func (b *breaker) failure() { b.failFor(0) }

// failFor is failure with the pause that the upstream itself asked for
// (Retry-After): it opens at once and stays open for that long, at most
// breakerLongest.
func (b *breaker) failFor(asked time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if b.failures == 0 {
		b.first = now
	}
	b.failures++
	switch {
	case b.probing:
		b.pause = min(2*b.pause, breakerLongest)
	case b.pause != 0:
		return // a call that was under way when it opened
	case asked > 0, b.failures >= breakerFailures, b.failures > 1 && now.Sub(b.first) >= breakerPatience:
		b.pause = breakerFirst
	default:
		return
	}
	b.probing = false
	// Jitter downwards, so that the longest pause is a promise.
	wait := b.pause - time.Duration(b.jitter()*float64(b.pause)/2)
	b.until = now.Add(max(wait, min(asked, breakerLongest)))
}

// breaks says whether err tells against the upstream's health, as opposed to
// an answer of it, a refusal of ours or the agent's own change of mind.
func breaks(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTimeout) || errors.Is(err, ErrUnknownOutcome)
}
