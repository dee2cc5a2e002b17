package rego

import (
	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"
)

// verdict is what is known of a condition while parts of the input are not.
type verdict int8

const (
	never  verdict = -1
	maybe  verdict = 0
	always verdict = 1
)

// verdictOf reads what partial evaluation left over: alternatives, of which
// one must hold. No alternative is never; an empty one is always. Constants
// are pruned first: for `not helper` OPA leaves `not true`, and helper rules
// may stand in support modules. Every doubt is maybe.
func verdictOf(p *opa.PartialQueries) verdict {
	r := residual{support: map[string][]*ast.Rule{}, known: map[string]outcome{}}
	for _, m := range p.Support {
		for _, rule := range m.Rules {
			name := m.Package.Path.Extend(rule.Head.Ref()).String()
			r.support[name] = append(r.support[name], rule)
		}
	}
	v := never
	for _, body := range p.Queries {
		v = max(v, r.body(body))
	}
	return v
}

type residual struct {
	support map[string][]*ast.Rule
	known   map[string]outcome
}

// outcome is the set of values that a rule may have.
type outcome uint8

const (
	undefined outcome = 1 << iota
	isFalse
	isTrue
	isOther
	anything = undefined | isFalse | isTrue | isOther
)

// body holds when all of its expressions do.
func (r *residual) body(b ast.Body) verdict {
	v := always
	for _, e := range b {
		v = min(v, r.expr(e))
	}
	return v
}

func (r *residual) expr(e *ast.Expr) verdict {
	if len(e.With) > 0 {
		return maybe
	}
	v := maybe
	switch t := e.Terms.(type) {
	case *ast.Term:
		v = within(r.term(t), isTrue|isOther)
	case []*ast.Term:
		if e.IsEquality() && len(t) == 3 {
			v = r.equal(t[1], t[2])
		}
	}
	if e.Negated {
		return -v
	}
	return v
}

// equal compares a rule, or a constant, with true or false.
func (r *residual) equal(a, b *ast.Term) verdict {
	if _, ok := a.Value.(ast.Boolean); ok {
		a, b = b, a
	}
	if truth, ok := b.Value.(ast.Boolean); ok {
		if truth {
			return within(r.term(a), isTrue)
		}
		return within(r.term(a), isFalse)
	}
	return maybe
}

// within is always when all possible values are wanted ones.
func within(possible, wanted outcome) verdict {
	switch {
	case possible&^wanted == 0:
		return always
	case possible&wanted == 0:
		return never
	}
	return maybe
}

func (r *residual) term(t *ast.Term) outcome {
	switch v := t.Value.(type) {
	case ast.Boolean:
		if v {
			return isTrue
		}
		return isFalse
	case ast.Null, ast.Number, ast.String:
		return isOther
	case ast.Ref:
		return r.rule(v)
	}
	return anything
}

// rule is the value of a rule of a support module.
func (r *residual) rule(ref ast.Ref) outcome {
	name := ref.String()
	rules, ok := r.support[name]
	if !ok {
		return anything
	}
	if o, ok := r.known[name]; ok {
		return o
	}
	r.known[name] = anything // while it is being looked at; Rego has no recursion
	result, otherwise, certain := outcome(0), undefined, false
	for _, rule := range rules {
		if rule.Head.RuleKind() != ast.SingleValue || len(rule.Head.Args) > 0 || rule.Else != nil || rule.Head.Value == nil {
			return anything
		}
		if rule.Default {
			otherwise = r.term(rule.Head.Value)
			continue
		}
		v := r.body(rule.Body)
		if v == never {
			continue
		}
		result |= r.term(rule.Head.Value)
		certain = certain || v == always
	}
	if !certain {
		result |= otherwise
	}
	r.known[name] = result
	return result
}
