package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// retryEvery is how often an unwell log tries to get well.
const retryEvery = 100 * time.Millisecond

// tail is the end of the log: what is durable, and the file that is written.
type tail struct {
	file   *os.File // nil: the next write begins a segment
	number int      // of the last segment that holds something durable; 0: none
	used   int      // highest number of a file
	size   int64    // durable bytes of it
	bare   bool     // the file holds only its header, or nothing yet
	seq    uint64   // last durable
	last   hash     // of the last durable line
	mine   []*entry // notes that wait for the next write: retained ones, and the log's own
	buf    []byte
}

// committer writes everything that waits with one write and one fdatasync,
// then wakes those who wait: all concurrent appends share one sync.
func (l *Log) committer() {
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	for {
		select {
		case <-l.wake:
			// Those whom the last round woke may be about to append again: let
			// them, and one sync serves all. With nobody runnable it is a no-op.
			runtime.Gosched()
		case <-retry.C:
			if !l.heal() {
				continue
			}
		case <-l.quit:
			l.round()
			if l.file != nil {
				l.file.Close()
			}
			return
		}
		l.round()
	}
}

// heal says whether an unwell log should try to write, after trying to get the
// reserve back.
func (l *Log) heal() bool {
	l.mu.Lock()
	low, unwell := l.low, l.why != nil || l.lost > 0
	l.mu.Unlock()
	if low && l.makeReserve() == nil {
		l.setLow(false)
	}
	return unwell
}

// round commits what waits, and then what that made necessary.
func (l *Log) round() {
	l.mu.Lock()
	queue, done := l.queue, l.done
	l.queue, l.done = nil, make(chan struct{})
	unwell := l.why != nil
	if l.lost > 0 && !l.low {
		e := l.event("audit.notes_lost", "overflow", fmt.Sprintf("%d records were lost", l.lost))
		e.reported = l.lost
		l.mine = append(l.mine, e)
	}
	l.mu.Unlock()
	err := l.commit(append(l.takeMine(), queue...), unwell)
	if err == nil {
		err = l.commit(l.takeMine(), false)
	}
	l.mu.Lock()
	switch {
	case l.why != nil && err == nil:
		l.Logger.Info("audit log is well again", "segment", l.number)
	case l.why == nil && err != nil:
		l.Logger.Error("audit log is unavailable: calls are refused", "error", err)
	}
	l.why = err
	l.mu.Unlock()
	close(done)
}

func (l *Log) takeMine() []*entry {
	mine := l.mine
	l.mine = nil
	return mine
}

// commit makes entries durable, segment by segment. With probe it also tries
// to write when there are none, to find out whether that works again. After an
// error nobody's record of the failed part counts; notes are kept for later.
func (l *Log) commit(entries []*entry, probe bool) error {
	for len(entries) > 0 || probe {
		n, err := l.write(entries)
		if errors.Is(err, syscall.ENOSPC) && l.dropReserve() {
			n, err = l.write(entries)
		}
		if err != nil {
			l.fail(entries, err)
			return err
		}
		l.settle(entries[:n])
		l.stood(l.file == nil) // only now: what is open is known
		entries, probe = entries[n:], false
	}
	return nil
}

// write makes the first n entries durable: as many as the segment takes.
func (l *Log) write(entries []*entry) (n int, err error) {
	l.syncing.Store(max(1, int64(time.Since(l.start))))
	defer l.syncing.Store(0)
	fresh := l.file == nil
	next := l.tail
	next.buf = next.buf[:0]
	if fresh {
		if err := l.begin(&next); err != nil {
			return 0, err
		}
	}
	full := false
	for _, e := range entries {
		if e.state.Load() == withdrawn {
			e.seq = 0
			n++
			continue
		}
		at := len(next.buf)
		next.buf = appendStart(next.buf, next.seq+1, &next.last)
		next.buf = append(next.buf, e.body...)
		next.buf = append(next.buf, "}\n"...)
		if full = next.size+int64(len(next.buf)) > l.SegmentSize && !next.bare; full {
			next.buf = next.buf[:at]
			break
		}
		next.bare = false
		next.seq++
		next.last = sha256.Sum256(next.buf[at : len(next.buf)-1])
		e.seq = next.seq
		n++
	}
	l.buf = next.buf // keeps what it grew to, also after an error
	if err := l.flush(next.file, next.buf, fresh); err != nil {
		l.abandon(next.file, fresh, err)
		return 0, err
	}
	next.size += int64(len(next.buf))
	if full {
		next.file.Close()
		next.file = nil
	}
	if cap(next.buf) > 4*MaxRecord {
		next.buf = nil
	}
	l.tail = next
	return n, nil
}

// begin makes the file of the next segment and puts its header into t.buf.
func (l *Log) begin(t *tail) error {
	if err := l.Fail("create"); err != nil {
		return fmt.Errorf("make audit segment: %w", err)
	}
	var err error
	for range 1000 {
		l.used++
		t.used = l.used
		path := filepath.Join(l.dir, segmentName(l.used))
		t.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, os.ErrExist) {
			break
		}
	}
	if err != nil {
		l.used-- // a full disk must not use up numbers
		return fmt.Errorf("make audit segment: %w", err)
	}
	h := header{Format: Format, Kind: kindSegment, Segment: t.used, First: t.seq + 1, Time: l.Now().UTC()}
	if t.number > 0 {
		h.Prev = hex.EncodeToString(t.last[:])
		h.After = &position{Segment: t.number, Size: t.size}
		h.Open = slices.Sorted(maps.Keys(l.open))
	}
	line, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("make audit segment: %w", err)
	}
	t.number, t.size, t.bare, t.last = t.used, 0, true, sha256.Sum256(line)
	t.buf = append(append(t.buf, line...), '\n')
	return nil
}

var errRemoved = errors.New("its file was removed or renamed while the server runs")

// inPlace says that f is what stands under its name. One that was removed, or
// moved away (logrotate does that), takes writes as before, for nobody to read.
func inPlace(f *os.File) error {
	var here, there syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &here); err != nil {
		return err
	}
	if err := syscall.Stat(f.Name(), &there); err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	} else if err != nil || here.Dev != there.Dev || here.Ino != there.Ino {
		return errRemoved
	}
	return nil
}

// flush writes b to f and returns when it is on the disk.
func (l *Log) flush(f *os.File, b []byte, fresh bool) error {
	if len(b) == 0 {
		return nil
	}
	if err := l.Fail("write"); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	if err := l.Fail("write.short"); err != nil {
		f.Write(b[:len(b)/2])
		return fmt.Errorf("write audit log: %w", err)
	}
	if _, err := f.Write(b); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	if err := inPlace(f); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	if err := l.Fail("sync"); err != nil {
		return fmt.Errorf("sync audit log: %w", err)
	}
	if err := syscall.Fdatasync(int(f.Fd())); err != nil {
		return fmt.Errorf("sync audit log: %w", err)
	}
	if fresh { // its name, too
		if err := l.lock.Sync(); err != nil {
			return fmt.Errorf("sync audit directory: %w", err)
		}
	}
	return nil
}

// settle tells the outcome of durable entries. One that was withdrawn while it
// was being written stands in the log although its caller was told that it
// doesn't count: the log closes it.
func (l *Log) settle(entries []*entry) {
	notes, reported := 0, 0
	l.mu.Lock()
	for _, e := range entries {
		switch {
		case e.seq == 0:
		case e.opens:
			l.open[e.decision] = e.seq
		case e.kind == outcomeKind:
			delete(l.open, e.decision)
		}
	}
	l.mu.Unlock()
	for _, e := range entries {
		if e.seq == 0 {
			free(e)
			continue // withdrawn in time
		}
		if e.note && !e.own {
			notes++
		}
		reported += e.reported
		if !e.state.CompareAndSwap(pending, durable) {
			l.mine = append(l.mine, l.outcome(e.decision, "not_executed", "withdrawn", fmt.Sprintf("record %d was durable too late", e.seq)))
		}
		free(e)
	}
	if notes+reported > 0 {
		l.mu.Lock()
		l.notes -= notes
		l.lost -= reported
		l.mu.Unlock()
	}
}

// abandon gives up a file after an error: it is void beyond what was durable
// before. The next write begins a new segment.
func (l *Log) abandon(f *os.File, fresh bool, err error) {
	f.Close()
	if fresh { // nothing of it counts; if it can't be removed, nothing continues it
		if os.Remove(f.Name()) == nil {
			l.used--
		}
		return
	}
	l.Logger.Error("audit log can't be written", "error", err)
	l.file = nil
	l.mine = append(l.mine, l.event("audit.resumed", "io_error",
		fmt.Sprintf("%s ends at byte %d; what it holds beyond is void", segmentName(l.number), l.size)))
}

// fail tells whoever waits that the record doesn't count; notes are kept.
func (l *Log) fail(entries []*entry, err error) {
	for _, e := range entries {
		switch {
		case e.reported > 0: // made anew, with the number lost by then
		case e.note:
			l.mine = append(l.mine, e)
		default:
			e.err = err
			free(e)
		}
	}
}
