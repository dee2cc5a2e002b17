package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/store/audit"
)

// ask carries a request of an upstream's own to the legacy agent whose call
// it belongs to, and the agent's answer back.
func (x *exchange) ask(ctx context.Context, t *target, method string, params []byte) ([]byte, *wire.Error, error) {
	fitted, missing := fitQuestion(x.version, x.caps, method, params)
	if missing != "" {
		return nil, &wire.Error{Code: codeInvalidParams, Message: "the client did not declare this capability: " + missing}, nil
	}
	r, f, err := x.put(ctx, t, method, fitted, func(ctx context.Context) (response, error) {
		x.sends(t, params)
		result, rpcErr, err := x.session.ask(ctx, x.reply, method, fitted)
		return response{result, rpcErr}, err
	})
	if f != nil {
		return nil, f.rpc(), nil
	}
	return r.result, r.err, err
}

// put has a request of an upstream's own to the agent judged and recorded like
// any other act (promise 2), and then delivered. A refusal means that the agent
// was not asked, or that what it answered may not go to the upstream. t is the
// target of the call that the request belongs to.
func (x *exchange) put(ctx context.Context, t *target, method string, params []byte, deliver func(context.Context) (response, error)) (response, *refusal, error) {
	if !declares(x.caps, method, params) {
		return response{}, refuse(http.StatusOK, codeInvalidParams, "undeclared", "the client did not declare this capability"), nil
	}
	if !safeAsk(method, params) {
		return response{}, refuse(http.StatusOK, codeInvalidParams, "unsafe_url", "the URL of this elicitation is not one that a client may open"), nil
	}
	asked := *t
	asked.method, asked.arguments, asked.responses, asked.check = method, params, nil, nil
	y, f := x.judgeApart(ctx, &asked)
	if f != nil {
		return response{}, f, nil
	}
	r, err := deliver(ctx)
	switch {
	case errors.Is(err, context.Canceled):
		y.outcome("cancelled", 0, "cancelled", nil)
	case err != nil:
		y.outcome("error", 0, "not_answered", nil)
	case r.err != nil:
		y.outcome("error", r.err.Code, "agent_error", nil)
	default:
		y.outcome("ok", 0, "", r.result)
		if x.era == wire.Legacy { // a modern agent's answers are judged with the request that brings them
			f = x.judgeAnswer(ctx, asked, r.result)
		}
	}
	if err != nil || f != nil {
		return response{}, f, err
	}
	return r, nil, nil
}

// judgeApart judges and records t as an act of its own beside x.
func (x *exchange) judgeApart(ctx context.Context, t *target) (*exchange, *refusal) {
	y := *x
	y.id, y.start, y.metrics = newID(), x.g.Now(), audit.Metrics{}
	return &y, y.judge(ctx, t)
}

// judgeAnswer judges what a legacy agent answered, before the upstream gets it.
// The document's responses have the same form as a modern agent's: the answer
// under a key.
func (x *exchange) judgeAnswer(ctx context.Context, asked target, result []byte) *refusal {
	asked.responses = append(append([]byte(`{"answer":`), result...), '}')
	y, f := x.judgeApart(ctx, &asked)
	if f == nil {
		y.outcome("ok", 0, "", nil)
	}
	return f
}
