package rego

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/policy"
)

// listedDraws is how many draws of caller, target and time are held against
// each other.
const listedDraws = 10_000

// Where no rule reads what a listing does not know, a list has exactly what may
// be called (security catalogue A-098).
func TestWhereNoRuleReadsArgumentsListedIsCallable(t *testing.T) {
	const draws = 100 // of each policy
	listed, hidden := 0, 0
	for seed := uint64(0); listed+hidden < listedDraws; seed++ {
		g := newGenerator(seed)
		var text strings.Builder
		text.WriteString("package ostiary\n\ndefault allow := false\n\n")
		for range 1 + g.IntN(3) {
			fmt.Fprintf(&text, "allow if {\n\t%s\n\t%s\n}\n\n", g.known(), g.known())
		}
		fmt.Fprintf(&text, "deny contains \"d\" if {\n\t%s\n\t%s\n}\n", g.known(), g.known())
		e := generated(t, text.String())
		if e == nil {
			continue
		}
		for range draws {
			r := g.caller()
			r.Upstream, r.Target = g.target()
			list := r
			list.Request.Era, list.Upstream, list.Target = "", "", policy.Target{}
			shown, err := e.Visible(t.Context(), &list, []string{r.Upstream}, []policy.Target{r.Target})
			if err != nil {
				t.Fatal(err)
			}
			d, err := e.Decide(t.Context(), &r)
			if shown[0] != (err == nil && d.Allow) {
				t.Fatalf("seed %d: listed %v, decided %+v %v\n%s\n%+v", seed, shown[0], d, err, text.String(), r)
			}
			if shown[0] {
				listed++
			} else {
				hidden++
			}
		}
	}
	if listed < listedDraws/20 || hidden < listedDraws/20 {
		t.Errorf("%d listed, %d hidden: the generator shows too little", listed, hidden)
	}
}
