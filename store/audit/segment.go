package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Folder is where the log lies in the data directory.
const Folder = folder

const (
	folder      = "audit"
	namePrefix  = "segment-"
	nameSuffix  = ".jsonl"
	kindSegment = "segment"

	// maxLine bounds what a reader holds of one line. Records are far shorter
	// (MaxRecord); headers grow with the decisions in flight.
	maxLine = 64 << 20

	// maxSeq is never reached: 30 years at a billion records a second. A
	// larger number in a file is not one of ours, and can't overflow.
	maxSeq = 999_999_999_999_999_999
)

// hash is the SHA-256 of a line without its line end.
type hash = [sha256.Size]byte

// header is the first line of a segment. It is part of the chain.
type header struct {
	Format  int       `json:"format"`
	Kind    string    `json:"kind"` // "segment"
	Segment int       `json:"segment"`
	First   uint64    `json:"first"` // sequence number of the first record
	Time    time.Time `json:"timestamp"`
	Prev    string    `json:"prev"`            // SHA-256 of the last line before, hex; "" in the first segment
	After   *position `json:"after,omitempty"` // what this segment continues
	Open    []string  `json:"open,omitempty"`  // decisions without outcome
}

// position is where a segment validly ends.
type position struct {
	Segment int   `json:"segment"`
	Size    int64 `json:"size"`
}

func segmentName(n int) string { return fmt.Sprintf("%s%08d%s", namePrefix, n, nameSuffix) }

// segment is one file of the log as a reader sees it.
type segment struct {
	number int
	path   string
	end    int64 // valid up to here; -1: to the end of the file
	head   header
	line   []byte // of the header
}

// numbers lists the segment files in dir, ascending.
func numbers(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), namePrefix)
		digits, ok2 := strings.CutSuffix(digits, nameSuffix)
		n, err := strconv.Atoi(digits)
		if ok && ok2 && err == nil && n > 0 && segmentName(n) == e.Name() {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, cmp.Compare[int])
	return list, nil
}

// segments returns the segments that make up the log in dir, in order: from
// the newest with a complete header back along what each one continues. Files
// that no later segment continues are void and left out.
func segments(dir string) ([]segment, error) {
	for tries := 0; ; tries++ {
		log, err := listSegments(dir)
		if !errors.Is(err, os.ErrNotExist) || tries == 2 {
			return log, err
		}
		// Retention removed one between its listing and its reading.
	}
}

func listSegments(dir string) ([]segment, error) {
	list, err := numbers(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("list audit segments: %w", err)
	}
	var log []segment
	want, end := 0, int64(-1)
	for _, n := range slices.Backward(list) {
		if n > want && want != 0 {
			continue // void: nothing continues it
		} else if n < want {
			return nil, fmt.Errorf("%s: continues segment %d, which is missing although older ones are there", log[len(log)-1].path, want)
		}
		s, err := readSegment(filepath.Join(dir, segmentName(n)), n)
		if want == 0 && (errors.Is(err, errNoHeader) || errors.Is(err, os.ErrNotExist)) {
			continue // being made right now, never finished, or given up
		} else if err != nil {
			return nil, err
		}
		s.end = end
		log = append(log, s)
		if s.head.After == nil {
			break
		}
		want, end = s.head.After.Segment, s.head.After.Size
		if want >= n || want < 1 || end < 0 {
			return nil, fmt.Errorf("%s: its header doesn't say what it continues", s.path)
		}
	}
	slices.Reverse(log)
	return log, nil
}

var errNoHeader = errors.New("has no complete header")

func readSegment(path string, n int) (segment, error) {
	s := segment{number: n, path: path}
	f, err := os.Open(path)
	if err != nil {
		return s, fmt.Errorf("open audit segment: %w", err)
	}
	defer f.Close()
	line, err := newLines(f, -1).next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errNoHeader
		}
		return s, fmt.Errorf("%s: %w", path, err)
	}
	s.line = bytes.Clone(line)
	if json.Unmarshal(line, &s.head) != nil || s.head.Kind != kindSegment || s.head.Segment != n ||
		s.head.First < 1 || s.head.First > maxSeq {
		return s, fmt.Errorf("%s: its first line is not a segment header", path)
	}
	if s.head.Format != Format {
		return s, fmt.Errorf("%s: format %d is not known; use a newer version", path, s.head.Format)
	}
	return s, nil
}

// lines reads complete lines and knows where it is.
type lines struct {
	r    *bufio.Reader
	end  int64 // stop here; -1: at the end of the file
	at   int64 // after the last line returned
	long []byte
}

func newLines(r io.Reader, end int64) *lines {
	if end >= 0 {
		r = io.LimitReader(r, end)
	}
	return &lines{r: bufio.NewReaderSize(r, 64<<10), end: end}
}

// next returns a line without its line end, valid until the next call, or
// io.EOF where no complete line follows.
func (l *lines) next() ([]byte, error) {
	l.long = l.long[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		if err == nil && len(l.long) == 0 {
			l.at += int64(len(part))
			return part[:len(part)-1], nil
		}
		l.long = append(l.long, part...)
		switch {
		case err == nil:
			l.at += int64(len(l.long))
			return l.long[:len(l.long)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(l.long) > maxLine:
			return nil, fmt.Errorf("the line at byte %d is over %d bytes", l.at, maxLine)
		}
	}
}

// appendStart appends what a record's line begins with.
func appendStart(b []byte, seq uint64, prev *hash) []byte {
	b = append(b, lineStart...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, linePrev...)
	b = hex.AppendEncode(b, prev[:])
	return append(b, `",`...)
}

const (
	lineStart = `{"format":1,"seq":`
	linePrev  = `,"prev":"`
)

// parseStart is the inverse of appendStart; body is what follows.
func parseStart(line []byte) (seq uint64, prev hash, body []byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(lineStart))
	if !ok {
		return 0, prev, nil, false
	}
	digits := bytes.IndexByte(rest, ',')
	if digits < 1 || digits > 18 || rest[0] == '0' {
		return 0, prev, nil, false
	}
	seq, err := strconv.ParseUint(string(rest[:digits]), 10, 64)
	rest, ok = bytes.CutPrefix(rest[digits:], []byte(linePrev))
	if err != nil || !ok || len(rest) < 2*len(prev)+2 {
		return 0, prev, nil, false
	}
	if _, err := hex.Decode(prev[:], rest[:2*len(prev)]); err != nil {
		return 0, prev, nil, false
	}
	body, ok = bytes.CutPrefix(rest[2*len(prev):], []byte(`",`))
	return seq, prev, body, ok
}
