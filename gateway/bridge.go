package gateway

import (
	"context"
	"net/url"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// translate makes an upstream's answer the agent's. Between peers of one era
// it is the same bytes but for what the gateway owns: resource URIs in the
// merged namespace, requestState, cache hints. Between eras resultType and the
// cache hints come and go.
func (x *exchange) translate(ctx context.Context, t *target, a *federation.Answer, bound []byte) ([]byte, *refusal) {
	if a.Error != nil {
		return nil, x.translateError(t, a)
	}
	o, err := wire.Fields(a.Result)
	if err != nil {
		return nil, badAnswer(t.upstream.Name, "result is not an object")
	}
	if x.becameTask(a, o) {
		return nil, nil
	}
	if masked, f := x.maskResult(t, a.Result); f != nil {
		return nil, f
	} else if o, err = wire.Fields(masked); err != nil {
		return nil, unmaskable(t, err)
	}
	kind := "complete" // MCP 2026-07-28: an absent resultType means complete
	if raw, ok := o.Get("resultType"); ok && a.Era == wire.Modern {
		if kind, ok = wire.Unquote(raw); !ok {
			return nil, badAnswer(t.upstream.Name, "resultType is not a string")
		}
	}
	p := wire.NewPatch(o)
	switch kind {
	case "complete":
		if x.era == wire.Modern {
			x.completeModern(p, o, a.Era)
		} else if a.Era == wire.Modern {
			p.Remove("resultType").Remove("ttlMs").Remove("cacheScope")
		}
	case "input_required":
		if f := x.inputRequired(ctx, t, p, o, bound); f != nil {
			return nil, f
		}
	default:
		// An unknown resultType is an invalid response (MCP 2026-07-28, results):
		// the agent negotiated no extension that could have brought it.
		return nil, badAnswer(t.upstream.Name, "unknown resultType")
	}
	return x.fitResult(t, x.expose(t, p.Bytes())), nil
}

// completeModern adds what a modern result must have.
func (x *exchange) completeModern(p *wire.Patch, o wire.Object, from wire.Era) {
	if v, ok := o.Get("resultType"); !ok || from == wire.Legacy && string(v) != `"complete"` {
		p.Set("resultType", []byte(`"complete"`))
	}
	if x.m.Method != "resources/read" {
		return
	}
	// SEP-2549: what an agent gets here depends on who it is.
	p.Set("cacheScope", []byte(`"private"`))
	if _, ok := o.Get("ttlMs"); !ok || from == wire.Legacy {
		p.Set("ttlMs", []byte("0"))
	}
}

// inputRequired checks an input_required result, has what it asks judged, and
// seals its requestState.
func (x *exchange) inputRequired(ctx context.Context, t *target, p *wire.Patch, o wire.Object, bound []byte) *refusal {
	switch x.m.Method {
	case "tools/call", "prompts/get", "resources/read": // MCP 2026-07-28, MRTR
	default:
		return badAnswer(t.upstream.Name, "input_required for "+x.m.Method)
	}
	if x.era == wire.Legacy {
		return x.askFailed(t, "asks for input in a way that your protocol revision does not know", "input_required")
	}
	in, f := readInput(t.upstream.Name, o)
	if f != nil {
		return f
	}
	for _, q := range in.requests {
		// MCP 2026-07-28, MRTR: only kinds that the request's capabilities declare.
		if !declares(x.caps, q.method, q.params) {
			return badAnswer(t.upstream.Name, "input request of a kind that the agent did not declare")
		}
		if !safeAsk(q.method, q.params) {
			return badAnswer(t.upstream.Name, "input request with an unsafe URL")
		}
	}
	for _, q := range in.requests {
		if f := x.showQuestion(ctx, t, q); f != nil {
			return f
		}
	}
	if in.state != nil {
		state, _ := wire.Unquote(in.state)
		h := handle{kind: ofUpstream, text: state}
		p.Set("requestState", wire.AppendString(nil, x.sealHandle(h, x.g.Limits.State, bound)))
	}
	return nil
}

// declares reports whether capabilities (raw ClientCapabilities) cover a
// request of an upstream to the agent.
func declares(capabilities []byte, method string, params []byte) bool {
	caps, err := wire.Fields(capabilities)
	if err != nil {
		return false
	}
	switch method {
	case "elicitation/create":
		raw, ok := caps.Get("elicitation")
		if !ok {
			return false
		}
		modes, err := wire.Fields(raw)
		if err != nil {
			return false
		}
		_, form := modes.Get("form")
		_, byURL := modes.Get("url")
		if modeOf(params) == "url" {
			return byURL
		}
		return form || !byURL // an empty object means form (MCP 2025-11-25, elicitation)
	case "sampling/createMessage":
		raw, _ := caps.Get("sampling")
		sampling, err := wire.Fields(raw)
		_, tools := sampling.Get("tools")
		return err == nil && (tools || !needsTools(params))
	case "roots/list":
		raw, ok := caps.Get("roots")
		return ok && len(raw) > 0 && raw[0] == '{'
	}
	return false
}

func modeOf(params []byte) string {
	o, err := wire.Fields(params)
	if err != nil {
		return ""
	}
	mode, _ := o.String("mode")
	return mode
}

// safeAsk refuses an elicitation whose URL a client must not open: anything
// but https, or http on this machine (security catalogue A-066).
func safeAsk(method string, params []byte) bool {
	if method != "elicitation/create" || modeOf(params) != "url" {
		return true
	}
	o, err := wire.Fields(params)
	if err != nil {
		return false
	}
	raw, ok := o.String("url")
	if !ok || len(raw) > 8<<10 {
		return false
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopbackName(u.Hostname())
}

// expose rewrites the resource URIs of a result for the merged namespace.
func (x *exchange) expose(t *target, result []byte) []byte {
	if x.endpoint != federation.Merged {
		return result
	}
	return wire.RewriteURIs(x.m.Method, result, func(uri string, _ bool) string {
		return federation.ExposeURI(t.upstream, uri)
	})
}
