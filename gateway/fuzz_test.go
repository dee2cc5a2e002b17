package gateway

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
)

// What is judged is what is sent (promise 5) and arrives as it was sent
// (promise 4): either the upstream gets the very bytes of the arguments, or
// nothing at all reaches it.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"text":"é\u0041\ud83d\ude00"}`, `{"n":123456789012345678901234567890.10}`, `{"a":[[[]]],"b":{"c":null}}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"Text":1}`, `{"a\u0000":1}`, "{\"a\":\"\xff\"}", `{"a":1e999}`, `[1]`, `{"a":1},"name":"x"`, ` { "a" : 1 } `,
	} {
		f.Add([]byte(seed))
	}
	u := newUpstream(f, wire.Modern)
	r := newRig(f, map[string]*upstream{"up": u})
	f.Fuzz(func(t *testing.T, arguments []byte) {
		r.t = t
		defer func() { r.t = f }()
		u.reset()
		a := r.modern("/mcp/up", "tools/call", `"name":"echo","arguments":`+string(arguments))
		calls := u.calls("tools/call")
		if a.status != http.StatusOK || a.code(t) != 0 {
			if len(calls) != 0 {
				t.Fatalf("refused with %s, but the upstream saw %s", a.body, calls[0].body)
			}
			return
		}
		if len(calls) != 1 {
			t.Fatalf("%d calls", len(calls))
		}
		m, err := wire.Parse([]byte(calls[0].body), wire.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := m.Params.Get("arguments")
		sent, _ := wire.Parse([]byte(r.last), wire.DefaultLimits)
		want, _ := sent.Params.Get("arguments")
		if !bytes.Equal(got, want) {
			t.Fatalf("sent %s\ngot  %s", want, got)
		}
	})
}

// Results come back as they were answered, or not at all.
func FuzzResult(f *testing.F) {
	for _, seed := range []string{
		`{"content":[]}`, `{"content":[{"type":"text","text":"<\u003c>"}],"structuredContent":1e5,"_meta":{"a":[1.0,-0]}}`,
		`{"a":1,"a":2}`, `[]`, `null`, "{\"a\":\"\xff\"}", `{"resultType":"complete","x":{}}`, `{"content":[]}}`, `{"isError":true}`,
	} {
		f.Add([]byte(seed))
	}
	u := newUpstream(f, wire.Legacy)
	var reply string
	u.call = func(http.ResponseWriter, *http.Request, *wire.Message) string { return reply }
	r := newRig(f, map[string]*upstream{"up": u})
	session := r.legacy("/mcp/up")
	f.Fuzz(func(t *testing.T, result []byte) {
		r.t = t
		defer func() { r.t = f }()
		if len(result) == 0 {
			return
		}
		reply = string(result)
		a := r.in(session, "/mcp/up", "tools/call", `"name":"echo"`)
		if a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		m, err := wire.ParseAnswer([]byte(a.body), wire.DefaultLimits, false)
		if err != nil {
			t.Fatalf("the agent got what is no JSON-RPC answer: %v: %q", err, a.body)
		}
		if m.Error == nil && !bytes.Equal(m.Result, bytes.TrimSpace(result)) {
			t.Fatalf("answered %q\ngot      %q", result, m.Result)
		}
	})
}
