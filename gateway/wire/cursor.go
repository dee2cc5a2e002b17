package wire

import "bytes"

// cursor walks the surface of a JSON text: it steps over whole values by
// counting brackets outside of strings. It is exact on valid JSON; on anything
// else it ends early with ok == false or at the end of the text, and never
// panics.
type cursor struct {
	raw []byte
	i   int
}

// space steps over whitespace.
func (c *cursor) space() {
	for c.i < len(c.raw) {
		switch c.raw[c.i] {
		case ' ', '\n', '\r', '\t':
			c.i++
		default:
			return
		}
	}
}

// take steps over whitespace and then over b, if b comes next.
func (c *cursor) take(b byte) bool {
	c.space()
	if c.i < len(c.raw) && c.raw[c.i] == b {
		c.i++
		return true
	}
	return false
}

// value steps over whitespace and one value and says where the value lies.
func (c *cursor) value() (start, end int, ok bool) {
	c.space()
	start = c.i
	if start >= len(c.raw) {
		return start, start, false
	}
	switch c.raw[start] {
	case '"':
		c.i, ok = stringEnd(c.raw, start)
	case '{', '[':
		c.i, ok = bracketEnd(c.raw, start)
	default:
		for c.i < len(c.raw) && !delimiter(c.raw[c.i]) {
			c.i++
		}
		ok = c.i > start
	}
	return start, c.i, ok
}

// key steps over `"name":`, with the whitespace around, and says where the
// quoted name lies.
func (c *cursor) key() (start, end int, ok bool) {
	c.space()
	start = c.i
	if start >= len(c.raw) || c.raw[start] != '"' {
		return start, start, false
	}
	end, ok = stringEnd(c.raw, start)
	c.i = end
	return start, end, ok && c.take(':')
}

// delimiter reports whether b ends a number or a literal.
func delimiter(b byte) bool {
	switch b {
	case ' ', '\n', '\r', '\t', ',', ':', '"', '{', '}', '[', ']':
		return true
	}
	return false
}

// shortString is how far stringEnd looks byte by byte before it lets IndexByte
// leap: most strings are shorter than the leap is worth.
const shortString = 16

// stringEnd is the index after the string that opens at raw[i].
func stringEnd(raw []byte, i int) (end int, ok bool) {
	j := i + 1
	for near := min(j+shortString, len(raw)); j < near; j++ {
		switch raw[j] {
		case '"':
			return j + 1, true
		case '\\':
			j++
		}
	}
	for start := j; j < len(raw); j++ {
		n := bytes.IndexByte(raw[j:], '"')
		if n < 0 {
			break
		}
		j += n
		// The quote closes the string unless an odd run of backslashes stands
		// before it. Runs of two quotes never overlap, so this stays linear.
		run := j
		for run > start && raw[run-1] == '\\' {
			run--
		}
		if (j-run)%2 == 0 {
			return j + 1, true
		}
	}
	return len(raw), false
}

// bracketEnd is the index after the object or array that opens at raw[i].
func bracketEnd(raw []byte, i int) (end int, ok bool) {
	depth := 0
	for i < len(raw) {
		switch raw[i] {
		case '"':
			if i, ok = stringEnd(raw, i); !ok {
				return i, false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1, true
			}
		}
		i++
	}
	return i, false
}
