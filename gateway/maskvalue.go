package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	schemaParts  = 64      // of a schema that are looked at for one value
	builtItems   = 64      // of an array that is made to fit
	builtString  = 4 << 10 // bytes
	choicesTried = 64      // for one value
	choicesInAll = 4 << 10 // for one document
	choiceCost   = 1 << 16 // of one of them, as schemaCost counts
)

// chooser finds neutral values for one document. It lives as long as one mask
// is applied.
type chooser struct {
	s    *schema // nil = none
	left int     // values that may still be tried
	memo map[string][]byte
}

func (s *schema) chooser() *chooser { return &chooser{s: s, left: choicesInAll} }

// neutral is what stands in place of value, a raw JSON value at these tokens of
// the document: of the same type, the same for every value of it, and fit for
// what the schema surely says of the place. false means that nothing of what is
// tried fits.
func (c *chooser) neutral(value []byte, tokens []string) ([]byte, bool) {
	must, may := c.s.at(tokens)
	var b strings.Builder // the elements of an array share a choice
	fmt.Fprint(&b, kindOf(value))
	for _, m := range slices.Concat(must, may) {
		fmt.Fprintf(&b, " %p", m)
	}
	key := b.String()
	if known, ok := c.memo[key]; ok {
		return known, known != nil
	}
	with, ok := c.choose(value, must, may)
	if c.memo == nil {
		c.memo = make(map[string][]byte)
	}
	c.memo[key] = with
	return with, ok
}

func (c *chooser) choose(value []byte, must, may []*jsonschema.Schema) ([]byte, bool) {
	for _, choice := range c.candidates(value, must, may) {
		if c.fits(choice, must) {
			return choice, true
		}
	}
	return nil, false
}

func (c *chooser) fits(candidate []byte, must []*jsonschema.Schema) bool {
	if len(must) == 0 {
		return true
	}
	if c.left--; c.left < 0 {
		return false
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(candidate))
	return err == nil && !slices.ContainsFunc(must, func(m *jsonschema.Schema) bool { return c.s.checkAt(m, v, choiceCost) != nil })
}

// at are the parts of a schema that say something of the value at tokens: those
// that must hold, and those of which some may.
func (s *schema) at(tokens []string) (must, may []*jsonschema.Schema) {
	if s == nil || s.root == nil {
		return nil, nil
	}
	must, may = around([]*jsonschema.Schema{s.root}, nil)
	for _, token := range tokens {
		must, may = step(must, may, token)
	}
	return must, may
}

// step goes on to the member or element token.
func step(must, may []*jsonschema.Schema, token string) (_, _ []*jsonschema.Schema) {
	var sure, perhaps []*jsonschema.Schema
	for _, m := range must {
		sure = append(sure, below(m, token)...)
	}
	for _, m := range may {
		perhaps = append(perhaps, below(m, token)...)
	}
	return around(sure, perhaps)
}

// around adds what schemas refer to for the same value.
func around(sure, perhaps []*jsonschema.Schema) (must, may []*jsonschema.Schema) {
	seen := make(map[*jsonschema.Schema]bool)
	var add func(m *jsonschema.Schema, surely bool)
	add = func(m *jsonschema.Schema, surely bool) {
		if m == nil || seen[m] || len(must)+len(may) >= schemaParts {
			return
		}
		seen[m] = true
		if surely {
			must = append(must, m)
		} else {
			may = append(may, m)
		}
		add(m.Ref, surely)
		add(m.RecursiveRef, surely)
		if m.DynamicRef != nil {
			add(m.DynamicRef.Ref, surely)
		}
		for _, a := range m.AllOf {
			add(a, surely)
		}
		for _, a := range slices.Concat(m.AnyOf, m.OneOf, []*jsonschema.Schema{m.Then, m.Else}) {
			add(a, false)
		}
		for _, a := range m.DependentSchemas {
			add(a, false)
		}
	}
	for _, m := range sure {
		add(m, true)
	}
	for _, m := range perhaps {
		add(m, false)
	}
	return must, may
}

// below are the schemas that m has for its member or element token.
func below(m *jsonschema.Schema, token string) []*jsonschema.Schema {
	var all []*jsonschema.Schema
	if p := m.Properties[token]; p != nil {
		all = append(all, p)
	}
	for re, p := range m.PatternProperties {
		if mine, ok := re.(*meteredPattern); ok && mine.matches(token) {
			all = append(all, p)
		}
	}
	if p, ok := m.AdditionalProperties.(*jsonschema.Schema); ok && len(all) == 0 {
		all = append(all, p)
	}
	n, err := strconv.Atoi(token)
	if err != nil {
		return all
	}
	prefix := m.PrefixItems
	if items, ok := m.Items.([]*jsonschema.Schema); ok {
		prefix = items
	}
	rest, _ := m.AdditionalItems.(*jsonschema.Schema)
	if m.Items2020 != nil {
		rest = m.Items2020
	}
	if items, ok := m.Items.(*jsonschema.Schema); ok {
		rest = items
	}
	switch {
	case n >= 0 && n < len(prefix):
		all = append(all, prefix[n])
	case rest != nil:
		all = append(all, rest)
	}
	return all
}

// candidates are values of the type of value, the best first, that the schemas
// suggest. They depend on nothing of value but its type.
func (c *chooser) candidates(value []byte, must, may []*jsonschema.Schema) [][]byte {
	all := slices.Concat(must, may)
	var choices [][]byte
	add := func(raw []byte) {
		if len(raw) > 0 && kindOf(raw) == kindOf(value) && len(choices) < choicesTried && !slices.ContainsFunc(choices, func(known []byte) bool { return bytes.Equal(known, raw) }) {
			choices = append(choices, raw)
		}
	}
	switch kindOf(value) {
	case kindString:
		for _, w := range formatWords(all) {
			add(quoted(w))
		}
		add(quoted(maskWord))
		for _, w := range lengthWords(all) {
			add(quoted(w))
		}
		for _, m := range all {
			if p, ok := m.Pattern.(*meteredPattern); ok {
				for _, w := range patternWords(p.String(), m.MinLength) {
					add(quoted(w))
				}
			}
		}
		add(quoted(""))
	case kindNumber:
		add([]byte("0"))
		for _, m := range all {
			for _, r := range numbersOf(m) {
				add(r)
			}
		}
	case kindBool:
		add([]byte("false"))
		add([]byte("true"))
	case kindArray:
		add([]byte("[]"))
		add(c.builtArray(must, may))
	case kindObject:
		add([]byte("{}"))
		add(c.builtObject(must, may))
	default:
		add([]byte("null"))
	}
	for _, m := range all {
		if m.Const != nil {
			add(rawOf(*m.Const))
		}
		if more := meteredOf(m); more != nil && more.enum != nil {
			for _, v := range more.enum.Values {
				add(rawOf(v))
			}
		}
		if m.Default != nil {
			add(rawOf(*m.Default))
		}
		for _, v := range m.Examples {
			add(rawOf(v))
		}
	}
	return choices
}

// Kinds of JSON values.
const (
	kindNull = iota
	kindString
	kindNumber
	kindBool
	kindArray
	kindObject
)

func kindOf(raw []byte) int {
	switch raw[0] {
	case '"':
		return kindString
	case 't', 'f':
		return kindBool
	case 'n':
		return kindNull
	case '[':
		return kindArray
	case '{':
		return kindObject
	}
	return kindNumber
}

func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return nil
	}
	return b
}

func rawOf(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// formatSamples are neutral values by format.
var formatSamples = map[string]string{
	"date": "1970-01-01", "date-time": "1970-01-01T00:00:00Z", "time": "00:00:00Z", "duration": "P0D",
	"email": "masked@masked.invalid", "idn-email": "masked@masked.invalid",
	"hostname": "masked.invalid", "idn-hostname": "masked.invalid", "ipv4": "0.0.0.0", "ipv6": "::",
	"uri": "urn:masked", "iri": "urn:masked", "uri-reference": "masked", "iri-reference": "masked", "uri-template": "masked",
	"uuid": "00000000-0000-0000-0000-000000000000", "json-pointer": "/masked", "relative-json-pointer": "0", "regex": "masked",
}

func formatWords(all []*jsonschema.Schema) (words []string) {
	for _, m := range all {
		if more := meteredOf(m); more != nil && formatSamples[more.format] != "" {
			words = append(words, formatSamples[more.format])
		}
	}
	return words
}

// meteredOf is what else is known of m; nil of a metaschema.
func meteredOf(m *jsonschema.Schema) *metered {
	for _, e := range m.Extensions {
		if known, ok := e.(*metered); ok {
			return known
		}
	}
	return nil
}

// lengthWords are maskWord, made longer or shorter as schemas want it.
func lengthWords(all []*jsonschema.Schema) (words []string) {
	least, most := 0, builtString
	for _, m := range all {
		if m.MinLength != nil {
			least = max(least, *m.MinLength)
		}
		if m.MaxLength != nil {
			most = min(most, *m.MaxLength)
		}
	}
	if least > builtString || most < 0 {
		return nil
	}
	word := maskWord + strings.Repeat("*", max(0, least-len(maskWord)))
	return []string{word[:min(len(word), most)]}
}

// patternWords are texts that a pattern matches: the shortest that its parts
// allow, and one as long as wanted.
func patternWords(pattern string, least *int) []string {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	parsed = parsed.Simplify()
	words := []string{matching(parsed, 0)}
	if least != nil && *least <= builtString {
		if missing := *least - utf8.RuneCountInString(words[0]); missing > 0 {
			words = append(words, matching(parsed, missing))
		}
	}
	return slices.DeleteFunc(words, func(w string) bool { return len(w) > builtString || !utf8.ValidString(w) })
}

// matching is a text that re matches, with more repetitions where there can be
// any number.
func matching(re *syntax.Regexp, more int) string {
	var b strings.Builder
	var write func(*syntax.Regexp)
	repeat := func(re *syntax.Regexp, n int) {
		for range n {
			if write(re); b.Len() > builtString {
				return
			}
		}
	}
	write = func(re *syntax.Regexp) {
		if b.Len() > builtString {
			return
		}
		switch re.Op {
		case syntax.OpLiteral:
			b.WriteString(string(re.Rune))
		case syntax.OpCharClass:
			b.WriteRune(plainOf(re.Rune))
		case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
			b.WriteByte('x')
		case syntax.OpStar:
			repeat(re.Sub[0], more)
			more = 0
		case syntax.OpPlus:
			repeat(re.Sub[0], 1+more)
			more = 0
		case syntax.OpRepeat:
			repeat(re.Sub[0], re.Min)
		case syntax.OpAlternate:
			write(re.Sub[0])
		case syntax.OpCapture, syntax.OpConcat:
			for _, sub := range re.Sub {
				write(sub)
			}
		}
	}
	write(re)
	return b.String()
}

// plainOf is a character of a class, given as pairs of bounds: a plain one if
// there is one.
func plainOf(pairs []rune) rune {
	for _, r := range "x0X_-. " {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] <= r && r <= pairs[i+1] {
				return r
			}
		}
	}
	if len(pairs) == 0 {
		return utf8.RuneError
	}
	return pairs[0]
}

// numbersOf are numbers at the bounds of what m allows.
func numbersOf(m *jsonschema.Schema) (numbers [][]byte) {
	one := big.NewRat(1, 1)
	add := func(r *big.Rat) {
		if r == nil {
			return
		}
		if r.IsInt() {
			numbers = append(numbers, []byte(r.Num().String()))
			return
		}
		f, _ := r.Float64()
		numbers = append(numbers, rawOf(f))
		// The next whole number up, for the schemas that want one.
		up := new(big.Int).Add(new(big.Int).Div(r.Num(), r.Denom()), big.NewInt(1))
		numbers = append(numbers, []byte(up.String()))
	}
	add(m.Minimum)
	add(m.Maximum)
	if m.ExclusiveMinimum != nil {
		add(new(big.Rat).Add(m.ExclusiveMinimum, one))
	}
	if m.ExclusiveMaximum != nil {
		add(new(big.Rat).Sub(m.ExclusiveMaximum, one))
	}
	if m.ExclusiveMinimum != nil && m.ExclusiveMaximum != nil {
		add(new(big.Rat).Quo(new(big.Rat).Add(m.ExclusiveMinimum, m.ExclusiveMaximum), big.NewRat(2, 1)))
	}
	if m.MultipleOf != nil && m.MultipleOf.Sign() > 0 {
		add(m.MultipleOf)
		for _, least := range []*big.Rat{m.Minimum, m.ExclusiveMinimum} {
			if least == nil {
				continue
			}
			n := new(big.Rat).Quo(least, m.MultipleOf)
			steps := new(big.Int).Add(new(big.Int).Div(n.Num(), n.Denom()), big.NewInt(1))
			add(new(big.Rat).Mul(new(big.Rat).SetInt(steps), m.MultipleOf))
		}
	}
	return numbers
}

// builtArray has as many elements as the schemas want.
func (c *chooser) builtArray(must, may []*jsonschema.Schema) []byte {
	least := 0
	for _, m := range must {
		if m.MinItems != nil {
			least = max(least, *m.MinItems)
		}
	}
	if least == 0 || least > builtItems {
		return nil
	}
	b := []byte{'['}
	for n := range least {
		element := c.built(must, may, strconv.Itoa(n))
		if element == nil {
			return nil
		}
		if n > 0 {
			b = append(b, ',')
		}
		b = append(b, element...)
	}
	return append(b, ']')
}

// builtObject has the members that the schemas require.
func (c *chooser) builtObject(must, may []*jsonschema.Schema) []byte {
	var required []string
	for _, m := range must {
		required = append(required, m.Required...)
	}
	slices.Sort(required)
	b := []byte{'{'}
	for i, key := range slices.Compact(required) {
		member := c.built(must, may, key)
		if member == nil {
			return nil
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, quoted(key)...), ':'), member...)
	}
	return append(b, '}')
}

// built is a value for a member or an element that there was none of before.
func (c *chooser) built(must, may []*jsonschema.Schema, token string) []byte {
	if c.left--; c.left < 0 {
		return nil
	}
	must, may = step(must, may, token)
	for _, like := range [...]string{`""`, "0", "false", "{}", "[]", "null"} {
		if v, ok := c.choose([]byte(like), must, may); ok {
			return v
		}
	}
	return nil
}
