package rego

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/dependencies"
)

func TestWhatRulesRead(t *testing.T) {
	tests := []struct {
		name, rules string
		want        string // leaves, separated by spaces; "*" = all
	}{
		{"nothing", ``, ""},
		{"a field", `allow if input.user.name == "a"`, "user.name"},
		{"inside a leaf", `allow if input.target.annotations.readOnlyHint`, "target.annotations"},
		{"a group of fields", `allow if input.user == {}`, "user.id user.name user.groups user.auth_time user.amr"},
		{"a computed field", `allow if { some k in ["ip"]; input.source[k] == "x" }`, "source.ip source.proxied source.tls"},
		{"an alias of a group", `allow if { s := input.source; s.tls }`, "source.ip source.proxied source.tls"},
		{"all of it", `allow if count(input) > 3`, "*"},
		{"a computed group", `allow if { some k; input[k].name == "a" }`, "*"},
		{"an alias of all", `allow if { i := input; i.user.name == "a" }`, "*"},
		{"in a helper", `allow if h
h if not g
g if input.upstream == "x"`, "upstream"},
		{"in a function", `allow if f(input.agent.name)
f(x) if x == input.agent.version`, "agent.name agent.version"},
		{"in an else branch", `allow if { input.upstream == "x" } else := true if { input.time.hour == 3 }`, "upstream time.hour"},
		{"in a comprehension", `allow if count([g | some g in input.user.groups]) > 1`, "user.groups"},
		{"in every", `allow if every g in input.user.groups { g != input.user.name }`, "user.name user.groups"},
		{"in a head", `deny contains sprintf("no %s", [input.user.name])`, "user.name"},
		{"in a default of data", `allow if data.nothing[input.upstream]`, "upstream"},
		{"through with", `allow if h with input.user.name as "x"
h if input.user.name == "x"`, "user.name"},
		{"a rule that nobody asks", `allow if input.upstream == "x"
other if input.user.name == "x"`, "upstream"},
		{"a dynamic rule", `allow if data.ostiary.p[input.upstream]
p["a"] if input.user.name == "x"
p["b"] if input.time.hour == 3`, "upstream user.name time.hour"},
		{"reasons and obligations", `reasons contains "x" if input.grant.scopes[_] == "x"
obligations contains {"type": "rate"} if input.client.id == "x"`, "client.id grant.scopes"},
		{"a template of text", `deny contains $"no {input.user.name}"`, "user.name"},
		{"no field of the document", `allow if input.nothing.here == 3`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := engineOf(t, tt.rules)
			got := strings.Join(e.Reads(), " ")
			if tt.want == "*" {
				tt.want = strings.Join(allPaths(), " ")
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func allPaths() []string {
	var paths []string
	for _, l := range leaves() {
		paths = append(paths, l.path)
	}
	return paths
}

// TestNothingIsReadBesides holds the engine's own analysis against OPA's,
// which knows aliases better and so may find less, but never more.
func TestNothingIsReadBesides(t *testing.T) {
	for seed := range uint64(40) {
		e := generated(t, newGenerator(2_000_000+seed).policy())
		if e == nil {
			continue
		}
		refs, err := dependencies.Base(e.compiler, ast.MustParseBody(answerQuery))
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			if !ref[0].Equal(ast.InputRootDocument) {
				continue
			}
			var r reads
			r.leaves = map[string]bool{}
			r.add(e.leaves, ref, ref[0].Location)
			for path := range r.leaves {
				if !e.decides.leaves[path] {
					t.Errorf("seed %d: OPA finds %s, the engine does not", seed, path)
				}
			}
		}
	}
}

func TestRevisionFollowsTheTimeThatListsRead(t *testing.T) {
	now := noon
	o := patient()
	o.Now = func() time.Time { return now }
	for _, tt := range []struct {
		rules  string
		suffix string
		next   time.Duration // after which it is another
	}{
		{`allow if input.user.name == "alice"`, "", 0},
		{`allow if input.time.hour < 18`, ".hour=12", time.Hour},
		{`deny contains "x" if { input.time.weekday == "sunday"; input.time.hour < 3 }`, ".hour=12.weekday=monday", time.Hour},
		{`allow if input.time.weekday == "monday"`, ".weekday=monday", 12 * time.Hour},
		{`allow if input.time.unix < 3`, ".unix=1772452800", time.Second},
		{`reasons contains "late" if input.time.hour > 18`, "", 0}, // no list depends on it
	} {
		now = noon
		e := engine(t, tt.rules, o)
		first := e.Revision()
		if suffix := strings.TrimPrefix(first, e.revision); suffix != tt.suffix || e.ReadsTime() != (tt.suffix != "") {
			t.Errorf("%s: revision %q, reads time %v", tt.rules, suffix, e.ReadsTime())
		}
		if tt.next == 0 {
			continue
		}
		if now = noon.Add(tt.next - time.Nanosecond); e.Revision() != first {
			t.Errorf("%s: another revision before its time", tt.rules)
		}
		if now = noon.Add(tt.next); e.Revision() == first {
			t.Errorf("%s: the same revision after %s", tt.rules, tt.next)
		}
	}
}

func TestReadsAreInTheOrderOfTheSchema(t *testing.T) {
	e := engineOf(t, `allow if { input.time.hour == 3; input.upstream == "x"; input.arguments.x }`)
	if got := e.Reads(); !slices.Equal(got, []string{"upstream", "arguments", "time.hour"}) {
		t.Error(got)
	}
}
