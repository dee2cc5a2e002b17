package audit

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// childDir names the log that this binary, started again, appends to until it
// is killed.
const childDir = "AUDIT_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		appendForever(dir)
		return
	}
	os.Exit(m.Run())
}

// appendForever prints "seq id" for each acknowledged decision.
func appendForever(dir string) {
	l, err := Open(dir, Options{SegmentSize: 64 << 10, Reserve: 64 << 10})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				r := decision(fmt.Sprintf("%d-%d-%d", os.Getpid(), w, i))
				if err := l.Append(context.Background(), r); err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Printf("%d %s\n", r.Seq, r.DecisionID) // one write
				l.Note(&Record{Kind: "outcome", DecisionID: r.DecisionID, Outcome: "ok"})
			}
		})
	}
	wg.Wait()
}

func TestNothingAcknowledgedIsLostWhenKilled(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[uint64]string{}
	for round := range 10 {
		child := exec.CommandContext(t.Context(), os.Args[0]) // killed when the test fails
		child.Env = append(os.Environ(), childDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			num, id, ok := strings.Cut(lines.Text(), " ")
			seq, err := strconv.ParseUint(num, 10, 64)
			if !ok || err != nil {
				t.Fatalf("child says %q", lines.Text())
			}
			if was, twice := acknowledged[seq]; twice {
				t.Fatalf("seq %d was given to %s and %s", seq, was, id)
			}
			acknowledged[seq] = id
			if n == 20+37*round { // anywhere in a batch, also in the middle of a rotation
				child.Process.Kill()
			}
		}
		child.Wait()
	}
	l := open(t, dir, Options{})
	l.Close()
	all := intact(t, dir)
	open := map[string]bool{}
	for _, r := range all {
		switch {
		case r.Kind == "decision":
			open[r.DecisionID] = true
		case r.Kind == "outcome":
			delete(open, r.DecisionID)
		}
	}
	if len(open) > 0 {
		t.Errorf("%d decisions have no outcome", len(open))
	}
	for seq, id := range acknowledged {
		if seq > uint64(len(all)) || all[seq-1].DecisionID != id {
			t.Fatalf("acknowledged record %d (%s) is lost", seq, id)
		}
	}
	if len(acknowledged) < 500 {
		t.Errorf("only %d acknowledged", len(acknowledged))
	}
}

func TestDecisionsWithoutOutcomeAreClosedAfterACrash(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{SegmentSize: 600}) // the decision and the crash are segments apart
	for _, r := range []*Record{
		decision("running"), decision("ended"), {Kind: "outcome", DecisionID: "ended", Outcome: "ok"},
		denied("denied"), {Kind: "decision", DecisionID: "list", Shown: &Shown{Count: 1, Of: 2}},
		{Kind: "decision", DecisionID: "told", Outcome: "not_found"}, {Kind: "event", Event: "e"}, {Kind: "event", Event: "e"},
	} {
		if err := l.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()     // which closes no decision: as after a crash
	for range 2 { // once closed, it stays so
		open(t, dir, Options{SegmentSize: 600}).Close()
		all := intact(t, dir)
		last := all[len(all)-1]
		if len(all) != 9 || last.Kind != "outcome" || last.DecisionID != "running" || last.Outcome != "unknown" || last.Reason != "crash" {
			t.Fatalf("%d records, the last is %+v", len(all), last)
		}
	}
}

func denied(id string) *Record {
	r := decision(id)
	r.Decision.Allow = false
	return r
}

func logOf(t *testing.T, records int, o Options) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l := open(t, dir, o)
	for i := range records {
		if err := l.Append(t.Context(), &Record{Kind: "event", Event: fmt.Sprint("e", i)}); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	return dir
}

func edit(t testing.TB, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTornLastLineIsCutOffAndReported(t *testing.T) {
	for name, tail := range map[string]string{
		"half a record":  `{"format":1,"seq":4,"prev":"00`,
		"zeros":          "\x00\x00\x00",
		"zeros and line": "\x00\x00\x00\n",
		"a bad line":     "{}\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := logOf(t, 3, Options{})
			edit(t, filepath.Join(dir, folder, segmentName(1)), func(b []byte) []byte { return append(b, tail...) })
			if strings.HasSuffix(tail, "\n") {
				if _, err := Verify(dir); err == nil {
					t.Error("a bad last line verifies")
				}
			} else if n := len(intact(t, dir)); n != 3 { // beside a server it is a line being written
				t.Errorf("%d records before recovery", n)
			}
			l := open(t, dir, Options{})
			if err := l.Append(t.Context(), decision("next")); err != nil {
				t.Fatal(err)
			}
			all := intact(t, dir)
			want := fmt.Sprintf("%s: %d bytes of an unfinished write dropped", segmentName(1), len(tail))
			if len(all) != 5 || all[3].Event != "audit.recovered" || all[3].Detail != want || all[4].DecisionID != "next" {
				t.Errorf("%d records: %+v", len(all), all[3])
			}
		})
	}
}

func TestUnfinishedSegmentIsRemoved(t *testing.T) {
	dir := logOf(t, 2, Options{})
	for n, text := range map[int]string{2: "", 3: `{"format":1,"kind":"segm`} {
		if err := os.WriteFile(filepath.Join(dir, folder, segmentName(n)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(intact(t, dir)); n != 2 {
		t.Errorf("%d records beside unfinished segments", n)
	}
	l := open(t, dir, Options{SegmentSize: 1})
	if err := l.Append(t.Context(), decision("next")); err != nil {
		t.Fatal(err)
	}
	if all := intact(t, dir); len(all) != 3 {
		t.Errorf("%d records", len(all))
	}
}

func TestDamagedSegmentIsKeptReportedAndContinued(t *testing.T) {
	dir := logOf(t, 5, Options{})
	edit(t, filepath.Join(dir, folder, segmentName(1)), func(b []byte) []byte {
		return []byte(strings.Replace(string(b), `"event":"e2"`, `"event":"x2"`, 1))
	})
	l := open(t, dir, Options{})
	if err := l.Append(t.Context(), decision("next")); err != nil {
		t.Fatal(err)
	}
	all := read(t, dir)
	if len(all) != 7 || all[2].Event != "x2" || all[5].Event != "audit.damaged" || all[6].Seq != 7 {
		t.Errorf("read %d records", len(all))
	}
	if _, err := Verify(dir); err == nil {
		t.Error("a damaged log verifies")
	}
}

// BenchmarkOpen recovers a segment of 24 MB that holds decisions alone.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l := open(b, dir, Options{})
	for range 20_000 {
		l.Note(sample())
	}
	l.Note(&Record{Kind: "outcome", DecisionID: sample().DecisionID, Outcome: "ok"})
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}
