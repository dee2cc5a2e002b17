package wire

import (
	"slices"
	"strconv"
)

// Span is where a value lies in a text: Start..End.
type Span struct{ Start, End int }

// Located is a value that Locate found, and the tokens that lead to it alone.
type Located struct {
	Span
	Tokens []string
}

// Locate finds the values that tokens lead to in a valid JSON text, in the
// order of the text: those of an RFC 6901 JSON pointer, where a token equal to
// any stands for every index and every key. A name that occurs twice leads to
// both values. Of values inside each other, which any can't find, there are
// none. No tokens lead to the whole text.
func Locate(raw []byte, tokens []string, any string) []Located {
	l := locator{cursor: cursor{raw: raw}, any: any}
	l.value(tokens)
	return l.found
}

// locator is a cursor on its way to what tokens lead to.
type locator struct {
	cursor
	any   string
	at    []string // the tokens on the way to where the cursor is
	found []Located
}

// value steps over one value, and notes what tokens lead to in it. false ends
// the walk.
func (l *locator) value(tokens []string) bool {
	if len(tokens) == 0 {
		start, end, ok := l.cursor.value()
		if ok {
			l.found = append(l.found, Located{Span{start, end}, slices.Clone(l.at)})
		}
		return ok
	}
	switch {
	case l.take('{'):
		return l.take('}') || l.members(tokens)
	case l.take('['):
		return l.take(']') || l.elements(tokens)
	}
	_, _, ok := l.cursor.value()
	return ok
}

func (l *locator) members(tokens []string) bool {
	for {
		from, keyEnd, ok := l.key()
		if !ok {
			return false
		}
		key, _ := name(l.raw[from:keyEnd])
		if !l.step(tokens, key, key == tokens[0]) {
			return false
		}
		if !l.take(',') {
			return l.take('}')
		}
	}
}

func (l *locator) elements(tokens []string) bool {
	for n := 0; ; n++ {
		index := strconv.Itoa(n)
		if !l.step(tokens, index, index == tokens[0]) {
			return false
		}
		if !l.take(',') {
			return l.take(']')
		}
	}
}

// step steps over the value at key, and into it where tokens lead there.
func (l *locator) step(tokens []string, key string, leads bool) bool {
	if !leads && tokens[0] != l.any {
		_, _, ok := l.cursor.value()
		return ok
	}
	l.at = append(l.at, key)
	ok := l.value(tokens[1:])
	l.at = l.at[:len(l.at)-1]
	return ok
}

// Scalar is one string or number of a JSON text: where it lies, and the key of
// the object that it is the value of, or that an array of it is; "" at the top.
type Scalar struct {
	Span
	Key string
}

// Scalars are all strings and numbers of a valid JSON text that are values, in
// the order of the text. Keys are none.
func Scalars(raw []byte) []Scalar {
	c := cursor{raw: raw}
	return c.scalars(nil, "")
}

func (c *cursor) scalars(found []Scalar, key string) []Scalar {
	c.space()
	switch {
	case c.take('{'):
		for !c.take('}') {
			from, keyEnd, ok := c.key()
			if !ok {
				return found
			}
			inner, _ := name(c.raw[from:keyEnd])
			found = c.scalars(found, inner)
			c.take(',')
		}
		return found
	case c.take('['):
		for !c.take(']') {
			if c.i >= len(c.raw) {
				return found
			}
			found = c.scalars(found, key)
			c.take(',')
		}
		return found
	}
	start, end, ok := c.value()
	if ok && (c.raw[start] == '"' || c.raw[start] == '-' || c.raw[start] >= '0' && c.raw[start] <= '9') {
		found = append(found, Scalar{Span{start, end}, key})
	}
	if !ok {
		c.i = len(c.raw)
	}
	return found
}
