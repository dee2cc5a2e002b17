package store

import (
	"context"
	"time"
)

var codes = table[Code]{bucket: bucketCodes, tag: 6,
	id: func(c *Code) string { return c.Hash },
	links: func(c *Code) []string {
		if !c.Used.IsZero() { // the grant exists and is found by itself
			return nil
		}
		return append(grants.links(&c.Grant), grantParent(c.Grant.ID))
	},
}

// PutCode keeps a new code; ErrExists when its hash is known, ErrRevoked when
// the consent that its grant names is gone.
func (s *Store) PutCode(ctx context.Context, c Code) error {
	err := s.do(ctx, func(t *txn) error {
		if err := s.stands(t, &c.Grant); err != nil {
			return err
		}
		return codes.create(t, &c, c.Expires)
	})
	return wrap(err, "keep code")
}

// Code returns a code; a redeemed one until its grant ends. ErrNotFound when
// it is unknown, or expired without having been redeemed.
func (s *Store) Code(ctx context.Context, hash string) (*Code, error) {
	c, err := find(ctx, s, &codes, hash)
	return c, wrap(err, "code")
}

// ConsumeCode redeems a code: marked as used, with its grant and tokens kept,
// in one step. Of any number of callers at most one gets the grant. The others
// get ErrSpent; ErrRevoked when the grant was revoked before it began,
// ErrNotFound as Code.
func (s *Store) ConsumeCode(ctx context.Context, hash string, tokens ...Token) (*Grant, error) {
	var g *Grant
	err := s.do(ctx, func(t *txn) error {
		c, err := codes.get(t, hash)
		switch {
		case err != nil:
			return err
		case c == nil:
			return ErrNotFound
		case !c.Used.IsZero():
			return ErrSpent
		case !c.Grant.Revoked.IsZero():
			return ErrRevoked
		case ended(c.Grant.Expires, t.now):
			return ErrNotFound
		}
		g = &c.Grant
		if err := s.addGrant(t, g, tokens); err != nil {
			return err
		}
		c.Used = t.now
		return codes.put(t, c, g.Expires)
	})
	if err != nil {
		return nil, wrap(err, "redeem code")
	}
	return g, nil
}

// spoil ends the grant of a code that was not redeemed yet.
func (s *Store) spoil(t *txn, c *Code, reason string) error {
	if !c.Used.IsZero() || !c.Grant.Revoked.IsZero() {
		return nil
	}
	c.Grant.Revoked, c.Grant.Reason = t.now, reason
	return codes.put(t, c, c.Expires)
}

// ended says whether t has come; the zero time never does.
func ended(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }
