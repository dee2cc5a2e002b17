package wire

import (
	"bytes"
	"cmp"
	"slices"
)

// Edit replaces Start..End of a text.
type Edit struct {
	Start, End int
	With       []byte
}

// Splice appends src with edits applied to dst. Edits may come in any order;
// one that lies outside of src or overlaps an earlier one is ignored.
func Splice(dst, src []byte, edits []Edit) []byte {
	byStart := func(a, b Edit) int { return cmp.Compare(a.Start, b.Start) }
	if !slices.IsSortedFunc(edits, byStart) {
		edits = slices.Clone(edits)
		slices.SortStableFunc(edits, byStart)
	}
	at := 0
	for _, e := range edits {
		if e.Start < at || e.End < e.Start || e.End > len(src) {
			continue
		}
		dst = append(dst, src[at:e.Start]...)
		dst = append(dst, e.With...)
		at = e.End
	}
	return append(dst, src[at:]...)
}

// Patch edits one object by splicing: what it does not set or remove stays
// byte for byte, whitespace included. It is not safe for concurrent use.
type Patch struct {
	object  Object
	changes []change
}

// change is the last word on one key.
type change struct {
	key   string
	value []byte // nil = remove
}

// NewPatch starts a Patch of o. An absent object (zero Object) counts as {}.
func NewPatch(o Object) *Patch {
	if o.Raw == nil {
		o = Object{Raw: []byte("{}")}
	}
	return &Patch{object: o}
}

// Set replaces the value of key in place, or appends the member. value is raw
// JSON; an empty one is written as null. The last Set or Remove of a key wins.
func (p *Patch) Set(key string, value []byte) *Patch {
	if len(value) == 0 {
		value = []byte("null")
	}
	return p.change(key, value)
}

// Remove drops the member key and its comma, if there is one.
func (p *Patch) Remove(key string) *Patch { return p.change(key, nil) }

func (p *Patch) change(key string, value []byte) *Patch {
	for i := range p.changes {
		if p.changes[i].key == key {
			p.changes[i].value = value
			return p
		}
	}
	p.changes = append(p.changes, change{key: key, value: value})
	return p
}

// Bytes is the object with all changes applied; the object's own bytes, not a
// copy, when there are none to apply.
func (p *Patch) Bytes() []byte {
	var (
		edits   []Edit
		members = p.object.Members
		found   = make([]bool, len(p.changes))
		kept    = 0
	)
	for i := 0; i < len(members); {
		n := p.changeOf(members[i].Key)
		if n < 0 {
			kept++
			i++
			continue
		}
		found[n] = true
		if value := p.changes[n].value; value != nil {
			edits = append(edits, Edit{members[i].Start, members[i].End, value})
			kept++
			i++
			continue
		}
		end := i + 1 // of the run of members that go
		for ; end < len(members); end++ {
			n := p.changeOf(members[end].Key)
			if n < 0 || p.changes[n].value != nil {
				break
			}
			found[n] = true
		}
		switch {
		case end < len(members): // with the comma behind it
			edits = append(edits, Edit{Start: members[i].From, End: members[end].From})
		case kept > 0: // with the comma before it
			edits = append(edits, Edit{Start: members[i-1].To, End: members[end-1].To})
		default:
			edits = append(edits, Edit{Start: members[i].From, End: members[end-1].To})
		}
		i = end
	}
	if added := p.added(found, kept > 0); len(added) > 0 {
		at := bytes.IndexByte(p.object.Raw, '{') + 1
		if len(members) > 0 {
			at = members[len(members)-1].To
		}
		edits = append(edits, Edit{at, at, added})
	}
	if len(edits) == 0 {
		return p.object.Raw
	}
	size := len(p.object.Raw)
	for _, e := range edits {
		size += len(e.With) - (e.End - e.Start)
	}
	return Splice(make([]byte, 0, size), p.object.Raw, edits)
}

func (p *Patch) changeOf(key string) int {
	return slices.IndexFunc(p.changes, func(c change) bool { return c.key == key })
}

// added is the text of the members that the object did not have.
func (p *Patch) added(found []bool, comma bool) []byte {
	var text []byte
	for i, c := range p.changes {
		if found[i] || c.value == nil {
			continue
		}
		if comma {
			text = append(text, ',')
		}
		comma = true
		text = append(AppendString(text, c.key), ':')
		text = append(text, c.value...)
	}
	return text
}
