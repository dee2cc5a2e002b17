package audit

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	// MaxCheckpointEvery is the longest that a record stands without a signed
	// checkpoint over it.
	MaxCheckpointEvery = time.Minute

	checkpointsSuffix = ".checkpoints"

	// maxCheckpoints bounds the checkpoints kept beside one segment; when they
	// would exceed it, only the newest stays: it covers what the others did.
	maxCheckpoints = 64 << 10

	notaryTick = time.Second
)

func checkpointsName(segment int) string {
	return fmt.Sprintf("%s%08d%s", namePrefix, segment, checkpointsSuffix)
}

// stand is the durable end of the log at some moment.
type stand struct {
	seq     uint64
	last    hash
	segment int
}

// notary signs where the log stands, in a goroutine of its own: neither a slow
// disk nor an outside place holds up a record.
type notary struct {
	log    *Log
	copies []*copier

	// Of the goroutine alone.
	kept    Checkpoint // the newest that is durable; Seq 0: none
	begins  Beginning
	last    time.Time // of the last attempt
	retired time.Time // of the last look at what retention may remove
	looked  int       // segment that was written then
}

// stood notes the durable end of the log; sealed: its segment takes no more.
// It runs in the committer.
func (l *Log) stood(sealed bool) {
	l.mu.Lock()
	l.stands = stand{l.seq, l.last, l.number}
	if l.Signer == nil || l.seq == 0 {
		l.mu.Unlock()
		return
	}
	if sealed {
		if len(l.ends) == maxEnds { // the newest covers them
			l.ends = slices.Delete(l.ends, 0, 1)
		}
		l.ends = append(l.ends, l.stands)
	}
	l.mu.Unlock()
	if sealed {
		select {
		case l.sign <- struct{}{}:
		default:
		}
	}
}

// maxEnds bounds the ends of segments that wait for their signature.
const maxEnds = 64

// run signs until quit, and once more then.
func (n *notary) run() {
	tick := time.NewTicker(min(n.log.CheckpointEvery, notaryTick))
	defer tick.Stop()
	n.round(true)
	for {
		select {
		case <-n.log.sign:
			n.round(false)
		case <-tick.C:
			n.round(false)
		case <-n.log.quitSigning:
			n.round(true)
			return
		}
	}
}

// round signs the ends of sealed segments, and where the log stands if that is
// due or must be now. What fails is tried again at the next one.
func (n *notary) round(now bool) {
	l := n.log
	l.mu.Lock()
	sealed, stands := l.ends, l.stands
	l.ends = nil
	l.mu.Unlock()
	var err error
	// The next look may come a tick late: that is part of the time.
	due := now || time.Since(n.last) >= l.CheckpointEvery-notaryTick || n.problem() != nil
	if due && stands.seq > 0 && !slices.Contains(sealed, stands) {
		sealed = append(sealed, stands)
	}
	for i, s := range sealed {
		if s.seq <= n.kept.Seq {
			continue
		}
		n.last = time.Now()
		if err = n.sign(s, n.begins); err != nil {
			l.mu.Lock()
			l.ends = append(sealed[i:len(sealed):len(sealed)], l.ends...)
			l.ends = l.ends[max(0, len(l.ends)-maxEnds):]
			l.mu.Unlock()
			break
		}
	}
	if err != nil || due || len(sealed) > 0 {
		n.report(err)
	}
	if err == nil && l.Retention != (Retention{}) && (time.Since(n.retired) >= retainEvery || n.pastSize()) {
		n.retired = time.Now()
		if err := n.retain(); err != nil && !errors.Is(err, errClosed) {
			l.Logger.Error("audit retention is postponed", "error", err)
		}
	}
}

// sign makes the checkpoint over s, keeps it and hands it to the copiers.
func (n *notary) sign(s stand, begins Beginning) error {
	c := Checkpoint{Seq: s.seq, Head: s.last, Segment: s.segment, Begins: begins, Time: n.log.Now()}
	c.sign(n.log.Signer)
	if err := n.keep(&c); err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	n.kept, n.begins = c, begins
	for _, c := range n.copies {
		c.offer(n.kept)
	}
	return nil
}

// keep appends c to the checkpoints of its segment, durably.
func (n *notary) keep(c *Checkpoint) error {
	l := n.log
	if err := l.Fail("checkpoint"); err != nil {
		return err
	}
	path := filepath.Join(l.dir, checkpointsName(c.Segment))
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case info.Size()+int64(len(c.Text)) <= maxCheckpoints:
		return appendWhole(path, c.Text)
	}
	return writeWhole(path, c.Text, os.Rename)
}

// appendWhole appends a note to a file, or leaves it as it was. Empty lines set
// it off from the one before, also where that was cut off.
func appendWhole(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		if _, err = f.Write(append([]byte("\n\n"), text...)); err == nil {
			err = syscall.Fdatasync(int(f.Fd()))
		}
		if err != nil && info.Mode().IsRegular() {
			// What can't be undone is text without a signature, which readers skip.
			err = errors.Join(err, f.Truncate(info.Size()))
		}
	}
	return errors.Join(err, f.Close())
}

// report tells of a checkpoint that can't be kept, once, and that it can again.
func (n *notary) report(err error) {
	l := n.log
	l.mu.Lock()
	was := l.unsigned
	l.unsigned = err
	l.mu.Unlock()
	switch {
	case was == nil && err != nil:
		l.Logger.Warn("audit checkpoints can't be signed", "error", err)
	case was != nil && err == nil:
		l.Logger.Info("audit checkpoints are signed again")
	}
}

func (n *notary) problem() error {
	n.log.mu.Lock()
	defer n.log.mu.Unlock()
	return n.log.unsigned
}

// CheckpointErr is nil while checkpoints are signed, kept and copied to every
// outside place; otherwise it says what fails. Records don't wait for that.
func (l *Log) CheckpointErr() error {
	if l.notary == nil {
		return nil
	}
	errs := []error{l.notary.problem()}
	for _, c := range l.notary.copies {
		errs = append(errs, c.problem())
	}
	return errors.Join(errs...)
}

// openNotary finds the newest checkpoint that this log's own key signed, holds
// it against what is there, and makes the notary, which does not run yet.
func (l *Log) openNotary() error {
	if err := l.declareKey(); err != nil {
		return err
	}
	half, _ := filepath.Glob(filepath.Join(l.dir, "*"+newFile+"*")) // a malformed pattern is the only error
	for _, path := range half {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	n := &notary{log: l, retired: time.Now().Add(-retainEvery)}
	kept, err := readKept(l.dir)
	if err != nil {
		l.Logger.Error("the kept checkpoints are damaged; run audit verify", "error", err)
	}
	own := []Key{l.Signer.Key}
	slices.SortStableFunc(kept, func(a, b Checkpoint) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, c := range slices.Backward(kept) {
		if c.signedBy(own) {
			n.kept = c
			break
		}
	}
	n.begins = n.kept.Begins
	if n.kept.Seq > l.seq {
		l.Logger.Error("the audit log was cut off; run audit verify", "last", l.seq, "signed", n.kept.Seq)
		l.mine = append(l.mine, l.event("audit.damaged", "cut_tail",
			fmt.Sprintf("the log ended with record %d, a checkpoint of %s covers %d", l.seq, n.kept.Time.Format(time.RFC3339), n.kept.Seq)))
		n.kept.Seq = 0 // sign what there is
	}
	for _, o := range l.Outside {
		n.copies = append(n.copies, newCopier(l, o))
	}
	l.notary = n
	if n.kept.Seq == 0 {
		// A signed log always has one, so that none at all is found out.
		s := stand{l.seq, l.last, max(1, l.number)}
		if l.seq == 0 {
			s.last = sha256.Sum256(nil)
		}
		n.report(n.sign(s, n.begins))
	}
	return n.finish()
}

// readKept reads all checkpoints kept beside the segments in dir, oldest file
// first. An error leaves out one file's rest, not the others.
func readKept(dir string) (all []Checkpoint, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read checkpoints: %w", err)
	}
	var errs []error
	for _, e := range entries { // sorted by name
		if ok, _ := filepath.Match(namePrefix+"*"+checkpointsSuffix, e.Name()); !ok {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // retention, right now
		}
		var some []Checkpoint
		if err == nil {
			some, err = ParseCheckpoints(b)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.Name(), err))
		}
		all = append(all, some...)
	}
	return all, errors.Join(errs...)
}

// oldestOpen is the first decision without an outcome; MaxUint64: none is open.
func (l *Log) oldestOpen() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := uint64(math.MaxUint64)
	for _, seq := range l.open {
		oldest = min(oldest, seq)
	}
	return oldest
}
