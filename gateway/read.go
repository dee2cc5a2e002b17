package gateway

import (
	"context"
	"net/http"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// readResource answers resources/read.
func (x *exchange) readResource(ctx context.Context) ([]byte, *refusal) {
	t, f := x.resource(ctx)
	if f != nil {
		return nil, f
	}
	return x.perform(ctx, t, func(ctx context.Context) ([]byte, *refusal) {
		return x.forward(ctx, t, "uri", t.name)
	})
}

// resource finds the resource that params.uri means.
func (x *exchange) resource(ctx context.Context) (*target, *refusal) {
	if !x.offers("resources") {
		return nil, x.noMethod()
	}
	uri, ok := x.m.Params.String("uri")
	if !ok {
		return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.uri must be a string")
	}
	t := x.locate(ctx, uri)
	t.responses, _ = x.m.Params.Get("inputResponses")
	return t, nil
}

// locate finds what uri means to this principal: a marked URI one upstream, a
// bare one the only visible upstream that can be meant. A
// URI that no list shows is judged as if it were listed, since results link to
// such resources, and one that only a template makes is judged as itself, too.
func (x *exchange) locate(ctx context.Context, uri string) *target {
	t := &target{method: "resources/read", kind: "resource", exposed: uri}
	v, err := x.view(ctx)
	if err != nil {
		x.g.Logger.Error("visibility not known", "error", err, "decision_id", x.id)
		return t
	}
	var found []federation.Ref
	for _, ref := range x.snap.Resolve(x.endpoint, uri) {
		if ref.Item != nil && !v.lists[ref.Item.Kind].shows(ref.Item) {
			continue
		}
		if !listed(ref) && (!normalURI(ref.URI) || !x.showsUnlisted(ctx, ref)) {
			continue
		}
		found = append(found, ref)
	}
	if len(found) != 1 {
		return t
	}
	t.known, t.item, t.upstream, t.name = true, found[0].Item, found[0].Upstream, found[0].URI
	return t
}

// listed says whether a list has the very URI.
func listed(ref federation.Ref) bool {
	return ref.Item != nil && ref.Item.Kind == federation.Resource
}

// showsUnlisted asks whether a resource that is on no list would be shown.
func (x *exchange) showsUnlisted(ctx context.Context, ref federation.Ref) bool {
	info, ok := x.snap.Upstream(ref.Upstream.Name)
	if !ok || !hasCapability(info.Capabilities, "resources") {
		return false
	}
	req := x.g.subject(x.p)
	req.Listing, req.Agent, req.Time = true, x.agent, policy.At(x.start)
	req.Request = policy.Act{Method: "resources/read", Kind: "resource", Era: x.era.String(), Endpoint: endpointPath(x.endpoint)}
	target := policy.Target{Labels: nonNil(ref.Upstream.Labels)}
	if ref.Item != nil {
		target = targetOf(ref.Item)
	}
	target.Kind, target.Name = "resource", ref.URI
	shown, err := x.g.Decider.Visible(ctx, &req, []string{ref.Upstream.Name}, []policy.Target{target})
	return err == nil && len(shown) == 1 && shown[0]
}

// complete answers completion/complete. What it would complete must be
// visible, or completion would tell what lists hide.
func (x *exchange) complete(ctx context.Context) ([]byte, *refusal) {
	if !x.offers("completions") {
		return nil, x.noMethod()
	}
	raw, _ := x.m.Params.Get("ref")
	ref, err := wire.Fields(raw)
	if err != nil {
		return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.ref must be an object")
	}
	kind, _ := ref.String("type")
	var t *target
	var key, own string
	switch kind {
	case "ref/prompt":
		name, ok := ref.String("name")
		if !ok {
			return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.ref.name must be a string")
		}
		t = &target{kind: "prompt", exposed: name}
		if v, err := x.view(ctx); err == nil {
			if item, ok := x.snap.Find(x.endpoint, federation.Prompt, name); ok {
				t.item, t.upstream, t.known = item, item.Upstream, v.lists[federation.Prompt].shows(item)
				key, own = "name", item.Name
			}
		}
	case "ref/resource":
		uri, ok := ref.String("uri")
		if !ok {
			return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.ref.uri must be a string")
		}
		t = x.locateTemplate(ctx, uri)
		key, own = "uri", t.name
	default:
		return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.ref.type must be ref/prompt or ref/resource")
	}
	t.method = x.m.Method
	t.arguments, _ = x.m.Params.Get("argument")
	return x.perform(ctx, t, func(ctx context.Context) ([]byte, *refusal) {
		inner := wire.NewPatch(ref).Set(key, wire.AppendString(nil, own)).Bytes()
		params := wire.NewPatch(x.m.Params).Remove("_meta").Set("ref", inner)
		if t.masked != nil {
			params.Set("argument", t.masked)
		}
		a, f := x.send(ctx, t, params.Bytes())
		if f != nil {
			return nil, f
		}
		return x.translate(ctx, t, a, nil)
	})
}

// locateTemplate finds the template, else the resource, that a completion
// reference means.
func (x *exchange) locateTemplate(ctx context.Context, uri string) *target {
	item, ok := x.snap.Find(x.endpoint, federation.Template, uri)
	if !ok {
		return x.locate(ctx, uri)
	}
	t := &target{kind: "resource", exposed: uri}
	v, err := x.view(ctx)
	if err != nil {
		return t
	}
	t.item, t.upstream, t.name, t.known = item, item.Upstream, item.Name, v.lists[federation.Template].shows(item)
	return t
}
