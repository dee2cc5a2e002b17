package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

// obliging is a decider that allows, and obliges as its rule says.
type obliging struct {
	policy.AllowAll
	reads string // a path that it depends on
	rule  func(r *policy.Request) policy.Decision

	mu    sync.Mutex
	asked []policy.Request
}

func (o *obliging) Decide(_ context.Context, r *policy.Request) (policy.Decision, error) {
	asked := *r
	asked.Arguments = slices.Clone(r.Arguments) // r ends with its request
	o.mu.Lock()
	o.asked = append(o.asked, asked)
	o.mu.Unlock()
	d := o.rule(r)
	if d.Revision == "fail" {
		return policy.Decision{}, &policy.Failure{Code: policy.FailedTimeout, Err: errors.New("slow")}
	}
	return d, nil
}

func (o *obliging) DependsOn(path string) bool { return o.reads == path }
func (o *obliging) Obliges() bool              { return true }

// allowed is an allowing decision with these obligations.
func allowed(obligations ...string) policy.Decision {
	d := policy.Decision{Allow: true}
	for _, o := range obligations {
		d.Obligations = append(d.Obligations, json.RawMessage(o))
	}
	return d
}

// always is a decider that always obliges so.
func always(obligations ...string) *obliging {
	return &obliging{rule: func(*policy.Request) policy.Decision { return allowed(obligations...) }}
}

// obliged is a rig whose decider obliges.
func obliged(t *testing.T, o *obliging, u *upstream, opts ...func(*rig, *Config)) *rig {
	t.Helper()
	return newRig(t, map[string]*upstream{"up": u}, append(opts, func(_ *rig, c *Config) { c.Decider = o })...)
}

// lastDecision is the latest record of a decision.
func (r *rig) lastDecision() *audit.Record {
	r.t.Helper()
	all := r.records()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Kind == "decision" {
			return all[i]
		}
	}
	r.t.Fatal("no decision is recorded")
	return nil
}

func declare(c *Config, all ...Rate) { c.Rates = all }

func TestAnObligationThatCantBeCarriedOutRefuses(t *testing.T) {
	for reason, obligation := range map[string]string{
		"unknown_obligation":     `{"type":"pay"}`,
		"bad_obligation":         `{"type":"mask","paths":["ssn"]}`,
		"undeclared_rate":        `{"type":"rate","class":"nosuch"}`,
		"approval_not_available": `{"type":"approval","by":"security"}`,
		"step_up":                `{"type":"step_up","scopes":["more"]}`, // nobody signs in here
	} {
		u := newUpstream(t, wire.Modern)
		r := obliged(t, always(`{"type":"rate","class":"c"}`, obligation), u, func(_ *rig, c *Config) {
			declare(c, Rate{Name: "c", Limit: 5, Per: time.Hour})
		})
		for _, a := range []answer{r.modern("/mcp", "tools/call", `"name":"up__echo","arguments":{"text":"x"}`), r.in(r.legacy("/mcp"), "/mcp", "tools/call", `"name":"up__echo"`)} {
			if a.status != http.StatusOK || a.code(t) != CodeDenied {
				t.Errorf("%s: %d %s", reason, a.status, a.body)
			}
			if approval := strings.Contains(a.body, "a person has to approve"); approval != (reason == "approval_not_available") {
				t.Errorf("%s: %s", reason, a.body)
			}
		}
		if rec := r.lastDecision(); rec.Reason != reason || rec.Outcome != "denied" || len(rec.Decision.Obligations) != 2 {
			t.Errorf("%s: recorded %+v", reason, rec)
		}
		if len(u.calls("tools/call")) != 0 {
			t.Errorf("%s: the upstream was called", reason)
		}
		if n := r.g.rates.classes["c"].uses; n != 0 {
			t.Errorf("%s: %d spent by refused calls", reason, n)
		}
	}
}

func TestABudgetThatIsSpentRefusesUntilItIsThereAgain(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.extra["prompts/list"] = `{"name":"p"}`
	u.extra["resources/list"] = `{"uri":"x://r","name":"n"}`
	var mu sync.Mutex
	now := time.Now()
	o := always(`{"type":"rate","class":"heavy"}`)
	o.reads = "counters"
	r := obliged(t, o, u, func(_ *rig, c *Config) {
		declare(c, Rate{Name: "heavy", Limit: 2, Per: time.Minute, By: []string{"user", "tool"}})
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	call := func(header ...string) answer { return r.modern("/mcp", "tools/call", `"name":"up__echo"`, header...) }
	for range 2 {
		if a := call(); a.status != http.StatusOK || !strings.Contains(a.body, `"result"`) {
			t.Fatal(a.body)
		}
		pass(10 * time.Second)
	}
	a := call()
	if a.status != http.StatusOK || a.code(t) != CodeDenied || a.header.Get("Retry-After") != "40" || !strings.Contains(a.body, `"data":{"retryAfter":40}`) {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if rec := r.lastDecision(); rec.Reason != "rate" || rec.Detail != "class heavy" {
		t.Errorf("recorded %q, %q", rec.Reason, rec.Detail)
	}
	if got := o.asked[len(o.asked)-1].Counters["heavy"]; got != 2 {
		t.Errorf("the counter says %d", got)
	}
	// Another user, another target, another method: another budget.
	for _, other := range []answer{
		call("X-Test-User", "bob"), r.modern("/mcp", "prompts/get", `"name":"up__p"`),
		r.modern("/mcp", "resources/read", `"uri":"x://r"`), r.in(r.legacy("/mcp", "X-Test-User", "carol"), "/mcp", "tools/call", `"name":"up__echo"`),
	} {
		if strings.Contains(other.body, "retryAfter") {
			t.Error(other.body)
		}
	}
	if a := r.modern("/mcp", "tools/call", `"name":"up__nosuch"`); a.code(t) != codeInvalidParams {
		t.Error(a.body)
	}
	hits := len(u.calls("tools/call"))
	pass(39*time.Second + 999*time.Millisecond)
	if a := call(); a.header.Get("Retry-After") != "1" {
		t.Error("just before:", a.body)
	}
	pass(time.Millisecond)
	if a := call(); strings.Contains(a.body, "error") {
		t.Error("in time:", a.body)
	}
	if n := len(u.calls("tools/call")) - hits; n != 1 {
		t.Errorf("%d calls reached the upstream", n)
	}
}

// Through the whole door, not the budgets alone.
func TestParallelCallsStayWithinTheirBudget(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	const limit = 5
	r := obliged(t, always(`{"type":"rate","class":"c"}`), u, func(_ *rig, c *Config) { declare(c, Rate{Name: "c", Limit: limit, Per: time.Hour}) })
	var work sync.WaitGroup
	body := r.modernBody("tools/call", `"name":"up__echo"`)
	for range 20 {
		work.Go(func() {
			req, err := http.NewRequest(http.MethodPost, r.URL+"/mcp", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			for h, i := modernHeaders("tools/call", `"name":"up__echo"`), 0; i+1 < len(h); i += 2 {
				req.Header.Set(h[i], h[i+1])
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	work.Wait()
	if n := len(u.calls("tools/call")); n != limit {
		t.Errorf("%d of 20 calls ran, the limit is %d", n, limit)
	}
}

// scoped is a verifier whose principals have the scopes that a header names.
type scoped struct{ testVerifier }

func (v scoped) Verify(ctx context.Context, r *http.Request) (*identity.Principal, error) {
	p, err := v.testVerifier.Verify(ctx, r)
	if err == nil {
		p.Grant.Scopes = strings.Fields(r.Header.Get("X-Test-Scopes"))
	}
	return p, err
}

// Security catalogue A-031.
func TestMoreScopesAreAskedForInOneChallenge(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	u.extra["prompts/list"] = `{"name":"p"}`
	u.extra["resources/list"] = `{"uri":"x://r","name":"n"}`
	denied := false
	o := &obliging{rule: func(*policy.Request) policy.Decision {
		d := allowed(`{"type":"step_up","scopes":["send","mcp","read"]}`)
		d.Allow, d.Denied = false, denied
		return d
	}}
	r := obliged(t, o, u, func(_ *rig, c *Config) {
		c.Verifier = scoped{}
		c.StepUp = func(r *http.Request, needed, missing []string) string {
			if len(missing) == 1 && missing[0] == "ungrantable" {
				return ""
			}
			return `Bearer error="insufficient_scope", scope="` + strings.Join(needed, " ") + `", path="` + r.URL.Path + `"`
		}
	})
	scopes := []string{"X-Test-Scopes", "mcp offline_access other"}
	legacy := r.legacy("/mcp", scopes...)
	for name, a := range map[string]answer{
		"tool":          r.modern("/mcp", "tools/call", `"name":"up__echo"`, scopes...),
		"prompt":        r.modern("/mcp", "prompts/get", `"name":"up__p"`, scopes...),
		"resource":      r.modern("/mcp", "resources/read", `"uri":"x://r"`, scopes...),
		"completion":    r.modern("/mcp", "completion/complete", `"ref":{"type":"ref/prompt","name":"up__p"},"argument":{"name":"a","value":"v"}`, scopes...),
		"listen":        r.modern("/mcp", "subscriptions/listen", `"notifications":{"resourceSubscriptions":["x://r"]}`, scopes...),
		"legacy tool":   r.in(legacy, "/mcp", "tools/call", `"name":"up__echo"`),
		"subscription":  r.in(legacy, "/mcp", "resources/subscribe", `"uri":"x://r"`),
		"own namespace": r.modern("/mcp/up", "tools/call", `"name":"echo"`, scopes...),
	} {
		path := "/mcp"
		if name == "own namespace" {
			path = "/mcp/up"
		}
		want := `Bearer error="insufficient_scope", scope="mcp other send read", path="` + path + `"`
		if a.status != http.StatusForbidden || a.header.Get("WWW-Authenticate") != want || a.code(t) != CodeDenied {
			t.Errorf("%s: %d %q %s", name, a.status, a.header.Get("WWW-Authenticate"), a.body)
		}
		if !strings.Contains(a.body, `"data":{"error":"insufficient_scope","scope":"mcp other send read"}`) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	if rec := r.lastDecision(); rec.Reason != "insufficient_scope" || rec.Outcome != "denied" {
		t.Errorf("recorded %+v", rec)
	}
	if !strings.Contains(r.modern("/mcp", "tools/list", "", scopes...).body, "up__echo") {
		t.Error("what can be stepped up to is not listed")
	}
	// Who has all of them, or could not get them, or is denied besides, is not
	// sent round in circles.
	plain := func(what string, header ...string) {
		t.Helper()
		a := r.modern("/mcp", "tools/call", `"name":"up__echo"`, header...)
		if a.status != http.StatusOK || a.header.Get("WWW-Authenticate") != "" || a.code(t) != CodeDenied {
			t.Errorf("%s: %d %v %s", what, a.status, a.header, a.body)
		}
	}
	plain("all scopes", "X-Test-Scopes", "mcp send read")
	denied = true
	plain("a deny rule", scopes...)
	denied = false
	o.rule = func(*policy.Request) policy.Decision {
		d := allowed(`{"type":"step_up","scopes":["ungrantable"]}`)
		d.Allow = false
		return d
	}
	plain("a scope that nobody grants", scopes...)
	if rec := r.lastDecision(); rec.Reason != "step_up" {
		t.Errorf("recorded %+v", rec)
	}
	// An allowing rule that obliges to scopes is no permission without them.
	o.rule = func(*policy.Request) policy.Decision { return allowed(`{"type":"step_up","scopes":["send"]}`) }
	if a := r.modern("/mcp", "tools/call", `"name":"up__echo"`, scopes...); a.status != http.StatusForbidden {
		t.Error(a.body)
	}
	if a := r.modern("/mcp", "tools/call", `"name":"up__echo"`, "X-Test-Scopes", "send"); a.status != http.StatusOK || strings.Contains(a.body, "error") {
		t.Error(a.body)
	}
}

func TestInABatchTheScopesStandInTheError(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	o := always(`{"type":"step_up","scopes":["send"]}`)
	r := obliged(t, o, u, func(_ *rig, c *Config) {
		c.Verifier = scoped{}
		c.StepUp = func(*http.Request, []string, []string) string { return "Bearer" }
	})
	s := append(r.sessionOfVersion(wire.Version20250326), "X-Test-Scopes", "mcp")
	a := r.post("/mcp", `[`+toolCall("1", "up__echo")+`,{"jsonrpc":"2.0","id":2,"method":"ping"}]`, s...)
	answers := batchedAnswers(t, a.body)
	if a.status != http.StatusOK || !strings.Contains(answers["1"], `"scope":"mcp send"`) || !strings.Contains(answers["2"], `"result"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

const canarySSN = "123-45-6789"

// maskedUpstream has a tool with schemas that answers what it got, with a secret
// of its own.
func maskedUpstream(t *testing.T, era wire.Era) *upstream {
	u := newUpstream(t, era)
	u.tools = `{"name":"pay","inputSchema":{"type":"object","properties":{"ssn":{"type":"string","pattern":"^[0-9]{3}-[0-9]{2}-[0-9]{4}$"},"amount":{"type":"integer"},"level":{"enum":["low","high"]}},"required":["ssn"]},
		"outputSchema":{"type":"object","required":["card"],"properties":{"card":{"type":"string","minLength":10},"n":{"type":"number"}}}}`
	u.extra["prompts/list"] = `{"name":"p","arguments":[{"name":"who"}]}`
	u.extra["resources/list"] = `{"uri":"x://r","name":"n"}`
	u.extra["resources/read"] = `{"contents":[{"uri":"x://r","text":"card 4000-1234-5678"},{"uri":"x://r","blob":"NDAwMA=="}]}`
	u.extra["completion/complete"] = `{"completion":{"values":["4000-1234-5678","other"],"total":2}}`
	u.extra["prompts/get"] = `{"messages":[{"role":"user","content":{"type":"text","text":"card 4000-1234-5678"}}]}`
	u.extra["tools/call"] = `{"content":[{"type":"text","text":"{\"card\": \"4000-1234-5678\", \"n\": 1.50}"},{"type":"text","text":"Your card 4000-1234-5678 and 123-45-6789 is fine"}], "structuredContent": { "card" : "4000-1234-5678", "n" :1.50 } , "x-own": 1e2}`
	return u
}

var masking = always(
	`{"type":"mask","paths":["/arguments/ssn","/arguments/level","/arguments/none"]}`,
	`{"type":"mask","paths":["/result/structuredContent/card","/result/messages/*/content/text","/result/contents/*/text","/result/contents/*/blob","/result/completion/values/0"]}`,
)

func TestMasksHideFromUpstreamAgentAndRecord(t *testing.T) {
	for _, era := range []wire.Era{wire.Legacy, wire.Modern} {
		u := maskedUpstream(t, era)
		if era == wire.Modern {
			for key, result := range u.extra {
				if !strings.HasSuffix(key, "/list") {
					u.extra[key] = `{"resultType":"complete",` + result[1:]
				}
			}
		}
		r := obliged(t, masking, u)
		session, direct := r.legacy("/mcp"), r.legacy("/mcp/up")
		const arguments = `"arguments":{ "amount" : 9007199254740993, "ssn": "123-45-6789","level":"high" }`
		for _, a := range []answer{
			r.modern("/mcp", "tools/call", `"name":"up__pay",`+arguments), r.modern("/mcp/up", "tools/call", `"name":"pay",`+arguments),
			r.in(session, "/mcp", "tools/call", `"name":"up__pay",`+arguments), r.in(direct, "/mcp/up", "tools/call", `"name":"pay",`+arguments),
		} {
			got := a.result(t)
			for _, want := range []string{
				`"structuredContent": { "card" : "[masked]**", "n" :1.50 } , "x-own": 1e2`, `"text":"{\"card\": \"[masked]\", \"n\": 1.50}"`,
				`"text":"Your card [masked] and [masked] is fine"`,
			} {
				if !strings.Contains(got, want) {
					t.Errorf("%s: %s\nlacks %s", era, got, want)
				}
			}
		}
		hits := u.calls("tools/call")
		if len(hits) != 4 {
			t.Fatalf("%d calls", len(hits))
		}
		for _, h := range hits {
			if !strings.Contains(h.body, `"arguments":{ "amount" : 9007199254740993, "ssn": "000-00-0000","level":"low" }`) || strings.Contains(h.body, canarySSN) {
				t.Errorf("the upstream got %s", h.body)
			}
		}
		for name, a := range map[string]answer{
			"prompt":     r.modern("/mcp", "prompts/get", `"name":"up__p","arguments":{"who":"me","ssn":"123-45-6789"}`),
			"resource":   r.modern("/mcp", "resources/read", `"uri":"x://r"`),
			"completion": r.in(session, "/mcp", "completion/complete", `"ref":{"type":"ref/prompt","name":"up__p"},"argument":{"name":"a","value":"v"}`),
		} {
			if got := a.result(t); strings.Contains(got, "4000-1234") || strings.Contains(got, "NDAwMA==") || !strings.Contains(got, maskWord) {
				t.Errorf("%s, %s: %s", era, name, got)
			}
		}
		if h := u.calls("prompts/get"); len(h) != 1 || strings.Contains(h[0].body, canarySSN) || !strings.Contains(h[0].body, `"ssn":"[masked]"`) {
			t.Errorf("%+v", h)
		}
		for _, rec := range r.records() {
			line := string(rec.Line)
			if strings.Contains(line, canarySSN) || strings.Contains(line, "4000-1234") {
				t.Errorf("recorded %s", line)
			}
			if rec.Kind == "decision" && rec.Target.Name == "pay" && !strings.Contains(line, "000-00-0000") {
				t.Errorf("recorded %s", line)
			}
		}
		for _, q := range masking.asked {
			if q.Target.Name == "pay" && !strings.Contains(string(q.Arguments), canarySSN) {
				t.Error("policy did not see the clear value")
			}
		}
	}
}

func TestAMaskThatCantBeAppliedRefusesTheCallOrTheAnswer(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools = `{"name":"strict","inputSchema":{"type":"object","properties":{"v":{"type":"string","not":{"maxLength":100}}}}},
		{"name":"out","inputSchema":{"type":"object"},"outputSchema":{"type":"object","properties":{"v":{"type":"string","not":{"maxLength":100}}}}}`
	long := strings.Repeat("canary", 30)
	u.extra["tools/call"] = `{"resultType":"complete","content":[],"structuredContent":{"v":"` + long + `"}}`
	r := obliged(t, always(`{"type":"mask","paths":["/arguments/v","/result/structuredContent/v"]}`), u)
	a := r.modern("/mcp", "tools/call", `"name":"up__strict","arguments":{"v":"`+long+`"}`)
	if a.code(t) != CodeDenied || strings.Contains(a.body, "canary") || len(u.calls("tools/call")) != 0 {
		t.Error(a.body)
	}
	if rec := r.lastDecision(); rec.Reason != "mask_failed" || strings.Contains(string(rec.Line), "canary") {
		t.Errorf("recorded %s", rec.Line)
	}
	a = r.modern("/mcp", "tools/call", `"name":"up__out"`)
	if a.code(t) != CodeBadAnswer || strings.Contains(a.body, "canary") || len(u.calls("tools/call")) != 1 {
		t.Error(a.body)
	}
	until(t, "the outcome is recorded", func() bool {
		all := r.records()
		rec := all[len(all)-1]
		return rec.Kind == "outcome" && rec.Reason == "mask_failed"
	})
	// Over limits.arguments there is nothing that could be masked.
	u2 := newUpstream(t, wire.Modern)
	r = obliged(t, always(`{"type":"mask","paths":["/arguments/text"]}`), u2, func(_ *rig, c *Config) { c.Limits.Arguments = 100 })
	size := func(n int) answer {
		return r.modern("/mcp", "tools/call", `"name":"up__echo","arguments":{"text":"`+strings.Repeat("x", n-len(`{"text":""}`))+`"}`)
	}
	if a := size(100); strings.Contains(a.body, "error") {
		t.Error("at the limit:", a.body)
	}
	if a := size(101); a.code(t) != CodeDenied || len(u2.calls("tools/call")) != 1 {
		t.Error("over the limit:", a.body)
	}
}

func TestADeniedCallIsRecordedMasked(t *testing.T) {
	for name, rule := range map[string]func(*policy.Request) policy.Decision{
		"denied": func(*policy.Request) policy.Decision {
			d := allowed(`{"type":"mask","paths":["/arguments/ssn"]}`)
			d.Allow = false
			return d
		},
		"failed":  func(*policy.Request) policy.Decision { return policy.Decision{Revision: "fail"} },
		"unknown": func(*policy.Request) policy.Decision { return allowed(`{"type":"hide"}`) },
	} {
		u := maskedUpstream(t, wire.Modern)
		r := obliged(t, &obliging{rule: rule}, u)
		for _, tool := range []string{"up__pay", "up__nosuch"} {
			r.modern("/mcp", "tools/call", `"name":"`+tool+`","arguments":{"ssn":"123-45-6789"}`)
			if line := string(r.lastDecision().Line); strings.Contains(line, canarySSN) || !strings.Contains(line, `"ssn":"`) {
				t.Errorf("%s, %s: recorded %s", name, tool, line)
			}
		}
	}
}

func TestUnderAMaskAnUpstreamsWordsAreHiddenToo(t *testing.T) {
	for _, era := range []wire.Era{wire.Legacy, wire.Modern} {
		u := maskedUpstream(t, era)
		delete(u.extra, "tools/call")
		u.call = func(w http.ResponseWriter, _ *http.Request, m *wire.Message) string {
			emit(w, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"4000-1234-5678"}}`,
				`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+string(m.ProgressToken())+`,"progress":1,"message":"4000-1234-5678"}}`,
				`{"jsonrpc":"2.0","id":`+string(m.ID)+`,"error":{"code":-31999,"message":"no 123-45-6789","data":{"card":"4000-1234-5678"}}}`)
			return ""
		}
		r := obliged(t, masking, u)
		for _, k := range []*talker{r.talk(wire.Modern, "", "{}"), r.talk(wire.Legacy, "2025-11-25", "{}")} {
			k.meta = `"progressToken":"p"`
			if k.era == wire.Modern {
				k.meta += `,"io.modelcontextprotocol/logLevel":"debug"`
			}
			m := k.call("tools/call", `"name":"up__pay","arguments":{"ssn":"123-45-6789"}`)
			if m.Error == nil || m.Error.Code != -31999 || m.Error.Message != "no [masked]" || m.Error.Data != nil {
				t.Errorf("%s to %s: %s", era, k.era, said(m))
			}
			notes := strings.Join(k.notes, "\n")
			if strings.Contains(notes, "4000") || !strings.Contains(notes, `"progress":1`) {
				t.Errorf("%s to %s: %s", era, k.era, notes)
			}
		}
	}
}

// A task's result is masked as its call was, also where the arguments on which
// that depended are too large for the handle.
func TestATasksResultIsMasked(t *testing.T) {
	const result = `{"content":[{"type":"text","text":"card 4000-1234-5678"}],"structuredContent":{"card":"4000-1234-5678"}}`
	o := &obliging{rule: func(r *policy.Request) policy.Decision {
		if strings.Contains(string(r.Arguments), "private") {
			return allowed(`{"type":"rate","class":"c"}`, `{"type":"mask","paths":["/arguments/private","/result/structuredContent/card"]}`)
		}
		return allowed()
	}}
	for _, era := range []wire.Era{wire.Legacy, wire.Modern} {
		for _, agent := range []wire.Era{wire.Legacy, wire.Modern} {
			for _, size := range []int{10, 2 * taskArguments} {
				u := newTasker(t, era, "optional")
				r := obliged(t, o, u.upstream, func(_ *rig, c *Config) { declare(c, Rate{Name: "c", Limit: 1, Per: time.Hour}) })
				k := r.talk(agent, "2025-11-25", taskCaps)
				task := k.made(t, "up__job", `,"arguments":{"private":"`+strings.Repeat("p", size)+`"}`)
				u.done(1, result)
				method := "tasks/get"
				if agent == wire.Legacy {
					method = "tasks/result"
				}
				for range 2 { // a poll spends nothing
					m := k.about(method, task.TaskID, "")
					if m.Error != nil || strings.Contains(said(m), "4000-1234") || !strings.Contains(said(m), `"card":"[masked]"`) {
						t.Errorf("%s to %s, %d bytes: %s", era, agent, size, said(m))
					}
				}
				for _, rec := range r.records() {
					if strings.Contains(string(rec.Line), "ppp") {
						t.Errorf("recorded %s", rec.Line)
					}
				}
			}
		}
	}
	// An agent that knows no tasks gets the result as its call's answer.
	u := newTasker(t, wire.Modern, "required")
	r := obliged(t, o, u.upstream, func(_ *rig, c *Config) { declare(c, Rate{Name: "c", Limit: 1, Per: time.Hour}) })
	soon(t, func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		s := u.tasks["own-1"]
		if s != nil {
			s.status, s.result = "completed", result
		}
		return s != nil
	})
	m := r.talk(wire.Modern, "", "{}").call("tools/call", `"name":"up__job","arguments":{"private":1}`)
	if m.Error != nil || strings.Contains(said(m), "4000-1234") {
		t.Error(said(m))
	}
}

// Security catalogue A-102: schema first, policy second.
func TestArgumentsThatDontFitTheSchemaAreDeniedWhereRulesReadThem(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools = `{"name":"write","inputSchema":{"type":"object","properties":{"path":{"type":"string"},"n":{"type":"integer"}},"required":["path"]}},
		{"name":"remote","inputSchema":{"$ref":"https://canary.invalid/s"}}`
	u.extra["prompts/list"] = `{"name":"p"}`
	o := always()
	o.reads = "arguments"
	r := obliged(t, o, u)
	decided := func() int { o.mu.Lock(); defer o.mu.Unlock(); return len(o.asked) }
	for arguments, want := range map[string]string{
		`{"path":["/etc/canary"]}`:            "/path: want string, got array",
		`{"path":{"toString":"/etc/canary"}}`: "/path: want string, got object",
		`{"path":null}`:                       "/path: want string, got null",
		`{"path":7}`:                          "/path: want string, got number",
		`{"n":1}`:                             "/: missing path",
		`{"path":"/srv","n":"1"}`:             "/n: want integer, got string",
		`null`:                                "/: missing path",
	} {
		before := decided()
		a := r.modern("/mcp", "tools/call", `"name":"up__write","arguments":`+arguments)
		if a.status != http.StatusOK || a.code(t) != codeInvalidParams || !strings.Contains(a.body, want) || strings.Contains(a.body, "canary") {
			t.Errorf("%s: %d %s", arguments, a.status, a.body)
		}
		if decided() != before {
			t.Errorf("%s: policy was asked about what it can't be asked about", arguments)
		}
		if rec := r.lastDecision(); rec.Outcome != "denied" || rec.Reason != "schema" || rec.Decision.Allow || strings.Contains(string(rec.Line), "/etc/canary") {
			t.Errorf("%s: recorded %s", arguments, rec.Line)
		}
	}
	// JSON in a string is a string: what it means, rules decide.
	for _, arguments := range []string{`{"path":"{\"path\":\"/etc\"}"}`, `{"path":"//etc"}`, `{"path":"/etc","unknown":[1]}`} {
		if a := r.modern("/mcp", "tools/call", `"name":"up__write","arguments":`+arguments); strings.Contains(a.body, `"error"`) {
			t.Errorf("%s: %s", arguments, a.body)
		}
	}
	a := r.modern("/mcp", "tools/call", `"name":"up__remote","arguments":{}`)
	if a.code(t) != CodeDenied || r.lastDecision().Reason != "schema_unusable" {
		t.Error(a.body)
	}
	if a := r.modern("/mcp", "prompts/get", `"name":"up__p","arguments":{"a":["x"]}`); a.code(t) != codeInvalidParams || !strings.Contains(a.body, "/a: want string") {
		t.Error(a.body)
	}
	if a := r.modern("/mcp", "tools/call", `"name":"up__nosuch","arguments":{"path":7}`); !strings.Contains(a.body, "Unknown tool") {
		t.Error(a.body)
	}
	if n := len(u.calls("tools/call")); n != 3 {
		t.Errorf("%d calls reached the upstream", n)
	}
	// Where no rule reads arguments, they are the upstream's to check.
	o.reads = ""
	if a := r.modern("/mcp", "tools/call", `"name":"up__write","arguments":{"path":7}`); strings.Contains(a.body, `"error"`) {
		t.Error(a.body)
	}
}

// Beside the task, an upstream could say what its result will.
func TestNothingOfAResultStandsBesideATask(t *testing.T) {
	o := always(`{"type":"mask","paths":["/result/structuredContent/card"]}`)
	const beside = `"content":[{"type":"text","text":"4000-1234-5678"}],"structuredContent":{"card":"4000-1234-5678"},"statusMessage":"4000-1234-5678",`
	for _, era := range []wire.Era{wire.Legacy, wire.Modern} {
		for _, agent := range []wire.Era{wire.Legacy, wire.Modern} {
			u := newTasker(t, era, "optional")
			u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
				return strings.Replace(u.answer(w, r, m), "{", "{"+beside, 1)
			}
			r := obliged(t, o, u.upstream)
			k := r.talk(agent, "2025-11-25", taskCaps)
			more := ""
			if agent == wire.Legacy {
				more = `,"task":{"ttl":60000}`
			}
			made := k.call("tools/call", `"name":"up__job"`+more)
			state := k.about("tasks/get", readTask(t, made).TaskID, "")
			for _, m := range []*wire.Message{made, state} {
				if strings.Contains(said(m), "4000") || !strings.Contains(said(m), `"status":"working"`) {
					t.Errorf("%s to %s: %s", era, agent, said(m))
				}
			}
		}
	}
}

// A result that the gateway keeps is shown as rules want it when it is shown.
func TestAKeptResultIsMaskedAsRulesAreNow(t *testing.T) {
	var hides atomic.Bool
	o := &obliging{rule: func(*policy.Request) policy.Decision {
		if hides.Load() {
			return allowed(`{"type":"mask","paths":["/result/content/*/text"]}`)
		}
		return allowed()
	}}
	u := newTasker(t, wire.Modern, "optional")
	r := obliged(t, o, u.upstream)
	k := r.talk(wire.Legacy, "2025-11-25", taskCaps)
	task := k.made(t, "up__plain", "")
	for range 2 {
		m := k.about("tasks/result", task.TaskID, "")
		if clear := strings.Contains(said(m), "at once"); clear == hides.Load() || m.Error != nil {
			t.Errorf("hidden %v: %s", hides.Load(), said(m))
		}
		hides.Store(true)
	}
}

// The answers to what a call asked are no second call, and can always be given.
func TestTheAnswerThatACallWaitsForSpendsNothing(t *testing.T) {
	once := func(_ *rig, c *Config) { declare(c, Rate{Name: "c", Limit: 1, Per: time.Hour}) }
	o := always(`{"type":"rate","class":"c"}`)
	u := newUpstream(t, wire.Legacy)
	u.asks(t, formAsk("a"))
	r := obliged(t, o, u, once)
	k := r.talk(wire.Modern, "", everyCapability)
	const call = `"name":"up__echo"`
	retry := k.parked(t, call)
	spent := func() int { return r.g.rates.classes["c"].uses }
	send := func(params string) *wire.Message {
		m, err := k.once(t.Context(), "tools/call", params)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := send(call + retry); m.Error != nil || spent() != 1 {
		t.Errorf("%s, %d spent", said(m), spent())
	}
	// A second time it is none.
	if m := send(call + retry); m.Error == nil || !strings.Contains(said(m), "too many") {
		t.Error(said(m))
	}
	// A modern upstream's state can be sent for ever, and is a call each time.
	u = newUpstream(t, wire.Modern)
	u.asks(t, formAsk("a"))
	r = obliged(t, o, u, once)
	k = r.talk(wire.Modern, "", everyCapability)
	if m := send(call + k.parked(t, call)); m.Error == nil || !strings.Contains(said(m), "too many") || len(u.calls("tools/call")) != 1 {
		t.Error(said(m))
	}
}

// What rules are told of a completion is the text that MCP has there.
func TestACompletionsArgumentIsCheckedWhereRulesReadIt(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.extra["prompts/list"] = `{"name":"p"}`
	u.extra["completion/complete"] = `{"resultType":"complete","completion":{"values":[]}}`
	o := always()
	o.reads = "arguments"
	r := obliged(t, o, u)
	for argument, want := range map[string]string{
		`{"name":"a","value":["x"]}`: "/value: want string", `{"name":1,"value":"x"}`: "/name: want string", `"x"`: "/: want object", `["x"]`: "/: want object",
	} {
		a := r.modern("/mcp", "completion/complete", `"ref":{"type":"ref/prompt","name":"up__p"},"argument":`+argument)
		if a.code(t) != codeInvalidParams || !strings.Contains(a.body, want) || len(o.asked) != 0 {
			t.Errorf("%s: %s", argument, a.body)
		}
	}
	if a := r.modern("/mcp", "completion/complete", `"ref":{"type":"ref/prompt","name":"up__p"},"argument":{"name":"a","value":"x"}`); strings.Contains(a.body, `"error"`) {
		t.Error(a.body)
	}
}

// A question that a rule would hide something of is not put at all.
func TestAQuestionIsNotMasked(t *testing.T) {
	o := always(`{"type":"mask","paths":["/arguments/message"]}`)
	u := newTasker(t, wire.Modern, "required")
	r := obliged(t, o, u.upstream)
	k := r.talk(wire.Modern, "", taskCaps)
	task := k.made(t, "up__job", "")
	u.with(1, func(s *scripted) { s.status, s.question = "input_required", "q1" })
	m := k.about("tasks/get", task.TaskID, "")
	if m.Error == nil || m.Error.Code != CodeDenied || strings.Contains(said(m), "sure?") {
		t.Error(said(m))
	}
	if rec := r.records(); !strings.Contains(string(r.lastDecision().Line), "mask_failed") {
		t.Errorf("%d records", len(rec))
	}
}

// BenchmarkCallObligations is the judging of one call, without obligations and
// with some.
func BenchmarkCallObligations(b *testing.B) {
	for name, obligations := range map[string][]string{
		"none": nil, "rate": {`{"type":"rate","class":"c"}`}, "mask": {`{"type":"mask","paths":["/arguments/text"]}`},
	} {
		b.Run(name, func(b *testing.B) {
			u := newUpstream(b, wire.Modern)
			o := always(obligations...)
			o.rule = func(d policy.Decision) func(*policy.Request) policy.Decision {
				return func(*policy.Request) policy.Decision { return d }
			}(allowed(obligations...))
			r := newRig(b, map[string]*upstream{"up": u}, func(_ *rig, c *Config) {
				c.Decider, c.Audit = judgeOnly{o}, nowhere{}
				declare(c, Rate{Name: "c", Limit: MaxRateLimit, Per: MinRatePer})
			})
			item, _ := r.fed.Snapshot().Find("up", 0, "echo")
			p, _ := testVerifier{}.Verify(b.Context(), &http.Request{Header: http.Header{}})
			m, err := wire.Parse([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}`), wire.DefaultLimits)
			if err != nil {
				b.Fatal(err)
			}
			x := &exchange{g: r.g, p: p, m: m, snap: r.fed.Snapshot(), era: wire.Modern, start: time.Now()}
			b.ReportAllocs()
			for b.Loop() {
				t := &target{method: "tools/call", kind: "tool", exposed: "echo", known: true, item: item, upstream: item.Upstream, arguments: []byte(`{"text":"hello"}`)}
				x.judge(b.Context(), t)
			}
		})
	}
}

// judgeOnly decides without keeping what was asked.
type judgeOnly struct{ *obliging }

func (j judgeOnly) Decide(_ context.Context, r *policy.Request) (policy.Decision, error) {
	return j.rule(r), nil
}

// nowhere is a log that keeps nothing.
type nowhere struct{}

func (nowhere) Append(context.Context, *audit.Record) error { return nil }
func (nowhere) Note(*audit.Record)                          {}
func (nowhere) Err() error                                  { return nil }
