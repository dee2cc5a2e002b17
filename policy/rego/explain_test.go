package rego

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/policy"
)

// explained writes an explanation down, a rule a line.
func explained(t *testing.T, e *Engine, r *policy.Request) string {
	t.Helper()
	x, err := e.Explain(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, rule := range x.Rules {
		fmt.Fprintf(&b, "%d %s [%s]: %s", rule.Line, rule.Rule, rule.Head, rule.Outcome)
		for _, v := range rule.Gave {
			fmt.Fprintf(&b, ", gave %s", v)
		}
		if f := rule.Failed; f != nil {
			fmt.Fprintf(&b, ", stopped at %d %s", f.Line, f.Expression)
			if f.Tries > 1 {
				fmt.Fprintf(&b, " (%d times)", f.Tries)
			}
			for _, w := range f.With {
				fmt.Fprintf(&b, ", with %s=%s", w.Path, w.Value)
			}
			if f.Error != "" {
				b.WriteString(", error")
			}
		}
		for _, v := range rule.Reads {
			fmt.Fprintf(&b, ", %s=%s", v.Path, v.Value)
		}
		b.WriteByte('\n')
	}
	if x.Failure != "" {
		b.WriteString("failure " + strings.Split(x.Failure, ":")[0] + "\n")
	}
	return b.String()
}

func TestExplainShowsEachRuleWhereItStoppedAndWhatItRead(t *testing.T) {
	for _, tt := range []struct{ name, rules, want string }{
		{"an index would have skipped it", `allow if input.upstream == "gitlab"`, `
3 allow [default allow := false]: true, gave false
5 allow [allow]: false, stopped at 5 input.upstream == "gitlab", input.upstream="github"`},
		{"the second of two alternatives, after the first held", `allow if {
	"staff" in input.user.groups
}

allow if {
	input.user.name == "alice"
	input.target.name == "other"
}`, `
3 allow [default allow := false]: not reached
5 allow [allow]: true, input.user.groups=["engineering","staff"]
9 allow [allow]: false, stopped at 11 input.target.name == "other", input.user.name="alice", input.target.name="create_issue"`},
		{"sets say what they hold", `deny contains "only if open" if input.user.name == "alice"
deny contains reason if { some reason in ["a", "b"]; reason != "a" }
reasons contains "x" if input.arguments.nothing`, `
3 allow [default allow := false]: true, gave false
5 deny [deny contains "only if open"]: true, gave "only if open", input.user.name="alice"
6 deny [deny contains reason]: true, gave "b"
7 reasons [reasons contains "x"]: false, stopped at 7 input.arguments.nothing, input.arguments.nothing=`},
		{"iteration names the values of the last try", `grants := {"engineering": ["list_*"], "staff": ["read_*", "get_*"]}

allow if {
	some group in input.user.groups
	some pattern in grants[group]
	glob.match(pattern, [], input.target.name)
}`, `
3 allow [default allow := false]: true, gave false
7 allow [allow]: false, stopped at 10 glob.match(pattern, [], input.target.name) (3 times), with group="staff", with pattern="get_*", input.user.groups=["engineering","staff"], input.target.name="create_issue"
5 grants [grants := {"engineering": ["list_*"], "staff": ["read_*", "get_*"]}]: true, gave {"engineering":["list_*"],"staff":["read_*","get_*"]}`},
		{"helpers, functions and not", `allow if {
	inside
	not blocked
}

inside if cheap(input.arguments.amount)

cheap(x) if x < 10

blocked if input.user.name == "mallory"`, `
3 allow [default allow := false]: true, gave false
5 allow [allow]: false, stopped at 6 inside
10 inside [inside]: false, stopped at 10 cheap(input.arguments.amount), input.arguments.amount=12.50
12 cheap [cheap(x)]: false, stopped at 12 x < 10, with x=12.50
14 blocked [blocked]: not reached, input.user.name="alice"`},
		{"a built-in function that fails", `deny contains "x" if to_number(input.user.name) > 3`, `
3 allow [default allow := false]: true, gave false
5 deny [deny contains "x"]: false, stopped at 5 to_number(input.user.name), error, input.user.name="alice"
failure policy_error`},
		{"else", `allow if { input.upstream == "x" } else := true if { input.user.name == "alice" }`, `
3 allow [default allow := false]: not reached
5 allow [allow]: false, stopped at 5 input.upstream == "x", input.upstream="github"
5 allow [else := true]: true, input.user.name="alice"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := explained(t, engineOf(t, tt.rules), request()); got != strings.TrimPrefix(tt.want, "\n")+"\n" {
				t.Errorf("got\n%s\nwant%s", got, tt.want)
			}
		})
	}
}

func TestExplainShowsData(t *testing.T) {
	dir := directory(t, "p.rego", "package ostiary\n\ndefault allow := false\n\nallow if input.user.name in data.team.names\n",
		"team/data.yaml", "names: [bob]\nbig: "+strings.Repeat("x", MaxReading)+"\n", "q.rego", "package ostiary\n\ndeny contains \"b\" if data.team.big == data.team.none\n")
	e, err := Load(dir, patient())
	if err != nil {
		t.Fatal(err)
	}
	x, err := e.Explain(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(x.Rules)
	for _, want := range []string{`{"path":"data.team.names","value":["bob"]}`, `{"path":"data.team.none"}`, fmt.Sprintf(`{"path":"data.team.big","size":%d}`, MaxReading+2)} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

// TestExplainTellsTheDecision: over generated policies, the explanation's
// decision is Decide's, and its rules agree with it.
func TestExplainTellsTheDecision(t *testing.T) {
	for seed := range uint64(60) {
		g := newGenerator(2_000_000 + seed)
		text := g.policy()
		e := generated(t, text)
		if e == nil {
			continue
		}
		r := g.caller()
		r.Upstream, r.Target = g.target()
		g.open(&r)
		want, failed := e.Decide(t.Context(), &r)
		x, err := e.Explain(t.Context(), &r)
		if err != nil {
			t.Fatal(err)
		}
		if !same(x.Decision, want) || (x.Failure == "") != (failed == nil) {
			t.Fatalf("seed %d: explained %v %s, decided %v %v\n%s", seed, x.Decision, x.Failure, want, failed, text)
		}
		holds := func(name string) bool {
			return slices.ContainsFunc(x.Rules, func(r RuleTrace) bool {
				return r.Rule == name && r.Outcome == RuleHeld && !strings.HasPrefix(r.Head, "default ")
			})
		}
		if failed == nil && want.Allow != (holds("allow") && !holds("deny")) {
			t.Fatalf("seed %d: allowed %v, but the rules say otherwise: %+v\n%s", seed, want.Allow, x.Rules, text)
		}
	}
}

func same(a, b policy.Decision) bool { return fmt.Sprintf("%v", a) == fmt.Sprintf("%v", b) }
