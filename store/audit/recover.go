package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/ostiary/ostiary/policy"
)

// recover finds the end of the log, repairs it and writes down what it did.
func (l *Log) recover() error {
	l.open = map[string]uint64{}
	all, err := numbers(l.dir)
	if err != nil {
		return err
	}
	log, err := segments(l.dir)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		l.used = all[len(all)-1]
	}
	if len(log) > 0 {
		if err := l.resume(log[len(log)-1]); err != nil {
			return err
		}
	}
	for _, n := range all { // begun and never finished: they hold nothing
		if n > l.number {
			if err := removeHeadless(filepath.Join(l.dir, segmentName(n))); err != nil {
				return err
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.open)) {
		l.mine = append(l.mine, l.outcome(id, "unknown", "crash", "the server ended before the outcome was recorded"))
	}
	if err := l.makeReserve(); err != nil {
		l.setLow(true)
	}
	if l.Signer != nil {
		if err := l.openNotary(); err != nil {
			return err
		}
	}
	l.stands = stand{l.seq, l.last, l.number}
	return l.commit(l.takeMine(), false)
}

// removeHeadless removes a segment file without a complete line.
func removeHeadless(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if bytes.IndexByte(b, '\n') >= 0 {
		return nil
	}
	return os.Remove(path)
}

// resume continues the last segment behind its last valid line. What follows
// that line was never acknowledged if it is torn: it is cut off. If valid lines
// follow, the file was damaged later: it is left as it is for Verify to show,
// and a new segment continues behind it.
func (l *Log) resume(s segment) error {
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	t, bad, err := scan(f, s, l.open)
	if err != nil {
		f.Close()
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	t.used, t.file = l.used, f
	excess := info.Size() - t.size
	switch {
	case bad > 0:
		l.Logger.Error("the audit log is damaged; run audit verify", "segment", s.path, "byte", t.size)
		t.size, t.file = info.Size(), nil
		l.mine = append(l.mine, l.event("audit.damaged", "bad_line", fmt.Sprintf("%s has %d bad lines", segmentName(s.number), bad)))
		err = f.Close()
	case excess > 0:
		l.mine = append(l.mine, l.event("audit.recovered", "torn_tail", fmt.Sprintf("%s: %d bytes of an unfinished write dropped", segmentName(s.number), excess)))
		err = errors.Join(f.Truncate(t.size), f.Sync())
	default:
		// A crash may have left lines that were written and not synced.
		err = f.Sync()
	}
	t.mine = l.mine
	l.tail = t
	return err
}

// scan reads a segment and returns the log's tail as it stands in it: behind
// the last line that is valid. bad counts lines before it that are not.
func scan(f *os.File, s segment, open map[string]uint64) (t tail, bad int, err error) {
	in := newLines(f, -1)
	if _, err := in.next(); err != nil { // the header, which was read before
		return t, 0, err
	}
	t = tail{number: s.number, size: in.at, bare: true, seq: s.head.First - 1, last: sha256.Sum256(s.line)}
	for _, id := range s.head.Open {
		open[id] = 0
	}
	skipped := 0
	for {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return t, bad, nil
		} else if err != nil {
			return t, bad, fmt.Errorf("%s: %w", s.path, err)
		}
		seq, prev, body, ok := parseStart(line)
		if !ok || seq <= t.seq || !track(line, body, open) {
			skipped++
			continue
		}
		if skipped > 0 || seq != t.seq+1 || prev != t.last {
			bad += max(skipped, 1)
			skipped = 0
		}
		t.seq, t.last, t.size, t.bare = seq, sha256.Sum256(line), in.at, false
	}
}

// track follows which decisions are open, and says whether line is a record.
func track(line, body []byte, open map[string]uint64) bool {
	if !bytes.HasPrefix(body, []byte(`"kind":"decision"`)) && !bytes.HasPrefix(body, []byte(`"kind":"outcome"`)) {
		return json.Valid(line)
	}
	var r struct { // the little of a Record that awaitsOutcome reads
		Kind       string           `json:"kind"`
		DecisionID string           `json:"decision_id"`
		Outcome    string           `json:"outcome"`
		Shown      *Shown           `json:"shown"`
		Decision   *policy.Decision `json:"decision"`
	}
	if json.Unmarshal(line, &r) != nil {
		return false
	}
	switch {
	case awaitsOutcome(&Record{Kind: r.Kind, DecisionID: r.DecisionID, Outcome: r.Outcome, Shown: r.Shown, Decision: r.Decision}):
		open[r.DecisionID] = 0
	case r.Kind == "outcome":
		delete(open, r.DecisionID)
	}
	return true
}

// hexHash is the hash as lines write it.
func hexHash(h hash) string { return hex.EncodeToString(h[:]) }

func hexToHash(s string) (h hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("%q is no SHA-256 in hex", s)
	}
	return hash(b), nil
}
