package wire

import (
	"fmt"
	"unicode/utf8"
)

// checkVariants refuses case variants in params and in the objects inside it
// that name a target.
func checkVariants(params Object) *ParseError {
	if err := firstVariant(params, paramsMembers, "params"); err != nil {
		return err
	}
	for _, m := range params.Members {
		set, ok := nestedMembers[m.Key]
		if !ok {
			continue
		}
		inner, err := Fields(params.Raw[m.Start:m.End])
		if err != nil {
			continue // not an object: its reader says so
		}
		if err := firstVariant(inner, set, "params."+m.Key); err != nil {
			return err
		}
	}
	return nil
}

func firstVariant(o Object, set map[string]string, where string) *ParseError {
	for i := range o.Members {
		m := &o.Members[i]
		if m.known {
			continue
		}
		if exact := variantOf(set, m.Key); exact != "" {
			return variant(where, exact)
		}
	}
	return nil
}

// variant refuses a case variant of the member exact.
func variant(where, exact string) *ParseError {
	return refuse(ReasonAmbiguous, fmt.Sprintf("%q is spelled in another letter case in %s: names are case-sensitive", exact, where))
}

// longestVariant bounds the bytes of a key that can fold to a name of ours: the
// longest has 43 characters, and U+212A, which folds to k, takes three bytes.
const longestVariant = 3 * 48

// variantOf is the member of set that key equals only after case folding, or
// "".
func variantOf(set map[string]string, key string) string {
	if len(key) > longestVariant {
		return ""
	}
	var buf [longestVariant]byte
	if exact, ok := set[string(appendFolded(buf[:0], key))]; ok && exact != key {
		return exact
	}
	return ""
}

// appendFolded appends s with ASCII letters in lower case, and with the two
// runes outside of ASCII that Unicode simple folding maps to an ASCII letter:
// U+017F to s and U+212A to k. All names of ours are ASCII, so the other
// foldings don't matter.
func appendFolded(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		b := s[i]
		if b >= utf8.RuneSelf {
			return appendFoldedRunes(dst, s[i:])
		}
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		dst = append(dst, b)
	}
	return dst
}

func appendFoldedRunes(dst []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '\u017f':
			r = 's'
		case r == '\u212a':
			r = 'k'
		case 'A' <= r && r <= 'Z':
			r += 'a' - 'A'
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}
