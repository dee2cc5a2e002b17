package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/store/audit"
)

// events are the records of a kind of event.
func events(r *rig, name string) (found []*audit.Record) {
	for _, rec := range r.records() {
		if rec.Event == name {
			found = append(found, rec)
		}
	}
	return found
}

// settled are the records once those that nobody waits for are written.
func settled(t *testing.T, r *rig, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the records did not come")
		}
	}
}

// Whoever is not known fills no log, and a caller beside them notices nothing.
func TestStrangersAreOneRecordPerSource(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	from := func(address string) []string {
		return []string{"X-Test-User", "nobody", "X-Forwarded-For", address, "Authorization", "Bearer wrong"}
	}
	for i := range 300 {
		switch i % 3 {
		case 0:
			r.post("/mcp", "{not json", from("192.0.2.7")...)
		case 1:
			r.post("/mcp", "{}", from(fmt.Sprintf("2001:db8::%x", i))...)
		case 2:
			r.post("/mcp/a/b", "{}", from("192.0.2.7")...)
		}
		if i%10 == 0 {
			if a := r.modern("/mcp", "tools/call", `"name":"up_echo","arguments":{"text":"x"}`); a.status != http.StatusOK {
				t.Fatalf("a well-behaved caller: %d %s", a.status, a.body)
			}
		}
	}
	if got := events(r, audit.EventFailures); len(got) != 0 {
		t.Errorf("%d records before the minute was over", len(got))
	}
	r.g.Flood.Flush()
	settled(t, r, func() bool { return len(events(r, audit.EventFailures)) >= 2 })
	count := map[string]string{}
	for _, rec := range events(r, audit.EventFailures) {
		count[rec.RequestedBy] = fmt.Sprint(rec.Failures.Count, rec.Failures.Kinds)
	}
	want := map[string]string{"192.0.2.7": "200 [{mcp.bad_token 100} {mcp.endpoint 100}]", "2001:db8::/64": "100 [{mcp.bad_token 100}]"}
	if fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", count, want)
	}
}

func TestWhatStrangersDidIsWrittenAtTheEnd(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)})
	r.post("/mcp", "{}", "X-Test-User", "nobody")
	r.stop()
	if got := events(r, audit.EventFailures); len(got) != 1 || got[0].Failures.Kinds[0].Kind != "mcp.no_token" {
		t.Errorf("%+v", got)
	}
}

// Messages that are refused unjudged are on record up to a quota; over it the
// answer is 429, without a record, and one summary says how many.
func TestRefusedMessagesHaveAQuota(t *testing.T) {
	const limit = 5
	var offset atomic.Int64
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)}, func(_ *rig, c *Config) {
		c.Limits.Refused = limit
		c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	})
	bad := []func() answer{
		func() answer { return r.post("/mcp", "{not json") },
		func() answer { return r.post("/mcp", "{}", "Content-Type", "text/plain") },
		func() answer { return r.modern("/mcp", "no/method", "") },
	}
	for i := range limit {
		if a := bad[i%3](); a.status == http.StatusTooManyRequests {
			t.Fatalf("refused at %d of %d: %s", i+1, limit, a.body)
		}
	}
	for i := range 6 {
		a := bad[i%3]()
		wait, err := strconv.Atoi(a.header.Get("Retry-After"))
		if a.status != http.StatusTooManyRequests || a.code(t) != CodeBusy || err != nil || wait < 1 || wait > 60 {
			t.Errorf("over the quota: %d %q %s", a.status, a.header.Get("Retry-After"), a.body)
		}
	}
	// It is theirs alone, and what is judged goes on.
	if a := r.modern("/mcp", "tools/call", `"name":"up_echo","arguments":{"text":"x"}`); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.post("/mcp", "{not json", "X-Test-User", "bob"); a.status != http.StatusBadRequest {
		t.Errorf("bob: %d %s", a.status, a.body)
	}
	offset.Store(int64(audit.FloodWindow))
	if a := bad[0](); a.status != http.StatusBadRequest {
		t.Errorf("a minute later: %d %s", a.status, a.body)
	}
	r.stop()
	refused := 0
	for _, rec := range r.records() {
		if rec.Outcome == "refused" {
			refused++
		}
	}
	if refused != limit+2 {
		t.Errorf("%d records of refused messages, want %d", refused, limit+2)
	}
	got := events(r, audit.EventQuota)
	if len(got) != 1 || got[0].User.Name != "alice" || got[0].Failures.Count != 6 || fmt.Sprint(got[0].Failures.Kinds) != "[{refused 6}]" {
		t.Errorf("%+v", got)
	}
}

// The quota of requests is off unless the operator sets it; then it comes
// before decision, record and upstream, in both eras and for each message of a
// batch.
func TestRequestsMayHaveAQuota(t *testing.T) {
	const limit = 4
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Limits.Requests = limit })
	call := `"name":"up_echo","arguments":{"text":"x"}`
	session := r.legacy("/mcp") // initialize is one
	for i := range limit - 1 {
		if a := r.modern("/mcp", "tools/call", call); a.status != http.StatusOK {
			t.Fatalf("%d: %d %s", i, a.status, a.body)
		}
	}
	before := len(u.calls("tools/call"))
	for _, a := range []answer{r.modern("/mcp", "tools/call", call), r.in(session, "/mcp", "tools/call", call), r.in(session, "/mcp", "ping", "")} {
		if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "audit.quota.requests") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if a := r.post("/mcp", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, session...); a.status != http.StatusAccepted {
		t.Errorf("a notification: %d %s", a.status, a.body)
	}
	if len(u.calls("tools/call")) != before {
		t.Error("a call over the quota reached the upstream")
	}
	if a := r.modern("/mcp", "tools/call", call, "X-Test-User", "bob"); a.status != http.StatusOK {
		t.Errorf("bob: %d %s", a.status, a.body)
	}
	r.stop()
	decisions := 0
	for _, rec := range r.records() {
		if rec.Kind == "decision" {
			decisions++
		}
	}
	if got := events(r, audit.EventQuota); decisions != limit || len(got) != 1 || got[0].Failures.Count != 3 {
		t.Errorf("%d decisions, summaries %+v", decisions, got)
	}
}
