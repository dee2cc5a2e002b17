package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

var clients = table[Client]{bucket: bucketClients, tag: 2,
	id:    func(c *Client) string { return c.ID },
	links: func(c *Client) []string { return []string{kindParent(c.Kind)} },
}

func kindParent(kind string) string { return "kind:" + kind }
func userParent(id string) string   { return "user:" + id }
func clientParent(id string) string { return "client:" + id }

// CreateClient keeps a new client. ErrExists when there is one with this id;
// ErrTooMany when max live clients of its kind exist already (0 = no cap).
// Nobody is pushed out to make room.
func (s *Store) CreateClient(ctx context.Context, c Client, max int) error {
	err := s.do(ctx, func(t *txn) error {
		if max > 0 && clients.count(t, kindParent(c.Kind), max) >= max {
			return ErrTooMany
		}
		return clients.create(t, &c, c.Expires)
	})
	return wrap(err, "create client %q", c.ID)
}

// Client returns the client id; ErrNotFound when there is none or it expired.
func (s *Store) Client(ctx context.Context, id string) (*Client, error) {
	c, err := find(ctx, s, &clients, id)
	return c, wrap(err, "client %q", id)
}

// Clients returns every live client, sorted by id.
func (s *Store) Clients(ctx context.Context) ([]Client, error) {
	all, err := list(ctx, s, func(t *txn) ([]*Client, error) { return clients.all(t, nil) })
	slices.SortFunc(all, func(a, b Client) int { return strings.Compare(a.ID, b.ID) })
	return all, wrap(err, "list clients")
}

// UpdateClient changes the client id in one step, as UpdateUser does a user.
func (s *Store) UpdateClient(ctx context.Context, id string, fn func(*Client) error) (*Client, error) {
	c, err := update(ctx, s.do, &clients, id, fn, func(c *Client) time.Time { return c.Expires })
	return c, wrap(err, "update client %q", id)
}

// PutClient keeps c in place of what was kept under its id.
func (s *Store) PutClient(ctx context.Context, c Client) error {
	err := s.do(ctx, func(t *txn) error { return clients.put(t, &c, c.Expires) })
	return wrap(err, "keep client %q", c.ID)
}

// DeleteClient removes the client id with everybody's consents to it, and
// revokes its grants. ErrNotFound when there is neither a record nor anything
// that stands on it; of a client that isn't kept here, only the latter.
func (s *Store) DeleteClient(ctx context.Context, id string) error {
	const reason = "client deleted"
	remove := func(t *txn) error {
		found, err := clients.delete(t, id)
		if err != nil {
			return err
		}
		stood, err := s.endConsents(t, clientParent(id))
		if err != nil {
			return err
		}
		ids, err := s.revokeLinked(t, clientParent(id), reason)
		if err != nil {
			return err
		}
		if !found && stood+len(ids) == 0 {
			return ErrNotFound
		}
		return nil
	}
	err := s.doFreeing(ctx, remove)
	if errors.Is(err, ErrFull) { // everybody's grants may be many: first they, step by step
		if _, err = s.RevokeGrants(ctx, func(g *Grant) bool { return g.Client == id }, reason); err == nil {
			err = s.doFreeing(ctx, remove)
		}
	}
	return wrap(err, "delete client %q", id)
}
