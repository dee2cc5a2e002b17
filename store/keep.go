package store

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// kept is a value that is taken once.
type kept struct {
	Class, Key string
	Value      []byte
}

var keeps = table[kept]{bucket: bucketKept, tag: 8,
	id: func(k *kept) string { return keptID(k.Class, k.Key) },
}

// keptID joins so that no two pairs join alike.
func keptID(class, key string) string { return strconv.Itoa(len(class)) + ":" + class + key }

// Keep keeps value for one Take until expires, in place of what was kept under
// class and key.
func (s *Store) Keep(ctx context.Context, class, key string, value []byte, expires time.Time) error {
	if len(value) > MaxKept {
		return fmt.Errorf("keep a %s: %w: %d bytes, at most %d", class, ErrTooLarge, len(value), MaxKept)
	}
	k := kept{Class: class, Key: key, Value: value}
	err := s.do(ctx, func(t *txn) error { return keeps.put(t, &k, expires) })
	return wrap(err, "keep a %s", class)
}

// Take removes and returns what Keep kept: of any number of callers exactly
// one gets it. The others get ErrNotFound, and so do all when it has expired.
func (s *Store) Take(ctx context.Context, class, key string) ([]byte, error) {
	var value []byte
	err := s.do(ctx, func(t *txn) error {
		value = nil
		k, err := keeps.get(t, keptID(class, key))
		if err != nil {
			return err
		}
		if k == nil {
			return ErrNotFound
		}
		value = k.Value
		_, err = keeps.delete(t, keptID(class, key))
		return err
	})
	if err != nil {
		return nil, wrap(err, "take a %s", class)
	}
	return value, nil
}
