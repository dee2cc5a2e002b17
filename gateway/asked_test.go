package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

// witness allows, and keeps what it was asked.
type witness struct {
	policy.AllowAll
	mu    sync.Mutex
	asked []policy.Request
}

func (w *witness) Decide(ctx context.Context, r *policy.Request) (policy.Decision, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := *r
	kept.Arguments, kept.Responses = slices.Clone(r.Arguments), slices.Clone(r.Responses)
	w.asked = append(w.asked, kept)
	return w.AllowAll.Decide(ctx, r)
}

// take gives what was asked since the last time.
func (w *witness) take() []policy.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := w.asked
	w.asked = nil
	return asked
}

// TestARecordGivesTheInputDocumentAgain: what policy judged can be made again
// from the record, field for field, of every kind of request.
func TestARecordGivesTheInputDocumentAgain(t *testing.T) {
	w := &witness{}
	fill := func(era wire.Era) *upstream {
		u := newUpstream(t, era)
		u.tools = `{"name":"echo","annotations":{"readOnlyHint":true,"title":"É"},"_meta":{"ui":{"visibility":["model","app"]}},"inputSchema":{"type":"object"}}`
		u.extra["prompts/list"] = `{"name":"greet"}`
		u.extra["prompts/get"] = `{"messages":[]}`
		u.extra["resources/list"] = `{"uri":"file:///a%20b","name":"a"}`
		u.extra["resources/read"] = `{"contents":[]}`
		u.extra["completion/complete"] = `{"completion":{"values":[]}}`
		return u
	}
	zone := time.FixedZone("LHST", 10*3600+1800)
	r := newRig(t, map[string]*upstream{"new": fill(wire.Modern), "old": fill(wire.Legacy)}, func(_ *rig, c *Config) {
		c.Decider = w
		c.Now = func() time.Time { return time.Now().In(zone) }
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	from := []string{"X-Test-User", "ann", "X-Test-Groups", "red blue", "X-Forwarded-For", "2001:db8::7", "X-Forwarded-Proto", "https"}
	session := r.legacy("/mcp", from...)
	for _, up := range []string{"new", "old"} {
		for method, params := range map[string]string{
			"tools/call":          `"name":"%s","arguments": { "n" : 90071992547409930.10, "s":"\u00e9\u202e<" }`,
			"prompts/get":         `"name":"%s","arguments":{"who":"x"}`,
			"resources/read":      `"uri":"%s"`,
			"completion/complete": `"ref":{"type":"ref/prompt","name":"%s"},"argument":{"name":"who","value":"x"}`,
		} {
			own := map[string]string{"tools/call": "echo", "prompts/get": "greet", "resources/read": "file:///a%20b", "completion/complete": "greet"}[method]
			r.modern("/mcp/"+up, method, fmt.Sprintf(params, own), from...)
			if method != "resources/read" {
				r.in(session, "/mcp", method, fmt.Sprintf(params, up+"__"+own))
			}
			r.modern("/mcp", method, fmt.Sprintf(params, "nothing"), from...) // unknown: judged as well
		}
		r.modern("/mcp/"+up, "tools/call", `"name":"echo","arguments":{"long":"`+strings.Repeat("x", 70_000)+`"}`, from...)
		r.modern("/mcp/"+up, "tools/call", `"name":"echo","inputResponses":{"q1":{"action":"accept"}}`, from...)
	}
	r.modern("/mcp", "tools/list", "", from...)

	asked := w.take()
	seen := map[string]int{}
	for _, rec := range r.records() {
		if rec.Kind != "decision" || rec.Shown != nil {
			continue
		}
		got, unknown, err := audit.Asked(rec, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(asked) == 0 {
			t.Fatalf("a record of what was not asked: %s", rec.Line)
		}
		want := asked[0]
		asked = asked[1:]
		for _, path := range unknown {
			if path != "arguments" || len(want.Arguments) <= r.g.Limits.Record {
				t.Errorf("%s is not on record: %s", path, rec.Line)
			}
			got.Arguments, want.Arguments = nil, nil
		}
		if a, b := canonical(t, &got), canonical(t, &want); a != b {
			t.Errorf("from the record\n%s\njudged\n%s", a, b)
		}
		seen[want.Request.Method+" "+want.Request.Era]++
		if want.Time.Zone != "LHST" || !want.Source.Proxied || want.User.Name != "ann" || want.Agent.Name != "rig" {
			t.Errorf("a request that shows too little: %+v", want)
		}
	}
	if len(asked) > 0 {
		t.Errorf("%d decisions are on no record", len(asked))
	}
	for _, kind := range []string{"tools/call modern", "tools/call legacy", "prompts/get modern", "prompts/get legacy", "resources/read modern", "completion/complete modern"} {
		if seen[kind] < 2 {
			t.Errorf("%s was judged %d times; %v", kind, seen[kind], seen)
		}
	}
}

// canonical is a document without the white space that a record does not keep.
func canonical(t *testing.T, r *policy.Request) string {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	// A record writes characters that could drive a terminal as escapes.
	var v any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(v); err != nil {
		t.Fatal(err)
	}
	return string(text)
}
