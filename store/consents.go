package store

import (
	"cmp"
	"context"
	"slices"
	"time"
)

var consents = table[Consent]{bucket: bucketConsents, tag: 3,
	id:    func(c *Consent) string { return c.ID },
	links: func(c *Consent) []string { return []string{userParent(c.User), clientParent(c.Client)} },
}

func consentParent(id string) string { return "consent:" + id }

// PutConsent keeps c in place of what was kept under its id.
func (s *Store) PutConsent(ctx context.Context, c Consent) error {
	err := s.do(ctx, func(t *txn) error { return consents.put(t, &c, time.Time{}) })
	return wrap(err, "keep consent")
}

// Consents returns what user consented to, the oldest first; "" is everybody.
func (s *Store) Consents(ctx context.Context, user string) ([]Consent, error) {
	all, err := list(ctx, s, func(t *txn) ([]*Consent, error) {
		if user == "" {
			return consents.all(t, nil)
		}
		return consents.linked(t, userParent(user))
	})
	slices.SortFunc(all, func(a, b Consent) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return all, wrap(err, "list consents")
}

// DeleteConsent withdraws the consent id and revokes the grants that stand on
// it; ErrNotFound when there is neither.
func (s *Store) DeleteConsent(ctx context.Context, id string) error {
	err := s.doFreeing(ctx, func(t *txn) error {
		found, err := consents.delete(t, id)
		if err != nil {
			return err
		}
		ids, err := s.revokeLinked(t, consentParent(id), "consent withdrawn")
		if err == nil && !found && len(ids) == 0 {
			return ErrNotFound
		}
		return err
	})
	return wrap(err, "delete consent")
}

// endConsents removes the consents under parent and says how many. Their
// grants have the same parent: the caller revokes them.
func (s *Store) endConsents(t *txn, parent string) (int, error) {
	found, err := consents.linked(t, parent)
	for _, c := range found {
		if err == nil {
			_, err = consents.delete(t, c.ID)
		}
	}
	return len(found), err
}
