package federation

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Shape of a name in the merged namespace. Agents put their own
// prefix before it and stop at 64, hence the short maxExposed.
const (
	maxExposed   = 47 // bytes of prefix, separator and name together
	nameHash     = 8  // hex digits that stand for what was cut or replaced
	separator    = "__"
	longestLabel = maxExposed - len(separator) - len("_") - nameHash // of a prefix
)

// ExposeName is the name of a tool or prompt in the merged namespace:
// "{prefix}__{name}" where that is at most 47 of [A-Za-z0-9_-] and can't be
// mistaken for another name; else "{prefix}__{tail}_{hash}", with as much of
// the name's end as fits and 8 hex digits of SHA-256(prefix NUL name). It is a
// pure function of its arguments; two different pairs give two different
// names, up to a collision of the hash. An empty prefix leaves the name as it
// is.
func ExposeName(prefix, name string) string {
	if prefix == "" {
		return name
	}
	label, sameLabel := replaced(prefix)
	tail, sameName := replaced(name)
	if sameLabel && sameName && len(label)+len(separator)+len(tail) <= maxExposed &&
		splitsOnce(label) && !endsInHash(tail) {
		return label + separator + tail
	}

	label = label[:min(len(label), longestLabel)]
	room := maxExposed - len(label) - len(separator) - len("_") - nameHash
	tail = tail[max(len(tail)-room, 0):]
	sum := sha256.Sum256([]byte(prefix + "\x00" + name))
	return label + separator + tail + "_" + hex.EncodeToString(sum[:nameHash/2])
}

// replaced puts "_" for every character that the merged namespace has not.
func replaced(s string) (_ string, same bool) {
	if strings.IndexFunc(s, foreign) < 0 {
		return s, true
	}
	return strings.Map(func(r rune) rune {
		if foreign(r) {
			return '_'
		}
		return r
	}, s), false
}

func foreign(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

// splitsOnce says that the first separator of a plain name is the one after
// its prefix. Without it a__b + c and a + b__c, or a_ + b and a + _b, would
// be one name.
func splitsOnce(prefix string) bool {
	return !strings.Contains(prefix, separator) && !strings.HasSuffix(prefix, "_")
}

// endsInHash says that a plain name looks like a hashed one.
func endsInHash(s string) bool {
	i := len(s) - nameHash
	if i < 1 || s[i-1] != '_' {
		return false
	}
	return strings.Trim(s[i:], "0123456789abcdef") == ""
}
