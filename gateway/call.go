package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// callTool answers tools/call.
func (x *exchange) callTool(ctx context.Context) ([]byte, *refusal) {
	t, f := x.named(ctx, federation.Tool, "arguments")
	if f != nil {
		return nil, f
	}
	if t.arguments != nil && t.known {
		if f := x.checkFolded(t); f != nil {
			return nil, f
		}
	}
	if x.era == wire.Modern && t.known {
		t.check = func() *refusal {
			if err := wire.CheckParamHeaders(x.header, t.item.ParamHeaders, t.arguments); err != nil {
				return refuse(http.StatusBadRequest, codeHeaderMismatch, "header_mismatch", err.Error())
			}
			return nil
		}
	}
	return x.perform(ctx, t, func(ctx context.Context) ([]byte, *refusal) {
		return x.callAsTask(ctx, t)
	})
}

// getPrompt answers prompts/get.
func (x *exchange) getPrompt(ctx context.Context) ([]byte, *refusal) {
	t, f := x.named(ctx, federation.Prompt, "arguments")
	if f != nil {
		return nil, f
	}
	return x.perform(ctx, t, func(ctx context.Context) ([]byte, *refusal) {
		return x.forward(ctx, t, "name", t.item.Name)
	})
}

// named finds the tool or prompt that params.name means.
func (x *exchange) named(ctx context.Context, k federation.Kind, arguments string) (*target, *refusal) {
	if !x.offers(capabilityOf[k]) {
		return nil, x.noMethod()
	}
	name, ok := x.m.Params.String("name")
	if !ok {
		return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.name must be a string")
	}
	t := &target{method: x.m.Method, kind: k.String(), exposed: name}
	if raw, ok := x.m.Params.Get(arguments); ok && string(raw) != "null" {
		if raw[0] != '{' {
			return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.arguments must be an object")
		}
		t.arguments = raw
	}
	t.responses, _ = x.m.Params.Get("inputResponses")
	v, err := x.view(ctx)
	if err != nil {
		x.g.Logger.Error("visibility not known", "error", err, "decision_id", x.id)
		return t, nil // unknown: fails closed
	}
	if item, ok := x.snap.Find(x.endpoint, k, name); ok {
		t.item, t.upstream = item, item.Upstream
		t.known = v.lists[k].shows(item)
	}
	return t, nil
}

// checkFolded refuses an argument whose key equals a property of the schema
// only after case folding: an upstream that folds would read what policy did
// not (promise 5).
func (x *exchange) checkFolded(t *target) *refusal {
	if len(t.item.Properties) == 0 || t.upstream.FoldedArguments {
		return nil
	}
	args, err := wire.Fields(t.arguments)
	if err != nil {
		return refuse(http.StatusOK, codeInvalidParams, "params", "params.arguments must be an object")
	}
	for _, a := range args.Members {
		if _, exact := slices.BinarySearch(t.item.Properties, a.Key); exact {
			continue
		}
		for _, p := range t.item.Properties {
			if strings.EqualFold(p, a.Key) {
				return refuse(http.StatusBadRequest, codeInvalidParams, "ambiguous_argument",
					"an argument's name differs from a property of the tool's schema only in case; write it as the schema does")
			}
		}
	}
	return nil
}

// forward sends the request to the target's upstream and makes its answer the
// agent's. Only what the gateway owns is rewritten: key (the name or URI),
// requestState, _meta, task.
func (x *exchange) forward(ctx context.Context, t *target, key, own string) ([]byte, *refusal) {
	p := wire.NewPatch(x.m.Params).Remove("_meta").Remove("task")
	p.Set(key, wire.AppendString(nil, own))
	if t.masked != nil {
		p.Set("arguments", t.masked)
	}
	bound := x.stateBound(t)
	var h handle
	if raw, ok := x.m.Params.Get("requestState"); ok {
		var f *refusal
		if h, f = x.openHandle(raw, bound); f != nil {
			return nil, f
		}
	}
	switch h.kind {
	case ofUpstream:
		p.Set("requestState", wire.AppendString(nil, h.text))
	case ofVisit:
		if result, f := x.visited(t); result != nil || f != nil {
			return result, f
		}
	case ofParked:
		return x.retry(ctx, t, h, bound)
	case ofTask:
		return x.resumeTask(ctx, t, h)
	}
	switch era := x.upstreamEra(t); {
	case x.era == wire.Modern && era == wire.Legacy:
		p.Remove("inputResponses").Remove("requestState")
		return x.converse(ctx, t, p.Bytes(), bound)
	case x.era == wire.Legacy && era == wire.Modern:
		return x.answerFor(ctx, t, p, bound)
	}
	a, f := x.send(ctx, t, p.Bytes())
	if f != nil {
		return nil, f
	}
	return x.translate(ctx, t, a, bound)
}

// upstreamEra is the era of t's upstream, as far as it is known.
func (x *exchange) upstreamEra(t *target) wire.Era {
	if u, ok := x.snap.Upstream(t.upstream.Name); ok && u.Era == wire.Legacy.String() {
		return wire.Legacy
	}
	return wire.Modern
}

// send makes the Call for t with these parameters and waits for its answer.
func (x *exchange) send(ctx context.Context, t *target, params []byte) (*federation.Answer, *refusal) {
	a, err := x.g.Federation.Call(ctx, x.p, x.callOf(t, params))
	x.used(a, err)
	if err != nil {
		return nil, fromFailure(err)
	}
	return a, nil
}

// callOf is the Call for t with these parameters.
func (x *exchange) callOf(t *target, params []byte) *federation.Call {
	c := &federation.Call{
		Upstream: t.upstream.Name, Method: x.m.Method, Params: params, Item: t.item,
		Meta:  x.metaFor(t.upstream),
		Agent: x.agentFor(),
	}
	era := x.upstreamEra(t)
	c.Notify = func(method string, params []byte) {
		params, told := t.masks.maskNotice(method, params)
		switch {
		case !told:
		case !x.relays(method, era):
		case method == "notifications/progress" && x.progress != nil && !x.progress.rises(params):
		case method == methodElicited:
			x.completed(t, params)
		default:
			x.reply.notify(method, params)
		}
	}
	switch {
	case x.era == wire.Modern && era == wire.Legacy:
		c.Agent.Capabilities = openingCapabilities(x.caps)
	case x.era == wire.Legacy && era == wire.Modern:
		c.Agent.Capabilities = requestCapabilities(x.version, x.caps)
	}
	c.ProgressToken = x.m.ProgressToken()
	if x.session != nil {
		c.Ask = func(ctx context.Context, method string, params []byte) ([]byte, *wire.Error, error) {
			return x.ask(ctx, t, method, params)
		}
	}
	x.extend(t, c)
	return c
}

// agentFor is what an upstream may know of this agent.
func (x *exchange) agentFor() federation.Agent {
	a := federation.Agent{Era: x.era, Version: x.version, Capabilities: x.caps, LogLevel: x.level}
	if x.session != nil {
		a.Session = x.session.id
	}
	return a
}

// relays says which notifications of an upstream reach the agent during a
// call. Everything else is about more than this request.
func (x *exchange) relays(method string, from wire.Era) bool {
	switch method {
	case "notifications/progress":
		return true
	case "notifications/message":
		return x.level != "" || x.era == wire.Legacy
	case methodElicited: // MCP 2026-07-28 has none
		return x.era == wire.Legacy && from == wire.Legacy
	}
	return false
}

// traceKeys are reserved by SEP-414 and always travel.
var traceKeys = []string{"traceparent", "tracestate", "baggage"}

// metaFor is what of the agent's _meta travels to u: trace context and the
// keys that the catalog names. Everything reserved is the gateway's to say
// (promise 4).
func (x *exchange) metaFor(u *catalogs.Upstream) []byte {
	var b []byte
	for _, m := range x.m.Meta.Members {
		if !slices.Contains(traceKeys, m.Key) && !slices.Contains(u.Meta, m.Key) {
			continue
		}
		if b == nil {
			b = append(b, '{')
		} else {
			b = append(b, ',')
		}
		b = wire.AppendString(b, m.Key)
		b = append(b, ':')
		b = append(b, x.m.Meta.Raw[m.Start:m.End]...)
	}
	if b == nil {
		return nil
	}
	return append(b, '}')
}
