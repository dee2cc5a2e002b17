package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// retained is a signed log whose oldest segments retention removed, and what
// its checkpoints say about that.
func retained(t *testing.T) (dir string, key Key, outside []Checkpoint, begins Beginning) {
	t.Helper()
	dir = t.TempDir()
	place := filepath.Join(t.TempDir(), "outside")
	l := open(t, dir, signed(t, dir, Options{SegmentSize: 2000, Retention: Retention{Size: 8000}, Outside: []Outside{FilePlace{place}}}))
	grow(t, l, 60)
	eventually(t, 20*time.Second, "old segments are removed", func() bool { return firstSeq(t, dir) > 30 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(place)
	if err != nil {
		t.Fatal(err)
	}
	if outside, err = ParseCheckpoints(b); err != nil {
		t.Fatal(err)
	}
	return dir, l.Signer.Key, outside, outside[len(outside)-1].Begins
}

// forge makes one segment that says to go on behind others.
func forge(t *testing.T, dir string, segment int, first uint64) {
	t.Helper()
	var b bytes.Buffer
	line, err := json.Marshal(header{Format: Format, Kind: kindSegment, Segment: segment, First: first, Prev: hexHash(hash{7}), After: &position{Segment: segment - 1, Size: 100}})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(append(line, '\n'))
	last := hash(sha256.Sum256(line))
	for i := range uint64(3) {
		line = fmt.Appendf(appendStart(nil, first+i, &last), `"kind":"event","timestamp":"2026-01-31T15:04:05Z","event":"forged"}`)
		b.Write(append(line, '\n'))
		last = sha256.Sum256(line)
	}
	if err := os.WriteFile(filepath.Join(dir, folder, segmentName(segment)), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Where retention removed segments, a log that claims to be what it left half
// done must still hold every record that a checkpoint covers from its first on:
// numbers above all of them are no way around.
func TestWhatRetentionLeftCantBeReplacedByALogBesideIt(t *testing.T) {
	for name, first := range map[string]func(Beginning) uint64{
		"numbers above all":          func(Beginning) uint64 { return maxSeq - 10 },
		"numbers of what remains":    func(b Beginning) uint64 { return b.First },
		"numbers of what is removed": func(b Beginning) uint64 { return b.First - 3 },
	} {
		t.Run(name, func(t *testing.T) {
			dir, key, outside, begins := retained(t)
			list, err := filepath.Glob(filepath.Join(dir, folder, "*"+nameSuffix))
			if err != nil || begins.Segment < 2 {
				t.Fatal(err, begins)
			}
			for _, path := range list {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			forge(t, dir, begins.Segment-1, first(begins))
			for name, v := range map[string]Verifier{"from beside": {}, "pinned": {Keys: []Key{key}}, "with copies": {Keys: []Key{key}, Outside: outside}} {
				if rep, err := v.Verify(dir); !errors.Is(err, ErrChain) {
					t.Errorf("%s: it verifies: %+v", name, rep)
				}
			}
		})
	}
}
