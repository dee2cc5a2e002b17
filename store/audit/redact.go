package audit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Redaction says which values a line doesn't show. The zero value stands for
// the built-in keys and detectors.
type Redaction struct {
	Pointers []Pointer
	Keys     []string // beside the built-in ones
	Off      []string // built-in keys and detectors that don't count; OffKeys is all keys
}

// OffKeys in Redaction.Off switches all built-in keys off.
const OffKeys = "keys"

// Limits of a Redaction.
const (
	MaxPointers     = 64
	MaxRedactedKeys = 256
	maxKey          = 64 // letters and digits of a key pattern
)

// Pointer is a JSON pointer (RFC 6901) into "/arguments" or "/responses", of
// one upstream or tool or of all ("" is all). A segment * is any member or
// element.
type Pointer struct {
	Upstream string // name
	Tool     string // its own name; of prompts and resources, too
	Path     string
}

// builtinKeys end the names of members that hold secrets.
var builtinKeys = []string{
	"password", "passwords", "password_confirmation", "passwd", "passphrase", "passcode", "pass", "pwd", "cvv", "cvc", "otp",
	"secret", "secrets", "secret_key", "token", "bearer", "api_key", "access_key", "authorization", "cookie", "cookies", "private_key", "credential", "credentials",
}

// Redactor redacts. It is safe for concurrent use.
type Redactor struct {
	hash     func([]byte) []byte
	pointers []pointer
	detector
}

type pointer struct {
	upstream, tool, leaf string
	path                 []string
}

// NewRedactor makes a Redactor. hash is a keyed hash of at least 16 bytes, safe
// for concurrent use: equal values can be told to be equal, and nothing else.
func NewRedactor(o Redaction, hash func([]byte) []byte) (*Redactor, error) {
	r := &Redactor{hash: hash, detector: newDetector(o.Off)}
	if len(o.Pointers) > MaxPointers || len(o.Keys) > MaxRedactedKeys {
		return nil, fmt.Errorf("at most %d pointers and %d keys", MaxPointers, MaxRedactedKeys)
	}
	for _, p := range o.Pointers {
		path, err := parsePointer(p.Path)
		if err != nil {
			return nil, err
		}
		r.pointers = append(r.pointers, pointer{p.Upstream, p.Tool, path[0], path[1:]})
	}
	for _, word := range o.Off {
		if word != OffKeys && !slices.Contains(builtinKeys, word) && !slices.Contains(Detectors(), word) {
			return nil, fmt.Errorf("off: %q is no built-in key or detector; they are: %s, %s (all keys), %s", word,
				strings.Join(builtinKeys, ", "), OffKeys, strings.Join(Detectors(), ", "))
		}
	}
	for _, k := range slices.Concat(builtinKeys, o.Keys) {
		var buf [maxKey]byte
		name := tailOf(buf[:0], []byte(k))
		switch {
		case slices.Contains(builtinKeys, k) && !slices.Contains(o.Keys, k) && (slices.Contains(o.Off, k) || slices.Contains(o.Off, OffKeys)):
		case len(name) == 0 || len(name) == maxKey:
			return nil, fmt.Errorf("keys: %q must have between 1 and %d letters and digits", k, maxKey-1)
		default:
			r.keys[name[0]] = append(r.keys[name[0]], string(name))
		}
	}
	return r, nil
}

func parsePointer(text string) ([]string, error) {
	path := strings.Split(text, "/")
	if len(path) < 2 || path[0] != "" || path[1] != leafArguments && path[1] != leafResponses {
		return nil, fmt.Errorf("pointer %q: write /arguments/NAME or /responses/NAME, * for any name", text)
	}
	for i, s := range path {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(s), "~") {
			return nil, fmt.Errorf("pointer %q: ~ stands before 0 or 1 alone (RFC 6901 3)", text)
		}
		path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
	}
	return path[1:], nil
}

// tailOf appends the last letters and digits of a member's name, the last one
// first, in lower case: what of it matters to a key pattern.
func tailOf(b, name []byte) []byte {
	for i := len(name) - 1; i >= 0 && len(b) < maxKey; i-- {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z':
			b = append(b, c|0x20)
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c >= 0x80:
			b = append(b, c)
		}
	}
	return b
}

// secretKey says whether what is called name is a secret, also where it is one
// of several that are numbered.
func (d *detector) secretKey(name []byte) bool {
	var buf [maxKey]byte
	tail := tailOf(buf[:0], name)
	return d.endsAsKey(tail) || len(tail) > 0 && digit(tail[0]) && d.endsAsKey(bytes.TrimLeft(tail, "0123456789"))
}

func (d *detector) endsAsKey(tail []byte) bool {
	if len(tail) == 0 {
		return false
	}
	for _, k := range d.keys[tail[0]] {
		if len(tail) >= len(k) && string(tail[:len(k)]) == k {
			return true
		}
	}
	return false
}

// Why a value was redacted, beside the names of detectors.
const (
	whyPointer = "pointer"
	whyKey     = "key"
)

// appendMark appends what stands for value, without quotes. 64 bits are enough
// to compare values of one log, and tell nothing of the value.
func (r *Redactor) appendMark(b, value []byte, why string) []byte {
	b = append(b, markStart+"hmac:"...)
	b = hex.AppendEncode(b, r.hash(value)[:8])
	b = append(b, ':')
	b = append(b, why...)
	return append(b, ']')
}

// Keyed is the digest of bytes as Payload.Keyed has it, from their SHA-256 in hex.
func (r *Redactor) Keyed(digest string) string {
	return hex.EncodeToString(r.hash([]byte("sha256:" + digest)))
}

// text is s with what the detectors find in it replaced; buf is reused.
func (r *Redactor) text(s string, buf *[]byte) string {
	if len(s) < minSecret {
		return s
	}
	in := append((*buf)[:0], s...)
	*buf = in
	start, end, why := r.find(in, 0)
	if why == "" {
		return s
	}
	var out []byte
	from := 0
	for why != "" {
		out = append(out, in[from:start]...)
		out = r.appendMark(out, in[start:end], why)
		from = end
		start, end, why = r.find(in, from)
	}
	return string(append(out, in[from:]...))
}

// JSON is raw, a JSON value, with each value that is a secret replaced by one
// string, "[redacted:hmac:…:WHY]": at a pointer of the target, under a key
// (unless it is empty, true, false or null), or found by a detector, where a
// member's name counts as a value, and so does JSON in a string that holds any
// of these. Of a parameter (NAME=VALUE in a string) the value alone is replaced.
// Every other byte is as it was. leaf is "arguments" or "responses".
//
// shown is at most the first most bytes of that, whole whether it is all; n is
// how many values were replaced, of those behind shown at least one if there
// are any. Time and memory are linear in raw, with a keyed hash for each value
// in shown. An error is JSON that can't be followed: nothing of it may be shown.
func (r *Redactor) JSON(upstream, tool, leaf string, raw []byte, most int) (shown []byte, whole bool, n int, err error) {
	s := pass{r: r, in: raw, most: most}
	mask := s.aim(upstream, tool, leaf)
	if s.here {
		err = s.replaceNext(whyPointer)
	} else {
		err = s.value(0, mask)
	}
	if err == nil {
		if s.space(); s.at != len(raw) {
			err = errNotJSON
		}
	}
	switch {
	case errors.Is(err, errEnough):
		return s.out, false, s.n, nil
	case err != nil:
		return nil, false, 0, err
	case s.n == 0:
		return raw[:min(most, len(raw))], len(raw) <= most, 0, nil
	}
	whole = s.emit(raw[s.from:])
	return s.out, whole, s.n, nil
}
