package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Checkpoint is a signed statement of how the log stood: it ends with, or goes
// on behind, record Seq, and the last line written then has the hash Head.
// Its text is a signed note as of C2SP tlog-checkpoint (origin, size, hash,
// extension lines), where the hash is the head of the chain, not the root of a
// tree:
//
//	ostiary-audit-1f2e3d4c
//	1200
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//	segment 12
//	begins 5 401 uYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2ICs=
//	time 2026-01-31T15:04:05Z
//
//	— ostiary-audit-1f2e3d4c Hy49TPo…
//
// The line "begins" is there once retention removed segments: the log begins
// with this segment and record, written behind the line of this hash.
type Checkpoint struct {
	Origin  string // the name of the key that signs
	Seq     uint64
	Head    hash
	Segment int
	Begins  Beginning
	Time    time.Time
	Text    []byte // as signed, with its signatures

	body int // length of what is signed
	sigs []signature
}

// Beginning is where a log begins whose older segments retention removed; zero
// for one that is whole.
type Beginning struct {
	Segment int
	First   uint64 // sequence number of its first record
	Prev    hash   // of the line before
}

type signature struct {
	name string
	id   uint32
	sig  []byte
}

const (
	maxCheckpoint = 4 << 10 // ours have about 350 bytes
	sigPrefix     = "— "

	// lineMark announces a checkpoint that was put on one line, as a JSON
	// string: syslog has no line ends.
	lineMark = "ostiary-checkpoint "
)

var errCheckpoint = errors.New("not a checkpoint")

// sign makes the text of c.
func (c *Checkpoint) sign(s *Signer) {
	c.Origin, c.Time = s.Name, c.Time.UTC().Truncate(time.Second)
	if y := c.Time.Year(); y < 0 || y > 9999 { // as in records: RFC 3339 has no such year
		c.Time = time.Time{}
	}
	b := fmt.Appendf(nil, "%s\n%d\n%s\nsegment %d\n", c.Origin, c.Seq, b64(c.Head[:]), c.Segment)
	if c.Begins.Segment > 0 {
		b = fmt.Appendf(b, "begins %d %d %s\n", c.Begins.Segment, c.Begins.First, b64(c.Begins.Prev[:]))
	}
	b = fmt.Appendf(b, "time %s\n", c.Time.Format(time.RFC3339))
	sig := signature{name: s.Name, id: s.ID, sig: ed25519.Sign(s.private, b)}
	c.body, c.sigs = len(b), []signature{sig}
	c.Text = fmt.Appendf(b, "\n%s%s %s\n", sigPrefix, sig.name, b64(append(binary.BigEndian.AppendUint32(nil, sig.id), sig.sig...)))
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// Line is c on one line, for places that keep lines; ParseCheckpoints reads it
// back, whatever stands before it on the line.
func (c *Checkpoint) Line() string {
	return lineMark + strconv.QuoteToASCII(string(c.Text))
}

// signedBy says whether one of keys signed c.
func (c *Checkpoint) signedBy(keys []Key) bool {
	for _, k := range keys {
		for _, s := range c.sigs {
			if s.name == k.Name && s.id == k.ID && c.Origin == k.Name && ed25519.Verify(k.public, c.Text[:c.body], s.sig) {
				return true
			}
		}
	}
	return false
}

// ParseCheckpoints reads the checkpoints in b, in order: notes one behind the
// other, or lines that hold one (syslog), among any other lines. Text without
// a signature is a write that was cut off, and is left out: who could put it
// there could have removed it. It does not verify signatures.
func ParseCheckpoints(b []byte) ([]Checkpoint, error) {
	if bytes.Contains(b, []byte(lineMark+`"`)) {
		return parseLines(b)
	}
	var all []Checkpoint
	for at := 0; ; {
		for at < len(b) && b[at] == '\n' {
			at++
		}
		body := bytes.Index(b[at:], []byte("\n\n"))
		if body < 0 {
			return all, nil
		}
		end, signed := at+body+2, false
		for bytes.HasPrefix(b[end:], []byte(sigPrefix)) {
			line := bytes.IndexByte(b[end:], '\n')
			if line < 0 {
				return all, nil
			}
			_, whole := parseSignature(string(b[end : end+line+1]))
			signed = signed || whole
			end += line + 1
		}
		if signed {
			c, err := parseCheckpoint(b[at:end])
			if err != nil {
				return all, fmt.Errorf("checkpoint at byte %d: %w", at, err)
			}
			all = append(all, c)
		}
		at = end
	}
}

func parseLines(b []byte) ([]Checkpoint, error) {
	var all []Checkpoint
	for line := range bytes.Lines(b) {
		_, rest, ok := bytes.Cut(line, []byte(lineMark))
		if !ok || !bytes.HasPrefix(rest, []byte(`"`)) {
			continue
		}
		var text string
		if err := json.NewDecoder(bytes.NewReader(rest)).Decode(&text); err != nil {
			continue // cut off on its way
		}
		c, err := parseCheckpoint([]byte(text))
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

// parseCheckpoint reads one note, and only as sign would write it.
func parseCheckpoint(text []byte) (c Checkpoint, err error) {
	if len(text) > maxCheckpoint || !utf8.Valid(text) {
		return c, errCheckpoint
	}
	body, sigs, ok := strings.Cut(string(text), "\n\n")
	if !ok {
		return c, errCheckpoint
	}
	c.Text, c.body = bytes.Clone(text), len(body)+1
	lines := strings.Split(body, "\n")
	if len(lines) == 6 {
		if err := c.parseBegins(lines[4]); err != nil {
			return c, err
		}
		lines = append(lines[:4], lines[5])
	}
	if len(lines) != 5 || !validName(lines[0]) {
		return c, errCheckpoint
	}
	c.Origin = lines[0]
	segment, ok1 := strings.CutPrefix(lines[3], "segment ")
	moment, ok2 := strings.CutPrefix(lines[4], "time ")
	if !ok1 || !ok2 {
		return c, errCheckpoint
	}
	var number uint64
	if lines[1] != "0" { // the log when it was made
		if c.Seq, err = parseNumber(lines[1]); err != nil {
			return c, err
		}
	}
	if c.Head, err = parseHash(lines[2]); err != nil {
		return c, err
	}
	if number, err = parseNumber(segment); err != nil {
		return c, err
	}
	c.Segment = int(number)
	if c.Time, err = time.Parse(time.RFC3339, moment); err != nil {
		return c, errCheckpoint
	}
	for line := range strings.Lines(sigs) {
		s, ok := parseSignature(line)
		if !ok {
			return c, errCheckpoint
		}
		c.sigs = append(c.sigs, s)
	}
	if len(c.sigs) == 0 {
		return c, errCheckpoint
	}
	return c, nil
}

func (c *Checkpoint) parseBegins(line string) error {
	rest, ok := strings.CutPrefix(line, "begins ")
	words := strings.Split(rest, " ")
	if !ok || len(words) != 3 {
		return errCheckpoint
	}
	segment, err1 := parseNumber(words[0])
	first, err2 := parseNumber(words[1])
	prev, err3 := parseHash(words[2])
	c.Begins = Beginning{Segment: int(segment), First: first, Prev: prev}
	return errors.Join(err1, err2, err3)
}

func parseSignature(line string) (s signature, ok bool) {
	line, ok1 := strings.CutPrefix(line, sigPrefix)
	line, ok2 := strings.CutSuffix(line, "\n")
	name, text, ok3 := strings.Cut(line, " ")
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if !ok1 || !ok2 || !ok3 || !validName(name) || err != nil || len(raw) != 4+ed25519.SignatureSize {
		return s, false
	}
	return signature{name: name, id: binary.BigEndian.Uint32(raw), sig: raw[4:]}, true
}

// parseNumber reads a sequence or segment number as we write it: from 1, one
// spelling each, never so large that it overflows.
func parseNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n == 0 || n > maxSeq || s[0] == '0' || s[0] == '+' {
		return 0, errCheckpoint
	}
	return n, nil
}

func parseHash(s string) (h hash, err error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != len(h) || strings.ContainsAny(s, "\r\n") {
		return h, errCheckpoint
	}
	return hash(raw), nil
}

// validName: C2SP signed-note: a key name holds neither spaces nor "+".
func validName(s string) bool {
	return s != "" && len(s) <= 128 && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r == '+' || r <= ' ' || r == 0x7f || unsafeRune(r) })
}
