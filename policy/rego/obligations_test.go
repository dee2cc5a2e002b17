package rego

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWarningsNameObligationsThatWouldRefuse(t *testing.T) {
	for rule, want := range map[string]string{
		`obligations contains {"type": "pay"} if true`:                                        `policy.rego:5:22: no obligation is of type "pay"`,
		`obligations contains {"type": "mask", "paths": ["ssn"]} if true`:                     `policy.rego:5:22: an obligation of type mask: the path "ssn"`,
		`obligations contains {"type": "rate", "class": "nosuch"} if true`:                    `policy.rego:5:22: the class nosuch is not declared under rates`,
		`obligations contains {"type": "pay", "who": input.user.name} if true`:                `policy.rego:5:22: no obligation is of type "pay"`,
		`obligations contains {"type": "rate", "class": "heavy"} if true`:                     ``,
		`obligations contains {"type": "rate", "class": data.classes.x} if true`:              ``,
		`obligations contains {"type": "step_up", "scopes": ["a"]} if input.user.name == "x"`: ``,
		`obligations contains o if { some o in [{"type": "approval"}] }`:                      ``,
	} {
		e := engine(t, rule+"\n", Options{Timeout: 10 * time.Second, Classes: []string{"heavy"}})
		var got []string
		for _, w := range e.Warnings() {
			got = append(got, w.String())
		}
		if (want == "") != (len(got) == 0) || !slices.ContainsFunc(append(got, ""), func(w string) bool { return strings.Contains(w, want) }) {
			t.Errorf("%s: %q", rule, got)
		}
	}
	// Where the declared classes are not known, none is missed.
	if w := engine(t, "obligations contains {\"type\": \"rate\", \"class\": \"nosuch\"} if true\n", patient()).Warnings(); len(w) > 0 {
		t.Error(w)
	}
}

func TestADenyRuleIsSaid(t *testing.T) {
	e := engine(t, "deny contains \"no\" if input.user.name == \"bob\"\n\nobligations contains {\"type\": \"step_up\", \"scopes\": [\"a\"]} if true\n", patient())
	for name, want := range map[string]bool{"alice": false, "bob": true} {
		r := request()
		r.User.Name = name
		if d, err := e.Decide(t.Context(), r); err != nil || d.Denied != want || d.Allow {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if !e.Obliges() || !e.DependsOn("user") || !e.DependsOn("user.name") || e.DependsOn("arguments") || e.DependsOn("counters") {
		t.Error("what it depends on")
	}
}
