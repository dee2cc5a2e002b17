package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// standing bounds how long an answer waits for a subscription to stand at its
// upstream. An upstream that is down does not hold up the agent.
const standing = time.Second

// subscribe answers resources/subscribe of a legacy session.
func (x *exchange) subscribe(ctx context.Context) ([]byte, *refusal) {
	t, f := x.resource(ctx)
	if f != nil {
		return nil, f
	}
	t.method = x.m.Method
	return x.perform(ctx, t, func(ctx context.Context) ([]byte, *refusal) {
		ready := make(chan struct{})
		s, agent := x.session, x.agentFor()
		err := s.subscribe(t.exposed, func(ctx context.Context) {
			deliver := func(params []byte) {
				params = x.updated(t, params)
				o, _ := wire.Fields(params)
				uri, ok := o.String("uri") // perhaps of a part, which policy may hide
				if ok && x.g.stillShown(ctx, x.p, x.endpoint, uri) {
					s.broadcast(wire.AppendNotification(nil, "notifications/resources/updated", params))
				}
			}
			x.g.follow(ctx, x.p, agent, t.upstream.Name, []string{t.name}, func() { close(ready) }, deliver)
		})
		if err != nil {
			return nil, &refusal{status: http.StatusOK, code: CodeBusy, outcome: "unavailable", reason: "subscriptions", text: err.Error()}
		}
		wait(ctx, ready)
		return []byte("{}"), nil
	})
}

// unsubscribe answers resources/unsubscribe. Ending what never began is no
// error, so it tells nothing about what exists.
func (x *exchange) unsubscribe(context.Context) ([]byte, *refusal) {
	if !x.offers("resources") {
		return nil, x.noMethod()
	}
	uri, ok := x.m.Params.String("uri")
	if !ok {
		return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.uri must be a string")
	}
	x.session.unsubscribe(uri)
	x.lifecycle()
	return []byte("{}"), nil
}

// updated is the params of an upstream's notifications/resources/updated in
// the agent's own URIs. The upstream may name a part of what was subscribed
// to, so the URI is rewritten, not replaced.
func (x *exchange) updated(t *target, params []byte) []byte {
	if x.endpoint != federation.Merged {
		return params
	}
	return wire.RewriteURIs("notifications/resources/updated", params, func(uri string, _ bool) string {
		return federation.ExposeURI(t.upstream, uri)
	})
}

// follow keeps a subscription at an upstream until ctx ends.
func (g *Gateway) follow(ctx context.Context, p *identity.Principal, a federation.Agent, upstream string, uris []string, ready func(), fn func(params []byte)) {
	err := g.Federation.Subscribe(ctx, p, a, upstream, uris, ready, fn)
	if err != nil && ctx.Err() == nil {
		g.Logger.Warn("subscription ended", "upstream", upstream, "error", err)
	}
}

// stillShown re-judges a subscription for as long as it lives: nothing is
// delivered about a resource that the principal may no longer see.
func (g *Gateway) stillShown(ctx context.Context, p *identity.Principal, endpoint, uri string) bool {
	x := &exchange{g: g, p: p, endpoint: endpoint, m: &wire.Message{}, start: g.Now(), snap: g.Federation.Snapshot()}
	return x.locate(ctx, uri).known
}

// wait waits for ready, but not for long.
func wait(ctx context.Context, ready <-chan struct{}) {
	timer := time.NewTimer(standing)
	defer timer.Stop()
	select {
	case <-ready:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// sees reports whether p may know that lists of an upstream changed: not when
// the upstream has things and all of them are hidden.
func (g *Gateway) sees(p *identity.Principal, endpoint, upstream string) bool {
	snap := g.Federation.Snapshot()
	v, err := g.viewOf(context.Background(), p, endpoint, snap, policy.Agent{})
	if err != nil {
		return false
	}
	hidden := false
	for k := range v.lists {
		for _, item := range snap.List(endpoint, federation.Kind(k)) {
			if item.Upstream.Name != upstream {
				continue
			}
			if v.lists[k].shows(item) {
				return true
			}
			hidden = true
		}
	}
	return !hidden
}

// changed tells the hub what the federation saw change.
func (g *Gateway) changed(c federation.Change) {
	var bits changes
	if c.Kinds[federation.Tool] {
		bits |= toolsChanged
	}
	if c.Kinds[federation.Prompt] {
		bits |= promptsChanged
	}
	if c.Kinds[federation.Resource] || c.Kinds[federation.Template] {
		bits |= resourcesChanged
	}
	g.hub.changed(c.Upstream, bits)
}

// policyLook is how often the decider is asked whether its lists may have
// changed: after a reload, or because rules read the time.
const policyLook = 200 * time.Millisecond

// followPolicy tells listeners when policy may show them other lists.
func (g *Gateway) followPolicy() {
	last := g.Decider.Revision()
	tick := time.NewTicker(policyLook)
	defer tick.Stop()
	for {
		select {
		case <-g.hub.closing:
			return
		case <-tick.C:
		}
		now := g.Decider.Revision()
		if now == last {
			continue
		}
		last = now
		g.hub.changedForAll()
	}
}
