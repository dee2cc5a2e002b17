package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/store/audit"
)

// blank takes every record and keeps none: these rounds are about bytes, and
// waiting for a disk would make ten thousand times fewer of them.
type blank struct{}

func (blank) Append(context.Context, *audit.Record) error { return nil }
func (blank) Note(*audit.Record)                          {}
func (blank) Err() error                                  { return nil }

// FuzzWhatPolicySawIsWhatWasSent: whatever an agent sends, in whole bodies, the
// target and arguments that reach an upstream are those that were judged, and
// nothing reaches it unjudged (promise 5). The bytes are the same, and so is
// what a JSON parser of another make reads in them.
func FuzzWhatPolicySawIsWhatWasSent(f *testing.F) {
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"rig","version":"1"}}`
	body := func(rest string) []byte {
		return []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + meta + `,"name":"echo"` + rest + `}}`)
	}
	for _, seed := range []string{
		``, `,"arguments":{}`, `,"arguments":{"text":"é\u0041\ud83d\ude00"}`, `,"arguments":{"n":123456789012345678901234567890.10}`,
		`,"arguments":{"a":1,"a":2}`, `,"arguments":{"a":1},"arguments":{"a":2}`, `,"arguments":{"a":1},"Arguments":{"a":2}`,
		`,"arguments":{"a":1},"\u0061rguments":{"a":2}`, `,"arguments":{"text":"x","Text":"y"}`, `,"arguments":{"a\u0000":1}`,
		`,"arguments":null`, `,"arguments":[1]`, `,"name":"other"`, `,"Name":"other"`, `,"arguments":{"a":1e400}`, `,"arguments":{"a":-0.0}`,
		`,"inputResponses":{"q":{"action":"accept"}},"requestState":"x"`, "},\"params\":{\"name\":\"echo\",\"arguments\":{\"a\":\"\xff\"}",
	} {
		f.Add(body(seed))
	}
	u := newUpstream(f, wire.Modern)
	w := &witness{}
	r := newRig(f, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider, c.Audit = w, blank{} })
	f.Fuzz(func(t *testing.T, sent []byte) {
		u.reset()
		w.take()
		req := httptest.NewRequest(http.MethodPost, "/mcp/up", bytes.NewReader(sent))
		req.Host = "127.0.0.1"
		for i, h := 0, modernHeaders("tools/call", `"name":"echo"`); i < len(h); i += 2 {
			req.Header.Set(h[i], h[i+1])
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		r.g.ServeHTTP(httptest.NewRecorder(), req)
		judged, calls := w.take(), u.calls("tools/call")
		if len(calls) > len(judged) {
			t.Fatalf("%d calls reached the upstream, %d were judged", len(calls), len(judged))
		}
		for i, call := range calls {
			got, err := wire.Parse([]byte(call.body), wire.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			name, _ := got.Params.String("name")
			arguments, _ := got.Params.Get("arguments")
			saw := judged[i]
			if saw.Target.Name != name || saw.Upstream != "up" {
				t.Fatalf("judged %s/%s, called %s", saw.Upstream, saw.Target.Name, name)
			}
			if !bytes.Equal(saw.Arguments, arguments) && !(saw.Arguments == nil && string(arguments) == "null") {
				t.Fatalf("judged %q\ncalled %q", saw.Arguments, arguments)
			}
			if saw.Arguments == nil {
				continue
			}
			// The whole message, read by a parser that takes the last of two
			// members and folds case: what it finds must be what was judged.
			var there struct{ Params struct{ Arguments any } }
			d := json.NewDecoder(strings.NewReader(call.body))
			d.UseNumber()
			if err := d.Decode(&there); err != nil {
				t.Fatal(err)
			}
			if saw := parsed(t, saw.Arguments); !reflect.DeepEqual(saw, there.Params.Arguments) {
				t.Fatalf("judged %v, another parser reads %v in %s", saw, there.Params.Arguments, call.body)
			}
		}
	})
}

// parsed reads JSON without rounding a number.
func parsed(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}
