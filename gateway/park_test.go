package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

const formParams = `{"message":"sure?","requestedSchema":{"type":"object","properties":{}}}`

func formAsk(key string) inputRequest {
	return inputRequest{key, "elicitation/create", []byte(formParams)}
}

// parked makes a call of a modern agent that waits for an answer, and returns
// what a retry adds to its params.
func (k *talker) parked(t *testing.T, params string) (retry string) {
	t.Helper()
	m, err := k.once(t.Context(), "tools/call", params)
	if err != nil {
		t.Fatal(err)
	}
	if retry = k.retry(m); retry == "" {
		t.Fatalf("no input_required: %s", said(m))
	}
	return retry
}

func legacyAsking(t *testing.T, limits Limits, questions ...inputRequest) (*rig, *upstream, *talker) {
	t.Helper()
	u := newUpstream(t, wire.Legacy)
	u.tools += `,{"name":"other","inputSchema":{"type":"object"}}`
	u.asks(t, questions...)
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Limits = limits })
	return r, u, r.talk(wire.Modern, "", everyCapability)
}

func TestAParkedCallIsItsOwnRequestsAlone(t *testing.T) {
	r, u, k := legacyAsking(t, Limits{}, formAsk("a"))
	const args = `"name":"up__echo","arguments":{"text":"a"}`
	retry := k.parked(t, args)
	bob := *k
	bob.user = "bob"
	direct := *k
	direct.path = "/mcp/up"
	for name, try := range map[string]struct {
		k      *talker
		params string
	}{
		"another's":       {&bob, args + retry},
		"other arguments": {k, `"name":"up__echo","arguments":{"text":"b"}` + retry},
		"other tool":      {k, `"name":"up__other","arguments":{"text":"a"}` + retry},
		"other endpoint":  {&direct, `"name":"echo","arguments":{"text":"a"}` + retry},
		"tampered":        {k, args + strings.Replace(retry, `"requestState":"`, `"requestState":"A`, 1)},
	} {
		m, err := try.k.once(t.Context(), "tools/call", try.params)
		if err != nil || m.Error == nil || m.Error.Code != codeInvalidParams || !strings.Contains(m.Error.Message, "call again without it") {
			t.Errorf("%s: %v %s", name, err, said(m))
		}
	}
	if text := got(t, k.call("tools/call", args+retry)); !strings.Contains(text, "accept") {
		t.Error(text)
	}
	if m, _ := k.once(t.Context(), "tools/call", args+retry); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error("a handle was good after its call ended:", said(m))
	}
	if n := len(u.calls("tools/call")); n != 1 {
		t.Errorf("the upstream was called %d times", n)
	}
	retry = k.parked(t, args)
	ups := map[string]*upstream{"up": u}
	r.stop()
	r.start(ups)
	if m, _ := k.once(t.Context(), "tools/call", args+retry); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error("a handle was good after a restart:", said(m))
	}
	if n := len(u.calls("tools/call")); n != 2 {
		t.Errorf("the upstream was called %d times", n)
	}
}

func TestOneRequestAtATimeWaitsForAParkedCall(t *testing.T) {
	_, u, k := legacyAsking(t, Limits{})
	goOn := make(chan struct{})
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		reply := u.expects("7")
		emit(w, `{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":`+formParams+`}`)
		<-reply
		<-goOn
		emit(w, string(wire.AppendResult(nil, m.ID, []byte(textResult("done")))))
		return ""
	}
	const args = `"name":"up__echo"`
	retry := k.parked(t, args)
	first := make(chan *wire.Message, 1)
	again := *k
	go func() {
		m, err := k.once(t.Context(), "tools/call", args+retry)
		if err != nil {
			t.Error(err)
		}
		first <- m
	}()
	until(t, "the answer reaches the upstream", func() bool { u.mu.Lock(); defer u.mu.Unlock(); return len(u.waiting) == 0 })
	if m, _ := again.once(t.Context(), "tools/call", args+retry); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error("two requests waited for one call:", said(m))
	}
	close(goOn)
	if m := <-first; got(t, m) != "done" {
		t.Error(said(m))
	}
}

func TestMissingAnswersAreAskedForAgainAndExtraOnesIgnored(t *testing.T) {
	_, u, k := legacyAsking(t, Limits{}, formAsk("a"), formAsk("b"))
	const args = `"name":"up__echo"`
	retry := k.parked(t, args)
	if len(k.asked) != 2 {
		t.Fatalf("asked %v", k.asked)
	}
	state := retry[strings.Index(retry, `,"requestState"`):]
	first, second := k.asked[0].key, k.asked[1].key
	for _, bad := range []string{`[]`, `{"` + first + `":7}`, `{"` + first + `":{"action":"perhaps"}}`, `{"` + first + `":{"action":"accept","content":[]}}`} {
		if m, _ := k.once(t.Context(), "tools/call", args+`,"inputResponses":`+bad+state); m.Error == nil || m.Error.Code != codeInvalidParams {
			t.Errorf("%s: %s", bad, said(m))
		}
	}
	k.asked = nil
	m, err := k.once(t.Context(), "tools/call", args+`,"inputResponses":{"`+first+`":{"action":"decline"},"nosuch":7}`+state)
	if err != nil {
		t.Fatal(err)
	}
	k.answer = func(string, []byte) string { return `{"action":"cancel"}` }
	retry = k.retry(m)
	if len(k.asked) != 1 || k.asked[0].key != second {
		t.Fatalf("asked again for %v, want %s", k.asked, second)
	}
	if m, _ := k.once(t.Context(), "tools/call", args+`,"inputResponses":{}`+state); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error("the handle of an earlier round was good:", said(m))
	}
	if text := got(t, k.call("tools/call", args+retry)); text != `{"action":"decline"} {"action":"cancel"}` && text != `{"action":"cancel"} {"action":"decline"}` {
		t.Error(text)
	}
	if n := len(u.calls("tools/call")); n != 1 {
		t.Errorf("the upstream was called %d times", n)
	}
}

func TestAParkedCallThatNobodyComesBackForIsCancelled(t *testing.T) {
	r, u, k := legacyAsking(t, Limits{Parked: 50 * time.Millisecond}, formAsk("a"))
	retry := k.parked(t, `"name":"up__echo"`)
	until(t, "the upstream is told", func() bool { return len(u.calls("notifications/cancelled")) == 1 })
	if m, _ := k.once(t.Context(), "tools/call", `"name":"up__echo"`+retry); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error(said(m))
	}
	if n := len(u.calls("tools/call")); n != 1 {
		t.Errorf("the upstream was called %d times", n)
	}
	r.stop()
	var asked, outcome *audit.Record
	for _, rec := range r.records() {
		if rec.Kind == "decision" && rec.Request.Method == "elicitation/create" {
			asked = rec
		} else if asked != nil && rec.Kind == "outcome" && rec.DecisionID == asked.DecisionID {
			outcome = rec
		}
	}
	if asked == nil || outcome == nil || outcome.Reason != "not_answered" {
		t.Errorf("question %+v, outcome %+v", asked, outcome)
	}
}

func TestTheTimeOfAParkedCallIsExact(t *testing.T) {
	for _, c := range []struct {
		name  string
		after time.Duration
		alive bool
	}{{"just below", 5*time.Minute - time.Nanosecond, true}, {"at it", 5 * time.Minute, false}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &Gateway{Config: Config{Limits: Limits{}.withDefaults()}}
				p := newParks(t.Context(), g)
				asked := make(chan error, 1)
				call := p.start(t.Context(), &identity.Principal{Subject: "alice"}, &seat{}, func(ctx context.Context, c *parkedCall) (*federation.Answer, error) {
					_, _, err := c.ask(ctx, "roots/list", nil)
					asked <- err
					return nil, err
				})
				<-call.asked
				requests, round := call.park()
				if string(requests) != `{"q1":{"method":"roots/list"}}` || round != 1 {
					t.Fatalf("parked with %s in round %d", requests, round)
				}
				time.Sleep(c.after)
				synctest.Wait()
				f := call.resume(&seat{}, round, []byte(`{"q1":{"roots":[]}}`))
				if alive := f == nil; alive != c.alive {
					t.Errorf("retry: %v", f)
				}
				if err := <-asked; errors.Is(err, errNoAnswer) == c.alive {
					t.Errorf("the question ended with %v", err)
				}
				call.end(nil)
				if p.running.Wait(); len(p.calls) != 0 || len(p.held.n) != 0 {
					t.Errorf("left behind: %v %v", p.calls, p.held.n)
				}
			})
		})
	}
}

func TestParkedCallsOfOnePrincipalAreBounded(t *testing.T) {
	_, u, k := legacyAsking(t, Limits{ParkedCalls: 1}, formAsk("a"))
	const args = `"name":"up__echo"`
	retry := k.parked(t, args)
	m, err := k.once(t.Context(), "tools/call", args)
	if err != nil || !strings.Contains(got(t, m), "limits.parkedCalls") {
		t.Errorf("over the limit the question is refused and the call goes on: %v %s", err, said(m))
	}
	bob := *k
	bob.user = "bob"
	if text := got(t, bob.call("tools/call", args)); !strings.Contains(text, "accept") {
		t.Error("another's calls are counted:", text)
	}
	k.call("tools/call", args+retry)
	if text := got(t, k.call("tools/call", args)); !strings.Contains(text, "accept") {
		t.Error("the place was not given back:", text)
	}
	if n := len(u.calls("tools/call")); n != 4 {
		t.Errorf("%d calls", n)
	}
}

func TestCloseCancelsParkedCalls(t *testing.T) {
	r, u, k := legacyAsking(t, Limits{}, formAsk("a"))
	k.parked(t, `"name":"up__echo"`)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := r.g.Close(ctx); err != nil {
		t.Error(err)
	}
	until(t, "the upstream is told", func() bool { return len(u.calls("notifications/cancelled")) == 1 })
	if n := len(r.g.parks.calls); n != 0 {
		t.Errorf("%d calls are left", n)
	}
}

// A modern agent cancels by hanging up, but one that was told to come back
// hangs up in good order.
func TestHangingUpWhileConnectedCancelsAParkedCall(t *testing.T) {
	_, u, k := legacyAsking(t, Limits{})
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		reply := u.expects("7")
		emit(w, `{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":`+formParams+`}`)
		<-reply
		<-r.Context().Done()
		return ""
	}
	const args = `"name":"up__echo"`
	retry := k.parked(t, args)
	if n := len(u.calls("notifications/cancelled")); n != 0 {
		t.Fatal("a parked call was cancelled")
	}
	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan struct{})
	again := *k
	go func() { defer close(ended); again.once(ctx, "tools/call", args+retry) }()
	until(t, "the answer reaches the upstream", func() bool { u.mu.Lock(); defer u.mu.Unlock(); return len(u.waiting) == 0 })
	hangUp()
	<-ended
	until(t, "the upstream is told", func() bool { return len(u.calls("notifications/cancelled")) == 1 })
	if m, _ := k.once(t.Context(), "tools/call", args+retry); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error(said(m))
	}
}

func TestWhatComesWhileARetryWaitsHasTheRetrysTokenAndLevel(t *testing.T) {
	_, u, k := legacyAsking(t, Limits{})
	u.extra["logging/setLevel"] = `{}`
	parked := make(chan struct{})
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		token, _ := m.Meta.Get("progressToken")
		say := func(progress string) {
			emit(w, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+string(token)+`,"progress":`+progress+`}}`,
				`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":`+progress+`}}`,
				`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":`+progress+`}}`)
		}
		say("1")
		reply := u.expects("7")
		emit(w, `{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":`+formParams+`}`)
		<-parked
		say("5")
		<-reply
		say("3") // behind what was dropped
		say("6.5")
		emit(w, string(wire.AppendResult(nil, m.ID, []byte(textResult("done")))))
		return ""
	}
	k.meta = `"progressToken":"one","io.modelcontextprotocol/logLevel":"debug"`
	retry := k.parked(t, `"name":"up__echo"`)
	if want := 3; len(k.notes) != want || !strings.Contains(k.notes[0], `"one"`) {
		t.Errorf("before: %q", k.notes)
	}
	k.notes = nil
	close(parked)
	time.Sleep(10 * time.Millisecond) // for what is to be dropped; it is harmless if it comes later
	k.meta = `"progressToken":2,"io.modelcontextprotocol/logLevel":"error"`
	k.call("tools/call", `"name":"up__echo"`+retry)
	var progress []string
	for _, n := range k.notes {
		m, _ := wire.ParseAnswer([]byte(n), wire.DefaultLimits, false)
		if m.Method == "notifications/progress" {
			token, _ := m.Params.Get("progressToken")
			v, _ := m.Params.Get("progress")
			progress = append(progress, string(token)+":"+string(v))
		} else if strings.Contains(n, `"info"`) {
			t.Error("more than the retry's level:", n)
		}
	}
	if s := strings.Join(progress, " "); s != "2:6.5" && s != "2:5 2:6.5" {
		t.Error("progress:", s)
	}
}

// judging denies what its function says, and remembers what it was asked.
type judging struct {
	policy.AllowAll
	deny func(r *policy.Request) bool
	mu   sync.Mutex
	seen []string
}

func (j *judging) Decide(_ context.Context, r *policy.Request) (policy.Decision, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = append(j.seen, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Request.Method, r.Target.Name, r.Responses)))
	if j.deny != nil && j.deny(r) {
		return policy.Decision{Reasons: []string{"not this"}}, nil
	}
	return policy.Decision{Allow: true}, nil
}

// Promise 2: each question and each answer is judged and recorded.
func TestQuestionsAndAnswersAreJudgedAndRecorded(t *testing.T) {
	for _, c := range combinations {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, c.ups)
			u.asks(t, formAsk("a"))
			j := &judging{}
			r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, cfg *Config) { cfg.Decider = j })
			k := r.talk(c.agent, "2025-11-25", everyCapability)
			k.answer = func(string, []byte) string { return `{"action":"accept","content":{"n":1.50}}` }
			k.call("tools/call", `"name":"up__echo"`)
			want := map[string][]string{
				"MM": {"tools/call echo", "elicitation/create echo", `tools/call echo {"a":{"action":"accept","content":{"n":1.50}}}`},
				"ML": {"tools/call echo", "elicitation/create echo", `tools/call echo {"q1":{"action":"accept","content":{"n":1.50}}}`},
				"LM": {"tools/call echo", "elicitation/create echo", `elicitation/create echo {"answer":{"action":"accept","content":{"n":1.50}}}`},
			}
			want["LL"] = want["LM"]
			if got, want := strings.Join(j.seen, "\n"), strings.Join(want[c.name], "\n"); got != want {
				t.Errorf("judged\n%s\nwant\n%s", got, want)
			}
			r.stop()
			ended := map[string]int{}
			decisions := 0
			for _, rec := range r.records() {
				switch {
				case rec.Kind == "decision" && rec.Upstream == "up":
					decisions++
				case rec.Kind == "outcome":
					ended[rec.DecisionID]++
				}
			}
			if decisions != len(j.seen) || len(ended) != len(j.seen) {
				t.Errorf("%d decisions, %d outcomes, %d judged", decisions, len(ended), len(j.seen))
			}
		})
	}
}

func TestADeniedQuestionOrAnswerReachesNobody(t *testing.T) {
	for _, c := range combinations {
		for _, what := range []string{"question", "answer"} {
			t.Run(c.name+"/"+what, func(t *testing.T) {
				t.Parallel()
				u := newUpstream(t, c.ups)
				u.asks(t, formAsk("a"))
				j := &judging{deny: func(r *policy.Request) bool {
					return (r.Responses != nil) == (what == "answer") && (r.Responses != nil || r.Request.Method == "elicitation/create")
				}}
				r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, cfg *Config) { cfg.Decider = j })
				k := r.talk(c.agent, "2025-11-25", everyCapability)
				k.answer = func(string, []byte) string { return `{"action":"accept","content":{"secret":1}}` }
				m := k.call("tools/call", `"name":"up__echo"`)
				if text := said(m); !strings.Contains(text, "denied") {
					t.Error(text)
				}
				if asked := len(k.asked) == 1; asked != (what == "answer") {
					t.Errorf("asked %s", k.asked)
				}
				for _, h := range u.all() {
					if strings.Contains(h.body, "secret") {
						t.Error("a denied answer reached the upstream")
					}
				}
			})
		}
	}
}

// What an upstream asks that the agent did not declare, or that is unsafe to
// show, goes nowhere.
func TestQuestionsThatMayNotBeAskedAreAnsweredWithAnError(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	r := newRig(t, map[string]*upstream{"up": u})
	for _, c := range []struct{ name, caps, method, params string }{
		{"URL mode with form alone", `{"elicitation":{"form":{}}}`, "elicitation/create", `{"mode":"url","url":"https://up.example/","elicitationId":"1"}`},
		{"form with URL mode alone", `{"elicitation":{"url":{}}}`, "elicitation/create", formParams},
		{"sampling with elicitation alone", `{"elicitation":{}}`, "sampling/createMessage", `{"messages":[]}`},
		{"tools in sampling", `{"sampling":{}}`, "sampling/createMessage", `{"messages":[],"tools":[]}`},
		{"roots with nothing", `{}`, "roots/list", `{}`},
		{"an unsafe URL", everyCapability, "elicitation/create", `{"mode":"url","url":"javascript:alert(1)","elicitationId":"1"}`},
		{"an unknown request", everyCapability, "no/such", `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			u.asks(t, inputRequest{"a", c.method, []byte(c.params)})
			k := r.talk(wire.Modern, "", c.caps)
			text := got(t, k.call("tools/call", `"name":"up__echo"`))
			if !strings.HasPrefix(text, "error -326") || len(k.asked) != 0 {
				t.Errorf("the upstream got %s, the agent %s", text, k.asked)
			}
		})
	}
}

func TestQuestionsThatComeCloseTogetherGoTogether(t *testing.T) {
	for _, c := range []struct {
		name  string
		apart time.Duration
		want  string
	}{
		{"just below", gatherTime - time.Nanosecond, `"inputRequests":{"q1":{"method":"roots/list"},"q2":{"method":"roots/list"}}`},
		{"just above", gatherTime + time.Nanosecond, `"inputRequests":{"q1":{"method":"roots/list"}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newSessionGateway(t, Limits{})
				g.parks = newParks(t.Context(), g)
				x := &exchange{g: g, p: person("alice", "cli"), era: wire.Modern, m: &wire.Message{Method: "tools/call"}}
				call := g.parks.start(t.Context(), &identity.Principal{Subject: "alice"}, &seat{}, func(ctx context.Context, c2 *parkedCall) (*federation.Answer, error) {
					var asking sync.WaitGroup
					asking.Go(func() { c2.ask(ctx, "roots/list", nil) })
					time.Sleep(c.apart)
					asking.Go(func() { c2.ask(ctx, "roots/list", nil) })
					asking.Wait()
					return nil, ctx.Err()
				})
				result, f := x.await(t.Context(), nil, call, []byte("bound"))
				if f != nil || !strings.Contains(string(result), c.want) {
					t.Errorf("%s %v", result, f)
				}
				call.end(nil)
				g.parks.running.Wait()
			})
		})
	}
}
