package rego

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// tracer follows an evaluation and keeps of it what became of each rule, so
// that its size is that of the policy and not of the evaluation.
type tracer struct {
	rules  []*ruleState
	by     map[*ast.Rule]*ruleState
	frames map[uint64]*ruleState // by query: the rule whose body it is
}

// ruleState is what is known of one rule.
type ruleState struct {
	rule          *ast.Rule
	entered, held int
	gave          ast.Set

	failed *ast.Expr // of the body: the farthest that failed
	tries  int
	with   []Reading
}

func newTracer(rules []*ast.Rule) *tracer {
	t := &tracer{by: map[*ast.Rule]*ruleState{}, frames: map[uint64]*ruleState{}}
	for _, r := range rules {
		s := &ruleState{rule: r, gave: ast.NewSet()}
		t.rules, t.by[r] = append(t.rules, s), s
	}
	return t
}

func (t *tracer) Enabled() bool { return true }

func (t *tracer) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// TraceEvent takes one step of the evaluation. What happens in a query below a
// body, such as that of a comprehension or of not, is no step of the rule.
func (t *tracer) TraceEvent(e topdown.Event) {
	switch node := e.Node.(type) {
	case *ast.Rule:
		s := t.by[node]
		switch {
		case s == nil:
		case e.Op == topdown.EnterOp:
			s.entered++
			t.frames[e.QueryID] = s
		case e.Op == topdown.ExitOp:
			s.held++
			value := node.Head.Value
			if node.Head.RuleKind() == ast.MultiValue {
				value = node.Head.Key
			}
			if value != nil && s.gave.Len() < maxTexts {
				s.gave.Add(e.Plug(value))
			}
		}
	case *ast.Expr:
		if s := t.frames[e.QueryID]; s != nil && e.Op == topdown.FailOp {
			s.fail(node, &e)
		}
	}
}

// fail notes that an expression of the body did not hold.
func (s *ruleState) fail(x *ast.Expr, e *topdown.Event) {
	switch {
	case s.failed == nil || x.Index > s.failed.Index:
		s.failed, s.tries = x, 1
	case x.Index == s.failed.Index:
		s.tries++
	default:
		return
	}
	s.with = nil
	e.Locals.Iter(func(k, v ast.Value) bool {
		name, ok := k.(ast.Var)
		if !ok {
			return false
		}
		if as := e.LocalMetadata[name].Name; as != "" {
			name = as
		}
		if _, plain := v.(ast.Var); !plain && !name.IsWildcard() && !strings.HasPrefix(string(name), "__local") {
			s.with = append(s.with, reading(string(name), v))
		}
		return false
	})
	slices.SortFunc(s.with, func(a, b Reading) int { return strings.Compare(a.Path, b.Path) })
}
