package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrChain: the log is not what was written.
var ErrChain = errors.New("audit log does not verify")

// Report is what Verify found.
type Report struct {
	Segments int    `json:"segments"`
	Records  uint64 `json:"records"`
	First    uint64 `json:"first"` // sequence number; over 1 when retention removed older ones
	Last     uint64 `json:"last"`
	Head     string `json:"head"` // SHA-256 of the last line, hex

	Checkpoints int        `json:"checkpoints"`         // that the log was held against
	Signed      uint64     `json:"signed"`              // the last record that any of them covers
	SignedAt    *time.Time `json:"signed_at,omitempty"` // when that was
	Outside     uint64     `json:"outside"`             // the last record that one kept elsewhere covers
	Key         string     `json:"key,omitempty"`       // that signed: its public half
	Pinned      bool       `json:"pinned"`              // the key was given, not taken from beside the log
}

// Verifier says what to hold a log against. The zero Verifier uses what lies
// beside the log alone, which proves that nobody changed it who can't write
// there.
type Verifier struct {
	Keys    []Key        // trusted; none: those that the log's own folder names
	Outside []Checkpoint // kept elsewhere; those of other logs are left out
}

// Verify is the zero Verifier's.
func Verify(dir string) (Report, error) { return Verifier{}.Verify(dir) }

// Verify checks the whole log in the data directory dir, also beside a running
// server: every line is a record, holds the hash of the line before and the
// next sequence number, every segment continues the one before, and every
// checkpoint is signed by a trusted key and speaks of a record that is there,
// as it was. Older segments may be missing only where a checkpoint says so. The
// error wraps ErrChain and names the first bad record; the report holds what
// was good before it.
func (v Verifier) Verify(dir string) (Report, error) {
	for tries := 0; ; tries++ {
		before := firstNumber(dir)
		rep, err := v.verify(dir)
		if err == nil || tries == maxLooks || firstNumber(dir) == before {
			return rep, err
		}
		// Retention removed segments meanwhile: look again.
	}
}

// maxLooks bounds how often Verify begins anew because retention was faster.
const maxLooks = 20

func firstNumber(dir string) int {
	list, err := numbers(filepath.Join(dir, folder))
	if err != nil || len(list) == 0 {
		return 0
	}
	return list[0]
}

func (v Verifier) verify(dir string) (rep Report, err error) {
	// Checkpoints before segments: what is signed meanwhile is of no concern.
	m, err := v.marks(dir, &rep)
	if err != nil {
		return rep, fmt.Errorf("%w: %w", ErrChain, err)
	}
	log, err := segments(filepath.Join(dir, folder))
	if err != nil {
		return rep, fmt.Errorf("%w: %w", ErrChain, err)
	}
	if err := m.beginning(log); err != nil {
		return rep, fmt.Errorf("%w: %w", ErrChain, err)
	}
	var last hash
	for i, c := range checkAll(log, m) {
		s, name := log[i], filepath.Base(log[i].path)
		if i == 0 {
			rep.First, rep.Last = s.head.First, s.head.First-1
		} else if s.head.Prev != hexHash(last) || s.head.First != rep.Last+1 {
			return rep, fmt.Errorf("%w: %s does not continue the segment before it", ErrChain, name)
		}
		rep.Segments++
		rep.Records, rep.Last, last = rep.Records+c.records, c.seq, c.last
		if c.err != nil {
			return rep, fmt.Errorf("%w: %s, %w", ErrChain, name, c.err)
		}
		rep.Head = hexHash(last)
	}
	if err := m.unmet(rep); err != nil {
		return rep, fmt.Errorf("%w: %w", ErrChain, err)
	}
	return rep, nil
}

// marks are the checkpoints that a log is held against, by sequence number.
type marks struct {
	all []Checkpoint
	at  map[uint64][]int
	met []atomic.Bool // the line that all[i] speaks of was seen
}

// marks reads and verifies the checkpoints.
func (v Verifier) marks(dir string, rep *Report) (*marks, error) {
	keys := v.Keys
	rep.Pinned = len(keys) > 0
	if !rep.Pinned {
		var err error
		if keys, err = PublicKeys(dir); err != nil {
			return nil, err
		}
	}
	kept, err := readKept(filepath.Join(dir, folder))
	if err != nil {
		return nil, err
	}
	m := &marks{at: map[uint64][]int{}}
	if len(keys) == 0 && len(kept)+len(v.Outside) > 0 {
		return nil, fmt.Errorf("there are checkpoints, but no public key to verify them with in %s; give one with --key", filepath.Join(dir, folder, keysFile))
	}
	own := false
	for i, c := range slices.Concat(kept, v.Outside) {
		outside := i >= len(kept)
		if outside && !slices.ContainsFunc(keys, func(k Key) bool { return k.Name == c.Origin }) {
			continue // of another log
		}
		if !c.signedBy(keys) {
			return nil, fmt.Errorf("the checkpoint over record %d, %s, is not signed by a trusted key (%s)", c.Seq, c.Origin, keys[len(keys)-1].Name)
		}
		if outside {
			own, rep.Outside = true, max(rep.Outside, c.Seq)
		}
		if c.Seq >= rep.Signed {
			rep.Signed, rep.SignedAt = c.Seq, &c.Time
			for _, k := range keys {
				if k.Name == c.Origin {
					rep.Key = k.String()
				}
			}
		}
		m.at[c.Seq] = append(m.at[c.Seq], len(m.all))
		m.all = append(m.all, c)
	}
	switch {
	case len(v.Outside) > 0 && !own:
		return nil, errors.New("none of the given checkpoints is of this log")
	case len(keys) > 0 && len(m.all) == 0:
		return nil, errors.New("the log is a signed one, but no checkpoint is there")
	}
	rep.Checkpoints = len(m.all)
	m.met = make([]atomic.Bool, len(m.all))
	return m, nil
}

// line holds the line behind which the log stands at seq against the marks.
func (m *marks) line(seq uint64, h hash) {
	for _, i := range m.at[seq] {
		if m.all[i].Head == h {
			m.met[i].Store(true)
		}
	}
}

// beginning: a log may begin later than with its first record where a signed
// checkpoint says so. It may also begin earlier than it says: who removes
// segments signs first. Then its numbers are earlier, too, so that the
// checkpoint itself is held against it (unmet): higher ones would be above all
// that was ever signed.
func (m *marks) beginning(log []segment) error {
	if len(log) == 0 {
		return nil
	}
	first, name := log[0].head, filepath.Base(log[0].path)
	if first.After == nil {
		if first.Prev != "" || first.First != 1 {
			return fmt.Errorf("%s is not the first segment but continues none", name)
		}
		return nil
	}
	for i := range m.all {
		b := &m.all[i].Begins
		if b.Segment > log[0].number && first.First <= b.First || b.Segment == log[0].number && b.First == first.First && hexHash(b.Prev) == first.Prev {
			return nil
		}
	}
	return fmt.Errorf("%s: records 1 to %d are missing before it, and no checkpoint says that retention removed them", name, first.First-1)
}

// unmet names the first checkpoint that the log does not bear out.
func (m *marks) unmet(rep Report) error {
	order := make([]int, 0, len(m.all))
	for i := range m.all {
		// What stood before the first segment can't be held against anything.
		if c := &m.all[i]; !m.met[i].Load() && c.Seq > 0 && (c.Seq >= rep.First || rep.First <= 1) {
			order = append(order, i)
		}
	}
	if len(order) == 0 {
		return nil
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(m.all[a].Seq, m.all[b].Seq) })
	c := &m.all[order[0]]
	when := c.Time.Format(time.RFC3339)
	if c.Seq > rep.Last {
		end := m.all[order[len(order)-1]].Seq
		return fmt.Errorf("the log was cut off: it ends with record %d, but the checkpoint of %s covers records up to %d", rep.Last, when, end)
	}
	return fmt.Errorf("record %d is not the one that the checkpoint of %s was signed for: the log was written anew, or is another's", c.Seq, when)
}

// checked is what one segment was found to be.
type checked struct {
	records uint64
	seq     uint64 // of its last good record
	last    hash   // of its last good line
	err     error
}

// checkAll checks each segment by itself, several at a time: the header says
// what a segment continues, and that is compared afterwards.
func checkAll(log []segment, m *marks) []checked {
	found := make([]checked, len(log))
	var next atomic.Int64
	var work sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(log)) {
		work.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(log)); i = next.Add(1) - 1 {
				found[i] = log[i].check(m)
			}
		})
	}
	work.Wait()
	return found
}

// check follows the chain through one segment.
func (s segment) check(m *marks) (c checked) {
	c.seq = s.head.First - 1
	f, err := os.Open(s.path)
	if err != nil {
		c.err = err
		return c
	}
	defer f.Close()
	in := newLines(f, s.end)
	for first := true; ; first = false {
		at := in.at
		line, err := in.next()
		switch {
		case errors.Is(err, io.EOF) && s.end >= 0 && in.at != s.end:
			c.err = fmt.Errorf("byte %d: ends before byte %d, where the next segment continues it", in.at, s.end)
			return c
		case errors.Is(err, io.EOF):
			return c
		case err != nil:
			c.err = err
			return c
		case !first:
			seq, prev, _, ok := parseStart(line)
			switch {
			case !ok || !json.Valid(line):
				c.err = fmt.Errorf("byte %d: not a record (after record %d)", at, c.seq)
			case seq != c.seq+1:
				c.err = fmt.Errorf("byte %d: record %d follows record %d", at, seq, c.seq)
			case prev != c.last:
				c.err = fmt.Errorf("byte %d: the line before record %d is not the one it was written after", at, seq)
			}
			if c.err != nil {
				return c
			}
			c.seq = seq
			c.records++
		}
		c.last = sha256.Sum256(line)
		m.line(c.seq, c.last)
	}
}
