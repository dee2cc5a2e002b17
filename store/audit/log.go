package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options for Open. A zero field means its default.
type Options struct {
	Deadline    time.Duration // of one Append; default 2 s
	SegmentSize int64         // default 64 MiB
	Reserve     int64         // bytes kept free for revocations; default 4 MiB, negative: none
	Notes       int           // notes queued at most; default 65536
	Now         func() time.Time
	Logger      *slog.Logger

	Redact *Redactor              // nil: everything stands in clear
	Vault  Vault                  // for what is taken from a line and rules read; nil: it is not kept
	Reads  func(leaf string) bool // which leaves of the input document rules read; nil: none

	Fail func(point string) error // failpoints: create, write, write.short, sync, reserve, checkpoint, outside, retain.record, retain.remove

	// Signer signs checkpoints; nil: there are none, and no retention.
	Signer          *Signer
	CheckpointEvery time.Duration // at most, while records are written; default and limit 1 min
	Outside         []Outside     // where checkpoints are copied to
	Retention       Retention

	// Removed, unless nil, is told at the start and after each removal that no
	// record older than through is left: keys of such days can be destroyed.
	// It is called by one goroutine at a time.
	Removed func(through time.Time)
}

const (
	defaultDeadline    = 2 * time.Second
	defaultSegmentSize = 64 << 20
	defaultReserve     = 4 << 20
	defaultNotes       = 1 << 16

	// MaxRecord is how long one record may be as a line. Append refuses a
	// longer one; Note keeps its identities and drops the rest.
	MaxRecord = 1 << 20

	lockTimeout = time.Second
)

var (
	// ErrLocked: another process writes this log.
	ErrLocked = errors.New("the audit log belongs to another running server")
	// ErrTooLarge: the record is over MaxRecord.
	ErrTooLarge = errors.New("audit record too large")
)

// Log is the durable log of one data directory. It implements Sink.
type Log struct {
	Options
	dir   string   // DIR/audit
	lock  *os.File // dir itself, flocked while the log is open; also synced
	start time.Time

	mu      sync.Mutex
	queue   []*entry      // in order of arrival
	done    chan struct{} // closed when the entries now in queue have their outcome
	notes   int           // notes in queue or held by the committer
	lost    int           // notes dropped and not yet reported in the log
	why     error         // nil, or why nothing can be written now
	low     bool          // the reserve is in use
	closing bool

	stands   stand             // the durable end
	ends     []stand           // of sealed segments that are not signed yet
	unsigned error             // nil, or why checkpoints can't be kept
	open     map[string]uint64 // decisions without outcome; 0: from before this start. Written by the committer alone

	sign        chan struct{}
	quitSigning chan struct{}
	signing     sync.WaitGroup
	notary      *notary // nil without a Signer

	unsealed atomic.Bool // sealing fails, and that was said

	wake    chan struct{}
	quit    chan struct{}
	work    sync.WaitGroup
	syncing atomic.Int64 // when the write now running began, in ns after start; 0: none

	tail // of the committer alone
}

// Open opens the log in the data directory dir, making dir/audit (0700) when
// it doesn't exist. It recovers first: a torn last line is cut off and reported
// by an event record, and every decision that has no outcome is closed by one
// that says "unknown", reason "crash". Errors wrap ErrLocked where it fits.
func Open(dir string, o Options) (*Log, error) {
	defaults(&o)
	l := &Log{
		Options: o, dir: filepath.Join(dir, folder), start: time.Now(),
		done: make(chan struct{}), wake: make(chan struct{}, 1), quit: make(chan struct{}),
		sign: make(chan struct{}, 1), quitSigning: make(chan struct{}),
	}
	if l.Signer == nil && (l.Retention != (Retention{}) || len(l.Outside) > 0) {
		return nil, errors.New("open audit log: retention and copies of checkpoints need a signer")
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make audit directory: %w", err)
	}
	var err error
	if l.lock, err = lockDir(l.dir); err != nil {
		return nil, err
	}
	if err := l.recover(); err != nil {
		l.lock.Close()
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l.work.Go(l.committer)
	if l.notary != nil {
		l.signing.Go(l.notary.run)
		for _, c := range l.notary.copies {
			go c.run()
		}
	}
	return l, nil
}

func defaults(o *Options) {
	if o.Deadline <= 0 {
		o.Deadline = defaultDeadline
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = defaultSegmentSize
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	if o.Notes <= 0 {
		o.Notes = defaultNotes
	}
	if o.CheckpointEvery <= 0 || o.CheckpointEvery > MaxCheckpointEvery {
		o.CheckpointEvery = MaxCheckpointEvery
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Fail == nil {
		o.Fail = func(string) error { return nil }
	}
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open audit directory: %w", err)
	}
	for end := time.Now().Add(lockTimeout); ; time.Sleep(lockTimeout / 20) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock audit log: %w", err)
		}
		if time.Now().After(end) {
			f.Close()
			return nil, fmt.Errorf("%w: %s; use its admin socket or stop it", ErrLocked, dir)
		}
	}
}

// Append returns nil once r is durable, with r.Seq set. A zero r.Time becomes
// the present time. It waits at most until the deadline or the end of ctx; r is
// then not recorded, or, when it was already being written, is closed by an
// outcome "not_executed". Every refusal but ErrTooLarge wraps ErrUnavailable.
func (l *Log) Append(ctx context.Context, r *Record) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	e := l.entry(r)
	if size := len(e.body); size > MaxRecord {
		free(e)
		return fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, size, MaxRecord)
	}
	l.mu.Lock()
	if err := l.refusal(e); err != nil {
		l.mu.Unlock()
		free(e)
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	l.queue = append(l.queue, e)
	done := l.done
	l.mu.Unlock()
	l.poke()

	timer := time.NewTimer(l.Deadline)
	defer timer.Stop()
	var late error
	select {
	case <-done:
	case <-timer.C:
		late = errDeadline
	case <-ctx.Done():
		late = ctx.Err()
	}
	if late != nil && e.state.CompareAndSwap(pending, withdrawn) {
		return fmt.Errorf("%w: %w", ErrUnavailable, late)
	}
	<-done // at most a moment: the outcome is known
	if e.err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, e.err)
	}
	r.Seq = e.seq
	return nil
}

// Note queues r without waiting; r may be reused at once. When the queue is
// full, or space is reserved and r is about nothing that was done, r is lost:
// the log is unwell until an event record says so.
func (l *Log) Note(r *Record) {
	e := l.entry(r)
	e.note = true
	if len(e.body) > MaxRecord {
		e.body = appendBody(nil, shortened(r))
	}
	l.mu.Lock()
	if l.closing || l.notes >= l.Notes || l.low && e.kind != eventKind && e.kind != outcomeKind {
		l.lost++
		l.mu.Unlock()
		free(e)
		return
	}
	l.notes++
	l.queue = append(l.queue, e)
	l.mu.Unlock()
	l.poke()
}

var (
	errDeadline = errors.New("not durable within the deadline")
	errClosed   = errors.New("the log is closed")
	errLost     = errors.New("records were lost and not yet reported")
	errStalled  = errors.New("the disk does not finish a write")
	errLow      = errors.New("the disk is full; only revocations and outcomes are recorded")
)

// Err is nil while the log is well; otherwise it wraps ErrUnavailable and says
// why decisions can't be recorded.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(&entry{kind: decisionKind}); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// refusal says why e can't be appended now. l.mu is held.
func (l *Log) refusal(e *entry) error {
	switch began := l.syncing.Load(); {
	case l.closing:
		return errClosed
	case l.why != nil:
		return l.why
	case l.lost > 0 && !l.low:
		return errLost
	case l.low && e.kind != eventKind && e.kind != outcomeKind:
		return errLow
	case began != 0 && time.Since(l.start)-time.Duration(began) > l.Deadline:
		return errStalled
	}
	return nil
}

// poke wakes the committer.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close writes what is queued and gives the log up. Its error says how many
// notes could not be written. A second Close does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return nil
	}
	l.closing = true
	l.mu.Unlock()
	close(l.quit)
	l.work.Wait()
	if l.notary != nil {
		close(l.quitSigning)
		l.signing.Wait()
		closeCopiers(l.notary.copies)
	}
	var err error
	l.mu.Lock()
	left := l.notes + l.lost
	l.mu.Unlock()
	if left > 0 {
		err = fmt.Errorf("close audit log: %d records were not written", left)
	}
	return errors.Join(err, l.lock.Close())
}
