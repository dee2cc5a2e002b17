package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/policy"
)

// errNoSession: unknown, another's, expired or deleted; nobody can tell which.
var errNoSession = errors.New("no such session")

const (
	sessionPurpose = "session" // of Sealer, and class of Once

	// sessionRecheck is how long a live session is taken as not deleted. A
	// deletion in this process is seen at once, one by another replica then.
	sessionRecheck = 5 * time.Second

	// abandonTime bounds the write of one tombstone that nobody waits for.
	abandonTime = 5 * time.Second

	// emptyIdle is how long live state without content is kept.
	emptyIdle = time.Minute

	sessionSweep = time.Minute

	// liveSessions bounds the sessions of one principal that have live state.
	liveSessions = 1024
)

// sessions opens legacy sessions. A session is its token: a sealed value that
// holds all that must survive, bound to principal and endpoint. Nothing is
// stored but tombstones of deleted ones. It is never authentication: each
// request is verified before its session is looked at (MCP, Security Best
// Practices, session hijacking).
type sessions struct {
	g    *Gateway        // Sealer, Once, Now, Limits, the hub
	ctx  context.Context // of what sessions keep running: subscriptions
	kept ledger          // replay bytes by principal
	subs quota           // resource subscriptions by principal

	elicitations elicitations // that await their completion

	running sync.WaitGroup // goroutines of subscriptions
	sees    func(p *identity.Principal, endpoint, upstream string) bool

	mu        sync.Mutex
	live      map[string]map[string]*session // by owner and id
	deletions uint64                         // counts; see open
	sweep     *time.Timer
	closed    bool
}

// newSessions makes the sessions of g. What they start ends with ctx.
func newSessions(ctx context.Context, g *Gateway) *sessions {
	return &sessions{g: g, ctx: ctx, sees: g.sees, live: make(map[string]map[string]*session)}
}

// create makes a session and its token: visible ASCII, as Mcp-Session-Id must
// be.
func (h *sessions) create(p *identity.Principal, endpoint, version string, capabilities []byte, agent policy.Agent) (*session, string) {
	s := h.make(p, endpoint)
	s.id = rand.Text()
	s.created = h.g.Now().Truncate(time.Second)
	s.version = version
	s.capabilities = reduceCapabilities(capabilities)
	s.agent = policy.Agent{Name: shorten(agent.Name, sessionAgent), Version: shorten(agent.Version, sessionAgent)}
	return s, h.g.Sealer.Seal(sessionPurpose, s.encode(), sessionBound(p, endpoint))
}

func (h *sessions) make(p *identity.Principal, endpoint string) *session {
	s := &session{endpoint: endpoint, owner: p.Key(), home: h, done: make(chan struct{})}
	s.replay.limit, s.replay.owner, s.replay.shared, s.replay.now = h.g.Limits.Replay, s.owner, &h.kept, h.g.Now
	s.who.Store(p)
	return s
}

// open is the session that a token stands for: errNoSession when there is
// none for this principal at this endpoint; another error when the store
// can't say whether it was deleted, which is no permission to go on.
func (h *sessions) open(ctx context.Context, p *identity.Principal, endpoint, token string) (*session, error) {
	if len(token) > sessionToken {
		return nil, errNoSession
	}
	plain, err := h.g.Sealer.Unseal(sessionPurpose, token, sessionBound(p, endpoint))
	if err != nil {
		return nil, errNoSession
	}
	id, created, rest, ok := decodeHead(plain)
	if !ok || !h.g.Now().Before(created.Add(h.g.Limits.SessionLife)) {
		return nil, errNoSession
	}
	owner := p.Key()
	for {
		now := h.g.Now().UnixNano()
		h.mu.Lock()
		s, deletions := h.live[owner][id], h.deletions
		if s != nil {
			s.used.Store(now) // under h.mu, so that a sweep sees it
		}
		h.mu.Unlock()
		if s != nil && now-s.checked.Load() < int64(sessionRecheck) {
			s.who.Store(p)
			return s, nil
		}
		gone, err := h.g.Once.Present(ctx, sessionPurpose, id)
		if err != nil {
			return nil, fmt.Errorf("looking for the session's tombstone: %w", err)
		}
		if gone {
			h.drop(owner, id)
			return nil, errNoSession
		}
		if s == nil {
			s = h.make(p, endpoint)
			s.id, s.created = id, created
			if !s.decodeRest(rest) {
				return nil, errNoSession
			}
		}
		s, evicted := h.insert(s, deletions, now)
		if evicted != nil {
			evicted.end()
		}
		if s != nil {
			s.who.Store(p)
			return s, nil
		}
	}
}

// insert makes s live, or finds it live already. It returns nil when a
// deletion came in between, so that the look for a tombstone counts no more.
// A principal with too many live sessions loses the state of the one that it
// used least lately.
func (h *sessions) insert(s *session, deletions uint64, now int64) (live, evicted *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.deletions != deletions {
		return nil, nil
	}
	own := h.live[s.owner]
	if other := own[s.id]; other != nil {
		s = other
	} else if h.closed {
		s.quit()
	} else {
		if len(own) >= liveSessions {
			if evicted = leastUsed(own); evicted != nil {
				delete(own, evicted.id)
			}
		}
		if own == nil {
			own = make(map[string]*session, 1)
			h.live[s.owner] = own
		}
		own[s.id] = s
		if h.sweep == nil {
			h.sweep = time.AfterFunc(sessionSweep, h.tidy)
		}
	}
	s.used.Store(now)
	s.checked.Store(now)
	return s, evicted
}

// leastUsed is the session that has been quiet for longest, of those with
// nothing open; nil when all have something open, which Limits.Calls and
// Limits.Streams bound.
func leastUsed(own map[string]*session) *session {
	var least *session
	for _, s := range own {
		if (least == nil || s.used.Load() < least.used.Load()) && !s.busy() {
			least = s
		}
	}
	return least
}

// delete ends a session for good: the tombstone first, which outlives the
// token, then whatever the session has in memory.
func (h *sessions) delete(ctx context.Context, p *identity.Principal, endpoint, token string) error {
	s, err := h.open(ctx, p, endpoint, token)
	if err != nil {
		return err
	}
	if _, err := h.g.Once.InsertIfAbsent(ctx, sessionPurpose, s.id, s.created.Add(h.g.Limits.SessionLife)); err != nil {
		return fmt.Errorf("writing the session's tombstone: %w", err)
	}
	h.drop(s.owner, s.id)
	return nil
}

// abandon deletes a session whose subscriptions ended because their principal
// no longer stands. Whoever comes back to it, after a new sign-in perhaps, is
// told to begin anew (MCP 2025-11-25, Session Management: 404), rather than wait
// for updates that nobody sends.
func (h *sessions) abandon(s *session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), abandonTime)
	defer cancel()
	if _, err := h.g.Once.InsertIfAbsent(ctx, sessionPurpose, s.id, s.created.Add(h.g.Limits.SessionLife)); err != nil {
		h.g.Logger.Error("a session that ended can be taken up again", "error", err)
	}
	h.drop(s.owner, s.id)
}

// drop ends the live part of a session that has a tombstone.
func (h *sessions) drop(owner, id string) {
	h.mu.Lock()
	s := h.live[owner][id]
	h.remove(owner, id)
	h.deletions++
	h.mu.Unlock()
	if s != nil {
		s.end()
	}
}

// remove needs mu.
func (h *sessions) remove(owner, id string) {
	own := h.live[owner]
	delete(own, id)
	if len(own) == 0 {
		delete(h.live, owner)
	}
}

// all is every live session.
func (h *sessions) all() []*session {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*session
	for _, own := range h.live {
		all = slices.AppendSeq(all, maps.Values(own))
	}
	return all
}

// tidy drops live state that nobody needs: the token stays good, and the next
// request makes it anew.
func (h *sessions) tidy() {
	for _, s := range h.all() {
		h.mu.Lock()
		now := h.g.Now()
		expired := !now.Before(s.created.Add(h.g.Limits.SessionLife))
		gone := expired || s.idle(now, emptyIdle, h.g.Limits.Session)
		if gone && h.live[s.owner][s.id] == s {
			h.remove(s.owner, s.id)
		}
		h.mu.Unlock()
		if gone {
			s.end()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sweep = nil; len(h.live) > 0 && !h.closed {
		h.sweep = time.AfterFunc(sessionSweep, h.tidy)
	}
}

// closeAll stops what live sessions do on their own; calls in flight go on, and
// the tokens stay good. It waits for subscriptions to end.
func (h *sessions) closeAll() {
	h.mu.Lock()
	h.closed = true
	if h.sweep != nil {
		h.sweep.Stop()
	}
	h.mu.Unlock()
	for _, s := range h.all() {
		s.quit()
	}
	h.running.Wait()
}
