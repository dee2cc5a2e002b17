package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

func TestAModernAgentListsAndCallsInBothEras(t *testing.T) {
	m, l := newUpstream(t, wire.Modern), newUpstream(t, wire.Legacy)
	r := newRig(t, map[string]*upstream{"new": m, "old": l})
	list := r.modern("/mcp", "tools/list", "").result(t)
	for _, want := range []string{`"name":"new__echo"`, `"name":"old__echo"`, `"resultType":"complete"`, `"cacheScope":"private"`, `"ttlMs":`} {
		if !strings.Contains(list, want) {
			t.Errorf("list lacks %s: %s", want, list)
		}
	}
	for name, u := range map[string]*upstream{"new": m, "old": l} {
		got := r.modern("/mcp", "tools/call", `"name":"`+name+`__echo","arguments":{"text":"hi"}`).result(t)
		if !strings.Contains(got, `"content":[]`) || !strings.Contains(got, `"resultType":"complete"`) {
			t.Errorf("%s: %s", name, got)
		}
		calls := u.calls("tools/call")
		if len(calls) != 1 || !strings.Contains(calls[0].body, `"name":"echo"`) {
			t.Errorf("%s saw %v", name, calls)
		}
	}
}

func TestALegacyAgentListsAndCallsInBothEras(t *testing.T) {
	m, l := newUpstream(t, wire.Modern), newUpstream(t, wire.Legacy)
	r := newRig(t, map[string]*upstream{"new": m, "old": l})
	s := r.legacy("/mcp")
	list := r.in(s, "/mcp", "tools/list", "").result(t)
	if !strings.Contains(list, `"new__echo"`) || !strings.Contains(list, `"old__echo"`) || strings.Contains(list, "resultType") {
		t.Error(list)
	}
	for _, name := range []string{"new", "old"} {
		if got := r.in(s, "/mcp", "tools/call", `"name":"`+name+`__echo"`).result(t); got != `{"content":[]}` {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Promise 1: what an agent sends in headers, and what of its _meta is not
// allowed, never reaches an upstream.
// Security catalogue A-068.
func TestNothingOfTheAgentsOwnReachesAnUpstream(t *testing.T) {
	for _, era := range []wire.Era{wire.Modern, wire.Legacy} {
		u := newUpstream(t, era)
		r := newRig(t, map[string]*upstream{"up": u})
		canary := "canary-0123456789"
		r.modern("/mcp", "tools/call", `"name":"up__echo","arguments":{}`,
			"Authorization", "Bearer "+canary, "Cookie", "a="+canary, "X-Api-Key", canary, "X-Forwarded-User", canary,
			"Mcp-Param-Authorization", canary, "User-Agent", canary, "Traceparent", canary, "Baggage", canary)
		body := strings.Replace(r.modernBody("tools/call", `"name":"up__echo"`), `"_meta":{`, `"_meta":{"secret":"`+canary+`","io.example/token":"`+canary+`",`, 1)
		r.post("/mcp", body, modernHeaders("tools/call", `"name":"up__echo"`)...)
		if n := len(u.calls("tools/call")); n != 2 {
			t.Fatalf("%v: %d calls", era, n)
		}
		for _, h := range u.all() {
			if strings.Contains(h.body, canary) {
				t.Errorf("%v: body of %s carries the canary: %s", era, h.method, h.body)
			}
			for k, vs := range h.header {
				if strings.Contains(strings.Join(vs, " "), canary) {
					t.Errorf("%v: header %s of %s carries the canary", era, k, h.method)
				}
			}
		}
	}
}

func TestTraceContextInMetaTravels(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u})
	parent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	body := strings.Replace(r.modernBody("tools/call", `"name":"up__echo"`), `"_meta":{`, `"_meta":{"traceparent":"`+parent+`","baggage":"k=v",`, 1)
	r.post("/mcp", body, modernHeaders("tools/call", `"name":"up__echo"`)...)
	got := u.calls("tools/call")[0].body
	if !strings.Contains(got, `"traceparent":"`+parent+`"`) || !strings.Contains(got, `"baggage":"k=v"`) {
		t.Error(got)
	}
	for _, rec := range r.records() {
		if rec.Request.Method == "tools/call" && rec.TraceID != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("record has trace %q", rec.TraceID)
		}
	}
}

// Promise 5: ambiguous input is refused, not interpreted; no byte reaches an
// upstream, and the record says why.
func TestAmbiguousInputReachesNobody(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u})
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	for name, body := range map[string]string{
		"duplicate name":             `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo","name":"up__echo"}}`,
		"case variant of name":       `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo","Name":"other"}}`,
		"case variant of method":     `{"jsonrpc":"2.0","id":1,"method":"tools/call","METHOD":"ping","params":{` + meta + `,"name":"up__echo"}}`,
		"folded params":              `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo"},"paramſ":{}}`,
		"duplicate deep in argument": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo","arguments":{"a":[{"b":1,"b":2}]}}}`,
		"NUL in a key":               `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo","arguments":{"a\u0000":1}}}`,
		"invalid UTF-8":              `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo","arguments":{"a":"` + "\xff" + `"}}}`,
		"lone surrogate":             `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo","arguments":{"a":"\ud800"}}}`,
		"fractional id":              `{"jsonrpc":"2.0","id":1.5,"method":"tools/call","params":{` + meta + `,"name":"up__echo"}}`,
		"null id":                    `{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{` + meta + `,"name":"up__echo"}}`,
		"batch":                      `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo"}}]`,
		"trailing data":              `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo"}} {}`,
		"argument folds to property": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"up__echo","arguments":{"Text":"x"}}}`,
	} {
		a := r.post("/mcp", body, modernHeaders("tools/call", `"name":"up__echo"`)...)
		if a.status != http.StatusBadRequest {
			t.Errorf("%s: status %d %s", name, a.status, a.body)
		}
		if n := len(u.calls("tools/call")); n != 0 {
			t.Fatalf("%s: reached the upstream", name)
		}
	}
	refused := 0
	r.stop()
	for _, rec := range r.records() {
		if rec.Kind == "decision" && rec.Decision != nil && !rec.Decision.Allow && rec.Reason != "" {
			refused++
		}
	}
	if refused != 13 {
		t.Errorf("%d refusals recorded, want 13", refused)
	}
}

func TestLargeIDsAreEchoedToTheDigit(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)})
	s := r.legacy("/mcp")
	for _, id := range []string{"9007199254740993", "-12345678901234567890123", `"é\u0041"`, "0"} {
		a := r.post("/mcp", `{"jsonrpc":"2.0","id":`+id+`,"method":"tools/call","params":{"name":"up__echo"}}`, s...)
		if !strings.Contains(a.body, `"id":`+id+`,`) {
			t.Errorf("id %s: %s", id, a.body)
		}
	}
}

// hiding hides one tool and denies another.
type hiding struct {
	policy.AllowAll
	decided atomic.Int64
}

func (h *hiding) Decide(_ context.Context, r *policy.Request) (policy.Decision, error) {
	h.decided.Add(1)
	switch r.Target.Name {
	case "hidden":
		return policy.Decision{Reasons: []string{"a reason that only the record may have"}}, nil
	case "denied":
		return policy.Decision{Reasons: []string{"not at night"}}, nil
	case "broken":
		return policy.Decision{Allow: true}, errors.New("boom")
	}
	return policy.Decision{Allow: true}, nil
}

func (h *hiding) Visible(_ context.Context, _ *policy.Request, _ []string, targets []policy.Target) ([]bool, error) {
	shown := make([]bool, len(targets))
	for i, t := range targets {
		shown[i] = t.Name != "hidden"
	}
	return shown, nil
}

// Promise 2: what is not listed answers exactly like what does not exist, and
// costs the same work.
// Security catalogue.
func TestHiddenIsUnknown(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools = `{"name":"hidden","inputSchema":{"type":"object"}},{"name":"denied","inputSchema":{"type":"object"}},{"name":"broken","inputSchema":{"type":"object"}}`
	u.extra["prompts/list"] = `{"name":"hidden"}`
	u.extra["resources/list"] = `{"uri":"x://hidden","name":"n"}`
	dec := &hiding{}
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = dec })
	if list := r.modern("/mcp", "tools/list", "").result(t); strings.Contains(list, "hidden") || !strings.Contains(list, "denied") {
		t.Fatal(list)
	}
	s := r.legacy("/mcp")
	direct := r.legacy("/mcp/up")
	for _, method := range []string{"tools/call", "prompts/get"} {
		for _, path := range []string{"/mcp", "/mcp/up"} {
			prefix, session := "up__", s
			if path == "/mcp/up" {
				prefix, session = "", direct
			}
			for _, era := range []string{"modern", "legacy"} {
				ask := func(name string) (string, int64, int) {
					before, hits := dec.decided.Load(), u.heard()
					var a answer
					r.id = 100
					if era == "modern" {
						a = r.modern(path, method, `"name":"`+prefix+name+`"`)
					} else {
						a = r.in(session, path, method, `"name":"`+prefix+name+`"`)
					}
					return fmt.Sprint(a.status, strings.ReplaceAll(a.body, name, "X")), dec.decided.Load() - before, u.heard() - hits
				}
				hidden, n1, h1 := ask("hidden")
				absent, n2, h2 := ask("nosuch")
				if hidden != absent || n1 != n2 || n1 != 1 || h1+h2 != 0 {
					t.Errorf("%s %s %s:\nhidden %s (%d decisions, %d hits)\nabsent %s (%d decisions, %d hits)", method, path, era, hidden, n1, h1, absent, n2, h2)
				}
			}
		}
	}
	denied := r.modern("/mcp", "tools/call", `"name":"up__denied"`)
	if denied.code(t) != CodeDenied || !strings.Contains(denied.body, "not at night") {
		t.Error("a listed target that is denied says why:", denied.body)
	}
	broken := r.modern("/mcp", "tools/call", `"name":"up__broken"`)
	if broken.code(t) != CodeDenied || strings.Contains(broken.body, "boom") {
		t.Error("an error while deciding is a denial:", broken.body)
	}
	if n := len(u.calls("tools/call")); n != 0 {
		t.Errorf("%d calls reached the upstream", n)
	}
}

// sinkOf is a log that fails on demand.
type sinkOf struct {
	audit.Sink
	failAppend atomic.Bool
	appended   atomic.Int64
	before     func(r *audit.Record)
}

func (s *sinkOf) Append(ctx context.Context, r *audit.Record) error {
	if s.failAppend.Load() {
		return audit.ErrUnavailable
	}
	if s.before != nil {
		s.before(r)
	}
	s.appended.Add(1)
	return s.Sink.Append(ctx, r)
}

// Promise 3: without a durable decision record nothing runs.
func TestNothingRunsUnrecorded(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.extra["prompts/list"] = `{"name":"p"}`
	u.extra["resources/list"] = `{"uri":"x://r","name":"n"}`
	var sink *sinkOf
	recorded := 0
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) {
		sink = &sinkOf{Sink: c.Audit, before: func(rec *audit.Record) {
			if rec.Request.Method == "tools/call" && len(u.calls("tools/call")) != recorded {
				t.Error("the upstream was called before the decision was recorded")
			}
			if rec.Request.Method == "tools/call" {
				recorded++
			}
		}}
		c.Audit = sink
	})
	r.modern("/mcp", "tools/call", `"name":"up__echo"`).result(t)
	sink.failAppend.Store(true)
	for _, q := range [][2]string{
		{"tools/call", `"name":"up__echo"`}, {"prompts/get", `"name":"up__p"`}, {"tools/list", ``},
		{"resources/read", `"uri":"x://r#upstream=up"`}, {"completion/complete", `"ref":{"type":"ref/prompt","name":"up__p"},"argument":{"name":"a","value":""}`},
	} {
		hits := u.heard()
		a := r.modern("/mcp", q[0], q[1])
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.code(t) != CodeUnrecorded {
			t.Errorf("%s: %d %s", q[0], a.status, a.body)
		}
		if u.heard() != hits {
			t.Errorf("%s reached the upstream", q[0])
		}
	}
	sink.failAppend.Store(false)
	r.modern("/mcp", "tools/call", `"name":"up__echo"`).result(t)
}

func TestEachCallHasOneDecisionAndOneOutcome(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u})
	r.modern("/mcp", "tools/call", `"name":"up__echo","arguments":{"text":"é","n":1.10}`)
	r.stop()
	var d, o *audit.Record
	for _, rec := range r.records() {
		if rec.Request.Method == "tools/call" && rec.Kind == "decision" {
			if d != nil {
				t.Error("two decisions")
			}
			d = rec
		}
	}
	if d == nil {
		t.Fatal("no decision record")
	}
	for _, rec := range r.records() {
		if rec.Kind == "outcome" && rec.DecisionID == d.DecisionID {
			o = rec
		}
	}
	if o == nil || o.Outcome != "ok" || o.Result == nil || o.Metrics == nil {
		t.Fatalf("outcome %+v", o)
	}
	if d.Target.Name != "echo" || d.Upstream != "up" || string(d.Arguments.Value) != `{"text":"é","n":1.10}` || !d.Decision.Allow || d.User.ID != "test:alice" || d.Agent.Name != "rig" || d.Target.Digest == "" {
		b, _ := json.Marshal(d)
		t.Errorf("%s", b)
	}
}

// Security catalogue A-030.
func TestRequestStateIsGoodForItsOwnRequestAlone(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools += `,{"name":"other","inputSchema":{"type":"object"}}`
	u.call = func(_ http.ResponseWriter, _ *http.Request, m *wire.Message) string {
		if s, ok := m.Params.String("requestState"); ok {
			if s != `inner "state" é` {
				return `{"resultType":"complete","content":[{"type":"text","text":"wrong state"}]}`
			}
			return `{"resultType":"complete","content":[{"type":"text","text":"done"}]}`
		}
		return `{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create","params":{"message":"?","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"inner \"state\" é"}`
	}
	r := newRig(t, map[string]*upstream{"up": u})
	args := `"name":"up__echo","arguments":{"text":"a"}`
	first := r.modern("/mcp", "tools/call", args).result(t)
	var res struct{ ResultType, RequestState string }
	json.Unmarshal([]byte(first), &res)
	if res.ResultType != "input_required" || res.RequestState == "" || strings.Contains(first, "inner") {
		t.Fatal(first)
	}
	responses := `,"inputResponses":{"q":{"action":"accept","content":{}}},"requestState":"` + res.RequestState + `"`
	if got := r.modern("/mcp", "tools/call", args+responses).result(t); !strings.Contains(got, "done") {
		t.Error(got)
	}
	hits := u.heard()
	for name, a := range map[string]answer{
		"tampered":        r.modern("/mcp", "tools/call", args+strings.Replace(responses, res.RequestState, res.RequestState[:len(res.RequestState)-2]+"AA", 1)),
		"other arguments": r.modern("/mcp", "tools/call", `"name":"up__echo","arguments":{"text":"b"}`+responses),
		"other tool":      r.modern("/mcp", "tools/call", `"name":"up__other","arguments":{"text":"a"}`+responses),
		"other user":      r.modern("/mcp", "tools/call", args+responses, "X-Test-User", "bob"),
		"other endpoint":  r.modern("/mcp/up", "tools/call", `"name":"echo","arguments":{"text":"a"}`+responses),
	} {
		if a.code(t) != codeInvalidParams {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	if u.heard() != hits {
		t.Error("a wrong requestState reached the upstream")
	}
}

// Security catalogue A-066.
func TestUndeclaredInputRequestsAreNotRelayed(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	for name, ask := range map[string]string{
		"sampling, not declared": `{"method":"sampling/createMessage","params":{}}`,
		"URL mode, not declared": `{"method":"elicitation/create","params":{"mode":"url","url":"https://example.com/"}}`,
	} {
		u.call = func(http.ResponseWriter, *http.Request, *wire.Message) string {
			return `{"resultType":"input_required","inputRequests":{"q":` + ask + `}}`
		}
		r := newRig(t, map[string]*upstream{"up": u})
		if a := r.modern("/mcp", "tools/call", `"name":"up__echo"`); a.code(t) != CodeBadAnswer {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	for raw, safe := range map[string]bool{
		"https://example.com/x": true, "http://localhost:1/": true, "http://example.com/": false, "javascript:alert(1)": false, "file:///etc/passwd": false, "https:": false,
	} {
		b, _ := json.Marshal(map[string]string{"mode": "url", "url": raw})
		if safeAsk("elicitation/create", b) != safe {
			t.Errorf("%s: safe should be %v", raw, safe)
		}
	}
}

// Security catalogue A-030.
func TestPagesCoverTheListAndCursorsAreTheirOwners(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	var tools []string
	for i := range 25 {
		tools = append(tools, fmt.Sprintf(`{"name":"t%02d","inputSchema":{"type":"object"}}`, i))
	}
	u.tools = strings.Join(tools, ",")
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Limits.Page = 10 })
	var seen []string
	cursor, first := "", ""
	for range 5 {
		params := ""
		if cursor != "" {
			params = `"cursor":"` + cursor + `"`
		}
		var page struct {
			Tools      []struct{ Name string }
			NextCursor string
		}
		json.Unmarshal([]byte(r.modern("/mcp", "tools/list", params).result(t)), &page)
		for _, tool := range page.Tools {
			seen = append(seen, tool.Name)
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
		if first == "" {
			first = cursor
		}
	}
	if len(seen) != 25 || seen[0] != "up__t00" || seen[24] != "up__t24" {
		t.Errorf("%d names: %v", len(seen), seen)
	}
	for name, a := range map[string]answer{
		"empty":          r.modern("/mcp", "tools/list", `"cursor":""`),
		"made up":        r.modern("/mcp", "tools/list", `"cursor":"abc"`),
		"other user":     r.modern("/mcp", "tools/list", `"cursor":"`+first+`"`, "X-Test-User", "bob"),
		"other list":     r.modern("/mcp", "prompts/list", `"cursor":"`+first+`"`),
		"other endpoint": r.modern("/mcp/up", "tools/list", `"cursor":"`+first+`"`),
	} {
		if a.code(t) != codeInvalidParams {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}

func TestSessionsSurviveARestartAndDeletedOnesDoNot(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	r := newRig(t, map[string]*upstream{"up": u})
	kept, gone := r.legacy("/mcp"), r.legacy("/mcp")
	req, _ := http.NewRequest(http.MethodDelete, r.URL+"/mcp", nil)
	req.Header.Set("Mcp-Session-Id", gone[1])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	for range 2 {
		if a := r.in(kept, "/mcp", "tools/call", `"name":"up__echo"`); a.status != http.StatusOK {
			t.Errorf("kept session: %d %s", a.status, a.body)
		}
		if a := r.in(gone, "/mcp", "tools/list", ""); a.status != http.StatusNotFound {
			t.Errorf("deleted session: %d %s", a.status, a.body)
		}
		if a := r.in(append(kept[:len(kept):len(kept)], "X-Test-User", "bob"), "/mcp", "tools/list", ""); a.status != http.StatusNotFound {
			t.Errorf("another's session: %d %s", a.status, a.body)
		}
		if a := r.in(kept, "/mcp/up", "tools/list", ""); a.status != http.StatusNotFound {
			t.Errorf("another endpoint's session: %d %s", a.status, a.body)
		}
		r.stop()
		r.start(map[string]*upstream{"up": u})
	}
}

func TestAnElicitationOfALegacyUpstreamReachesItsAgent(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	answers := make(chan string, 1)
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(wire.AppendEvent(nil, "", []byte(`{"jsonrpc":"2.0","id":"ask-1","method":"elicitation/create","params":{"message":"name?","requestedSchema":{"type":"object","properties":{}}}}`)))
		w.(http.Flusher).Flush()
		select {
		case got := <-answers:
			w.Write(wire.AppendEvent(nil, "", wire.AppendResult(nil, m.ID, []byte(`{"content":[{"type":"text","text":`+string(wire.AppendString(nil, got))+`}]}`))))
		case <-r.Context().Done():
		}
		return ""
	}
	inner := u.Config.Handler
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		b.ReadFrom(r.Body)
		if strings.Contains(b.String(), `"ask-1"`) && strings.Contains(b.String(), `"result"`) {
			answers <- b.String()
			w.WriteHeader(http.StatusAccepted)
			return
		}
		r.Body = http.NoBody
		r2 := r.Clone(r.Context())
		r2.Body = readCloser{bytes.NewReader(b.Bytes())}
		inner.ServeHTTP(w, r2)
	})
	r := newRig(t, map[string]*upstream{"up": u})
	s := r.legacy("/mcp")
	req, _ := http.NewRequest(http.MethodPost, r.URL+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"up__echo"}}`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i < len(s); i += 2 {
		req.Header.Set(s[i], s[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	er := wire.NewEventReader(resp.Body, 1<<20)
	for {
		e, err := er.Next()
		if err != nil {
			t.Fatal("stream ended without the result:", err)
		}
		if len(e.Data) == 0 {
			continue
		}
		m, err := wire.ParseAnswer(e.Data, wire.DefaultLimits, false)
		if err != nil {
			t.Fatal(err)
		}
		if m.Kind == wire.Request {
			if m.Method != "elicitation/create" || string(m.ID) == `"ask-1"` {
				t.Fatalf("asked %s with id %s", m.Method, m.ID)
			}
			if a := r.post("/mcp", `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":{"action":"accept","content":{"n":12345678901234567890}}}`, s...); a.status != http.StatusAccepted {
				t.Fatal(a.status, a.body)
			}
			continue
		}
		if m.Kind == wire.Response {
			if !strings.Contains(string(m.Result), "12345678901234567890") {
				t.Errorf("%s", m.Result)
			}
			return
		}
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func TestHostAndOriginAreCheckedOnEveryMethod(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)}, func(_ *rig, c *Config) {
		c.AllowedOrigins = []string{"https://app.example.com"}
	})
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		for _, c := range []struct {
			host, origin string
			want         bool
		}{
			{"", "", true}, {"localhost:1", "", true}, {"[::1]:1", "", true},
			{"evil.example.com", "", false}, {"evil.example.com:8080", "", false}, {"127.0.0.1.evil.com", "", false},
			{"", "https://app.example.com", true}, {"", "HTTPS://APP.EXAMPLE.COM", false}, {"", "https://app.example.com.evil.com", false},
			{"", "null", false}, {"", "http://localhost:3000", true}, {"", "https://evil.example.com", false}, {"evil.example.com", "https://app.example.com", false},
		} {
			req, _ := http.NewRequest(method, r.URL+"/mcp", strings.NewReader("{}"))
			req.Host = c.host
			if c.origin != "" {
				req.Header.Set("Origin", c.origin)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := resp.StatusCode != http.StatusForbidden; got != c.want {
				t.Errorf("%s host %q origin %q: %d", method, c.host, c.origin, resp.StatusCode)
			}
			if cors := resp.Header.Get("Access-Control-Allow-Origin"); cors != "" && cors != "https://app.example.com" {
				t.Errorf("CORS for %q", cors)
			}
		}
	}
}

func TestWithoutATokenEveryMethodIs401(t *testing.T) {
	r := newRig(t, nil)
	for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodDelete} {
		req, _ := http.NewRequest(method, r.URL+"/mcp", strings.NewReader("{}"))
		req.Header.Set("X-Test-User", "nobody")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
}

func TestTheBodyLimitIsExact(t *testing.T) {
	r := newRig(t, nil, func(_ *rig, c *Config) { c.Limits.Body = 1000 })
	body := r.modernBody("server/discover", `"x":"`+strings.Repeat("y", 600)+`"`)
	body = strings.Replace(body, `"y`, `"`+strings.Repeat("z", 1000-len(body))+`y`, 1)
	if a := r.post("/mcp", body, modernHeaders("server/discover", "")...); len(body) != 1000 || a.status != http.StatusOK {
		t.Errorf("at the limit (%d): %d %s", len(body), a.status, a.body)
	}
	if a := r.post("/mcp", body+" ", modernHeaders("server/discover", "")...); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("over the limit: %d %s", a.status, a.body)
	}
}

func TestListenTellsOfChangesAfterItsAcknowledgement(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)})
	params := `"notifications":{"toolsListChanged":true,"nosuch":true}`
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
	er := wire.NewEventReader(resp.Body, 1<<20)
	next := func() string {
		t.Helper()
		e, err := er.Next()
		if err != nil {
			t.Fatal(err)
		}
		return string(e.Data)
	}
	ack := next()
	if !strings.Contains(ack, "subscriptions/acknowledged") || !strings.Contains(ack, `"notifications":{"toolsListChanged":true}`) || !strings.Contains(ack, fmt.Sprintf(`"io.modelcontextprotocol/subscriptionId":%d`, r.id)) {
		t.Fatal(ack)
	}
	r.g.hub.changed("up", promptsChanged|toolsChanged)
	if got := next(); !strings.Contains(got, "notifications/tools/list_changed") || !strings.Contains(got, "subscriptionId") {
		t.Error(got)
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r.g.Close(ctx)
	}()
	if got := next(); !strings.Contains(got, `"resultType":"complete"`) {
		t.Error("a stream that the gateway ends has a result:", got)
	}
}
