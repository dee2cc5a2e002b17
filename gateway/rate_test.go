package gateway

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func classes(t testing.TB, all ...Rate) *rates {
	t.Helper()
	r, err := newRates(all)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var alice = who{user: "test:alice", client: "c1", tool: "tool echo up", upstream: "up"}

// At most limit uses in any window, to the nanosecond.
func TestAUseCountsForExactlyOneWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := classes(t, Rate{Name: "heavy", Limit: 2, Per: time.Minute, By: []string{"user"}})
		spend := func() time.Duration {
			_, wait := r.spend([]string{"heavy"}, alice, time.Now())
			return wait
		}
		if spend() != 0 {
			t.Fatal("the first use")
		}
		time.Sleep(10 * time.Second)
		if spend() != 0 {
			t.Fatal("the second use")
		}
		if wait := spend(); wait != 50*time.Second {
			t.Fatalf("the third waits %s", wait)
		}
		if n := r.counters(alice, time.Now())["heavy"]; n != 2 {
			t.Errorf("%d used", n)
		}
		time.Sleep(50*time.Second - 1)
		if wait := spend(); wait != 1 {
			t.Fatalf("a nanosecond too early waits %s", wait)
		}
		time.Sleep(time.Nanosecond)
		if n := r.counters(alice, time.Now())["heavy"]; n != 1 {
			t.Errorf("%d used when the first has left the window", n)
		}
		if wait := spend(); wait != 0 {
			t.Fatalf("in time waits %s", wait)
		}
		if wait := spend(); wait != 10*time.Second {
			t.Fatalf("the next waits %s", wait)
		}
		time.Sleep(time.Hour)
		if n := r.counters(alice, time.Now())["heavy"]; n != 0 {
			t.Errorf("%d used an hour later", n)
		}
	})
}

func TestBudgetsAreApartByWhatTheyAreCountedBy(t *testing.T) {
	others := map[string]who{
		"user":     {"test:bob", "c1", "tool echo up", "up"},
		"client":   {"test:alice", "c2", "tool echo up", "up"},
		"tool":     {"test:alice", "c1", "tool say up", "up"},
		"upstream": {"test:alice", "c1", "tool echo up", "other"},
	}
	now := time.Now()
	for _, by := range append(RateKeys(), "") {
		rate := Rate{Name: "c", Limit: 1, Per: time.Minute}
		if by != "" {
			rate.By = []string{by}
		}
		r := classes(t, rate)
		r.spend([]string{"c"}, alice, now)
		for key, other := range others {
			if n := r.counters(other, now)["c"]; (n == 0) != (key == by) {
				t.Errorf("by %q: who differs in %s has used %d", by, key, n)
			}
		}
	}
	r := classes(t, Rate{Name: "c", Limit: 1, Per: time.Minute, By: []string{"user", "client"}})
	if a, b := r.classes["c"].key(who{user: "a", client: "1:bc"}), r.classes["c"].key(who{user: "a1:b", client: "c"}); a == b {
		t.Error("two budgets have one key:", a)
	}
}

func TestSeveralClassesAreSpentTogetherOrNotAtAll(t *testing.T) {
	now := time.Now()
	r := classes(t, Rate{Name: "wide", Limit: 5, Per: time.Hour}, Rate{Name: "narrow", Limit: 1, Per: time.Minute}, Rate{Name: "middle", Limit: 1, Per: 10 * time.Minute})
	all := []string{"wide", "narrow", "middle"}
	if short, wait := r.spend(all, alice, now); wait != 0 {
		t.Fatal(short, wait)
	}
	if short, wait := r.spend(all, alice, now.Add(time.Second)); short != "middle" || wait != 10*time.Minute-time.Second {
		t.Error("the longest wait counts:", short, wait)
	}
	if n := r.counters(alice, now.Add(time.Second))["wide"]; n != 1 {
		t.Errorf("a refused call spent %d of another class", n-1)
	}
}

// However many run at once, and through however many classes in whatever order.
func TestParallelCallsNeverExceedALimit(t *testing.T) {
	const limit, callers, each = 50, 16, 40
	r := classes(t, Rate{Name: "a", Limit: limit, Per: time.Hour}, Rate{Name: "b", Limit: 10 * limit, Per: time.Hour})
	now := time.Now()
	var passed atomic.Int64
	var work sync.WaitGroup
	for i := range callers {
		order := []string{"a", "b"}
		if i%2 == 1 {
			order = []string{"b", "a"}
		}
		work.Go(func() {
			for range each {
				if _, wait := r.spend(order, alice, now); wait == 0 {
					passed.Add(1)
				}
				r.counters(alice, now)
			}
		})
	}
	work.Wait()
	if passed.Load() != limit {
		t.Errorf("%d passed, the limit is %d", passed.Load(), limit)
	}
	if n := r.counters(alice, now)["b"]; n != limit {
		t.Errorf("the other class lost %d", n)
	}
}

// Whoever has many names must not make the gateway forget what he spent, nor
// get more than one budget where there is no room for another.
func TestASpentBudgetIsNotForgottenForRoom(t *testing.T) {
	r := classes(t, Rate{Name: "c", Limit: 2, Per: time.Minute, By: []string{"user"}})
	c := r.classes["c"]
	c.maxBudgets = 3
	start := time.Now()
	user := func(n int) who { return who{user: fmt.Sprint(n)} }
	spend := func(n int, at time.Duration) bool {
		_, wait := r.spend([]string{"c"}, user(n), start.Add(at))
		return wait == 0
	}
	for n := range 3 {
		if !spend(n, 0) || !spend(n, time.Second) {
			t.Fatal("room for", n)
		}
	}
	passed := 0
	for n := 3; n < 100; n++ {
		if spend(n, 2*time.Second) {
			passed++
		}
	}
	if passed != 2 {
		t.Errorf("%d uses by those without room, the limit of one budget is 2", passed)
	}
	for n := range 3 {
		if spend(n, 3*time.Second) {
			t.Error("a spent budget was forgotten:", n)
		}
	}
	if len(c.budgets) > c.maxBudgets {
		t.Errorf("%d budgets are kept", len(c.budgets))
	}
	// The first three are whole again; what was spent without room still counts.
	if spend(5, time.Minute+1500*time.Millisecond) {
		t.Error("a shared budget was forgotten")
	}
	if !spend(5, time.Minute+2*time.Second) || c.newer != nil || len(c.budgets) != 1 {
		t.Errorf("no room after a window: %d budgets", len(c.budgets))
	}
	if n := r.counters(user(99), start)["c"]; n != 0 || len(c.budgets) != 1 {
		t.Error("asking for a counter makes a budget")
	}
}

func TestUsesAreBounded(t *testing.T) {
	r := classes(t, Rate{Name: "c", Limit: 10, Per: time.Minute, By: []string{"user"}})
	c := r.classes["c"]
	c.maxUses = 3
	now := time.Now()
	for n := range 5 {
		_, wait := r.spend([]string{"c"}, who{user: fmt.Sprint(n)}, now)
		if (wait == 0) != (n < 3) || wait > time.Minute {
			t.Errorf("use %d waits %s", n, wait)
		}
	}
	if _, wait := r.spend([]string{"c"}, who{user: "9"}, now.Add(time.Minute)); wait != 0 || c.uses != 1 {
		t.Errorf("a window later: waits %s, %d uses are kept", wait, c.uses)
	}
}

// A clock that steps back gives nobody more.
func TestTimeThatStepsBackFreesNothing(t *testing.T) {
	r := classes(t, Rate{Name: "c", Limit: 1, Per: time.Minute})
	now := time.Now()
	r.spend([]string{"c"}, alice, now)
	if _, wait := r.spend([]string{"c"}, alice, now.Add(-time.Hour)); wait <= 0 {
		t.Error("spent twice")
	}
	if _, wait := r.spend([]string{"c"}, alice, now.Add(time.Minute)); wait != 0 {
		t.Error("waits", wait)
	}
}

func TestMalformedClassesAreRefused(t *testing.T) {
	good := Rate{Name: "c", Limit: 1, Per: MinRatePer}
	for name, bad := range map[string]Rate{
		"no name": {Limit: 1, Per: time.Minute}, "no limit": {Name: "c", Per: time.Minute}, "too much": {Name: "c", Limit: MaxRateLimit + 1, Per: time.Minute},
		"too short": {Name: "c", Limit: 1, Per: MinRatePer - 1}, "too long": {Name: "c", Limit: 1, Per: MaxRatePer + 1},
	} {
		if _, err := newRates([]Rate{bad}); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	if _, err := newRates([]Rate{good, good}); err == nil {
		t.Error("one class twice passes")
	}
	var many []Rate
	for n := range MaxRates + 1 {
		many = append(many, Rate{Name: fmt.Sprintf("c%d", n), Limit: MaxRateLimit, Per: MaxRatePer})
	}
	if _, err := newRates(many[:MaxRates]); err != nil {
		t.Error(err)
	}
	if _, err := newRates(many); err == nil {
		t.Error("too many classes pass")
	}
}
