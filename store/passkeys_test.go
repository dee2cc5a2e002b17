package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
)

// TestDatabaseOfLayout2GetsRoomForPasskeys: one that a version before passkeys
// wrote opens, loses nothing, and is whole from then on.
func TestDatabaseOfLayout2GetsRoomForPasskeys(t *testing.T) {
	t.Parallel()
	dir := filled(t, Options{})
	ring, counter := toLayout2(t, dir)
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

// toLayout2 makes the database of dir one of layout 2, at the epoch that it has.
func toLayout2(t *testing.T, dir string) (ring *keyring, epoch uint64) {
	t.Helper()
	s := open(t, dir, Options{})
	ring = s.keys.Load()
	s.Close()
	raw(t, dir, func(tx *bbolt.Tx) error {
		txn := &txn{tx: tx, ring: ring}
		m, err := readMetaRecord(txn)
		if err != nil {
			return err
		}
		epoch = m.Epoch
		if err := tx.DeleteBucket([]byte(bucketPasskeys)); err != nil {
			return err
		}
		return txn.put(bucketMeta, metaName, ring.seal(bucketMeta, metaName, fmt.Appendf(nil, `{"Layout":2,"Epoch":%d}`, epoch)))
	})
	return ring, epoch
}

// A newer version that first starts on a full disk still revokes.
func TestAnOlderDatabaseIsOpenedOnAFullDisk(t *testing.T) {
	t.Parallel()
	dir := filled(t, Options{})
	toLayout2(t, dir)
	full := func(p string) error {
		_, err := os.Stat(filepath.Join(dir, reserveFile))
		if p == "reserve" || err == nil && (p == "upgrade" || p == "commit.before") {
			return syscall.ENOSPC
		}
		return nil
	}
	s := open(t, dir, Options{Fail: full})
	if err := s.CreatePasskey(t.Context(), Passkey{ID: "k", User: "local:alice"}); !errors.Is(err, ErrFull) {
		t.Errorf("what needs space: %v", err)
	}
	if err := s.DeletePasskeys(t.Context(), "local:alice"); err != nil {
		t.Errorf("what takes access away: %v", err)
	}
	s.Close()
	// Without a reserve nothing helps, and it says what is the matter.
	toLayout2(t, dir)
	os.Remove(filepath.Join(dir, reserveFile))
	if _, err := Open(dir, Options{Reserve: -1, Fail: at("upgrade", syscall.ENOSPC)}); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "older version") {
		t.Errorf("without a reserve: %v", err)
	}
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
