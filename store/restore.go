package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

// Check says what Open would say of the data directory dir, and changes
// nothing: nil, or the error that Open would return. A directory without a
// database is os.ErrNotExist, one in use ErrLocked.
func Check(dir string, o Options) error {
	path := filepath.Join(dir, databaseFile)
	if _, err := os.Lstat(path); err != nil {
		return fmt.Errorf("find database: %w", err)
	}
	s := newStore(dir, o)
	if err := s.unlock(dir, o.MasterKey, false); err != nil {
		return err
	}
	if err := s.open(path, true); err != nil {
		return mendable(path, err)
	}
	return errors.Join(s.epochOf(dir).compare(s.counter), s.db.Close())
}

// Restore puts backup, which Backup or a copy of a stopped server's database
// made, in the place of the database of dir, and keeps the replaced one beside
// it. The backup is copied and wholly verified first; what doesn't open here
// replaces nothing. Its age is accepted: the epoch goes on from where it was.
// What was revoked after the backup is valid again.
//
// The master key is the one that the backup was made with; it is not in it.
// Errors wrap those of Open.
func Restore(ctx context.Context, dir string, backup io.Reader, o Options) error {
	s := newStore(dir, o)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := s.unlock(dir, o.MasterKey, false); err != nil {
		return err
	}
	path := filepath.Join(dir, databaseFile)
	held, err := hold(path)
	if err != nil {
		return err
	}
	defer held.Close()
	temp, err := os.CreateTemp(dir, databaseFile+".restore-*") // 0600
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer os.Remove(temp.Name())
	if err = s.fail("restore.copy"); err == nil {
		_, err = io.Copy(temp, &reader{ctx, backup})
	}
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("copy the backup: %w", err)
	}
	if err := s.open(temp.Name(), false); err != nil {
		return fmt.Errorf("the backup was not restored: %w", err)
	}
	e := s.epochOf(dir)
	reached, known, err := e.read()
	if err == nil {
		s.counter = max(s.counter, reached) + 1
		err = s.db.Update(s.accept)
	}
	if err := errors.Join(err, s.db.Close(), ctx.Err()); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := s.swap(temp.Name(), path, held != nil); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if !known { // after the swap: it would not fit the replaced database
		err = e.write(s.counter)
	}
	return errors.Join(err, syncDir(dir))
}

// accept writes the epoch from which a restored database goes on.
func (s *Store) accept(tx *bbolt.Tx) error {
	if err := s.addBuckets(tx); err != nil {
		return err
	}
	return writeMetaRecord(&txn{tx: tx, ring: s.keys.Load()}, s.counter)
}

// swap puts the file temp in the place of the database at path, which is there
// or not. At no moment is there none, and none that came meanwhile is replaced.
func (s *Store) swap(temp, path string, there bool) error {
	if err := s.fail("restore.swap"); err != nil {
		return err
	}
	if !there {
		err := os.Link(temp, path)
		if errors.Is(err, os.ErrExist) {
			err = fmt.Errorf("%w: %s was made meanwhile", ErrLocked, path)
		}
		return err
	}
	kept := path + ".replaced-" + s.now().UTC().Format("20060102T150405.000000000Z")
	if err := os.Link(path, kept); err != nil {
		return fmt.Errorf("keep the replaced database: %w", err)
	}
	return os.Rename(temp, path)
}

// hold locks the database at path as bbolt does, so that no server runs on it,
// and returns nil when there is none. It reads nothing: the file may be what
// must be replaced.
func hold(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := lock(f, path, syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	mine, err1 := f.Stat()
	now, err2 := os.Stat(path)
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(mine, now) { // another restore was faster
		return nil, errors.Join(fmt.Errorf("%w: %s was replaced meanwhile", ErrLocked, path), err, f.Close())
	}
	return f, nil
}

// lock takes an advisory lock on the database, waiting up to lockTimeout.
func lock(f *os.File, path string, how int) error {
	for end := time.Now().Add(lockTimeout); ; time.Sleep(lockTimeout / 20) {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock database: %w", err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: %s; use its admin socket or stop it", ErrLocked, path)
		}
	}
}

// reader ends a copy when its context ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
