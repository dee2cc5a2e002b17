package rego

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/ostiary/ostiary/policy"
)

// Explanation is why a request is decided as it is.
type Explanation struct {
	Decision policy.Decision `json:"decision"`
	Failure  string          `json:"failure,omitempty"` // why the rules give no answer, which denies
	Rules    []RuleTrace     `json:"rules"`             // allow, deny, reasons, obligations, then the rules that these use
}

// Outcomes of a rule.
const (
	RuleHeld       = "true"
	RuleDidNot     = "false"
	RuleNotReached = "not reached" // what uses it stopped before, or a default that was not needed
)

// RuleTrace is what became of one rule: one head with one body.
type RuleTrace struct {
	Rule    string            `json:"rule"` // its name, such as allow
	Head    string            `json:"head"` // as it is written
	File    string            `json:"file"`
	Line    int               `json:"line"`
	Outcome string            `json:"outcome"`
	Gave    []json.RawMessage `json:"gave,omitempty"`   // its values, or members of its set; not of a bare true
	Failed  *FailedExpr       `json:"failed,omitempty"` // where it stopped for good
	Reads   []Reading         `json:"reads"`            // what it reads, held or not
}

// FailedExpr is the expression at which a rule stopped. Where a rule tried
// several values (some x in …), it is the one that the last, or farthest, of
// them came to.
type FailedExpr struct {
	Line       int       `json:"line"`
	Expression string    `json:"expression"`
	Error      string    `json:"error,omitempty"` // of a built-in function, which denies
	Tries      int       `json:"tries"`           // how many times it failed
	With       []Reading `json:"with,omitempty"`  // local variables, the last time
}

// Reading is a path or variable and its value; none where it is undefined.
type Reading struct {
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
	Size  int             `json:"size,omitempty"` // bytes of a value over MaxReading, which is left out
}

// MaxReading bounds one value of an explanation: data may be megabytes.
const MaxReading = 16 << 10

// Explain decides r afresh and tells of each rule that the decision could
// depend on whether it held, where it stopped, and what it read. It shows
// values of the request. An error is of ctx.
//
// The decision comes from evaluation as ever. The rules are then evaluated once
// more with all shortcuts off, since OPA skips a rule whose outcome an index
// tells or that can no longer change the answer, and leaves no trace of it.
func (e *Engine) Explain(ctx context.Context, r *policy.Request) (*Explanation, error) {
	x := &Explanation{}
	var err error
	if x.Decision, err = e.evaluate(ctx, r, explainTime); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		x.Failure = err.Error()
	}
	doc, err := document(e.leaves, r)
	if err != nil {
		return x, nil // x.Failure says so
	}
	t := newTracer(e.reached())
	var wrong []topdown.Error
	err = e.run(ctx, explainTime, func(c topdown.Cancel) error {
		// Not strict: an error must not end what is to be shown.
		q, err := opa.New(append(e.options(answerQuery), opa.StrictBuiltinErrors(false))...).PrepareForEval(ctx)
		if err != nil {
			return err
		}
		_, err = q.Eval(ctx, opa.EvalParsedInput(doc), opa.EvalExternalCancel(c), opa.EvalQueryTracer(t),
			opa.EvalRuleIndexing(false), opa.EvalEarlyExit(false), opa.EvalBuiltinErrorList(&wrong))
		return err
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		x.Failure = cmp.Or(x.Failure, err.Error())
	}
	look := lookup{doc: doc, store: e.store, compiler: e.compiler}
	for _, s := range t.rules {
		x.Rules = append(x.Rules, s.trace(ctx, wrong, &look))
	}
	return x, nil
}

// reached are the rules that a decision can depend on, in the order of an
// explanation, the gate's own aside.
func (e *Engine) reached() []*ast.Rule {
	seen := map[*ast.Rule]bool{}
	var visit func(*ast.Rule)
	visit = func(rule *ast.Rule) {
		for ; rule != nil && !seen[rule]; rule = rule.Else {
			seen[rule] = true
			for next := range e.compiler.Graph.Dependencies(rule) {
				visit(next.(*ast.Rule))
			}
		}
	}
	for _, rule := range e.compiler.GetRules(ast.MustParseRef(answerQuery)) {
		visit(rule)
	}
	all := slices.DeleteFunc(slices.Collect(maps.Keys(seen)), func(r *ast.Rule) bool { return r.Loc().File == gateFile })
	place := func(r *ast.Rule) int {
		if at := slices.Index(agreed, nameOf(r)); at >= 0 {
			return at
		}
		return len(agreed)
	}
	slices.SortFunc(all, func(a, b *ast.Rule) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.Loc().File, b.Loc().File), cmp.Compare(a.Loc().Offset, b.Loc().Offset))
	})
	return all
}

// nameOf is a rule's name: short in package ostiary, else with its package.
func nameOf(r *ast.Rule) string {
	ref := r.Ref().GroundPrefix().String()
	return strings.TrimPrefix(ref, "data.ostiary.")
}

// trace is s in the words of an explanation.
func (s *ruleState) trace(ctx context.Context, wrong []topdown.Error, look *lookup) RuleTrace {
	t := RuleTrace{Rule: nameOf(s.rule), Head: headOf(s.rule), File: s.rule.Loc().File, Line: s.rule.Loc().Row, Outcome: RuleNotReached}
	switch {
	case s.held > 0:
		t.Outcome = RuleHeld
	case s.entered > 0:
		t.Outcome = RuleDidNot
	}
	for _, v := range s.gave.Slice() {
		if v.Value.Compare(ast.Boolean(true)) != 0 || s.rule.Head.RuleKind() == ast.MultiValue {
			t.Gave = append(t.Gave, reading("", v.Value).Value)
		}
	}
	if t.Outcome == RuleDidNot && s.failed != nil {
		at := s.failed.Loc()
		f := &FailedExpr{Line: at.Row, Expression: strings.TrimSpace(string(at.Text)), Tries: s.tries, With: s.with}
		for _, w := range wrong {
			if w.Location != nil && w.Location.File == at.File && w.Location.Offset >= at.Offset && w.Location.Offset < at.Offset+max(len(at.Text), 1) {
				f.Error = w.Message
			}
		}
		t.Failed = f
	}
	t.Reads = look.reads(ctx, s.rule)
	return t
}

// headOf is the head as it is written: what stands before the body.
func headOf(r *ast.Rule) string {
	if r.Default {
		return "default " + nameOf(r) + " := " + r.Head.Value.String()
	}
	at := r.Loc()
	end := len(at.Text)
	for _, e := range r.Body {
		if l := e.Loc(); l != nil && l.File == at.File && l.Offset > at.Offset {
			end = min(end, l.Offset-at.Offset)
		}
	}
	// The body begins with its first expression, behind if and a brace.
	head, _, _ := strings.Cut(strings.TrimRight(string(at.Text[:end]), " \t\r\n{"), "\n")
	if strings.HasSuffix(head, "=") { // no body: what OPA takes for one is the value
		head, _, _ = strings.Cut(string(at.Text), "\n")
	}
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(head), " if"))
}
