package federation

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/ostiary/ostiary/gateway/wire"
)

// mcpGoUpstream is mcp-go's own server, which speaks both eras.
func mcpGoUpstream(t *testing.T) string {
	s := server.NewMCPServer("mcp-go", "1", server.WithToolCapabilities(true), server.WithLogging(), server.WithElicitation())
	s.AddTool(mcp.NewTool("echo", mcp.WithString("text")), func(_ context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(r.GetString("text", "")), nil
	})
	s.AddTool(mcp.NewTool("progress"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": r.Params.Meta.ProgressToken, "progress": 1})
		return mcp.NewToolResultText("done"), nil
	})
	s.AddTool(mcp.NewTool("ask"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		answer, err := s.RequestElicitation(ctx, mcp.ElicitationRequest{Params: mcp.ElicitationParams{
			Message: "sure?", RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{}}}})
		if err != nil {
			return nil, err
		}
		return mcp.NewToolResultText(string(answer.Action)), nil
	})
	s.AddTool(mcp.NewTool("grow"), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.AddTool(mcp.NewTool("grown"), nil)
		return mcp.NewToolResultText("grown"), nil
	})
	ts := httptest.NewServer(server.NewStreamableHTTPServer(s, server.WithStateful(true)))
	t.Cleanup(ts.Close)
	return ts.URL + "/mcp"
}

func TestAgainstMcpGoInBothEras(t *testing.T) {
	for _, e := range []wire.Era{wire.Legacy, wire.Modern} {
		t.Run(e.String(), func(t *testing.T) {
			leavesNothing(t)
			d := dialConfig{Upstream: entryFor(mcpGoUpstream(t)), Era: &e, Capabilities: []byte(`{"elicitation":{}}`), Logger: slog.New(slog.DiscardHandler)}
			c := connect(t, d)
			if c.peer().Era != e || !strings.Contains(string(c.peer().ServerInfo), "mcp-go") {
				t.Fatalf("peer %+v", c.peer())
			}
			do := func(name, args string, more func(*Call)) string {
				call := &Call{Method: "tools/call", Params: fmt.Appendf(nil, `{"name":%q,"arguments":%s}`, name, args)}
				call.Agent.Capabilities = d.Capabilities
				if more != nil {
					more(call)
				}
				a, err := c.do(t.Context(), call)
				if err != nil || a.Error != nil {
					t.Fatalf("%s: %+v %v", name, a, err)
				}
				return string(a.Result)
			}
			if r := do("echo", `{"text":"<é & 'x'>"}`, nil); !strings.Contains(r, "é") {
				t.Error(r)
			}
			got := 0
			for range 20 { // mcp-go loses some that are sent right before the result
				do("progress", `{}`, func(call *Call) {
					call.ProgressToken, call.Notify = []byte("123456789012345678901234567890"), func(_ string, params []byte) {
						if got++; !strings.Contains(string(params), `"progressToken":123456789012345678901234567890`) {
							t.Errorf("%s", params)
						}
					}
				})
			}
			if got == 0 {
				t.Error("no progress at all")
			}
			if e == wire.Legacy {
				r := do("ask", `{}`, func(call *Call) {
					call.Ask = func(context.Context, string, []byte) ([]byte, *wire.Error, error) {
						return []byte(`{"action":"accept","content":{}}`), nil, nil
					}
				})
				if !strings.Contains(r, "accept") {
					t.Error("ask:", r)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ready := make(chan bool)
			ended := make(chan error)
			changed := make(chan string, 10)
			go func() {
				ended <- c.listen(ctx, listenFilter{Tools: true}, func() { close(ready) }, func(m string, _ []byte) { changed <- m })
			}()
			<-ready
			do("grow", `{}`, nil)
			if m := <-changed; m != toolsChanged {
				t.Error(m)
			}
			cancel()
			<-ended
			a, err := c.do(t.Context(), &Call{Method: "no/such", Params: []byte(`{}`)})
			if err != nil || a.Error == nil || a.Error.Code != -32601 {
				t.Errorf("unknown method: %+v %v", a, err)
			}
			a, err = c.do(t.Context(), &Call{Method: "tools/list", Params: []byte(`{}`)})
			if err != nil || !strings.Contains(string(a.Result), `"grown"`) {
				t.Errorf("list: %+v %v", a, err)
			}
		})
	}
}
