package gateway

import (
	"cmp"
	"container/list"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ostiary/ostiary/policy"
)

// Bounds of a class of rates.
const (
	MaxRates     = 32             // classes
	MaxRateLimit = 10_000         // uses
	MinRatePer   = time.Second    // window
	MaxRatePer   = 24 * time.Hour // window

	// budgetsKept bounds the budgets of one class that are remembered. One whose
	// window holds no use any more is forgotten first, which loses nothing. Where
	// there is none, whoever comes new shares one budget with all others who do:
	// nobody's spent budget can be made to be forgotten, and nobody gets more
	// than the limit.
	budgetsKept = 1 << 15

	// usesKept bounds the uses of one class that are remembered, 8 bytes each.
	// Above it the class refuses.
	usesKept = 1 << 20
)

// Rate is a class of budgets: at most Limit uses within any Per, counted apart
// for each combination of By.
type Rate struct {
	Name  string
	Limit int
	Per   time.Duration
	By    []string // of RateKeys, in their order; none = everyone together
}

// RateKeys are what a class may count by.
func RateKeys() []string { return []string{"user", "client", "tool", "upstream"} }

// rates are the budgets of all classes. They live in memory: a reload of
// policies keeps them, a restart forgets them. Safe for concurrent use: each
// class has a lock of its own.
type rates struct {
	began   time.Time // what uses are counted from: a clock that is set moves no budget
	names   []string  // sorted
	classes map[string]*rateClass
}

func newRates(declared []Rate) (*rates, error) {
	if len(declared) > MaxRates {
		return nil, fmt.Errorf("gateway: more than %d classes of rates", MaxRates)
	}
	r := &rates{began: time.Now(), classes: make(map[string]*rateClass)}
	for _, d := range declared {
		if !policy.RateClass(d.Name) || d.Limit < 1 || d.Limit > MaxRateLimit || d.Per < MinRatePer || d.Per > MaxRatePer || r.classes[d.Name] != nil {
			return nil, fmt.Errorf("gateway: the class %q of rates is malformed or declared twice", d.Name)
		}
		r.names = append(r.names, d.Name)
		r.classes[d.Name] = &rateClass{Rate: d, budgets: make(map[string]*budget), maxBudgets: budgetsKept, maxUses: usesKept}
	}
	slices.Sort(r.names)
	return r, nil
}

// who is what a budget may be counted by.
type who struct{ user, client, tool, upstream string }

// key is w as a class counts it; lengths first, so that no two are equal.
func (c *rateClass) key(w who) string {
	b := make([]byte, 0, 128)
	for _, by := range c.By {
		part := w.user
		switch by {
		case "client":
			part = w.client
		case "tool":
			part = w.tool
		case "upstream":
			part = w.upstream
		}
		b = append(fmt.Appendf(b, "%d:", len(part)), part...)
	}
	return string(b)
}

// rateClass is the budgets of one class.
type rateClass struct {
	Rate
	maxBudgets, maxUses int

	mu      sync.Mutex
	budgets map[string]*budget
	order   list.List // of *budget, that with the oldest latest use first
	newer   *budget   // shared by whoever comes while there is no room
	uses    int       // of all budgets
}

// budget is the uses within the last window.
type budget struct {
	key   string
	place *list.Element // nil of the shared one
	times []int64       // nanoseconds since rates.began, oldest first
}

// expire forgets uses that left the window: one of exactly Per ago has.
func (c *rateClass) expire(b *budget, now int64) {
	n := 0
	for n < len(b.times) && b.times[n] <= now-int64(c.Per) {
		n++
	}
	b.times = b.times[n:]
	c.uses -= n
}

// find is the budget of key, nil when nothing of it was used. It needs mu.
func (c *rateClass) find(key string, now int64) *budget {
	b := c.budgets[key]
	if b == nil && c.newer != nil {
		// While it holds uses, some of them may be this one's.
		if c.expire(c.newer, now); len(c.newer.times) == 0 {
			c.newer = nil
		}
		b = c.newer
	}
	if b != nil {
		c.expire(b, now)
	}
	return b
}

// sweep forgets budgets that are whole again; false when there is none. It
// needs mu.
func (c *rateClass) sweep(now int64) bool {
	swept := false
	for e := c.order.Front(); e != nil; e = c.order.Front() {
		b := e.Value.(*budget)
		if c.expire(b, now); len(b.times) > 0 {
			break
		}
		c.order.Remove(e)
		delete(c.budgets, b.key)
		swept = true
	}
	return swept
}

// spend notes a use. It needs mu, and room.
func (c *rateClass) spend(key string, now int64) {
	b := c.find(key, now)
	switch {
	case b != nil:
	case len(c.budgets) >= c.maxBudgets && !c.sweep(now):
		b = &budget{}
		c.newer = b
	default:
		b = &budget{key: key}
		b.place = c.order.PushBack(b)
		c.budgets[key] = b
	}
	if b.place != nil {
		c.order.MoveToBack(b.place)
	}
	// Time that steps back must not disturb the order, or uses would be kept
	// behind younger ones.
	if n := len(b.times); n > 0 {
		now = max(now, b.times[n-1])
	}
	b.times = append(b.times, now)
	c.uses++
}

// wait is how long until key may be used; 0 = now. It needs mu.
func (c *rateClass) wait(key string, now int64) time.Duration {
	if b := c.find(key, now); b != nil && len(b.times) >= c.Limit {
		return time.Duration(b.times[len(b.times)-c.Limit] + int64(c.Per) - now)
	}
	if c.uses < c.maxUses {
		return 0
	}
	c.sweep(now)
	if c.uses < c.maxUses {
		return 0
	}
	return c.Per
}

// spend takes one use from each class for w, or from none. short is the class
// with the longest wait, when one is spent.
func (r *rates) spend(classes []string, w who, at time.Time) (short string, wait time.Duration) {
	classes = slices.Sorted(slices.Values(classes)) // one order of locks
	now := int64(at.Sub(r.began))
	keys := make([]string, len(classes))
	for i, name := range classes {
		c := r.classes[name]
		keys[i] = c.key(w)
		c.mu.Lock()
		defer c.mu.Unlock()
		if d := c.wait(keys[i], now); d > wait {
			short, wait = name, d
		}
	}
	if wait > 0 {
		return short, wait
	}
	for i, name := range classes {
		r.classes[name].spend(keys[i], now)
	}
	return "", 0
}

// counters are the uses of each class within the window for w, before this
// request; nil when no class is declared.
func (r *rates) counters(w who, at time.Time) map[string]int64 {
	if len(r.names) == 0 {
		return nil
	}
	now := int64(at.Sub(r.began))
	all := make(map[string]int64, len(r.names))
	for _, name := range r.names {
		c := r.classes[name]
		key := c.key(w)
		c.mu.Lock()
		if b := c.find(key, now); b != nil {
			all[name] = int64(len(b.times))
		} else {
			all[name] = 0
		}
		c.mu.Unlock()
	}
	return all
}

// whoOf says whose budgets a request on t spends from.
func (x *exchange) whoOf(t *target) who {
	w := who{user: x.p.ID(), client: x.p.Client.ID, tool: t.kind + " " + cmp.Or(t.name, t.exposed)}
	if t.item != nil {
		w.tool = t.kind + " " + t.item.Name
	}
	if t.upstream != nil {
		w.upstream = t.upstream.Name
		w.tool += " " + w.upstream
	}
	return w
}
