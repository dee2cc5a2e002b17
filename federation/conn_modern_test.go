package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

func TestModernCallIsOnePostWithTheGatewaysOwnMetadata(t *testing.T) {
	leavesNothing(t)
	var got rpc
	var header http.Header
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		got, header = m, r.Header.Clone()
		sendJSON(w, 200, m.result(`{"content":[],"n":12345678901234567890123.450}`))
	})
	c := connect(t, dialConfig{Upstream: entryFor(s.URL)})
	if p := c.peer(); p.Era != wire.Modern || p.Instructions != "be kind" || string(p.ServerInfo) != `{"name":"s","version":"1"}` {
		t.Errorf("peer %+v", p)
	}
	call := echoCall()
	call.Meta = []byte(`{"traceparent":"00-a-b-01","progressToken":"stolen","io.modelcontextprotocol/protocolVersion":"x"}`)
	call.Agent = Agent{Capabilities: []byte(`{"elicitation":{}}`), LogLevel: "info"}
	call.Item = &Item{ParamHeaders: []wire.ParamHeader{{Name: "A", Path: []string{"a"}, Type: "integer"}}}
	a, err := c.do(t.Context(), call)
	if err != nil {
		t.Fatal(err)
	}
	if string(a.Result) != `{"content":[],"n":12345678901234567890123.450}` || a.Era != wire.Modern {
		t.Errorf("answer %s", a.Result)
	}
	want := `{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"ostiary","version":"1.2.3"},` +
		`"io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"io.modelcontextprotocol/logLevel":"info","traceparent":"00-a-b-01"},` +
		`"name":"echo","arguments":{"a":1}}`
	if string(got.Params) != want {
		t.Errorf("params %s\nwant   %s", got.Params, want)
	}
	allowed := map[string]string{
		"Accept": "application/json, text/event-stream", "Content-Type": "application/json", "User-Agent": "ostiary/1.2.3",
		"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "echo", "Mcp-Param-A": "1", "Content-Length": header.Get("Content-Length"),
	}
	for k, v := range header {
		if allowed[k] != strings.Join(v, "|") {
			t.Errorf("header %s: %q", k, v)
		}
		delete(allowed, k)
	}
	if len(allowed) > 0 {
		t.Errorf("headers missing: %v", allowed)
	}
}

func TestModernErrorIsAnAnswerWhateverItsStatus(t *testing.T) {
	for _, status := range []int{200, 400, 404, 500} {
		s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
			sendJSON(w, status, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32020,"message":"m","data":{"x":1}}}`, m.ID))
		})
		a, err := connect(t, dialConfig{Upstream: entryFor(s.URL)}).do(t.Context(), echoCall())
		if err != nil || a.Error == nil || a.Error.Code != -32020 || string(a.Error.Data) != `{"x":1}` {
			t.Errorf("HTTP %d: %+v, %v", status, a, err)
		}
	}
}

// case.
func TestUnusableAnswersBecomeCleanFailures(t *testing.T) {
	leavesNothing(t)
	respond := func(status int, kind, body string, more ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			for n := 0; n+1 < len(more); n += 2 {
				w.Header().Set(more[n], more[n+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	const j = "application/json"
	cases := []struct {
		name  string
		serve http.HandlerFunc
		kind  error
		after time.Duration
	}{
		{name: "wrong id", serve: respond(200, j, `{"jsonrpc":"2.0","id":999,"result":{"SECRET-BODY":1}}`), kind: ErrBadAnswer},
		{name: "id of another type", serve: respond(200, j, `{"jsonrpc":"2.0","id":"2","result":{}}`), kind: ErrBadAnswer},
		{name: "no id", serve: respond(200, j, `{"jsonrpc":"2.0","error":{"code":1,"message":"SECRET-BODY"}}`), kind: ErrBadAnswer},
		{name: "result and error", serve: respond(200, j, `{"jsonrpc":"2.0","id":2,"result":{},"error":{"code":1,"message":"SECRET-BODY"}}`), kind: ErrBadAnswer},
		{name: "neither", serve: respond(200, j, `{"jsonrpc":"2.0","id":2}`), kind: ErrBadAnswer},
		{name: "no jsonrpc", serve: respond(200, j, `{"id":2,"result":{}}`), kind: ErrBadAnswer},
		{name: "batch", serve: respond(200, j, `[{"jsonrpc":"2.0","id":2,"result":{}}]`), kind: ErrBadAnswer},
		{name: "notification", serve: respond(200, j, `{"jsonrpc":"2.0","method":"notifications/message"}`), kind: ErrBadAnswer},
		{name: "duplicate key", serve: respond(200, j, `{"jsonrpc":"2.0","id":2,"result":{"a":1,"a":2}}`), kind: ErrBadAnswer},
		{name: "login page", serve: respond(200, "text/html", `<html>SECRET-BODY`), kind: ErrBadAnswer},
		{name: "html said to be json", serve: respond(200, j, `<html>SECRET-BODY`), kind: ErrBadAnswer},
		{name: "nothing", serve: respond(202, j, ``), kind: ErrBadAnswer},
		{name: "compressed", serve: respond(200, j, "\x1f\x8b", "Content-Encoding", "gzip"), kind: ErrBadAnswer},
		{name: "stack trace", serve: respond(500, "text/plain", `SECRET-BODY at main.go`), kind: ErrUnknownOutcome},
		{name: "broken gateway", serve: respond(502, "text/html", `SECRET-BODY`), kind: ErrUnknownOutcome},
		{name: "401", serve: respond(401, j, `{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"SECRET-BODY"}}`), kind: ErrUnavailable},
		{name: "403", serve: respond(403, j, `{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"SECRET-BODY"}}`), kind: ErrUnavailable},
		{name: "429", serve: respond(429, j, `{}`, "Retry-After", "7"), kind: ErrUnavailable, after: 7 * time.Second},
		{name: "503", serve: respond(503, j, `{}`, "Retry-After", "99999999"), kind: ErrUnavailable, after: maxRetryAfter},
		{name: "400 without json", serve: respond(400, "text/plain", `SECRET-BODY`), kind: ErrUnavailable},
		{name: "wrong id on a stream", serve: respond(200, "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"id\":999,\"result\":{}}\n\n"), kind: ErrBadAnswer},
		{name: "garbage on a stream", serve: respond(200, "text/event-stream", "data: SECRET-BODY\n\n"), kind: ErrBadAnswer},
		{name: "stream without an answer", serve: respond(200, "text/event-stream", "data:\n\n"), kind: ErrUnknownOutcome},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) { tt.serve(w, r) })
			_, err := connect(t, dialConfig{Upstream: entryFor(s.URL)}).do(t.Context(), echoCall())
			if f := wantKind(t, err, tt.kind); f.RetryAfter != tt.after {
				t.Errorf("retry after %v", f.RetryAfter)
			}
		})
	}
}

func TestErrorWithoutIDIsOursWhereHTTPSaysSo(t *testing.T) {
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		sendJSON(w, 400, `{"jsonrpc":"2.0","error":{"code":-32020,"message":"m"}}`)
	})
	a, err := connect(t, dialConfig{Upstream: entryFor(s.URL)}).do(t.Context(), echoCall())
	if err != nil || a.Error.Code != -32020 {
		t.Fatalf("%+v %v", a, err)
	}
}

// Credentials must not travel along a redirect.
func TestRedirectIsNotFollowed(t *testing.T) {
	var visited atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Add(1) }))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
			if r.Header.Get("X-Key") != "canary" {
				t.Error("the upstream itself got no credential")
			}
			http.Redirect(w, r, other.URL, status)
		})
		cred := credential.Credential{Authorize: func(r *http.Request) error { r.Header.Set("X-Key", "canary"); return nil }}
		_, err := connect(t, dialConfig{Upstream: entryFor(s.URL), Credential: cred}).do(t.Context(), echoCall())
		wantKind(t, err, ErrUnavailable)
	}
	if visited.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

func TestCredentialThatFailsMeansNotExecuted(t *testing.T) {
	var calls atomic.Int32
	s := modernUpstream(t, func(http.ResponseWriter, *http.Request, rpc) { calls.Add(1) })
	broken := false
	cred := credential.Credential{Authorize: func(*http.Request) error {
		if broken {
			return errors.New("expired")
		}
		return nil
	}}
	c := connect(t, dialConfig{Upstream: entryFor(s.URL), Credential: cred})
	broken = true
	_, err := c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnavailable)
	if calls.Load() != 0 {
		t.Error("the call was made bare")
	}
}

// case A-075.
func TestAnswerSizeLimit(t *testing.T) {
	const limit = 64 << 10
	sized := func(m rpc, n int) string {
		empty := m.result(`{"text":""}`)
		return m.result(`{"text":"` + strings.Repeat("x", n-len(empty)) + `"}`)
	}
	kinds := map[string]func(w http.ResponseWriter, body string){
		"announced": func(w http.ResponseWriter, body string) {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			sendJSON(w, 200, body)
		},
		"chunked": func(w http.ResponseWriter, body string) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, body[:10])
			w.(http.Flusher).Flush()
			io.WriteString(w, body[10:])
		},
		"event": func(w http.ResponseWriter, body string) { sendEvents(w)(body[:len(body)-8] + body[len(body)-8:]) },
	}
	for name, send := range kinds {
		slack := 0
		if name == "event" {
			slack = len("data: ") // the line counts with its name
		}
		for over, kind := range map[int]error{0: nil, 1: ErrTooLarge} {
			s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) { send(w, sized(m, limit+over-slack)) })
			u := entryFor(s.URL)
			u.Limits.Response = limit
			_, err := connect(t, dialConfig{Upstream: u}).do(t.Context(), echoCall())
			if kind == nil && err != nil {
				t.Errorf("%s, at the limit: %v", name, err)
			}
			if kind != nil {
				wantKind(t, err, kind)
			}
		}
	}
}

func TestFloodOfNotificationsIsCut(t *testing.T) {
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		send := sendEvents(w)
		for r.Context().Err() == nil {
			send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"` + strings.Repeat("x", 1000) + `"}}`)
		}
	})
	u := entryFor(s.URL)
	u.Limits.Response = 8 << 10
	n := 0
	call := echoCall()
	call.Agent.LogLevel = "debug"
	call.Notify = func(string, []byte) { n++ }
	_, err := connect(t, dialConfig{Upstream: u}).do(t.Context(), call)
	wantKind(t, err, ErrTooLarge)
	if n == 0 || n > 8*streamFactor {
		t.Errorf("%d notifications", n)
	}
}

// case A-076.
func TestHangEndsAtTheTimeLimit(t *testing.T) {
	leavesNothing(t)
	hang := func(first func(w http.ResponseWriter), every string) func(http.ResponseWriter, *http.Request, rpc) {
		return func(w http.ResponseWriter, r *http.Request, m rpc) {
			first(w)
			for r.Context().Err() == nil {
				io.WriteString(w, every)
				if every != "" {
					w.(http.Flusher).Flush()
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	cases := map[string]func(http.ResponseWriter, *http.Request, rpc){
		"no answer":     hang(func(http.ResponseWriter) {}, ""),
		"headers only":  hang(func(w http.ResponseWriter) { sendEvents(w) }, ""),
		"comments only": hang(func(w http.ResponseWriter) { sendEvents(w) }, ": still here\n\n"),
		"byte by byte":  hang(func(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/json") }, " "),
		"progress for ever": func(w http.ResponseWriter, r *http.Request, m rpc) {
			send := sendEvents(w)
			for n := 0; r.Context().Err() == nil; n++ {
				send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, m.token(), n))
				time.Sleep(5 * time.Millisecond)
			}
		},
	}
	for name, serve := range cases {
		t.Run(name, func(t *testing.T) {
			s := modernUpstream(t, serve)
			c := connect(t, dialConfig{Upstream: entryFor(s.URL)})
			call := echoCall()
			call.Item = &Item{Timeout: 60 * time.Millisecond}
			call.ProgressToken, call.Notify = []byte("1"), func(string, []byte) {}
			began := time.Now()
			_, err := c.do(t.Context(), call)
			wantKind(t, err, ErrTimeout)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestCancelClosesTheStream(t *testing.T) {
	leavesNothing(t)
	started, noticed := make(chan bool), make(chan bool)
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		sendEvents(w)
		close(started)
		<-r.Context().Done()
		close(noticed)
	})
	ctx, cancel := context.WithCancel(t.Context())
	c := connect(t, dialConfig{Upstream: entryFor(s.URL)})
	go func() { <-started; cancel() }()
	_, err := c.do(ctx, echoCall())
	wantKind(t, err, ErrCancelled)
	<-noticed
}

// case A-077.
func TestOnlyWhatBelongsToTheCallReachesTheAgent(t *testing.T) {
	const agents = `123456789012345678901234567890`
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		send := sendEvents(w)
		send(`{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"your password?"}}`)
		send(`{"jsonrpc":"2.0","id":2,"method":"sampling/createMessage","params":{}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + agents + `,"progress":1}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"other","progress":1}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"too quiet"}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress": 0.10, "progressToken":` + m.token() + `, "x":{"y":1e30}}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":9007199254740993}}`)
		send(m.result(`{}`))
	})
	var got []string
	call := echoCall()
	call.ProgressToken = []byte(agents)
	call.Agent.LogLevel = "warning"
	call.Notify = func(method string, params []byte) { got = append(got, method+" "+string(params)) }
	call.Ask = func(context.Context, string, []byte) ([]byte, *wire.Error, error) {
		t.Error("a modern upstream's request reached the agent")
		return nil, nil, nil
	}
	if _, err := connect(t, dialConfig{Upstream: entryFor(s.URL)}).do(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`notifications/progress {"progress": 0.10, "progressToken":` + agents + `, "x":{"y":1e30}}`,
		`notifications/message {"level":"error","data":9007199254740993}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// case A-086.
func TestConnectionLostAfterTheRequestMeansUnknownOutcomeAndOneDelivery(t *testing.T) {
	leavesNothing(t)
	var executed atomic.Int32
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		if executed.Add(1) == 1 {
			sendJSON(w, 200, m.result(`{}`)) // so that the next one finds a connection that was used
			return
		}
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	})
	c := connect(t, dialConfig{Upstream: entryFor(s.URL)})
	if _, err := c.do(t.Context(), echoCall()); err != nil {
		t.Fatal(err)
	}
	_, err := c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnknownOutcome)
	if n := executed.Load(); n != 2 {
		t.Errorf("the call was delivered %d times", n-1)
	}
}

func TestNobodyThereMeansNotExecuted(t *testing.T) {
	s := modernUpstream(t, nil)
	c := connect(t, dialConfig{Upstream: entryFor(s.URL)})
	s.Close()
	time.Sleep(20 * time.Millisecond) // until the idle connection is known to be dead
	_, err := c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnavailable)
	_, err = dial(t.Context(), dialConfig{Upstream: entryFor(s.URL)})
	wantKind(t, err, ErrUnavailable)
}

func TestAnsweredStreamGivesItsConnectionBack(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := readRPC(r)
		if m.Method == "server/discover" {
			sendJSON(w, 200, m.result(discoverResult))
			return
		}
		sendEvents(w)(m.result(`{}`))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := connect(t, dialConfig{Upstream: entryFor(s.URL)})
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := c.do(ctx, echoCall()); err != nil {
			t.Fatal(err)
		}
		cancel() // the caller is gone, as it is when its agent has the answer
		time.Sleep(2 * time.Millisecond)
	}
	if n := conns.Load(); n > 5 {
		t.Errorf("%d connections for 20 calls one after another", n)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	leavesNothing(t)
	started := make(chan bool)
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		close(started)
		<-r.Context().Done()
	})
	c := connect(t, dialConfig{Upstream: entryFor(s.URL)})
	go func() { <-started; c.close(context.Background()) }()
	_, err := c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnknownOutcome)
	<-c.done()
	_, err = c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnavailable)
}

func TestModernListenDeliversWhatWasAskedFor(t *testing.T) {
	leavesNothing(t)
	var params string
	over := make(chan bool)
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		params = string(m.Params)
		send := sendEvents(w)
		meta := `"_meta":{"io.modelcontextprotocol/subscriptionId":` + string(m.ID) + `}`
		send(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"early":true}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{` + meta + `}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","params":{` + meta + `}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x://b",` + meta + `}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x://a","n":1e40,` + meta + `}}`)
		send(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{` + meta + `}}`)
		<-r.Context().Done()
		close(over)
	})
	u := entryFor(s.URL)
	u.Limits.Timeout = 100 * time.Millisecond // for the acknowledgement, not for the silence
	c := connect(t, dialConfig{Upstream: u})
	ctx, cancel := context.WithCancel(t.Context())
	ready := 0
	var got []string
	err := c.listen(ctx, listenFilter{Tools: true, URIs: []string{"x://a"}}, func() { ready++ }, func(method string, params []byte) {
		got = append(got, method+" "+string(params))
		if len(got) == 2 {
			time.AfterFunc(200*time.Millisecond, cancel)
		}
	})
	if !errors.Is(err, context.Canceled) || ready != 1 {
		t.Errorf("%v, ready %d times", err, ready)
	}
	<-over
	want := "notifications/resources/updated {\"uri\":\"x://a\",\"n\":1e40}\nnotifications/tools/list_changed {}"
	if strings.Join(got, "\n") != want {
		t.Errorf("got %q", got)
	}
	if !strings.Contains(params, `"notifications":{"toolsListChanged":true,"resourceSubscriptions":["x://a"]}`) {
		t.Errorf("asked for %s", params)
	}
}

func TestListenReturnsWhenTheStreamIsLost(t *testing.T) {
	cases := map[string]struct {
		serve func(w http.ResponseWriter, m rpc)
		is    error
	}{
		"not supported": {func(w http.ResponseWriter, m rpc) {
			sendJSON(w, 404, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"m"}}`, m.ID))
		}, errNoNotifications},
		"ended in order":  {func(w http.ResponseWriter, m rpc) { sendEvents(w)(m.result(`{}`)) }, ErrUnavailable},
		"broken":          {func(w http.ResponseWriter, m rpc) { sendEvents(w) }, ErrUnknownOutcome},
		"never confirmed": {func(w http.ResponseWriter, m rpc) { sendEvents(w); time.Sleep(300 * time.Millisecond) }, ErrTimeout},
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) { tt.serve(w, m) })
			u := entryFor(s.URL)
			u.Limits.Timeout = 100 * time.Millisecond
			err := connect(t, dialConfig{Upstream: u}).listen(t.Context(), listenFilter{Tools: true}, func() { t.Error("ready") }, nil)
			if !errors.Is(err, tt.is) {
				t.Errorf("got %v, want %v", err, tt.is)
			}
		})
	}
}

func TestListsArePassedWithTheirFaults(t *testing.T) {
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		sendJSON(w, 200, m.result(`{"tools":[{"name":"ok"},{"name":"bad","name":"worse"}]}`))
	})
	c := connect(t, dialConfig{Upstream: entryFor(s.URL)})
	if _, err := c.do(t.Context(), &Call{Method: "tools/list", Params: []byte(`{}`)}); err != nil {
		t.Error(err)
	}
	_, err := c.do(t.Context(), echoCall())
	wantKind(t, err, ErrBadAnswer)
}
