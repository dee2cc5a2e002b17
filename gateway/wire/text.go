package wire

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Unquote is the text of a JSON string; false when raw is not one, or holds
// invalid UTF-8 or a lone surrogate.
func Unquote(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if known, ok := words[string(raw[1:len(raw)-1])]; ok && raw[len(raw)-1] == '"' {
		return known, true
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return "", false
	}
	return string(text), true
}

// AppendString appends s as a JSON string. Only what JSON demands is escaped
// (no HTML escaping); invalid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	// The error says only that s was not UTF-8; the replacement stands in dst.
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// Compact appends raw, a valid JSON text, without the whitespace between its
// tokens. Strings and numbers stay as they are written.
func Compact(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		switch raw[i] {
		case ' ', '\n', '\r', '\t':
			i++
		case '"':
			end, _ := stringEnd(raw, i)
			dst = append(dst, raw[i:end]...)
			i = end
		default:
			dst = append(dst, raw[i])
			i++
		}
	}
	return dst
}

// name is the text of a quoted object key. The words of the protocol are known,
// and cost no allocation.
func name(quoted []byte) (text string, known bool) {
	if len(quoted) < 2 {
		return "", false
	}
	inner := quoted[1 : len(quoted)-1]
	if word, ok := words[string(inner)]; ok {
		return word, true
	}
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), false
	}
	// On invalid UTF-8, which only a lenient parse lets through, the text is
	// what AppendUnquote made of it: such a key equals no word of ours.
	unquoted, _ := jsontext.AppendUnquote(nil, quoted)
	return string(unquoted), false
}
