package federation

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

// Subscribe delivers resources/updated of these URIs (the upstream's own) to
// fn until ctx ends. ready is called once, when the subscription stands. A
// failure before that is returned at once, as a *Failure; after it, a lost
// connection is made anew, and as changes may have been missed meanwhile, fn
// is called once for every URI. An upstream that leaves the catalog ends it
// with ErrUnknownUpstream.
func (f *Federation) Subscribe(ctx context.Context, p *identity.Principal, a Agent, upstream string, uris []string, ready func(), fn func(params []byte)) error {
	return f.subscribe(ctx, upstream, &subscription{
		principal: p, agent: a, filter: listenFilter{URIs: uris}, ready: ready,
		fn: func(method string, params []byte) {
			if method == methodUpdated {
				fn(params)
			}
		},
	})
}

// subscribe keeps s standing until ctx ends.
func (f *Federation) subscribe(ctx context.Context, upstream string, s *subscription) error {
	var pause backoff
	for {
		u := f.upstream(upstream)
		if u == nil {
			return &Failure{Upstream: upstream, Kind: ErrUnknownUpstream}
		}
		streams := s.streams.Load()
		err := s.follow(ctx, u)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case f.upstream(upstream) != u:
			continue // a reload came between
		case s.streams.Load() == 0:
			return u.notStanding(err)
		case s.streams.Load() > streams:
			pause.reset()
		}
		if err := sleep(ctx, pause.next()); err != nil {
			return err
		}
	}
}

// notStanding is the error of a subscription that never came about.
func (u *upstream) notStanding(err error) error {
	if err == nil || errors.Is(err, errReplaced) || errors.Is(err, errNoNotifications) {
		return &Failure{Upstream: u.name, Kind: ErrUnavailable, Detail: "it does not keep the subscription"}
	}
	return u.failure(err)
}

// subscription is one caller's, over as many streams as it takes.
type subscription struct {
	principal *identity.Principal
	agent     Agent
	filter    listenFilter
	ready     func()
	streams   atomic.Int32 // that stood so far

	mu sync.Mutex // one delivery at a time
	fn func(method string, params []byte)
}

// follow delivers over one connection until it is lost, the upstream is
// drained, or ctx ends.
func (s *subscription) follow(ctx context.Context, u *upstream) error {
	m, err := u.pool.acquire(ctx, s.principal, s.agent.Capabilities)
	if err != nil {
		return err
	}
	defer u.pool.release(m)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.pool.cut, cancel)()

	return m.conn.listen(ctx, s.filter, s.stands, s.deliver)
}

func (s *subscription) deliver(method string, params []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fn(method, params)
}

// stands: notifications flow. What changed between two streams nobody told.
func (s *subscription) stands() {
	if s.streams.Add(1) == 1 {
		if s.ready != nil {
			s.ready()
		}
		return
	}
	for _, uri := range s.filter.URIs {
		s.deliver(methodUpdated, append(wire.AppendString([]byte(`{"uri":`), uri), '}'))
	}
	for _, id := range s.filter.Tasks {
		s.deliver(MethodTaskStatus, append(wire.AppendString([]byte(`{"taskId":`), id), '}'))
	}
}
