package wire

import (
	"bytes"
	"fmt"
)

// orDefault fills zero fields.
func (l Limits) orDefault() Limits {
	d := DefaultLimits
	fill := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	fill(&l.Bytes, d.Bytes)
	fill(&l.Depth, d.Depth)
	fill(&l.Digits, d.Digits)
	fill(&l.Exponent, d.Exponent)
	fill(&l.ID, d.ID)
	fill(&l.Batch, d.Batch)
	return l
}

// inspect is the cheap first pass, over bytes that nobody has validated: it
// finds nesting, numbers and keys that are over the limits, and nil otherwise.
// It stops at the first level too deep, so that a bomb of brackets costs a few
// bytes of reading and no stack. On bytes that are not JSON its findings mean
// nothing, except that one: the caller validates before it believes the others.
func inspect(raw []byte, lim Limits) (flaw *ParseError) {
	depth := 0
	for i := 0; i < len(raw); {
		switch b := raw[i]; b {
		case '"':
			end, _ := stringEnd(raw, i)
			if flaw == nil && isKey(raw, end) && hasNUL(raw[i:end]) {
				flaw = refuse(ReasonNUL, fmt.Sprintf("a NUL character in an object key, before byte %d: rename the key", end))
			}
			i = end
		case '{', '[':
			if depth++; depth > lim.Depth {
				return refuse(ReasonDepth, fmt.Sprintf("nested deeper than %d levels, at byte %d: send a flatter message", lim.Depth, i))
			}
			i++
		case '}', ']':
			depth--
			i++
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			end, ok := number(raw, i, lim)
			if !ok && flaw == nil {
				flaw = refuse(ReasonNumber, fmt.Sprintf("a number of more than %d digits, or with an exponent over %d, at byte %d: send it as a string", lim.Digits, lim.Exponent, i))
			}
			i = end
		default:
			i++
		}
	}
	return flaw
}

// number steps over the number at raw[i] and reports whether it keeps the
// limits: digits of the significand, digits of the exponent as written, and the
// exponent's value.
func number(raw []byte, i int, lim Limits) (end int, ok bool) {
	digits, exponentDigits, exponent := 0, 0, 0
	inExponent := false
	for ; i < len(raw); i++ {
		switch b := raw[i]; {
		case '0' <= b && b <= '9' && inExponent:
			exponentDigits++
			exponent = min(exponent*10+int(b-'0'), lim.Exponent+1)
		case '0' <= b && b <= '9':
			digits++
		case b == 'e' || b == 'E':
			inExponent = true
		case b == '.' || b == '-' || b == '+':
		default:
			return i, digits <= lim.Digits && exponentDigits <= lim.Digits && exponent <= lim.Exponent
		}
	}
	return i, digits <= lim.Digits && exponentDigits <= lim.Digits && exponent <= lim.Exponent
}

// hasNUL reports whether a quoted string holds the escape of U+0000. (A raw
// NUL byte is not JSON.)
func hasNUL(quoted []byte) bool {
	for {
		i := bytes.IndexByte(quoted, '\\')
		if i < 0 || i+1 >= len(quoted) {
			return false
		}
		if bytes.HasPrefix(quoted[i:], []byte(`\u0000`)) {
			return true
		}
		quoted = quoted[i+2:]
	}
}

// isKey reports whether the string that ends at raw[end] is an object key.
func isKey(raw []byte, end int) bool {
	c := cursor{raw: raw, i: end}
	return c.take(':')
}
