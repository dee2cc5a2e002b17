package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

const (
	previewBytes = 1024

	// maxKept bounds the sealed part of a record: arguments and responses,
	// both of the size that rules may have to read (256 KiB), and a little.
	maxKept = 512<<10 + 32<<10

	// besides is what a line holds beside payloads and the sealed part.
	besides = 128 << 10
	// escaped is how much longer a value can get when its characters are escaped.
	escaped = 3
)

// NewPayload is sent, a JSON value, as a record shows it: in clear up to limit
// bytes, above that a digest and a preview. saw is the same value as policy saw
// it, before it was masked. nil when sent is nil. Both must stay as they are
// until the record was handed to the log, which redacts.
func NewPayload(sent, saw []byte, limit int) *Payload {
	if sent == nil {
		return nil
	}
	sum := sha256.Sum256(sent)
	p := &Payload{Digest: hex.EncodeToString(sum[:]), Size: len(sent), sent: sent, saw: saw, limit: limit}
	if len(sent) <= limit {
		p.Value = sent
	} else {
		p.Preview = preview(sent)
	}
	return p
}

func preview(b []byte) string {
	return strings.ToValidUTF8(string(b[:min(previewBytes, len(b))]), "")
}

// veil makes of a record what its line shows. No record gets around it.
type veil struct {
	l    *Log
	r    Record
	buf  []byte
	seal bool // what rules read is kept
	kept []byte
}

var veils = sync.Pool{New: func() any { return new(veil) }}

// veiled returns r as its line shows it; free it. r stays as it is.
func (l *Log) veiled(r *Record) *veil {
	v := veils.Get().(*veil)
	*v = veil{l: l, r: *r, buf: v.buf[:0]}
	v.r.Withheld = nil
	v.seal = r.Decision != nil && r.Decision.Revision != "" && l.Vault != nil && l.Reads != nil
	v.text(leafMethod, &v.r.Request.Method)
	v.text(leafEndpoint, &v.r.Request.Endpoint)
	v.text(leafVerified, &v.r.Client.VerifiedName)
	v.text(leafAgent, &v.r.Agent.Name)
	v.text(leafVersion, &v.r.Agent.Version)
	v.text("", &v.r.Detail)
	v.target()
	v.decision()
	v.payload(leafArguments, &v.r.Arguments)
	v.payload(leafResponses, &v.r.Responses)
	if !v.fits() { // the sealed part has them whole
		v.shorten(leafArguments, v.r.Arguments)
		v.shorten(leafResponses, v.r.Responses)
	}
	slices.Sort(v.r.Withheld)
	v.close()
	return v
}

func (v *veil) free() {
	buf := v.buf
	*v = veil{}
	if cap(buf) <= keptBody {
		v.buf = buf
		veils.Put(v)
	}
}

// take notes that the line doesn't show leaf as policy saw it, which is saw.
func (v *veil) take(leaf string, saw []byte) {
	v.r.Withheld = append(v.r.Withheld, leaf)
	if !v.seal || !v.l.Reads(leaf) {
		return
	}
	next := byte(',')
	if len(v.kept) == 0 {
		next = '{'
	}
	v.kept = appendString(append(v.kept, next), leaf)
	v.kept = append(append(v.kept, ':'), saw...)
}

// takeText is take of a string.
func (v *veil) takeText(leaf, saw string) {
	if leaf != "" {
		v.take(leaf, appendString(nil, saw))
	}
}

// redacted is s without secrets.
func (v *veil) redacted(s string) string {
	if v.l.Redact == nil {
		return s
	}
	return v.l.Redact.text(s, &v.buf)
}

// text redacts a field. leaf names it in the input document, "" if it is none.
func (v *veil) text(leaf string, field *string) {
	if shown := v.redacted(*field); shown != *field {
		v.takeText(leaf, *field)
		*field = shown
	}
}

// raw redacts a JSON value that is no payload; what can't be followed becomes
// null.
func (v *veil) raw(value json.RawMessage) json.RawMessage {
	if v.l.Redact == nil || len(value) == 0 {
		return value
	}
	shown, whole, _, err := v.l.Redact.JSON("", "", "", value, MaxRecord)
	if err != nil || !whole {
		return json.RawMessage("null")
	}
	return shown
}

// target redacts the target, and takes what the caller shortened of it.
func (v *veil) target() {
	t := &v.r.Target
	saw := v.r.Saw
	if saw == nil {
		saw = t
	}
	shown := v.redacted(saw.Name) // whole: half a secret is not known as one
	if len(t.Name) < len(saw.Name) {
		shown = strings.ToValidUTF8(shown[:min(len(t.Name), len(shown))], "")
	}
	if shown != saw.Name {
		v.takeText(leafName, saw.Name)
		t.Name = shown
	}
	if shown := v.raw(t.Annotations); !bytes.Equal(shown, saw.Annotations) {
		v.take(leafAnnotations, saw.Annotations)
		t.Annotations = shown
	}
	if shown := v.texts(t.Visibility); !slices.Equal(shown, saw.Visibility) {
		v.take(leafVisibility, appendStrings(nil, saw.Visibility))
		t.Visibility = shown
	}
}

// texts redacts words.
func (v *veil) texts(words []string) []string {
	changed := false
	for i, w := range words {
		shown := v.redacted(w)
		if shown == w {
			continue
		}
		if !changed {
			words, changed = slices.Clone(words), true
		}
		words[i] = shown
	}
	return words
}

// decision redacts what rules may have put values of the request into.
func (v *veil) decision() {
	d := v.r.Decision
	if d == nil || v.l.Redact == nil || len(d.Reasons)+len(d.Obligations) == 0 {
		return
	}
	shown := *d
	shown.Reasons = v.texts(d.Reasons)
	shown.Obligations = make([]json.RawMessage, len(d.Obligations))
	for i, o := range d.Obligations {
		shown.Obligations[i] = v.raw(o)
	}
	v.r.Decision = &shown
}

// payload redacts arguments or responses.
func (v *veil) payload(leaf string, field **Payload) {
	if *field == nil {
		return
	}
	p := **field
	*field = &p
	if p.sent == nil && p.Value != nil { // made without NewPayload
		p.sent, p.limit = p.Value, len(p.Value)
	}
	if p.saw == nil {
		p.saw = p.sent
	}
	redact := v.l.Redact
	if redact != nil && p.sent == nil { // a digest alone, and not known of what
		p.Digest, p.Keyed = "", redact.Keyed(p.Digest)
		return
	}
	if redact != nil {
		most := p.limit
		if len(p.sent) > p.limit {
			most = previewBytes
		}
		shown, whole, n, err := redact.JSON(v.r.Upstream, v.r.Target.Name, leaf, p.sent, most)
		p.Value, p.Preview, p.Redacted = nil, "", n
		switch {
		case err != nil: // the digest alone
		case whole && len(p.sent) <= p.limit:
			p.Value = shown
		default:
			p.Preview = preview(shown)
		}
		if n > 0 || err != nil {
			p.Digest, p.Keyed = "", redact.Keyed(p.Digest)
		}
	}
	if p.sent != nil && (p.Value == nil || p.Redacted > 0 || !bytes.Equal(p.saw, p.sent)) {
		v.take(leaf, p.saw)
	}
}

// fits says whether the line stays within MaxRecord, at worst.
func (v *veil) fits() bool {
	size := base64.StdEncoding.EncodedLen(len(v.kept)) + besides
	for _, p := range [...]*Payload{v.r.Arguments, v.r.Responses} {
		if p != nil {
			size += escaped * len(p.Value)
		}
	}
	return size <= MaxRecord
}

// shorten makes a preview of a payload's value.
func (v *veil) shorten(leaf string, p *Payload) {
	if p == nil || p.Value == nil {
		return
	}
	p.Preview, p.Value = preview(p.Value), nil
	if !slices.Contains(v.r.Withheld, leaf) {
		v.take(leaf, p.saw)
	}
}

// close seals what was kept. A record is worth more than its sealed part:
// without, explaining it may be undecidable.
func (v *veil) close() {
	if len(v.kept) == 0 || len(v.kept) > maxKept {
		return
	}
	day, sealed, err := v.l.Vault.SealDay(append(v.kept, '}'), []byte(v.r.DecisionID))
	if failed := err != nil; v.l.unsealed.Swap(failed) != failed {
		if failed {
			v.l.Logger.Error("what rules read can't be sealed: records don't hold it", "error", err)
		} else {
			v.l.Logger.Info("what rules read is sealed again")
		}
	}
	if err == nil {
		v.r.Sealed = &Sealed{Day: day, Data: sealed}
	}
}
