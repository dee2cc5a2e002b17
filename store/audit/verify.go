package audit

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ErrChain: the log is not what was written.
var ErrChain = errors.New("audit log does not verify")

// Report is what Verify found.
type Report struct {
	Segments int    `json:"segments"`
	Records  uint64 `json:"records"`
	First    uint64 `json:"first"` // sequence number; over 1 when older segments were removed
	Last     uint64 `json:"last"`
	Head     string `json:"head"` // SHA-256 of the last line, hex: keep it elsewhere to detect a cut tail
}

// Verify checks the whole log in the data directory dir, also beside a running
// server: every line is a record, holds the hash of the line before and the
// next sequence number, and every segment continues the one before. The error
// wraps ErrChain and names the first bad record; the report holds what was good
// before it.
func Verify(dir string) (Report, error) {
	var rep Report
	log, err := segments(filepath.Join(dir, folder))
	if err != nil {
		return rep, fmt.Errorf("%w: %w", ErrChain, err)
	}
	var last hash
	for i, s := range log {
		if i == 0 {
			rep.First, rep.Last = s.head.First, s.head.First-1
		} else if s.head.Prev != hexHash(last) || s.head.First != rep.Last+1 {
			return rep, fmt.Errorf("%w: %s does not continue the segment before it", ErrChain, filepath.Base(s.path))
		}
		if s.head.After == nil && (s.head.Prev != "" || s.head.First != 1) {
			return rep, fmt.Errorf("%w: %s is not the first segment but continues none", ErrChain, filepath.Base(s.path))
		}
		rep.Segments++
		if last, err = s.verify(&rep); err != nil {
			return rep, fmt.Errorf("%w: %s, %w", ErrChain, filepath.Base(s.path), err)
		}
		rep.Head = hexHash(last)
	}
	return rep, nil
}

// verify follows the chain through one segment and returns its last hash.
func (s segment) verify(rep *Report) (last hash, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return last, err
	}
	defer f.Close()
	in := newLines(f, s.end)
	for first := true; ; first = false {
		at := in.at
		line, err := in.next()
		switch {
		case errors.Is(err, io.EOF) && s.end >= 0 && in.at != s.end:
			return last, fmt.Errorf("byte %d: ends before byte %d, where the next segment continues it", in.at, s.end)
		case errors.Is(err, io.EOF):
			return last, nil
		case err != nil:
			return last, err
		case !first:
			seq, prev, _, ok := parseStart(line)
			switch {
			case !ok || !json.Valid(line):
				return last, fmt.Errorf("byte %d: not a record (after record %d)", at, rep.Last)
			case seq != rep.Last+1:
				return last, fmt.Errorf("byte %d: record %d follows record %d", at, seq, rep.Last)
			case prev != last:
				return last, fmt.Errorf("byte %d: the line before record %d is not the one it was written after", at, seq)
			}
			rep.Last = seq
			rep.Records++
		}
		last = sha256.Sum256(line)
	}
}
