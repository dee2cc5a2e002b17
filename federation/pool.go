package federation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

// Limits of the connections for calls to one upstream.
const (
	maxConnections  = 64               // of all principals
	maxPerPrincipal = 16               // of one
	idleTime        = 10 * time.Minute // without use, until one is closed
)

var (
	// errReplaced: a reload put another upstream in this one's place.
	errReplaced = errors.New("upstream replaced")
	// errMoved: the upstream turned out to be of the other era, where other
	// callers share; acquire again.
	errMoved = errors.New("connection moved")
)

// sharing says who shares a connection: calls with equal values do.
type sharing struct {
	credential, owner string // its id, and the user it belongs to
	principal         string // user and client; "" = anyone
	capabilities      string // declared for the whole connection; "" = each request declares its own
}

// pooled is one connection of a pool. Its fields are the pool's, under its
// lock, but for conn and err, which are set before ready is closed.
type pooled struct {
	key     sharing
	ready   chan struct{}
	conn    connection
	err     error
	users   int
	used    time.Time
	idle    *time.Timer
	dialing bool
	gone    bool          // not to be handed out again
	closing bool          // begun
	over    chan struct{} // closed with the connection
}

// pool holds the connections for calls to one upstream: opened at first use,
// by one caller for all who share it, closed when idle, capped.
type pool struct {
	u *upstream

	cut     context.Context // ends when draining begins; what has no end of its own ends with it
	cutOff  context.CancelFunc
	drained chan struct{} // closed when draining is over

	mu       sync.Mutex
	members  map[sharing]*pooled
	all      map[*pooled]bool // members, and those on their way out
	draining bool
}

func newPool(u *upstream) *pool {
	p := &pool{u: u, drained: make(chan struct{}), members: map[sharing]*pooled{}, all: map[*pooled]bool{}}
	p.cut, p.cutOff = context.WithCancel(context.Background())
	return p
}

// wish is what a caller needs of a connection.
type wish struct {
	principal    *identity.Principal // nil = the gateway itself
	credential   credential.Credential
	capabilities []byte
}

// share is the sharing of a wish, given what is known of the upstream's era.
// Requests of the modern era stand alone, so over HTTP everyone with the same
// credential shares; a process or a legacy session has state, and is one
// principal's.
func (p *pool) share(w wish, era *wire.Era) sharing {
	s := sharing{credential: w.credential.ID, owner: w.credential.Owner}
	config := p.u.config.Load()
	modern := era != nil && *era == wire.Modern
	if modern && config.URL != "" || config.Shared {
		return s
	}
	if w.principal != nil {
		s.principal = w.principal.Key()
	}
	if !modern {
		s.capabilities = string(w.capabilities)
	}
	return s
}

// acquire gives a connection for the principal; release it after use. Errors
// are *Failure, or errReplaced once the pool is drained.
func (p *pool) acquire(ctx context.Context, who *identity.Principal, capabilities []byte) (*pooled, error) {
	if p.u.config.Load().Shared || len(capabilities) == 0 {
		// A shared connection declares no elicitation, sampling or
		// roots: nobody knows whom such a request would be for.
		capabilities = []byte(`{}`)
	}
	c, err := p.u.credential(ctx, who)
	if err != nil {
		return nil, err
	}
	w := wish{principal: who, credential: c, capabilities: capabilities}
	const eraChanges = 3
	for range eraChanges {
		m, err := p.join(w)
		if err != nil {
			return nil, err
		}
		select {
		case <-m.ready:
		case <-ctx.Done():
			p.release(m)
			return nil, &Failure{Upstream: p.u.name, Kind: ErrCancelled, Detail: "while connecting"}
		}
		if m.err == nil {
			return m, nil
		}
		p.release(m)
		if !errors.Is(m.err, errMoved) {
			_, err := usedBy(c.ID, nil, m.err)
			return nil, err
		}
	}
	return nil, &Failure{Upstream: p.u.name, Kind: ErrUnavailable, Detail: "the upstream's era keeps changing"}
}

// join counts the caller in on the connection that its wish may share, and
// starts to open it if there is none.
func (p *pool) join(w wish) (*pooled, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return nil, errReplaced
	}
	key := p.share(w, p.u.era.Load())
	if m := p.members[key]; m != nil {
		if !m.lost() {
			m.users++
			return m, nil
		}
		p.detach(m)
	}
	if err := p.makeRoom(key.principal); err != nil {
		return nil, err
	}
	m := &pooled{key: key, ready: make(chan struct{}), over: make(chan struct{}), users: 1, dialing: true}
	p.members[key], p.all[m] = m, true
	// Not the caller's context: others may be waiting for this connection
	// when the caller gives up.
	go p.open(m, w)
	return m, nil
}

// lost says that the connection is of no more use.
func (m *pooled) lost() bool {
	select {
	case <-m.ready:
	default:
		return false // being opened
	}
	if m.err != nil {
		return true
	}
	select {
	case <-m.conn.done():
		return true
	default:
		return false
	}
}

// makeRoom closes the connection that has been idle longest where a cap is
// reached. The caller holds the lock.
func (p *pool) makeRoom(principal string) error {
	mine := 0
	var idlest, myIdlest *pooled
	for _, m := range p.members {
		own := m.key.principal == principal && principal != ""
		if own {
			mine++
		}
		if m.users > 0 {
			continue
		}
		if idlest == nil || m.used.Before(idlest.used) {
			idlest = m
		}
		if own && (myIdlest == nil || m.used.Before(myIdlest.used)) {
			myIdlest = m
		}
	}
	victim, over := (*pooled)(nil), ""
	switch {
	case mine >= maxPerPrincipal:
		victim, over = myIdlest, fmt.Sprintf("%d connections of one principal, all in use", maxPerPrincipal)
	case len(p.members) >= maxConnections:
		victim, over = idlest, fmt.Sprintf("%d connections, all in use", maxConnections)
	default:
		return nil
	}
	if victim == nil {
		return &Failure{Upstream: p.u.name, Kind: ErrBusy, RetryAfter: time.Second, Detail: over}
	}
	p.detach(victim)
	return nil
}

// open dials for m and tells those who wait.
func (p *pool) open(m *pooled, w wish) {
	ctx, cancel := context.WithTimeout(p.u.ctx, openTimeout)
	defer cancel()
	conn, err := p.u.open(ctx, w.credential, w.capabilities, p.elicited(w))
	if err != nil && p.u.ctx.Err() == nil {
		p.u.report(err)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(m.ready)
	m.dialing = false
	if err != nil {
		m.err = err
		if p.u.ctx.Err() != nil {
			m.err = errReplaced
		}
		p.detach(m)
		return
	}
	m.conn = conn
	era := conn.peer().Era
	switch key := p.share(w, &era); {
	case m.gone: // nobody waited, and the pool did not either
		p.detach(m)
	case key != m.key:
		p.move(m, key) // who waits here may not be among those who share it
	default:
		go p.watch(m)
	}
}

// move hands m's connection to a new member under its rightful key. The caller
// holds the lock.
func (p *pool) move(m *pooled, key sharing) {
	heir := &pooled{key: key, ready: make(chan struct{}), over: make(chan struct{}), conn: m.conn, used: time.Now()}
	close(heir.ready)
	m.conn, m.err = nil, errMoved
	p.detach(m)
	p.all[heir] = true
	if p.members[key] != nil || p.draining {
		p.detach(heir)
		return
	}
	p.members[key] = heir
	p.restUntilUsed(heir)
	go p.watch(heir)
}
