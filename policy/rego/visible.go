package rego

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/ostiary/ostiary/policy"
)

// Visible judges the later act on each target, with arguments, responses,
// counters and source unknown, and the era too where r names none. A target is
// left out only when no value of these could make it allowed: what can be
// called is listed, always. A target that asks for more scopes (step_up) is
// listed as well.
//
// Where rules read nothing unknown, evaluation answers exactly; else partial
// evaluation does, which may list a target that no arguments would get through,
// since whether there are any can't be decided in general. An answer holds for
// all targets with the same values of what rules read, and is remembered.
//
// An error is of ctx, or a *policy.Failure that says nothing about a target:
// FailedTimeout or FailedBusy. A target whose rules fail is not listed, for it
// can't be called either.
func (e *Engine) Visible(ctx context.Context, r *policy.Request, upstreams []string, targets []policy.Target) ([]bool, error) {
	if len(upstreams) != len(targets) {
		return nil, fmt.Errorf("%d upstreams for %d targets", len(upstreams), len(targets))
	}
	began := time.Now()
	q := listingOf(r)
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	b := appendKey((*buf)[:0], e.listKeys.scope, &q)
	split := len(b)
	known := e.listings.find(b)
	var fresh map[string]bool // of this list, remembered or not
	shown := make([]bool, len(targets))
	for i := range targets {
		q.Upstream, q.Target = upstreams[i], targets[i]
		b = appendKey(b[:split], e.listKeys.target, &q)
		*buf = b
		answer, ok := known.get(b[split:])
		if !ok {
			answer, ok = fresh[string(b[split:])]
		}
		if !ok {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if time.Since(began) > listTime {
				return nil, &policy.Failure{Code: policy.FailedTimeout, Err: fmt.Errorf("judging a list took longer than %s", listTime)}
			}
			var keep bool
			var err error
			if answer, keep, err = e.listable(ctx, &q, e.o.Timeout); err != nil {
				return nil, err
			}
			if keep && e.listKeys.usable {
				e.listings.put(b[:split], b[split:], answer)
			}
			if fresh == nil {
				fresh = map[string]bool{}
			}
			fresh[string(b[split:])] = answer
		}
		shown[i] = answer
	}
	return shown, nil
}

// listingOf is r as the question whether it could be allowed later.
func listingOf(r *policy.Request) policy.Request {
	q := *r
	q.Listing = true
	q.Arguments, q.Responses, q.Counters, q.Source = nil, nil, nil, policy.Source{}
	return q
}

// listable judges one target. keep tells whether the answer may be
// remembered: what came of an error may not.
func (e *Engine) listable(ctx context.Context, q *policy.Request, limit time.Duration) (shown, keep bool, err error) {
	how := &e.listing[0]
	if q.Request.Era == "" {
		how = &e.listing[1]
	}
	doc, err := document(how.document, q)
	if err != nil {
		return false, false, nil // it can't be called with such a definition either
	}
	err = e.run(ctx, limit, func(c topdown.Cancel) error {
		if how.unknown == nil {
			v, err := e.eval(ctx, e.listed, doc, c)
			shown = v != nil && v.Compare(ast.Boolean(true)) == 0
			return err
		}
		shown, err = e.possible(ctx, doc, how.unknown, c)
		return err
	})
	var f *policy.Failure
	if errors.As(err, &f) && f.Code == policy.FailedError {
		// Partial evaluation may meet an error that a call would not.
		return how.unknown != nil, false, nil
	}
	return shown, err == nil, err
}

// possible tells whether unknown values could make the target allowed.
func (e *Engine) possible(ctx context.Context, doc ast.Value, unknown []*ast.Term, c topdown.Cancel) (bool, error) {
	ask := func(q opa.PreparedPartialQuery) (verdict, error) {
		result, err := q.Partial(ctx, opa.EvalParsedInput(doc), opa.EvalParsedUnknowns(unknown), opa.EvalExternalCancel(c))
		if err != nil {
			return maybe, err
		}
		return verdictOf(result), nil
	}
	way, err := ask(e.allow)
	if err == nil && way == never && e.obliges {
		way, err = ask(e.stepUp)
	}
	if err != nil || way == never {
		return false, err
	}
	barred, err := ask(e.denied)
	return barred != always, err
}
