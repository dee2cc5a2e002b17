package gateway

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/policy"
)

var (
	errSessionEnded     = errors.New("the session has ended")
	errTooManySubscribe = errors.New("too many resource subscriptions")
)

// subscriptionsKept bounds the resources that all sessions of one principal
// are subscribed to.
const subscriptionsKept = 1024

// session is a legacy session. What its token says is fixed; the rest is live
// state, made on first use and dropped when it is idle. Safe for concurrent
// use.
type session struct {
	id           string
	endpoint     string
	version      string // protocol revision
	capabilities []byte // raw, of the agent; reduced when they were large
	agent        policy.Agent
	owner        string // identity.Principal.Key
	created      time.Time

	home    *sessions
	replay  replay
	done    chan struct{}                      // closed when the session ends
	who     atomic.Pointer[identity.Principal] // as verified for the latest request
	used    atomic.Int64                       // Unix nanoseconds of the latest request
	checked atomic.Int64                       // and of the latest look for a tombstone

	mu       sync.Mutex
	ended    bool
	quits    bool // the gateway closes: no new subscription
	logLevel string
	calls    map[string]context.CancelFunc // in flight, by request id as written
	asks     map[string]chan response      // by our request id as written
	subs     map[string]*subscription      // by exposed URI
	listener *listener                     // since the first GET stream
	gets     []*stream                     // open GET streams, the newest last
	elicited []sentTo                      // the oldest first; home.elicitations guards it
}

type subscription struct{ cancel context.CancelFunc }

// primes reports whether streams of the session begin with a priming event.
func (s *session) primes() bool { return s.version >= "2025-11-25" }

// register notes a call in flight, so that the agent can cancel it by the id
// that it gave it. Ids mean nothing outside their session: nobody can cancel
// another's call. done is due when the call ends; ok is false when the id is in
// flight already, or the session has ended.
func (s *session) register(id []byte, cancel context.CancelFunc) (done func(), ok bool) {
	key := string(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.calls[key] != nil {
		return nil, false
	}
	if s.calls == nil {
		s.calls = make(map[string]context.CancelFunc)
	}
	s.calls[key] = cancel
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.calls, key)
		s.touch()
	}, true
}

// cancelled handles notifications/cancelled for the request with this raw id.
// It reports whether such a call was in flight.
func (s *session) cancelled(id []byte) bool {
	s.mu.Lock()
	cancel := s.calls[string(id)]
	s.mu.Unlock()
	if cancel == nil {
		return false
	}
	cancel()
	return true
}

// level is the log level that the agent set; "" when it set none.
func (s *session) level() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logLevel
}

func (s *session) setLevel(level string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logLevel = level
}

// subscribe runs start in its own goroutine for as long as the agent is
// subscribed to uri, as the agent named it. Subscribing twice is once.
func (s *session) subscribe(uri string, start func(ctx context.Context)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || s.quits:
		return errSessionEnded
	case s.subs[uri] != nil:
		return nil
	case !s.home.subs.enter(s.owner, subscriptionsKept):
		return errTooManySubscribe
	}
	who := s.who.Load()
	ctx, cancel := untilEnded(s.home.ctx, who.Ended)
	sub := &subscription{cancel}
	if s.subs == nil {
		s.subs = make(map[string]*subscription)
	}
	s.subs[uri] = sub
	s.home.running.Go(func() {
		defer s.home.subs.leave(s.owner)
		start(ctx)
		cancel()
		s.mu.Lock()
		if s.subs[uri] == sub {
			delete(s.subs, uri)
		}
		s.mu.Unlock()
		select {
		case <-who.Ended:
			s.home.abandon(s)
		default:
		}
	})
	return nil
}

// unsubscribe ends a subscription and reports whether there was one.
func (s *session) unsubscribe(uri string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subs[uri]
	if sub == nil {
		return false
	}
	delete(s.subs, uri)
	sub.cancel()
	return true
}

// broadcast sends a notification that belongs to no request on the session's
// newest GET stream. Equal ones that wait are sent once; without a stream a
// few are kept for the next one. It never blocks.
func (s *session) broadcast(message []byte) {
	if l := s.listens(); l != nil {
		l.post(message)
	}
}

// listens is the session's listener, made when it is first needed; nil when
// the session has ended.
func (s *session) listens() *listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	if s.listener == nil {
		s.listener = &listener{endpoint: s.endpoint, wants: anyChanged, sees: s.sees}
		s.home.g.hub.register(s.listener)
	}
	return s.listener
}

// sees reports whether the session's principal may know about an upstream.
func (s *session) sees(upstream string) bool {
	return s.home.sees == nil || s.home.sees(s.who.Load(), s.endpoint, upstream)
}

// touch marks the session as used.
func (s *session) touch() { s.used.Store(s.home.g.Now().UnixNano()) }

// quit ends the session's subscriptions and lets no new one begin.
func (s *session) quit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quits = true
	for uri, sub := range s.subs {
		sub.cancel()
		delete(s.subs, uri)
	}
}

// end cancels everything that the session has. It is called once the session
// can't be opened any more.
func (s *session) end() {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	close(s.done)
	for _, cancel := range s.calls {
		cancel()
	}
	for _, sub := range s.subs {
		sub.cancel()
	}
	l := s.listener
	s.subs, s.listener = nil, nil
	s.mu.Unlock()
	if l != nil {
		s.home.g.hub.unregister(l)
	}
	s.home.elicitations.forget(s)
	s.replay.close()
}

// busy reports whether a call or a GET stream of the session is open.
func (s *session) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls) > 0 || len(s.asks) > 0 || len(s.gets) > 0
}

// idle reports whether the live state can go at now: when it was quiet for
// emptyAfter and has nothing in it, or for limit whatever it has, but never
// while it is busy.
func (s *session) idle(now time.Time, emptyAfter, limit time.Duration) bool {
	quiet := now.Sub(time.Unix(0, s.used.Load()))
	if quiet < emptyAfter {
		return false
	}
	kept := s.replay.expire(now)
	if s.busy() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	empty := !kept && s.logLevel == "" && len(s.subs) == 0 && s.listener == nil && !s.home.elicitations.expects(s, now)
	return empty || quiet >= limit
}
