package federation

import (
	"errors"
	"testing"
	"time"
)

// clock is a clock that tests move.
type testClock struct{ t time.Time }

func (c *testClock) now() time.Time { return c.t }

func testBreaker() (*breaker, *testClock) {
	c := &testClock{t: time.Unix(1000, 0)}
	b := newBreaker(c.now)
	b.jitter = func() float64 { return 0 }
	return b, c
}

func TestBreakerOpensAfterFailuresInARow(t *testing.T) {
	b, _ := testBreaker()
	for range breakerFailures - 1 {
		b.failure()
	}
	if ok, _ := b.allow(); !ok {
		t.Error("open one failure too early")
	}
	b.success() // and the row begins anew
	for range breakerFailures - 1 {
		b.failure()
	}
	if ok, _ := b.allow(); !ok {
		t.Error("failures before a success were counted")
	}
	b.failure()
	if ok, after := b.allow(); ok || after != breakerFirst {
		t.Errorf("closed, or %v", after)
	}
}

func TestBreakerOpensWhenNothingSucceedsForTooLong(t *testing.T) {
	b, c := testBreaker()
	b.failure()
	c.t = c.t.Add(breakerPatience - 1)
	b.failure()
	if ok, _ := b.allow(); !ok {
		t.Error("too early")
	}
	c.t = c.t.Add(1)
	b.failure()
	if ok, _ := b.allow(); ok {
		t.Error("still closed")
	}
}

func TestBreakerLetsOneProbeThrough(t *testing.T) {
	b, c := testBreaker()
	for range breakerFailures {
		b.failure()
	}
	c.t = c.t.Add(breakerFirst)
	if ok, _ := b.allow(); !ok {
		t.Fatal("no probe")
	}
	if ok, after := b.allow(); ok || after > breakerLongest {
		t.Error("two probes at once")
	}
	b.success()
	for range 3 {
		if ok, _ := b.allow(); !ok {
			t.Error("not closed by the probe")
		}
	}
}

func TestBreakerPausesGrowToTheirBound(t *testing.T) {
	b, c := testBreaker()
	for range breakerFailures {
		b.failure()
	}
	want := breakerFirst
	for range 10 {
		_, after := b.allow()
		if after != want {
			t.Fatalf("pause %v, want %v", after, want)
		}
		c.t = c.t.Add(after)
		if ok, _ := b.allow(); !ok {
			t.Fatal("no probe")
		}
		b.failure()
		want = min(2*want, breakerLongest)
	}
}

func TestBreakerProbeThatHangsIsFollowedByAnother(t *testing.T) {
	b, c := testBreaker()
	for range breakerFailures {
		b.failure()
	}
	c.t = c.t.Add(breakerFirst)
	b.allow()
	c.t = c.t.Add(breakerLongest)
	if ok, _ := b.allow(); !ok {
		t.Error("shut for good")
	}
}

func TestBreakerHonoursRetryAfter(t *testing.T) {
	b, c := testBreaker()
	b.failFor(3 * time.Second)
	if ok, after := b.allow(); ok || after != 3*time.Second {
		t.Errorf("%v %v", ok, after)
	}
	c.t = c.t.Add(3 * time.Second)
	b.allow()
	b.failFor(time.Hour)
	if _, after := b.allow(); after != breakerLongest {
		t.Errorf("an upstream shut itself out for %v", after)
	}
}

func TestBreakerJitterNeverLengthensAPause(t *testing.T) {
	b, _ := testBreaker()
	b.jitter = func() float64 { return 0.999 }
	for range breakerFailures {
		b.failure()
	}
	if _, after := b.allow(); after > breakerFirst || after < breakerFirst/2 {
		t.Error(after)
	}
}

func TestBreakerCountsOnlyWhatTellsAgainstTheUpstream(t *testing.T) {
	for err, want := range map[error]bool{ErrUnavailable: true, ErrTimeout: true, ErrUnknownOutcome: true,
		ErrBadAnswer: false, ErrTooLarge: false, ErrBusy: false, ErrCancelled: false} {
		if breaks(&Failure{Kind: err}) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
	if breaks(nil) || breaks(errors.New("x")) {
		t.Error("anything breaks it")
	}
}
