package rego

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/ostiary/ostiary/policy"
)

// visible asks for one target of r.
func visible(t *testing.T, e *Engine, r *policy.Request) bool {
	t.Helper()
	shown, err := e.Visible(t.Context(), r, []string{r.Upstream}, []policy.Target{r.Target})
	if err != nil {
		t.Fatal(err)
	}
	return shown[0]
}

func TestAListLeavesOutWhatCanNeverBeCalled(t *testing.T) {
	tests := []struct {
		name, rules string
		want        bool
	}{
		{"nothing allows", ``, false},
		{"allowed by group", `allow if "engineering" in input.user.groups`, true},
		{"another group", `allow if "finance" in input.user.groups`, false},
		{"allowed for some arguments", `allow if input.arguments.x == 1`, true},
		{"arguments of another user", `allow if { input.arguments.x == 1; input.user.name == "bob" }`, false},
		{"denied for some arguments", `allow if true
deny contains "x" if input.arguments.x == 1`, true},
		{"no deny rule at all", `allow if input.arguments.x == 1`, true},
		{"denied whatever the arguments", `allow if input.arguments.x == 1
deny contains "not alice" if input.user.name == "alice"`, false},
		{"a certain deny beside one that reads arguments", `allow if true
deny contains "not alice" if input.user.name == "alice"
deny contains "x" if input.arguments.x == 1`, false},
		{"a certain helper under not", `allow if { not helper; input.arguments.x == 1 }
helper if input.user.name == "alice"
helper if input.arguments.y == 1`, false},
		{"a helper that can't hold under not", `allow if { not helper; input.arguments.x == 1 }
helper if { input.user.name == "bob"; input.arguments.y == 1 }`, true},
		{"a certain helper in a support module", `allow if { not helper; input.arguments.x == 1 }
default helper := false
helper if input.user.name == "alice"`, false},
		{"helper is false for certain", `allow if { helper == true; input.arguments.x == 1 }
default helper := false
helper if { input.user.name == "bob"; input.arguments.y == 1 }`, false},
		{"helper is not false for certain", `allow if { helper == false; input.arguments.x == 1 }
default helper := false
helper if input.user.name == "alice"`, false},
		{"contradicting arguments may stay", `allow if { input.arguments.x == 1; input.arguments.x == 2 }`, true},
		{"source is unknown", `allow if net.cidr_contains("10.0.0.0/8", input.source.ip)`, true},
		{"counters are unknown", `allow if input.counters.calls < 3`, true},
		{"responses are unknown", `allow if input.responses.ok`, true},
		{"time is known", `allow if { input.time.hour >= 20; input.arguments.x == 1 }`, false},
		{"arguments that must be absent", `allow if not input.arguments.x`, true},
		{"all arguments", `allow if every v in input.arguments.list { v > 1 }`, true},
		{"a default where arguments miss", `allow if object.get(input.arguments, "x", 2) == 1`, true},
		{"the whole input", `allow if object.get(input, ["arguments", "x"], 2) == 1`, true},
		{"an alias of the input", `allow if { all := input; all.arguments.x == 1 }`, true},
		{"step-up targets are listed", `obligations contains {"type": "step_up", "scopes": ["write"]} if input.upstream == "github"`, true},
		{"step-up for some arguments", `obligations contains {"type": "step_up", "scopes": ["write"]} if input.arguments.x == 1`, true},
		{"other obligations are not", `obligations contains {"type": "rate", "class": "heavy"}`, false},
		{"denied step-up", `obligations contains {"type": "step_up", "scopes": ["write"]}
deny contains "never"`, false},
		{"rules that fail", `allow if { to_number(input.user.name) == 1 }
deny contains "x" if input.target.name == "none"`, false},
		{"rules that fail on one way of two", `allow if { input.arguments.x == 1; to_number(input.user.name) == 1 }
allow if input.arguments.x == 2`, true},
		{"rules that fail on the only way", `allow if { to_number(input.user.name) == 1; input.arguments.x == 1 }`, false},
		{"listing is said", `allow if input.listing`, true},
		{"a rule that would hide from lists alone", `allow if true
deny contains "x" if input.listing`, true},
		{"a rule that allows calls alone", `allow if not input.listing`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := engineOf(t, tt.rules)
			if got := visible(t, e, request()); got != tt.want {
				t.Errorf("listed: %v, want %v", got, tt.want)
			}
			if got := visible(t, e, request()); got != tt.want {
				t.Errorf("listed from memory: %v, want %v", got, tt.want)
			}
		})
	}
}

// engineOf loads rules that may not pass a canary: what lists do with failing
// rules needs engines whose rules fail.
func engineOf(t *testing.T, rules string) *Engine {
	t.Helper()
	s, ps := readSources(directory(t, "policy.rego", "package ostiary\n\ndefault allow := false\n\n"+rules))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	e, _, ps := assemble(s, patient())
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	return e
}

func TestEraIsUnknownInAListForBoth(t *testing.T) {
	e := engine(t, `allow if input.request.era == "legacy"`, patient())
	r := request()
	for era, want := range map[string]bool{"": true, "legacy": true, "modern": false} {
		r.Request.Era = era
		if got := visible(t, e, r); got != want {
			t.Errorf("era %q: listed %v, want %v", era, got, want)
		}
	}
}

func TestEachTargetGetsItsOwnAnswer(t *testing.T) {
	for _, extra := range []string{"", "allow if input.arguments.never == input.target.name\ndeny contains \"n\" if not \"write\" in input.target.labels"} {
		e := engine(t, `allow if "write" in input.target.labels`+"\n"+extra, patient())
		upstreams, targets := catalog(50)
		shown, err := e.Visible(t.Context(), request(), upstreams, targets)
		if err != nil {
			t.Fatal(err)
		}
		for i, target := range targets {
			if want := slices.Contains(target.Labels, "write"); shown[i] != want {
				t.Errorf("%s with labels %v: listed %v", target.Name, target.Labels, shown[i])
			}
		}
	}
}

// tally is what generated policies came to.
type tally struct{ calls, allowed, asked, hidden, listed, skipped int }

// callableIsListed holds a generated policy against the promise: what is
// allowed was listed, and so was what asks for more scopes.
func callableIsListed(t *testing.T, seed uint64, n *tally) {
	g := newGenerator(seed)
	text := g.policy()
	e := generated(t, text)
	if e == nil {
		return
	}
	for range 4 {
		r := g.caller()
		upstream, target := g.target()
		list := r
		list.Request.Era = ""
		shown, err := e.Visible(t.Context(), &list, []string{upstream}, []policy.Target{target})
		if err != nil {
			t.Fatal(err)
		}
		if !shown[0] {
			n.hidden++
		}
		for range 8 {
			call := r
			call.Upstream, call.Target = upstream, target
			g.open(&call)
			d, err := e.Decide(t.Context(), &call)
			n.calls++
			switch {
			case err != nil:
				continue
			case d.Allow:
				n.allowed++
			case stepsUp(t, e, &call, d):
				n.asked++
			default:
				continue
			}
			if !shown[0] {
				doc, _ := json.Marshal(call)
				t.Fatalf("seed %d: %+v, but not listed\n%s\n%s", seed, d, text, doc)
			}
		}
	}
}

// stepsUp tells whether more scopes would get the call through: nothing denies
// it, and the rules ask for some.
func stepsUp(t *testing.T, e *Engine, r *policy.Request, d policy.Decision) bool {
	if !slices.ContainsFunc(d.Obligations, func(o json.RawMessage) bool {
		return strings.Contains(string(o), `"type":"step_up"`)
	}) {
		return false
	}
	doc, err := document(e.leaves, r)
	if err != nil {
		t.Fatal(err)
	}
	v, err := e.eval(t.Context(), e.answer, doc, topdown.NewCancel())
	if err != nil {
		t.Fatal(err)
	}
	denials, err := texts(v.(ast.Object), "deny")
	return err == nil && len(denials) == 0
}

// TestCallableIsListed is the promise over generated policies, callers,
// targets and calls.
// Security catalogue A-098.
func TestCallableIsListed(t *testing.T) {
	var n tally
	for seed := range uint64(120) {
		callableIsListed(t, seed, &n)
	}
	if n.allowed < n.calls/20 || n.hidden < 25 || n.asked < 10 {
		t.Errorf("%+v: the generator shows too little", n)
	}
}

func FuzzCallableIsListed(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { callableIsListed(t, seed, new(tally)) })
}

// listedIsCallable is the converse, for policies whose conditions on unknown
// values can be met all at once or not at all.
func listedIsCallable(t *testing.T, seed uint64, n *tally) {
	g := newGenerator(seed)
	g.satisfiable = true
	text := g.policy()
	e := generated(t, text)
	if e == nil {
		return
	}
	if len(g.toggles) > mostToggles {
		n.skipped++
		return
	}
	for range 4 {
		r := g.caller()
		r.Upstream, r.Target = g.target()
		if !visible(t, e, &r) {
			n.hidden++
			continue
		}
		n.listed++
		if !callable(t, e, &r, g.toggles) {
			t.Fatalf("seed %d: listed, but no arguments get through\n%s\n%+v", seed, text, r)
		}
	}
}

// Security catalogue A-098.
func TestListedIsCallable(t *testing.T) {
	var n tally
	for seed := range uint64(60) {
		listedIsCallable(t, seed, &n)
	}
	if n.listed < 30 || n.hidden < 30 || n.skipped > 10 {
		t.Errorf("%+v: the generator shows too little", n)
	}
}

func FuzzListedIsCallable(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { listedIsCallable(t, seed, new(tally)) })
}

// mostToggles bounds the calls that callable tries.
const mostToggles = 9

// callable tries every choice of which conditions hold.
func callable(t *testing.T, e *Engine, r *policy.Request, toggles []func(*policy.Request)) bool {
	for set := range 1 << len(toggles) {
		call := *r
		call.Arguments, call.Responses, call.Counters, call.Listing = nil, nil, map[string]int64{}, false
		for i, hold := range toggles {
			if set&(1<<i) != 0 {
				hold(&call)
			}
		}
		if d, err := e.Decide(t.Context(), &call); err == nil && d.Allow {
			return true
		}
	}
	return false
}

// generated loads a generated policy; nil where it is refused, as some are
// for a reason of their own.
func generated(t *testing.T, text string) *Engine {
	t.Helper()
	s, ps := readSources(directory(t, "policy.rego", text, "data.json", tables))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	e, _, ps := assemble(s, patient())
	if len(ps) > 0 {
		if !strings.Contains(ps.Error(), "unused") {
			t.Fatalf("%v\n%s", ps, text)
		}
		return nil
	}
	return e
}

func TestAListThatCannotBeJudgedInTimeIsAnError(t *testing.T) {
	e := engineOf(t, `allow if count([1 | some i in numbers.range(1, 3000000); i % 7 == 3; input.user.name == "mallory"]) > 0`)
	e.o.Timeout = 5 * time.Millisecond
	r := request()
	r.User.Name = "mallory"
	_, err := e.Visible(t.Context(), r, []string{"github"}, []policy.Target{r.Target})
	var f *policy.Failure
	if !errors.As(err, &f) || f.Code != policy.FailedTimeout {
		t.Errorf("got %v, want %s: a list that hides what could not be judged in time would be wrong", err, policy.FailedTimeout)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Visible(ctx, r, []string{"github"}, []policy.Target{r.Target}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}

func TestAListNeedsAnUpstreamForEachTarget(t *testing.T) {
	e := engine(t, "", patient())
	if _, err := e.Visible(t.Context(), request(), nil, []policy.Target{{}}); err == nil {
		t.Error("no error")
	}
}
