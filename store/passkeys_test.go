package store

import (
	"fmt"
	"testing"

	"go.etcd.io/bbolt"
)

// TestDatabaseOfLayout2GetsRoomForPasskeys: one that a version before passkeys
// wrote opens, loses nothing, and is whole from then on.
func TestDatabaseOfLayout2GetsRoomForPasskeys(t *testing.T) {
	t.Parallel()
	dir := filled(t, Options{})
	s := open(t, dir, Options{})
	ring, counter := s.keys.Load(), uint64(0)
	s.Close()
	raw(t, dir, func(tx *bbolt.Tx) error {
		txn := &txn{tx: tx, ring: ring}
		m, err := readMetaRecord(txn)
		if err != nil {
			return err
		}
		counter = m.Epoch
		if err := tx.DeleteBucket([]byte(bucketPasskeys)); err != nil {
			return err
		}
		return txn.put(bucketMeta, metaName, ring.seal(bucketMeta, metaName, fmt.Appendf(nil, `{"Layout":2,"Epoch":%d}`, counter)))
	})
	for range 2 {
		s := open(t, dir, Options{})
		if v, err := s.LoadSnapshot(t.Context(), "up7"); err != nil || len(v) != 300 {
			t.Errorf("%d bytes, %v", len(v), err)
		}
		if all, err := s.Passkeys(t.Context(), "local:alice"); err != nil || len(all) != 0 {
			t.Errorf("%v, %v", all, err)
		}
		s.Close()
	}
	raw(t, dir, func(tx *bbolt.Tx) error {
		m, err := readMetaRecord(&txn{tx: tx, ring: ring})
		if err == nil && (m.Layout != layout || m.Epoch <= counter) {
			t.Errorf("its meta record is %+v after %d", m, counter)
		}
		return err
	})
	raw(t, dir, func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(bucketPasskeys)) })
	refused(t, dir, Options{}, ErrDamaged, bucketPasskeys)
}

func TestABucketThatIsGoneFromLayout2IsDamage(t *testing.T) {
	t.Parallel()
	dir := filled(t, Options{})
	s := open(t, dir, Options{})
	ring := s.keys.Load()
	s.Close()
	raw(t, dir, func(tx *bbolt.Tx) error {
		txn := &txn{tx: tx, ring: ring}
		m, err := readMetaRecord(txn)
		if err != nil {
			return err
		}
		if err := tx.DeleteBucket([]byte(bucketUsers)); err != nil {
			return err
		}
		return txn.put(bucketMeta, metaName, ring.seal(bucketMeta, metaName, fmt.Appendf(nil, `{"Layout":2,"Epoch":%d}`, m.Epoch)))
	})
	refused(t, dir, Options{}, ErrDamaged, bucketUsers)
}
