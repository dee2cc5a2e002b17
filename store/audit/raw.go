package audit

import "unicode/utf8"

// maxNesting is deeper than any message that the gateway accepts (64 levels).
const maxNesting = 128

// appendRaw appends the JSON value v without the white space between its
// tokens, so that it can't break the line, and with unsafe characters in its
// strings escaped; numbers and escapes stay as written. What is not one JSON
// value is appended as a string of its bytes: it must not shape the line.
func appendRaw(b, v []byte) []byte {
	start := len(b)
	c := compactor{in: v, out: b}
	if c.value(0) {
		c.space()
		if c.at == len(v) {
			return c.out
		}
	}
	return appendString(b[:start], v)
}

// compactor is one pass over a JSON text.
type compactor struct {
	in  []byte
	at  int
	out []byte
}

func (c *compactor) space() {
	for c.at < len(c.in) {
		switch c.in[c.at] {
		case ' ', '\t', '\n', '\r':
			c.at++
		default:
			return
		}
	}
}

// peek returns the next byte after white space, 0 at the end.
func (c *compactor) peek() byte {
	c.space()
	if c.at == len(c.in) {
		return 0
	}
	return c.in[c.at]
}

// take copies the next byte after white space if it is want.
func (c *compactor) take(want byte) bool {
	if c.peek() != want {
		return false
	}
	c.out = append(c.out, want)
	c.at++
	return true
}

func (c *compactor) value(depth int) bool {
	if depth > maxNesting {
		return false
	}
	switch c.peek() {
	case '{':
		return c.items('{', '}', func() bool {
			return c.peek() == '"' && c.text() && c.take(':') && c.value(depth+1)
		})
	case '[':
		return c.items('[', ']', func() bool { return c.value(depth + 1) })
	case '"':
		return c.text()
	case 't':
		return c.word("true")
	case 'f':
		return c.word("false")
	case 'n':
		return c.word("null")
	default:
		return c.number()
	}
}

func (c *compactor) items(open, end byte, item func() bool) bool {
	c.take(open)
	if c.take(end) {
		return true
	}
	for item() {
		if c.take(end) {
			return true
		}
		if !c.take(',') {
			return false
		}
	}
	return false
}

func (c *compactor) word(w string) bool {
	if len(c.in)-c.at < len(w) || string(c.in[c.at:c.at+len(w)]) != w {
		return false
	}
	c.out = append(c.out, w...)
	c.at += len(w)
	return true
}

func (c *compactor) number() bool {
	start := c.at
	if c.at < len(c.in) && c.in[c.at] == '-' {
		c.at++
	}
	if c.at < len(c.in) && c.in[c.at] == '0' {
		c.at++
	} else if !c.digits() {
		return false
	}
	if c.at < len(c.in) && c.in[c.at] == '.' {
		c.at++
		if !c.digits() {
			return false
		}
	}
	if c.at < len(c.in) && c.in[c.at]|0x20 == 'e' {
		c.at++
		if c.at < len(c.in) && (c.in[c.at] == '+' || c.in[c.at] == '-') {
			c.at++
		}
		if !c.digits() {
			return false
		}
	}
	c.out = append(c.out, c.in[start:c.at]...)
	return true
}

func (c *compactor) digits() bool {
	start := c.at
	for c.at < len(c.in) && c.in[c.at] >= '0' && c.in[c.at] <= '9' {
		c.at++
	}
	return c.at > start
}

// text copies a string that begins at the current byte.
func (c *compactor) text() bool {
	c.out = append(c.out, '"')
	c.at++
	for {
		start := c.at
		for c.at < len(c.in) && plain[c.in[c.at]] {
			c.at++
		}
		c.out = append(c.out, c.in[start:c.at]...)
		if c.at == len(c.in) {
			return false
		}
		switch b := c.in[c.at]; {
		case b == '"':
			c.out = append(c.out, '"')
			c.at++
			return true
		case b == '\\':
			n := escapeLen(c.in[c.at:])
			if n == 0 {
				return false
			}
			c.out = append(c.out, c.in[c.at:c.at+n]...)
			c.at += n
		case b < 0x20:
			return false
		default: // DEL or above ASCII
			r, n := utf8.DecodeRune(c.in[c.at:])
			if r == utf8.RuneError && n == 1 {
				return false
			}
			if unsafeRune(r) {
				c.out = appendEscape(c.out, r)
			} else {
				c.out = append(c.out, c.in[c.at:c.at+n]...)
			}
			c.at += n
		}
	}
}

// escapeLen is the length of the escape that s begins with, 0 if it is none.
func escapeLen(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(s) < 6 {
			return 0
		}
		for _, h := range s[2:6] {
			if !(h >= '0' && h <= '9' || h|0x20 >= 'a' && h|0x20 <= 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}
