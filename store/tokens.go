package store

import (
	"context"
	"errors"
	"fmt"
)

var tokens = table[Token]{bucket: bucketTokens, tag: 7,
	id: func(k *Token) string { return k.Hash },
	links: func(k *Token) []string {
		if k.Kind != accessToken {
			return nil
		}
		return []string{grantParent(k.Grant)}
	},
}

const (
	accessToken  = "access"
	refreshToken = "refresh"
)

// addTokens keeps new tokens of g, until g ends: that one of them was here is
// worth knowing longer than it is good for.
func (s *Store) addTokens(t *txn, g *Grant, added []Token) error {
	for _, k := range added {
		if k.Grant != g.ID || k.Kind != accessToken && k.Kind != refreshToken {
			return errors.New("a token is of another grant or of no known kind")
		}
		if err := tokens.create(t, &k, g.Expires); err != nil {
			return fmt.Errorf("a token: %w", err)
		}
	}
	return nil
}

// Token returns a token with its grant. What is expired, rotated or revoked is
// returned with the fields that say so, until the grant ends; after that, and
// when it is unknown, ErrNotFound.
func (s *Store) Token(ctx context.Context, hash string) (k *Token, g *Grant, err error) {
	err = s.read(ctx, func(t *txn) error {
		k, g, err = s.token(t, hash)
		return err
	})
	if err != nil {
		return nil, nil, wrap(err, "token")
	}
	return k, g, nil
}

func (s *Store) token(t *txn, hash string) (*Token, *Grant, error) {
	k, err := tokens.get(t, hash)
	if err != nil {
		return nil, nil, err
	}
	if k == nil {
		return nil, nil, ErrNotFound
	}
	g, err := grants.get(t, k.Grant)
	if err == nil && g == nil {
		err = ErrNotFound
	}
	return k, g, err
}

// RotateRefresh exchanges a refresh token: marked as rotated, its successors
// kept and the grant's earlier access tokens removed, in one step. Of any
// number of callers at most one gets the grant; the others get ErrSpent.
// ErrRevoked when the grant has ended, ErrNotFound when the token is unknown,
// expired or no refresh token.
func (s *Store) RotateRefresh(ctx context.Context, hash string, successors ...Token) (*Grant, error) {
	var g *Grant
	err := s.do(ctx, func(t *txn) error {
		old, grant, err := s.token(t, hash)
		switch {
		case err != nil:
			return err
		case old.Kind != refreshToken:
			return ErrNotFound
		case !old.Rotated.IsZero():
			return ErrSpent
		case !grant.Revoked.IsZero():
			return ErrRevoked
		case ended(old.Expires, t.now):
			return ErrNotFound
		}
		g = grant
		earlier, err := tokens.linked(t, grantParent(g.ID))
		if err != nil {
			return err
		}
		for _, k := range earlier {
			if _, err := tokens.delete(t, k.Hash); err != nil {
				return err
			}
		}
		if err := s.addTokens(t, g, successors); err != nil {
			return err
		}
		old.Rotated = t.now
		for _, k := range successors {
			if k.Kind == refreshToken {
				old.Next = k.Hash
			}
		}
		return tokens.put(t, old, g.Expires)
	})
	if err != nil {
		return nil, wrap(err, "rotate refresh token")
	}
	return g, nil
}

// DeleteToken removes one token; there need not be one. Its grant lives on.
func (s *Store) DeleteToken(ctx context.Context, hash string) error {
	err := s.doFreeing(ctx, func(t *txn) error {
		_, err := tokens.delete(t, hash)
		return err
	})
	return wrap(err, "delete token")
}

// LiveTokens calls each with every unexpired access token of a live grant.
// Tokens of one grant get the same pointer. each must not call the store; its
// error ends the walk and is returned.
func (s *Store) LiveTokens(ctx context.Context, each func(Token, *Grant) error) error {
	err := s.read(ctx, func(t *txn) error {
		live := map[string]*Grant{}
		err := grants.walk(t, nil, func(_ []byte, g *Grant) bool {
			if g.Revoked.IsZero() {
				live[g.ID] = g
			}
			return true
		})
		if err != nil {
			return err
		}
		var stop error
		err = tokens.walk(t, nil, func(_ []byte, k *Token) bool {
			if g := live[k.Grant]; g != nil && k.Kind == accessToken && !ended(k.Expires, t.now) {
				stop = each(*k, g)
			}
			return stop == nil
		})
		return errors.Join(err, stop)
	})
	return wrap(err, "read live tokens")
}
