package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Retention says how much of the log is kept; a zero bound is none. Whole
// segments are removed, oldest first, when all their records are older than Age
// or the segments take more than Size bytes. The segment that is written and
// those that hold a decision without outcome always stay.
type Retention struct {
	Age  time.Duration
	Size int64
}

const (
	retainEvery = 10 * time.Minute

	// recordLag is how much older than the segment it stands in a record may
	// be: notes wait while the disk is full.
	recordLag = time.Hour
)

// pastSize says cheaply that a look at the sizes is worth it: the log grew by a
// segment. Segments end with a signature, so sealed ones come through round.
func (n *notary) pastSize() bool { return n.log.Retention.Size > 0 && n.kept.Segment != n.looked }

// retain removes what retention says, in an order that may end anywhere: a
// record says what goes, a signed checkpoint over that record says where the
// log begins from now on, and only then segments go, oldest first.
func (n *notary) retain() error {
	l := n.log
	n.looked = n.kept.Segment
	log, err := segments(l.dir)
	if err != nil {
		return err
	}
	gone, err := n.removable(log)
	if err != nil || gone == 0 {
		return err
	}
	first, last, next := log[0].head.First, log[gone].head.First-1, log[gone]
	if err := l.Fail("retain.record"); err != nil {
		return err
	}
	// Not of the log's own kind of events: this one is awaited.
	r := &Record{Kind: "event", Event: "audit.retention", Detail: fmt.Sprintf("segments %d to %d, records %d to %d, are removed; the last line of them has SHA-256 %s",
		log[0].number, log[gone-1].number, first, last, next.head.Prev)}
	if err := l.Append(context.Background(), r); err != nil {
		return err
	}
	begins := Beginning{Segment: next.number, First: next.head.First}
	if begins.Prev, err = hexToHash(next.head.Prev); err != nil {
		return err
	}
	l.mu.Lock()
	stands := l.stands
	l.mu.Unlock()
	if err := n.sign(stands, begins); err != nil {
		return err
	}
	l.Logger.Info("audit retention removes segments", "first", log[0].number, "last", log[gone-1].number, "records", last-first+1)
	return n.finish()
}

// removable counts the oldest segments of log that may go.
func (n *notary) removable(log []segment) (int, error) {
	l := n.log
	total := int64(0)
	sizes := make([]int64, len(log))
	for i, s := range log {
		info, err := os.Stat(s.path)
		if err != nil {
			return 0, err
		}
		sizes[i] = info.Size()
		total += sizes[i]
	}
	open, now := l.oldestOpen(), l.Now()
	for i := range len(log) - 1 {
		next := log[i+1].head
		old := l.Retention.Age > 0 && now.Sub(next.Time) > l.Retention.Age
		large := l.Retention.Size > 0 && total > l.Retention.Size
		if !old && !large || next.First > n.kept.Seq+1 || next.First > open {
			return i, nil
		}
		total -= sizes[i]
	}
	return max(0, len(log)-1), nil
}

// finish removes the files before the beginning that was signed for, and tells
// how far back the log reaches now. After a crash it does what was left.
func (n *notary) finish() error {
	l := n.log
	all, err := numbers(l.dir)
	if err != nil {
		return err
	}
	if b := n.begins; b.Segment > 0 {
		s, err := readSegment(filepath.Join(l.dir, segmentName(b.Segment)), b.Segment)
		if err != nil || s.head.First != b.First || s.head.Prev != hexHash(b.Prev) {
			l.Logger.Error("the audit log does not begin where its checkpoint says; nothing is removed; run audit verify", "segment", b.Segment)
			return nil
		}
		for _, number := range all {
			if number >= b.Segment {
				break
			}
			if err := l.Fail("retain.remove"); err != nil {
				return err
			}
			// The name is gone for good before the next one goes, or a crash
			// could leave an older segment and not a younger one.
			err := os.Remove(filepath.Join(l.dir, segmentName(number)))
			if err := errors.Join(err, l.lock.Sync()); err != nil {
				return err
			}
			err = os.Remove(filepath.Join(l.dir, checkpointsName(number)))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	if l.Removed == nil {
		return nil
	}
	log, err := segments(l.dir)
	if err == nil && len(log) > 0 {
		l.Removed(log[0].head.Time.Add(-recordLag))
	}
	return err
}
