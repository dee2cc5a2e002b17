package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"go.etcd.io/bbolt"
)

// InsertIfAbsent remembers key in class until expires and says whether it was
// not there before: of any number of concurrent calls with one key, exactly one
// gets true, and true is durable. An expired key counts as absent. With expires
// not in the future it returns false: what can't be remembered can't be used
// once. For session tombstones, jti, state handles.
func (s *Store) InsertIfAbsent(ctx context.Context, class, key string, expires time.Time) (bool, error) {
	ring := s.keys.Load()
	name := ring.name(bucketOnce, class, key)
	end := expiry(expires)
	sealed := ring.seal(bucketOnce, name, end)
	inserted := false
	err := s.do(ctx, func(t *txn) error {
		inserted = false
		if !expires.After(s.now()) {
			return nil
		}
		old, err := t.get(bucketOnce, name)
		if err != nil {
			return err
		}
		if old != nil {
			if s.alive(old) {
				return nil
			}
			if err := t.delete(bucketExpiry, append(old, name...)); err != nil {
				return err
			}
		}
		if err := t.put(bucketOnce, name, sealed); err != nil {
			return err
		}
		if err := t.put(bucketExpiry, append(end[:len(end):len(end)], name...), nil); err != nil {
			return err
		}
		inserted = true
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("insert a %s once: %w", class, err)
	}
	return inserted, nil
}

// Present says whether key is remembered in class and has not expired.
func (s *Store) Present(ctx context.Context, class, key string) (present bool, err error) {
	ring := s.keys.Load()
	name := ring.name(bucketOnce, class, key)
	err = s.view(ctx, func(tx *bbolt.Tx) error {
		t := txn{tx: tx, ring: s.keys.Load()}
		end, err := t.get(bucketOnce, name)
		present = end != nil && s.alive(end)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look up a %s: %w", class, err)
	}
	return present, nil
}

// latest is the last moment that Unix nanoseconds can name, in 2262.
var latest = time.Unix(0, math.MaxInt64)

// expiry encodes t so that its bytes sort by time.
func expiry(t time.Time) []byte {
	if t.After(latest) {
		t = latest
	}
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano()))
}

// alive reads the expiry of an opened record. Expiry is checked on read,
// always: the sweeper only saves space.
func (s *Store) alive(end []byte) bool { return alive(end, s.now()) }

func alive(end []byte, now time.Time) bool {
	return len(end) == endSize && now.UnixNano() < int64(binary.BigEndian.Uint64(end))
}
