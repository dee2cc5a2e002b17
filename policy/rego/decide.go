package rego

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/ostiary/ostiary/policy"
)

// Decide judges r. An error is a *policy.Failure, or the error of ctx. An
// answer that was remembered is shared: callers don't change it.
//
// Only an allowing answer is remembered. A denial is made anew each time, so
// that a target which is hidden costs its caller what a target costs that does
// not exist.
func (e *Engine) Decide(ctx context.Context, r *policy.Request) (policy.Decision, error) {
	if !e.keys.usable {
		return e.evaluate(ctx, r, e.o.Timeout)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	b := appendKey((*buf)[:0], e.keys.scope, r)
	split := len(b)
	b = appendKey(b, e.keys.target, r)
	*buf = b
	if d, ok := e.decisions.find(b[:split]).get(b[split:]); ok {
		return d, nil
	}
	d, err := e.evaluate(ctx, r, e.o.Timeout)
	if err == nil && (d.Allow || e.o.Denials) {
		e.decisions.put(b[:split], b[split:], d)
	}
	return d, err
}

// buffers are for keys. They keep no memory of a request: keys are copied.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// evaluate judges r afresh within limit.
func (e *Engine) evaluate(ctx context.Context, r *policy.Request, limit time.Duration) (policy.Decision, error) {
	if what := e.tooLarge(r); what != "" {
		return policy.Decision{Revision: e.revision, Reasons: []string{
			fmt.Sprintf("the %s are too large to be judged: more than %d bytes", what, e.o.Arguments),
		}}, nil
	}
	refused := policy.Decision{Revision: e.revision}
	doc, err := document(e.decided, r)
	if err != nil {
		return refused, err
	}
	var value ast.Value
	err = e.run(ctx, limit, func(c topdown.Cancel) error {
		value, err = e.eval(ctx, e.answer, doc, c)
		return err
	})
	if err != nil {
		return refused, err
	}
	d, err := decisionOf(value)
	d.Revision = e.revision
	if err != nil {
		return refused, &policy.Failure{Code: policy.FailedUndefined, Err: err}
	}
	return d, nil
}

// tooLarge names what rules would have to read, but is over the limit.
// Evaluation can't be interrupted inside one built-in function, so its input
// is bounded instead. What no rule reads may be of any size.
func (e *Engine) tooLarge(r *policy.Request) string {
	switch {
	case len(r.Arguments) > e.o.Arguments && e.decides.leaves["arguments"]:
		return "arguments"
	case len(r.Responses) > e.o.Arguments && e.decides.leaves["responses"]:
		return "responses"
	}
	return ""
}

// eval gives the value of a query of one expression, nil when it is undefined.
func (e *Engine) eval(ctx context.Context, q opa.PreparedEvalQuery, doc ast.Value, c topdown.Cancel) (ast.Value, error) {
	rs, err := q.Eval(ctx, opa.EvalParsedInput(doc), opa.EvalExternalCancel(c))
	if err != nil || len(rs) == 0 || len(rs[0].Expressions) == 0 {
		return nil, err
	}
	v, _ := rs[0].Expressions[0].Value.(ast.Value)
	return v, nil
}

// run runs f in its turn, for at most limit with the wait, and turns whatever
// goes wrong into a Failure.
func (e *Engine) run(ctx context.Context, limit time.Duration, f func(topdown.Cancel) error) (err error) {
	began := time.Now()
	cancel := topdown.NewCancel()
	timeout := make(chan struct{})
	timer := time.AfterFunc(limit, func() { cancel.Cancel(); close(timeout) })
	defer timer.Stop()
	select {
	case e.slots <- struct{}{}:
	default: // only now is it others that are waited for
		select {
		case e.slots <- struct{}{}:
		case <-timeout:
			return &policy.Failure{Code: policy.FailedBusy, Err: fmt.Errorf("%d evaluations ran at once for %s; add machines, or simplify the rules", cap(e.slots), limit)}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-e.slots }()
	defer context.AfterFunc(ctx, cancel.Cancel)()
	defer func() {
		if p := recover(); p != nil {
			// The value may hold anything; its type is enough to search for.
			err = &policy.Failure{Code: policy.FailedPanic, Err: fmt.Errorf("evaluation panicked with a %T", p)}
		}
	}()
	err = f(cancel)
	var f2 *policy.Failure
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case topdown.IsCancel(err) || time.Since(began) > limit:
		// Also when there is an answer: one built-in function may have run
		// past the limit and noticed nothing.
		return &policy.Failure{Code: policy.FailedTimeout, Err: fmt.Errorf("evaluation took longer than %s (policy.timeout)", limit)}
	case errors.As(err, &f2):
		return err
	case err != nil:
		return &policy.Failure{Code: policy.FailedError, Err: wordless{err}}
	}
	return nil
}

// wordless keeps an error of OPA, but shows of it only kind and place: its
// text may quote values of the request.
type wordless struct{ err error }

func (w wordless) Error() string {
	var at *topdown.Error
	if !errors.As(w.err, &at) {
		return "evaluation failed"
	}
	if at.Location == nil || at.Location.File == "" {
		return at.Code
	}
	return fmt.Sprintf("%s:%d:%d: %s", at.Location.File, at.Location.Row, max(at.Location.Col, 1), at.Code)
}

func (w wordless) Unwrap() error { return w.err }

// decisionOf reads the gate's answer. Whatever has not the agreed form is an
// error: a rule that means no must not pass because it says it oddly.
func decisionOf(v ast.Value) (d policy.Decision, err error) {
	answer, ok := v.(ast.Object)
	if !ok {
		return d, errors.New("allow, deny, reasons or obligations is undefined")
	}
	allowed, ok := member(answer, "allow").(*ast.Array)
	if !ok || allowed.Len() != 1 {
		return d, errors.New("allow is undefined")
	}
	allow, ok := allowed.Elem(0).Value.(ast.Boolean)
	if !ok {
		return d, errors.New("allow is neither true nor false")
	}
	denials, err := texts(answer, "deny")
	if err != nil {
		return d, err
	}
	reasons, err := texts(answer, "reasons")
	if err != nil {
		return d, err
	}
	if d.Obligations, err = obligations(answer); err != nil {
		return d, err
	}
	for _, r := range slices.Concat(denials, reasons) {
		if !slices.Contains(d.Reasons, r) && len(d.Reasons) < maxTexts {
			d.Reasons = append(d.Reasons, r)
		}
	}
	d.Allow, d.Denied = bool(allow) && len(denials) == 0, len(denials) > 0
	return d, nil
}

func member(o ast.Object, name string) ast.Value {
	if t := o.Get(ast.StringTerm(name)); t != nil {
		return t.Value
	}
	return nil
}

// texts is a set of strings in their order, none longer than a record can
// bear.
func texts(o ast.Object, name string) ([]string, error) {
	v := member(o, name)
	if v == nil {
		return nil, nil
	}
	set, ok := v.(ast.Set)
	if !ok {
		return nil, errors.New(name + " is not a set")
	}
	var words []string
	err := set.Iter(func(t *ast.Term) error {
		s, ok := t.Value.(ast.String)
		if !ok {
			return errors.New(name + " holds something else than text")
		}
		words = append(words, strings.ToValidUTF8(string(s[:min(len(s), maxReasonBytes)]), ""))
		return nil
	})
	slices.Sort(words)
	return words, err
}

func obligations(o ast.Object) ([]json.RawMessage, error) {
	v := member(o, "obligations")
	if v == nil {
		return nil, nil
	}
	set, ok := v.(ast.Set)
	if !ok {
		return nil, errors.New("obligations is not a set")
	}
	if set.Len() > maxTexts {
		return nil, fmt.Errorf("more than %d obligations", maxTexts)
	}
	var all []json.RawMessage
	for _, t := range set.Slice() {
		if _, ok := t.Value.(ast.Object); !ok {
			return nil, errors.New("obligations holds something else than objects")
		}
		v, err := ast.JSON(t.Value)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, nil
}
