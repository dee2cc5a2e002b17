package federation

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"

	"github.com/ostiary/ostiary/gateway/wire"
)

// toolMembers are what the digest of a tool covers, sorted: all that an agent's
// model reads, and all that says what the tool does. Icons and what tells how
// it is run (execution) have no part in it.
var toolMembers = []string{"_meta", "annotations", "description", "inputSchema", "name", "outputSchema", "title"}

// digest names a definition by what it says: hex SHA-256 of its canonical text.
// Of a tool it covers toolMembers, of everything else the whole definition.
//
// The canonical text has no white space; the members of each object are sorted
// by the UTF-8 bytes of their keys; strings are written with the escapes that
// JSON demands alone; arrays keep their order; numbers stay as written, so 1.0
// and 1 differ: what a number means is not ours to say (promise 4). It is what
// Python's json.dumps gives with sort_keys=True, ensure_ascii=False and
// separators=(",", ":"), numbers aside. testdata/digests.json has vectors.
func digest(k Kind, object wire.Object) string {
	c := canons.Get().(*canon)
	c.out, c.raw, c.i = c.out[:0], object.Raw, 0
	if k == Tool {
		c.only(object, toolMembers)
	} else {
		c.value()
	}
	sum := sha256.Sum256(c.out)
	if cap(c.out) <= keptCanon {
		c.raw = nil
		canons.Put(c)
	}
	return hex.EncodeToString(sum[:])
}

// canons are used again: a namespace of 10,000 tools is digested at once. A
// rare long one is left to the collector.
var canons = sync.Pool{New: func() any { return new(canon) }}

const keptCanon = 64 << 10

// canonical is the canonical text of raw, a compact JSON value that wire.Check
// let pass.
func canonical(raw []byte) []byte {
	c := canon{raw: raw, out: make([]byte, 0, len(raw))}
	c.value()
	return c.out
}

// canon rewrites one JSON value on a single walk. It recurses as deep as the
// value is nested, which wire.Check bounds.
type canon struct {
	raw     []byte
	i       int
	out     []byte
	members []canonMember // of the objects that are open
	scratch []byte
}

// canonMember is one `"key":value` in the output.
type canonMember struct {
	key      []byte // unescaped
	from, to int
}

// only writes an object of these members of o, which are sorted.
func (c *canon) only(o wire.Object, names []string) {
	c.out = append(c.out, '{')
	for _, name := range names {
		raw, ok := o.Get(name)
		if !ok {
			continue
		}
		if len(c.out) > 1 {
			c.out = append(c.out, ',')
		}
		c.out = append(wire.AppendString(c.out, name), ':')
		c.raw, c.i = raw, 0
		c.value()
	}
	c.out = append(c.out, '}')
}

func (c *canon) value() {
	switch c.raw[c.i] {
	case '{':
		c.object()
	case '[':
		c.array()
	case '"':
		c.text()
	default: // a number or a word
		end := c.i
		for end < len(c.raw) && c.raw[end] != ',' && c.raw[end] != ']' && c.raw[end] != '}' {
			end++
		}
		c.out = append(c.out, c.raw[c.i:end]...)
		c.i = end
	}
}

func (c *canon) array() {
	c.out = append(c.out, '[')
	for c.i++; c.raw[c.i] != ']'; {
		if c.raw[c.i] == ',' {
			c.out = append(c.out, ',')
			c.i++
		}
		c.value()
	}
	c.out = append(c.out, ']')
	c.i++
}

func (c *canon) object() {
	start, first := len(c.out)+1, len(c.members)
	c.out = append(c.out, '{')
	sorted := true
	for c.i++; c.raw[c.i] != '}'; {
		if c.raw[c.i] == ',' {
			c.out = append(c.out, ',')
			c.i++
		}
		from := len(c.out)
		key := c.key()
		if n := len(c.members); sorted && n > first {
			sorted = bytes.Compare(c.members[n-1].key, key) < 0
		}
		c.members = append(c.members, canonMember{key: key, from: from})
		at := len(c.members) - 1
		c.out = append(c.out, ':')
		c.i++
		c.value()
		c.members[at].to = len(c.out)
	}
	if !sorted {
		c.sort(start, c.members[first:])
	}
	clear(c.members[first:]) // no key keeps its definition alive
	c.members = c.members[:first]
	c.out = append(c.out, '}')
	c.i++
}

// sort puts the members of the object that begins at start in order.
func (c *canon) sort(start int, members []canonMember) {
	slices.SortFunc(members, func(a, b canonMember) int { return cmp.Or(bytes.Compare(a.key, b.key), a.from-b.from) })
	c.scratch = append(c.scratch[:0], c.out[start:]...)
	c.out = c.out[:start]
	for n, m := range members {
		if n > 0 {
			c.out = append(c.out, ',')
		}
		c.out = append(c.out, c.scratch[m.from-start:m.to-start]...)
	}
}

// text writes the string that comes next, and returns it as it stood there.
func (c *canon) text() (quoted []byte) {
	end, odd := c.i+1, false
	for c.raw[end] != '"' {
		if c.raw[end] == '\\' {
			end++
			odd = odd || c.raw[end] == 'u' || c.raw[end] == '/' // the others are demanded
		}
		end++
	}
	quoted = c.raw[c.i : end+1]
	c.i = end + 1
	if odd {
		s, _ := wire.Unquote(quoted) // wire.Check let no half of a surrogate pair through
		c.out = wire.AppendString(c.out, s)
	} else {
		c.out = append(c.out, quoted...)
	}
	return quoted
}

// key writes the key that comes next; it returns what it says.
func (c *canon) key() []byte {
	quoted := c.text()
	if bytes.IndexByte(quoted, '\\') >= 0 {
		s, _ := wire.Unquote(quoted)
		return []byte(s)
	}
	return quoted[1 : len(quoted)-1]
}
