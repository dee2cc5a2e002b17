package gateway

import "strings"

// normalURI reports whether a URI is written as rules expect it: its scheme in
// lower case, no dot segment in its path, no unreserved character escaped (RFC
// 3986 6.2.2), and nothing that URL parsers drop or take for a slash. Rules
// compare URIs as text, and an upstream gets the very text that they compared:
// file:///public/../secret would be public to the one and secret to the other.
// Host and path keep their case, which private schemes give a meaning to.
func normalURI(uri string) bool {
	rest := uri
	if scheme, path, ok := strings.Cut(uri, ":"); ok && !strings.ContainsAny(scheme, "/?#") {
		if rest = path; scheme != strings.ToLower(scheme) {
			return false
		}
	}
	for i := 0; i < len(uri); i++ {
		switch c := uri[i]; {
		case c < ' ' || c == 0x7f || c == '\\':
			return false
		case c == '%' && i+2 < len(uri) && unreserved(unhex(uri[i+1])<<4|unhex(uri[i+2])):
			return false
		}
	}
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	rest = strings.NewReplacer("%2f", "/", "%2F", "/", "%5c", "/", "%5C", "/").Replace(rest)
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// unreserved is RFC 3986 2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// unhex is the value of a hexadecimal digit, and over 15 for anything else:
// then what it is part of is no escape, nor an unreserved character.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}
