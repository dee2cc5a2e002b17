package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// signedLog is a signed log of several segments, with checkpoints kept outside.
func signedLog(t testing.TB, records int) (dir string, key Key, outside []Checkpoint) {
	t.Helper()
	dir = t.TempDir()
	place := filepath.Join(t.TempDir(), "outside")
	l := open(t, dir, signed(t, dir, Options{SegmentSize: 1200, Outside: []Outside{FilePlace{place}}}))
	for i := range records {
		if err := l.Append(t.Context(), &Record{Kind: "event", Event: fmt.Sprint("e", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(place)
	if err != nil {
		t.Fatal(err)
	}
	if outside, err = ParseCheckpoints(b); err != nil || outside[len(outside)-1].Seq != uint64(records) {
		t.Fatalf("%d checkpoints outside, %v", len(outside), err)
	}
	return dir, l.Signer.Key, outside
}

// lines of a segment, for those who change one.
func changeLines(t testing.TB, dir string, segment int, change func([]string) []string) {
	t.Helper()
	edit(t, filepath.Join(dir, folder, segmentName(segment)), func(b []byte) []byte {
		return []byte(strings.Join(change(strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")), "\n") + "\n")
	})
}

// rewriteChain gives every line, from a segment on, the hash of the line before
// anew: what someone does who changes a record and knows how the chain is made.
func rewriteChain(t testing.TB, dir string) {
	t.Helper()
	log, err := segments(filepath.Join(dir, folder))
	if err != nil {
		t.Fatal(err)
	}
	var last hash
	for i, s := range log {
		b, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		for n, line := range bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) {
			if n > 0 {
				seq, _, body, ok := parseStart(line)
				if !ok {
					t.Fatalf("not a record: %s", line)
				}
				line = append(appendStart(nil, seq, &last), body...)
			} else if i > 0 {
				line = bytes.Replace(line, []byte(s.head.Prev), []byte(hexHash(last)), 1)
			}
			last = sha256.Sum256(line)
			out.Write(append(line, '\n'))
		}
		if err := os.WriteFile(s.path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func removeKept(t testing.TB, dir string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, folder, "*"+checkpointsSuffix))
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, path := range list {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func lastNumber(t testing.TB, dir string) int {
	t.Helper()
	list, err := numbers(filepath.Join(dir, folder))
	if err != nil {
		t.Fatal(err)
	}
	return list[len(list)-1]
}

// Security catalogue A-107.
func TestTamperingIsFound(t *testing.T) {
	const records = 24
	other, _, _ := signedLog(t, records)
	resign := func(t *testing.T, dir string) { // with a key of the attacker's own
		removeKept(t, dir)
		for _, path := range []string{SignerFile, filepath.Join(folder, keysFile)} {
			if err := os.Remove(filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
		}
		open(t, dir, signed(t, dir, Options{})).Close()
	}
	cutLast := func(t *testing.T, dir string) {
		changeLines(t, dir, lastNumber(t, dir), func(l []string) []string { return l[:len(l)-1] })
	}
	editThird := func(t *testing.T, dir string) {
		changeLines(t, dir, 1, func(l []string) []string { l[3] = strings.Replace(l[3], `"e2"`, `"x2"`, 1); return l })
	}
	// Who finds it: anyone; who has a checkpoint from elsewhere; who has pinned
	// the key.
	const anyone, outsider, pinner = 1, 2, 4
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		found  int
		want   string
	}{
		"edited":                          {editThird, anyone, "record"},
		"edited, and the chain made anew": {func(t *testing.T, dir string) { editThird(t, dir); rewriteChain(t, dir) }, anyone, "written anew"},
		"edited, the chain made anew and the checkpoints removed": {func(t *testing.T, dir string) {
			editThird(t, dir)
			rewriteChain(t, dir)
			removeKept(t, dir)
		}, anyone, ""},
		"edited, the chain made anew and signed by another key": {func(t *testing.T, dir string) {
			editThird(t, dir)
			rewriteChain(t, dir)
			resign(t, dir)
		}, outsider | pinner, ""},
		"deleted": {func(t *testing.T, dir string) {
			changeLines(t, dir, 2, func(l []string) []string { return slices.Delete(l, 2, 3) })
		}, anyone, "follows record"},
		"reordered": {func(t *testing.T, dir string) {
			changeLines(t, dir, 2, func(l []string) []string { l[1], l[2] = l[2], l[1]; return l })
		}, anyone, "follows record"},
		"duplicated": {func(t *testing.T, dir string) {
			changeLines(t, dir, 2, func(l []string) []string { return slices.Insert(l, 2, l[1]) })
		}, anyone, "follows record"},
		"cut": {cutLast, anyone, "cut off"},
		"cut, with the checkpoints": {func(t *testing.T, dir string) {
			cutLast(t, dir)
			edit(t, filepath.Join(dir, folder, checkpointsName(lastNumber(t, dir))), func(b []byte) []byte { return nil })
		}, outsider, "cut off"},
		"a whole segment cut, with its checkpoints": {func(t *testing.T, dir string) {
			n := lastNumber(t, dir)
			for _, name := range []string{segmentName(n), checkpointsName(n)} {
				if err := os.Remove(filepath.Join(dir, folder, name)); err != nil {
					t.Fatal(err)
				}
			}
		}, outsider, "cut off"},
		"spliced from another log": {func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(other, folder, segmentName(3)))
			if err != nil {
				t.Fatal(err)
			}
			edit(t, filepath.Join(dir, folder, segmentName(3)), func([]byte) []byte { return b })
		}, anyone, "segment"},
		"replaced by another log": {func(t *testing.T, dir string) {
			if err := errors.Join(os.RemoveAll(filepath.Join(dir, folder)), os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(other, folder)))); err != nil {
				t.Fatal(err)
			}
		}, outsider | pinner, ""},
		"the oldest segment removed": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, folder, segmentName(1))); err != nil {
				t.Fatal(err)
			}
		}, anyone, "no checkpoint says"},
		"the last record edited": {func(t *testing.T, dir string) {
			changeLines(t, dir, lastNumber(t, dir), func(l []string) []string {
				l[len(l)-1] = strings.Replace(l[len(l)-1], `"e23"`, `"x23"`, 1)
				return l
			})
		}, anyone, "written anew"},
		"all removed but the checkpoints": {func(t *testing.T, dir string) {
			list, _ := filepath.Glob(filepath.Join(dir, folder, "*"+nameSuffix))
			for _, path := range list {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}, anyone, "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, key, outside := signedLog(t, records)
			for _, v := range []struct {
				who int
				Verifier
			}{{anyone, Verifier{}}, {outsider, Verifier{Outside: outside}}, {pinner, Verifier{Keys: []Key{key}}}} {
				if rep, err := v.Verify(dir); err != nil || rep.Last != records || rep.Signed != records || rep.Pinned != (v.who == pinner) || v.who == outsider && rep.Outside != records {
					t.Fatalf("before: %+v, %v", rep, err)
				}
			}
			c.change(t, dir)
			for who, v := range map[int]Verifier{anyone: {}, outsider: {Outside: outside}, pinner: {Keys: []Key{key}}} {
				_, err := v.Verify(dir)
				if must := c.found&(who|anyone) != 0; must && (!errors.Is(err, ErrChain) || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%d: got %v, want one with %q", who, err, c.want)
				} else if !must && err != nil {
					t.Errorf("%d: who can't know does: %v", who, err) // then the README claims too little
				}
			}
		})
	}
}

func TestCheckpointsOfOtherLogsInOneFileAreLeftOut(t *testing.T) {
	dir, key, outside := signedLog(t, 5)
	_, _, others := signedLog(t, 9)
	if rep, err := (Verifier{Outside: slices.Concat(others, outside)}).Verify(dir); err != nil || rep.Outside != 5 {
		t.Errorf("%+v, %v", rep, err)
	}
	if _, err := (Verifier{Outside: others}).Verify(dir); err == nil || !strings.Contains(err.Error(), "none of the given checkpoints") {
		t.Errorf("only others': %v", err)
	}
	forged := someCheckpoint(t, &Signer{Key: key, private: signer(t, t.TempDir()).private}, Beginning{})
	if _, err := (Verifier{Outside: append(outside, forged)}).Verify(dir); err == nil || !strings.Contains(err.Error(), "not signed by a trusted key") {
		t.Errorf("a forged one: %v", err)
	}
}

func TestALogThatWasCutWhileTheServerWasDownIsReportedAtItsStart(t *testing.T) {
	dir, _, _ := signedLog(t, 24)
	changeLines(t, dir, lastNumber(t, dir), func(l []string) []string { return l[:len(l)-1] })
	l := open(t, dir, signed(t, dir, Options{}))
	l.Close()
	if find(read(t, dir), func(r *Record) bool { return r.Event == "audit.damaged" && r.Reason == "cut_tail" }) == nil {
		t.Error("no record of it")
	}
	if _, err := Verify(dir); !errors.Is(err, ErrChain) {
		t.Errorf("the log passes again: %v", err)
	}
}

func TestVerifyBesideAWriterNeverFails(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, signed(t, dir, Options{SegmentSize: 4000, Retention: Retention{Size: 20_000}, CheckpointEvery: time.Millisecond}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 400 {
			if err := l.Append(t.Context(), &Record{Kind: "event", Event: fmt.Sprint("e", i)}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for n := 0; ; n++ {
		if _, err := Verify(dir); err != nil {
			t.Errorf("round %d: %v", n, err)
		}
		select {
		case <-done:
			l.Close()
			if rep, err := Verify(dir); err != nil || rep.First == 1 {
				t.Errorf("%+v, %v", rep, err)
			}
			return
		default:
		}
	}
}

// FuzzVerify mangles a signed log: Verify never says that it is sound while a
// record that a checkpoint covers was changed.
func FuzzVerify(f *testing.F) {
	dir, key, outside := signedLog(f, 12)
	whole := map[string][]byte{}
	entries, err := os.ReadDir(filepath.Join(dir, folder))
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		if whole[e.Name()], err = os.ReadFile(filepath.Join(dir, folder, e.Name())); err != nil {
			f.Fatal(err)
		}
	}
	names := slices.Sorted(maps.Keys(whole))
	want := read(f, dir)
	f.Add(uint8(0), uint16(10), []byte("x"), uint16(1))
	f.Add(uint8(2), uint16(0), []byte{}, uint16(60000))
	f.Add(uint8(4), uint16(300), []byte("\n"), uint16(0))
	f.Fuzz(func(t *testing.T, file uint8, at uint16, put []byte, drop uint16) {
		mangled := t.TempDir()
		if err := os.Mkdir(filepath.Join(mangled, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			b := whole[name]
			if i == int(file)%len(names) {
				from := min(int(at), len(b))
				b = slices.Concat(b[:from], put, b[min(from+int(drop), len(b)):])
			}
			if err := os.WriteFile(filepath.Join(mangled, folder, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		Verify(mangled)
		if _, err := (Verifier{Keys: []Key{key}, Outside: outside}).Verify(mangled); err != nil {
			return
		}
		for i, r := range read(t, mangled) {
			if i < len(want) && !bytes.Equal(r.Line, want[i].Line) {
				t.Fatalf("record %d was changed and verifies:\n%s\n%s", i+1, want[i].Line, r.Line)
			}
		}
	})
}
