package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// Read yields every record of the log in the data directory dir, in order,
// also beside a running server: a line still being written is left out. A bad
// line yields an error that names it, and reading goes on behind it.
func Read(dir string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		for line, err := range readLines(dir) {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			r, err := decode(line)
			if !yield(r, err) {
				return
			}
		}
	}
}

// place is a record's line and where it stands.
type place struct {
	segment string
	offset  int64
	text    []byte // valid until the next one
}

func decode(p place) (*Record, error) {
	r := new(Record)
	if err := json.Unmarshal(p.text, r); err != nil {
		return nil, fmt.Errorf("%s, byte %d: not a record: %w", p.segment, p.offset, err)
	}
	r.Line = bytes.Clone(p.text)
	return r, nil
}

// readLines yields the line of every record, without segment headers.
func readLines(dir string) iter.Seq2[place, error] {
	return func(yield func(place, error) bool) {
		log, err := segments(filepath.Join(dir, folder))
		if err != nil {
			yield(place{}, err)
			return
		}
		for _, s := range log {
			if !s.records(yield) {
				return
			}
		}
	}
}

// records yields the lines of one segment behind its header, and says whether
// to go on with the next.
func (s segment) records(yield func(place, error) bool) bool {
	f, err := os.Open(s.path)
	if errors.Is(err, os.ErrNotExist) && firstNumber(filepath.Dir(filepath.Dir(s.path))) > s.number {
		return true // removed by retention meanwhile
	} else if err != nil {
		return yield(place{}, fmt.Errorf("read audit log: %w", err))
	}
	defer f.Close()
	in := newLines(f, s.end)
	name := filepath.Base(s.path)
	for first := true; ; first = false {
		at := in.at
		line, err := in.next()
		switch {
		case errors.Is(err, io.EOF) && s.end >= 0 && in.at != s.end:
			return yield(place{}, fmt.Errorf("%s ends at byte %d, not %d as the next segment says", name, in.at, s.end))
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return yield(place{}, fmt.Errorf("read audit log: %s: %w", name, err))
		case !first && !yield(place{name, at, line}, nil):
			return false
		}
	}
}
