package gateway

import (
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
)

func TestSampledMessagesAreWrittenInTheAgentsRevision(t *testing.T) {
	message := func(content string) string {
		return `{"messages":[{"role":"user","content":` + content + `,"x":1.50}],"maxTokens":1.0}`
	}
	const a, b = `{"type":"text","text":"a"}`, `{"type":"image","data":"","mimeType":"image/png"}`
	both := `{"messages":[{"role":"user","content":` + a + `,"x":1.50},{"role":"user","content":` + b + `,"x":1.50}],"maxTokens":1.0}`
	audio := message(`{"type":"audio","data":"","mimeType":"audio/wav"}`)
	for _, c := range []struct{ name, version, params, want string }{ // want "" = not asked
		{"a list, newest revision", "2025-11-25", message("[" + a + "," + b + "]"), message("[" + a + "," + b + "]")},
		{"a list of one", "2025-06-18", message("[" + a + "]"), message(a)},
		{"a list of two", "2025-06-18", message("[" + a + "," + b + "]"), both},
		{"a list of two, oldest revision", "2024-11-05", message("[" + a + "," + b + "]"), both},
		{"an empty list", "2025-06-18", message("[]"), `{"messages":[],"maxTokens":1.0}`},
		{"no list", "2025-06-18", message(a), message(a)},
		{"audio", "2025-03-26", audio, audio},
		{"audio, before there was any", "2024-11-05", audio, message(`{"type":"text","text":"[audio content (audio/wav) is left out: your protocol revision has none]"}`)},
		{"a tool's result", "2025-06-18", message(`[{"type":"tool_result","toolUseId":"1","content":[]}]`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, wire.Modern)
			u.asks(t, inputRequest{"a", "sampling/createMessage", []byte(c.params)})
			k := newRig(t, map[string]*upstream{"up": u}).talk(wire.Legacy, c.version, everyCapability)
			k.answer = func(string, []byte) string { return `{"role":"assistant","content":` + a + `,"model":"m"}` }
			said := said(k.call("tools/call", `"name":"up__echo"`))
			if c.want == "" {
				if len(k.asked) != 0 || !strings.Contains(said, "sampling.tools (protocol revision 2025-11-25 or later)") {
					t.Errorf("asked %s, then %s", k.asked, said)
				}
			} else if len(k.asked) != 1 || string(k.asked[0].params) != c.want {
				t.Errorf("asked %s, want %s; then %s", k.asked, c.want, said)
			}
		})
	}
}

// title came to Implementation with MCP 2025-06-18.
func TestTheGatewaysTitleIsForRevisionsThatKnowTitles(t *testing.T) {
	r := newRig(t, map[string]*upstream{})
	for version, want := range map[string]bool{"2024-11-05": false, "2025-03-26": false, "2025-06-18": true, "2025-11-25": true} {
		a := r.post("/mcp", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+`","capabilities":{},"clientInfo":{"name":"n","version":"1"}}}`).result(t)
		if strings.Contains(a, `"serverInfo":{"name":"ostiary","title":"Ostiary","version":"test"}`) != want ||
			strings.Contains(a, `"serverInfo":{"name":"ostiary","version":"test"}`) == want {
			t.Errorf("%s: %s", version, a)
		}
	}
}
