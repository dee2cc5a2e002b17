package gateway

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// switching shows everything, or from one moment on nothing.
type switching struct {
	policy.AllowAll
	off atomic.Bool
}

func (s *switching) Visible(ctx context.Context, r *policy.Request, u []string, targets []policy.Target) ([]bool, error) {
	if s.off.Load() {
		return make([]bool, len(targets)), nil
	}
	return s.AllowAll.Visible(ctx, r, u, targets)
}

func (s *switching) Revision() string {
	if s.off.Load() {
		return "off"
	}
	return "on"
}

func TestAPolicyChangeIsHeardAndSeenWithinASecond(t *testing.T) {
	dec := &switching{}
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)}, func(_ *rig, c *Config) { c.Decider = dec })
	params := `"notifications":{"toolsListChanged":true}`
	req, _ := http.NewRequest(http.MethodPost, r.URL+"/mcp", strings.NewReader(r.modernBody("subscriptions/listen", params)))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	h := modernHeaders("subscriptions/listen", params)
	for i := 0; i < len(h); i += 2 {
		req.Header.Set(h[i], h[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := wire.NewEventReader(resp.Body, 1<<20)
	if _, err := events.Next(); err != nil { // the acknowledgement
		t.Fatal(err)
	}
	dec.off.Store(true)
	began := time.Now()
	e, err := events.Next()
	if err != nil || !strings.Contains(string(e.Data), "notifications/tools/list_changed") {
		t.Fatalf("%s %v", e.Data, err)
	}
	if took := time.Since(began); took > 5*time.Second { // one look plus scheduling; a second on a free machine
		t.Errorf("heard after %v", took)
	}
	if list := r.modern("/mcp", "tools/list", "").result(t); strings.Contains(list, "echo") {
		t.Error("still listed:", list)
	}
}

// Two tokens of one user may carry different groups: neither sees what the
// other's shows.
func TestAViewIsOfAllThatPolicyMayRead(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)}, func(_ *rig, c *Config) { c.Decider = byGroup{} })
	for _, c := range []struct{ groups, want string }{{"a", "up__echo"}, {"", ""}, {"a", "up__echo"}} {
		list := r.modern("/mcp", "tools/list", "", "X-Test-Groups", c.groups).result(t)
		if got := strings.Contains(list, "up__echo"); got != (c.want != "") {
			t.Errorf("groups %q: %s", c.groups, list)
		}
	}
}

type byGroup struct{ policy.AllowAll }

func (byGroup) Visible(_ context.Context, r *policy.Request, _ []string, targets []policy.Target) ([]bool, error) {
	shown := make([]bool, len(targets))
	for i := range shown {
		shown[i] = len(r.User.Groups) > 0
	}
	return shown, nil
}
