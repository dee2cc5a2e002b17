package gateway

import (
	"bytes"
	"context"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// gatherTime is how long an input_required waits for more questions, once one
// is there: an upstream that asks several things at once sends them one after
// the other.
const gatherTime = 25 * time.Millisecond

// converse makes the request of a modern agent at a legacy upstream, which may
// ask the agent something before it answers. The call then waits here, and the
// agent gets input_required with what was asked.
func (x *exchange) converse(ctx context.Context, t *target, params, bound []byte) ([]byte, *refusal) {
	// The call may outlive the request: nothing that it keeps may alias the
	// request's body, or use what its goroutine still writes.
	base, asked := *x, *t
	base.m, base.header, base.http, base.reply = &wire.Message{Method: x.m.Method}, nil, nil, nil
	asked.masked, asked.arguments, asked.responses, asked.check = nil, nil, nil, nil
	call := x.callOf(t, params)
	call.ProgressToken = bytes.Clone(call.ProgressToken)
	base.caps = call.Agent.Capabilities // a copy
	c := x.g.parks.start(ctx, x.p, x.seat(), func(ctx context.Context, c *parkedCall) (*federation.Answer, error) {
		call.Notify = func(method string, params []byte) {
			if params, told := asked.masks.maskNotice(method, params); told {
				c.notify(method, params)
			}
		}
		if string(base.caps) != "{}" {
			call.Ask = func(ctx context.Context, method string, params []byte) ([]byte, *wire.Error, error) {
				r, f, err := base.put(ctx, &asked, method, params, func(ctx context.Context) (response, error) {
					result, rpcErr, err := c.ask(ctx, method, withoutElicitationID(method, params))
					return response{result, rpcErr}, err
				})
				if f != nil {
					return nil, f.rpc(), nil
				}
				return r.result, r.err, err
			}
		}
		return base.g.Federation.Call(ctx, base.p, call)
	})
	return x.await(ctx, t, c, bound)
}

// retry takes up a call that waits for this request's answers.
func (x *exchange) retry(ctx context.Context, t *target, h handle, bound []byte) ([]byte, *refusal) {
	c := x.g.parks.find(h.text)
	if c == nil {
		return nil, badState()
	}
	responses, _ := x.m.Params.Get("inputResponses")
	if f := c.resume(x.seat(), h.round, responses); f != nil {
		return nil, f
	}
	return x.await(ctx, t, c, bound)
}

// seat is x as a call may use it that x waits for.
func (x *exchange) seat() *seat {
	return &seat{reply: x.reply, token: bytes.Clone(x.m.ProgressToken()), level: x.level}
}

// await waits until c has its answer or a question. An agent that hangs up
// before either has cancelled the call (MCP 2026-07-28, cancellation).
func (x *exchange) await(ctx context.Context, t *target, c *parkedCall, bound []byte) ([]byte, *refusal) {
	for {
		select {
		case <-c.done:
			c.end(nil)
			x.used(c.answer, c.err)
			if c.err != nil {
				return nil, fromFailure(c.err)
			}
			if e := c.answer.Error; e != nil && e.Code == codeURLElicitation && c.answer.Era == wire.Legacy {
				return x.visit(ctx, t, e, bound)
			}
			return x.translate(ctx, t, c.answer, bound)
		case <-ctx.Done():
			c.end(context.Canceled)
			return nil, fromFailure(context.Canceled)
		case <-c.asked:
			if !quiet(ctx, c.done, gatherTime) {
				continue
			}
			if requests, round := c.park(); requests != nil {
				h := handle{kind: ofParked, round: round, text: c.id}
				return x.inputRequiredResult(requests, x.sealHandle(h, x.g.Limits.Parked, bound)), nil
			}
		}
	}
}

// quiet waits; false means that ctx or done ended first.
func quiet(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
	case <-ctx.Done():
	}
	return false
}

// inputRequiredResult is an input_required result of our own.
func (x *exchange) inputRequiredResult(requests []byte, state string) []byte {
	b := append([]byte(`{"resultType":"input_required","inputRequests":`), requests...)
	b = wire.AppendString(append(b, `,"requestState":`...), state)
	b = append(append(b, `,"_meta":`...), x.g.serverMeta...)
	return append(b, '}')
}

// withoutElicitationID drops what MCP 2026-07-28 has no use for.
func withoutElicitationID(method string, params []byte) []byte {
	if method != "elicitation/create" {
		return params
	}
	o, err := wire.Fields(params)
	if err != nil {
		return params
	}
	return wire.NewPatch(o).Remove("elicitationId").Bytes()
}

// openingCapabilities are those of a modern agent's capabilities that the
// session with a legacy upstream is opened with: what the upstream may ask for.
// Nobody would tell it of changed roots.
func openingCapabilities(capabilities []byte) []byte {
	b := []byte{'{'}
	o, err := wire.Fields(capabilities)
	if err != nil {
		return append(b, '}')
	}
	for _, name := range [...]string{"elicitation", "roots", "sampling"} {
		value, ok := o.Get(name)
		if !ok || value[0] != '{' {
			continue
		}
		if name == "roots" {
			value = []byte("{}")
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = wire.Compact(append(wire.AppendString(b, name), ':'), value)
	}
	return append(b, '}')
}

// requestCapabilities are those of a legacy agent's capabilities that its
// requests to a modern upstream declare: what its revision has a way to do.
func requestCapabilities(version string, capabilities []byte) []byte {
	o, err := wire.Fields(capabilities)
	if err != nil || version >= wire.Version20251125 {
		return capabilities
	}
	p := wire.NewPatch(o)
	without := func(name, key string) {
		raw, _ := o.Get(name)
		if inner, err := wire.Fields(raw); err == nil {
			p.Set(name, wire.NewPatch(inner).Remove(key).Bytes())
		}
	}
	without("elicitation", "url")
	without("sampling", "tools")
	if version < wire.Version20250618 {
		p.Remove("elicitation")
	}
	return p.Bytes()
}
