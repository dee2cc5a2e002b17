package gateway

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// heap is how many bytes live objects have.
func heap() int64 {
	var m runtime.MemStats
	for range 3 { // what finalizers and pools still hold goes with the next ones
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// halfOfThem shows every other tool, by the user's group.
type halfOfThem struct{ policy.AllowAll }

func (halfOfThem) Visible(_ context.Context, r *policy.Request, _ []string, targets []policy.Target) ([]bool, error) {
	shown := make([]bool, len(targets))
	for i := range shown {
		shown[i] = i%2 == len(r.User.Groups)%2
	}
	return shown, nil
}

// perAgent is how many bytes one more principal with a legacy session and its
// own view of the catalog costs.
func perAgent(t *testing.T, tools int) int64 {
	const batches, agents = 5, 40 // the median of some batches: now and then the process lets go of something else
	u := newUpstream(t, wire.Modern)
	definitions := make([]string, tools)
	for n := range definitions {
		definitions[n] = fmt.Sprintf(`{"name":"tool_%d","description":%q,"inputSchema":{"type":"object"}}`, n, strings.Repeat("w", 300))
	}
	u.tools = strings.Join(definitions, ",")
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = halfOfThem{} })
	come := func(n int) {
		p := &identity.Principal{Issuer: "test", Subject: fmt.Sprintf("user-%04d", n), Client: identity.Client{ID: "c"}}
		if n%2 == 1 {
			p.Groups = []string{"odd"}
		}
		ctx := t.Context()
		_, token := r.g.sessions.create(p, federation.Merged, "2025-11-25", []byte(`{}`), policy.Agent{Name: "a"})
		s, err := r.g.sessions.open(ctx, p, federation.Merged, token)
		if err != nil {
			t.Fatal(err)
		}
		if s.listens() == nil {
			t.Fatal("no listener")
		}
		v, err := r.g.viewOf(ctx, p, federation.Merged, r.fed.Snapshot(), policy.Agent{})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(v.lists[federation.Tool].items); got != tools/2 {
			t.Fatalf("%d tools shown of %d", got, tools)
		}
		v.encoded(federation.Tool, federation.Merged, "2025-11-25")
	}
	come(0)
	come(1) // both of the groups have been here
	costs := make([]int64, batches)
	for b := range costs {
		before := heap()
		for n := range agents {
			come(2 + b*agents + n)
		}
		costs[b] = (heap() - before) / agents
	}
	runtime.KeepAlive(r)
	slices.Sort(costs)
	return costs[batches/2]
}

// What is held for one more principal, session and view does not depend on the
// catalog: those who see the same share it. A pointer for each of ten thousand
// tools would be 80 kB an agent, a flag 10 kB.
func TestAnAgentCostsTheSameWithTenToolsAndTenThousand(t *testing.T) {
	few, many := perAgent(t, 10), perAgent(t, 10_000)
	t.Logf("%d bytes with 10 tools, %d with 10,000", few, many)
	const noise = 2048 // bytes an agent: 80 kB of what else the process does meanwhile
	if many > few+noise || few <= 0 {
		t.Errorf("an agent costs %d bytes with 10 tools, %d with 10,000", few, many)
	}
}
