package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// Limits of every record, beyond which verbs return ErrTooLarge.
const (
	MaxID     = 4 << 10  // bytes of a record's id
	MaxRecord = 64 << 10 // bytes of a record as JSON
	MaxKept   = 32 << 10 // bytes of a value for Keep
)

// ErrTooLarge: a record or its id is longer than the store keeps.
var ErrTooLarge = errors.New("too large")

// table keeps records of one kind. A record is sealed JSON behind the eight
// bytes of the moment at which it ends; from then on it isn't there any more,
// whether or not the sweeper has met it. Its name in the bucket hides its id.
//
// Two indexes stand beside the records, and neither is believed: bucketDue
// (end, tag, name) proposes to the sweeper, bucketLinks (hidden parent, end,
// name) finds what stands on something else. What they name is opened and asked.
type table[T any] struct {
	bucket string
	tag    byte // of the table in bucketDue; never reused for another
	id     func(*T) string
	links  func(*T) []string // parents, by which linked finds it
}

const endSize = 8

// get returns the live record called id, or nil when there is none.
func (tb *table[T]) get(t *txn, id string) (*T, error) {
	plain, err := t.get(tb.bucket, t.ring.name(tb.bucket, id))
	if err != nil || plain == nil {
		return nil, err
	}
	return tb.decode(t, plain)
}

// decode returns the record, or nil when its end has come.
func (tb *table[T]) decode(t *txn, plain []byte) (*T, error) {
	if len(plain) < endSize {
		return nil, fmt.Errorf("%w: a record in %q is too short", ErrDamaged, tb.bucket)
	}
	if !alive(plain[:endSize], t.now) {
		return nil, nil
	}
	return tb.parse(plain)
}

func (tb *table[T]) parse(plain []byte) (*T, error) {
	v := new(T)
	if err := json.Unmarshal(plain[endSize:], v); err != nil {
		return nil, fmt.Errorf("%w: a record in %q: %w", ErrDamaged, tb.bucket, err)
	}
	return v, nil
}

// put inserts or replaces v, which ends at until; the zero time is never.
func (tb *table[T]) put(t *txn, v *T, until time.Time) error {
	id := tb.id(v)
	if id == "" || !utf8.ValidString(id) {
		return fmt.Errorf("the id of a record in %q is empty or not UTF-8", tb.bucket)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a record of %q: %w", tb.bucket, err)
	}
	if len(id) > MaxID || len(text) > MaxRecord {
		return fmt.Errorf("%w: a record of %q has an id of %d bytes (at most %d) and %d bytes (at most %d)",
			ErrTooLarge, tb.bucket, len(id), MaxID, len(text), MaxRecord)
	}
	if until.IsZero() {
		until = latest
	}
	end, name := expiry(until), t.ring.name(tb.bucket, id)
	was, err := t.get(tb.bucket, name)
	if err != nil {
		return err
	}
	if err := tb.index(t, name, was, end, v); err != nil {
		return err
	}
	return t.put(tb.bucket, name, t.ring.seal(tb.bucket, name, append(end, text...)))
}

// entry is one key of an index; its value is empty.
type entry struct{ bucket, key string }

// entries are the index entries of v under name, which ends at end. The end
// stands in front of the name, so that the dead sort before the living.
func (tb *table[T]) entries(t *txn, name, end []byte, v *T) (all []entry) {
	if !bytes.Equal(end, expiry(latest)) {
		all = append(all, entry{bucketDue, string(end) + string(tb.tag) + string(name)})
	}
	if tb.links != nil {
		for _, parent := range tb.links(v) {
			prefix := t.ring.name(bucketLinks, tb.bucket, parent)
			all = append(all, entry{bucketLinks, string(prefix) + string(end) + string(name)})
		}
	}
	return all
}

// index replaces the index entries of the opened record was (nil = none) by
// those of v (nil = none), touching only what differs.
func (tb *table[T]) index(t *txn, name, was, end []byte, v *T) error {
	var before, after []entry
	if was != nil {
		old, err := tb.parse(was)
		if err != nil {
			return err
		}
		before = tb.entries(t, name, was[:endSize], old)
	}
	if v != nil {
		after = tb.entries(t, name, end, v)
	}
	for _, e := range before {
		if !slices.Contains(after, e) {
			if err := t.delete(e.bucket, []byte(e.key)); err != nil {
				return err
			}
		}
	}
	for _, e := range after {
		if !slices.Contains(before, e) {
			if err := t.put(e.bucket, []byte(e.key), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// delete removes the record called id and says whether a live one was there.
func (tb *table[T]) delete(t *txn, id string) (bool, error) {
	return tb.remove(t, t.ring.name(tb.bucket, id))
}

func (tb *table[T]) remove(t *txn, name []byte) (bool, error) {
	was, err := t.get(tb.bucket, name)
	if err != nil || was == nil {
		return false, err
	}
	live, err := tb.decode(t, was)
	if err == nil {
		err = tb.index(t, name, was, nil, nil)
	}
	if err != nil {
		return false, err
	}
	return live != nil, t.delete(tb.bucket, name)
}

// walk calls fn with the live records from a name on, in the order of names,
// until it returns false. fn changes nothing.
func (tb *table[T]) walk(t *txn, from []byte, fn func(name []byte, v *T) bool) error {
	cursor := t.tx.Bucket([]byte(tb.bucket)).Cursor()
	for name, sealed := cursor.Seek(from); name != nil; name, sealed = cursor.Next() {
		plain, err := t.ring.open(tb.bucket, name, sealed)
		if err != nil {
			return err
		}
		if v, err := tb.decode(t, plain); err != nil {
			return err
		} else if v != nil && !fn(name, v) {
			return nil
		}
	}
	return nil
}

// all returns the live records that match says yes to.
func (tb *table[T]) all(t *txn, match func(*T) bool) (found []*T, err error) {
	err = tb.walk(t, nil, func(_ []byte, v *T) bool {
		if match == nil || match(v) {
			found = append(found, v)
		}
		return true
	})
	return found, err
}

// linked returns the live records under parent. That a record really has this
// parent, the record says and not the index.
func (tb *table[T]) linked(t *txn, parent string) (found []*T, err error) {
	prefix := t.ring.name(bucketLinks, tb.bucket, parent)
	cursor := t.tx.Bucket([]byte(bucketLinks)).Cursor()
	for k, _ := cursor.Seek(append(bytes.Clone(prefix), expiry(t.now)...)); bytes.HasPrefix(k, prefix); k, _ = cursor.Next() {
		plain, err := t.get(tb.bucket, k[len(prefix)+endSize:])
		if err != nil {
			return nil, err
		}
		if plain == nil {
			continue
		}
		v, err := tb.decode(t, plain)
		if err != nil {
			return nil, err
		}
		if v != nil && slices.Contains(tb.links(v), parent) {
			found = append(found, v)
		}
	}
	return found, nil
}

// count says how many live records the index has under parent, up to limit.
func (tb *table[T]) count(t *txn, parent string, limit int) (n int) {
	prefix := t.ring.name(bucketLinks, tb.bucket, parent)
	// One nanosecond on: what ends now has ended.
	cursor := t.tx.Bucket([]byte(bucketLinks)).Cursor()
	for k, _ := cursor.Seek(append(bytes.Clone(prefix), expiry(t.now.Add(1))...)); n < limit && bytes.HasPrefix(k, prefix); k, _ = cursor.Next() {
		n++
	}
	return n
}
