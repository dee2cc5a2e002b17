package audit

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"
)

const (
	followEvery = 200 * time.Millisecond
	followTries = 10 // looks at a log that can't be read before that is said
)

// Follow yields records as they are written, from where the log in the data
// directory dir ends now, or from its beginning if all is set, until ctx ends.
// A record that is written while the disk fails may be shown although the log
// then goes on without it. An error ends it; a bad line yields one that names it.
func Follow(ctx context.Context, dir string, all bool) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		w := &follower{dir: filepath.Join(dir, folder), yield: yield}
		defer w.close()
		if !all {
			if err := w.toEnd(); err != nil {
				yield(nil, err)
				return
			}
		}
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		for failed := 0; ; {
			if !w.drain(ctx) {
				return
			}
			moved, err := w.advance(ctx)
			switch {
			case w.over:
				return
			case err == nil && moved:
				failed = 0
				continue
			case err == nil:
				failed = 0
			default: // a segment may be made or removed right now
				if failed++; failed == followTries {
					yield(nil, err)
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

// follower stands behind the last line that was yielded.
type follower struct {
	dir   string
	yield func(*Record, error) bool
	over  bool     // nobody wants more
	file  *os.File // nil: there is no segment yet
	seg   int
	at    int64
}

func (w *follower) close() {
	if w.file != nil {
		w.file.Close()
	}
}

func (w *follower) open(s segment) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	w.close()
	w.file, w.seg, w.at = f, s.number, 0
	return nil
}

// toEnd goes behind the last complete line of the last segment.
func (w *follower) toEnd() error {
	log, err := segments(w.dir)
	if err != nil || len(log) == 0 {
		return err
	}
	if err := w.open(log[len(log)-1]); err != nil {
		return err
	}
	in := newLines(w.file, -1)
	for err == nil {
		_, err = in.next()
	}
	w.at = in.at
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// drain yields the complete lines behind the last one, and says whether to go
// on.
func (w *follower) drain(ctx context.Context) bool {
	if w.file == nil {
		return true
	}
	if _, err := w.file.Seek(w.at, io.SeekStart); err != nil {
		w.yield(nil, err)
		return false
	}
	in := newLines(w.file, -1)
	in.at = w.at
	for ctx.Err() == nil {
		at := in.at
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return true
		} else if err != nil {
			w.yield(nil, err)
			return false
		}
		w.at = in.at
		if at == 0 {
			continue // the header
		}
		if !w.yield(decode(place{filepath.Base(w.file.Name()), at, line})) {
			w.over = true
			return false
		}
	}
	return false
}

// advance goes to the segment that continues this one, after what this one got
// until then; or to the oldest, if this one is not part of the log any more.
func (w *follower) advance(ctx context.Context) (moved bool, err error) {
	log, err := segments(w.dir)
	if err != nil {
		return false, err
	}
	for _, s := range log {
		if w.file == nil || s.head.After != nil && s.head.After.Segment == w.seg || log[0].number > w.seg {
			if !w.drain(ctx) {
				w.over = true
				return false, nil
			}
			return true, w.open(s)
		}
	}
	return false, nil
}
