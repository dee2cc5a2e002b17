package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	notKept = "what was missed is no longer kept; send initialize again"

	// retryField asks agents not to come back all at once while the gateway
	// restarts (MCP 2025-11-25, Streamable HTTP: retry before closing).
	retryField = "retry: 1000\n\n"
)

// serveGET serves a GET of the session: its notification stream, or with
// Last-Event-ID what that event's stream went on to say, and then the stream
// itself if it is still open. Several may be open; each message goes to one
// of them. It ends with the agent, the session or the gateway.
func (s *session) serveGET(w http.ResponseWriter, r *http.Request) {
	l := s.listens()
	if l == nil {
		plain(w, http.StatusNotFound, "no such session; send initialize again")
		return
	}
	if !s.home.g.hub.enter(s.owner) {
		w.Header().Set("Retry-After", "1")
		plainCode(w, http.StatusTooManyRequests, CodeBusy, "too many streams of yours are open (limits.streams)")
		return
	}
	defer s.home.g.hub.leave(s.owner)
	defer s.touch()

	var st *stream
	var k *sink
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		named, n, ok := s.replay.find(last)
		if ok {
			k, _ = named.resume(n, func() *sink { return openSink(w, r) })
		}
		if k == nil {
			plain(w, http.StatusNotFound, notKept)
			return
		}
		st = named
	} else {
		st = s.replay.open(true)
		k = openSink(w, r)
		// No priming event here: an agent that has seen no event has missed
		// none, and comes back without an id that a restart would make void.
		st.attach(k, false)
	}
	defer st.detach(k)
	o := outlet{
		beat:      func() error { return st.raw(k, keepAliveComment) },
		keepAlive: s.home.g.Limits.KeepAlive,
		ended:     k.done,
		send:      func(message []byte) error { return st.send(message, false) },
		part:      st.part,
	}
	if !st.get { // the stream of a call: nothing but what belongs to the call
		s.follow(r.Context(), o)
		return
	}
	if !s.addGET(st) {
		return // ended meanwhile
	}
	defer s.removeGET(st)
	o.changed = func(method string) error {
		return o.send(wire.AppendNotification(nil, method, nil))
	}
	err := s.home.g.hub.serve(r.Context(), l, o)
	if errors.Is(err, errClosing) && s.primes() {
		_ = st.raw(k, retryField)
	}
}

// follow keeps the resumed stream of a call alive until it has its response,
// also while the gateway closes.
func (s *session) follow(ctx context.Context, o outlet) {
	t := time.NewTicker(o.keepAlive)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.ended:
			return
		case <-t.C:
			if o.beat() != nil {
				return
			}
		}
	}
}

func (s *session) addGET(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.gets = append(s.gets, st)
	}
	return !s.ended
}

func (s *session) removeGET(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.gets, st); i >= 0 {
		s.gets = slices.Delete(s.gets, i, i+1)
	}
}
