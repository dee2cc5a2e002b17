package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	databaseFile = "ostiary.db"
	lockTimeout  = time.Second // bbolt waits forever without one
)

// Options for Open.
type Options struct {
	MasterKey []byte                   // 32 bytes; nil = key file in the data directory, made (0600) when absent
	Now       func() time.Time         // nil = time.Now
	Fail      func(point string) error // failpoints; nil = none
}

var (
	// ErrLocked: another process has this data directory.
	ErrLocked = errors.New("the data directory belongs to another running server")
	// ErrDamaged: the database isn't what was written. Nothing was served from it.
	ErrDamaged = errors.New("the database is damaged")
	// ErrMasterKey: the master key is missing, malformed or not the one that
	// the database was made with.
	ErrMasterKey = errors.New("master key")
	// ErrFull: no space left; the write did not happen and later ones may.
	ErrFull = errors.New("no space left for the database")
	// ErrBroken: a commit failed in a way that leaves open whether it took
	// place. No write is served until the store was opened anew.
	ErrBroken = errors.New("the database can't be written any more; restart the server")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store closed")
)

// Store is one data directory. Its methods are safe for concurrent use.
type Store struct {
	db     *bbolt.DB
	now    func() time.Time
	fail   func(point string) error
	master aead
	keys   atomic.Pointer[keyring]
	rotate sync.Mutex // one rotation at a time

	gate   sync.RWMutex // held shared while a verb is handed over
	closed bool
	verbs  chan *verb
	broken atomic.Pointer[error]
	quit   chan struct{}
	work   sync.WaitGroup
}

// Open opens the data directory dir, making it (0700), its master key and its
// database when they don't exist. Before it returns, the whole file was walked
// and every value opened once, so damage is an error here and not later.
//
// Errors wrap ErrLocked, ErrDamaged or ErrMasterKey where one of them fits.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{now: o.Now, fail: o.Fail, verbs: make(chan *verb, maxBatch), quit: make(chan struct{})}
	if s.now == nil {
		s.now = time.Now
	}
	if s.fail == nil {
		s.fail = func(string) error { return nil }
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	path := filepath.Join(dir, databaseFile)
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("find database: %w", err)
	}
	fresh := err != nil

	key := o.MasterKey
	if key == nil {
		if key, err = s.masterKeyFile(dir, fresh); err != nil {
			return nil, err
		}
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("%w: has %d bytes, needs %d", ErrMasterKey, len(key), keySize)
	}
	if s.master, err = newAEAD(key); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMasterKey, err)
	}

	if fresh {
		if err := s.create(dir, path); err != nil {
			return nil, fmt.Errorf("make database in %s: %w", dir, err)
		}
	}
	if err := s.open(path); err != nil {
		return nil, err
	}
	s.work.Go(s.writer)
	s.work.Go(s.sweeper)
	return s, nil
}

// create makes the database beside its place and links it there complete, so
// that no crash leaves an empty file that would have to be taken for a new one.
// Where another process was faster, its database stays.
func (s *Store) create(dir, path string) error {
	temp, err := os.CreateTemp(dir, databaseFile+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if err := temp.Close(); err != nil {
		return err
	}
	if err := s.fail("create.database"); err != nil {
		return err
	}
	db, err := bbolt.Open(temp.Name(), 0o600, &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(s.initialise), db.Sync(), db.Close()); err != nil {
		return err
	}
	if err := s.fail("create.link"); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// initialise makes the buckets and the first key of every class.
func (s *Store) initialise(tx *bbolt.Tx) error {
	for _, b := range buckets {
		if _, err := tx.CreateBucket([]byte(b)); err != nil {
			return err
		}
	}
	for _, c := range classes {
		if _, err := s.addKey(tx, c, 1); err != nil {
			return err
		}
	}
	return nil
}

// open takes the database at path after inspecting it.
func (s *Store) open(path string) (err error) {
	if err := inspectFile(path); err != nil {
		return err
	}
	defer func() { // bbolt asserts by panicking, and so does its reading of odd pages
		if r := recover(); r != nil {
			err = damaged(path, fmt.Errorf("%v", r))
		}
	}()
	s.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("%w: %s; use its admin socket or stop it", ErrLocked, path)
	} else if err != nil {
		return damaged(path, err)
	}
	if err := s.verify(path); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// verify loads the keyring, runs bbolt's own check and opens every value.
func (s *Store) verify(path string) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		for _, b := range buckets {
			if tx.Bucket([]byte(b)) == nil {
				return damaged(path, fmt.Errorf("has no bucket %q: not a database of this program", b))
			}
		}
		var first error
		for err := range tx.Check() { // drained: the checker would block for ever
			if first == nil {
				first = err
			}
		}
		if first != nil {
			return damaged(path, first)
		}
		ring, err := s.loadKeys(tx)
		if err != nil {
			return err
		}
		s.keys.Store(ring)
		for _, b := range sealedBuckets {
			err := tx.Bucket([]byte(b)).ForEach(func(k, v []byte) error {
				_, err := ring.open(b, k, v)
				return err
			})
			if err != nil {
				return damaged(path, err)
			}
		}
		return nil
	})
}

// Err is nil while the store can be written, and wraps ErrBroken or ErrClosed
// when it can't.
func (s *Store) Err() error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return ErrClosed
	}
	if p := s.broken.Load(); p != nil {
		return *p
	}
	return nil
}

// Close finishes the writes already handed over and gives the directory up.
// A second Close does nothing.
func (s *Store) Close() error {
	s.gate.Lock()
	if s.closed {
		s.gate.Unlock()
		return nil
	}
	s.closed = true
	close(s.verbs)
	close(s.quit)
	s.gate.Unlock()
	s.work.Wait()
	return s.db.Close()
}

// Backup writes a consistent copy of the database to w: what was committed
// when it began. It opens with the same master key, which is not in it. A slow
// w keeps old pages from being reused, so write to a local file.
func (s *Store) Backup(w io.Writer) error {
	err := s.view(context.Background(), func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("back up the database: %w", err)
	}
	return nil
}

// view runs fn in a read transaction. Byte slices of the transaction die with
// it; ring.open returns copies.
func (s *Store) view(ctx context.Context, fn func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.db.View(fn)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}

func damaged(path string, err error) error {
	return fmt.Errorf("%w: %s: %w; restore a backup", ErrDamaged, path, err)
}

// syncDir makes a new name in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
