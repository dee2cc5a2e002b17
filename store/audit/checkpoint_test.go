package audit

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func signer(t testing.TB, dir string) *Signer {
	t.Helper()
	s, err := OpenSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func someCheckpoint(t testing.TB, s *Signer, begins Beginning) Checkpoint {
	c := Checkpoint{Seq: 12, Head: hash{1, 2}, Segment: 3, Begins: begins, Time: time.Date(2026, 1, 31, 15, 4, 5, 6, time.UTC)}
	c.sign(s)
	return c
}

func TestASignedCheckpointReadsBackAsItWasWritten(t *testing.T) {
	s := signer(t, t.TempDir())
	for _, begins := range []Beginning{{}, {Segment: 2, First: 7, Prev: hash{9}}} {
		c := someCheckpoint(t, s, begins)
		for name, text := range map[string]string{
			"alone": string(c.Text), "twice": string(c.Text) + "\n\n" + string(c.Text), "one after the other": string(c.Text) + string(c.Text),
			"behind one that was cut off":                  string(c.Text[:40]) + "\n\n" + string(c.Text),
			"behind one that was cut off in its signature": string(c.Text[:len(c.Text)-9]) + "\n\n" + string(c.Text),
			"before one that was cut off":                  string(c.Text) + "\n\n" + string(c.Text[:len(c.Text)-1]),
			"in syslog":                                    "Jan 1 host ostiary[1]: " + c.Line() + "\nJan 1 host other: hello\nJan 1 host ostiary[1]: " + c.Line()[:90] + "\n",
		} {
			all, err := ParseCheckpoints([]byte(text))
			if err != nil || len(all) == 0 || len(all) > 2 {
				t.Fatalf("%s: %d, %v", name, len(all), err)
			}
			for _, got := range all {
				if got.Seq != 12 || got.Head != c.Head || got.Segment != 3 || got.Begins != begins || !got.Time.Equal(time.Date(2026, 1, 31, 15, 4, 5, 0, time.UTC)) {
					t.Errorf("%s: %+v", name, got)
				}
				if !got.signedBy([]Key{s.Key}) || got.signedBy([]Key{signer(t, t.TempDir()).Key}) || got.signedBy(nil) {
					t.Errorf("%s: the signature is not that of its key", name)
				}
			}
		}
	}
	if c := someCheckpoint(t, s, Beginning{Segment: 2, First: 7}); len(c.Line()) > 900 {
		t.Errorf("a line has %d bytes: RFC 3164 takes 1024 with its head", len(c.Line()))
	}
}

func TestACheckpointIsReadableWhateverTheClockSays(t *testing.T) {
	s := signer(t, t.TempDir())
	for _, at := range []time.Time{{}, time.Unix(1<<40, 0), time.Unix(-1<<40, 0)} {
		c := Checkpoint{Seq: 1, Segment: 1, Time: at}
		c.sign(s)
		if all, err := ParseCheckpoints(c.Text); err != nil || len(all) != 1 {
			t.Errorf("%v: %d, %v", at, len(all), err)
		}
	}
}

func TestAChangedCheckpointIsNotSigned(t *testing.T) {
	s := signer(t, t.TempDir())
	c := someCheckpoint(t, s, Beginning{Segment: 2, First: 7})
	for i := range c.Text {
		text := bytes.Clone(c.Text)
		text[i] ^= 1
		all, err := ParseCheckpoints(text)
		if err != nil {
			continue
		}
		for _, got := range all {
			if got.signedBy([]Key{s.Key}) {
				t.Fatalf("byte %d changed: still signed: %q", i, text)
			}
		}
	}
}

func TestTheSigningKeyIsMadeOnceAndKeptFromOthers(t *testing.T) {
	dir := t.TempDir()
	first, again := signer(t, dir), signer(t, dir)
	if first.Key.String() != again.Key.String() || !first.private.Equal(again.private) {
		t.Error("two starts, two keys")
	}
	path := filepath.Join(dir, SignerFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSigner(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that the group can read: %v", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("PRIVATE+KEY+x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSigner(dir); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged key: %v", err)
	}
}

func TestAKeyReadsBackAndAPrivateOneIsRefusedUnseen(t *testing.T) {
	dir := t.TempDir()
	s := signer(t, dir)
	k, err := ParseKey(s.Key.String() + "\n")
	if err != nil || k.String() != s.Key.String() || !k.public.Equal(s.public) {
		t.Errorf("%v, %v", k, err)
	}
	private, err := os.ReadFile(filepath.Join(dir, SignerFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "a", string(private), strings.Replace(k.String(), "+", "+0", 1), k.String() + "A", "a b" + k.String()} {
		if _, err := ParseKey(bad); err == nil || len(bad) > 20 && strings.Contains(err.Error(), bad[len(bad)-20:]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// C2SP signed-note, "Verifier keys": an example of the Go checksum database.
func TestKeyIdsAreThoseOfSignedNotes(t *testing.T) {
	const known = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
	if k, err := ParseKey(known); err != nil || k.String() != known || len(k.public) != ed25519.PublicKeySize {
		t.Errorf("%v, %v", k, err)
	}
}

func signed(t testing.TB, dir string, o Options) Options {
	o.Signer = signer(t, dir)
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = 5 * time.Millisecond
	}
	return o
}

func TestCheckpointsFollowTheRecordsAndRestWhenThereAreNone(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, signed(t, dir, Options{SegmentSize: 2000}))
	for i := range 20 {
		if err := l.Append(t.Context(), &Record{Kind: "event", Event: fmt.Sprint("e", i)}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, "the last record is signed", func() bool { rep, err := Verify(dir); return err == nil && rep.Signed == 20 })
	kept := func() int {
		all, err := readKept(l.dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	n := kept()
	time.Sleep(50 * time.Millisecond) // ten intervals in which one too many could appear
	if kept() != n {
		t.Error("checkpoints are signed although nothing is written")
	}
	if err := l.Append(t.Context(), &Record{Kind: "event", Event: "last"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	rep, err := Verify(dir)
	if err != nil || rep.Signed != 21 || rep.Last != 21 || rep.Key != l.Signer.Key.String() || rep.Pinned || rep.Outside != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
	list, _ := numbers(l.dir)
	for _, number := range list[:len(list)-1] {
		if _, err := os.Stat(filepath.Join(l.dir, checkpointsName(number))); err != nil {
			t.Errorf("a sealed segment has no checkpoint: %v", err)
		}
	}
}

func TestACheckpointPerRecordIsNotTheRule(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, signed(t, dir, Options{CheckpointEvery: time.Minute}))
	for range 50 {
		if err := l.Append(t.Context(), &Record{Kind: "event", Event: "e"}); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	if all, err := readKept(l.dir); err != nil || len(all) > 2 {
		t.Errorf("%d checkpoints within a minute, %v", len(all), err)
	}
}

func TestKeptCheckpointsAreBounded(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, signed(t, dir, Options{CheckpointEvery: time.Minute}))
	l.Close()
	n := l.notary
	path := filepath.Join(l.dir, checkpointsName(1))
	most := int64(0)
	for seq := range uint64(250) {
		if err := n.sign(stand{seq: 1000 + seq, segment: 1}, Beginning{}); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, info.Size())
	}
	all, err := readKept(l.dir)
	if err != nil || most > maxCheckpoints+2 || most < maxCheckpoints/2 || all[len(all)-1].Seq != 1249 {
		t.Errorf("at most %d bytes, %v", most, err)
	}
}

func TestAnotherKeyIsRecordedAndBothVerify(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, signed(t, dir, Options{})).Close()
	first := signer(t, dir).Key
	if err := os.Remove(filepath.Join(dir, SignerFile)); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, signed(t, dir, Options{}))
	if err := l.Append(t.Context(), decision("a")); err != nil {
		t.Fatal(err)
	}
	l.Close()
	all := intact(t, dir)
	if find(all, func(r *Record) bool { return r.Event == "audit.key_changed" }) == nil {
		t.Errorf("%+v", all)
	}
	if _, err := (Verifier{Keys: []Key{first}}).Verify(dir); err == nil {
		t.Error("what the second key signed passes for the first's")
	}
	if _, err := (Verifier{Keys: []Key{first, l.Signer.Key}}).Verify(dir); err != nil {
		t.Error(err)
	}
}

func TestADiskThatFailsForCheckpointsHoldsUpNoRecord(t *testing.T) {
	dir := t.TempDir()
	var f faults
	f.set(errors.New("no"), "checkpoint")
	l := open(t, dir, signed(t, dir, Options{Fail: f.at}))
	if err := l.Append(t.Context(), decision("a")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the trouble is said", func() bool { return l.CheckpointErr() != nil })
	if err := errors.Join(l.Append(t.Context(), decision("b")), l.Err()); err != nil {
		t.Error(err)
	}
	f.set(nil)
	eventually(t, 10*time.Second, "it is over", func() bool { return l.CheckpointErr() == nil })
	l.Close()
	if rep, err := Verify(dir); err != nil || rep.Signed != rep.Last {
		t.Errorf("%+v, %v", rep, err)
	}
}

// FuzzCheckpoint: whatever is read as a checkpoint and found signed says what
// was signed.
func FuzzCheckpoint(f *testing.F) {
	s := signer(f, f.TempDir())
	c := someCheckpoint(f, s, Beginning{Segment: 2, First: 7})
	f.Add([]byte(c.Text))
	f.Add([]byte(c.Line()))
	f.Add(append(bytes.Clone(c.Text[:30]), c.Text...))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, _ := ParseCheckpoints(b)
		for _, got := range all {
			if got.signedBy([]Key{s.Key}) && (got.Seq != c.Seq || got.Head != c.Head || got.Begins != c.Begins || got.Segment != c.Segment || !got.Time.Equal(c.Time)) {
				t.Fatalf("%+v", got)
			}
		}
	})
}
