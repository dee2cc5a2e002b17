package rego

import (
	"encoding/json"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/ostiary/ostiary/policy"
)

// doubtfulObligations are obligations that stand in the rules as they are and
// would refuse whatever they come with: of an unknown type or malformed, or of a
// class of rates that is not declared, where the declared ones are known. What a
// rule puts together from input or data shows only when it is decided.
func (p *parsed) doubtfulObligations(classes []string) (ps Problems) {
	for _, t := range p.obliges {
		if text, fix := doubtful(t, classes); text != "" {
			ps = append(ps, problemAt(t.Location, text, fix))
		}
	}
	return ps
}

// obligationTerms are the terms that rules put into obligations. Compiling moves
// them elsewhere.
func obligationTerms(modules map[string]*ast.Module) (terms []*ast.Term) {
	for _, m := range modules {
		if m.Package.Path.String() != "data.ostiary" {
			continue
		}
		for _, rule := range m.Rules {
			if name, ok := rule.Head.Ref()[0].Value.(ast.Var); ok && name == "obligations" && rule.Head.Key != nil {
				terms = append(terms, rule.Head.Key.Copy())
			}
		}
	}
	return terms
}

// doubtful says what is wrong with one obligation; "" is nothing that shows.
func doubtful(t *ast.Term, classes []string) (text, fix string) {
	o, ok := t.Value.(ast.Object)
	if !ok {
		return "", ""
	}
	kind := o.Get(ast.StringTerm("type"))
	if kind == nil {
		return "an obligation without a type refuses", `write {"type": "mask", …}, "step_up", "rate" or "approval"`
	}
	if v, err := ast.JSON(t.Value); err == nil && t.IsGround() { // a reference is an error
		raw, err := json.Marshal(v)
		if err != nil {
			return "", ""
		}
		all, err := policy.ParseObligations([]json.RawMessage{raw})
		if err != nil {
			return err.Error() + ": it refuses", ""
		}
		for _, class := range all.Classes {
			if classes != nil && !slices.Contains(classes, class) {
				return "the class " + class + " is not declared under rates: it refuses", "declare it: rates: {" + class + ": {limit: 10, per: 1m, by: [user]}}"
			}
		}
		return "", ""
	}
	if word, ok := kind.Value.(ast.String); ok {
		switch string(word) {
		case policy.ObligationMask, policy.ObligationStepUp, policy.ObligationRate, policy.ObligationApproval:
		default:
			return "no obligation is of type " + word.String() + ": it refuses", `write "mask", "step_up", "rate" or "approval"`
		}
	}
	return "", ""
}
