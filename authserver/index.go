package authserver

import (
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
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
	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]*tokenEntry
	grants map[string]*grantEntry
	users  map[string]*userEntry
	due    dueHeap
}

// tokenEntry is one live token. Its principal is shared by all requests, and
// by all tokens of the grant with the same scopes; nil while the person is
// disabled.
type tokenEntry struct {
	grant     *grantEntry
	expires   time.Time
	scopes    []string
	principal *identity.Principal

	// What a token check needs stands here, not in the grant: with many live
	// tokens each step to another place in memory costs as much as the hash.
	path string       // the grant's
	used atomic.Int64 // Unix seconds of the last use that was noted
}

// grantEntry is what the live tokens of one grant stand on.
type grantEntry struct {
	store.Grant
	user   *userEntry
	client identity.Client
	path   string // of the resource
	tokens map[[sha256.Size]byte]*tokenEntry
	ended  chan struct{} // closed when the principals made with it no longer stand
	used   atomic.Int64  // Unix seconds of the last use that was noted
}

// userEntry is a person, or a client that acts for itself, with live grants.
type userEntry struct {
	issuer, subject, name string
	groups                []string
	disabled              bool
	grants                map[string]*grantEntry
}

// userKey is the id under which the index knows the person behind g.
func userKey(g *store.Grant) string {
	if g.User == "" {
		return clientIssuer + ":" + g.Client
	}
	return g.User
}

func newIndex(now func() time.Time) *index {
	return &index{
		now: now, tokens: map[[sha256.Size]byte]*tokenEntry{},
		grants: map[string]*grantEntry{}, users: map[string]*userEntry{},
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
func (x *index) lookup(h [sha256.Size]byte, now time.Time) (p *identity.Principal, token *tokenEntry) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.tokens[h]
	if t == nil || t.principal == nil || !now.Before(t.expires) {
		return nil, nil
	}
	return t.principal, t
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
			tokens: map[[sha256.Size]byte]*tokenEntry{}, ended: make(chan struct{}),
		}
		e.client.RedirectHost = g.RedirectHost
		e.user = x.userOf(f.user, &g)
		e.user.grants[g.ID] = e
		x.grants[g.ID] = e
	}
	fresh := map[[sha256.Size]byte]*tokenEntry{}
	for _, t := range added {
		if t.Kind != tokenAccess {
			continue
		}
		h, err := rawHash(t.Hash)
		if err != nil {
			return err
		}
		fresh[h] = &tokenEntry{grant: e, path: e.path, expires: t.Expires, scopes: t.Scopes, principal: e.principal(t.Scopes)}
		heap.Push(&x.due, due{t.Expires, h})
	}
	if replace { // only now: the principal of the earlier ones lives on
		for h := range e.tokens {
			delete(x.tokens, h)
		}
		clear(e.tokens)
	}
	maps.Copy(e.tokens, fresh)
	maps.Copy(x.tokens, fresh)
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
		if t.principal != nil && slices.Equal(t.scopes, scopes) {
			return t.principal
		}
	}
	u := e.user
	return &identity.Principal{
		Issuer: u.issuer, Subject: u.subject, Name: u.name, Groups: u.groups,
		AuthTime: e.AuthTime, AMR: e.AMR, Client: e.client,
		Grant: identity.Grant{Scopes: scopes, Resource: e.Resource, ConsentedAt: e.ConsentedAt},
		Ended: e.ended,
	}
}

// userOf finds or makes the entry of the person behind g.
func (x *index) userOf(u *store.User, g *store.Grant) *userEntry {
	id := userKey(g)
	fresh := describe(u, g)
	e := x.users[id]
	if e == nil {
		e = &userEntry{grants: map[string]*grantEntry{}}
		fresh.grants = e.grants
		*e = fresh
		x.users[id] = e
		return e
	}
	x.describe(e, fresh)
	return e
}

// clientIssuer is the issuer of a client that acts for itself.
const clientIssuer = "client"

// describe says who the person of g is: as their record says, or, when no
// record names them, as the grant does.
func describe(u *store.User, g *store.Grant) userEntry {
	switch {
	case u != nil:
		groups := slices.Clone(u.Groups)
		slices.Sort(groups)
		return userEntry{issuer: u.Issuer, subject: u.Subject, name: u.Name, groups: slices.Compact(groups), disabled: u.Disabled}
	case g.User == "":
		return userEntry{issuer: clientIssuer, subject: g.Client, name: g.Client}
	default:
		// Issuer URLs hold colons, so the last one divides. Where a subject
		// holds one too, the id of the person is still the same.
		i := strings.LastIndexByte(g.User, ':')
		return userEntry{
			issuer: g.User[:max(i, 0)], subject: g.User[i+1:], name: g.Name, groups: slices.Sorted(slices.Values(g.Groups)),
			// A grant names its person itself when an enterprise vouched for
			// them. One that does not, and whose person is gone, is void.
			disabled: g.Name == "",
		}
	}
}

// describe replaces what is said of a person. If it differs, their principals
// no longer stand.
func (x *index) describe(e *userEntry, fresh userEntry) {
	fresh.grants = e.grants
	if e.issuer == fresh.issuer && e.subject == fresh.subject && e.name == fresh.name &&
		e.disabled == fresh.disabled && slices.Equal(e.groups, fresh.groups) {
		return
	}
	*e = fresh
	for _, g := range e.grants {
		close(g.ended)
		g.ended = make(chan struct{})
		for _, t := range g.tokens {
			t.principal = nil
		}
		for _, t := range g.tokens {
			t.principal = g.principal(t.scopes)
		}
	}
}

// changed takes over what the store says of a person now; nil = no record.
func (x *index) changed(id string, u *store.User) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.users[id]
	if e == nil {
		return
	}
	for _, g := range e.grants { // any of them says who it is when no record does
		x.describe(e, describe(u, &g.Grant))
		return
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
		delete(x.tokens, h)
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
	t := x.tokens[h]
	if t == nil {
		return
	}
	delete(x.tokens, h)
	delete(t.grant.tokens, h)
	if len(t.grant.tokens) == 0 {
		x.drop(t.grant)
	}
}

// expire removes the tokens that have run out, so that streams which stand on
// them end.
func (x *index) expire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.now()
	for len(x.due) > 0 && !now.Before(x.due[0].at) {
		x.removeLocked(heap.Pop(&x.due).(due).hash)
	}
}

// close ends everything.
func (x *index) close() { x.endWhere(func(*store.Grant) bool { return true }) }

// due is when a token runs out.
type due struct {
	at   time.Time
	hash [sha256.Size]byte
}

type dueHeap []due

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
