package federation

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/catalogs"
)

// heard is what the hooks of a Config were told.
type heard struct {
	mu          sync.Mutex
	drifts      []Drift
	inventories []Inventory
}

func (h *heard) listen(c *Config) {
	c.OnDrift = func(ds []Drift) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.drifts = append(h.drifts, ds...)
	}
	c.OnInventory = func(i Inventory) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.inventories = append(h.inventories, i)
	}
}

// take is everything heard since the last time, in words.
func (h *heard) take() (drifts, inventories string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var a, b []string
	for _, d := range h.drifts {
		a = append(a, fmt.Sprintf("%s %v %s", d.Upstream, d.Kind, d.Name))
	}
	for _, i := range h.inventories {
		var words []string
		for _, n := range i.Added {
			words = append(words, fmt.Sprintf("+%v:%s", n.Kind, n.Name))
		}
		for _, n := range i.Removed {
			words = append(words, fmt.Sprintf("-%v:%s", n.Kind, n.Name))
		}
		b = append(b, i.Upstream+" "+strings.Join(words, " "))
	}
	h.drifts, h.inventories = nil, nil
	return strings.Join(a, "|"), strings.Join(b, "|")
}

func (h *heard) expect(t *testing.T, when, drifts, inventories string) {
	t.Helper()
	if d, i := h.take(); d != drifts || i != inventories {
		t.Errorf("%s: drifts %q, items %q; want %q, %q", when, d, i, drifts, inventories)
	}
}

func definition(name, description string) string {
	return fmt.Sprintf(`{"name":%q,"description":%q,"inputSchema":{"type":"object"}}`, name, description)
}

// Security catalogue A-088.
func TestAChangedDefinitionIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := tools(definition("a", "one"), definition("b", "one"))
		w := newWorld(t, nil, map[string]*script{"up": up, "quiet": tools("x")})
		defer w.stop()
		h := &heard{}
		h.listen(&w.config)
		w.apply(entry("up"))
		h.expect(t, "the first listing", "", "up +tool:a +tool:b")

		start := time.Now()
		change := func(names ...string) {
			up.set(Tool, names...)
			synctest.Wait() // it listens
			up.say("notifications/tools/list_changed", "")
			time.Sleep(time.Second)
			synctest.Wait()
		}
		change(definition("a", "two"), definition("b", "one"))
		if len(h.drifts) != 1 {
			t.Fatalf("told of %+v", h.drifts)
		}
		d := h.drifts[0]
		now, _ := w.Snapshot().Find(Merged, Tool, "up__a")
		if string(d.Before) != definition("a", "one") || string(d.After) != definition("a", "two") || d.Exposed != "up__a" ||
			d.DigestAfter != now.Digest || d.DigestBefore == d.DigestAfter || len(d.DigestBefore) != 64 || d.At.Before(start) {
			t.Errorf("%+v", d)
		}
		h.expect(t, "another description", "up tool a", "")
		change(definition("a", "two"), definition("b", "one"))
		h.expect(t, "nothing new", "", "")
		change(`{"inputSchema":{"type":"object"}, "description":"two","name":"a","icons":[]}`, definition("b", "one"))
		h.expect(t, "another order of keys, and an icon", "", "")
		if i, _ := w.Snapshot().Find(Merged, Tool, "up__a"); !strings.Contains(string(i.Own), "icons") {
			t.Errorf("served is the old definition: %s", i.Own)
		}
		change(definition("a", "three"), definition("c", "one"))
		h.expect(t, "one changed, one came, one went", "up tool a", "up +tool:c -tool:b")
		change()
		h.expect(t, "all gone", "", "up -tool:a -tool:c")
	})
}

func TestAChangeDuringARestartIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, up := &keeper{}, tools(definition("a", "one"))
		up.set(Prompt, "p")
		w := newWorld(t, store, map[string]*script{"up": up})
		w.apply(entry("up"))
		w.stop()

		up.set(Tool, definition("a", "two"))
		up.set(Prompt, `{"name":"p","title":"P"}`)
		again := newWorld(t, store, map[string]*script{"up": up})
		defer again.stop()
		h := &heard{}
		h.listen(&again.config)
		again.apply(entry("up"))
		h.expect(t, "after the restart", "up tool a|up prompt p", "")
	})
}

func TestOtherWordsOfTheOperatorAreNoDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, map[string]*script{"up": tools("a")})
		defer w.stop()
		w.apply(entry("up"))
		h := &heard{}
		h.listen(&w.config)
		relabelled := entry("up")
		relabelled.Labels, relabelled.Prefix = []string{"write"}, "other"
		w.apply(relabelled)
		h.expect(t, "another prefix", "", "")
	})
}

func TestAnInventoryNamesAHundredItemsAndCountsAll(t *testing.T) {
	for _, n := range []int{maxNamed, maxNamed + 1} {
		u := &catalogs.Upstream{Name: "up", Prefix: "up"}
		var raws [][]byte
		for i := range n {
			raws = append(raws, fmt.Appendf(nil, `{"name":"t%03d"}`, i))
		}
		items, _ := encode(u, Tool, raws, nil)
		full := newSection(u, nil, [kinds][]*Item{Tool: items}, [kinds][]LeftOut{})
		empty := newSection(u, nil, [kinds][]*Item{}, [kinds][]LeftOut{})
		if _, i := compare(empty, full, time.Time{}); i.AddedCount != n || len(i.Added) != min(n, maxNamed) || i.RemovedCount != 0 {
			t.Errorf("%d came: %d of %d", n, len(i.Added), i.AddedCount)
		}
		if _, i := compare(full, empty, time.Time{}); i.RemovedCount != n || len(i.Removed) != min(n, maxNamed) || i.AddedCount != 0 {
			t.Errorf("%d went: %d of %d", n, len(i.Removed), i.RemovedCount)
		}
	}
}
