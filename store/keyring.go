package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// A class of data keys. Each class has one current key that seals; the older
// ones only open.
type class byte

const (
	recordKeys class = 1 // values in the database
	tokenKeys  class = 2 // Seal, Unseal
	nameKeys   class = 3 // keys of the database; never rotated, or nothing would be found again
)

// classes are those of which there is always a key; days.go has another one.
var classes = [...]class{recordKeys, tokenKeys, nameKeys}

const (
	// maxSeals is how often one key seals before it is replaced. AES-GCM with
	// random nonces must stay well below 2^32 (NIST SP 800-38D 8.3).
	maxSeals = 1 << 30
	// maxKeyAge replaces keys that a process restarting often doesn't count.
	maxKeyAge = 30 * 24 * time.Hour
)

// aead seals with a nonce of its own making.
type aead = cipher.AEAD

func newAEAD(key []byte) (aead, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// dataKey is one key of a class, ready for use.
type dataKey struct {
	id      uint32
	created time.Time
	aead    aead
	raw     []byte // of nameKeys only
	seals   atomic.Int64
}

// keyset is the keys of one class.
type keyset struct {
	current *dataKey
	byID    map[uint32]*dataKey
}

// keyring is immutable: a rotation makes a new one and swaps the pointer.
type keyring struct {
	sets [dayKeys + 1]keyset // by class
}

func (r *keyring) set(c class) *keyset { return &r.sets[c] }

// with returns a ring in which k is the current key of c.
func (r *keyring) with(c class, k *dataKey) *keyring {
	next := *r
	set := keyset{current: k, byID: maps.Clone(r.set(c).byID)}
	if set.byID == nil {
		set.byID = map[uint32]*dataKey{}
	}
	set.byID[k.id] = k
	next.sets[c] = set
	return &next
}

// addKey makes a key of class c and stores it under the master key.
func (s *Store) addKey(tx *bbolt.Tx, c class, id uint32) (*dataKey, error) {
	raw := make([]byte, keySize)
	rand.Read(raw)
	name := keyName(c, id)
	created := s.now()
	value := binary.BigEndian.AppendUint64([]byte{layoutVersion}, uint64(created.Unix()))
	value = s.master.Seal(value, nil, raw, keyAAD(name, value))
	if err := tx.Bucket([]byte(bucketKeys)).Put(name, value); err != nil {
		return nil, err
	}
	return newDataKey(c, id, created, raw)
}

func newDataKey(c class, id uint32, created time.Time, raw []byte) (*dataKey, error) {
	k := &dataKey{id: id, created: created}
	if c == nameKeys {
		k.raw = raw
	}
	var err error
	k.aead, err = newAEAD(raw)
	return k, err
}

// keyAAD binds a wrapped key to its class, id, layout and creation time.
func keyAAD(name, head []byte) []byte {
	aad := append([]byte("ostiary data key\x00"), name...)
	return append(aad, head...)
}

const keyHead = 1 + 8 // layout version, creation time

// loadKeys unwraps every key. The highest id of a class is its current key.
func (s *Store) loadKeys(tx *bbolt.Tx) (*keyring, error) {
	ring := &keyring{}
	err := tx.Bucket([]byte(bucketKeys)).ForEach(func(name, value []byte) error { // ascending
		if len(name) != 5 || name[0] == 0 || int(name[0]) >= len(ring.sets) || len(value) < keyHead || value[0] != layoutVersion {
			return fmt.Errorf("%w: a data key has a layout that this version doesn't know; use a newer version", ErrDamaged)
		}
		head := value[:keyHead]
		raw, err := s.master.Open(nil, nil, value[keyHead:], keyAAD(name, head))
		if err != nil {
			return fmt.Errorf("%w: does not open this database; give the one it was made with", ErrMasterKey)
		}
		created := time.Unix(int64(binary.BigEndian.Uint64(head[1:])), 0)
		k, err := newDataKey(class(name[0]), binary.BigEndian.Uint32(name[1:]), created, raw)
		if err != nil {
			return err
		}
		ring = ring.with(class(name[0]), k)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, c := range classes {
		if ring.set(c).current == nil {
			return nil, fmt.Errorf("%w: the keyring lacks a key of class %d", ErrDamaged, c)
		}
	}
	return ring, nil
}

// RotateKeys makes a new current key for records and one for tokens. What the
// older keys sealed still opens.
func (s *Store) RotateKeys(ctx context.Context) error {
	return errors.Join(s.rotateClass(ctx, recordKeys), s.rotateClass(ctx, tokenKeys))
}

func (s *Store) rotateClass(ctx context.Context, c class) error {
	s.rotate.Lock()
	defer s.rotate.Unlock()
	var made *dataKey
	err := s.do(ctx, func(t *txn) (err error) {
		t.wrote = true
		made, err = s.addKey(t.tx, c, s.keys.Load().set(c).current.id+1)
		return err
	})
	if err != nil {
		return fmt.Errorf("rotate keys: %w", err)
	}
	// Only now: what a key sealed must never outlive the key.
	s.keys.Store(s.keys.Load().with(c, made))
	return nil
}

// rotateWorn replaces keys that sealed too often or are too old.
func (s *Store) rotateWorn(ctx context.Context) error {
	var errs []error
	for _, c := range [...]class{recordKeys, tokenKeys} {
		k := s.keys.Load().set(c).current
		if k.seals.Load() >= maxSeals || s.now().Sub(k.created) >= maxKeyAge {
			errs = append(errs, s.rotateClass(ctx, c))
		}
	}
	return errors.Join(errs...)
}

// name hides what a record is called: a stolen file shows neither session ids
// nor who uses which upstream.
func (r *keyring) name(bucket string, parts ...string) []byte {
	mac := hmac.New(sha256.New, r.set(nameKeys).current.raw)
	aad := appendParts(nil, bucket)
	mac.Write(appendParts(aad, parts...))
	return mac.Sum(nil)
}

// appendParts joins parts so that no two lists join alike.
func appendParts(dst []byte, parts ...string) []byte {
	for _, p := range parts {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(p)))
		dst = append(dst, p...)
	}
	return dst
}
