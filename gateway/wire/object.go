package wire

import (
	"errors"
	"slices"
)

// Member is one member of an Object.
type Member struct {
	Key        string // unescaped
	Start, End int    // of the value in Object.Raw
	From, To   int    // of `"key": value` in Object.Raw, no comma

	known bool // Key is one of our words, spelled exactly: no variant of another
}

// Object is a shallow index of one JSON object. The zero Object stands for an
// absent one. It is read-only and safe to share.
type Object struct {
	Raw     []byte
	Members []Member
}

// ErrNotArray: Elements was given something that is not a JSON array.
var ErrNotArray = errors.New("not a JSON array")

// Fields indexes one JSON object that was validated before (by Parse,
// ParseAnswer or Check); what lies inside its values is not looked at.
// Anything else than an object is ErrNotObject.
func Fields(raw []byte) (Object, error) {
	members, ok := index(nil, raw)
	if !ok {
		return Object{}, ErrNotObject
	}
	return Object{Raw: raw, Members: members}, nil
}

// index appends the members of the object in raw to dst.
func index(dst []Member, raw []byte) ([]Member, bool) {
	c := cursor{raw: raw}
	dst, ok := c.object(dst, nil)
	c.space()
	return dst, ok && c.i == len(raw)
}

// nest asks object to index one member too, on the same walk, where that member
// is an object. It gets the index in members, with offsets from the member's
// own start.
type nest struct {
	key     string
	members []Member
	inside  *nest
}

// object steps over the object that comes next and appends its members to dst.
func (c *cursor) object(dst []Member, n *nest) ([]Member, bool) {
	if !c.take('{') {
		return dst, false
	}
	if c.take('}') {
		return dst, true
	}
	for {
		from, keyEnd, ok := c.key()
		if !ok {
			return dst, false
		}
		key, known := name(c.raw[from:keyEnd])
		start, end, ok := c.member(key, n)
		if !ok {
			return dst, false
		}
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, len(dst)+4) // doubling: append alone copies large indexes more often
		}
		dst = append(dst, Member{Key: key, Start: start, End: end, From: from, To: end, known: known})
		if c.take('}') {
			return dst, true
		}
		if !c.take(',') {
			return dst, false
		}
	}
}

// member steps over the value of the member key.
func (c *cursor) member(key string, n *nest) (start, end int, ok bool) {
	c.space()
	if n == nil || n.key != key || c.i >= len(c.raw) || c.raw[c.i] != '{' {
		return c.value()
	}
	inner := cursor{raw: c.raw[c.i:]}
	n.members, ok = inner.object(n.members[:0], n.inside)
	start = c.i
	c.i += inner.i
	return start, c.i, ok
}

// Get is the raw value of a member.
func (o Object) Get(key string) ([]byte, bool) {
	for i := range o.Members {
		if m := &o.Members[i]; m.Key == key {
			return o.Raw[m.Start:m.End:m.End], true
		}
	}
	return nil, false
}

// String is the unescaped value of a member that is a string.
func (o Object) String(key string) (string, bool) {
	raw, ok := o.Get(key)
	if !ok {
		return "", false
	}
	return Unquote(raw)
}

// Elements are the raw values of one JSON array that was validated before.
// Anything else than an array is ErrNotArray.
func Elements(raw []byte) ([][]byte, error) {
	var all [][]byte
	c := cursor{raw: raw}
	if !c.take('[') {
		return nil, ErrNotArray
	}
	if !c.take(']') {
		for {
			start, end, ok := c.value()
			if !ok {
				return nil, ErrNotArray
			}
			all = append(all, raw[start:end:end])
			if c.take(']') {
				break
			}
			if !c.take(',') {
				return nil, ErrNotArray
			}
		}
	}
	if c.space(); c.i != len(raw) {
		return nil, ErrNotArray
	}
	return all, nil
}
