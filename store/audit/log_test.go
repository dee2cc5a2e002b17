package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
)

func open(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	if o.Reserve == 0 {
		o.Reserve = 64 << 10
	}
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func decision(id string) *Record {
	return &Record{Kind: "decision", DecisionID: id, Decision: &policy.Decision{Allow: true, Revision: "r"}}
}

func read(t testing.TB, dir string) []*Record {
	t.Helper()
	var all []*Record
	for r, err := range Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// intact fails unless the log verifies and is gapless from 1, and returns its
// records.
func intact(t testing.TB, dir string) []*Record {
	t.Helper()
	all := read(t, dir)
	rep, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	if rep.Records != uint64(len(all)) {
		t.Fatalf("verify counts %d records, read %d", rep.Records, len(all))
	}
	for i, r := range all {
		if r.Seq != uint64(i+1) {
			t.Fatalf("record %d has seq %d", i+1, r.Seq)
		}
	}
	return all
}

func find(all []*Record, match func(*Record) bool) *Record {
	for _, r := range all {
		if match(r) {
			return r
		}
	}
	return nil
}

func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// faults is a failpoint that can be set, and can block.
type faults struct {
	mu    sync.Mutex
	err   map[string]error
	block map[string]chan struct{}
	hits  map[string]int
}

func (f *faults) at(point string) error {
	f.mu.Lock()
	if f.hits == nil {
		f.hits = map[string]int{}
	}
	f.hits[point]++
	err, block := f.err[point], f.block[point]
	f.mu.Unlock()
	if block != nil {
		<-block
	}
	return err
}

func (f *faults) set(err error, points ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = map[string]error{}
	for _, p := range points {
		f.err[p] = err
	}
}

// hold blocks point until release, or the end of the test, is reached.
func (f *faults) hold(t *testing.T, point string) (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan struct{})
	f.block = map[string]chan struct{}{point: ch}
	release = sync.OnceFunc(func() {
		f.mu.Lock()
		f.block = nil
		f.mu.Unlock()
		close(ch)
	})
	t.Cleanup(release) // before the log's Close, which waits for it
	return release
}

func (f *faults) count(point string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits[point]
}

func TestAppendedRecordsAreReadBackInOrderBesideTheOpenLog(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Now: func() time.Time { return time.Unix(1000, 0).UTC() }})
	r := sample()
	r.Time = time.Time{}
	if err := l.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if r.Seq != 1 || !r.Time.Equal(time.Unix(1000, 0)) {
		t.Errorf("appended as %d at %v", r.Seq, r.Time)
	}
	l.Note(&Record{Kind: "outcome", DecisionID: r.DecisionID, Outcome: "ok"})
	if err := l.Append(t.Context(), &Record{Kind: "event", Event: "catalog.reload"}); err != nil {
		t.Fatal(err)
	}
	all := intact(t, dir)
	if len(all) != 3 || all[0].Target.Name != "create_issue" || all[1].Outcome != "ok" || all[2].Event != "catalog.reload" {
		t.Errorf("read %d records", len(all))
	}
}

func TestFilesBelongToTheOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if err := l.Append(t.Context(), decision("a")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, segmentName(1): 0o600, reserveFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, folder, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v (%v), want %v", path, info.Mode(), err, want)
		}
	}
}

func TestConcurrentWritersGetGaplessSequenceAndShareSyncs(t *testing.T) {
	const writers, each = 64, 20
	dir := t.TempDir()
	var f faults
	l := open(t, dir, Options{Fail: f.at})
	var wg sync.WaitGroup
	var seen sync.Map
	for w := range writers {
		wg.Go(func() {
			last := uint64(0)
			for i := range each {
				r := decision(fmt.Sprintf("%d-%d", w, i))
				if err := l.Append(t.Context(), r); err != nil {
					t.Error(err)
					return
				}
				if r.Seq <= last {
					t.Errorf("seq %d after %d", r.Seq, last)
				}
				last = r.Seq
				seen.Store(r.Seq, r.DecisionID)
			}
		})
	}
	wg.Wait()
	all := intact(t, dir)
	if len(all) != writers*each {
		t.Fatalf("%d records, want %d", len(all), writers*each)
	}
	for _, r := range all {
		if id, _ := seen.Load(r.Seq); id != r.DecisionID {
			t.Fatalf("record %d is %v, its writer was told %v", r.Seq, r.DecisionID, id)
		}
	}
	if syncs := f.count("sync"); syncs > writers*each/4 {
		t.Errorf("%d syncs for %d records: not shared", syncs, writers*each)
	}
}

func TestAppendPastItsDeadlineIsRefusedAndClosedAsNotExecuted(t *testing.T) {
	dir := t.TempDir()
	var f faults
	l := open(t, dir, Options{Deadline: 30 * time.Millisecond, Fail: f.at})
	release := f.hold(t, "sync")
	start := time.Now()
	err := l.Append(t.Context(), decision("late"))
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, errDeadline) {
		t.Fatalf("got %v", err)
	}
	if d := time.Since(start); d < 30*time.Millisecond || d > time.Second {
		t.Errorf("took %v", d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(ctx, decision("cancelled before")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	eventually(t, time.Second, "the log is unwell", func() bool { return l.Err() != nil })
	if err := l.Append(t.Context(), decision("refused at once")); !errors.Is(err, errStalled) {
		t.Errorf("got %v", err)
	}
	release()
	eventually(t, 2*time.Second, "the log is well", func() bool { return l.Err() == nil })
	if err := l.Append(t.Context(), decision("after")); err != nil {
		t.Fatal(err)
	}
	all := intact(t, dir)
	if len(all) != 3 || all[1].Kind != "outcome" || all[1].DecisionID != "late" || all[1].Outcome != "not_executed" {
		t.Fatalf("read %d records: %+v", len(all), all[len(all)-1])
	}
}

func TestAppendWhoseContextEndsIsClosedAsNotExecuted(t *testing.T) {
	dir := t.TempDir()
	var f faults
	l := open(t, dir, Options{Fail: f.at})
	release := f.hold(t, "sync")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := l.Append(ctx, decision("gone")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	release()
	eventually(t, 2*time.Second, "closed", func() bool {
		return find(read(t, dir), func(r *Record) bool { return r.DecisionID == "gone" && r.Outcome == "not_executed" }) != nil
	})
}

func TestAppendWithdrawnBeforeItWasWrittenLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	var f faults
	l := open(t, dir, Options{Fail: f.at})
	release := f.hold(t, "sync")
	var wg sync.WaitGroup
	wg.Go(func() { l.Append(t.Context(), decision("first")) })
	eventually(t, time.Second, "syncing", func() bool { return f.count("sync") > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := l.Append(ctx, decision("second")); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	release()
	wg.Wait()
	if err := l.Append(t.Context(), decision("third")); err != nil {
		t.Fatal(err)
	}
	for _, r := range intact(t, dir) {
		if r.DecisionID == "second" {
			t.Errorf("withdrawn in time, but recorded: %+v", r)
		}
	}
}

func TestLogRecoversByItselfFromErrors(t *testing.T) {
	for _, c := range []struct {
		point string
		err   error
	}{
		{"write", syscall.ENOSPC}, {"write.short", syscall.ENOSPC}, {"write", syscall.EIO}, {"write.short", syscall.EIO}, {"sync", syscall.EIO},
	} {
		t.Run(c.point+" "+c.err.Error(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var f faults
			l := open(t, dir, Options{Fail: f.at})
			if err := l.Append(t.Context(), decision("before")); err != nil {
				t.Fatal(err)
			}
			f.set(c.err, c.point, "create", "reserve")
			if err := l.Append(t.Context(), decision("failed")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, c.err) {
				t.Fatalf("got %v", err)
			}
			l.Note(&Record{Kind: "outcome", DecisionID: "before", Outcome: "ok"})
			if err := l.Err(); !errors.Is(err, ErrUnavailable) {
				t.Errorf("Err is %v", err)
			}
			time.Sleep(3 * retryEvery) // some retries fail
			if err := l.Append(t.Context(), decision("refused")); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
			f.set(nil)
			eventually(t, 2*time.Second, "the log is well", func() bool { return l.Err() == nil })
			if err := l.Append(t.Context(), decision("after")); err != nil {
				t.Fatal(err)
			}
			l.Close()
			var got []string
			for _, r := range intact(t, dir) {
				got = append(got, r.Kind+" "+r.DecisionID+r.Event)
			}
			want := "decision before, event audit.resumed, outcome before, decision after"
			if s := strings.Join(got, ", "); s != want {
				// The note may have been retained before the event was made.
				t.Errorf("log holds %s\nwant %s", s, want)
			}
			for _, r := range read(t, dir) {
				if r.DecisionID == "failed" {
					t.Error("a refused record counts")
				}
			}
			open(t, dir, Options{})               // and it opens again
			if n := len(intact(t, dir)); n != 5 { // "after" closed
				t.Errorf("%d records after reopening", n)
			}
		})
	}
}

func TestFullDiskStillRecordsRevocationsAndOutcomes(t *testing.T) {
	dir := t.TempDir()
	var f faults
	l := open(t, dir, Options{Fail: func(p string) error {
		if _, err := os.Stat(filepath.Join(dir, folder, reserveFile)); err == nil && p == "write" {
			return f.at(p) // full as long as the reserve takes the last bytes
		}
		if p != "write" {
			return f.at(p)
		}
		return nil
	}})
	if err := l.Append(t.Context(), decision("running")); err != nil {
		t.Fatal(err)
	}
	f.set(syscall.ENOSPC, "write", "reserve")
	l.Note(&Record{Kind: "outcome", DecisionID: "running", Outcome: "ok"})
	eventually(t, time.Second, "the log is unwell", func() bool { return l.Err() != nil })
	if err := l.Append(t.Context(), decision("new")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errLow) {
		t.Errorf("got %v", err)
	}
	l.Note(&Record{Kind: "lifecycle", Event: "initialize"})
	if err := l.Append(t.Context(), &Record{Kind: "event", Event: "client.revoked"}); err != nil {
		t.Fatal(err)
	}
	f.set(nil)
	eventually(t, 2*time.Second, "the log is well", func() bool { return l.Err() == nil })
	if err := l.Append(t.Context(), decision("resumed")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, folder, reserveFile)); err != nil {
		t.Errorf("the reserve was not made again: %v", err)
	}
	all := intact(t, dir)
	for _, want := range []string{"client.revoked", "audit.notes_lost"} {
		if find(all, func(r *Record) bool { return r.Event == want }) == nil {
			t.Errorf("no event %s", want)
		}
	}
	if find(all, func(r *Record) bool { return r.DecisionID == "running" && r.Outcome == "ok" }) == nil {
		t.Error("the outcome of a running call was lost")
	}
}

func TestFreshLogFitsIn32MiB(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Append(t.Context(), decision("a")); err != nil {
		t.Fatal(err)
	}
	var blocks int64
	filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			blocks += info.Sys().(*syscall.Stat_t).Blocks
		}
		return err
	})
	if used := blocks * 512; used < defaultReserve || used > 8<<20 {
		t.Errorf("a fresh log uses %d bytes", used)
	}
}

func TestNotesOverTheirLimitMakeTheLogUnwellUntilReported(t *testing.T) {
	dir := t.TempDir()
	var f faults
	l := open(t, dir, Options{Notes: 3, Fail: f.at})
	release := f.hold(t, "sync")
	note := &Record{Kind: "lifecycle", RequestID: "n"}
	for range 3 {
		l.Note(note)
	}
	if err := l.Err(); err != nil {
		t.Errorf("unwell at the limit: %v", err)
	}
	l.Note(note)
	l.Note(note)
	if err := l.Err(); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errLost) {
		t.Errorf("over the limit Err is %v", err)
	}
	if err := l.Append(t.Context(), decision("a")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("over the limit Append gives %v", err)
	}
	release()
	eventually(t, 2*time.Second, "the log is well", func() bool { return l.Err() == nil })
	lost := find(intact(t, dir), func(r *Record) bool { return r.Event == "audit.notes_lost" })
	if lost == nil || lost.Detail != "2 records were lost" {
		t.Errorf("reported: %+v", lost)
	}
}

func TestSegmentsRotateAtTheirSize(t *testing.T) {
	measure := t.TempDir()
	l := open(t, measure, Options{Now: func() time.Time { return time.Unix(1, 0) }})
	for range 3 {
		if err := l.Append(t.Context(), decision("same")); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	info, err := os.Stat(filepath.Join(measure, folder, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	for delta, want := range map[int64]int{0: 1, -1: 2} {
		dir := t.TempDir()
		l := open(t, dir, Options{SegmentSize: info.Size() + delta, Now: func() time.Time { return time.Unix(1, 0) }})
		for range 3 {
			if err := l.Append(t.Context(), decision("same")); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		if rep, err := Verify(dir); err != nil || rep.Segments != want || rep.Records != 3 {
			t.Errorf("size %+d: %+v, %v; want %d segments", delta, rep, err, want)
		}
	}
}

func TestOneBatchIsSplitOverSegments(t *testing.T) {
	dir := t.TempDir()
	var f faults
	l := open(t, dir, Options{SegmentSize: 2000, Fail: f.at})
	release := f.hold(t, "sync")
	for i := range 50 {
		l.Note(&Record{Kind: "event", Event: fmt.Sprint(i), Detail: strings.Repeat("x", 200)})
	}
	release()
	l.Close()
	if n := len(intact(t, dir)); n != 50 {
		t.Fatalf("%d records", n)
	}
	list, _ := numbers(filepath.Join(dir, folder))
	if len(list) < 9 {
		t.Errorf("%d segments", len(list))
	}
	for _, n := range list {
		if info, err := os.Stat(filepath.Join(dir, folder, segmentName(n))); err != nil || info.Size() > 2000 {
			t.Errorf("segment %d: %d bytes, %v", n, info.Size(), err)
		}
	}
}

func TestRecordSizeLimit(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	r := &Record{Kind: "decision", DecisionID: "big"}
	r.Time = time.Unix(1, 0)
	rest := len(appendBody(nil, &Record{Kind: "decision", DecisionID: "big", Time: r.Time, Detail: "x"})) - 1
	r.Detail = strings.Repeat("x", MaxRecord-rest)
	if err := l.Append(t.Context(), r); err != nil {
		t.Fatalf("at the limit: %v", err)
	}
	r.Detail += "x"
	if err := l.Append(t.Context(), r); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("over the limit: %v", err)
	}
	r.Kind, r.Outcome = "outcome", "ok"
	l.Note(r)
	l.Close()
	all := intact(t, dir)
	if len(all) != 2 || all[1].DecisionID != "big" || all[1].Outcome != "ok" || len(all[1].Detail) > 100 {
		t.Errorf("%d records", len(all))
	}
}

func TestLogHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
}

func TestClosedLogRefuses(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), decision("a")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	l.Note(decision("b"))
	if err := l.Err(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestCloseWritesQueuedNotesAndReportsThoseItCannot(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	for range 100 {
		l.Note(&Record{Kind: "event", Event: "e"})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(intact(t, dir)); n != 100 {
		t.Errorf("%d records", n)
	}
	var f faults
	l = open(t, dir, Options{Fail: f.at})
	f.set(syscall.EIO, "write", "create")
	l.Note(&Record{Kind: "event", Event: "e"})
	if err := l.Close(); err == nil {
		t.Error("a note was lost silently")
	}
}

var benchSink atomic.Uint64

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			var f faults
			l := open(b, b.TempDir(), Options{Fail: f.at})
			b.ReportAllocs()
			var before, after syscall.Rusage
			syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					r := sample()
					for left.Add(-1) >= 0 {
						r.Kind = "event" // nothing stays open
						if err := l.Append(context.Background(), r); err != nil {
							b.Error(err)
							return
						}
						benchSink.Store(r.Seq)
					}
				})
			}
			wg.Wait()
			syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(after.Utime.Nano()-before.Utime.Nano())/float64(b.N), "user-ns/op")
			b.ReportMetric(float64(b.N)/float64(f.count("sync")), "records/sync")
		})
	}
}
