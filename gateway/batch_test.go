package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// sessionOfVersion opens a session and returns the headers that name it.
func (r *rig) sessionOfVersion(version string) []string {
	r.t.Helper()
	a := r.post("/mcp", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+`","capabilities":{}}}`)
	if a.status != http.StatusOK || !strings.Contains(a.body, `"protocolVersion":"`+version+`"`) {
		r.t.Fatalf("initialize: %d %s", a.status, a.body)
	}
	return []string{"Mcp-Session-Id", a.header.Get("Mcp-Session-Id")}
}

// batchedAnswers are the responses of an array by their raw id.
func batchedAnswers(t *testing.T, body string) map[string]string {
	t.Helper()
	var all []json.RawMessage
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatalf("not an array: %v in %s", err, body)
	}
	byID := make(map[string]string)
	for _, raw := range all {
		var m struct{ ID json.RawMessage }
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		byID[string(m.ID)] = string(raw)
	}
	return byID
}

func toolCall(id, name string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q}}`, id, name)
}

func TestEachRequestOfABatchHasItsOwnDecisionRecordAndOutcome(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	u.tools = `{"name":"allowed","inputSchema":{"type":"object"}},{"name":"denied","inputSchema":{"type":"object"}}`
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = &hiding{} })
	s := r.sessionOfVersion(wire.Version20250326)
	a := r.post("/mcp", `[`+toolCall("1", "up__denied")+`,{"jsonrpc":"2.0","method":"notifications/initialized"},`+toolCall(`"1"`, "up__allowed")+`,
		{"jsonrpc":"2.0","id":5,"result":{}},`+toolCall("3", "up__nosuch")+`,{"jsonrpc":"2.0","id":4,"method":"tools/list"}]`, s...)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	answers := batchedAnswers(t, a.body)
	for id, want := range map[string]string{"1": `"code":-31001,"message":"denied: not at night"`, `"1"`: `"result":{"content":[]}`, "3": `"code":-32602`, "4": `"name":"up__allowed"`} {
		if !strings.Contains(answers[id], want) {
			t.Errorf("answer to %s: %s, want %s", id, answers[id], want)
		}
	}
	if len(answers) != 4 || len(u.calls("tools/call")) != 1 {
		t.Errorf("%d answers, %d calls upstream", len(answers), len(u.calls("tools/call")))
	}
	r.stop()
	decisions, outcomes := map[string]string{}, map[string]string{}
	for _, rec := range r.records() {
		switch {
		case rec.Kind == "decision" && rec.Request.Method == "tools/call":
			decisions[rec.Target.Name] = rec.DecisionID
		case rec.Kind == "outcome":
			outcomes[rec.DecisionID] = rec.Outcome
		}
	}
	if len(decisions) != 3 || outcomes[decisions["allowed"]] != "ok" || len(outcomes) != 1 {
		t.Errorf("decisions %v, outcomes %v", decisions, outcomes)
	}
}

func TestOnlySessionsOf20250326HaveBatches(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	r := newRig(t, map[string]*upstream{"up": u})
	body := `[` + toolCall("1", "up__echo") + `]`
	for name, c := range map[string]struct {
		header []string
		status int
	}{
		"without a session":   {nil, 400},
		"2024-11-05":          {r.sessionOfVersion(wire.Version20241105), 400},
		"2025-03-26":          {r.sessionOfVersion(wire.Version20250326), 200},
		"2025-06-18":          {r.sessionOfVersion(wire.Version20250618), 400},
		"2025-11-25":          {r.sessionOfVersion(wire.Version20251125), 400},
		"an unknown session":  {[]string{"Mcp-Session-Id", "nonsense"}, 404},
		"a modern header":     {append(r.sessionOfVersion(wire.Version20250326), "Mcp-Protocol-Version", "2026-07-28"), 400},
		"of somebody else":    {append(r.sessionOfVersion(wire.Version20250326), "X-Test-User", "bob"), 404},
		"at another endpoint": {append(r.sessionOfVersion(wire.Version20250326), "path", "/mcp/up"), 404},
	} {
		u.reset()
		path := "/mcp"
		if n := len(c.header); n > 2 && c.header[n-2] == "path" {
			path = c.header[n-1]
		}
		a := r.post(path, body, c.header...)
		if a.status != c.status || (len(u.calls("tools/call")) == 1) != (c.status == 200) {
			t.Errorf("%s: %d %s, %d calls", name, a.status, a.body, len(u.calls("tools/call")))
		}
	}
}

func TestABatchIsRefusedAsAWhole(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	r := newRig(t, map[string]*upstream{"up": u})
	s := r.sessionOfVersion(wire.Version20250326)
	pings := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`, i)
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	if a := r.post("/mcp", pings(wire.DefaultLimits.Batch), s...); a.status != 200 || len(batchedAnswers(t, a.body)) != wire.DefaultLimits.Batch {
		t.Errorf("at the limit: %d %s", a.status, a.body)
	}
	fine := toolCall("1", "up__echo")
	for name, body := range map[string]string{
		"over the limit":       pings(wire.DefaultLimits.Batch + 1),
		"empty":                `[]`,
		"a duplicate name":     `[` + fine + `,{"jsonrpc":"2.0","id":2,"method":"ping","method":"ping"}]`,
		"an id twice":          `[` + fine + `,` + fine + `]`,
		"initialize":           `[` + fine + `,{"jsonrpc":"2.0","id":2,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{}}}]`,
		"a modern request":     `[` + fine + `,` + r.modernBody("tools/list", "") + `]`,
		"not JSON at its end":  `[` + fine + `,`,
		"a batch in the batch": `[` + fine + `,[` + fine + `]]`,
	} {
		if a := r.post("/mcp", body, s...); a.status != 400 || strings.HasPrefix(a.body, "[") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if n := len(u.calls("tools/call")); n != 0 {
		t.Errorf("%d calls ran", n)
	}
	if a := r.post("/mcp", `[{"jsonrpc":"2.0","method":"notifications/initialized"},{"jsonrpc":"2.0","id":9,"result":{}}]`, s...); a.status != 202 || a.body != "" {
		t.Errorf("nothing to answer: %d %q", a.status, a.body)
	}
}

// gate holds calls of an upstream until it is opened.
func gate(u *upstream) (arrived chan string, open chan struct{}) {
	arrived, open = make(chan string, 100), make(chan struct{})
	u.call = func(_ http.ResponseWriter, r *http.Request, m *wire.Message) string {
		name, _ := m.Params.String("name")
		arrived <- name
		select {
		case <-open:
		case <-r.Context().Done():
		}
		return `{"content":[]}`
	}
	return arrived, open
}

// Security catalogue A-115.
func TestRequestsOfABatchRunTogetherAndEachCounts(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Limits.Calls = 2 })
	s := r.sessionOfVersion(wire.Version20250326)
	arrived, open := gate(u)
	go func() {
		<-arrived
		<-arrived // both at once, or the test never ends
		close(open)
	}()
	answers := batchedAnswers(t, r.post("/mcp", `[`+toolCall("1", "up__echo")+`,`+toolCall("2", "up__echo")+`,`+toolCall("3", "up__echo")+`]`, s...).body)
	if len(answers) != 3 || !strings.Contains(answers["2"], "result") || !strings.Contains(answers["3"], "-31007") {
		t.Errorf("%v", answers)
	}
	if n := len(r.g.quota.n); n != 0 {
		t.Errorf("calls are still counted for %d principals", n)
	}
}

func TestACancelledRequestLeavesTheOthersOfItsBatch(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools = `{"name":"slow","inputSchema":{"type":"object"}},{"name":"fast","inputSchema":{"type":"object"}}`
	r := newRig(t, map[string]*upstream{"up": u})
	s := r.sessionOfVersion(wire.Version20250326)
	u.call = func(_ http.ResponseWriter, r *http.Request, m *wire.Message) string {
		if name, _ := m.Params.String("name"); name == "slow" {
			<-r.Context().Done()
		}
		return `{"content":[]}`
	}
	a := r.post("/mcp", `[`+toolCall("1", "up__slow")+`,`+toolCall("2", "up__fast")+`,{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}]`, s...)
	if answers := batchedAnswers(t, a.body); len(answers) != 1 || answers["2"] == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestABatchBecomesAStreamWhenSomethingPrecedesAnAnswer(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools = `{"name":"talks","inputSchema":{"type":"object"}},{"name":"quiet","inputSchema":{"type":"object"}}`
	r := newRig(t, map[string]*upstream{"up": u})
	s := r.sessionOfVersion(wire.Version20250326)
	quiet := make(chan struct{})
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		if name, _ := m.Params.String("name"); name == "quiet" {
			<-quiet
			return `{"content":[]}`
		}
		token, _ := m.Meta.Get("progressToken")
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(wire.AppendEvent(nil, "", wire.AppendNotification(nil, "notifications/progress", []byte(`{"progress":1,"progressToken":`+string(token)+`}`))))
		w.Write(wire.AppendEvent(nil, "", wire.AppendResult(nil, m.ID, []byte(`{"content":[]}`))))
		return ""
	}
	talks := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"up__talks","_meta":{"progressToken":"t"}}}`
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL+"/mcp", strings.NewReader(`[`+talks+`,`+toolCall("2", "up__quiet")+`]`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set(s[0], s[1])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := wire.NewEventReader(resp.Body, 1<<20)
	var got []string
	for {
		e, err := events.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(e.Data))
		if len(got) == 2 { // the answer that is ready does not wait for the other
			close(quiet)
		}
	}
	want := []string{`"progressToken":"t"`, `"id":1,"result"`, `"id":2,"result"`}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) || strings.HasPrefix(got[i], "[") {
			t.Errorf("event %d: %s, want %s", i, got[i], want[i])
		}
	}
	// One who takes no stream gets the answers without what came before.
	a := r.post("/mcp", `[`+talks+`]`, append(s, "Accept", "application/json")...)
	if answers := batchedAnswers(t, a.body); len(answers) != 1 {
		t.Errorf("%s", a.body)
	}
	// And one who takes only streams gets no array.
	a = r.post("/mcp", `[`+toolCall("7", "up__quiet")+`]`, append(s, "Accept", "text/event-stream")...)
	if !strings.HasPrefix(a.header.Get("Content-Type"), "text/event-stream") || !strings.Contains(a.body, `"id":7`) {
		t.Errorf("%v %s", a.header, a.body)
	}
}

// panicking is a decider with a mistake in it.
type panicking struct{ policy.AllowAll }

func (panicking) Decide(_ context.Context, r *policy.Request) (policy.Decision, error) {
	if r.Target.Name == "mistake" {
		panic("a mistake")
	}
	return policy.Decision{Allow: true}, nil
}

// Security catalogue A-113.
func TestARequestThatPanicsEndsNeitherItsBatchNorTheGateway(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools = `{"name":"mistake","inputSchema":{"type":"object"}},{"name":"fine","inputSchema":{"type":"object"}}`
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = panicking{} })
	s := r.sessionOfVersion(wire.Version20250326)
	answers := batchedAnswers(t, r.post("/mcp", `[`+toolCall("1", "up__mistake")+`,`+toolCall("2", "up__fine")+`]`, s...).body)
	if !strings.Contains(answers["1"], `"error":{"code":-32603,"message":"internal error; `) || !strings.Contains(answers["2"], `"result"`) {
		t.Errorf("%v", answers)
	}
}
