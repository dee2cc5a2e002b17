package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// grow appends n events of 100 bytes and more.
func grow(t testing.TB, l *Log, n int) {
	t.Helper()
	for i := range n {
		if err := l.Append(t.Context(), &Record{Kind: "event", Event: fmt.Sprint("e", i), Detail: strings.Repeat("x", 100)}); err != nil {
			t.Fatal(err)
		}
	}
}

func firstSeq(t testing.TB, dir string) uint64 {
	t.Helper()
	rep, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	return rep.First
}

func TestOldSegmentsGoBySizeAndTheLogStillVerifies(t *testing.T) {
	dir := t.TempDir()
	var through atomic.Pointer[time.Time]
	place := filepath.Join(t.TempDir(), "outside")
	l := open(t, dir, signed(t, dir, Options{SegmentSize: 2000, Retention: Retention{Size: 8000}, Outside: []Outside{FilePlace{place}},
		Removed: func(at time.Time) { through.Store(&at) }}))
	began := time.Now()
	grow(t, l, 60)
	eventually(t, 20*time.Second, "old segments are removed", func() bool { return firstSeq(t, dir) > 30 })
	l.Close()
	total := int64(0)
	log, err := segments(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range log {
		info, err := os.Stat(s.path)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	// One segment more than allowed at most: it filled up since the last look.
	if total > 8000+2*2000 || len(log) < 3 {
		t.Errorf("%d bytes in %d segments", total, len(log))
	}
	removed := find(read(t, dir), func(r *Record) bool { return r.Event == "audit.retention" })
	if removed == nil || !strings.Contains(removed.Detail, "records ") || !strings.Contains(removed.Detail, "SHA-256 ") {
		t.Errorf("%+v", removed)
	}
	if at := through.Load(); at == nil || at.After(time.Now().Add(-recordLag)) || at.Before(began.Add(-recordLag-time.Second)) {
		t.Errorf("told %v", at)
	}
	b, err := os.ReadFile(place)
	if err != nil {
		t.Fatal(err)
	}
	outside, err := ParseCheckpoints(b)
	if err != nil {
		t.Fatal(err)
	}
	if rep, err := (Verifier{Outside: outside, Keys: []Key{l.Signer.Key}}).Verify(dir); err != nil || rep.First <= 30 {
		t.Errorf("%+v, %v", rep, err)
	}
	if left, _ := filepath.Glob(filepath.Join(l.dir, namePrefix+"*"+checkpointsSuffix)); len(left) > len(log) {
		t.Errorf("%d files of checkpoints for %d segments", len(left), len(log))
	}
	// One segment more than retention removed is not accounted for.
	if err := os.Remove(log[0].path); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(dir); err == nil || !strings.Contains(err.Error(), "no checkpoint says") {
		t.Errorf("got %v", err)
	}
}

func TestOldSegmentsGoByAge(t *testing.T) {
	for name, c := range map[string]struct {
		later time.Duration
		gone  bool
	}{"just not old enough": {time.Hour, false}, "older": {time.Hour + time.Second, true}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := time.Unix(1_000_000, 0)
			o := signed(t, dir, Options{SegmentSize: 1000, Now: func() time.Time { return at }, Retention: Retention{Age: time.Hour}})
			l := open(t, dir, o)
			grow(t, l, 20)
			l.Close()
			log, err := segments(l.dir)
			if err != nil {
				t.Fatal(err)
			}
			at = at.Add(c.later)
			l = open(t, dir, o)
			defer l.Close()
			want := log[len(log)-1].head.First // the last one stays, however old
			if c.gone {
				eventually(t, 20*time.Second, "they are removed", func() bool { return firstSeq(t, dir) == want })
				return
			}
			eventually(t, 20*time.Second, "a look was taken", func() bool { return l.CheckpointErr() == nil && firstSeq(t, dir) == 1 })
			l.Close() // which takes its look first, if it wasn't taken
			if got := firstSeq(t, dir); got != 1 {
				t.Errorf("begins with %d", got)
			}
		})
	}
}

func TestADecisionWithoutOutcomeKeepsItsSegment(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, signed(t, dir, Options{SegmentSize: 2000, Retention: Retention{Size: 4000}}))
	grow(t, l, 20)
	r := decision("running")
	if err := l.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	grow(t, l, 60)
	eventually(t, 20*time.Second, "what is older is removed", func() bool { return firstSeq(t, dir) > 1 })
	if n := firstSeq(t, dir); n > r.Seq {
		t.Fatalf("begins with %d, the open decision is %d", n, r.Seq)
	}
	l.Note(&Record{Kind: "outcome", DecisionID: "running", Outcome: "ok"})
	eventually(t, 20*time.Second, "its segment is removed after its outcome", func() bool { grow(t, l, 10); return firstSeq(t, dir) > r.Seq })
}

// Wherever retention stops, the log verifies, and the next start finishes it.
func TestRetentionMayStopAnywhere(t *testing.T) {
	for _, point := range []string{"retain.record", "checkpoint", "retain.remove"} {
		for after := range 3 {
			t.Run(fmt.Sprint(point, " after ", after), func(t *testing.T) {
				dir := t.TempDir()
				o := signed(t, dir, Options{SegmentSize: 2000})
				l := open(t, dir, o)
				grow(t, l, 60)
				l.Close()
				var hits atomic.Int64
				o.Retention.Size = 8000
				o.Fail = func(p string) error {
					if p != point {
						return nil
					}
					if hits.Add(1) > int64(after) {
						return errors.New("stop")
					}
					return nil
				}
				l, err := Open(dir, o)
				if err == nil {
					eventually(t, 20*time.Second, "the point is reached", func() bool { return hits.Load() > int64(after) || firstSeq(t, dir) > 20 })
					l.Close()
				}
				if hits.Load() == 0 {
					t.Fatal("the point was not reached")
				}
				if _, err := Verify(dir); err != nil {
					t.Fatalf("stopped there: %v", err)
				}
				o.Fail = nil
				l = open(t, dir, o)
				eventually(t, 20*time.Second, "the next start finishes", func() bool { return firstSeq(t, dir) > 20 })
				l.Close()
				read(t, dir)
			})
		}
	}
}

func TestOnlyWhatACheckpointCoversIsRemoved(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, signed(t, dir, Options{SegmentSize: 2000}))
	grow(t, l, 60)
	l.Close()
	log, err := segments(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Retention.Size = 1
	for seq, want := range map[uint64]int{log[2].head.First - 1: 2, log[2].head.First - 2: 1, 0: 0, 1000: len(log) - 1} {
		l.notary.kept.Seq = seq
		if n, err := l.notary.removable(log); err != nil || n != want {
			t.Errorf("covered up to %d: %d segments may go, want %d, %v", seq, n, want, err)
		}
	}
}

func TestRetentionNeedsASigner(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{Retention: Retention{Size: 1}}); err == nil {
		t.Error("segments would go that nothing accounts for")
	}
}
