package federation

import (
	"strings"
	"unicode"
)

// unfit says why an upstream's own name may not go out as it is; "" when it
// may. In the merged namespace ExposeName maps names to plain ones; where they
// are not mapped (no prefix, or the endpoint of one upstream), a name that
// looks like another, or hides something, could pass for what it is not.
//
// MCP 2025-11-25, Tool Names: 1 to 128 characters of A-Z, a-z, 0-9, "_", "-"
// and "." (SHOULD; here a MUST). Prompts are named more freely: refused is what
// can't be seen, what turns the direction of text, and words that mix alphabets
// whose letters look alike. URIs are not names.
func unfit(k Kind, name string) string {
	switch k {
	case Tool:
		if strings.ContainsFunc(name, func(r rune) bool { return r != '.' && foreign(r) }) {
			return "its name has characters besides A-Z a-z 0-9 _ - ."
		}
	case Prompt:
		if strings.ContainsFunc(name, invisible) {
			return "its name has invisible characters"
		}
		if strings.ContainsFunc(name, func(r rune) bool { return r != ' ' && unicode.IsSpace(r) }) {
			return "its name has blanks that are no plain spaces"
		}
		for word := range wordsOf(name) {
			if mixed(word) {
				return "its name mixes alphabets within a word"
			}
		}
	}
	return ""
}

// blankLetters are letters and marks by Unicode's books that show nothing:
// fillers, the braille blank, selectors of variants and the joiner of
// graphemes.
var blankLetters = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x034f, Hi: 0x034f, Stride: 1}, {Lo: 0x115f, Hi: 0x1160, Stride: 1}, {Lo: 0x17b4, Hi: 0x17b5, Stride: 1},
		{Lo: 0x180b, Hi: 0x180f, Stride: 1}, {Lo: 0x2800, Hi: 0x2800, Stride: 1}, {Lo: 0x3164, Hi: 0x3164, Stride: 1},
		{Lo: 0xfe00, Hi: 0xfe0f, Stride: 1}, {Lo: 0xffa0, Hi: 0xffa0, Stride: 1},
	},
	R32: []unicode.Range32{{Lo: 0xe0100, Hi: 0xe01ef, Stride: 1}},
}

// invisible: controls, formats (zero-width and bidirectional ones and tags
// among them), line separators, what has no meaning yet or anywhere, and
// letters that show nothing.
func invisible(r rune) bool {
	return r != ' ' && !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) || unicode.Is(blankLetters, r)
}

// wordsOf are the runs of letters, marks and digits in s.
func wordsOf(s string) func(yield func(string) bool) {
	return strings.FieldsFuncSeq(s, func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.N) })
}

// alike are alphabets with letters that look like Latin ones.
var alike = []*unicode.RangeTable{unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Coptic, unicode.Lisu}

// mixed says that a word has letters of Latin and of an alphabet that looks
// like it. No language writes so; that both stand in one name is common.
func mixed(word string) bool {
	latin, other := false, false
	for _, r := range word {
		if r < unicode.MaxASCII {
			latin = latin || unicode.IsLetter(r)
		} else {
			latin = latin || unicode.Is(unicode.Latin, r)
			other = other || unicode.In(r, alike...)
		}
	}
	return latin && other
}
