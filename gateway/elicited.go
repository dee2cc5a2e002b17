package gateway

import (
	"slices"
	"sync"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// methodElicited tells that the person is done with a page (MCP 2025-11-25,
// Elicitation, Completion Notifications).
const methodElicited = "notifications/elicitation/complete"

// Bounds of the pages that one session's agent was sent to and whose
// completion is awaited. For how long, Limits.State says.
const (
	elicitationsKept = 64  // the oldest go first
	elicitationID    = 256 // bytes of an elicitationId; the completion of a longer one is not relayed
)

// elicitation is an elicitation in URL mode, as its upstream names it.
type elicitation struct{ upstream, id string }

// sentTo is a page that an agent was sent to.
type sentTo struct {
	elicitation
	until time.Time
}

// elicitations knows which sessions' agents were sent to which pages, so that
// the upstream's word that one is done finds them, also when the call that asked
// has ended (MCP 2025-11-25, Elicitation: only the client that was asked may be
// told). The zero value is ready.
type elicitations struct {
	mu   sync.Mutex
	sent map[elicitation][]*session
}

// sends notes that x's agent is sent to the page of an elicitation with these
// params, as its upstream wrote them. Revisions before 2025-11-25 have no URL
// mode, and no word for its end.
func (x *exchange) sends(t *target, params []byte) {
	if x.session == nil || x.version < wire.Version20251125 || modeOf(params) != "url" {
		return
	}
	if g, ok := elicitationOf(t.upstream.Name, params); ok {
		x.session.sentTo(g)
	}
}

// elicitationOf is what the params of an elicitation, or of the notification
// that it is complete, are about.
func elicitationOf(upstream string, params []byte) (elicitation, bool) {
	o, err := wire.Fields(params)
	if err != nil {
		return elicitation{}, false
	}
	id, ok := o.String("elicitationId")
	return elicitation{upstream, id}, ok && len(id) <= elicitationID
}

// sentTo notes a page for a session, unless it has ended.
func (s *session) sentTo(g elicitation) {
	now := s.home.g.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	es := &s.home.elicitations
	es.mu.Lock()
	defer es.mu.Unlock()
	es.drop(s, g) // once, and as the latest
	for len(s.elicited) > 0 && (len(s.elicited) >= elicitationsKept || !now.Before(s.elicited[0].until)) {
		es.drop(s, s.elicited[0].elicitation)
	}
	if es.sent == nil {
		es.sent = make(map[elicitation][]*session)
	}
	es.sent[g] = append(es.sent[g], s)
	s.elicited = append(s.elicited, sentTo{g, now.Add(s.home.g.Limits.State)})
}

// drop needs mu. It reports whether the page was still awaited.
func (es *elicitations) drop(s *session, g elicitation) bool {
	i := slices.IndexFunc(s.elicited, func(st sentTo) bool { return st.elicitation == g })
	if i < 0 {
		return false
	}
	live := s.home.g.Now().Before(s.elicited[i].until)
	s.elicited = slices.Delete(s.elicited, i, i+1)
	others := slices.DeleteFunc(es.sent[g], func(o *session) bool { return o == s })
	if es.sent[g] = others; len(others) == 0 {
		delete(es.sent, g)
	}
	return live
}

// forget drops all of a session that ended.
func (es *elicitations) forget(s *session) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for len(s.elicited) > 0 {
		es.drop(s, s.elicited[0].elicitation)
	}
}

// expects reports whether a session awaits the completion of a page at now.
func (es *elicitations) expects(s *session, now time.Time) bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	return len(s.elicited) > 0 && now.Before(s.elicited[len(s.elicited)-1].until)
}

// take reports whether the agent of s waits for the completion in params, and
// ends that: it is told once.
func (es *elicitations) take(s *session, upstream string, params []byte) bool {
	g, ok := elicitationOf(upstream, params)
	es.mu.Lock()
	defer es.mu.Unlock()
	return ok && es.drop(s, g)
}

// completed tells x's agent, whose call is under way, of a completion that it
// waits for: on the call's stream, or where that can't be on the session's.
func (x *exchange) completed(t *target, params []byte) {
	if !x.g.sessions.elicitations.take(x.session, t.upstream.Name, params) {
		return
	}
	m := wire.AppendNotification(nil, methodElicited, params)
	if x.reply.send(m) != nil {
		x.session.broadcast(m)
	}
}

// completed tells the sessions that a completion is for, on their GET streams:
// those of the principal whose connection it came on. On a connection that
// several share, an id that two of them were given says nothing about whose it
// is, and nobody is told. An unknown id is dropped.
func (es *elicitations) completed(e federation.Elicited) {
	g, ok := elicitationOf(e.Upstream, e.Params)
	if !ok {
		return
	}
	for _, s := range es.takeAll(g, e.Principal) {
		if s.sees(e.Upstream) {
			s.broadcast(wire.AppendNotification(nil, methodElicited, e.Params))
		}
	}
}

// takeAll is take for all sessions of an owner; "" = of the only one.
func (es *elicitations) takeAll(g elicitation, owner string) []*session {
	es.mu.Lock()
	defer es.mu.Unlock()
	all := slices.Clone(es.sent[g])
	if owner == "" && len(all) > 0 {
		owner = all[0].owner
		if slices.ContainsFunc(all, func(s *session) bool { return s.owner != owner }) {
			return nil
		}
	}
	return slices.DeleteFunc(all, func(s *session) bool { return s.owner != owner || !es.drop(s, g) })
}
