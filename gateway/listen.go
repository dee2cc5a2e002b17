package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// listening is what a subscriptions/listen asks for.
type listening struct {
	wants  changes
	honour []byte // raw: the filter as acknowledged
	uris   []*target
	tasks  []*target
}

// listenURIs bounds the resources of one stream.
const listenURIs = 256

// listen answers subscriptions/listen: a stream that says what changes until
// the agent hangs up (MCP 2026-07-28, subscriptions). Upstream notifications
// flow before the acknowledgement is sent, so that nothing is missed after it.
func (x *exchange) listen(ctx context.Context) {
	if !x.accept.sse {
		x.answer(nil, refuse(http.StatusNotAcceptable, codeInvalidRequest, "accept", "Accept must name text/event-stream"))
		return
	}
	if !x.g.hub.enter(x.p.Key()) {
		f := refuse(http.StatusTooManyRequests, CodeBusy, "streams", "too many streams of yours are open (limits.streams)")
		f.retry = standing
		x.answer(nil, f)
		return
	}
	defer x.g.hub.leave(x.p.Key())
	x.stands = true
	x.g.quota.leave(x.p.Key()) // a stream is no call: they have limits of their own
	l, f := x.listening(ctx)
	if f != nil {
		x.answer(nil, f)
		return
	}
	x.lifecycle()
	defer x.reply.close()

	listener := &listener{endpoint: x.endpoint, wants: l.wants, sees: func(upstream string) bool {
		return x.g.sees(x.p, x.endpoint, upstream)
	}}
	x.g.hub.register(listener)
	defer x.g.hub.unregister(listener)

	var followers sync.WaitGroup
	defer followers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x.stand(ctx, l, listener, &followers)

	meta := append([]byte(`{"`+wire.MetaSubscription+`":`), x.m.ID...)
	meta = append(meta, '}')
	ack := append(append([]byte(`{"_meta":`), meta...), `,"notifications":`...)
	ack = append(append(ack, l.honour...), '}')
	if x.reply.send(wire.AppendNotification(nil, "notifications/subscriptions/acknowledged", ack)) != nil {
		return
	}
	params := append(append([]byte(`{"_meta":`), meta...), '}')
	err := x.g.hub.serve(ctx, listener, outlet{
		changed: func(method string) error {
			return x.reply.send(wire.AppendNotification(nil, method, params))
		},
		send: x.reply.send,
		part: x.reply.part,
	})
	if errors.Is(err, errClosing) {
		result := append(append([]byte(`{"resultType":"complete","_meta":`), meta...), '}')
		x.reply.finish(http.StatusOK, wire.AppendResult(nil, x.m.ID, result), nil)
	}
}

// listening reads the filter and judges each resource in it. What this
// principal may not see is left out of the acknowledgement, as what does not
// exist is.
func (x *exchange) listening(ctx context.Context) (*listening, *refusal) {
	raw, _ := x.m.Params.Get("notifications")
	filter, err := wire.Fields(raw)
	if err != nil {
		return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.notifications must be an object")
	}
	l := &listening{}
	b := []byte{'{'}
	add := func(key, value string) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(wire.AppendString(b, key), ':')
		b = append(b, value...)
	}
	for _, w := range []struct {
		key, capability string
		bit             changes
	}{
		{"toolsListChanged", "tools", toolsChanged},
		{"promptsListChanged", "prompts", promptsChanged},
		{"resourcesListChanged", "resources", resourcesChanged},
	} {
		if v, ok := filter.Get(w.key); ok && string(v) == "true" && x.offers(w.capability) {
			l.wants |= w.bit
			add(w.key, "true")
		}
	}
	if raw, ok := filter.Get("resourceSubscriptions"); ok && x.offers("resources") {
		uris, err := wire.Elements(raw)
		if err != nil || len(uris) > listenURIs {
			return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.notifications.resourceSubscriptions must be an array of at most 256 URIs")
		}
		honoured := []byte{'['}
		for _, raw := range uris {
			uri, ok := wire.Unquote(raw)
			if !ok {
				return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.notifications.resourceSubscriptions must be an array of strings")
			}
			y := *x
			y.id = newID()
			t := y.locate(ctx, uri)
			t.method = "resources/subscribe"
			if f := y.judge(ctx, t); f != nil {
				if f.code == CodeUnrecorded || f.challenge != "" || f.retry > 0 {
					return nil, f
				}
				continue
			}
			y.outcome("ok", 0, "", nil)
			if len(honoured) > 1 {
				honoured = append(honoured, ',')
			}
			honoured = append(honoured, raw...)
			l.uris = append(l.uris, t)
		}
		add("resourceSubscriptions", string(append(honoured, ']')))
	}
	tasks, ids, f := x.listenedTasks(ctx, filter)
	if f != nil {
		return nil, f
	}
	if l.tasks = tasks; ids != nil {
		add("taskIds", string(ids))
	}
	l.honour = append(b, '}')
	return l, nil
}

// stand waits until the upstreams' notifications flow: those of changed lists,
// and a subscription of our own for each upstream that has resources here.
func (x *exchange) stand(ctx context.Context, l *listening, out *listener, followers *sync.WaitGroup) {
	bounded, cancel := context.WithTimeout(ctx, standing)
	defer cancel()
	var waits sync.WaitGroup
	if l.wants != 0 {
		var names []string
		for _, u := range x.upstreams() {
			names = append(names, u.Config.Name)
		}
		waits.Go(func() { x.g.Federation.Watching(bounded, names) })
	}
	byUpstream := make(map[string][]*target)
	for _, t := range l.uris {
		byUpstream[t.upstream.Name] = append(byUpstream[t.upstream.Name], t)
	}
	for name, targets := range byUpstream {
		uris := make([]string, len(targets))
		for i, t := range targets {
			uris[i] = t.name
		}
		ready := make(chan struct{})
		followers.Go(func() {
			x.g.follow(ctx, x.p, x.agentFor(), name, uris, func() { close(ready) }, func(params []byte) {
				x.post(ctx, targets[0], out, params)
			})
		})
		waits.Go(func() { wait(bounded, ready) })
	}
	x.standTasks(ctx, bounded, l.tasks, out, followers, &waits)
	waits.Wait()
}

// post delivers a resource update to the stream, tagged with its subscription.
func (x *exchange) post(ctx context.Context, t *target, out *listener, params []byte) {
	o, err := wire.Fields(params)
	if err != nil {
		return
	}
	uri, ok := o.String("uri")
	if !ok {
		return
	}
	exposed := uri
	if x.endpoint == federation.Merged {
		exposed = federation.ExposeURI(t.upstream, uri)
	}
	if !x.g.stillShown(ctx, x.p, x.endpoint, exposed) {
		return
	}
	meta, _ := o.Get("_meta")
	tags, err := wire.Fields(meta)
	if err != nil {
		tags, _ = wire.Fields([]byte("{}"))
	}
	tagged := wire.NewPatch(tags).Set(wire.MetaSubscription, x.m.ID).Bytes()
	params = wire.NewPatch(o).Set("uri", wire.AppendString(nil, exposed)).Set("_meta", tagged).Bytes()
	out.post(wire.AppendNotification(nil, "notifications/resources/updated", params))
}
