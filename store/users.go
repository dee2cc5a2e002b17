package store

import (
	"context"
	"slices"
	"strings"
	"time"
)

var users = table[User]{bucket: bucketUsers, tag: 1, id: (*User).ID}

// CreateUser keeps a new user; ErrExists when there is one with this id.
func (s *Store) CreateUser(ctx context.Context, u User) error {
	err := s.do(ctx, func(t *txn) error { return users.create(t, &u, time.Time{}) })
	return wrap(err, "create user %q", u.ID())
}

// User returns the user id; ErrNotFound when there is none.
func (s *Store) User(ctx context.Context, id string) (*User, error) {
	u, err := find(ctx, s, &users, id)
	return u, wrap(err, "user %q", id)
}

// Users returns every user, sorted by id.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	all, err := list(ctx, s, func(t *txn) ([]*User, error) { return users.all(t, nil) })
	slices.SortFunc(all, func(a, b User) int { return strings.Compare(a.ID(), b.ID()) })
	return all, wrap(err, "list users")
}

// UpdateUser changes the user id in one step and returns what is kept now. fn
// may run twice, each time on a fresh copy; its error undoes everything. It
// must not change the id. It works on a full disk: it is how one is disabled.
func (s *Store) UpdateUser(ctx context.Context, id string, fn func(*User) error) (*User, error) {
	u, err := update(ctx, s.doFreeing, &users, id, fn, func(*User) time.Time { return time.Time{} })
	return u, wrap(err, "update user %q", id)
}

// DeleteUser removes the user id with all sessions, passkeys and consents, and
// revokes every grant. ErrNotFound when there is neither a record nor anything else.
func (s *Store) DeleteUser(ctx context.Context, id string) error {
	err := s.doFreeing(ctx, func(t *txn) error {
		found, err := users.delete(t, id)
		if err != nil {
			return err
		}
		ended, err := s.endSessions(t, id)
		if err != nil {
			return err
		}
		keys, err := s.endPasskeys(t, id)
		if err != nil {
			return err
		}
		stood, err := s.endConsents(t, userParent(id))
		if err != nil {
			return err
		}
		ids, err := s.revokeLinked(t, userParent(id), "user deleted")
		if err != nil {
			return err
		}
		if !found && ended+keys+stood+len(ids) == 0 {
			return ErrNotFound
		}
		return nil
	})
	return wrap(err, "delete user %q", id)
}
