package federation

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

func echoResult(w http.ResponseWriter, _ *http.Request, m rpc) {
	sendJSON(w, 200, m.result(fmt.Sprintf(`{"echo":%s}`, m.Params)))
}

func TestLegacySessionFromHelloToGoodbye(t *testing.T) {
	leavesNothing(t)
	var mu sync.Mutex
	var headers []http.Header
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		mu.Lock()
		headers = append(headers, r.Header.Clone())
		mu.Unlock()
		echoResult(w, r, m)
	})
	c, err := dial(t.Context(), dialConfig{Upstream: entryFor(l.URL), Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	if p := c.peer(); p.Era != wire.Legacy || p.Version != "2025-11-25" || !p.has("resources", "subscribe") || p.has("tools", "listChanged") {
		t.Errorf("peer %+v", p)
	}
	l.got(t, "notifications/initialized")
	a, err := c.do(t.Context(), echoCall())
	if err != nil || string(a.Result) != `{"echo":{"name":"echo","arguments":{"a":1}}}` || a.Era != wire.Legacy {
		t.Errorf("%s %v", a.Result, err)
	}
	allowed := []string{"Accept", "Content-Type", "User-Agent", "Mcp-Protocol-Version", "Mcp-Session-Id", "Content-Length"}
	for k := range headers[0] {
		if !slices.Contains(allowed, k) {
			t.Errorf("header %s", k)
		}
	}
	if headers[0].Get("Mcp-Protocol-Version") != "2025-11-25" || headers[0].Get("Mcp-Session-Id") != "session-1" {
		t.Error(headers[0])
	}
	c.close(t.Context())
	<-c.done()
	if !slices.Equal(l.deleted, []string{"session-1"}) {
		t.Errorf("deleted %q", l.deleted)
	}
}

func TestLegacyMetaTravelsWithOurProgressToken(t *testing.T) {
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		send := sendEvents(w)
		send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, m.token()))
		send(m.result(fmt.Sprintf(`{"echo":%s}`, m.Params)))
	})
	c := connect(t, dialConfig{Upstream: entryFor(l.URL)})
	call := echoCall()
	call.Meta = []byte(`{ "traceparent" : "x" }`)
	call.ProgressToken = []byte(`"agent's"`)
	var got string
	call.Notify = func(_ string, params []byte) { got = string(params) }
	a, err := c.do(t.Context(), call)
	if err != nil || !strings.Contains(string(a.Result), `"traceparent" : "x"`) || strings.Contains(string(a.Result), "agent's") {
		t.Errorf("%s %v", a.Result, err)
	}
	if got != `{"progressToken":"agent's","progress":1}` {
		t.Error(got)
	}
}

// case A-085.
func TestLostSessionIsRenewedOnceAndTheCallRunsOnce(t *testing.T) {
	leavesNothing(t)
	l := newLegacyUpstream(t, echoResult)
	c := connect(t, dialConfig{Upstream: entryFor(l.URL)})
	l.forget()
	var wg sync.WaitGroup
	for range 10 { // all of them lose the same session
		wg.Go(func() {
			if _, err := c.do(t.Context(), echoCall()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if l.opened != 2 || l.count("tools/call") != 10 {
		t.Errorf("%d sessions, %d calls executed", l.opened, l.count("tools/call"))
	}
}

func TestExecutedCallIsNotRepeatedWhenTheSessionIsLost(t *testing.T) {
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		conn.Close()
	})
	_, err := connect(t, dialConfig{Upstream: entryFor(l.URL)}).do(t.Context(), echoCall())
	wantKind(t, err, ErrUnknownOutcome)
	if n := l.count("tools/call"); n != 1 {
		t.Errorf("delivered %d times", n)
	}
}

func TestSessionThatIsRefusedTwiceEndsTheConnection(t *testing.T) {
	leavesNothing(t)
	calls := 0
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		calls++
		sendJSON(w, 404, `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`)
	})
	c := connect(t, dialConfig{Upstream: entryFor(l.URL)})
	_, err := c.do(t.Context(), echoCall())
	wantKind(t, err, ErrUnavailable)
	<-c.done()
	if calls != 2 {
		t.Errorf("tried %d times", calls)
	}
}

func TestSessionRefusedWith400IsRenewedToo(t *testing.T) {
	first := true
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		if first {
			first = false
			sendJSON(w, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}`)
			return
		}
		echoResult(w, r, m)
	})
	if _, err := connect(t, dialConfig{Upstream: entryFor(l.URL)}).do(t.Context(), echoCall()); err != nil {
		t.Error(err)
	}
	if l.opened != 2 {
		t.Errorf("%d sessions", l.opened)
	}
}

func TestErrorWith404IsAnAnswer(t *testing.T) {
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		sendJSON(w, 404, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"m"}}`, m.ID))
	})
	a, err := connect(t, dialConfig{Upstream: entryFor(l.URL)}).do(t.Context(), echoCall())
	if err != nil || a.Error.Code != -32601 || l.opened != 1 {
		t.Errorf("%+v %v, %d sessions", a, err, l.opened)
	}
}

func TestElicitationMayTakeLongerThanTheCall(t *testing.T) {
	leavesNothing(t)
	var l *legacyUpstream
	l = newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		send := sendEvents(w)
		send(`{"jsonrpc":"2.0","id":"ping-1","method":"ping"}`)
		send(`{"jsonrpc":"2.0","id":41,"method":"elicitation/create","params":{"message":"sure?","big":9007199254740993}}`)
		for r.Context().Err() == nil {
			l.mu.Lock()
			i := slices.IndexFunc(l.seen, func(m rpc) bool { return string(m.ID) == "41" })
			pong := slices.ContainsFunc(l.seen, func(m rpc) bool { return string(m.ID) == `"ping-1"` && string(m.Result) == `{}` })
			if i >= 0 && pong {
				answer := l.seen[i]
				l.mu.Unlock()
				send(m.result(string(answer.Result)))
				return
			}
			l.mu.Unlock()
			time.Sleep(2 * time.Millisecond)
		}
	})
	c := connect(t, dialConfig{Upstream: entryFor(l.URL), Capabilities: []byte(`{"elicitation":{}}`)})
	call := echoCall()
	call.Item = &Item{Timeout: 100 * time.Millisecond}
	call.Ask = func(_ context.Context, method string, params []byte) ([]byte, *wire.Error, error) {
		if method != "elicitation/create" || string(params) != `{"message":"sure?","big":9007199254740993}` {
			t.Errorf("%s %s", method, params)
		}
		time.Sleep(250 * time.Millisecond)
		return []byte(`{"action":"accept","content":{"n":1.10}}`), nil, nil
	}
	a, err := c.do(t.Context(), call)
	if err != nil || string(a.Result) != `{"action":"accept","content":{"n":1.10}}` {
		t.Errorf("%+v %v", a, err)
	}
}

func TestQuestionEndsWithItsCall(t *testing.T) {
	leavesNothing(t)
	asked := make(chan bool)
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		send := sendEvents(w)
		send(`{"jsonrpc":"2.0","id":41,"method":"elicitation/create","params":{}}`)
		<-asked
		send(m.result(`{"impatient":true}`))
	})
	c := connect(t, dialConfig{Upstream: entryFor(l.URL), Capabilities: []byte(`{"elicitation":{}}`)})
	call := echoCall()
	ended := false
	call.Ask = func(ctx context.Context, _ string, _ []byte) ([]byte, *wire.Error, error) {
		close(asked)
		<-ctx.Done()
		ended = true
		return nil, nil, ctx.Err()
	}
	if _, err := c.do(t.Context(), call); err != nil || !ended {
		t.Errorf("%v, ended %v", err, ended)
	}
}

func TestQuestionThatNobodyMayBeAskedIsAnsweredWithAnError(t *testing.T) {
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		send := sendEvents(w)
		send(`{"jsonrpc":"2.0","id":41,"method":"elicitation/create","params":{}}`)
		send(`{"jsonrpc":"2.0","id":42,"method":"sampling/createMessage","params":{}}`)
		send(`{"jsonrpc":"2.0","id":43,"method":"tools/call","params":{}}`)
		send(m.result(`{}`))
	})
	// elicitation is declared, but this call has nobody to ask.
	c := connect(t, dialConfig{Upstream: entryFor(l.URL), Capabilities: []byte(`{"elicitation":{}}`)})
	if _, err := c.do(t.Context(), echoCall()); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, m := range l.seen {
		if strings.Contains(string(m.Error), "-32601") {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("%d of 3 refused: %+v", refused, l.seen)
	}
}

func TestQuestionOnTheGetStreamNeedsExactlyOneCall(t *testing.T) {
	leavesNothing(t)
	questions := make(chan string, 4)
	answered := make(chan bool)
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		<-answered
		sendJSON(w, 200, m.result(`{}`))
	})
	l.stream = func(w http.ResponseWriter, r *http.Request) {
		send := sendEvents(w)
		for {
			select {
			case q := <-questions:
				send(q)
			case <-r.Context().Done():
				return
			}
		}
	}
	c := connect(t, dialConfig{Upstream: entryFor(l.URL), Capabilities: []byte(`{"sampling":{}}`)})
	question := func(id int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"sampling/createMessage","params":{}}`, id)
	}
	response := func(id string) rpc {
		for {
			l.got(t, "")
			l.mu.Lock()
			for _, m := range l.seen {
				if m.Method == "" && string(m.ID) == id {
					l.mu.Unlock()
					return m
				}
			}
			l.mu.Unlock()
			time.Sleep(2 * time.Millisecond)
		}
	}
	questions <- question(1)
	if m := response("1"); !strings.Contains(string(m.Error), "-32602") {
		t.Errorf("without a call: %+v", m)
	}
	call := echoCall()
	call.Ask = func(context.Context, string, []byte) ([]byte, *wire.Error, error) {
		return []byte(`{"ok":1}`), nil, nil
	}
	var wg sync.WaitGroup
	do := func() {
		if _, err := c.do(t.Context(), call); err != nil {
			t.Error(err)
		}
	}
	wg.Go(do)
	l.got(t, "tools/call")
	questions <- question(2)
	if m := response("2"); string(m.Result) != `{"ok":1}` {
		t.Errorf("with one call: %+v", m)
	}
	wg.Go(do)
	for l.count("tools/call") < 2 {
		time.Sleep(time.Millisecond)
	}
	questions <- question(3)
	if m := response("3"); !strings.Contains(string(m.Error), "-32602") {
		t.Errorf("with two calls: %+v", m)
	}
	close(answered)
	wg.Wait()
}

func TestLegacyTimeLimitAndCancelAreToldToTheUpstream(t *testing.T) {
	leavesNothing(t)
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) { <-r.Context().Done() })
	c := connect(t, dialConfig{Upstream: entryFor(l.URL)})
	call := echoCall()
	call.Item = &Item{Timeout: 30 * time.Millisecond}
	_, err := c.do(t.Context(), call)
	wantKind(t, err, ErrTimeout)
	asked := l.got(t, "tools/call")
	if m := l.got(t, "notifications/cancelled"); string(m.Params) != fmt.Sprintf(`{"requestId":%s,"reason":"timed out"}`, asked.ID) {
		t.Errorf("%s", m.Params)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = c.do(ctx, echoCall())
	wantKind(t, err, ErrCancelled)
}

func TestLegacyLogLevelIsRaisedAndFiltered(t *testing.T) {
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		if m.Method == "logging/setLevel" {
			sendJSON(w, 200, m.result(`{}`))
			return
		}
		send := sendEvents(w)
		for _, level := range levels {
			send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"` + level + `"}}`)
		}
		send(m.result(`{}`))
	})
	c := connect(t, dialConfig{Upstream: entryFor(l.URL)})
	for _, tt := range []struct {
		level  string
		got, n int // messages, setLevel requests up to here
	}{{"", 8, 0}, {"error", 4, 1}, {"alert", 2, 1}, {"info", 7, 2}, {"error", 4, 2}} {
		call := echoCall()
		call.Agent.LogLevel = tt.level
		n := 0
		call.Notify = func(string, []byte) { n++ }
		if _, err := c.do(t.Context(), call); err != nil {
			t.Fatal(err)
		}
		if n != tt.got || l.count("logging/setLevel") != tt.n {
			t.Errorf("%q: %d messages, %d times set", tt.level, n, l.count("logging/setLevel"))
		}
	}
	call := echoCall()
	call.Agent.Era = wire.Modern
	call.Notify = func(string, []byte) { t.Error("a modern agent that named no level got a message") }
	if _, err := c.do(t.Context(), call); err != nil {
		t.Fatal(err)
	}
}

// MCP 2025-11-25: a server may close a call's stream and be polled for the rest.
func TestBrokenCallStreamIsResumed(t *testing.T) {
	leavesNothing(t)
	var request rpc
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		request = m
		sendEvents(w)
		fmt.Fprintf(w, "id: e1\nretry: 10\ndata:\n\n")
	})
	resumes := 0
	l.stream = func(w http.ResponseWriter, r *http.Request) {
		last := r.Header.Get("Last-Event-ID")
		if last == "" {
			w.WriteHeader(405)
			return
		}
		resumes++
		sendEvents(w)
		switch last {
		case "e1":
			fmt.Fprintf(w, "id: e2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":%s,\"progress\":1}}\n\n", request.token())
		case "e2":
			fmt.Fprintf(w, "id: e3\ndata: %s\n\n", request.result(`{"late":true}`))
		}
	}
	c := connect(t, dialConfig{Upstream: entryFor(l.URL)})
	call := echoCall()
	n := 0
	call.ProgressToken, call.Notify = []byte("1"), func(string, []byte) { n++ }
	a, err := c.do(t.Context(), call)
	if err != nil || string(a.Result) != `{"late":true}` || n != 1 || resumes != 2 {
		t.Errorf("%+v %v, %d notifications, %d resumptions", a, err, n, resumes)
	}
	if l.count("tools/call") != 1 {
		t.Error("the call was made again")
	}
}

func TestLegacyListenFollowsTheGetStream(t *testing.T) {
	leavesNothing(t)
	var lastIDs []string
	var mu sync.Mutex
	l := newLegacyUpstream(t, echoResult)
	l.stream = func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		lastIDs = append(lastIDs, r.Header.Get("Last-Event-ID"))
		n := len(lastIDs)
		mu.Unlock()
		send := sendEvents(w)
		switch n {
		case 1:
			for {
				l.mu.Lock()
				subscribed := slices.ContainsFunc(l.seen, func(m rpc) bool { return m.Method == "resources/subscribe" })
				l.mu.Unlock()
				if subscribed {
					break
				}
				time.Sleep(time.Millisecond)
			}
			fmt.Fprintf(w, "id: a1\nretry: 5\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":\"x://a\"}}\n\n")
		case 2:
			send(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			<-r.Context().Done()
		}
	}
	c := connect(t, dialConfig{Upstream: entryFor(l.URL)})
	ctx, cancel := context.WithCancel(t.Context())
	ready := 0
	var got []string
	c.listen(ctx, listenFilter{Tools: true, URIs: []string{"x://a"}}, func() { ready++ }, func(method string, params []byte) {
		got = append(got, method)
		if len(got) == 2 {
			cancel()
		}
	})
	if want := []string{methodUpdated, toolsChanged}; ready != 1 || !slices.Equal(got, want) {
		t.Errorf("ready %d times, %q", ready, got)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(lastIDs, []string{"", "a1"}) {
		t.Errorf("resumed after %q", lastIDs)
	}
	l.got(t, "resources/unsubscribe")
}

func TestLegacyListenIsReadyAtOnceWithoutAStream(t *testing.T) {
	leavesNothing(t)
	l := newLegacyUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		send := sendEvents(w)
		send(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`) // where such servers put it
		send(m.result(`{}`))
	})
	c := connect(t, dialConfig{Upstream: entryFor(l.URL)})
	ctx, cancel := context.WithCancel(t.Context())
	c.listen(ctx, listenFilter{Tools: true}, func() {
		go c.do(t.Context(), echoCall())
	}, func(method string, _ []byte) { cancel() })
}

func TestGapInTheStreamCountsAsAChange(t *testing.T) {
	leavesNothing(t)
	var streams atomic.Int32
	l := newLegacyUpstream(t, echoResult)
	l.stream = func(w http.ResponseWriter, r *http.Request) {
		sendEvents(w)
		if streams.Add(1) > 1 {
			<-r.Context().Done()
		}
	}
	c := connect(t, dialConfig{Upstream: entryFor(l.URL)})
	ctx, cancel := context.WithCancel(t.Context())
	c.listen(ctx, listenFilter{Prompts: true}, func() {}, func(method string, _ []byte) {
		if method != promptsChanged {
			t.Error(method)
		}
		cancel()
	})
}

func TestSessionIDMustBeVisibleASCII(t *testing.T) {
	for id, ok := range map[string]bool{
		"": true, "!~": true, "a b": false, "é": false, "a\x7f": false,
		strings.Repeat("x", maxSessionID): true, strings.Repeat("x", maxSessionID+1): false,
	} {
		if validSession(id) != ok {
			t.Errorf("%.20q: %v", id, !ok)
		}
	}
}
