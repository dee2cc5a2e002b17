package gateway

import (
	"context"
	"errors"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/store/audit"
)

// ask carries a request of an upstream's own to the legacy agent whose call
// it belongs to, and the agent's answer back. It is judged and recorded like
// any other act (DESIGN promise 2).
func (x *exchange) ask(ctx context.Context, t *target, method string, params []byte) ([]byte, *wire.Error, error) {
	if !declares(x.caps, method, params) {
		return nil, &wire.Error{Code: codeInvalidParams, Message: "the client did not declare this capability"}, nil
	}
	if !safeAsk(method, params) {
		return nil, &wire.Error{Code: codeInvalidParams, Message: "the URL of this elicitation is not one that a client may open"}, nil
	}
	y := *x
	y.id, y.start, y.metrics = newID(), x.g.Now(), audit.Metrics{}
	asked := *t
	asked.method, asked.arguments, asked.responses, asked.check = method, params, nil, nil
	if f := y.judge(ctx, &asked); f != nil {
		return nil, f.rpc(), nil
	}
	result, rpcErr, err := x.session.ask(ctx, x.reply, method, params)
	switch {
	case errors.Is(err, context.Canceled):
		y.outcome("cancelled", 0, "cancelled", nil)
	case err != nil:
		y.outcome("error", 0, "not_answered", nil)
	case rpcErr != nil:
		y.outcome("error", rpcErr.Code, "agent_error", nil)
	default:
		y.outcome("ok", 0, "", result)
	}
	return result, rpcErr, err
}
