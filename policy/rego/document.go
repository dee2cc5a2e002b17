package rego

import (
	"encoding/json"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ostiary/ostiary/policy"
)

// document makes the input document of these leaves, of which those of one
// group stand together. It builds OPA's own values: the way over maps costs as
// much as a small policy.
func document(these []leaf, r *policy.Request) (ast.Value, error) {
	top := make([][2]*ast.Term, 0, 8)
	var members [8][2]*ast.Term // no group has more fields
	n := 0
	for i := range these {
		l := &these[i]
		t, err := l.term(r)
		if err != nil {
			return nil, err
		}
		switch {
		case t == nil:
		case l.group == "":
			top = append(top, [2]*ast.Term{l.key, t})
		default:
			members[n] = [2]*ast.Term{l.key, t}
			n++
		}
		if n > 0 && (i+1 == len(these) || these[i+1].group != l.group) {
			top = append(top, [2]*ast.Term{l.above, ast.ObjectTerm(members[:n]...)})
			n = 0
		}
	}
	return ast.NewObject(top...), nil
}

func jsonInt(n int64) json.Number { return json.Number(strconv.FormatInt(n, 10)) }
