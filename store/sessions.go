package store

import (
	"cmp"
	"context"
	"slices"
	"time"
)

var sessions = table[Session]{bucket: bucketSessions, tag: 4,
	id:    func(s *Session) string { return s.Hash },
	links: func(s *Session) []string { return []string{userParent(s.User)} },
}

// CreateSession keeps a new session; ErrExists when its hash is known.
func (s *Store) CreateSession(ctx context.Context, session Session) error {
	err := s.do(ctx, func(t *txn) error { return sessions.create(t, &session, session.Expires) })
	return wrap(err, "create session")
}

// Session returns a session; ErrNotFound when there is none or it expired.
func (s *Store) Session(ctx context.Context, hash string) (*Session, error) {
	session, err := find(ctx, s, &sessions, hash)
	return session, wrap(err, "session")
}

// UpdateSession changes a session in one step, as UpdateUser does a user.
func (s *Store) UpdateSession(ctx context.Context, hash string, fn func(*Session) error) (*Session, error) {
	session, err := update(ctx, s.do, &sessions, hash, fn, func(s *Session) time.Time { return s.Expires })
	return session, wrap(err, "update session")
}

// DeleteSession ends a session; there need not be one.
func (s *Store) DeleteSession(ctx context.Context, hash string) error {
	err := s.doFreeing(ctx, func(t *txn) error {
		_, err := sessions.delete(t, hash)
		return err
	})
	return wrap(err, "delete session")
}

// Sessions returns the live sessions of user, the oldest first.
func (s *Store) Sessions(ctx context.Context, user string) ([]Session, error) {
	all, err := list(ctx, s, func(t *txn) ([]*Session, error) { return sessions.linked(t, userParent(user)) })
	slices.SortFunc(all, func(a, b Session) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Hash, b.Hash)) })
	return all, wrap(err, "list sessions")
}

// DeleteSessions ends every session of user; there need not be one.
func (s *Store) DeleteSessions(ctx context.Context, user string) error {
	err := s.doFreeing(ctx, func(t *txn) error {
		_, err := s.endSessions(t, user)
		return err
	})
	return wrap(err, "delete sessions")
}

func (s *Store) endSessions(t *txn, user string) (int, error) {
	found, err := sessions.linked(t, userParent(user))
	for _, session := range found {
		if err == nil {
			_, err = sessions.delete(t, session.Hash)
		}
	}
	return len(found), err
}
