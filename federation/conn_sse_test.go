package federation

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

// sseUpstream is a server of MCP 2024-11-05. Everything but its lists of what
// came in is fixed before it is dialled.
type sseUpstream struct {
	*httptest.Server
	serve    func(send func(string), m rpc) // on a goroutine of its own
	endpoint string                         // data of the endpoint event; %d is the session
	status   int                            // of POSTs of requests other than initialize; 0 = 202
	post     int                            // of POSTs to the stream's own URL
	late     bool                           // answers come before the POST's 202

	mu      sync.Mutex
	opened  int
	streams map[string]func(string)
	cut     map[string]context.CancelFunc
	seen    []rpc
	headers []http.Header
}

func newSSEUpstream(t *testing.T, serve func(send func(string), m rpc)) *sseUpstream {
	u := &sseUpstream{serve: serve, endpoint: "/message?session=%d", post: http.StatusNotFound, streams: map[string]func(string){}, cut: map[string]context.CancelFunc{}}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Close)
	return u
}

func (u *sseUpstream) entry(transport catalogs.Transport) *catalogs.Upstream {
	e := entryFor(u.URL + "/sse")
	e.Transport = transport
	return e
}

func (u *sseUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/sse":
		u.stream(w, r)
		return
	case r.Method != http.MethodPost || r.URL.Path != "/message":
		w.WriteHeader(u.post)
		return
	}
	m := readRPC(r)
	session := r.URL.Query().Get("session")
	u.mu.Lock()
	send := u.streams[session]
	u.seen = append(u.seen, m)
	u.headers = append(u.headers, r.Header.Clone())
	u.mu.Unlock()
	switch {
	case send == nil:
		http.Error(w, "SECRET-BODY", http.StatusNotFound)
		return
	case m.Method == "initialize":
		send(m.result(strings.Replace(helloResult, "2025-11-25", "2024-11-05", 1)))
	case m.ID != nil && m.Method != "" && u.status != 0:
		w.WriteHeader(u.status)
		return
	case m.ID != nil && m.Method != "" && u.late:
		u.serve(send, m)
	case m.ID != nil && m.Method != "":
		go u.serve(send, m)
	}
	w.WriteHeader(http.StatusAccepted)
}

func (u *sseUpstream) stream(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream")
	var mu sync.Mutex
	write := func(event string) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			fmt.Fprint(w, event)
			w.(http.Flusher).Flush()
		}
	}
	u.mu.Lock()
	u.opened++
	session := fmt.Sprint(u.opened)
	u.streams[session] = func(data string) { write("event: message\ndata: " + data + "\n\n") }
	u.cut[session] = func() { mu.Lock(); defer mu.Unlock(); cancel() }
	u.headers = append(u.headers, r.Header.Clone())
	u.mu.Unlock()
	write(": hello\n\nevent: endpoint\ndata: " + strings.ReplaceAll(u.endpoint, "%d", session) + "\n\n")
	<-ctx.Done()
	mu.Lock() // nobody writes any more
	defer mu.Unlock()
}

// forget loses a session whose stream stays open, as a broken proxy does.
func (u *sseUpstream) forget(session string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.streams, session)
}

func (u *sseUpstream) count(method string) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, m := range u.seen {
		if m.Method == method {
			n++
		}
	}
	return n
}

// got waits for a message that ok accepts.
func (u *sseUpstream) got(t *testing.T, what string, ok func(rpc) bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		u.mu.Lock()
		found := slices.ContainsFunc(u.seen, ok)
		u.mu.Unlock()
		if found {
			return
		}
	}
	t.Fatalf("upstream never got %s", what)
}

func echoEvent(send func(string), m rpc) { send(m.result(fmt.Sprintf(`{"echo":%s}`, m.Params))) }

func TestSSESessionFromHelloToGoodbye(t *testing.T) {
	leavesNothing(t)
	u := newSSEUpstream(t, echoEvent)
	cred := credential.Credential{Authorize: func(r *http.Request) error {
		r.Header.Set("X-Key", "canary")
		r.URL, r.Host = &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, "elsewhere" // not its to say
		return nil
	}}
	c, err := dial(t.Context(), dialConfig{Upstream: u.entry(catalogs.SSE), Credential: cred})
	if err != nil {
		t.Fatal(err)
	}
	if p := c.peer(); p.Era != wire.Legacy || p.Version != "2024-11-05" || !p.has("tools", "") {
		t.Errorf("peer %+v", p)
	}
	a, err := c.do(t.Context(), echoCall())
	if err != nil || string(a.Result) != `{"echo":{"name":"echo","arguments":{"a":1}}}` || a.Era != wire.Legacy {
		t.Errorf("%+v %v", a, err)
	}
	if u.count("notifications/initialized") != 1 || u.count("server/discover") != 0 {
		t.Errorf("came in: %+v", u.seen)
	}
	allowed := []string{"Accept", "Cache-Control", "Content-Type", "User-Agent", "Content-Length", "X-Key"}
	for _, h := range u.headers {
		for k := range h {
			if !slices.Contains(allowed, k) {
				t.Errorf("header %s", k)
			}
		}
		if h.Get("X-Key") != "canary" {
			t.Error("a request without the credential")
		}
	}
	if err := c.close(t.Context()); err != nil {
		t.Error(err)
	}
	<-c.done()
	_, err = c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnavailable)
}

// MCP 2025-11-25, Transports, Backwards Compatibility.
func TestAutoFallsBackToSSEWhereTheStatusAllowsAndAnEndpointIsNamed(t *testing.T) {
	leavesNothing(t)
	for _, tt := range []struct {
		status    int
		transport catalogs.Transport
		known     *wire.Era
		ok        bool
	}{
		{400, catalogs.Auto, nil, true},
		{404, catalogs.Auto, nil, true},
		{405, catalogs.Auto, nil, true},
		{404, catalogs.Auto, era(wire.Legacy), true},
		{404, catalogs.Auto, era(wire.Modern), true},
		{404, catalogs.StreamableHTTP, nil, false},
		{410, catalogs.Auto, nil, false},
		{401, catalogs.Auto, nil, false},
		{500, catalogs.Auto, nil, false},
	} {
		u := newSSEUpstream(t, echoEvent)
		u.post = tt.status
		c, err := dial(t.Context(), dialConfig{Upstream: u.entry(tt.transport), Era: tt.known})
		if (err == nil) != tt.ok {
			t.Errorf("%d, %s: %v", tt.status, tt.transport, err)
		}
		if err != nil {
			wantKind(t, err, ErrUnavailable)
			continue
		}
		if _, err := c.do(t.Context(), echoCall()); err != nil {
			t.Errorf("%d, %s: %v", tt.status, tt.transport, err)
		}
		c.close(t.Context())
		u.Close()
	}
	// A server that has neither transport is told by what its POST said.
	for name, get := range map[string]http.HandlerFunc{
		"no GET":         func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(405) },
		"html":           func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>SECRET-BODY") },
		"another stream": func(w http.ResponseWriter, r *http.Request) { sendEvents(w)(`{"jsonrpc":"2.0","method":"x"}`) },
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				get(w, r)
				return
			}
			w.WriteHeader(404)
		}))
		_, err := dial(t.Context(), dialConfig{Upstream: entryFor(s.URL)})
		if f := wantKind(t, err, ErrUnavailable); !strings.Contains(f.Detail, "HTTP 404 to initialize") {
			t.Errorf("%s: %v", name, f)
		}
		s.Close()
	}
}

func TestEndpointMustHaveTheOriginOfTheEntry(t *testing.T) {
	base, _ := url.Parse("https://mcp.example.com/a/sse?k=v")
	long := func(n int) string { return "/" + strings.Repeat("x", n-1) }
	for named, want := range map[string]string{
		"/message?s=1":                              "https://mcp.example.com/message?s=1",
		"message?s=1":                               "https://mcp.example.com/a/message?s=1",
		"?s=1":                                      "https://mcp.example.com/a/sse?s=1",
		"https://MCP.example.com:443/m#f":           "https://MCP.example.com:443/m",
		"http://mcp.example.com/m":                  "",
		"https://mcp.example.com:8443/m":            "",
		"https://mcp.example.com.evil.com/m":        "",
		"https://evil.com/m":                        "",
		"//evil.com/m":                              "",
		`\\evil.com/m`:                              "https://mcp.example.com/a/%5C%5Cevil.com/m",
		"https://user:secret@mcp.example.com/m":     "",
		"https://mcp.example.com@evil.com/m":        "",
		"http://169.254.169.254/latest/meta-data/":  "",
		"file:///etc/passwd":                        "",
		"javascript:alert(1)":                       "",
		"https://mcp.example.com/%zz":               "",
		long(maxEndpointURL):                        "https://mcp.example.com" + long(maxEndpointURL),
		long(maxEndpointURL + 1):                    "",
		"https:///m":                                "",
		"https://mcp.example.com:/m":                "https://mcp.example.com:/m",
		"https://[::ffff:127.0.0.1]/m":              "",
		"https://mcp.example.com/m\x00":             "",
		"https://mcp.example.com\u3002evil.com/m":   "",
		"https://mcp.example.com/../../m?x=../sse#": "https://mcp.example.com/m?x=../sse",
	} {
		u, err := postURL(base, named)
		if want == "" && err == nil || want != "" && (err != nil || u.String() != want) {
			t.Errorf("%.60q: %v, %v, want %.60q", named, u, err, want)
		}
	}
	reached := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached <- r.Method }))
	defer other.Close()
	leavesNothing(t)
	u := newSSEUpstream(t, echoEvent)
	u.endpoint = other.URL + "/message?session=%d"
	for _, transport := range []catalogs.Transport{catalogs.SSE, catalogs.Auto} {
		_, err := dial(t.Context(), dialConfig{Upstream: u.entry(transport)})
		if f := wantKind(t, err, ErrUnavailable); !strings.Contains(f.Detail, "another origin") {
			t.Error(f)
		}
	}
	if len(reached) != 0 {
		t.Error("the foreign endpoint was called")
	}
	u.Close()
}

func TestSSEStreamThatBreaksEndsItsCallsWithUnknownOutcome(t *testing.T) {
	leavesNothing(t)
	u := newSSEUpstream(t, func(func(string), rpc) {})
	c := connect(t, dialConfig{Upstream: u.entry(catalogs.SSE)})
	ended := make(chan error)
	for range 3 {
		go func() {
			_, err := c.do(t.Context(), echoCall())
			ended <- err
		}()
	}
	u.got(t, "three calls", func(rpc) bool {
		return len(slices.DeleteFunc(slices.Clone(u.seen), func(m rpc) bool { return m.Method != "tools/call" })) == 3
	})
	u.cut["1"]()
	for range 3 {
		wantKind(t, <-ended, ErrUnknownOutcome)
	}
	<-c.done()
	_, err := c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnavailable)
	if n := u.count("tools/call"); n != 3 {
		t.Errorf("%d calls reached the upstream", n)
	}
	// The next connection is another session.
	u.serve = echoEvent
	if _, err := connect(t, dialConfig{Upstream: u.entry(catalogs.SSE)}).do(t.Context(), echoCall()); err != nil || u.opened != 2 {
		t.Errorf("%v, %d sessions", err, u.opened)
	}
	u.CloseClientConnections()
}

func TestSSESessionThatIsRefusedTakesNoMoreCallsAndLosesNone(t *testing.T) {
	release := make(chan bool)
	u := newSSEUpstream(t, func(send func(string), m rpc) { <-release; echoEvent(send, m) })
	c := connect(t, dialConfig{Upstream: u.entry(catalogs.SSE)})
	ended := make(chan error)
	go func() {
		_, err := c.do(t.Context(), echoCall())
		ended <- err
	}()
	u.got(t, "the call", func(m rpc) bool { return m.Method == "tools/call" })
	u.forget("1")
	_, err := c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnavailable)
	<-c.done()
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the call under way: %v", err)
	}
}

func TestSSEPostThatFailsIsJudgedByItsStatus(t *testing.T) {
	for status, kind := range map[int]error{
		301: ErrUnavailable, 401: ErrUnavailable, 403: ErrUnavailable, 413: ErrUnavailable, 429: ErrUnavailable,
		500: ErrUnknownOutcome, 502: ErrUnknownOutcome, 503: ErrUnavailable,
	} {
		u := newSSEUpstream(t, nil)
		u.status = status
		c := connect(t, dialConfig{Upstream: u.entry(catalogs.SSE)})
		_, err := c.do(t.Context(), echoCall())
		wantKind(t, err, kind)
		select {
		case <-c.done():
			t.Errorf("%d ended the connection", status)
		default:
		}
	}
}

func TestSSEAnswerMayComeBeforeThePostIsTaken(t *testing.T) {
	leavesNothing(t)
	u := newSSEUpstream(t, echoEvent)
	u.late = true
	c := connect(t, dialConfig{Upstream: u.entry(catalogs.SSE)})
	for range 20 {
		if _, err := c.do(t.Context(), echoCall()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSSEQuestionNeedsExactlyOneCall(t *testing.T) {
	leavesNothing(t)
	question := make(chan string)
	u := newSSEUpstream(t, func(send func(string), m rpc) {
		if q, ok := <-question; ok {
			send(q)
			return
		}
		echoEvent(send, m)
	})
	c := connect(t, dialConfig{Upstream: u.entry(catalogs.SSE), Capabilities: []byte(`{"elicitation":{}}`)})
	call := func(ended chan<- error) {
		k := echoCall()
		k.Ask = func(context.Context, string, []byte) ([]byte, *wire.Error, error) {
			return []byte(`{"action":"accept"}`), nil, nil
		}
		_, err := c.do(t.Context(), k)
		ended <- err
	}
	ended := make(chan error, 2)
	go call(ended)
	question <- `{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{}}`
	u.got(t, "the agent's answer", func(m rpc) bool { return string(m.ID) == `"q1"` && string(m.Result) == `{"action":"accept"}` })
	go call(ended)
	question <- `{"jsonrpc":"2.0","id":"q2","method":"elicitation/create","params":{}}`
	u.got(t, "the refusal", func(m rpc) bool { return string(m.ID) == `"q2"` && strings.Contains(string(m.Error), "-32602") })
	u.cut["1"]()
	wantKind(t, <-ended, ErrUnknownOutcome)
	wantKind(t, <-ended, ErrUnknownOutcome)
	u.CloseClientConnections()
}

func TestSSEAnswersToOtherRequestsCountForNobody(t *testing.T) {
	u := newSSEUpstream(t, func(send func(string), m rpc) {
		send(`{"jsonrpc":"2.0","id":99,"result":{"a":"lie"}}`)
		send(`{"jsonrpc":"2.0","id":"` + string(m.ID) + `","result":{"another":"type"}}`)
		send(`not a message SECRET-BODY`)
		send(m.result(`{"true":1}`))
		send(m.result(`{"twice":1}`))
	})
	c := connect(t, dialConfig{Upstream: u.entry(catalogs.SSE)})
	for range 5 {
		if a, err := c.do(t.Context(), echoCall()); err != nil || string(a.Result) != `{"true":1}` {
			t.Fatalf("%+v %v", a, err)
		}
	}
	u.serve = func(send func(string), m rpc) {
		send(m.result(`{"tools":[{"name":"a","x":1,"x":2}]}`))
	}
	_, err := c.do(t.Context(), echoCall())
	wantKind(t, err, ErrBadAnswer)
	// In a list, one malformed item must not cost the others.
	if _, err := c.do(t.Context(), &Call{Method: "tools/list", Params: []byte(`{}`)}); err != nil {
		t.Error(err)
	}
}

func TestSSEEventOverTheLimitEndsTheStream(t *testing.T) {
	const limit = 4 << 10
	for _, extra := range []int{0, 1} {
		u := newSSEUpstream(t, func(send func(string), m rpc) {
			frame := len(`data: `) + len(m.result(`""`)) + len(`event: message`)
			send(m.result(`"` + strings.Repeat("x", limit-frame+extra) + `"`))
		})
		e := u.entry(catalogs.SSE)
		e.Limits.Response = limit
		_, err := connect(t, dialConfig{Upstream: e}).do(t.Context(), echoCall())
		if extra == 0 && err != nil {
			t.Errorf("just below: %v", err)
		} else if extra == 1 {
			wantKind(t, err, ErrTooLarge)
		}
	}
}

func TestSSECancellationIsTold(t *testing.T) {
	leavesNothing(t)
	u := newSSEUpstream(t, func(func(string), rpc) {})
	c := connect(t, dialConfig{Upstream: u.entry(catalogs.SSE)})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for u.count("tools/call") == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := c.do(ctx, echoCall())
	wantKind(t, err, ErrCancelled)
	call := echoCall()
	call.Item = &Item{Timeout: 500 * time.Millisecond}
	_, err = c.do(t.Context(), call)
	wantKind(t, err, ErrTimeout)
	for _, id := range []string{"2", "3"} {
		u.got(t, "the cancellation of "+id, func(m rpc) bool {
			return m.Method == methodCancelled && strings.Contains(string(m.Params), `"requestId":`+id+`,`)
		})
	}
	u.CloseClientConnections()
}

func TestSSEServerThatNeverSaysHelloIsGivenUp(t *testing.T) {
	leavesNothing(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "event: endpoint\ndata: /message\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		w.WriteHeader(202)
	}))
	defer s.Close()
	e := entryFor(s.URL)
	e.Transport = catalogs.SSE
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := dial(ctx, dialConfig{Upstream: e})
	wantKind(t, err, ErrCancelled)
}

func TestAgainstMcpGoOverSSE(t *testing.T) {
	s := server.NewMCPServer("mcp-go", "1", server.WithToolCapabilities(true), server.WithResourceCapabilities(true, true))
	s.AddTool(mcp.NewTool("echo", mcp.WithString("text")), func(ctx context.Context, r mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if r.Params.Meta != nil && r.Params.Meta.ProgressToken != nil {
			s.SendNotificationToClient(ctx, "notifications/progress", map[string]any{"progressToken": r.Params.Meta.ProgressToken, "progress": 1})
		}
		return mcp.NewToolResultText(r.GetString("text", "")), nil
	})
	s.AddTool(mcp.NewTool("grow"), func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		s.AddTool(mcp.NewTool("grown"), nil)
		return mcp.NewToolResultText("grown"), nil
	})
	sse := server.NewSSEServer(s)
	ts := httptest.NewServer(sse)
	defer ts.Close()
	defer sse.CloseSessions()
	c := connect(t, dialConfig{Upstream: entryFor(ts.URL + "/sse")}) // found out, not told
	if p := c.peer(); p.Era != wire.Legacy || !strings.Contains(string(p.ServerInfo), "mcp-go") {
		t.Errorf("peer %+v", p)
	}
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			call := &Call{Method: "tools/call", Params: fmt.Appendf(nil, `{"name":"echo","arguments":{"text":"n%dé"}}`, n)}
			call.ProgressToken, call.Notify = []byte(`"mine"`), func(_ string, params []byte) {
				if !strings.Contains(string(params), `"progressToken":"mine"`) {
					t.Errorf("%s", params)
				}
			}
			a, err := c.do(t.Context(), call)
			if err != nil || !strings.Contains(string(a.Result), fmt.Sprintf(`"n%dé"`, n)) {
				t.Errorf("%+v %v", a, err)
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changed := make(chan string, 10)
	ended := make(chan error)
	ready := make(chan bool)
	go func() {
		ended <- c.listen(ctx, listenFilter{Tools: true}, func() { close(ready) }, func(m string, _ []byte) { changed <- m })
	}()
	<-ready
	if _, err := c.do(t.Context(), &Call{Method: "tools/call", Params: []byte(`{"name":"grow"}`)}); err != nil {
		t.Error(err)
	}
	if m := <-changed; m != toolsChanged {
		t.Error(m)
	}
	cancel()
	<-ended
	a, err := c.do(t.Context(), &Call{Method: "no/such", Params: []byte(`{}`)})
	if err != nil || a.Error == nil || a.Error.Code != -32601 {
		t.Errorf("unknown method: %+v %v", a, err)
	}
}

// A session that the server forgot costs the agent nothing: the pool opens
// another, and the call, which was not executed, runs there.
func TestFederationOverSSESurvivesALostSession(t *testing.T) {
	u := newSSEUpstream(t, func(send func(string), m rpc) {
		if m.Method == "tools/list" {
			send(m.result(`{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}`))
			return
		}
		echoEvent(send, m)
	})
	w := &world{Federation: New(Config{Version: "test"}), t: t}
	defer u.CloseClientConnections()
	defer w.stop()
	e := entry("old")
	e.URL, e.Transport = u.URL+"/sse", catalogs.Auto
	w.apply(e)
	equal(t, "tools", w.names(Merged, Tool), []string{"old__echo"})
	mustCall(t, w, user("u"), toolCall("old", "echo"))
	for n := range 3 {
		u.forget(fmt.Sprint(n + 1))
	}
	mustCall(t, w, user("u"), toolCall("old", "echo"))
	if n := u.count("tools/call"); n != 3 { // one of them refused
		t.Errorf("%d calls posted", n)
	}
}
