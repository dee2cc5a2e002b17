package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// dayKeys seal what is to be forgotten by the day. The id of one is its day,
// counted from 1970. They are wrapped by the master key as all keys are, and
// RotateKeys leaves them: each ends by itself.
const dayKeys class = 4

// dayPatience is how long SealDay waits for the first key of a day.
const dayPatience = time.Second

// days makes the key of a day once for all who wait for it.
type days struct {
	mu     sync.Mutex
	making chan struct{} // closed when what is under way ended; nil = nothing is
	err    error         // of the last one
}

var errDaySpent = errors.New("the key of the day has sealed as often as it may")

// SealDay seals plain under the key of the present day (UTC), making it when it
// is the first; bound is authenticated, not stored. DestroyDays makes the day
// unreadable for ever. It waits for the disk only with the first of a day, and
// then a second at most.
func (s *Store) SealDay(plain, bound []byte) (day string, sealed []byte, err error) {
	id, err := dayOf(s.now())
	if err != nil {
		return "", nil, err
	}
	k := s.keys.Load().set(dayKeys).byID[id]
	if k == nil {
		if k, err = s.makeDay(id); err != nil {
			return "", nil, fmt.Errorf("make the key of the day: %w", err)
		}
	}
	if k.seals.Load() >= maxSeals {
		return "", nil, errDaySpent
	}
	set := keyset{current: k}
	day = dayName(id)
	return day, set.seal("day", []byte(day), plain, bound), nil
}

// OpenDay opens what SealDay sealed for bound. ok is false when there is no key
// of that day, as it was destroyed or belongs to another installation. Every
// error means that sealed was changed, or sealed for something else.
func (s *Store) OpenDay(day string, sealed, bound []byte) (plain []byte, ok bool, err error) {
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return nil, false, fmt.Errorf("a sealed part names no day: %w", errSealed)
	}
	id, err := dayOf(at)
	if err != nil {
		return nil, false, err
	}
	set := s.keys.Load().set(dayKeys)
	if set.byID[id] == nil {
		return nil, false, nil
	}
	plain, err = set.open("day", []byte(day), sealed, bound)
	return plain, err == nil, err
}

// DestroyDays destroys the keys of all days that ended at or before t, and says
// how many there were: what they sealed can't be read any more, here or in a
// copy of the database from before, which is not opened (only `restore` brings
// one back, with its keys). Pages of the file that held a key are written over
// when the database reuses them.
func (s *Store) DestroyDays(ctx context.Context, t time.Time) (n int, err error) {
	s.rotate.Lock()
	defer s.rotate.Unlock()
	first, err := dayOf(t) // the first day that stays
	if err != nil {
		return 0, err
	}
	ring := *s.keys.Load()
	set := &ring.sets[dayKeys]
	set.byID = maps.Clone(set.byID)
	var gone []uint32
	for id := range set.byID {
		if id < first {
			gone = append(gone, id)
			delete(set.byID, id)
		}
	}
	if len(gone) == 0 {
		return 0, nil
	}
	if set.current.id < first {
		set.current = nil
	}
	err = s.doFreeing(ctx, func(t *txn) error {
		for _, id := range gone {
			if err := t.delete(bucketKeys, keyName(dayKeys, id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("destroy the keys of %d days: %w", len(gone), err)
	}
	s.keys.Store(&ring)
	return len(gone), nil
}

// Mark is a keyed hash of data, 32 bytes, for one use: equal data can be told
// to be equal by whoever has the database's keys, and nothing else can. Its key
// is made from the one that names records, which lasts as long as the database:
// RotateKeys changes no mark.
func (s *Store) Mark(use string, data []byte) []byte {
	key := hmac.New(sha256.New, s.keys.Load().set(nameKeys).current.raw)
	key.Write(appendParts(nil, "mark", use))
	mac := hmac.New(sha256.New, key.Sum(nil))
	mac.Write(data)
	return mac.Sum(nil)
}

// makeDay makes the key of a day, or waits for whoever does.
func (s *Store) makeDay(id uint32) (*dataKey, error) {
	d := &s.days
	d.mu.Lock()
	done := d.making
	if done == nil {
		done = make(chan struct{})
		d.making = done
		go func() {
			err := s.addDay(id)
			d.mu.Lock()
			d.making, d.err = nil, err
			d.mu.Unlock()
			close(done)
		}()
	}
	d.mu.Unlock()
	patience := time.NewTimer(dayPatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
		return nil, errors.New("the disk does not finish")
	}
	if k := s.keys.Load().set(dayKeys).byID[id]; k != nil {
		return k, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return nil, d.err
	}
	return nil, errors.New("another day began meanwhile")
}

func (s *Store) addDay(id uint32) error {
	s.rotate.Lock()
	defer s.rotate.Unlock()
	if s.keys.Load().set(dayKeys).byID[id] != nil {
		return nil
	}
	var made *dataKey
	err := s.do(context.Background(), func(t *txn) (err error) {
		t.wrote = true
		made, err = s.addKey(t.tx, dayKeys, id)
		return err
	})
	if err == nil { // only now: what a key sealed must never outlive the key
		s.keys.Store(s.keys.Load().with(dayKeys, made))
	}
	return err
}

// dayOf is the day of t in UTC, as days since 1970.
func dayOf(t time.Time) (uint32, error) {
	const day = 24 * 60 * 60
	n := t.Unix() / day
	if t.Unix() < 0 || n > 1<<31 {
		return 0, errors.New("the clock is before 1970 or far from now")
	}
	return uint32(n), nil
}

func dayName(id uint32) string {
	return time.Unix(int64(id)*24*60*60, 0).UTC().Format(time.DateOnly)
}

// keyName is what a key is called in its bucket.
func keyName(c class, id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(c)}, id)
}
