package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/ostiary/ostiary/gateway/wire"
)

func legacySSE(_ *rig, c *Config) { c.LegacySSE = true }

// oldAgent speaks MCP 2024-11-05 over HTTP+SSE.
type oldAgent struct {
	r      *rig
	post   string // URL for POSTs, as the endpoint event names it
	header []string
	events chan string // data of message events; closed with the stream
	hangUp context.CancelFunc
}

// getStream is a GET that asks for an event stream.
func (r *rig) getStream(ctx context.Context, path string, header ...string) *http.Response {
	r.t.Helper()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, r.URL+path, nil)
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp
}

func (r *rig) connectOld(path string, header ...string) *oldAgent {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.t.Cleanup(cancel)
	resp := r.getStream(ctx, path, header...)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("GET: %d %v", resp.StatusCode, resp.Header)
	}
	events := wire.NewEventReader(resp.Body, 1<<20)
	first, err := events.Next()
	if err != nil || first.Name != "endpoint" || !strings.HasPrefix(string(first.Data), path+"?session=") {
		r.t.Fatalf("first event: %+v, %v", first, err)
	}
	a := &oldAgent{r: r, post: string(first.Data), header: header, events: make(chan string, 100), hangUp: cancel}
	go func() {
		defer close(a.events)
		defer resp.Body.Close()
		for {
			e, err := events.Next()
			if err != nil {
				return
			}
			if e.Name != "message" {
				a.events <- fmt.Sprintf("unexpected event %+v", e)
			} else {
				a.events <- string(e.Data)
			}
		}
	}()
	return a
}

// send POSTs a message, which is to be answered with this status.
func (a *oldAgent) send(status int, body string) answer {
	a.r.t.Helper()
	got := a.r.post(a.post, body, a.header...)
	if got.status != status {
		a.r.t.Errorf("%.80s: HTTP %d %s, want %d", body, got.status, got.body, status)
	}
	return got
}

// next is the next message on the stream.
func (a *oldAgent) next() string {
	a.r.t.Helper()
	select {
	case e, ok := <-a.events:
		if !ok {
			a.r.t.Fatal("the stream ended")
		}
		return e
	case <-time.After(10 * time.Second):
		a.r.t.Fatal("nothing on the stream")
		return ""
	}
}

// greet opens the session.
func (a *oldAgent) greet(version string) {
	a.r.t.Helper()
	a.send(202, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+`","capabilities":{"sampling":{}},"clientInfo":{"name":"old","version":"1"}}}`)
	if got := a.next(); !strings.Contains(got, `"protocolVersion":"`+version+`"`) {
		a.r.t.Fatal(got)
	}
	a.send(202, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

func TestHTTPAndSSEIsOffUnlessSwitchedOn(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)})
	resp := r.getStream(t.Context(), "/mcp")
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", resp.StatusCode)
	}
	r.stop()
	r = newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)}, legacySSE)
	for name, c := range map[string]struct {
		path   string
		header []string
		want   int
	}{
		"a browser":             {"/mcp", []string{"Accept", "text/html, */*"}, 405},
		"a modern version":      {"/mcp", []string{"Mcp-Protocol-Version", "2026-07-28"}, 405},
		"a nonsensical version": {"/mcp", []string{"Mcp-Protocol-Version", "new"}, 405},
		"a session":             {"/mcp", []string{"Mcp-Session-Id", "x"}, 404},
		"no such endpoint":      {"/mcp/none", nil, 404},
		"nobody":                {"/mcp", []string{"X-Test-User", "nobody"}, 401},
	} {
		resp := r.getStream(t.Context(), c.path, c.header...)
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, c.want)
		}
	}
	// All else is as before.
	s := r.legacy("/mcp")
	if got := r.in(s, "/mcp", "tools/call", `"name":"up__echo"`).result(t); got != `{"content":[]}` {
		t.Error(got)
	}
}

func TestAnOldAgentListsAndCallsInBothEras(t *testing.T) {
	m, l := newUpstream(t, wire.Modern), newUpstream(t, wire.Legacy)
	r := newRig(t, map[string]*upstream{"new": m, "old": l}, legacySSE)
	a := r.connectOld("/mcp")
	a.greet(wire.Version20241105)
	a.send(202, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	if got := a.next(); !strings.Contains(got, `"new__echo"`) || !strings.Contains(got, `"old__echo"`) || strings.Contains(got, "resultType") {
		t.Error(got)
	}
	for _, name := range []string{"new", "old"} {
		a.send(202, toolCall(`"`+name+`"`, name+"__echo"))
		if got := a.next(); got != `{"jsonrpc":"2.0","id":"`+name+`","result":{"content":[]}}` {
			t.Error(got)
		}
	}
	a.send(202, toolCall("5", "new__nosuch"))
	if got := a.next(); !strings.Contains(got, `"id":5,"error":{"code":-32602`) {
		t.Error(got)
	}
	a.send(400, `{"jsonrpc":"2.0","id":6,"method":"ping","method":"ping"}`)
	one := r.connectOld("/mcp/old")
	one.greet(wire.Version20241105)
	one.send(202, toolCall("1", "echo"))
	if got := one.next(); !strings.Contains(got, `"result":{"content":[]}`) {
		t.Error(got)
	}
	r.g.hub.changed("new", toolsChanged)
	if got := a.next(); got != `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}` {
		t.Error(got)
	}
	recorded := 0
	r.stop()
	for _, rec := range r.records() {
		if rec.Kind == "decision" && rec.Request.Method == "tools/call" && rec.Agent.Name == "old" {
			recorded++
		}
	}
	if recorded != 4 {
		t.Errorf("%d calls on record, want 4", recorded)
	}
}

func TestWhatComesBeforeAnAnswerGoesOnTheOldAgentsStream(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	r := newRig(t, map[string]*upstream{"up": u}, legacySSE)
	u.call = func(w http.ResponseWriter, req *http.Request, m *wire.Message) string {
		token, _ := m.Meta.Get("progressToken")
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(wire.AppendEvent(nil, "", wire.AppendNotification(nil, "notifications/progress", []byte(`{"progress":1,"progressToken":`+string(token)+`}`))))
		w.Write(wire.AppendEvent(nil, "", wire.AppendRequest(nil, []byte("41"), "sampling/createMessage", []byte(`{"messages":[],"maxTokens":1}`))))
		w.(http.Flusher).Flush()
		for req.Context().Err() == nil {
			u.mu.Lock()
			answered := slices.ContainsFunc(u.hits, func(h hit) bool { return strings.Contains(h.body, `"id":41,"result":{"role":"assistant"`) })
			u.mu.Unlock()
			if answered {
				w.Write(wire.AppendEvent(nil, "", wire.AppendResult(nil, m.ID, []byte(`{"content":[]}`))))
				return ""
			}
			time.Sleep(2 * time.Millisecond)
		}
		return ""
	}
	a := r.connectOld("/mcp")
	a.greet(wire.Version20241105)
	a.send(202, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"up__echo","_meta":{"progressToken":"mine"}}}`)
	if got := a.next(); !strings.Contains(got, `"progressToken":"mine"`) {
		t.Error(got)
	}
	m, err := wire.Parse([]byte(a.next()), wire.Limits{})
	if err != nil || m.Method != "sampling/createMessage" {
		t.Fatalf("%+v, %v", m, err)
	}
	a.send(202, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":{"role":"assistant","content":{"type":"text","text":"hi"},"model":"m"}}`)
	if got := a.next(); !strings.Contains(got, `"id":1,"result":{"content":[]}`) {
		t.Error(got)
	}
}

// Possession of the URL is nothing: the bearer counts on every POST.
func TestTheTokenOfAnOldAgentIsItsOwn(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u}, legacySSE)
	a := r.connectOld("/mcp")
	a.send(400, toolCall("1", "up__echo")) // before initialize
	hello := `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{}}}`
	if got := r.post(a.post, hello, "X-Test-User", "bob"); got.status != 404 {
		t.Errorf("another user opened the session: %d %s", got.status, got.body)
	}
	a.greet(wire.Version20241105)
	a.send(400, hello)
	a.send(400, r.modernBody("tools/call", `"name":"up__echo"`))
	session, _ := strings.CutPrefix(a.post, "/mcp")
	for name, c := range map[string]struct {
		path   string
		header []string
		want   int
	}{
		"another user":           {a.post, []string{"X-Test-User", "bob"}, 404},
		"nobody":                 {a.post, []string{"X-Test-User", "nobody"}, 401},
		"another endpoint":       {"/mcp/up" + session, nil, 404},
		"changed":                {a.post[:len(a.post)-1], nil, 404},
		"too long":               {a.post + strings.Repeat("A", sessionToken), nil, 404},
		"a Streamable session":   {"/mcp?session=" + r.legacy("/mcp")[1], nil, 404},
		"the other way round":    {"/mcp", []string{"Mcp-Session-Id", strings.TrimPrefix(session, "?session=")}, 404},
		"an empty one is none":   {"/mcp?session=", nil, 400},
		"a stranger's parameter": {"/mcp?other=1", nil, 400},
	} {
		if got := r.post(c.path, toolCall("1", "up__echo"), c.header...); got.status != c.want {
			t.Errorf("%s: %d %s, want %d", name, got.status, got.body, c.want)
		}
	}
	if n := len(u.calls("tools/call")); n != 0 {
		t.Errorf("%d calls ran", n)
	}
	a.hangUp()
	for r.agents() != 0 {
		time.Sleep(time.Millisecond)
	}
	a.send(404, toolCall("1", "up__echo"))
	if n := len(r.g.sessions.all()); n != 1 { // of "a Streamable session"
		t.Errorf("%d sessions are live", n)
	}
}

func (r *rig) agents() int {
	r.g.agents.mu.Lock()
	defer r.g.agents.mu.Unlock()
	return len(r.g.agents.m)
}

func TestAnInitializeThatIsRefusedCanBeMendedOnTheSameStream(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)}, legacySSE)
	a := r.connectOld("/mcp")
	a.send(202, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}`)
	if got := a.next(); !strings.Contains(got, `"id":0,"error":{"code":-32602`) {
		t.Error(got)
	}
	a.greet(wire.Version20241105)
}

func TestAnOldAgentThatHangsUpCancelsItsCalls(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u}, legacySSE)
	arrived, _ := gate(u)
	a := r.connectOld("/mcp")
	a.greet(wire.Version20241105)
	a.send(202, toolCall("1", "up__echo"))
	<-arrived
	a.send(202, toolCall("1", "up__echo"))
	if got := a.next(); !strings.Contains(got, `"id":1,"error":{"code":-32600`) {
		t.Errorf("the id of a call in flight: %s", got)
	}
	a.send(202, toolCall("2", "up__echo"))
	<-arrived
	a.send(202, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`)
	a.hangUp()
	for r.agents() != 0 || len(r.g.sessions.all()) != 0 {
		time.Sleep(time.Millisecond)
	}
	r.stop()
	cancelled := 0
	for _, rec := range r.records() {
		if rec.Kind == "outcome" && rec.Outcome == "cancelled" {
			cancelled++
		}
	}
	if cancelled != 2 {
		t.Errorf("%d calls cancelled, want 2", cancelled)
	}
}

func TestOldAgentsHaveBatchesUpTo20250326(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools = `{"name":"allowed","inputSchema":{"type":"object"}},{"name":"denied","inputSchema":{"type":"object"}}`
	r := newRig(t, map[string]*upstream{"up": u}, legacySSE, func(_ *rig, c *Config) { c.Decider = &hiding{} })
	batch := `[` + toolCall("1", "up__allowed") + `,` + toolCall("2", "up__denied") + `]`
	for _, version := range []string{wire.Version20241105, wire.Version20250326} {
		a := r.connectOld("/mcp")
		a.send(400, batch)
		a.greet(version)
		a.send(202, batch)
		got := a.next() + a.next()
		if !strings.Contains(got, `"id":1,"result"`) || !strings.Contains(got, `"id":2,"error":{"code":-31001`) {
			t.Errorf("%s: %s", version, got)
		}
		a.send(400, `[`+toolCall("1", "up__allowed")+`,`+toolCall("1", "up__denied")+`]`)
	}
	a := r.connectOld("/mcp")
	a.greet(wire.Version20250618)
	a.send(400, batch)
}

func TestStreamsAndCallsOfOldAgentsCount(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u}, legacySSE, func(_ *rig, c *Config) { c.Limits.Streams, c.Limits.Calls = 2, 1 })
	a := r.connectOld("/mcp")
	r.connectOld("/mcp")
	resp := r.getStream(t.Context(), "/mcp")
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a third stream: %d", resp.StatusCode)
	}
	r.connectOld("/mcp", "X-Test-User", "bob")
	a.greet(wire.Version20241105)
	arrived, open := gate(u)
	a.send(202, toolCall("1", "up__echo"))
	<-arrived
	a.send(http.StatusTooManyRequests, toolCall("2", "up__echo"))
	close(open)
	if got := a.next(); !strings.Contains(got, `"id":1,"result"`) {
		t.Error(got)
	}
	for left := 1; left > 0; time.Sleep(time.Millisecond) {
		r.g.quota.mu.Lock()
		left = len(r.g.quota.n)
		r.g.quota.mu.Unlock()
	}
}

func TestACallOfAnOldAgentFinishesWhileTheGatewayCloses(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u}, legacySSE)
	arrived, open := gate(u)
	a := r.connectOld("/mcp")
	a.greet(wire.Version20241105)
	idle := r.connectOld("/mcp")
	a.send(202, toolCall("1", "up__echo"))
	<-arrived
	closed := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		closed <- r.g.Close(ctx)
	}()
	if _, ok := <-idle.events; ok {
		t.Error("the stream of an idle agent goes on")
	}
	for r.post(a.post, toolCall("2", "up__echo")).status != http.StatusNotFound {
		time.Sleep(time.Millisecond)
	}
	close(open)
	for !strings.Contains(a.next(), `"id":1,"result"`) {
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestAQuietStreamOfAnOldAgentIsKeptAlive(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)}, legacySSE, func(_ *rig, c *Config) { c.Limits.KeepAlive = 10 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp := r.getStream(ctx, "/mcp")
	defer resp.Body.Close()
	var got strings.Builder
	buf := make([]byte, 1024)
	for strings.Count(got.String(), keepAliveComment) < 2 {
		n, err := resp.Body.Read(buf)
		if err == io.EOF {
			t.Fatal("the stream ended")
		}
		got.Write(buf[:n])
	}
}

func TestMcpGosOldClientWorks(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Legacy)}, legacySSE)
	c, err := client.NewSSEMCPClient(r.URL + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	hello := mcp.InitializeRequest{}
	hello.Params.ProtocolVersion = wire.Version20241105
	if _, err := c.Initialize(t.Context(), hello); err != nil {
		t.Fatal(err)
	}
	tools, err := c.ListTools(t.Context(), mcp.ListToolsRequest{})
	if err != nil || len(tools.Tools) != 1 || tools.Tools[0].Name != "up__echo" {
		t.Errorf("%+v, %v", tools, err)
	}
	call := mcp.CallToolRequest{}
	call.Params.Name = "up__echo"
	if _, err := c.CallTool(t.Context(), call); err != nil {
		t.Error(err)
	}
}
