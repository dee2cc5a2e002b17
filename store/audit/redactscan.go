package audit

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

var (
	errNotJSON = errors.New("not one JSON value")
	errEnough  = errors.New("enough was read") // no more is wanted of the output
)

// pass is one pass over a JSON text that copies it, from its first replaced
// value on.
type pass struct {
	r    *Redactor
	in   []byte
	at   int
	from int // of what is not in out yet
	out  []byte
	most int
	n    int

	aims [][]string // pointers of the target, without their leaf
	here bool       // one is the whole value
	deep int        // how many strings this text is in
	buf  []byte     // of a string that has escapes
}

// aim selects the pointers that are about a target; bit i of the mask is aims[i].
func (s *pass) aim(upstream, tool, leaf string) (mask uint64) {
	for _, p := range s.r.pointers {
		switch {
		case p.leaf != leaf || p.upstream != "" && p.upstream != upstream || p.tool != "" && p.tool != tool:
		case len(p.path) == 0:
			s.here = true
		default:
			mask |= 1 << len(s.aims)
			s.aims = append(s.aims, p.path)
		}
	}
	return mask
}

// step follows the pointers in mask from depth into the member called name.
func (s *pass) step(mask uint64, depth int, name []byte) (hit bool, next uint64) {
	for i, path := range s.aims {
		if mask&(1<<i) == 0 || path[depth] != "*" && path[depth] != string(name) {
			continue
		}
		if len(path) == depth+1 {
			return true, 0
		}
		next |= 1 << i
	}
	return false, next
}

func (s *pass) space() {
	for s.at < len(s.in) {
		switch s.in[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// peek returns the next byte after white space, 0 at the end.
func (s *pass) peek() byte {
	s.space()
	if s.at == len(s.in) {
		return 0
	}
	return s.in[s.at]
}

// take goes over the next byte after white space if it is want.
func (s *pass) take(want byte) bool {
	if s.peek() != want {
		return false
	}
	s.at++
	return true
}

// value goes over a value that no pointer and no key redacts as a whole.
func (s *pass) value(depth int, mask uint64) error {
	if depth > maxNesting {
		return errNotJSON
	}
	switch s.peek() {
	case '{':
		return s.items('}', func(int) error { return s.member(depth, mask) })
	case '[':
		var digits [20]byte
		return s.items(']', func(i int) error {
			hit, next := false, uint64(0)
			if mask != 0 {
				hit, next = s.step(mask, depth, strconv.AppendInt(digits[:0], int64(i), 10))
			}
			if hit {
				return s.replaceNext(whyPointer)
			}
			return s.value(depth+1, next)
		})
	case '"':
		start := s.at
		text, err := s.text()
		if err != nil {
			return err
		}
		return s.inspect(start, text)
	}
	start := s.at
	word, err := s.bare()
	if err != nil {
		return err
	}
	if s.r.cards && number(word) && cardNumber(word) {
		return s.replace(start, word, whyCard)
	}
	return nil
}

// inspect redacts a string that ends here if the detectors say so. Of one that
// holds nothing but parameters, as a URL with a token does, the rest is shown.
func (s *pass) inspect(start int, text []byte) error {
	if s.holdsSecrets(text) {
		return s.replace(start, text, whyKey)
	}
	first, end, why := s.r.find(text, 0)
	if why == "" {
		return nil
	}
	inside := start + 1
	for to, next := end, why; next != ""; _, to, next = s.r.find(text, to) {
		if next != whyParameter || inside+len(text) != s.at-1 { // or it has escapes
			return s.replace(start, text, next)
		}
	}
	for why != "" {
		if err := s.cut(inside+first, inside+end, text[first:end], why); err != nil {
			return err
		}
		first, end, why = s.r.find(text, end)
	}
	return nil
}

// maxStrings bounds how deep JSON in strings in JSON is looked into.
const maxStrings = 8

// holdsSecrets says whether text is JSON, or begins as JSON, with a secret in it.
func (s *pass) holdsSecrets(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	if len(text) < minSecret || text[0] != '{' && text[0] != '[' || s.deep == maxStrings {
		return false
	}
	in := pass{r: s.r, in: text, deep: s.deep + 1}
	_ = in.value(0, 0) // whatever it is: what could be followed counts
	return in.n > 0
}

func (s *pass) items(end byte, item func(int) error) error {
	s.at++
	if s.take(end) {
		return nil
	}
	for i := 0; ; i++ {
		if err := item(i); err != nil {
			return err
		}
		if s.take(end) {
			return nil
		}
		if !s.take(',') {
			return errNotJSON
		}
	}
}

func (s *pass) member(depth int, mask uint64) error {
	if s.peek() != '"' {
		return errNotJSON
	}
	start := s.at
	name, err := s.text()
	if err != nil {
		return err
	}
	hit, next := false, uint64(0)
	if mask != 0 {
		hit, next = s.step(mask, depth, name)
	}
	secret := !hit && s.r.secretKey(name)
	if err := s.inspect(start, name); err != nil {
		return err
	}
	if !s.take(':') {
		return errNotJSON
	}
	if hit {
		return s.replaceNext(whyPointer)
	}
	if secret && s.tells() {
		return s.replaceNext(whyKey)
	}
	return s.value(depth+1, next)
}

// tells says whether the next value tells anything: an empty one doesn't, and
// whether there is a secret is none.
func (s *pass) tells() bool {
	switch s.peek() {
	case 't', 'f', 'n':
		return false
	case '"':
		return s.at+1 < len(s.in) && s.in[s.at+1] != '"'
	}
	return true
}

// replaceNext replaces the next value, whatever it is. A string is hashed by
// its characters, however they are written; anything else by its bytes.
func (s *pass) replaceNext(why string) error {
	if s.peek() == '"' {
		start := s.at
		text, err := s.text()
		if err != nil {
			return err
		}
		return s.replace(start, text, why)
	}
	start := s.at
	if err := s.skip(); err != nil {
		return err
	}
	return s.replace(start, s.in[start:s.at], why)
}

// skip goes over a value by its brackets.
func (s *pass) skip() error {
	for depth := 0; ; {
		switch c := s.peek(); c {
		case '{', '[':
			depth++
			s.at++
		case '}', ']', ',', ':':
			if depth == 0 {
				return errNotJSON
			}
			if c == '}' || c == ']' {
				depth--
			}
			s.at++
		case '"':
			if _, err := s.text(); err != nil {
				return err
			}
		default:
			if _, err := s.bare(); err != nil {
				return err
			}
		}
		if depth == 0 {
			return nil
		}
	}
}

// replace puts the mark of value, as a string, in the place of the bytes from
// start to here.
func (s *pass) replace(start int, value []byte, why string) error {
	var buf [64]byte
	mark := append(buf[:0], '"')
	return s.put(start, s.at, append(s.r.appendMark(mark, value, why), '"'))
}

// cut puts the mark of value in the place of a part of a string.
func (s *pass) cut(start, end int, value []byte, why string) error {
	var buf [64]byte
	return s.put(start, end, s.r.appendMark(buf[:0], value, why))
}

func (s *pass) put(start, end int, mark []byte) error {
	s.n++
	fits := s.emit(s.in[s.from:start])
	s.from = end
	if !fits || !s.emit(mark) {
		return errEnough
	}
	return nil
}

// emit appends as much of b as is wanted, and says whether that was all.
func (s *pass) emit(b []byte) bool {
	room := s.most - len(s.out)
	s.out = append(s.out, b[:min(room, len(b))]...)
	return len(b) <= room
}

// bare goes over a number, true, false or null.
func (s *pass) bare() ([]byte, error) {
	start := s.at
	for s.at < len(s.in) {
		switch c := s.in[s.at]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c == 'E', c == '+', c == '-', c == '.':
			s.at++
			continue
		}
		break
	}
	word := s.in[start:s.at]
	switch string(word) {
	case "true", "false", "null":
		return word, nil
	}
	if !number(word) {
		return nil, errNotJSON
	}
	return word, nil
}

func number(word []byte) bool {
	for _, c := range word {
		if (c < '0' || c > '9') && c != 'e' && c != 'E' && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	return len(word) > 0
}

// text goes over a string and returns its characters, valid until the next.
func (s *pass) text() ([]byte, error) {
	start := s.at + 1
	end := start
	escaped := false
	for quote := start - 1; ; { // each byte is searched once for either
		if quote < end {
			i := bytes.IndexByte(s.in[end:], '"')
			if i < 0 {
				return nil, errNotJSON
			}
			quote = end + i
		}
		i := bytes.IndexByte(s.in[end:quote], '\\')
		if i < 0 {
			end = quote
			break
		}
		escaped = true
		end += i + 2
		if end > len(s.in) {
			return nil, errNotJSON
		}
	}
	s.at = end + 1
	if !escaped {
		return s.in[start:end], nil
	}
	var err error
	s.buf, err = appendUnescaped(s.buf[:0], s.in[start:end])
	return s.buf, err
}

var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// appendUnescaped appends the characters that the inside of a JSON string
// stands for; half a surrogate pair becomes U+FFFD, as in encoding/json.
func appendUnescaped(b, in []byte) ([]byte, error) {
	for len(in) > 0 {
		i := bytes.IndexByte(in, '\\')
		if i < 0 {
			return append(b, in...), nil
		}
		b, in = append(b, in[:i]...), in[i:]
		n := escapeLen(in)
		switch {
		case n == 0:
			return b, errNotJSON
		case n == 2:
			b = append(b, unescaped[in[1]])
		default:
			r := hexRune(in)
			if utf16.IsSurrogate(r) {
				low := rune(0)
				if len(in) > n && escapeLen(in[n:]) == 6 {
					low = hexRune(in[n:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					n += 6
				}
			}
			b = utf8.AppendRune(b, r)
		}
		in = in[n:]
	}
	return b, nil
}

// hexRune reads \uXXXX.
func hexRune(in []byte) rune {
	n, _ := strconv.ParseUint(string(in[2:6]), 16, 32) // escapeLen has looked
	return rune(n)
}
