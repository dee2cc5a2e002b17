package store

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"
)

// SaveSnapshot keeps what an upstream said, replacing what was kept before.
func (s *Store) SaveSnapshot(ctx context.Context, upstream string, value []byte) error {
	ring := s.keys.Load()
	name := ring.name(bucketSnapshots, upstream)
	sealed := ring.seal(bucketSnapshots, name, value)
	err := s.do(ctx, func(t *txn) error { return t.put(bucketSnapshots, name, sealed) })
	if err != nil {
		return fmt.Errorf("save the snapshot of %q: %w", upstream, err)
	}
	return nil
}

// LoadSnapshot returns what SaveSnapshot kept, or nil, nil when there is none.
func (s *Store) LoadSnapshot(ctx context.Context, upstream string) (value []byte, err error) {
	name := s.keys.Load().name(bucketSnapshots, upstream)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		t := txn{tx: tx, ring: s.keys.Load()}
		value, err = t.get(bucketSnapshots, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the snapshot of %q: %w", upstream, err)
	}
	return value, nil
}

// DeleteSnapshot forgets the snapshot of an upstream; there need not be one.
func (s *Store) DeleteSnapshot(ctx context.Context, upstream string) error {
	name := s.keys.Load().name(bucketSnapshots, upstream)
	err := s.do(ctx, func(t *txn) error {
		if t.tx.Bucket([]byte(bucketSnapshots)).Get(name) == nil {
			return nil
		}
		return t.delete(bucketSnapshots, name)
	})
	if err != nil {
		return fmt.Errorf("delete the snapshot of %q: %w", upstream, err)
	}
	return nil
}
