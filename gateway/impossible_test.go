package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// What no gateway can carry between the eras fails, or is dropped, in a way
// that both sides understand. Two such things have tests of their own: a parked
// call that nobody comes back for, or that a restart ended (park_test.go), and a
// capability that a legacy agent or its revision lacks (askloop_test.go).
func TestImpossible(t *testing.T) {
	t.Run("a request of a legacy upstream that belongs to no call", func(t *testing.T) {
		u := newUpstream(t, wire.Legacy)
		send := u.notices()
		r := newRig(t, map[string]*upstream{"up": u})
		for _, era := range []wire.Era{wire.Modern, wire.Legacy} {
			k := r.talk(era, "2025-11-25", everyCapability)
			k.call("tools/call", `"name":"up__echo"`) // opens the connection
			for _, q := range []inputRequest{{"51", "elicitation/create", []byte(formParams)}, {"52", "sampling/createMessage", []byte(`{"messages":[]}`)}, {"53", "roots/list", []byte(`{}`)}} {
				reply := u.expects(q.key)
				send <- string(wire.AppendRequest(nil, []byte(q.key), q.method, q.params))
				select {
				case m := <-reply:
					// -32601 where the stream is that of the gateway's own
					// connection, which declared nothing.
					if m.Error == nil || m.Error.Code != codeInvalidParams && m.Error.Code != codeMethodNotFound {
						t.Errorf("%v, %s: %s", era, q.method, said(m))
					}
				case <-time.After(5 * time.Second):
					t.Fatalf("%s was not answered", q.method)
				}
			}
			if len(k.asked) != 0 {
				t.Errorf("the agent was asked %s", k.asked)
			}
		}
	})

	t.Run("a log message of a legacy upstream that belongs to no call", func(t *testing.T) {
		u := newUpstream(t, wire.Legacy)
		u.extra["logging/setLevel"] = `{}`
		send := u.notices()
		r := newRig(t, map[string]*upstream{"up": u})
		k := r.talk(wire.Modern, "", everyCapability)
		k.meta = `"io.modelcontextprotocol/logLevel":"debug"`
		k.call("tools/call", `"name":"up__echo"`)
		k.meta = ""
		events := k.watch(t, `"toolsListChanged":true`)
		for range 4 { // there are two streams, the principal's and the gateway's own
			send <- `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"stray"}}`
		}
		until(t, "they are sent", func() bool { return len(send) == 0 })
		time.Sleep(20 * time.Millisecond) // for what must not come
		r.g.changed(federation.Change{Upstream: "up", Kinds: [4]bool{federation.Tool: true}})
		for !strings.Contains(hear(t, events, "jsonrpc"), "list_changed") {
			t.Error("a stray log message reached a listen stream")
		}
	})

	t.Run("a page's completion, for an agent or from an upstream that has no word for it", func(t *testing.T) {
		for _, c := range combinations {
			u := newUpstream(t, c.ups)
			u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
				result := textResult("done")
				if u.era == wire.Modern {
					result = `{"resultType":"complete",` + result[1:]
				} else {
					visited := u.expects("1001")
					emit(w, `{"jsonrpc":"2.0","id":1001,"method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://up.example/","elicitationId":"e"}}`)
					select {
					case <-visited:
					case <-r.Context().Done():
						return ""
					}
				}
				emit(w, `{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}`, string(wire.AppendResult(nil, m.ID, []byte(result))))
				return ""
			}
			k := newRig(t, map[string]*upstream{"up": u}).talk(c.agent, "2025-11-25", everyCapability)
			k.call("tools/call", `"name":"up__echo"`)
			if relayed := len(k.notes) == 1; relayed != (c.name == "LL") {
				t.Errorf("%s: %q", c.name, k.notes)
			}
		}
	})

	t.Run("knowing what became of a call whose stream was lost", func(t *testing.T) {
		for _, c := range combinations {
			u := newUpstream(t, c.ups)
			u.call = func(w http.ResponseWriter, _ *http.Request, m *wire.Message) string {
				emit(w)
				panic(http.ErrAbortHandler)
			}
			k := newRig(t, map[string]*upstream{"up": u}).talk(c.agent, "2025-11-25", everyCapability)
			m := k.call("tools/call", `"name":"up__echo"`)
			if m.Error == nil || m.Error.Code != CodeUnknown || !strings.Contains(m.Error.Message, "not known whether the request ran") {
				t.Errorf("%s: %s", c.name, said(m))
			}
			if n := len(u.calls("tools/call")); n != 1 {
				t.Errorf("%s: the call was made %d times", c.name, n)
			}
		}
	})

	t.Run("a result of a type that nobody declared", func(t *testing.T) {
		for _, c := range []combination{combinations[0], combinations[2]} {
			u := newUpstream(t, c.ups)
			u.call = func(http.ResponseWriter, *http.Request, *wire.Message) string {
				return `{"resultType":"com.example/later","content":[]}`
			}
			k := newRig(t, map[string]*upstream{"up": u}).talk(c.agent, "2025-11-25", everyCapability)
			if m := k.call("tools/call", `"name":"up__echo"`); m.Error == nil || m.Error.Code != CodeBadAnswer {
				t.Errorf("%s: %s", c.name, said(m))
			}
		}
	})

	t.Run("checking headers against the body, for an agent whose revision has no such headers", func(t *testing.T) {
		u := newUpstream(t, wire.Modern)
		u.tools = `{"name":"echo","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}`
		r := newRig(t, map[string]*upstream{"up": u}, legacySSE)
		const params = `"name":"up__echo","arguments":{"region":"eu"}`

		// Of a modern agent the header is asked, and its absence is named.
		if a := r.modern("/mcp", "tools/call", params); a.status != http.StatusBadRequest || a.code(t) != codeHeaderMismatch || !strings.Contains(a.body, "Mcp-Param-Region") {
			t.Errorf("modern: %d %s", a.status, a.body)
		}
		// The older ones are served by their body alone, and what they send in
		// such a header counts for nothing.
		if m := r.talk(wire.Legacy, "2025-11-25", "{}").call("tools/call", params); m.Error != nil {
			t.Error(said(m))
		}
		old := r.connectOld("/mcp", "Mcp-Param-Region", "us", "Mcp-Name", "other")
		old.greet(wire.Version20241105)
		old.send(202, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{`+params+`}}`)
		if a := old.next(); !strings.Contains(a, `"id":1,"result":`) {
			t.Error(a)
		}
		calls := u.calls("tools/call")
		if len(calls) != 2 {
			t.Fatalf("the upstream was called %d times, want 2", len(calls))
		}
		for _, h := range calls { // the gateway writes its own, from the body
			if h.header.Get("Mcp-Param-Region") != "eu" || h.header.Get("Mcp-Name") != "echo" {
				t.Errorf("the upstream got %v", h.header)
			}
		}
	})

	// MCP 2026-07-28, Tools: a list does not vary by connection. What is listed
	// is what a fresh session of the gateway's own sees.
	t.Run("a tool that a legacy upstream has in one session alone", func(t *testing.T) {
		for _, era := range []wire.Era{wire.Modern, wire.Legacy} {
			u := newUpstream(t, wire.Legacy)
			u.tools = `{"name":"enable","inputSchema":{"type":"object"}}`
			u.call = func(http.ResponseWriter, *http.Request, *wire.Message) string { return textResult("late is there now") }
			k := newRig(t, map[string]*upstream{"up": u}).talk(era, "2025-11-25", "{}")
			before := said(k.call("tools/list", ""))
			if text := got(t, k.call("tools/call", `"name":"up__enable"`)); text != "late is there now" {
				t.Error(text)
			}
			if after := said(k.call("tools/list", "")); after != before || era == wire.Modern && !strings.Contains(after, `"cacheScope":"private"`) {
				t.Errorf("%v: listed %s, then %s", era, before, after)
			}
			late, never := k.call("tools/call", `"name":"up__late"`), k.call("tools/call", `"name":"up__never"`)
			if late.Error == nil || late.Error.Code != codeInvalidParams || strings.Replace(said(late), "late", "never", 1) != said(never) {
				t.Errorf("%v: %s, and of a tool that is not: %s", era, said(late), said(never))
			}
			if n := len(u.calls("tools/call")); n != 1 {
				t.Errorf("%v: the upstream was called %d times", era, n)
			}
		}
	})
}
