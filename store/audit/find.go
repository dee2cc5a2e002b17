package audit

import (
	"errors"
	"fmt"
	"path/filepath"
)

// ErrNoRecord: the log has no such record; it may have been removed with old
// segments.
var ErrNoRecord = errors.New("no such record in the audit log")

// Find gives one record by its number, reading only the segment that holds it.
func Find(dir string, seq uint64) (*Record, error) {
	log, err := segments(filepath.Join(dir, folder))
	if err != nil {
		return nil, err
	}
	for i, s := range log {
		if s.head.First > seq || i+1 < len(log) && log[i+1].head.First <= seq {
			continue
		}
		var found *Record
		s.records(func(p place, bad error) bool {
			if bad != nil {
				err = bad
				return false
			}
			if n, _, _, ok := parseStart(p.text); !ok || n != seq {
				return true
			}
			found, err = decode(p)
			return false
		})
		if found != nil || err != nil {
			return found, err
		}
	}
	return nil, fmt.Errorf("%w: %d", ErrNoRecord, seq)
}
