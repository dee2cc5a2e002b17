package gateway

import (
	"cmp"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	// needleLeast is the length in bytes from which on a value that was masked
	// is also taken out of other text: shorter ones occur by chance.
	needleLeast = 4

	// needlesMost bounds the values that are searched for. Where there are more,
	// all text is hidden.
	needlesMost = 256

	// nestedJSON is how deep JSON in strings of JSON is looked into.
	nestedJSON = 4
)

// needles are values to be taken out of text. The zero value has none. Not safe
// for concurrent use.
type needles struct {
	words   map[string]bool // strings, and numbers (true) as they were written
	tooMany bool

	inText, inJSON *strings.Replacer // of words; nil = to be made
}

func (n *needles) none() bool { return len(n.words) == 0 && !n.tooMany }

func (n *needles) clone() *needles { return &needles{words: maps.Clone(n.words), tooMany: n.tooMany} }

// take adds all strings and numbers in raw JSON values.
func (n *needles) take(values [][]byte) {
	for _, v := range values {
		for _, s := range wire.Scalars(v) {
			raw := v[s.Start:s.End]
			if raw[0] == '"' {
				if word, ok := wire.Unquote(raw); ok {
					n.add(word, false)
				}
				continue
			}
			n.add(string(raw), true)
			n.add(plainNumber(string(raw)), true)
		}
	}
}

// add notes one word.
func (n *needles) add(word string, number bool) {
	was, known := n.words[word]
	if len(word) < needleLeast || known && was == number {
		return
	}
	if len(n.words) == needlesMost && !known {
		n.tooMany = true
		return
	}
	if n.words == nil {
		n.words = make(map[string]bool)
	}
	n.words[word], n.inText, n.inJSON = number && (was || !known), nil, nil
}

// plainNumber is a number as most programs write it; "" where it is written so
// already, or can't be without rounding.
func plainNumber(word string) string {
	f, err := strconv.ParseFloat(word, 64)
	if err != nil || math.Abs(f) >= 1e21 {
		return ""
	}
	plain := strconv.FormatFloat(f, 'f', -1, 64)
	is, ok := new(big.Rat).SetString(word)
	if now, _ := new(big.Rat).SetString(plain); plain == word || !ok || is.Cmp(now) != 0 {
		return ""
	}
	return plain
}

// sweep takes all needles out of a text, also where they stand escaped in JSON,
// and in JSON that the text is.
func (n *needles) sweep(text string) string { return n.sweepDeep(text, nestedJSON) }

func (n *needles) sweepDeep(text string, depth int) string {
	switch {
	case n.none():
		return text
	case n.tooMany && text != "":
		return maskWord
	}
	if n.inText == nil {
		n.inText, n.inJSON = n.replacer(true), n.replacer(false)
	}
	if depth > 0 && isJSON(text) {
		// What is left now stands in keys. Numbers are none, and a part of another
		// number is not this one.
		return n.inJSON.Replace(string(n.sweepValues([]byte(text), depth-1)))
	}
	return n.inText.Replace(text)
}

// sweepJSON is sweep for all strings and numbers of a JSON text.
func (n *needles) sweepJSON(raw []byte) []byte {
	if n.none() {
		return raw
	}
	return n.sweepValues(raw, nestedJSON)
}

func (n *needles) sweepValues(raw []byte, depth int) []byte {
	var edits []wire.Edit
	for _, v := range wire.Scalars(raw) {
		value := raw[v.Start:v.End]
		if value[0] != '"' {
			_, ok := n.words[string(value)]
			if !ok {
				_, ok = n.words[plainNumber(string(value))]
			}
			if ok {
				edits = append(edits, wire.Edit{Start: v.Start, End: v.End, With: []byte("0")})
			}
			continue
		}
		text, ok := wire.Unquote(value)
		if !ok {
			continue
		}
		if swept := n.sweepDeep(text, depth); swept != text {
			edits = append(edits, wire.Edit{Start: v.Start, End: v.End, With: wire.AppendString(nil, swept)})
		}
	}
	return wire.Splice(nil, raw, edits)
}

// replacer replaces every needle, the longest first where several begin.
func (n *needles) replacer(numbers bool) *strings.Replacer {
	var all []string
	for word, number := range n.words {
		if number && !numbers {
			continue
		}
		all = append(all, word)
		quoted := wire.AppendString(nil, word)
		if escaped := string(quoted[1 : len(quoted)-1]); escaped != word {
			all = append(all, escaped)
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(all))
	for _, word := range all {
		pairs = append(pairs, word, maskWord)
	}
	return strings.NewReplacer(pairs...)
}
