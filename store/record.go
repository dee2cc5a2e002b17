package store

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// What the verbs of all tables have in common.

// create puts v, which must not be there.
func (tb *table[T]) create(t *txn, v *T, until time.Time) error {
	if there, err := tb.get(t, tb.id(v)); err != nil {
		return err
	} else if there != nil {
		return ErrExists
	}
	return tb.put(t, v, until)
}

// find reads one live record.
func find[T any](ctx context.Context, s *Store, tb *table[T], id string) (v *T, err error) {
	err = s.read(ctx, func(t *txn) error {
		if v, err = tb.get(t, id); err == nil && v == nil {
			err = ErrNotFound
		}
		return err
	})
	return v, err
}

// list reads many records into values.
func list[T any](ctx context.Context, s *Store, fn func(*txn) ([]*T, error)) (all []T, err error) {
	err = s.read(ctx, func(t *txn) error {
		found, err := fn(t)
		for _, v := range found {
			all = append(all, *v)
		}
		return err
	})
	return all, err
}

// doer is Store.do or Store.doFreeing.
type doer func(context.Context, func(*txn) error) error

// update reads, changes and writes one record in one step.
func update[T any](ctx context.Context, do doer, tb *table[T], id string, fn func(*T) error, until func(*T) time.Time) (v *T, err error) {
	err = do(ctx, func(t *txn) error {
		if v, err = tb.get(t, id); err != nil {
			return err
		} else if v == nil {
			return ErrNotFound
		}
		if err := fn(v); err != nil {
			return err
		}
		if tb.id(v) != id {
			return fmt.Errorf("an update changes the id of a record in %q", tb.bucket)
		}
		return tb.put(t, v, until(v))
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// read runs fn on what is committed now.
func (s *Store) read(ctx context.Context, fn func(*txn) error) error {
	return s.view(ctx, func(tx *bbolt.Tx) error {
		return fn(&txn{tx: tx, ring: s.keys.Load(), now: s.now()})
	})
}

// wrap says what failed, and nothing when nothing did.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
