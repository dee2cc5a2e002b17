package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// Whatever Parse accepts, encoding/json accepts too, and reads the same id and
// method from it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		call(`{"a":[1,2.5e3,"\ud83d\ude00"],"\u0061b":null}`), string(callOf(512)), `[]`, `{"jsonrpc":"2.0","id":1,"result":{}}`,
		`{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":""}}`, `{"jsonrpc":"2.0","method":"a","METHOD":"b"}`, "\"\xff", `{"a\u0000":1}`, nested(70),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		strict, strictErr := ParseAnswer(raw, Limits{}, false)
		lenient, lenientErr := ParseAnswer(raw, Limits{}, true)
		if strictErr == nil && (lenientErr != nil || !reflect.DeepEqual(strict, lenient)) {
			t.Errorf("the lenient parse differs: %v", lenientErr)
		}
		m, err := Parse(raw, Limits{})
		if !bytes.Equal(raw, before) {
			t.Fatal("the message changed")
		}
		if err != nil {
			return
		}
		var reference map[string]json.RawMessage
		if err := json.Unmarshal(raw, &reference); err != nil {
			t.Fatalf("encoding/json refuses what Parse accepts: %v", err)
		}
		var method string
		if quoted, ok := reference["method"]; ok {
			if err := json.Unmarshal(quoted, &method); err != nil {
				t.Fatal(err)
			}
		}
		if method != m.Method || string(reference["id"]) != string(m.ID) || string(reference["params"]) != string(m.Params.Raw) {
			t.Errorf("%q %q differs from encoding/json: %q %q", m.Method, m.ID, method, reference["id"])
		}
		// encoding/json also matches names in another case: it must find no
		// other value.
		var folded struct {
			ID     json.RawMessage `json:"id"`
			Method json.RawMessage `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		if err := json.Unmarshal(raw, &folded); err != nil || string(folded.ID) != string(m.ID) || string(folded.Params) != string(m.Params.Raw) {
			t.Errorf("a case variant passed: %v", err)
		}
		if m.Kind == Request {
			again := AppendRequest(nil, m.ID, m.Method, m.Params.Raw)
			if _, err := Parse(again, Limits{Bytes: len(again)}); err != nil {
				t.Errorf("what is built from it is refused: %v", err)
			}
		}
	})
}

func FuzzEventReader(f *testing.F) {
	for _, seed := range []string{"data: a\r\n\r\n", "id: 1\nretry: 5\ndata:\n\n", ":c\rdata\r\r", "\xef\xbb\xbfevent: x\ndata: y\n\n"} {
		f.Add([]byte(seed), []byte(`{"a":1}`))
	}
	f.Fuzz(func(t *testing.T, stream, data []byte) {
		const limit = 256
		all, err := events(bytes.NewReader(stream), limit)
		if err == nil {
			t.Fatal("no end")
		}
		for _, e := range all {
			if len(e.Data) > limit || len(e.ID) > limit {
				t.Errorf("an event over the limit: %d", len(e.Data))
			}
		}
		// However the bytes arrive, the events are the same.
		slow, slowErr := events(oneByte{bytes.NewReader(stream)}, limit)
		if !reflect.DeepEqual(all, slow) || (err == io.EOF) != (slowErr == io.EOF) {
			t.Errorf("%v %v\n%v %v", all, err, slow, slowErr)
		}
		// What is appended is read back, as one event.
		back, err := events(bytes.NewReader(AppendEvent(nil, "1", data)), len(data)*8+100)
		want := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
		if err != io.EOF || len(back) != 1 || string(back[0].Data) != want {
			t.Errorf("%q comes back as %+v, %v", data, back, err)
		}
	})
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:1]) }

// Every text comes back from its header value, and the value is one line of
// visible ASCII that net/http would send.
func FuzzHeaderValue(f *testing.F) {
	for _, seed := range []string{"", "a", " a", "世界", "=?base64?YQ==?=", "=?base64?=", "a\r\nb", "\x7f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		decodeHeader(text)
		text = strings.ToValidUTF8(text, "")
		value := encodeHeader(text)
		if !headerText(value) || strings.Trim(value, " \t") != value {
			t.Errorf("%q is encoded as %q", text, value)
		}
		if back, ok := decodeHeader(value); !ok || back != text {
			t.Errorf("%q comes back as %q, %v", text, back, ok)
		}
	})
}

// A patched object is valid, holds what was set, lacks what was removed, and
// keeps the bytes of all other values.
func FuzzPatch(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[2] , "c":"x"}`), "b", "d", true)
	f.Add([]byte(` { } `), "a", "a", false)
	f.Add([]byte(`{"\u0061":1e3}`), "a", "", true)
	f.Fuzz(func(t *testing.T, raw []byte, one, two string, remove bool) {
		o, err := Fields(raw)
		if err != nil || Check(raw, Limits{}) != nil {
			return
		}
		one, two = strings.ToValidUTF8(one, ""), strings.ToValidUTF8(two, "")
		p := NewPatch(o).Set(two, []byte(`{"v":1.0}`))
		if remove {
			p.Remove(one)
		} else {
			p.Set(one, []byte(`"w"`))
		}
		got := p.Bytes()
		after, err := Fields(got)
		if err != nil || !json.Valid(got) {
			t.Fatalf("%q became %q: %v", raw, got, err)
		}
		value, ok := after.Get(one)
		if ok == remove || ok && string(value) != `"w"` {
			t.Errorf("%q became %q: %q is %q", raw, got, one, value)
		}
		if value, _ := after.Get(two); one != two && string(value) != `{"v":1.0}` {
			t.Errorf("%q became %q: %q is %q", raw, got, two, value)
		}
		for _, m := range o.Members {
			if m.Key == one || m.Key == two {
				continue
			}
			if value, _ := after.Get(m.Key); string(value) != string(raw[m.Start:m.End]) {
				t.Errorf("%q became %q: %q is %q", raw, got, m.Key, value)
			}
		}
	})
}

// Annotations that are accepted make sendable headers, unique ignoring case;
// what SetParamHeaders makes of any arguments is never refused by the check,
// unless an argument can't be mirrored at all.
func FuzzParamHeaders(f *testing.F) {
	f.Add([]byte(`{"properties":{"a":{"type":"string","x-mcp-header":"A"},"o":{"properties":{"n":{"type":["integer","null"],"x-mcp-header":"N"}}}}}`), []byte(`{"a":"x","o":{"n":42.0}}`))
	f.Add([]byte(`{"allOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, schema, arguments []byte) {
		if Check(schema, Limits{}) != nil || Check(arguments, Limits{}) != nil {
			return
		}
		specs, err := ParamHeaders(schema)
		if err != nil {
			return
		}
		h := http.Header{}
		SetParamHeaders(h, specs, arguments)
		mirrored, values := 0, 0
		seen := map[string]bool{}
		for _, spec := range specs {
			name := http.CanonicalHeaderKey(spec.Header())
			if seen[name] || !isToken(name) || len(spec.Path) == 0 {
				t.Errorf("%+v", spec)
			}
			seen[name] = true
			if spec.argument(arguments) != nil {
				values++
			}
			if _, ok := h[name]; ok {
				mirrored++
			}
		}
		if err := CheckParamHeaders(h, specs, arguments); (err == nil) != (mirrored == values) {
			t.Errorf("%v of %v: %v", h, specs, err)
		}
	})
}
