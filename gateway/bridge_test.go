package gateway

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// TestBridge is the table of protocol features by the eras of agent and
// upstream: MM both modern, ML modern agent and legacy upstream, and so on.
// What the sides say to each other is in testdata/bridge, a file a feature.
func TestBridge(t *testing.T) {
	for _, feature := range []struct {
		name, about string
		show        []string // marks of messages that are else left out
		test        func(t *testing.T, c bridged)
	}{
		{"ElicitationForm", "A tool asks the person for data in the middle of a call. A parked call stands\nbehind the input_required that a modern agent gets from a legacy upstream.", nil, bridgeForm},
		{"ElicitationURL", "A tool sends the person to a page: with a question, and with error -32042,\nwhich only legacy revisions have. elicitationId is a legacy member: dropped\nfor a modern agent, made for a legacy one. That the person is done with a page,\na legacy upstream tells a legacy agent also after the call.", nil, bridgeURL},
		{"Sampling", "A tool asks the agent's model.", nil, bridgeSampling},
		{"Roots", "A tool asks for the agent's roots. Only a legacy upstream can hear that they\nchanged, and only a legacy agent can say so.", nil, bridgeRoots},
		{"ListChanged", "An upstream's tools change. The gateway, which listens to its upstreams all the\ntime, reads the list anew (not shown) and tells the agents that asked to hear.", nil, bridgeListChanged},
		{"ResourceSubscribe", "An agent subscribes to a resource. To a modern upstream the gateway opens a\nlisten stream with the subscription in it.", []string{`"resourceSubscriptions":["x://r"]`}, bridgeSubscribe},
		{"Progress", "Progress on a call, before and after a question. The agent's token stays with\nthe gateway. A legacy agent has one request for all rounds of a modern upstream:\nwhat would not rise there is left out.", nil, bridgeProgress},
		{"Logging", "Log messages of a call, without a level and with one. A modern agent gets none\nthat it did not ask for.", nil, bridgeLogging},
		{"Cancel", "An agent gives up a call: a modern one by closing the connection, a legacy one\nby saying so. A legacy agent that loses the connection has given up nothing.", nil, bridgeCancel},
		{"Resumability", "A connection is lost during a call. A legacy agent takes up the stream where it\nwas; so does the gateway at a legacy upstream.", nil, bridgeResume},
		{"Lifecycle", "What the gateway answers itself. The upstream sees only how the gateway gets to\nknow it.", []string{`"method":"initialize"`, `"method":"server/discover"`, `"supportedVersions"`, `"method not found"`, `"protocolVersion":"2025-11-25","capabilities"`}, bridgeLifecycle},
		{"Errors", "What an upstream's errors become, one call after the other.", nil, bridgeErrors},
		{"StructuredContent", "Structured results. Before 2026-07-28 they are objects: for a legacy agent a\nmodern upstream's other values become text, and their schema is not shown.", nil, bridgeStructured},
		{"TraceContext", "W3C trace context passes in _meta.", nil, bridgeTrace},
		{"Tasks", "A call that becomes a task, under a handle of the gateway's.", nil, bridgeTasks},
	} {
		t.Run(feature.name, func(t *testing.T) {
			g := openGolden(t, feature.name, feature.about)
			for _, c := range combinations {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					p := &transcript{show: feature.show}
					feature.test(t, bridged{c, p})
					if !t.Failed() {
						g.check(t, c.name, p.written())
					}
				})
			}
		})
	}
}

// bridged is a combination and the tape of what is said in it.
type bridged struct {
	combination
	*transcript
}

// rig is a gateway in front of u with the tape at both its doors.
func (c bridged) rig(t *testing.T, u *upstream) *rig {
	t.Helper()
	u.tape = c.transcript
	return newRig(t, map[string]*upstream{"up": u}, func(r *rig, _ *Config) { r.tape = c.transcript })
}

// asking is a rig whose upstream asks these questions, and an agent that can
// be asked anything.
func asking(t *testing.T, c bridged, questions ...inputRequest) (*rig, *upstream, *talker) {
	u := newUpstream(t, c.ups)
	u.asks(t, questions...)
	r := c.rig(t, u)
	return r, u, r.talk(c.agent, "2025-11-25", everyCapability)
}

func bridgeForm(t *testing.T, c bridged) {
	params := `{"message":"\u0041ge?","requestedSchema":{"type":"object","properties":{"n":{"type":"integer","minimum":1.0}}}}`
	u := newUpstream(t, c.ups)
	one := inputRequest{"a", "elicitation/create", []byte(params)}
	u.asks(t, one)
	k := c.rig(t, u).talk(c.agent, "2025-11-25", everyCapability)
	k.answer = func(string, []byte) string { return `{"action":"decline"}` }
	if text := got(t, k.call("tools/call", `"name":"up__echo","arguments":{"text":"x"}`)); text != `{"action":"decline"}` {
		t.Error(text)
	}

	// Two at once: in which order they are asked is chance.
	c.pause()
	u.asks(t, one, inputRequest{"b", "elicitation/create", []byte(strings.Replace(params, "ge?", "nother?", 1))})
	k.asked = nil
	before := len(u.calls("tools/call"))
	n := 0
	k.answer = func(string, []byte) string {
		n++
		return fmt.Sprintf(`{"action":"accept","content":{"n":1234567890123456789%d}}`, n)
	}
	m := k.call("tools/call", `"name":"up__echo","arguments":{"text":"x"}`)
	if text := got(t, m); !strings.Contains(text, "12345678901234567891") || !strings.Contains(text, "12345678901234567892") {
		t.Error("the answers did not reach the upstream as they were:", text)
	}
	if len(k.asked) != 2 || string(k.asked[0].params) != params && string(k.asked[1].params) != params {
		t.Errorf("asked %s", k.asked)
	}
	want := map[string]int{"MM": 2, "ML": 1, "LM": 2, "LL": 1}[c.name]
	if n := len(u.calls("tools/call")) - before; n != want {
		t.Errorf("the upstream was called %d times, want %d", n, want)
	}
}

func bridgeURL(t *testing.T, c bridged) {
	params := `{"mode":"url","message":"sign in","url":"https://up.example/connect"}`
	if c.ups == wire.Legacy {
		params = strings.Replace(params, `{`, `{"elicitationId":"e-1",`, 1)
	}
	u := newUpstream(t, c.ups)
	u.asks(t, inputRequest{"a", "elicitation/create", []byte(params)})
	say := u.everywhere()
	k := c.rig(t, u).talk(c.agent, "2025-11-25", everyCapability)
	k.answer = func(string, []byte) string { return `{"action":"accept"}` }
	if text := got(t, k.call("tools/call", `"name":"up__echo"`)); text != `{"action":"accept"}` {
		t.Error(text)
	}
	if len(k.asked) != 1 || !strings.Contains(string(k.asked[0].params), `"url":"https://up.example/connect"`) {
		t.Fatalf("asked %s", k.asked)
	}
	o, _ := wire.Fields(k.asked[0].params)
	id, has := o.String("elicitationId")
	if has != (c.agent == wire.Legacy) || c.name == "LL" && id != "e-1" || has && id == "" {
		t.Errorf("elicitationId: %s", k.asked[0].params)
	}

	// The other way to ask: nothing runs before a page was visited.
	calls := 0
	u.call = func(w http.ResponseWriter, _ *http.Request, m *wire.Message) string {
		if calls++; calls > 1 {
			return textResult("visited")
		}
		if c.ups == wire.Modern { // it has no such error
			return `{"resultType":"complete",` + textResult("visited")[1:]
		}
		return fails(w, m, `{"code":-32042,"message":"visit","data":{"elicitations":[{"mode":"url","elicitationId":"e-2","url":"https://up.example/2","message":"m"}]}}`)
	}
	k.asked = nil
	m := k.call("tools/call", `"name":"up__echo"`)
	switch c.name {
	case "ML":
		if got(t, m) != "visited" || calls != 2 || len(k.asked) != 1 || strings.Contains(string(k.asked[0].params), "elicitationId") {
			t.Errorf("%s after %d calls, asked %s", said(m), calls, k.asked)
		}
	case "LL":
		if m.Error == nil || string(m.Error.Raw) != `{"code":-32042,"message":"visit","data":{"elicitations":[{"mode":"url","elicitationId":"e-2","url":"https://up.example/2","message":"m"}]}}` {
			t.Error(said(m))
		}
		events := k.watch(t, "")
		c.note(upstreamSays, "the person is done with the page")
		say(completion("e-2"))
		wantCompletions(t, events, "e-2")
	default:
		if got(t, m) != "visited" {
			t.Error(said(m))
		}
	}
}

func bridgeSampling(t *testing.T, c bridged) {
	params := `{"messages":[{"role":"user","content":{"type":"text","text":"hi"}}],"maxTokens":10,"tools":[],"metadata":{"n":1.50}}`
	_, _, k := asking(t, c, inputRequest{"a", "sampling/createMessage", []byte(params)})
	answer := `{"role":"assistant","content":{"type":"text","text":"ho"},"model":"m","stopReason":"endTurn"}`
	k.answer = func(string, []byte) string { return answer }
	if text := got(t, k.call("tools/call", `"name":"up__echo"`)); text != answer {
		t.Error(text)
	}
	if len(k.asked) != 1 || k.asked[0].method != "sampling/createMessage" || string(k.asked[0].params) != params {
		t.Errorf("asked %s", k.asked)
	}
}

func bridgeRoots(t *testing.T, c bridged) {
	r, u, k := asking(t, c, inputRequest{"a", "roots/list", nil})
	k.answer = func(string, []byte) string { return `{"roots":[{"uri":"file:///home"}]}` }
	if text := got(t, k.call("tools/call", `"name":"up__echo"`)); text != `{"roots":[{"uri":"file:///home"}]}` {
		t.Error(text)
	}
	if len(k.asked) != 1 || k.asked[0].method != "roots/list" {
		t.Errorf("asked %s", k.asked)
	}
	if c.agent == wire.Legacy {
		r.post("/mcp", `{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`, k.session...)
		if c.name == "LL" {
			until(t, "the upstream hears of changed roots", func() bool { return len(u.calls("notifications/roots/list_changed")) == 1 })
		}
	}
}

// notices makes u send what is put into the returned channel on the stream
// that belongs to no call. ready is closed when that stream is open.
func (u *upstream) notices() (send chan string) {
	send = make(chan string, 8)
	pump := func(w http.ResponseWriter, r *http.Request) {
		for {
			select {
			case m := <-send:
				emit(w, m)
			case <-r.Context().Done():
				return
			}
		}
	}
	u.get = func(w http.ResponseWriter, r *http.Request) {
		emit(w)
		pump(w, r)
	}
	u.listen = func(w http.ResponseWriter, r *http.Request, id string) { pump(w, r) }
	return send
}

// watch opens the stream on which an agent hears of changes, and returns its
// messages. ask is the filter of a modern one.
func (k *talker) watch(t *testing.T, ask string) <-chan event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req := k.request(ctx, 9000, "subscriptions/listen", `"notifications":{`+ask+`}`)
	if k.era == wire.Legacy {
		req, _ = http.NewRequestWithContext(ctx, http.MethodGet, k.r.URL+k.path, nil)
		req.Header.Set("Accept", "text/event-stream")
		for i := 0; i+1 < len(k.session); i += 2 {
			req.Header.Set(k.session[i], k.session[i+1])
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	events := readEvents(resp.Body)
	if k.era == wire.Modern {
		if ack := <-events; !strings.Contains(ack.data, "acknowledged") {
			t.Fatal(ack)
		}
	}
	return events
}

// hear waits for a message that contains text.
func hear(t *testing.T, events <-chan event, text string) string {
	t.Helper()
	limit := time.After(5 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the stream ended without", text)
			}
			if strings.Contains(e.data, text) {
				return e.data
			}
		case <-limit:
			t.Fatal("nothing came with", text)
		}
	}
}

func bridgeListChanged(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	send := u.notices()
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", "{}")
	events := k.watch(t, `"toolsListChanged":true`)
	u.mu.Lock()
	u.tools += `,{"name":"late","inputSchema":{"type":"object"}}`
	u.mu.Unlock()
	c.note(upstreamSays, "its tools change")
	send <- `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`
	note := hear(t, events, "notifications/tools/list_changed")
	if tagged := strings.Contains(note, `"io.modelcontextprotocol/subscriptionId":9000`); tagged != (c.agent == wire.Modern) {
		t.Error(note)
	}
	if list := said(k.call("tools/list", "")); !strings.Contains(list, `"up__late"`) {
		t.Error(list)
	}
}

func bridgeSubscribe(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	u.extra["resources/list"] = `{"uri":"x://r","name":"r"}`
	u.extra["resources/subscribe"] = `{}`
	u.extra["resources/unsubscribe"] = `{}`
	send := u.notices()
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", "{}")
	const uri = "x://r#upstream=up"
	events := k.watch(t, `"resourceSubscriptions":["`+uri+`"]`)
	if c.agent == wire.Legacy {
		if m := k.call("resources/subscribe", `"uri":"`+uri+`"`); m.Error != nil {
			t.Fatal(said(m))
		}
	}
	subscribed := func() bool {
		for _, h := range u.calls("subscriptions/listen") {
			if strings.Contains(h.body, `"resourceSubscriptions":["x://r"]`) {
				return true
			}
		}
		return len(u.calls("resources/subscribe")) == 1
	}
	until(t, "a subscription at the upstream", subscribed)
	// Whichever of the gateway's streams takes it first: only one carries
	// the subscription, so it is said until it is heard.
	c.note(upstreamSays, "the resource changes")
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case send <- `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x://r"}}`:
				time.Sleep(time.Millisecond)
			case <-stop:
				return
			}
		}
	}()
	if note := hear(t, events, "resources/updated"); !strings.Contains(note, `"uri":"`+uri+`"`) {
		t.Error(note)
	}
}

func bridgeProgress(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	round := 0
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		token, _ := m.Meta.Get("progressToken")
		progress := func(values ...string) {
			for _, v := range values {
				emit(w, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+string(token)+`,"progress":`+v+`,"message":"é"}}`)
			}
		}
		result := textResult("done")
		if u.era == wire.Modern {
			result = `{"resultType":"complete",` + result[1:]
		}
		switch round++; {
		case c.ups == wire.Modern && round == 1:
			progress("1", "2.50")
			emit(w, string(wire.AppendResult(nil, m.ID, []byte(`{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"?","requestedSchema":{"type":"object","properties":{}}}}}}`))))
			return ""
		case c.ups == wire.Modern:
			progress("2", "3")
		default:
			progress("1", "2.50")
			reply := u.expects("7")
			emit(w, `{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"?","requestedSchema":{"type":"object","properties":{}}}}`)
			select {
			case <-reply:
			case <-r.Context().Done():
				return ""
			}
			progress("3")
		}
		emit(w, string(wire.AppendResult(nil, m.ID, []byte(result))))
		return ""
	}
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", everyCapability)
	k.meta = `"progressToken":"my \u0041 token"`
	if text := got(t, k.call("tools/call", `"name":"up__echo"`)); text != "done" {
		t.Error(text)
	}
	var values []string
	for _, n := range k.notes {
		m, _ := wire.ParseAnswer([]byte(n), wire.DefaultLimits, false)
		if token, _ := m.Params.Get("progressToken"); string(token) != `"my \u0041 token"` {
			t.Errorf("token: %s", n)
		}
		v, _ := m.Params.Get("progress")
		values = append(values, string(v))
	}
	want := "1 2.50 3"
	if c.name == "MM" { // two requests, each its own
		want = "1 2.50 2 3"
	}
	if got := strings.Join(values, " "); got != want {
		t.Errorf("progress %s, want %s", got, want)
	}
	for _, h := range u.calls("tools/call") {
		if strings.Contains(h.body, "my ") {
			t.Error("the agent's token reached the upstream:", h.body)
		}
	}
}

func bridgeLogging(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	u.extra["logging/setLevel"] = `{}`
	u.call = func(w http.ResponseWriter, _ *http.Request, m *wire.Message) string {
		_, wanted := m.Meta.Get(wire.MetaLogLevel)
		for _, level := range []string{"debug", "warning", "error"} {
			if c.name == "LM" && !wanted { // MCP 2026-07-28, Logging: MUST NOT be sent
				continue
			}
			emit(w, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"`+level+`","data":{"n":1.50}}}`)
		}
		result := textResult("done")
		if u.era == wire.Modern {
			result = `{"resultType":"complete",` + result[1:]
		}
		emit(w, string(wire.AppendResult(nil, m.ID, []byte(result))))
		return ""
	}
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", "{}")
	k.call("tools/call", `"name":"up__echo"`)
	unasked := len(k.notes)
	if want := map[string]int{"LL": 3}[c.name]; unasked != want { // a legacy server may log of its own accord
		t.Errorf("%d messages without a level, want %d", unasked, want)
	}
	k.notes = nil
	if c.agent == wire.Legacy {
		if m := k.call("logging/setLevel", `"level":"warning"`); m.Error != nil {
			t.Fatal(said(m))
		}
	} else {
		k.meta = `"io.modelcontextprotocol/logLevel":"warning"`
	}
	k.call("tools/call", `"name":"up__echo"`)
	if len(k.notes) != 2 || !strings.Contains(k.notes[0], `"level":"warning","data":{"n":1.50}`) {
		t.Errorf("messages: %q", k.notes)
	}
	if c.ups == wire.Legacy {
		if set := u.calls("logging/setLevel"); len(set) != 1 || !strings.Contains(set[0].body, `"warning"`) {
			t.Errorf("setLevel: %v", set)
		}
	} else if calls := u.calls("tools/call"); !strings.Contains(calls[1].body, `"io.modelcontextprotocol/logLevel":"warning"`) || strings.Contains(calls[0].body, "logLevel") {
		t.Errorf("logLevel: %v", calls)
	}
}

func bridgeCancel(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	began, closed := make(chan struct{}, 1), make(chan struct{}, 1)
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		emit(w)
		began <- struct{}{}
		<-r.Context().Done()
		if c.ups == wire.Modern { // a legacy one is told, before or after
			c.note(gatewayCalls, "closes the stream")
		}
		closed <- struct{}{}
		return ""
	}
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", "{}")
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	ended := make(chan error, 1)
	go func() {
		_, err := k.once(ctx, "tools/call", `"name":"up__echo"`)
		ended <- err
	}()
	<-began
	id := r.id
	if c.agent == wire.Modern {
		c.note(agentSays, "closes the connection")
	} else {
		c.lose(fmt.Sprint(id))
	}
	hangUp()
	<-ended
	if c.agent == wire.Legacy {
		select { // a lost connection is no cancellation
		case <-closed:
			t.Error("a lost connection cancelled the call")
		case <-time.After(20 * time.Millisecond):
		}
		r.post("/mcp", fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, id), k.session...)
	}
	<-closed
	if c.ups == wire.Legacy {
		until(t, "the upstream is told", func() bool { return len(u.calls("notifications/cancelled")) == 1 })
	} else if len(u.calls("notifications/cancelled")) != 0 {
		t.Error("in the modern era closing the stream is the cancellation")
	}
}

func bridgeResume(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	goOn := make(chan struct{})
	var resumed atomic.Bool
	id := make(chan []byte, 1) // of the call whose stream broke
	if c.name == "ML" {        // the gateway takes up its own stream where it broke
		u.get = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Last-Event-Id") != "e1" {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			resumed.Store(true)
			c.note(gatewayCalls, "GET with Last-Event-ID e1")
			emit(w, string(wire.AppendResult(nil, <-id, []byte(textResult("done")))))
		}
	}
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		result := textResult("done")
		if u.era == wire.Modern {
			result = `{"resultType":"complete",` + result[1:]
		}
		if c.name == "ML" {
			id <- bytes.Clone(m.ID)
			w.Header().Set("Content-Type", "text/event-stream")
			w.Write(wire.AppendEvent(nil, "e1", nil))
			c.note(upstreamSays, "event e1, then the stream breaks off")
			return ""
		}
		emit(w, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1}}`)
		<-goOn
		emit(w, string(wire.AppendResult(nil, m.ID, []byte(result))))
		return ""
	}
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", "{}")
	if c.agent == wire.Modern {
		close(goOn)
		if text := got(t, k.call("tools/call", `"name":"up__echo"`)); text != "done" || resumed.Load() != (c.name == "ML") {
			t.Error(text, resumed.Load())
		}
		req, _ := http.NewRequest(http.MethodGet, r.URL+"/mcp", nil)
		req.Header.Set("Mcp-Protocol-Version", "2026-07-28")
		req.Header.Set("Last-Event-Id", "e1")
		c.note(agentSays, "GET with Last-Event-ID e1")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("a modern agent resumes nothing: %d", resp.StatusCode)
		}
		return
	}
	ctx, drop := context.WithCancel(t.Context())
	if c.name == "LM" {
		k.call("logging/setLevel", `"level":"debug"`)
	}
	resp, err := http.DefaultClient.Do(k.request(ctx, 77, "tools/call", `"name":"up__echo"`))
	if err != nil {
		t.Fatal(err)
	}
	events := readEvents(resp.Body)
	first := <-events
	hear(t, events, "notifications/message")
	c.lose("77")
	drop()
	resp.Body.Close()
	close(goOn)
	req, _ := http.NewRequest(http.MethodGet, r.URL+"/mcp", nil)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-Id", first.id)
	c.note(agentSays, "GET with Last-Event-ID of the stream's first event")
	for i := 0; i+1 < len(k.session); i += 2 {
		req.Header.Set(k.session[i], k.session[i+1])
	}
	if resp, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if e := hear(t, readEvents(resp.Body), `"id":77`); !strings.Contains(e, "done") {
		t.Error(e)
	}
	if n := len(u.calls("tools/call")); n != 1 {
		t.Errorf("the call was made %d times", n)
	}
}

func bridgeLifecycle(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	u.extra["logging/setLevel"] = `{}`
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", "{}")
	// A listen stream of the gateway's own may open at any time.
	heard := func() int { return u.heard() - len(u.calls("subscriptions/listen")) }
	before := heard()
	if c.agent == wire.Modern {
		if m := k.call("server/discover", ""); !strings.Contains(said(m), `"logging":{}`) || !strings.Contains(said(m), `"2026-07-28"`) {
			t.Error(said(m))
		}
		for _, method := range []string{"ping", "logging/setLevel", "initialize"} {
			if m := k.call(method, `"level":"debug"`); m.Error == nil || m.Error.Code != codeMethodNotFound {
				t.Errorf("%s: %s", method, said(m))
			}
		}
	} else {
		for _, method := range []string{"ping", "logging/setLevel"} {
			if m := k.call(method, `"level":"debug"`); string(m.Result) != "{}" {
				t.Errorf("%s: %s", method, said(m))
			}
		}
	}
	if heard() != before {
		t.Error("the upstream was asked for what the gateway answers itself")
	}
}

func bridgeTrace(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", "{}")
	k.meta = `"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=b","baggage":"k=v"`
	k.call("tools/call", `"name":"up__echo"`)
	body := u.calls("tools/call")[0].body
	for _, want := range []string{`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`, `"tracestate":"a=b"`, `"baggage":"k=v"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
}

func bridgeErrors(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	u.extra["resources/list"] = `{"uri":"x://r","name":"r"}`
	var sent string
	u.call = func(w http.ResponseWriter, _ *http.Request, m *wire.Message) string {
		return fails(w, m, sent)
	}
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", "{}")
	const tool, resource = `"name":"up__echo"`, `"uri":"x://r#upstream=up"`
	missing := map[wire.Era]string{wire.Modern: "error -32602: Resource not found ", wire.Legacy: "error -32002: Resource not found "}[c.agent] + `{"uri":"x://r#upstream=up"}`
	for _, e := range []struct {
		name, method, params, sent string
		want                       map[string]string // by combination; "" = all others
	}{
		{"an error of its own", "tools/call", tool, `{"code":-32050,"message":"é","data":{"n":1.50}}`,
			map[string]string{"ML": `error -32603: é {"n":1.50}`, "": `error -32050: é {"n":1.50}`}},
		{"an error outside the reserved range", "tools/call", tool, `{"code":1234,"message":"m","data":[1e400]}`,
			map[string]string{"": `error 1234: m [1e400]`}},
		{"a missing resource, legacy", "resources/read", resource, `{"code":-32002,"message":"gone","data":{"uri":"x://r"}}`, map[string]string{"": missing}},
		{"a missing resource, modern", "resources/read", resource, `{"code":-32602,"message":"gone","data":{"uri":"x://r"}}`,
			map[string]string{"ML": `error -32602: gone {"uri":"x://r#upstream=up"}`, "LL": `error -32602: gone {"uri":"x://r#upstream=up"}`, "": missing}},
		{"-32002 elsewhere", "tools/call", tool, `{"code":-32002,"message":"m"}`,
			map[string]string{"MM": `error -32602: m `, "ML": `error -32602: m `, "": `error -32002: m `}},
		{"our headers refused", "resources/read", resource, `{"code":-32020,"message":"m"}`,
			map[string]string{"ML": `error -32603: m `, "LL": `error -32020: m `, "": `error -32603: internal error `}},
		{"our version refused", "tools/call", tool, `{"code":-32022,"message":"m"}`,
			map[string]string{"ML": `error -32603: m `, "LL": `error -32022: m `, "": `error -32603: internal error `}},
		{"a capability is missing", "tools/call", tool, `{"code":-32021,"message":"m","data":{"requiredCapabilities":{"elicitation":{"url":{}},"sampling":{},"x":{}}}}`,
			map[string]string{
				"MM": `error -32021: m {"requiredCapabilities":{"elicitation":{"url":{}},"sampling":{},"x":{}}}`,
				"ML": `error -32603: m {"requiredCapabilities":{"elicitation":{"url":{}},"sampling":{},"x":{}}}`,
				"LM": `{"content":[{"type":"text","text":"upstream up needs a capability that this client did not declare: elicitation.url, sampling; the request was not completed"}],"isError":true}`,
				"LL": `error -32021: m {"requiredCapabilities":{"elicitation":{"url":{}},"sampling":{},"x":{}}}`,
			}},
		{"a capability is missing for a resource", "resources/read", resource, `{"code":-32021,"message":"m","data":{"requiredCapabilities":{"roots":{}}}}`,
			map[string]string{
				"MM": `error -32021: m {"requiredCapabilities":{"roots":{}}}`, "ML": `error -32603: m {"requiredCapabilities":{"roots":{}}}`,
				"LM": `error -31008: upstream up needs a capability that this client did not declare: roots; the request was not completed `,
				"LL": `error -32021: m {"requiredCapabilities":{"roots":{}}}`,
			}},
	} {
		sent = e.sent
		want, ok := e.want[c.name]
		if !ok {
			want = e.want[""]
		}
		if got := said(k.call(e.method, e.params)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", e.name, got, want)
		}
	}
}

func bridgeStructured(t *testing.T, c bridged) {
	u := newUpstream(t, c.ups)
	u.tools = `{"name":"echo","inputSchema":{"type":"object"},"outputSchema":{"type":"array"}}`
	r := c.rig(t, u)
	k := r.talk(c.agent, "2025-11-25", "{}")
	down := c.name == "LM"
	if list := said(k.call("tools/list", "")); strings.Contains(list, "outputSchema") == down {
		t.Error(list)
	}
	for _, s := range []struct {
		sent string
		want string // of an agent that knows objects only
	}{
		{`"content":[{"type":"text","text":"t"}],"structuredContent":{"a":1.50}`, `{"content":[{"type":"text","text":"t"}],"structuredContent":{"a":1.50}}`},
		{`"content":[{"type":"text","text":"t"}],"structuredContent":[1.50]`, `{"content":[{"type":"text","text":"t"}]}`},
		{`"content":[],"structuredContent":[1.50, 2]`, `{"content":[{"type":"text","text":"[1.50,2]"}]}`},
	} {
		u.call = func(http.ResponseWriter, *http.Request, *wire.Message) string {
			if c.ups == wire.Modern {
				return `{"resultType":"complete",` + s.sent + `}`
			}
			return `{` + s.sent + `}`
		}
		want := s.want
		if !down {
			want = `{` + s.sent + `}`
		}
		got := strings.Replace(strings.Replace(said(k.call("tools/call", `"name":"up__echo"`)), `"resultType":"complete",`, "", 1), `,"resultType":"complete"`, "", 1)
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// bridgeTasks is what a reader sees of TestTasks.
func bridgeTasks(t *testing.T, c bridged) {
	u := newTasker(t, c.ups, "optional")
	k := c.rig(t, u.upstream).talk(c.agent, "2025-11-25", taskCaps)
	task := k.made(t, "up__job", `,"arguments":{"n":1.10}`)
	if now := readTask(t, k.about("tasks/get", task.TaskID, "")); now.Status != "working" {
		t.Errorf("tasks/get: %+v", now)
	}
	u.done(1, textResult("done"))
	how := map[wire.Era]string{wire.Modern: "tasks/get", wire.Legacy: "tasks/result"}[c.agent]
	if m := k.about(how, task.TaskID, ""); !strings.Contains(said(m), "done") {
		t.Error(said(m))
	}
}
