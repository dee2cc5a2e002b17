package federation

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/ostiary/ostiary/gateway/wire"
)

// Bounds of one line of a Diff, in characters.
const (
	diffContext = 40  // shown on either side of what differs in a text
	diffValue   = 300 // shown of a value
)

// nothing stands in a Diff where there is no value.
const nothing = "(none)"

// Diff says in words what differs between the two definitions: one line for
// each value, "JSON pointer (RFC 6901): before → after", in at most limit
// bytes; a last line counts what did not fit. Long texts are cut to what
// differs; what can't be seen, and letters of another alphabet inside a Latin
// word, are shown as \u escapes.
func (d *Drift) Diff(limit int) string {
	w := &differ{limit: limit}
	w.compare("", canonical(d.Before), canonical(d.After))
	if w.more > 0 {
		fmt.Fprintf(&w.out, "… and %d more", w.more)
	}
	return strings.TrimSuffix(w.out.String(), "\n")
}

// differ writes a Diff. The values that it compares are canonical, so equal
// ones have equal bytes.
type differ struct {
	out   strings.Builder
	limit int
	more  int // lines that did not fit
}

// line writes one difference; a value of nil is none.
func (w *differ) line(path string, before, after []byte) {
	const room = len("… and 1000000 more")
	if w.more > 0 || len(path) > w.limit {
		w.more++
		return
	}
	x, y := show(before, after)
	line := visible(path) + ": " + x + " → " + y + "\n"
	if w.out.Len()+len(line)+room > w.limit {
		w.more++
		return
	}
	w.out.WriteString(line)
}

func (w *differ) compare(path string, a, b []byte) {
	if bytes.Equal(a, b) {
		return
	}
	if x, err := wire.Fields(a); err == nil {
		if y, err := wire.Fields(b); err == nil {
			w.objects(path, x, y)
			return
		}
	}
	if x, err := wire.Elements(a); err == nil {
		if y, err := wire.Elements(b); err == nil {
			w.arrays(path, x, y)
			return
		}
	}
	w.line(path, a, b)
}

// objects merges the members of both, which are sorted.
func (w *differ) objects(path string, a, b wire.Object) {
	i, j := 0, 0
	for i < len(a.Members) || j < len(b.Members) {
		var order int
		switch {
		case i == len(a.Members):
			order = 1
		case j == len(b.Members):
			order = -1
		default:
			order = strings.Compare(a.Members[i].Key, b.Members[j].Key)
		}
		switch {
		case order < 0:
			m := a.Members[i]
			w.line(path+"/"+pointer(m.Key), a.Raw[m.Start:m.End], nil)
			i++
		case order > 0:
			m := b.Members[j]
			w.line(path+"/"+pointer(m.Key), nil, b.Raw[m.Start:m.End])
			j++
		default:
			m, n := a.Members[i], b.Members[j]
			w.compare(path+"/"+pointer(m.Key), a.Raw[m.Start:m.End], b.Raw[n.Start:n.End])
			i, j = i+1, j+1
		}
	}
}

// arrays leaves out what both begin and end with. Of the rest, elements are
// compared one by one if there are as many; else they went, and others came.
func (w *differ) arrays(path string, a, b [][]byte) {
	start := 0
	for start < min(len(a), len(b)) && bytes.Equal(a[start], b[start]) {
		start++
	}
	a, b = a[start:], b[start:]
	for len(a) > 0 && len(b) > 0 && bytes.Equal(a[len(a)-1], b[len(b)-1]) {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	at := func(n int) string { return fmt.Sprintf("%s/%d", path, start+n) }
	if len(a) == len(b) {
		for n := range a {
			w.compare(at(n), a[n], b[n])
		}
		return
	}
	for n := range a {
		w.line(at(n), a[n], nil)
	}
	for n := range b {
		w.line(at(n), nil, b[n])
	}
}

// pointer escapes a key, RFC 6901 3.
func pointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// one is a value for a line.
func one(raw []byte) string {
	if raw == nil {
		return nothing
	}
	runes := []rune(string(raw[:min(len(raw), 4*diffValue)]))
	if len(runes) > diffValue || len(raw) > 4*diffValue {
		return visible(string(runes[:min(len(runes), diffValue)])) + "…"
	}
	return visible(string(runes))
}

// show is a pair of values for a line: two texts are cut to what differs.
func show(a, b []byte) (string, string) {
	x, isText := wire.Unquote(a)
	y, both := wire.Unquote(b)
	if !isText || !both {
		return one(a), one(b)
	}
	before, after := []rune(x), []rune(y)
	start := 0
	for start < min(len(before), len(after)) && before[start] == after[start] {
		start++
	}
	end := 0
	for end < min(len(before), len(after))-start && before[len(before)-1-end] == after[len(after)-1-end] {
		end++
	}
	from, tail := max(start-diffContext, 0), max(end-diffContext, 0)
	return excerpt(before, from, len(before)-tail), excerpt(after, from, len(after)-tail)
}

func excerpt(text []rune, from, to int) string {
	head, foot := "", ""
	if from > 0 {
		head = "…"
	}
	if to-from > diffValue {
		to = from + diffValue
	}
	if to < len(text) {
		foot = "…"
	}
	return head + visible(string(wire.AppendString(nil, string(text[from:to])))) + foot
}

// visible writes what can't be seen in s as \u escapes, and letters of other
// alphabets in words that are otherwise Latin.
func visible(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= unicode.MaxASCII }) < 0 {
		return s
	}
	var odd []string
	for word := range wordsOf(s) {
		if mixed(word) && !slices.Contains(odd, word) {
			odd = append(odd, word)
		}
	}
	for _, word := range odd {
		s = strings.ReplaceAll(s, word, escaped(word, func(r rune) bool { return r >= unicode.MaxASCII }))
	}
	return escaped(s, invisible)
}

func escaped(s string, which func(rune) bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case !which(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
