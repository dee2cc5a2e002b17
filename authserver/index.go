package authserver

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/store"
)

// index is the live access tokens in memory: a token check reads nothing else.
// The store is the truth; every change comes here after the store said yes, so
// what was revoked stops working at once and what was lost in a crash is read
// anew.
type index struct {
	now    func() time.Time
	tokens tokenTable // read by token checks, without mu

	mu     sync.RWMutex
	grants map[string]*grantEntry
	users  map[string]*userEntry
	due    dueHeap
}

// grantEntry is what the live tokens of one grant stand on.
type grantEntry struct {
	store.Grant
	user   *userEntry
	client identity.Client
	path   string // of the resource
	tokens map[[sha256.Size]byte]held
	ended  chan struct{} // closed when the principals made with it no longer stand
	used   atomic.Int64  // Unix seconds of the last use that was noted
}

// held is a token of a grant, with what no token check reads.
type held struct {
	*tokenEntry
	scopes []string
}

func newIndex(now func() time.Time) *index {
	return &index{
		now: now, grants: map[string]*grantEntry{}, users: map[string]*userEntry{},
	}
}

// facts are what the index must know of a grant besides the grant.
type facts struct {
	user   *store.User // nil = no record names the person
	client identity.Client
}

var errHash = errors.New("a token's hash is not hex of SHA-256")

func rawHash(s string) (h [sha256.Size]byte, err error) {
	if len(s) != hex.EncodedLen(len(h)) {
		return h, errHash
	}
	_, err = hex.Decode(h[:], []byte(s))
	return h, err
}

// lookup finds the token with this hash that is live now.
func (x *index) lookup(h *[sha256.Size]byte, now time.Time) (p *identity.Principal, token *tokenEntry) {
	t := x.tokens.get(h)
	if t == nil || now.UnixNano() >= t.expires {
		return nil, nil
	}
	return t.principal.Load(), t // nil while the person is disabled
}

// add makes the access tokens among added valid. With replace the grant's
// earlier ones end.
func (x *index) add(f facts, g store.Grant, added []store.Token, replace bool) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.grants[g.ID]
	if e == nil {
		e = &grantEntry{
			Grant: g, client: f.client, path: pathOf(g.Resource),
			tokens: map[[sha256.Size]byte]held{}, ended: make(chan struct{}),
		}
		e.client.RedirectHost = g.RedirectHost
		e.user = x.userOf(f.user, &g)
		e.user.grants[g.ID] = e
		x.grants[g.ID] = e
	}
	fresh := map[[sha256.Size]byte]held{}
	for _, t := range added {
		if t.Kind != tokenAccess {
			continue
		}
		h, err := rawHash(t.Hash)
		if err != nil {
			return err
		}
		entry := &tokenEntry{hash: h, expires: t.Expires.UnixNano(), merged: e.path == mergedPath, grant: e}
		entry.principal.Store(e.principal(t.Scopes))
		fresh[h] = held{entry, t.Scopes}
		x.dueAt(t.Expires, h)
	}
	if replace { // only now: the principal of the earlier ones lives on
		for h := range e.tokens {
			x.tokens.remove(&h)
		}
		clear(e.tokens)
	}
	for h, t := range fresh {
		x.tokens.put(t.tokenEntry)
		e.tokens[h] = t
	}
	return nil
}

// pathOf is the path of a canonical resource. Nearly all are /mcp: one constant
// stays in the processor's cache.
func pathOf(resource string) string {
	_, rest, _ := strings.Cut(resource, "://")
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		return "" // covers nothing
	}
	if rest[i:] == mergedPath {
		return mergedPath
	}
	return rest[i:]
}

// principal finds or makes the principal for tokens with these scopes.
func (e *grantEntry) principal(scopes []string) *identity.Principal {
	if e.user.disabled {
		return nil
	}
	for _, t := range e.tokens {
		if p := t.principal.Load(); p != nil && slices.Equal(t.scopes, scopes) {
			return p
		}
	}
	return e.mint(scopes)
}

// renew gives the tokens of e principals that say what is said of the person now.
func (e *grantEntry) renew() {
	close(e.ended)
	e.ended = make(chan struct{})
	var made []*identity.Principal
	for _, t := range e.tokens {
		if e.user.disabled {
			t.principal.Store(nil)
			continue
		}
		i := slices.IndexFunc(made, func(p *identity.Principal) bool { return slices.Equal(p.Grant.Scopes, t.scopes) })
		if i < 0 {
			i, made = len(made), append(made, e.mint(t.scopes))
		}
		t.principal.Store(made[i])
	}
}

func (e *grantEntry) mint(scopes []string) *identity.Principal {
	u := e.user
	return &identity.Principal{
		Issuer: u.issuer, Subject: u.subject, Name: u.name, Groups: u.groups,
		AuthTime: e.AuthTime, AMR: e.AMR, Client: e.client,
		Grant: identity.Grant{Scopes: scopes, Resource: e.Resource, ConsentedAt: e.ConsentedAt},
		Ended: e.ended,
	}
}

// end ends grants: their tokens stop working now.
func (x *index) end(ids ...string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range ids {
		if g := x.grants[id]; g != nil {
			x.drop(g)
		}
	}
}

// endWhere ends the grants that match says yes to.
func (x *index) endWhere(match func(*store.Grant) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, g := range x.grants {
		if match(&g.Grant) {
			x.drop(g)
		}
	}
}

func (x *index) drop(g *grantEntry) {
	for h := range g.tokens {
		x.tokens.remove(&h)
	}
	close(g.ended)
	delete(x.grants, g.ID)
	delete(g.user.grants, g.ID)
	if len(g.user.grants) == 0 {
		delete(x.users, userKey(&g.Grant))
	}
}

// remove ends one token.
func (x *index) remove(h [sha256.Size]byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.removeLocked(h)
}

func (x *index) removeLocked(h [sha256.Size]byte) {
	t := x.tokens.get(&h)
	if t == nil {
		return
	}
	x.tokens.remove(&h)
	delete(t.grant.tokens, h)
	if len(t.grant.tokens) == 0 {
		x.drop(t.grant)
	}
}

// close ends everything.
func (x *index) close() { x.endWhere(func(*store.Grant) bool { return true }) }
