package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ostiary/ostiary/policy"
)

// encode makes the line of r as the log would, as record 7.
func encode(r *Record) []byte {
	prev := hash{0xab}
	return append(append(appendStart(nil, 7, &prev), appendBody(nil, r)...), '}')
}

// sample is a call's decision record of about 1 KiB, with the fields that a
// gateway fills.
func sample() *Record {
	return &Record{
		Kind: "decision", DecisionID: "01JD0000000000000000000000", RequestID: "req-1",
		TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331",
		Time: time.Date(2026, 11, 23, 10, 0, 0, 123456789, time.UTC), RequestedBy: "127.0.0.1:5000",
		User:      policy.User{ID: "https://idp.example#alice", Name: "alice", Groups: []string{"engineering", "ops"}, AMR: []string{"pwd"}},
		Client:    policy.Client{ID: "cli", Kind: "builtin"},
		Agent:     policy.Agent{Name: "agent", Version: "1.0"},
		Source:    policy.Source{IP: "127.0.0.1"},
		Request:   policy.Act{Method: "tools/call", Kind: "tool", Era: "modern", Endpoint: "/mcp"},
		Upstream:  "github",
		Target:    policy.Target{Kind: "tool", Name: "create_issue", Labels: []string{"write"}, Digest: strings.Repeat("d", 64)},
		Arguments: &Payload{Value: json.RawMessage(`{"text":"` + strings.Repeat("hello ", 50) + `"}`), Digest: strings.Repeat("a", 64), Size: 311},
		Decision:  &policy.Decision{Allow: true, Revision: "policy-1"},
		Revisions: Revisions{Policy: "policy-1", Catalog: "c-1"},
	}
}

// fill sets every field that r reaches, so that one forgotten by the encoder,
// now or when a field is added, shows.
func fill(v reflect.Value, n *int) {
	if !v.CanInterface() { // not exported, and so no part of a line
		return
	}
	*n++
	switch v.Interface().(type) {
	case json.RawMessage:
		v.SetBytes(fmt.Appendf(nil, `{"n":%d}`, *n))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(*n), int64(*n)).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	}
}

func TestEncoderWritesWhatEncodingJSONWrites(t *testing.T) {
	full := &Record{}
	n := 0
	fill(reflect.ValueOf(full).Elem(), &n)
	var each []*Record // one top-level field at a time: each condition of omission
	for i := range reflect.TypeFor[Record]().NumField() {
		r := &Record{}
		fill(reflect.ValueOf(r).Elem().Field(i), &n)
		each = append(each, r)
	}
	for _, r := range append(each, full, sample(), &Record{}) {
		r.Format, r.Seq, r.Prev = Format, 7, hexHash(hash{0xab})
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var a, b map[string]any
		if err := json.Unmarshal(want, &a); err != nil {
			t.Fatal(err)
		}
		line := encode(r)
		if err := json.Unmarshal(line, &b); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("encoded\n%s\nwant\n%s", line, want)
		}
	}
}

// hostile holds what a user-controlled string may try.
var hostile = []string{
	"line\nbreak", "cr\r\nlf", "\",\"allow\":true,\"x\":\"", "\x1b[31mred\x1b[0m", "nul\x00", "del\x7f", "c1\u0085\u009b31m",
	"bidi\u202egnp.exe", "iso\u2066x\u2069", "zero\u200bwidth\ufeff", "tag\U000e0041", "ls\u2028ps\u2029", "bad\xff\xc3", "back\\slash\"", "ok é 漢 😀",
	"}\n{\"format\":1,\"seq\":8,\"kind\":\"decision\"}",
}

// checkLine fails unless b is one line that drives no terminal.
func checkLine(t *testing.T, b []byte) {
	t.Helper()
	for at, r := range string(b) {
		if r < 0x20 || r == 0x7f || r >= 0x80 && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && unsafeRune(r) || r == 0x2028 || r == 0x2029) {
			t.Fatalf("bare %U at %d in %q", r, at, b)
		}
	}
	if !utf8.Valid(b) || !json.Valid(b) {
		t.Fatalf("not a line of JSON: %q", b)
	}
}

func TestForgedFieldsStayOneRecord(t *testing.T) {
	for _, s := range hostile {
		r := sample()
		r.Kind, r.Event, r.Detail, r.Reason = s, s, s, s
		r.User.Name, r.Agent.Name, r.Client.VerifiedName, r.Target.Name = s, s, s, s
		r.User.Groups, r.Decision.Reasons = []string{s}, []string{s}
		quoted, _ := json.Marshal(s)
		r.Arguments.Value = quoted
		r.Target.Annotations = json.RawMessage(s) // not JSON, most of them
		line := encode(r)
		checkLine(t, line)
		var got Record
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		want := strings.ToValidUTF8(s, "\ufffd")
		if s == "bad\xff\xc3" {
			want = "bad\ufffd\ufffd"
		}
		for _, have := range []string{got.Kind, got.Event, got.Detail, got.User.Name, got.Agent.Name, got.Target.Name, got.User.Groups[0], got.Decision.Reasons[0]} {
			if have != want {
				t.Fatalf("read back %q, want %q", have, want)
			}
		}
		var arg string
		if err := json.Unmarshal(got.Arguments.Value, &arg); err != nil || arg != want {
			t.Fatalf("arguments read back as %q (%v), want %q", arg, err, want)
		}
	}
}

func TestRawJSONIsCompactedAndKeepsNumbersAndEscapes(t *testing.T) {
	for in, want := range map[string]string{
		" { \"a\" :\n[ 1 ,\t2.50e+10 , -0 ] } ":  `{"a":[1,2.50e+10,-0]}`,
		`{"a":12345678901234567890123.0}`:        `{"a":12345678901234567890123.0}`,
		`"\u00e9\/\ud83d\ude00\n"`:               `"\u00e9\/\ud83d\ude00\n"`,
		"\"\u202e\x7f\"":                         `"\u202e\u007f"`,
		"[]":                                     `[]`,
		"{}":                                     `{}`,
		"true":                                   `true`,
		"":                                       `""`,
		"{} {}":                                  `"{} {}"`,
		`{"a":1,}`:                               `"{\"a\":1,}"`,
		`[1,]`:                                   `"[1,]"`,
		"01":                                     `"01"`,
		"1.":                                     `"1."`,
		"1e":                                     `"1e"`,
		"-":                                      `"-"`,
		`"\x"`:                                   `"\"\\x\""`,
		`"\u12g4"`:                               `"\"\\u12g4\""`,
		"\"a\nb\"":                               `"\"a\u000ab\""`,
		`"open`:                                  `"\"open"`,
		"nul":                                    `"nul"`,
		"{1:2}":                                  `"{1:2}"`,
		"[" + strings.Repeat("[", maxNesting):    appendedString("[" + strings.Repeat("[", maxNesting)),
		nested(maxNesting):                       nested(maxNesting),
		nested(maxNesting + 1):                   appendedString(nested(maxNesting + 1)),
		"\ufeff{}":                               `"\ufeff{}"`,
		"{\"forged\":1}\n{\"format\":1,\"a\":2}": `"{\"forged\":1}\u000a{\"format\":1,\"a\":2}"`,
	} {
		if got := string(appendRaw(nil, []byte(in))); got != want {
			t.Errorf("%q became %s, want %s", in, got, want)
		}
	}
}

func nested(n int) string { return strings.Repeat("[", n) + "1" + strings.Repeat("]", n) }

func appendedString(s string) string { return string(appendString(nil, s)) }

func TestTimesThatRFC3339CannotWriteStayReadable(t *testing.T) {
	for _, when := range []time.Time{time.Unix(1<<60, 0), time.Unix(-1<<60, 0), {}} {
		r := &Record{Kind: "event", Time: when}
		var got Record
		if err := json.Unmarshal(encode(r), &got); err != nil || !got.Time.IsZero() {
			t.Errorf("%v read back as %v, %v", when, got.Time, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, []byte(`{"a":[1,"`+s+`"]}`), int64(-1), true)
	}
	f.Fuzz(func(t *testing.T, s string, raw []byte, n int64, b bool) {
		r := &Record{Kind: "decision", Time: time.Unix(n, n), Detail: s, Code: n,
			User: policy.User{ID: s, AuthTime: n}, Arguments: &Payload{Value: raw, Digest: s, Size: int(n)},
			Decision: &policy.Decision{Allow: b, Reasons: []string{s, ""}, Obligations: []json.RawMessage{raw}}}
		line := encode(r)
		checkLine(t, line)
		seq, prev, body, ok := parseStart(line)
		if !ok || seq != 7 || prev != (hash{0xab}) || !bytes.HasPrefix(body, []byte(`"kind":"decision"`)) {
			t.Fatalf("the start of %q doesn't parse", line)
		}
		var got Record
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		quoted, _ := json.Marshal(s)
		var want string
		if err := json.Unmarshal(quoted, &want); err != nil {
			t.Fatal(err)
		}
		if got.Detail != want || got.User.ID != want || got.Code != n || got.Decision.Allow != b {
			t.Fatalf("read back %+v", got)
		}
		if json.Valid(raw) && utf8.Valid(raw) && len(bytes.TrimSpace(raw)) > 0 && raw[0] != '"' {
			var a, c any
			if json.Unmarshal(raw, &a) == nil && json.Unmarshal(got.Arguments.Value, &c) == nil && !reflect.DeepEqual(a, c) {
				if _, text := c.(string); !text { // a text: too deep
					t.Fatalf("arguments %s read back as %s", raw, got.Arguments.Value)
				}
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	r := sample()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendBody(buf[:0], r)
	}
	b.SetBytes(int64(len(buf)))
}
