package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

var grants = table[Grant]{bucket: bucketGrants, tag: 5,
	id: func(g *Grant) string { return g.ID },
	links: func(g *Grant) (parents []string) {
		if g.User != "" {
			parents = append(parents, userParent(g.User))
		}
		if g.Consent != "" {
			parents = append(parents, consentParent(g.Consent))
		}
		return append(parents, clientParent(g.Client))
	},
}

func grantParent(id string) string { return "grant:" + id }

// PutGrant keeps a new grant with its tokens: one that no code led to.
// ErrExists when the grant or a token is known, ErrRevoked when the consent
// that it names is gone.
func (s *Store) PutGrant(ctx context.Context, g Grant, tokens ...Token) error {
	err := s.do(ctx, func(t *txn) error { return s.addGrant(t, &g, tokens) })
	return wrap(err, "keep grant")
}

func (s *Store) addGrant(t *txn, g *Grant, tokens []Token) error {
	if err := s.stands(t, g); err != nil {
		return err
	}
	if err := grants.create(t, g, g.Expires); err != nil {
		return err
	}
	return s.addTokens(t, g, tokens)
}

// stands says whether g's consent is still there: who withdraws it while a
// sign-in is under way must not find the grant afterwards.
func (s *Store) stands(t *txn, g *Grant) error {
	if g.Consent == "" {
		return nil
	}
	c, err := consents.get(t, g.Consent)
	if err == nil && c == nil {
		err = fmt.Errorf("%w: the consent is gone", ErrRevoked)
	}
	return err
}

// RevokeGrant ends a grant, all its tokens and a code that leads to it. Doing
// it again does nothing; ErrNotFound when neither grant nor code is known.
func (s *Store) RevokeGrant(ctx context.Context, id, reason string) error {
	err := s.doFreeing(ctx, func(t *txn) error {
		g, err := grants.get(t, id)
		if err != nil {
			return err
		}
		if g != nil {
			return s.revoke(t, g, reason)
		}
		found, err := codes.linked(t, grantParent(id))
		if err == nil && len(found) == 0 {
			err = ErrNotFound
		}
		for _, c := range found {
			if err == nil {
				err = s.spoil(t, c, reason)
			}
		}
		return err
	})
	return wrap(err, "revoke grant %q", id)
}

// revokeStep is how many grants are revoked in one step on a full disk, where
// the reserve can't hold all of a large change at once.
const revokeStep = 256

// RevokeGrants ends the live grants that match says yes to, and codes that
// would lead to such a grant. It returns the ids of the grants. match may see
// a grant twice and must not call the store.
//
// It is one step, but on a full disk many: then an error leaves the grants
// revoked whose ids it returns.
func (s *Store) RevokeGrants(ctx context.Context, match func(*Grant) bool, reason string) ([]string, error) {
	ids, _, err := s.revokeFrom(ctx, nil, math.MaxInt, match, reason)
	if errors.Is(err, ErrFull) {
		err = nil
		for from := []byte{}; from != nil && err == nil; {
			var some []string
			some, from, err = s.revokeFrom(ctx, from, revokeStep, match, reason)
			ids = append(ids, some...)
		}
	}
	return ids, wrap(err, "revoke grants")
}

// revokeFrom looks at the grants from a name on, until it found limit to
// revoke. It returns the name to go on from, nil at the end.
func (s *Store) revokeFrom(ctx context.Context, from []byte, limit int, match func(*Grant) bool, reason string) (ids []string, next []byte, err error) {
	err = s.doFreeing(ctx, func(t *txn) (err error) {
		ids, next = nil, nil
		var found []*Grant
		err = grants.walk(t, from, func(name []byte, g *Grant) bool {
			if len(found) == limit {
				next = bytes.Clone(name)
				return false
			}
			if g.Revoked.IsZero() && match(g) {
				found = append(found, g)
			}
			return true
		})
		if err != nil {
			return err
		}
		pending, err := codes.all(t, func(c *Code) bool { return match(&c.Grant) })
		if err == nil {
			ids, err = s.revokeAll(t, found, pending, reason)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return ids, next, nil
}

// revokeLinked ends the grants, and the codes for grants, under parent. It
// returns what ended: a code counts by the id of its grant.
func (s *Store) revokeLinked(t *txn, parent, reason string) ([]string, error) {
	gs, err := grants.linked(t, parent)
	if err != nil {
		return nil, err
	}
	cs, err := codes.linked(t, parent)
	if err != nil {
		return nil, err
	}
	return s.revokeAll(t, gs, cs, reason)
}

func (s *Store) revokeAll(t *txn, gs []*Grant, cs []*Code, reason string) (ids []string, err error) {
	for _, g := range gs {
		if g.Revoked.IsZero() {
			ids = append(ids, g.ID)
		}
		if err := s.revoke(t, g, reason); err != nil {
			return nil, err
		}
	}
	for _, c := range cs {
		if err := s.spoil(t, c, reason); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// revoke leaves a tombstone until the grant's end: a token that comes back
// must be told from one that never was.
func (s *Store) revoke(t *txn, g *Grant, reason string) error {
	if !g.Revoked.IsZero() {
		return nil
	}
	g.Revoked, g.Reason = t.now, reason
	return grants.put(t, g, g.Expires)
}

// Grants returns the grants that match says yes to, revoked ones included
// until their end, the oldest first. nil matches all.
func (s *Store) Grants(ctx context.Context, match func(*Grant) bool) ([]Grant, error) {
	all, err := list(ctx, s, func(t *txn) ([]*Grant, error) { return grants.all(t, match) })
	slices.SortFunc(all, func(a, b Grant) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return all, wrap(err, "list grants")
}

// TouchGrants remembers when grants were last used. It never moves back, and
// passes over what is unknown or revoked.
func (s *Store) TouchGrants(ctx context.Context, used map[string]time.Time) error {
	used = maps.Clone(used)
	err := s.do(ctx, func(t *txn) error {
		for id, at := range used {
			g, err := grants.get(t, id)
			if err != nil {
				return err
			}
			if g == nil || !g.Revoked.IsZero() || !at.After(g.LastUsed) {
				continue
			}
			g.LastUsed = at
			if err := grants.put(t, g, g.Expires); err != nil {
				return err
			}
		}
		return nil
	})
	return wrap(err, "note the use of grants")
}
