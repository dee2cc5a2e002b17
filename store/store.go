package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	MasterKey []byte           // 32 bytes; nil = key file in the data directory, made (0600) when absent
	Now       func() time.Time // nil = time.Now
	Reserve   int64            // bytes kept free for revocations; 0 = 4 MiB, negative = none
	// Fail is called at the failpoints; nil = none. keyfile.write, keyfile.link,
	// create.database, create.link, commit.before, commit.after, epoch, reserve,
	// restore.copy, restore.swap.
	Fail func(point string) error
}

var (
	// ErrLocked: another process has this data directory.
	ErrLocked = errors.New("the data directory belongs to another running server")
	// ErrDamaged: the database isn't what was written. Nothing was served from it.
	ErrDamaged = errors.New("the database is damaged")
	// ErrForeign: the file is a whole database, and none of this program's. It is
	// an ErrDamaged too, for those who only ask whether it can be used.
	ErrForeign error = foreign{}
	// ErrNewer: a newer version of this program wrote the database.
	ErrNewer = errors.New("the database was written by a newer version")
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
	rotate sync.Mutex // one change of the keys at a time
	days   days

	gate   sync.RWMutex // held shared while a verb is handed over
	closed bool
	verbs  chan *verb
	broken atomic.Pointer[error]
	quit   chan struct{}
	work   sync.WaitGroup

	moved   atomic.Bool // something was written since the epoch was last raised
	epoch   *epoch      // from here on: of the writer alone
	counter uint64      // the epoch in the database
	older   bool        // the database was made before this layout
	reserve reserve
}

// Open opens the data directory dir, making it (0700), its master key and its
// database when they don't exist. Before it returns, the whole file was walked
// and every value opened once, so damage is an error here and not later.
//
// Errors wrap ErrLocked, ErrDamaged, ErrNewer, ErrMasterKey or ErrRolledBack
// where one of them fits.
func Open(dir string, o Options) (*Store, error) {
	s := newStore(dir, o)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	path := filepath.Join(dir, databaseFile)
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("find database: %w", err)
	}
	fresh := err != nil
	if err := s.unlock(dir, o.MasterKey, fresh); err != nil {
		return nil, err
	}
	if fresh {
		if err := s.create(dir, path); err != nil {
			return nil, fmt.Errorf("make database in %s: %w", dir, err)
		}
	}
	if err := s.open(path, false); err != nil {
		return nil, mendable(path, err)
	}
	if err := s.begin(dir); err != nil {
		return nil, err
	}
	return s, nil
}

func newStore(dir string, o Options) *Store {
	s := &Store{now: o.Now, fail: o.Fail, verbs: make(chan *verb, maxBatch), quit: make(chan struct{})}
	if s.now == nil {
		s.now = time.Now
	}
	if s.fail == nil {
		s.fail = func(string) error { return nil }
	}
	o.Fail = s.fail
	s.reserve = newReserve(dir, o)
	return s
}

// unlock takes the master key: the given one, or that of the key file.
func (s *Store) unlock(dir string, key []byte, fresh bool) (err error) {
	if key == nil {
		if key, err = s.masterKeyFile(dir, fresh); err != nil {
			return err
		}
	}
	if len(key) != keySize {
		return fmt.Errorf("%w: has %d bytes, needs %d", ErrMasterKey, len(key), keySize)
	}
	if s.master, err = newAEAD(key); err != nil {
		return fmt.Errorf("%w: %w", ErrMasterKey, err)
	}
	return nil
}

// begin makes an opened database ready to be written: not one that was rolled
// back, with all buckets, space in reserve, and a new epoch. On a full disk it
// goes without the last two, for reading and revoking.
func (s *Store) begin(dir string) error {
	s.epoch = s.epochOf(dir)
	err := s.epoch.compare(s.counter)
	if err == nil {
		// Before the database is raised: one that has an epoch is refused
		// without its file. And what a torn write left is whole again.
		err = s.epoch.write(s.counter)
	}
	if err == nil && s.older {
		err = s.upgrade()
	}
	if err != nil {
		return errors.Join(err, s.db.Close())
	}
	s.reserve.low = s.reserve.make() != nil
	s.moved.Store(true)
	s.work.Go(s.writer)
	s.work.Go(s.sweeper)
	if err := s.advance(context.Background()); err != nil && !errors.Is(err, ErrFull) {
		return errors.Join(err, s.Close())
	}
	return nil
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
func (s *Store) open(path string, readOnly bool) (err error) {
	if err := inspectFile(path); err != nil {
		return err
	}
	defer func() { // bbolt asserts by panicking, and so does its reading of odd pages
		if r := recover(); r != nil {
			err = damaged(fmt.Errorf("%v", r))
		}
	}()
	s.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType, NoStatistics: true, ReadOnly: readOnly,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("%w: %s; use its admin socket or stop it", ErrLocked, path)
	} else if err != nil {
		return damaged(err)
	}
	if err := s.verify(); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// upgrade gives a database of an older layout what it lacks. On a full disk it
// takes the reserve: what can't be opened can't be revoked in.
func (s *Store) upgrade() error {
	add := func() error {
		if err := s.fail("upgrade"); err != nil {
			return err
		}
		return s.db.Update(s.addBuckets)
	}
	err := add()
	if noSpace(err) && s.reserve.drop() {
		err = add()
	}
	if noSpace(err) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("take over the database of an older version: %w", err)
	}
	return nil
}

// addBuckets makes the buckets that a database of an older layout lacks.
func (s *Store) addBuckets(tx *bbolt.Tx) error {
	for _, b := range laterBuckets {
		if _, err := tx.CreateBucketIfNotExists([]byte(b)); err != nil {
			return fmt.Errorf("make bucket %q: %w", b, err)
		}
	}
	return nil
}

// verify loads the keyring, runs bbolt's own check and opens every value.
func (s *Store) verify() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		if !slices.ContainsFunc(buckets[:], func(b string) bool { return tx.Bucket([]byte(b)) != nil }) {
			return ErrForeign
		}
		if err := hasBuckets(tx, buckets[:]); err != nil {
			return damaged(err)
		}
		var first error
		for err := range tx.Check() { // drained: the checker would block for ever
			if first == nil {
				first = err
			}
		}
		if first != nil {
			return damaged(first)
		}
		ring, err := s.loadKeys(tx)
		if err != nil {
			return err
		}
		s.keys.Store(ring)
		m, err := readMetaRecord(&txn{tx: tx, ring: ring})
		if err != nil {
			return err
		}
		s.counter = m.Epoch
		s.older = m.Layout < layout
		var wanted []string
		switch m.Layout {
		case layout:
			wanted = laterBuckets[:]
		case layout - 1:
			wanted = laterBuckets[:len(laterBuckets)-1]
		}
		if err := hasBuckets(tx, wanted); err != nil {
			return damaged(err)
		}
		for _, b := range sealedBuckets {
			bucket := tx.Bucket([]byte(b))
			if bucket == nil { // an older layout; made below
				continue
			}
			err := bucket.ForEach(func(k, v []byte) error {
				_, err := ring.open(b, k, v)
				return err
			})
			if err != nil {
				return damaged(err)
			}
		}
		return nil
	})
}

func hasBuckets(tx *bbolt.Tx, names []string) error {
	for _, b := range names {
		if tx.Bucket([]byte(b)) == nil {
			return fmt.Errorf("it has no bucket %q", b)
		}
	}
	return nil
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

func damaged(err error) error { return fmt.Errorf("%w: %w", ErrDamaged, err) }

// foreign is ErrForeign.
type foreign struct{}

func (foreign) Error() string        { return "this database was made by another program" }
func (foreign) Is(target error) bool { return target == ErrDamaged }

// mendable says of a damaged database where it is and what to do about it.
func mendable(path string, err error) error {
	switch {
	case errors.Is(err, ErrForeign):
		return fmt.Errorf("%s: %w; name another directory (--data), or a file that `ostiary backup` made", path, err)
	case !errors.Is(err, ErrDamaged):
		return err
	}
	return fmt.Errorf("%s: %w; restore a backup with `ostiary restore`", path, err)
}

// syncDir makes a new name in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
