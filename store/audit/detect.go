package audit

import (
	"bytes"
	"slices"
)

// Names of the built-in detectors, which are also why they redact.
const (
	whyJWT        = "jwt"          // RFC 7519, also encrypted ones
	whyPEM        = "pem"          // RFC 7468 blocks of any kind
	whyCard       = "card"         // card numbers with a valid check digit
	whyConnection = "connection"   // scheme://user:password@host
	whyToken      = "access_token" // access tokens with a well-known beginning, this program's among them
	whyParameter  = "parameter"    // NAME=VALUE and "Name: value" with a secret's name
	whyMarker     = "marker"       // what looks like a mark of ours and is none
)

// Detectors are the names of the built-in detectors.
func Detectors() []string {
	return []string{whyJWT, whyPEM, whyCard, whyConnection, whyToken, whyParameter}
}

const (
	markStart = "[redacted:"
	minSecret = 8 // nothing shorter is detected
)

// tokenPrefixes are how well-known access tokens begin. A token has at least
// least more characters; whole ones don't stand behind a letter or digit, for
// they are too short to tell by themselves.
var tokenPrefixes = []struct {
	prefix string
	least  int
	whole  bool
}{
	{"ost_at_", 16, false}, {"ost_rt_", 16, false}, {"ost_ac_", 16, false}, {"ost_cs_", 16, false},
	{"ghp_", 20, false}, {"gho_", 20, false}, {"ghu_", 20, false}, {"ghs_", 20, false}, {"ghr_", 20, false}, {"github_pat_", 20, false},
	{"glpat-", 16, false}, {"npm_", 30, true}, {"pypi-", 16, true}, {"hf_", 20, true}, {"hvs.", 20, true}, {"dop_v1_", 32, false},
	{"xoxb-", 10, true}, {"xoxp-", 10, true}, {"xoxa-", 10, true}, {"xoxr-", 10, true}, {"xoxs-", 10, true}, {"xapp-", 10, true},
	{"sk-", 20, true}, {"sk_live_", 16, false}, {"sk_test_", 16, false}, {"rk_live_", 16, false}, {"whsec_", 16, false},
	{"AKIA", 16, true}, {"ASIA", 16, true}, {"AIza", 35, true}, {"ya29.", 20, true}, {"GOCSPX-", 16, false},
	{"SG.", 20, true}, {"shpat_", 16, false}, {"shpss_", 16, false}, {"Bearer ", 16, true},
}

// detector finds secrets in text in one pass: most places are told from the
// first two bytes.
type detector struct {
	pairs [1 << 14]bool // places to look at, by two bytes of seven bits
	keys  [256][]string // how secrets are called: reversed, by their first byte
	on    map[string]bool
	cards bool
}

func newDetector(off []string) detector {
	d := detector{on: map[string]bool{whyMarker: true}}
	for _, why := range Detectors() {
		d.on[why] = !slices.Contains(off, why)
	}
	d.cards = d.on[whyCard]
	d.look(whyMarker, markStart)
	d.look(whyJWT, "eyJ")
	d.look(whyPEM, pemStart)
	d.look(whyConnection, "://")
	for _, t := range tokenPrefixes {
		d.look(whyToken, t.prefix)
	}
	d.look(whyParameter, ": ")
	for b := byte(0); d.on[whyParameter] && b < 0x80; b++ {
		d.pairs[pair('=', b)] = true
	}
	for a := byte('0'); d.cards && a <= '9'; a++ {
		for b := byte('0'); b <= '9'; b++ {
			d.pairs[pair(a, b)] = true
		}
	}
	return d
}

func (d *detector) look(why, prefix string) {
	if d.on[why] {
		d.pairs[pair(prefix[0], prefix[1])] = true
	}
}

func pair(a, b byte) int { return int(a&0x7f)<<7 | int(b&0x7f) }

// find returns the first secret in s that begins at from or later, and by
// which detector; why is "" when there is none. It is linear in s.
func (d *detector) find(s []byte, from int) (start, end int, why string) {
	if len(s) < minSecret {
		return 0, 0, ""
	}
	header := 0 // no JWT begins before it: a run of its characters has no dots
	for i := from; i+1 < len(s); i++ {
		if !d.pairs[pair(s[i], s[i+1])] {
			continue
		}
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			if i > 0 && digit(s[i-1]) {
				continue
			}
			if end := cardEnd(s, i); end > 0 {
				return i, end, whyCard
			}
		case c == '=', c == ':' && s[i+1] == ' ':
			if start, end := d.parameter(s, i, from); end > 0 && d.on[whyParameter] {
				return start, end, whyParameter
			}
		case c == ':':
			if start, end := credentials(s, i, from); end > 0 && d.on[whyConnection] {
				return start, end, whyConnection
			}
		case c == '-':
			if end := pemEnd(s, i); end > 0 && d.on[whyPEM] {
				return i, end, whyPEM
			}
		case c == '[':
			if bytes.HasPrefix(s[i:], []byte(markStart)) {
				return i, i + len(markStart), whyMarker
			}
		case c == 'e' && i >= header:
			end, part := jwtEnd(s, i)
			if end > 0 && d.on[whyJWT] {
				return i, end, whyJWT
			}
			header = max(header, part)
		default:
			if end := tokenEnd(s, i); end > 0 && d.on[whyToken] {
				return i, end, whyToken
			}
		}
	}
	return 0, 0, ""
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// wordly says whether c may stand in a token: base64url and the dot.
func wordly(c byte) bool {
	return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '-' || c == '.'
}

// run is where the characters of base64url end that begin at i.
func run(s []byte, i int) int {
	for i < len(s) && s[i] != '.' && wordly(s[i]) {
		i++
	}
	return i
}

// jwtEnd returns the end of the JWT at i, which has three parts or five, the
// last of which may be empty; 0 if there is none. header is where the first
// part ends: no JWT begins before it.
func jwtEnd(s []byte, i int) (end, header int) {
	const leastHeader, leastPart = 10, 4
	if !bytes.HasPrefix(s[i:], []byte("eyJ")) {
		return 0, 0
	}
	header = run(s, i)
	if header-i < leastHeader || header == len(s) || s[header] != '.' {
		return 0, header
	}
	second := run(s, header+1)
	if second == len(s) || s[second] != '.' {
		return 0, header
	}
	if second-header <= leastPart && second != header+1 { // "dir" has an empty second part
		return 0, header
	}
	end = run(s, second+1)
	for parts := 3; parts < 5 && end < len(s) && s[end] == '.'; parts++ {
		end = run(s, end+1)
	}
	return end, header
}

const pemStart = "-----BEGIN "

// pemEnd returns the end of the PEM block at i, or of the text if it is cut
// off; 0 if there is none.
func pemEnd(s []byte, i int) int {
	const longest = 64
	rest := s[i:]
	if !bytes.HasPrefix(rest, []byte(pemStart)) {
		return 0
	}
	label := rest[len(pemStart):]
	if !bytes.Contains(label[:min(len(label), longest)], []byte("-----")) {
		return 0
	}
	at := bytes.Index(rest, []byte("-----END "))
	if at < 0 {
		return len(s)
	}
	last := rest[at+len("-----END "):]
	if n := bytes.Index(last[:min(len(last), longest)], []byte("-----")); n >= 0 {
		return i + at + len("-----END ") + n + len("-----")
	}
	return len(s)
}

// credentials returns the URL around the colon at i if it has user and password
// (RFC 3986 3.2.1); end is 0 if not. It doesn't begin before from.
func credentials(s []byte, i, from int) (start, end int) {
	const longest = 32 // of a scheme
	if !bytes.HasPrefix(s[i:], []byte("://")) {
		return 0, 0
	}
	for start = i; start > max(from, i-longest) && (wordly(s[start-1]) && s[start-1] != '_' || s[start-1] == '+'); {
		start--
	}
	at, password := -1, -1
	for end = i + len("://"); end < len(s) && !delimits(s[end]); end++ {
		switch {
		case s[end] == '@' && password >= 0 && end > password+1:
			at = end
		case s[end] == ':' && password < 0:
			password = end
		}
	}
	if at < 0 {
		return 0, 0
	}
	for end < len(s) && s[end] > ' ' && s[end] != '"' && s[end] != '\'' && s[end] != '<' && s[end] != '>' && s[end] != '`' {
		end++
	}
	return start, end
}

// parameter returns the value behind the separator at i: NAME=VALUE, as URLs,
// forms and connection strings have it, or the field of a header, "X-Name:
// value", to the end of its line, where it is called as secrets are; end is 0
// if not. It doesn't begin before from.
func (d *detector) parameter(s []byte, i, from int) (start, end int) {
	name := i
	for name > max(from, i-maxKey) && wordly(s[name-1]) {
		name--
	}
	header := s[i] == ':'
	start = i + 1
	if header {
		start++
		// In prose, a colon behind such a word says nothing.
		if n := s[name:i]; bytes.IndexByte(n, '-') < 0 && !bytes.EqualFold(n, []byte("authorization")) && !bytes.EqualFold(n, []byte("cookie")) {
			return 0, 0
		}
	}
	if !d.secretKey(s[name:i]) || start >= len(s) {
		return 0, 0
	}
	quote := byte(0)
	if c := s[start]; c == '"' || c == '\'' {
		quote = c
		start++
	}
	for end = start; end < len(s) && s[end] != '\n' && s[end] != '\r'; end++ {
		c := s[end]
		if quote != 0 {
			if c == quote {
				break
			}
			continue
		}
		if c == '"' || c == '\'' || !header && (c <= ' ' || c == '&' || c == ';' || c == ',' || c == '<' || c == '>' || c == ')' || c == '`') {
			break
		}
	}
	if end == start {
		return 0, 0
	}
	return start, end
}

// delimits says whether c ends the authority of a URL.
func delimits(c byte) bool {
	return c <= ' ' || c == '/' || c == '?' || c == '#' || c == '"' || c == '\'' || c == '<' || c == '>' || c == '`' || c == '\\'
}

// tokenEnd returns the end of the access token at i, 0 if there is none.
func tokenEnd(s []byte, i int) int {
	for _, t := range tokenPrefixes {
		if s[i] != t.prefix[0] || !bytes.HasPrefix(s[i:], []byte(t.prefix)) || t.whole && i > 0 && s[i-1] != '.' && s[i-1] != '-' && wordly(s[i-1]) {
			continue
		}
		end := i + len(t.prefix)
		for end < len(s) && wordly(s[end]) {
			end++
		}
		if end-i-len(t.prefix) >= t.least {
			return end
		}
	}
	return 0
}

// cardEnd returns the end of the card number whose first group of digits begins
// at i, 0 if there is none. Groups are joined by one space or hyphen.
func cardEnd(s []byte, i int) int {
	var digits [maxCard]byte
	n := 0
	for at := i; at < len(s) && digit(s[at]); at++ {
		for at < len(s) && digit(s[at]) {
			if n == maxCard {
				return 0
			}
			digits[n] = s[at]
			n++
			at++
		}
		if n >= minCard && cardNumber(digits[:n]) {
			return at
		}
		if at == len(s) || s[at] != ' ' && s[at] != '-' {
			return 0
		}
	}
	return 0
}

// Digits of a card number (ISO/IEC 7812-1).
const (
	minCard = 13
	maxCard = 19
)

// cardNumber says whether digits are a number of one of the card schemes, with
// its length and check digit.
func cardNumber(digits []byte) bool {
	n := len(digits)
	if n < minCard || n > maxCard {
		return false
	}
	lead := 0 // the first four digits
	for i, c := range digits {
		if !digit(c) {
			return false
		}
		if i < 4 {
			lead = lead*10 + int(c-'0')
		}
	}
	scheme := false
	switch {
	case lead/1000 == 4:
		scheme = n == 13 || n == 16 || n == 19
	case lead/100 >= 51 && lead/100 <= 55, lead >= 2221 && lead <= 2720:
		scheme = n == 16
	case lead/100 == 34, lead/100 == 37:
		scheme = n == 15
	case lead/100 == 36, lead/100 == 38, lead >= 3000 && lead <= 3059:
		scheme = n == 14
	case lead == 6011, lead/100 >= 64 && lead/100 <= 65, lead >= 3528 && lead <= 3589, lead/100 == 62:
		scheme = n >= 16
	}
	return scheme && luhn(digits)
}

// luhn checks the last digit (ISO/IEC 7812-1, annex B).
func luhn(digits []byte) bool {
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
