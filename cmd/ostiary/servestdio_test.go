package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/ostiary/ostiary/gateway/wire"
)

// pipeAgent is an agent that started the program itself and speaks to it over
// stdin and stdout.
type pipeAgent struct {
	t     *testing.T
	in    io.WriteCloser
	lines chan string // of stdout; closed with it
	err   *syncBuffer
	wait  func() int // its exit code
}

// startStdio runs `serve --stdio` in this process.
func startStdio(t *testing.T, env map[string]string, args ...string) *pipeAgent {
	t.Helper()
	in, stdin := io.Pipe()
	stdout, out := io.Pipe()
	a := &pipeAgent{t: t, in: stdin, err: &syncBuffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve", "--stdio"}, args...), stdio{
			In: in, Out: out, Err: a.err, Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		})
		out.Close()
	}()
	a.wait = sync.OnceValue(func() int { return <-code })
	t.Cleanup(func() { cancel(); a.wait() })
	a.follow(stdout)
	return a
}

func (a *pipeAgent) follow(stdout io.Reader) {
	a.lines = make(chan string, 100)
	go func() {
		defer close(a.lines)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 32<<20)
		for lines.Scan() {
			if _, err := wire.ParseAnswer(lines.Bytes(), wire.Limits{Bytes: 32 << 20}, true); err != nil && !wire.IsBatch(lines.Bytes()) {
				a.t.Errorf("stdout carries something else than a message: %.200s", lines.Text())
			}
			a.lines <- lines.Text()
		}
	}()
}

func (a *pipeAgent) say(format string, args ...any) {
	a.t.Helper()
	if _, err := fmt.Fprintf(a.in, format+"\n", args...); err != nil {
		a.t.Fatal(err)
	}
}

// hears is the next line that holds all of want.
func (a *pipeAgent) hears(want ...string) string {
	a.t.Helper()
	select {
	case line, ok := <-a.lines:
		for _, w := range want {
			if !strings.Contains(line, w) {
				a.t.Fatalf("heard %.500s, want %q; stderr: %s", line, w, a.err.String())
			}
		}
		if !ok {
			a.t.Fatalf("stdout ended; stderr: %s", a.err.String())
		}
		return line
	case <-time.After(20 * time.Second):
		a.t.Fatalf("silence, want %q; stderr: %s", want, a.err.String())
		return ""
	}
}

// leave closes stdin and wants a good end, with nothing more said.
func (a *pipeAgent) leave() {
	a.t.Helper()
	a.in.Close()
	for line := range a.lines {
		a.t.Errorf("said after stdin ended: %s", line)
	}
	if code := a.wait(); code != exitDone {
		a.t.Errorf("exit %d: %s", code, a.err.String())
	}
}

const (
	hello       = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"pipe","version":"1"}}}`
	initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	modernMeta  = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
)

// talkOfBothEras is a conversation that must go the same way with a gateway
// elsewhere and with one in this process.
func talkOfBothEras(a *pipeAgent) {
	a.t.Helper()
	a.say(`{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{%s}}`, modernMeta)
	a.hears(`"id":"d"`, `"supportedVersions"`)
	a.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{%s,"name":"pipes__echo","arguments":{"text":"in\ntwo lines"}}}`, modernMeta)
	a.hears(`"id":1,`, `in\ntwo lines`, `"resultType":"complete"`)
	a.say(`{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	a.hears(`"id":2,"error"`, "send initialize first")
	a.say(hello + "\n" + initialized + "\n" + `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`)
	a.hears(`"id":0`, `"protocolVersion":"2025-11-25"`)
	a.hears(`"id":2,"result"`, `"pipes__echo"`)
	a.say(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"pipes__echo","arguments":{"text":"hi"}}}`)
	a.hears(`"id":3,"result"`, `"text":"hi"`)
	a.say(`{"jsonrpc":"2.0","id":4,"method":"ping","method":"ping"}`)
	a.hears(`"id":4,"error":{"code":-32600`) // the gateway's own refusal
	a.say(`nonsense`)
	a.hears(`{"jsonrpc":"2.0","error":{"code":-32700`)
	a.say(`[{"jsonrpc":"2.0","id":5,"method":"ping"}]`)
	a.hears(`"error":{"code":-32600`, "batch")
	a.say(hello[:len(hello)-1] + `,"x":1}`) // again: another session
	a.hears(`"id":0,"result"`)
	a.say("%s", strings.Replace(hello, "2025-11-25", "2025-03-26", 1))
	a.hears(`"protocolVersion":"2025-03-26"`)
	a.say(`[{"jsonrpc":"2.0","id":6,"method":"ping"},{"jsonrpc":"2.0","id":7,"method":"ping"}]`)
	a.hears(`[{"jsonrpc":"2.0","id":`, `"id":6,"result":{}`, `"id":7,"result":{}`)
}

func TestStdioIsABridgeToARunningGateway(t *testing.T) {
	s := newSite(t)
	g := s.serve(t)
	eventually(t, "a ready upstream", func() bool {
		_, body := get(t, g.base+"/readyz")
		return strings.Contains(body, `"upstreams":{"ready":1}`)
	})
	for _, args := range [][]string{{"--url", g.url}, {"--listen", strings.TrimPrefix(g.base, "http://")}, {"--no-auth", "--listen", strings.TrimPrefix(g.base, "http://")}} {
		a := startStdio(t, nil, s.with(args...)...)
		talkOfBothEras(a)
		a.leave()
	}
	a := startStdio(t, nil, "--url", g.url+"/pipes")
	a.say(hello)
	a.hears(`"id":0`)
	a.say(`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"text":"its own name"}}}`)
	a.hears("its own name")
	a.leave()
}

func TestStdioWithoutAGatewayRunsOneItself(t *testing.T) {
	s := newSite(t)
	a := startStdio(t, nil, s.with("--no-auth", "--listen", "127.0.0.1:1", "--log-format", "json")...)
	talkOfBothEras(a)
	a.leave()
	for _, want := range []string{"server.start", "server.stop", `"name":"pipe"`} {
		if _, out, _ := ostiary(t, "audit", "query", "--data", s.data, "--format", "json"); !strings.Contains(out, want) {
			t.Errorf("%s is not on record: %s", want, out)
		}
	}
	if code, _, errs := ostiary(t, "audit", "verify", "--data", s.data); code != exitDone {
		t.Error(errs)
	}
}

func TestStdioNeedsAGatewayOrNoAuth(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSite(t)
	code, out, errs := ostiary(t, s.with("serve", "--stdio", "--listen", "127.0.0.1:1")...)
	if code != exitFailed || out != "" || !strings.Contains(errs, "no gateway answers at http://127.0.0.1:1") || !strings.Contains(errs, "--no-auth") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	// What `serve` refuses, this refuses too.
	if err := os.Mkdir("policies", 0o700); err != nil {
		t.Fatal(err)
	}
	code, _, errs = ostiary(t, s.with("serve", "--stdio", "--no-auth", "--listen", "127.0.0.1:1")...)
	if code != exitFailed || !strings.Contains(errs, "policies") {
		t.Errorf("exit %d, %q", code, errs)
	}
	c := &console{env: map[string]string{tokenVariable: "canary"}}
	if code := c.run(t.Context(), "serve", "--stdio", "--url", "http://gateway.example.com/mcp"); code != exitUsage || !strings.Contains(c.err.String(), "in clear text") || strings.Contains(c.err.String(), "canary") {
		t.Errorf("a token in clear text: exit %d, %q", code, c.err.String())
	}
}

// scriptedGateway is an endpoint that a test writes itself.
type scriptedGateway struct {
	*httptest.Server
	serve func(w http.ResponseWriter, r *http.Request, m *wire.Message) // POSTs; m is nil for what does not parse
	get   func(w http.ResponseWriter, r *http.Request)                  // nil = 405

	mu   sync.Mutex
	seen []seenRequest
}

type seenRequest struct {
	what   string // HTTP method, and that of the message
	header http.Header
	body   string
}

func newScriptedGateway(t *testing.T, serve func(w http.ResponseWriter, r *http.Request, m *wire.Message)) *scriptedGateway {
	g := &scriptedGateway{serve: serve}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, _ := wire.Parse(body, wire.Limits{Bytes: 32 << 20})
		what := r.Method
		if m != nil {
			what += " " + m.Method
		}
		g.mu.Lock()
		g.seen = append(g.seen, seenRequest{what, r.Header.Clone(), string(body)})
		g.mu.Unlock()
		switch {
		case r.Method == http.MethodGet && g.get != nil:
			g.get(w, r)
		case r.Method != http.MethodPost:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case m != nil && m.Method == "initialize":
			w.Header().Set("Mcp-Session-Id", "session-1")
			sendAnswer(w, 200, wire.AppendResult(nil, m.ID, []byte(`{"protocolVersion":"2025-06-18","capabilities":{}}`)))
		case m != nil && m.Kind != wire.Request:
			w.WriteHeader(http.StatusAccepted)
		default:
			g.serve(w, r, m)
		}
	}))
	t.Cleanup(func() { g.CloseClientConnections(); g.Close() })
	return g
}

func sendAnswer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body)
}

// saw waits for a request.
func (g *scriptedGateway) saw(t *testing.T, what string) seenRequest {
	t.Helper()
	var found seenRequest
	eventually(t, what, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		i := slices.IndexFunc(g.seen, func(s seenRequest) bool { return s.what == what })
		if i >= 0 {
			found = g.seen[i]
		}
		return i >= 0
	})
	return found
}

func (g *scriptedGateway) count(what string) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.seen {
		if s.what == what {
			n++
		}
	}
	return n
}

func TestTheBridgeKeepsTheSessionAndShowsTheBearer(t *testing.T) {
	more := make(chan string)
	g := newScriptedGateway(t, func(w http.ResponseWriter, r *http.Request, m *wire.Message) {
		sendAnswer(w, 200, []byte("{\"jsonrpc\":\"2.0\",\r\n \"id\":"+string(m.ID)+",\n\"result\":{\"n\":9007199254740993.10}}\n"))
	})
	g.get = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(wire.AppendPriming(nil, "e0", 1))
		w.(http.Flusher).Flush()
		for {
			select {
			case message, ok := <-more:
				if !ok {
					return
				}
				w.Write(wire.AppendEvent(nil, "e1", []byte(message)))
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
	a := startStdio(t, map[string]string{tokenVariable: " secret-bearer\n"}, "--url", g.URL)
	a.say(hello)
	a.hears(`"protocolVersion":"2025-06-18"`)
	a.say(initialized)
	a.say(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	if got := a.hears(`"id":1`); got != `{"jsonrpc":"2.0",   "id":1, "result":{"n":9007199254740993.10}} ` {
		t.Errorf("%q", got)
	}
	// What belongs to no request comes on the session's stream, and the
	// agent's answers go back.
	more <- `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
	a.hears("list_changed")
	more <- `{"jsonrpc":"2.0","id":"q","method":"roots/list"}`
	a.hears("roots/list")
	a.say(`{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}`)
	if s := g.saw(t, "POST "); s.body != `{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}` {
		t.Error(s.body)
	}
	close(more)
	eventually(t, "the stream opened again", func() bool { return g.count("GET") >= 2 })
	a.leave()
	for _, s := range g.seen {
		version, session := s.header.Get("Mcp-Protocol-Version"), s.header.Get("Mcp-Session-Id")
		if first := s.what == "POST initialize"; first && version+session != "" || !first && (version != "2025-06-18" || session != "session-1") {
			t.Errorf("%s: version %q, session %q", s.what, version, session)
		}
		if s.header.Get("Authorization") != "Bearer secret-bearer" {
			t.Errorf("%s without the bearer", s.what)
		}
	}
	gets := slices.DeleteFunc(slices.Clone(g.seen), func(s seenRequest) bool { return s.what != "GET" })
	if first, second := gets[0].header.Get("Last-Event-Id"), gets[1].header.Get("Last-Event-Id"); first != "" || second != "e1" {
		t.Errorf("opened after %q, again after %q", first, second)
	}
	if g.count("DELETE") != 1 || g.count("POST notifications/initialized") != 1 {
		t.Errorf("%d DELETEs", g.count("DELETE"))
	}
	if strings.Contains(a.err.String(), "secret-bearer") {
		t.Error("the bearer is in the log")
	}
}

func TestTheBridgeLearnsWhichHeadersAToolWants(t *testing.T) {
	g := newScriptedGateway(t, func(w http.ResponseWriter, r *http.Request, m *wire.Message) {
		cursor, _ := m.Params.String("cursor")
		switch {
		case m.Method == "tools/list" && cursor == "":
			sendAnswer(w, 200, wire.AppendResult(nil, m.ID, []byte(`{"tools":[{"name":"other","inputSchema":{"type":"object"}}],"nextCursor":"next"}`)))
		case m.Method == "tools/list":
			sendAnswer(w, 200, wire.AppendResult(nil, m.ID, []byte(`{"tools":[{"name":"query","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}`)))
		case r.Header.Get("Mcp-Param-Region") != "=?base64?TcO8bmNoZW4=?=":
			sendAnswer(w, 400, wire.AppendError(nil, m.ID, &wire.Error{Code: wire.CodeHeaderMismatch, Message: "Mcp-Param-Region is missing"}))
		default:
			sendAnswer(w, 200, wire.AppendResult(nil, m.ID, []byte(`{"ok":true}`)))
		}
	})
	a := startStdio(t, nil, "--url", g.URL)
	call := func(id int, name string) {
		a.say(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{%s,"name":%q,"arguments":{"region":"München"}}}`, id, strings.Replace(modernMeta, `{"io`, `{"progressToken":1,"io`, 1), name)
	}
	call(1, "query")
	a.hears(`"id":1,"result"`)
	call(2, "query")
	a.hears(`"id":2,"result"`)
	if calls, lists := g.count("POST tools/call"), g.count("POST tools/list"); calls != 3 || lists != 2 {
		t.Errorf("%d calls and %d lists for two calls", calls, lists)
	}
	call(3, "unknown") // no header would help: the refusal is the answer
	a.hears(`"id":3,"error":{"code":-32020`)
	for _, s := range g.seen {
		method := strings.TrimPrefix(s.what, "POST ")
		if s.header.Get("Mcp-Protocol-Version") != "2026-07-28" || s.header.Get("Mcp-Method") != method || s.header.Get("Mcp-Session-Id") != "" {
			t.Errorf("%s: %v", s.what, s.header)
		}
		if method == "tools/call" != (s.header.Get("Mcp-Name") != "") || method == "tools/list" && strings.Contains(s.body, "progressToken") {
			t.Errorf("%s: name %q, body %s", s.what, s.header.Get("Mcp-Name"), s.body)
		}
	}
	a.leave()
	if g.count("DELETE")+g.count("GET") != 0 {
		t.Error("a modern agent has no session")
	}
}

func TestTheBridgeCancelsInTheWayOfTheEra(t *testing.T) {
	gone := make(chan bool)
	g := newScriptedGateway(t, func(w http.ResponseWriter, r *http.Request, m *wire.Message) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(wire.AppendEvent(nil, "", []byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`)))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		gone <- true
	})
	a := startStdio(t, nil, "--url", g.URL)
	a.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{%s,"name":"slow"}}`, modernMeta)
	a.hears("notifications/progress")
	a.say(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{%s,"name":"slow"}}`, modernMeta)
	a.hears(`"id":1,"error":{"code":-32600`, "still in flight")
	a.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	<-gone
	a.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"none"}}`)
	if g.count("POST notifications/cancelled") != 0 {
		t.Error("a modern cancellation was POSTed")
	}
	a.say(hello)
	a.hears(`"id":0`)
	a.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"slow"}}`)
	a.hears("notifications/progress")
	a.say(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`)
	g.saw(t, "POST notifications/cancelled")
	// A subscription has no end of its own: it does not keep the bridge alive.
	a.say(`{"jsonrpc":"2.0","id":3,"method":"subscriptions/listen","params":{%s,"notifications":{}}}`, modernMeta)
	a.hears("notifications/progress")
	go func() { <-gone; <-gone }()
	a.leave()
	if g.count("DELETE") != 1 {
		t.Errorf("%d DELETEs", g.count("DELETE"))
	}
}

func TestTheBridgeAnswersWhatTheGatewayDoesNot(t *testing.T) {
	g := newScriptedGateway(t, func(w http.ResponseWriter, r *http.Request, m *wire.Message) {
		switch m.Method {
		case "html":
			http.Error(w, "<html>", http.StatusBadGateway)
		case "moved":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		case "anonymous":
			sendAnswer(w, 401, []byte(`{"jsonrpc":"2.0","error":{"code":-32600,"message":"a bearer token is needed"}}`))
		case "cut":
			w.Header().Set("Content-Type", "text/event-stream")
			w.Write([]byte(": hello\n\n"))
		case "garbage":
			sendAnswer(w, 200, []byte("SECRET"))
		}
	})
	a := startStdio(t, nil, "--url", g.URL)
	for method, want := range map[string]string{
		"html": "HTTP 502", "moved": "HTTP 307", "anonymous": "a bearer token is needed", "cut": "it is not known whether the request ran", "garbage": "HTTP 200",
	} {
		a.say(`{"jsonrpc":"2.0","id":%q,"method":%q}`, method, method)
		if got := a.hears(`"id":"`+method+`","error"`, want); strings.Contains(got, "SECRET") {
			t.Error(got)
		}
	}
	if !strings.Contains(a.err.String(), "set OSTIARY_TOKEN") {
		t.Errorf("no hint: %s", a.err.String())
	}
	g.Close()
	a.say(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	a.hears(`"id":1,"error":{"code":-31002`, "did not run")
	a.say(initialized) // nobody waits for an answer to this
	a.leave()
}

func TestALineOverTheLimitIsAnsweredAndLeftOut(t *testing.T) {
	const limit = 64 << 10
	g := newScriptedGateway(t, func(w http.ResponseWriter, r *http.Request, m *wire.Message) {
		sendAnswer(w, 200, wire.AppendResult(nil, m.ID, nil))
	})
	a := startStdio(t, map[string]string{"OSTIARY_LIMITS_BODY": "64KiB"}, "--url", g.URL)
	line := func(id, size int) string {
		head, tail := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"x","params":{"a":"`, id), `"}}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	a.say("%s", line(1, limit))
	a.hears(`"id":1,"result"`)
	a.say("%s", line(2, limit+1))
	a.hears(`"error":{"code":-32600`, "limits.body")
	a.say("\n   \n%s", line(3, 200))
	a.hears(`"id":3,"result"`)
	a.leave()
}

func TestRequestsInFlightAreBounded(t *testing.T) {
	release := make(chan bool)
	g := newScriptedGateway(t, func(w http.ResponseWriter, r *http.Request, m *wire.Message) {
		<-release
		sendAnswer(w, 200, wire.AppendResult(nil, m.ID, nil))
	})
	a := startStdio(t, nil, "--url", g.URL)
	for id := range bridgeCalls {
		a.say(`{"jsonrpc":"2.0","id":%d,"method":"x"}`, id)
	}
	a.say(`{"jsonrpc":"2.0","id":"one more","method":"x"}`)
	a.hears(`"id":"one more","error":{"code":-31007`)
	close(release)
	for range bridgeCalls {
		a.hears(`"result"`)
	}
	a.leave()
}

// The real thing: a process that an agent's own library starts and ends.
func TestMcpGosClientOverStdio(t *testing.T) {
	s := newSite(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{wire.Version20241105, wire.Version20251125, wire.Version20260728} {
		// The race detector makes a process linger for longer than the client waits.
		env := []string{asProgram + "=1", "GORACE=atexit_sleep_ms=0"}
		c, err := client.NewStdioMCPClient(self, env, s.with("serve", "--stdio", "--no-auth", "--listen", "127.0.0.1:1")...)
		if err != nil {
			t.Fatal(err)
		}
		start := mcp.InitializeRequest{}
		start.Params.ProtocolVersion = version
		start.Params.ClientInfo = mcp.Implementation{Name: "mcp-go", Version: "1"}
		if _, err := c.Initialize(t.Context(), start); err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		call := mcp.CallToolRequest{}
		call.Params.Name, call.Params.Arguments = "pipes__echo", map[string]any{"text": "héllo"}
		result, err := c.CallTool(t.Context(), call)
		if raw, _ := json.Marshal(result); err != nil || !strings.Contains(string(raw), "héllo") {
			t.Errorf("%s: %s, %v", version, raw, err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestTheProcessOnStdioEndsWithItsInputOrATerm(t *testing.T) {
	s := newSite(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(*exec.Cmd, io.Closer){
		"stdin ends": func(_ *exec.Cmd, in io.Closer) { in.Close() },
		"SIGTERM":    func(cmd *exec.Cmd, _ io.Closer) { cmd.Process.Signal(syscall.SIGTERM) },
	} {
		cmd := exec.Command(self, s.with("serve", "--stdio", "--no-auth", "--listen", "127.0.0.1:1")...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		a := &pipeAgent{t: t, err: &syncBuffer{}}
		cmd.Stderr = a.err
		var out io.Reader
		if a.in, err = cmd.StdinPipe(); err == nil {
			out, err = cmd.StdoutPipe()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		a.follow(out)
		a.say(hello)
		a.hears(`"id":0`)
		end(cmd, a.in)
		for range a.lines { // to its end
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v: %s", name, err, a.err.String())
		}
		if code, _, errs := ostiary(t, "audit", "verify", "--data", s.data); code != exitDone {
			t.Errorf("%s: the log: %s", name, errs)
		}
		if _, err := os.Stat(filepath.Join(s.data, "audit")); err != nil {
			t.Error(err)
		}
	}
}
