package federation

import (
	"context"
	"log/slog"
	"sync"

	"github.com/ostiary/ostiary/gateway/wire"
)

// listen: several listeners share the process's one stream. In the modern era
// each has a subscription of its own; in the legacy era each gets what it
// asked for out of everything.
func (s *stdio) listen(ctx context.Context, filter listenFilter, ready func(), events func(string, []byte)) error {
	if s.peer().Era == wire.Modern {
		return s.subscription(ctx, filter, ready, events)
	}
	tap, fresh := s.hub.join(filter)
	defer func() { s.changeSubscriptions(methodUnsubscribe, s.hub.part(tap)) }()
	s.changeSubscriptions(methodSubscribe, fresh)
	ready()
	tap.run(ctx, s.over, events)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.loss(false)
}

// changeSubscriptions tells the upstream, without waiting for its answer, of
// which URIs somebody wants updates from now on, or nobody any more. What is
// written first is read first.
func (s *stdio) changeSubscriptions(method string, uris []string) {
	if !s.peer().has("resources", "subscribe") {
		return
	}
	for _, uri := range uris {
		s.tell(wire.AppendRequest(nil, s.nextID(), method, uriParams(uri)))
	}
}

// subscription is one subscriptions/listen.
func (s *stdio) subscription(ctx context.Context, filter listenFilter, ready func(), events func(string, []byte)) error {
	inner, clock := withDeadline(ctx, s.d.timeout(&Call{}))
	defer clock.stop()
	t := &tap{filter: filter, wake: make(chan struct{}, 1)}
	var first sync.Once
	w := &waiter{id: s.nextID(), stream: func(m *wire.Message) {
		switch {
		case m.Method == methodAcknowledged:
			first.Do(func() {
				clock.pause() // from now on the stream may be silent
				t.put(m.Method, nil)
			})
		case filter.wants(m):
			t.put(m.Method, withoutSubscription(m.Params))
		}
	}}
	over := make(chan struct{})
	var delivery sync.WaitGroup
	delivery.Go(func() {
		t.run(inner, over, func(method string, params []byte) {
			if method == methodAcknowledged {
				ready()
			} else {
				events(method, params)
			}
		})
	})
	m, f := s.exchange(inner, w, methodListen, s.meta.own(`"notifications":`+string(filter.params())), nil)
	close(over)
	delivery.Wait()
	return listenEnd(ctx, s.name(), m, f)
}

// modernNotice takes a notification of a modern upstream. A request is
// against the protocol (MCP 2026-07-28, stdio: servers MUST NOT send any).
func (s *stdio) modernNotice(m *wire.Message) {
	if m.Kind == wire.Request {
		s.d.Logger.Debug("upstream sent a request; dropped", slog.String("upstream", s.name()))
		return
	}
	if id, ok := subscriptionID(m); ok {
		s.mu.Lock()
		w := s.waiting[id]
		s.mu.Unlock()
		if w != nil && w.stream != nil {
			w.stream(m)
		}
		return
	}
	if owner := s.hub.owner(m); owner != nil {
		s.mail(owner, m)
	}
}

// subscriptionID is the request id of the listen that a notification belongs
// to, as we wrote it; some servers make a string of it.
func subscriptionID(m *wire.Message) (string, bool) {
	raw, ok := m.Meta.Get(wire.MetaSubscription)
	if !ok {
		return "", false
	}
	if text, ok := wire.Unquote(raw); ok {
		return text, true
	}
	return string(raw), true
}
