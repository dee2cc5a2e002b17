package credential

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/ostiary/ostiary/catalogs"
)

// MinMasked is the length in bytes from which a secret is masked: anything
// shorter stands in texts that have nothing to do with it.
const MinMasked = catalogs.MinSecret

// hidden stands where a secret stood.
const hidden = "(credential)"

// Mask hides secrets in what an upstream says (promise 1): as they are, percent-encoded, and
// in base64 at any offset, as in an echoed header that was encoded as a whole. An
// upstream that wants to tell a secret in a form of its own can: it is the one
// who was given it. A nil Mask hides nothing. It is immutable.
type Mask struct {
	forms   [][]byte // longest first
	quoting bool     // a form holds what JSON always escapes
}

// NewMask hides secrets; nil where there are none of MinMasked bytes.
func NewMask(secrets ...string) *Mask {
	var m Mask
	for _, s := range secrets {
		if len(s) < MinMasked {
			continue
		}
		for _, form := range append(base64Forms(s), s, url.QueryEscape(s), url.PathEscape(s)) {
			m.forms = append(m.forms, []byte(form))
		}
		m.quoting = m.quoting || strings.ContainsAny(s, `"\`)
	}
	if m.forms == nil {
		return nil
	}
	slices.SortFunc(m.forms, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b))
	})
	m.forms = slices.CompactFunc(m.forms, bytes.Equal)
	return &m
}

// base64Forms are the characters that a secret alone decides in the base64 of
// a text that holds it: they differ by its offset from a multiple of three.
func base64Forms(s string) (forms []string) {
	for offset := range 3 {
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := enc.EncodeToString([]byte("\x00\x00"[:offset] + s))
			first := (offset*8 + 5) / 6
			last := (offset + len(s)) * 8 / 6
			forms = append(forms, text[first:last])
		}
	}
	return forms
}

// Text is s with every secret hidden.
func (m *Mask) Text(s string) string {
	if m == nil {
		return s
	}
	for _, form := range m.forms {
		s = strings.ReplaceAll(s, string(form), hidden)
	}
	return s
}

// JSON is raw, a JSON text, with every secret hidden, however its characters
// are escaped. It stays JSON. raw itself is not written to, and is given back
// where there is nothing to hide.
func (m *Mask) JSON(raw []byte) []byte {
	if m == nil {
		return raw
	}
	for _, form := range m.forms {
		if bytes.Contains(raw, form) {
			raw = bytes.ReplaceAll(raw, form, stand(form))
		}
	}
	if !m.quoting && !bytes.Contains(raw, []byte(`\u`)) && !bytes.Contains(raw, []byte(`\/`)) {
		return raw
	}
	plain, _ := unescaped(raw, false)
	for _, form := range m.forms {
		if bytes.Contains(plain, form) {
			return m.escaped(raw)
		}
	}
	return raw
}

// stand is what stands for form in JSON. A form of digits may be a number, and
// has to stay one.
func stand(form []byte) []byte {
	if len(bytes.Trim(form, "0123456789")) == 0 {
		return bytes.Repeat([]byte("1"), len(form))
	}
	return []byte(hidden)
}

// escaped hides forms that stand in raw with characters escaped.
func (m *Mask) escaped(raw []byte) []byte {
	for _, form := range m.forms {
		plain, at := unescaped(raw, true)
		var out []byte
		done := 0 // of plain
		for {
			i := bytes.Index(plain[done:], form)
			if i < 0 {
				break
			}
			out = append(out, raw[at[done]:at[done+i]]...)
			out = append(out, stand(form)...)
			done += i + len(form)
		}
		if done > 0 {
			raw = append(out, raw[at[done]:]...)
		}
	}
	return raw
}

// unescaped is raw with its strings' escapes decoded, and, if asked for, where
// each byte, and the end, came from. The quotes around strings become NULs, so that no
// form reaches from one into the next.
func unescaped(raw []byte, places bool) (plain []byte, at []int) {
	plain = make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		from := i
		switch {
		case raw[i] == '"':
			plain = append(plain, 0)
			i++
		case raw[i] != '\\' || i+1 == len(raw):
			plain = append(plain, raw[i])
			i++
		case raw[i+1] == 'u':
			var r rune
			r, i = unicodeEscape(raw, i)
			plain = utf8.AppendRune(plain, r)
		default:
			plain = append(plain, raw[i+1])
			if k := strings.IndexByte("bfnrt", raw[i+1]); k >= 0 {
				plain[len(plain)-1] = "\b\f\n\r\t"[k]
			}
			i += 2
		}
		for places && len(at) < len(plain) {
			at = append(at, from)
		}
	}
	if places {
		at = append(at, len(raw))
	}
	return plain, at
}

// unicodeEscape decodes the \uXXXX at i, with the one that follows where the two
// are a surrogate pair (RFC 8259 7).
func unicodeEscape(raw []byte, i int) (r rune, next int) {
	r, next = hex4(raw, i), min(i+6, len(raw))
	if utf16.IsSurrogate(r) && bytes.HasPrefix(raw[next:], []byte(`\u`)) {
		if pair := utf16.DecodeRune(r, hex4(raw, next)); pair != utf8.RuneError {
			return pair, min(next+6, len(raw))
		}
	}
	return r, next
}

func hex4(raw []byte, i int) (r rune) {
	for _, c := range raw[min(i+2, len(raw)):min(i+6, len(raw))] {
		r = r<<4 | rune(strings.IndexByte("0123456789abcdef", c|0x20)&0xf)
		if c >= '0' && c <= '9' {
			r = r&^0xf | rune(c-'0')
		}
	}
	return r
}
