package audit

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestTheRefusalOfALargeRecordNamesItsSize(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	r := decision("d1")
	r.Target.Name = strings.Repeat("n", MaxRecord)
	err := l.Append(t.Context(), r)
	if !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), " 0 bytes") {
		t.Errorf("%v", err)
	}
}

func TestAShortenedNoteStillSaysWhoItWasAbout(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	r := decision("d1")
	r.User.ID, r.User.Name, r.Client.ID, r.Source.IP = "local:bob", "bob", "c1", "192.0.2.7"
	r.Target.Name = strings.Repeat("n", MaxRecord)
	l.Note(r)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := intact(t, dir)[0]
	if got.User.ID != "local:bob" || got.User.Name != "bob" || got.Client.ID != "c1" || got.Source.IP != "192.0.2.7" {
		t.Errorf("%+v", got)
	}
}

// A record is durable only in a file that the next reader finds.
func TestASegmentThatWasRemovedTakesNoMoreRecords(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if err := l.Append(t.Context(), decision("d1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, folder, segmentName(1))); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]bool{}
	for _, id := range []string{"d2", "d3", "d4", "d5"} {
		if l.Append(t.Context(), decision(id)) == nil {
			acknowledged[id] = true
		}
		eventually(t, 5*time.Second, "the log well again", func() bool { return l.Err() == nil })
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for r, err := range Read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		found[r.DecisionID] = true
	}
	for id := range acknowledged {
		if !found[id] {
			t.Errorf("%s was acknowledged and is not in the log", id)
		}
	}
	if len(acknowledged) == 0 {
		t.Error("the log did not get well again")
	}
}

func TestARecordKeepsTheLineThatItWasReadFrom(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	r := decision("d1")
	r.Target.Name = "a\u202eb<&>\u009b\x1b[2J"
	r.Arguments = &Payload{Value: json.RawMessage(`{"n":1.00e+2,"s":"\u00e9\u202e"}`), Digest: "d", Size: 1}
	if err := l.Append(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, folder, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	all := read(t, dir)
	if line := string(all[0].Line); line == "" || !strings.Contains(string(file), "\n"+line+"\n") {
		t.Errorf("%q", line)
	}
}

// What rotates logs renames them: what is written then stands elsewhere.
func TestASegmentThatWasMovedTakesNoMoreRecords(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if err := l.Append(t.Context(), decision("d1")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, folder, segmentName(1))
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), decision("d2")); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("recorded where nobody looks: %v", err)
	}
	eventually(t, 20*time.Second, "the log well again", func() bool { return l.Err() == nil })
	if err := l.Append(t.Context(), decision("d3")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".1", path); err != nil {
		t.Fatal(err)
	}
	if got := intact(t, dir); find(got, func(r *Record) bool { return r.DecisionID == "d3" }) == nil {
		t.Errorf("d3 is not in the log: %d records", len(got))
	}
}

// On a full disk what is left is for revocations: neither who is unknown nor
// who only gets refusals can use it up.
func TestNobodyOutsideUsesUpTheReserve(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Fail: func(p string) error {
		if p == "reserve" {
			return syscall.ENOSPC
		}
		return nil
	}})
	at := time.Unix(1, 0)
	l.Note(&Record{Kind: "event", Event: EventFailures, Time: at, Failures: &Failures{Count: 1, First: at, Last: at, Kinds: []Failed{{"a", 1}}}})
	refused := decision("refused")
	refused.Decision.Allow, refused.Outcome = false, "error"
	l.Note(refused)
	l.Note(&Record{Kind: "event", Event: "client.revoked"})
	l.Note(&Record{Kind: "outcome", DecisionID: "d0", Outcome: "ok"})
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "2 records") {
		t.Errorf("what was left out is not said: %v", err)
	}
	got := intact(t, dir)
	if len(got) != 2 || got[0].Event != "client.revoked" || got[1].Outcome != "ok" {
		t.Errorf("%d records: %+v", len(got), got)
	}
}
