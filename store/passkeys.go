package store

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// MaxPasskeys is how many passkeys one person may have.
const MaxPasskeys = 16

// Passkey is a WebAuthn credential of a local account (Web Authentication
// Level 3, section 4, credential record). Nothing in it is secret: the private
// key never leaves its owner's device.
type Passkey struct {
	ID         string // credential id, base64url; unique among everybody's
	User       string // User.ID
	Name       string // what its owner calls it
	Key        []byte // public key, COSE
	Count      uint32 // signature counter; 0 where the authenticator has none
	Synced     bool   // backup eligible: not bound to one device
	Transports []string
	Created    time.Time
	LastUsed   time.Time // zero = never
}

var passkeys = table[Passkey]{bucket: bucketPasskeys, tag: 9,
	id:    func(k *Passkey) string { return k.ID },
	links: func(k *Passkey) []string { return []string{userParent(k.User)} },
}

// CreatePasskey keeps a new passkey. ErrNotFound when its user is not there,
// ErrExists when anybody has this credential id already, ErrTooMany when the
// user has MaxPasskeys.
func (s *Store) CreatePasskey(ctx context.Context, k Passkey) error {
	err := s.do(ctx, func(t *txn) error {
		u, err := users.get(t, k.User)
		switch {
		case err != nil:
			return err
		case u == nil: // deleted meanwhile: it would be an orphan
			return ErrNotFound
		case passkeys.count(t, userParent(k.User), MaxPasskeys) >= MaxPasskeys:
			return ErrTooMany
		}
		return passkeys.create(t, &k, time.Time{})
	})
	return wrap(err, "create passkey")
}

// Passkey returns the passkey with this credential id; ErrNotFound when there
// is none.
func (s *Store) Passkey(ctx context.Context, id string) (*Passkey, error) {
	k, err := find(ctx, s, &passkeys, id)
	return k, wrap(err, "passkey")
}

// Passkeys returns the passkeys of user, the oldest first.
func (s *Store) Passkeys(ctx context.Context, user string) ([]Passkey, error) {
	all, err := list(ctx, s, func(t *txn) ([]*Passkey, error) { return passkeys.linked(t, userParent(user)) })
	slices.SortFunc(all, func(a, b Passkey) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return all, wrap(err, "list passkeys")
}

// UpdatePasskey changes a passkey in one step, as UpdateUser does a user.
func (s *Store) UpdatePasskey(ctx context.Context, id string, fn func(*Passkey) error) (*Passkey, error) {
	k, err := update(ctx, s.do, &passkeys, id, fn, func(*Passkey) time.Time { return time.Time{} })
	return k, wrap(err, "update passkey")
}

// DeletePasskey removes a passkey; ErrNotFound when there is none.
func (s *Store) DeletePasskey(ctx context.Context, id string) error {
	err := s.doFreeing(ctx, func(t *txn) error {
		found, err := passkeys.delete(t, id)
		if err == nil && !found {
			return ErrNotFound
		}
		return err
	})
	return wrap(err, "delete passkey")
}

// DeletePasskeys removes every passkey of user; there need not be one.
func (s *Store) DeletePasskeys(ctx context.Context, user string) error {
	err := s.doFreeing(ctx, func(t *txn) error {
		_, err := s.endPasskeys(t, user)
		return err
	})
	return wrap(err, "delete passkeys")
}

func (s *Store) endPasskeys(t *txn, user string) (int, error) {
	found, err := passkeys.linked(t, userParent(user))
	for _, k := range found {
		if err == nil {
			_, err = passkeys.delete(t, k.ID)
		}
	}
	return len(found), err
}
