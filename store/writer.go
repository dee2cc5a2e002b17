package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

// maxBatch is how many verbs one commit takes at most.
const maxBatch = 1024

// Buckets. Values of sealedBuckets are sealed records; those of bucketKeys
// are sealed by the master key; those of bucketExpiry are empty.
const (
	bucketKeys      = "keys"
	bucketOnce      = "once"
	bucketExpiry    = "expiry"
	bucketSnapshots = "snapshots"

	bucketUsers    = "users"
	bucketClients  = "clients"
	bucketConsents = "consents"
	bucketSessions = "sessions"
	bucketGrants   = "grants"
	bucketCodes    = "codes"
	bucketTokens   = "tokens"
	bucketKept     = "kept"
	bucketDue      = "due"   // index of the tables by end
	bucketLinks    = "links" // index of the tables by parent
	bucketMeta     = "meta"  // one record, about the database itself
	bucketPasskeys = "passkeys"
)

var (
	buckets = [...]string{bucketKeys, bucketOnce, bucketExpiry, bucketSnapshots}
	// laterBuckets came with layout 2, the last one with layout 3; they are made
	// when a database of an older layout is opened.
	laterBuckets = [...]string{bucketUsers, bucketClients, bucketConsents, bucketSessions,
		bucketGrants, bucketCodes, bucketTokens, bucketKept, bucketDue, bucketLinks, bucketMeta, bucketPasskeys}
	sealedBuckets = [...]string{bucketOnce, bucketSnapshots, bucketUsers, bucketClients, bucketConsents,
		bucketSessions, bucketGrants, bucketCodes, bucketTokens, bucketKept, bucketMeta, bucketPasskeys}
)

// verb is one atomic change, waiting for the writer.
type verb struct {
	run   func(*txn) error // may run more than once: it resets what it captured
	frees bool             // takes something away: may use the reserve, raises the epoch
	state atomic.Int32     // waiting → claimed by the writer, or withdrawn by its caller
	err   error
	done  chan struct{}
}

const (
	waiting int32 = iota
	claimed
	withdrawn
)

// txn is what a verb sees of a transaction: sealed reads and writes.
type txn struct {
	tx    *bbolt.Tx
	ring  *keyring
	now   time.Time
	wrote bool // this verb changed something
}

// get returns the opened value under key, or nil when there is none.
func (t *txn) get(bucket string, key []byte) ([]byte, error) {
	v := t.tx.Bucket([]byte(bucket)).Get(key)
	if v == nil {
		return nil, nil
	}
	return t.ring.open(bucket, key, v)
}

// put stores an already sealed (or empty) value.
func (t *txn) put(bucket string, key, sealed []byte) error {
	t.wrote = true
	return t.tx.Bucket([]byte(bucket)).Put(key, sealed)
}

func (t *txn) delete(bucket string, key []byte) error {
	t.wrote = true
	return t.tx.Bucket([]byte(bucket)).Delete(key)
}

// do hands run to the writer and returns its error once the outcome is
// durable. When ctx ends before the writer took it, it never runs; after that
// do waits for the outcome, so that an answer is never a guess.
func (s *Store) do(ctx context.Context, run func(*txn) error) error {
	return s.submit(ctx, &verb{run: run})
}

// doFreeing is do for verbs that take access away: they still commit on a full
// disk, and no copy of the database from before them is opened any more.
func (s *Store) doFreeing(ctx context.Context, run func(*txn) error) error {
	return s.submit(ctx, &verb{run: run, frees: true})
}

func (s *Store) submit(ctx context.Context, v *verb) error {
	v.done = make(chan struct{})
	if err := s.hand(ctx, v); err != nil {
		return err
	}
	select {
	case <-v.done:
		return v.err
	case <-ctx.Done():
		if v.state.CompareAndSwap(waiting, withdrawn) {
			return ctx.Err()
		}
		<-v.done
		return v.err
	}
}

func (s *Store) hand(ctx context.Context, v *verb) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.verbs <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writer commits everything that waits in one transaction, again and again.
// There is no idle delay: a lone verb is committed at once, and while it is
// being synced the next batch gathers.
func (s *Store) writer() {
	batch := make([]*verb, 0, maxBatch)
	for v := range s.verbs {
		batch = append(batch[:0], v)
		runtime.Gosched() // those whom the last commit woke may have more
		for len(batch) < maxBatch {
			select {
			case v, ok := <-s.verbs:
				if ok {
					batch = append(batch, v)
					continue
				}
			default:
			}
			break
		}
		s.commit(batch)
		clear(batch)
	}
}

// commit runs a batch. A verb that fails after it has written would spoil the
// others, so the transaction is undone and the others run again without it.
func (s *Store) commit(batch []*verb) {
	live := batch[:0:len(batch)]
	for _, v := range batch {
		if v.state.CompareAndSwap(waiting, claimed) {
			live = append(live, v)
		}
	}
	s.reserve.refill()
	for len(live) > 0 {
		if s.reserve.low {
			live = refuse(live)
		}
		spoiler, err := s.attempt(live)
		if spoiler >= 0 {
			close(live[spoiler].done)
			live = append(live[:spoiler], live[spoiler+1:]...)
			continue
		}
		if errors.Is(err, ErrFull) && s.reserve.drop() {
			continue // without those that are refused now
		}
		for _, v := range live {
			if err != nil {
				v.err = err
			}
			close(v.done)
		}
		return
	}
}

// refuse ends the verbs that may not use the reserve and returns the others.
func refuse(verbs []*verb) []*verb {
	freeing := verbs[:0]
	for _, v := range verbs {
		if v.frees {
			freeing = append(freeing, v)
			continue
		}
		v.err = fmt.Errorf("%w: only what takes access away is still written: %w", ErrFull, syscall.ENOSPC)
		close(v.done)
	}
	return freeing
}

// attempt runs verbs in one transaction and commits it. It returns the index
// of a verb that spoiled it, or -1 and the error that all of them share.
func (s *Store) attempt(verbs []*verb) (spoiler int, err error) {
	if p := s.broken.Load(); p != nil {
		return -1, *p
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return -1, fmt.Errorf("begin transaction: %w", err)
	}
	defer tx.Rollback() // after a commit: does nothing
	t := &txn{tx: tx, ring: s.keys.Load(), now: s.now()}
	changed, freed := false, false
	for i, v := range verbs {
		t.wrote = false
		if v.err = guarded(v.run, t); v.err != nil && t.wrote {
			return i, nil
		}
		changed = changed || t.wrote
		freed = freed || t.wrote && v.frees
	}
	if !changed {
		return -1, nil
	}
	if freed {
		if err := writeMetaRecord(t, s.counter+1); err != nil {
			return -1, err
		}
	}
	id := tx.ID()
	if err = s.fail("commit.before"); err == nil {
		err = tx.Commit()
	}
	if err == nil {
		if err = s.fail("commit.after"); err == nil {
			s.committed(freed)
			return -1, nil
		}
	}
	tx.Rollback() // some failures leave the transaction, and its lock, behind
	return -1, s.failed(id, err)
}

// committed follows a commit: after one that raised the epoch, the file beside
// the database is raised too, before anybody hears of it. Where that fails, the
// database is one ahead, which is no harm, and the next sweep raises both.
func (s *Store) committed(raised bool) {
	if raised {
		s.counter++
	}
	s.moved.Store(!raised || s.fail("epoch") != nil || s.epoch.write(s.counter) != nil)
}

// failed judges a commit error. A full disk is found out before the meta page
// is written; then the transaction is known not to have happened and the next
// one may succeed. Any other error leaves that open: bbolt was seen to show
// transactions, live and after reopening, whose commit had failed.
func (s *Store) failed(id int, err error) error {
	if noSpace(err) && !s.visible(id) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	broken := fmt.Errorf("%w: %w", ErrBroken, err)
	s.broken.Store(&broken)
	return broken
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// visible says whether a reader now sees the transaction id.
func (s *Store) visible(id int) bool {
	seen := true
	err := s.db.View(func(tx *bbolt.Tx) error {
		seen = tx.ID() >= id
		return nil
	})
	return err != nil || seen
}

// guarded turns a panic of a verb into its error: one verb must not take the
// writer, and everybody's writes, with it.
func guarded(run func(*txn) error, t *txn) (err error) {
	defer func() {
		if r := recover(); r != nil {
			t.wrote = true
			err = fmt.Errorf("a store verb failed: %v", r)
		}
	}()
	return run(t)
}
