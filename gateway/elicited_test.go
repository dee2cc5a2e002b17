package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

func completion(id string) string {
	return `{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"` + id + `","_meta":{"n":1.0}}}`
}

// everywhere makes u a server that says what it is told to on all its GET
// streams, whoever's they are.
func (u *upstream) everywhere() (say func(string)) {
	var mu sync.Mutex
	said, more := []string(nil), make(chan struct{})
	u.get = func(w http.ResponseWriter, r *http.Request) {
		emit(w)
		n := 0 // also for a stream that opens late
		for {
			mu.Lock()
			now, wake := said[n:], more
			mu.Unlock()
			emit(w, now...)
			n += len(now)
			select {
			case <-wake:
			case <-r.Context().Done():
				return
			}
		}
	}
	return func(m string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, m)
		close(more)
		more = make(chan struct{})
	}
}

// sends makes u a server that answers the calls of tools with -32042 and this
// page, by the text of the call.
func (u *upstream) sends() {
	u.call = func(w http.ResponseWriter, _ *http.Request, m *wire.Message) string {
		raw, _ := m.Params.Get("arguments")
		o, _ := wire.Fields(raw)
		id, _ := o.String("text")
		return fails(w, m, `{"code":-32042,"message":"visit","data":{"elicitations":[{"mode":"url","elicitationId":"`+id+`","url":"https://up.example/2","message":"m"}]}}`)
	}
}

// personal is an agent of 2025-11-25 of some user's.
func (r *rig) personal(user string) *talker {
	k := &talker{r: r, era: wire.Legacy, path: "/mcp", answer: func(string, []byte) string { return `{"action":"accept"}` }}
	a := r.post(k.path, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":`+everyCapability+`}}`, "X-Test-User", user)
	k.session = []string{"Mcp-Session-Id", a.header.Get("Mcp-Session-Id"), "Mcp-Protocol-Version", "2025-11-25", "X-Test-User", user}
	return k
}

// sentTo has the upstream of sends send k's agent to a page.
func (k *talker) sentTo(t *testing.T, id string) {
	t.Helper()
	if m := k.call("tools/call", `"name":"up__echo","arguments":{"text":"`+id+`"}`); m.Error == nil || m.Error.Code != codeURLElicitation {
		t.Fatal(said(m))
	}
}

// wantCompletions are the next completions on a stream.
func wantCompletions(t *testing.T, events <-chan event, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if e := hear(t, events, methodElicited); e != completion(id) {
			t.Errorf("heard %s, want the completion of %s", e, id)
		}
	}
}

func TestACompletionAfterTheCallGoesToTheSessionThatWasSentThereOnce(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	say := u.everywhere()
	u.sends()
	r := newRig(t, map[string]*upstream{"up": u})
	alice, elsewhere, bob := r.personal("alice"), r.personal("alice"), r.personal("bob")
	alice.sentTo(t, "a-1")
	alice.sentTo(t, "a-2")
	elsewhere.sentTo(t, "e-1")
	bob.sentTo(t, "b-1")

	heardAlice, heardBob := alice.watch(t, ""), bob.watch(t, "")
	for _, id := range []string{"unknown", "a-1", "a-1", "e-1", "b-1", "a-2"} {
		say(completion(id))
	}
	wantCompletions(t, heardAlice, "a-1", "a-2")
	wantCompletions(t, heardBob, "b-1")
	wantCompletions(t, elsewhere.watch(t, ""), "e-1") // kept until somebody listens
	say(completion("a-1"))
	bob.sentTo(t, "b-2")
	alice.sentTo(t, "a-3")
	say(completion("b-2"))
	say(completion("a-3"))
	wantCompletions(t, heardAlice, "a-3")
	wantCompletions(t, heardBob, "b-2")
}

func TestACompletionDuringTheCallIsOnItsStreamAndAfterItOnTheSessions(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	say := u.everywhere()
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		for n, id := range []string{"in", "after"} {
			q := fmt.Sprintf("%d", 2000+n)
			reply := u.expects(q)
			emit(w, `{"jsonrpc":"2.0","id":`+q+`,"method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://up.example/","elicitationId":"`+id+`"}}`)
			select {
			case <-reply:
			case <-r.Context().Done():
				return ""
			}
		}
		emit(w, completion("in"), completion("unknown"), string(wire.AppendResult(nil, m.ID, []byte(textResult("done")))))
		return ""
	}
	k := newRig(t, map[string]*upstream{"up": u}).personal("alice")
	if text := got(t, k.call("tools/call", `"name":"up__echo"`)); text != "done" {
		t.Error(text)
	}
	if len(k.notes) != 1 || k.notes[0] != completion("in") {
		t.Errorf("during the call: %q", k.notes)
	}
	for _, id := range []string{"in", "after"} {
		say(completion(id))
	}
	wantCompletions(t, k.watch(t, ""), "after")
}

func TestACompletionOfACallWithoutAStreamIsOnTheSessions(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	s := sessionsOf(t, g, "alice")[0]
	x := &exchange{g: g, session: s, version: s.version, reply: newReply(newTape(), post(t.Context()), replyOptions{json: true, session: s})}
	up := &target{upstream: &catalogs.Upstream{Name: "up"}}
	x.sends(up, []byte(`{"mode":"url","elicitationId":"e"}`))
	for range 2 {
		x.completed(up, []byte(`{"elicitationId":"e"}`))
	}
	if q := s.listens().queue; len(q) != 1 || !strings.Contains(string(q[0]), methodElicited) {
		t.Errorf("the session waits to be told %q", q)
	}
}

// A modern agent has no such notification; the retry of its request is the word
// (MCP 2026-07-28, MRTR).
func TestACompletionAfterTheCallReachesNoModernAgent(t *testing.T) {
	u := newUpstream(t, wire.Legacy)
	say := u.everywhere()
	calls := 0
	u.call = func(w http.ResponseWriter, _ *http.Request, m *wire.Message) string {
		if calls++; calls == 2 {
			return textResult("visited")
		}
		return fails(w, m, `{"code":-32042,"message":"visit","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://up.example/2","message":"m"}]}}`)
	}
	r := newRig(t, map[string]*upstream{"up": u})
	k := r.talk(wire.Modern, "", everyCapability)
	events := k.watch(t, `"toolsListChanged":true`)
	k.answer = func(string, []byte) string { return `{"action":"accept"}` }
	if text := got(t, k.call("tools/call", `"name":"up__echo"`)); text != "visited" {
		t.Error(text)
	}
	say(completion("e"))
	say(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	for heard := ""; !strings.Contains(heard, "list_changed"); {
		if heard = hear(t, events, "jsonrpc"); strings.Contains(heard, methodElicited) {
			t.Error(heard)
		}
	}
	if r.g.sessions.elicitations.sent != nil {
		t.Error("a page of a modern agent is remembered for a session")
	}
}

// sessionsOf are live sessions, one for each name.
func sessionsOf(t *testing.T, g *Gateway, names ...string) (all []*session) {
	for _, name := range names {
		p := person(name, "cli")
		_, token := g.sessions.create(p, "", wire.Version20251125, nil, noAgent)
		s, err := g.sessions.open(t.Context(), p, "", token)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func TestACompletionIsDeliveredOnlyWhereItsConnectionSaysWhoseItIs(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	es := &g.sessions.elicitations
	s := sessionsOf(t, g, "alice", "alice", "bob")
	for _, c := range []struct {
		name     string
		sent     []*session
		upstream string
		on       string // whose connection
		want     []bool
	}{
		{"its own connection", s[:1], "up", s[0].owner, []bool{true, false, false}},
		{"one that is shared", s[:1], "up", "", []bool{true, false, false}},
		{"another principal's connection", s[:1], "up", s[2].owner, []bool{false, false, false}},
		{"another upstream", s[:1], "down", s[0].owner, []bool{false, false, false}},
		{"two sessions of one principal", s[:2], "up", s[0].owner, []bool{true, true, false}},
		{"two principals, one's connection", s[1:], "up", s[2].owner, []bool{false, false, true}},
		{"two principals, a shared connection", s[1:], "up", "", []bool{false, false, false}},
	} {
		for _, one := range c.sent {
			one.sentTo(elicitation{"up", "e"})
		}
		es.completed(federation.Elicited{Upstream: c.upstream, Principal: c.on, Params: []byte(`{"elicitationId":"e"}`)})
		for i, one := range s {
			told := len(one.listens().queue) == 1
			one.listener.queue, one.listener.queued = nil, 0
			if told != c.want[i] {
				t.Errorf("%s: session %d told: %v", c.name, i, told)
			}
			es.forget(one)
		}
	}
	if len(es.sent) != 0 {
		t.Errorf("%d elicitations of sessions that await none", len(es.sent))
	}
}

func TestAwaitedCompletionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newSessionGateway(t, Limits{State: 10 * time.Minute})
		es := &g.sessions.elicitations
		s := sessionsOf(t, g, "alice")[0]
		params := func(id string) []byte { return []byte(`{"elicitationId":"` + id + `"}`) }
		take := func(id string) bool { return es.take(s, "up", params(id)) }
		send := func(id string) {
			if e, ok := elicitationOf("up", params(id)); ok {
				s.sentTo(e)
			}
		}

		// In number: the oldest one goes, and to be sent again is to be the latest.
		for n := range elicitationsKept {
			send(fmt.Sprint(n))
		}
		send("0")
		if len(s.elicited) != elicitationsKept || len(es.sent) != elicitationsKept {
			t.Errorf("%d kept, %d at the bound", len(s.elicited), elicitationsKept)
		}
		send("more")
		if take("1") || !take("0") || !take("2") || !take("more") || take("more") {
			t.Error("not the oldest one went, or one was told twice")
		}
		// In size.
		long := strings.Repeat("x", elicitationID)
		send(long)
		send(long + "x")
		if !take(long) || take(long+"x") {
			t.Error("the bound of an id does not hold")
		}
		// In time, during which the session's state stays.
		es.forget(s)
		send("old")
		time.Sleep(10*time.Minute - time.Second)
		send("new")
		if s.idle(g.Now(), emptyIdle, time.Hour) || !take("old") {
			t.Error("forgotten before its time")
		}
		send("old")
		time.Sleep(10 * time.Minute)
		if take("old") || take("new") || !s.idle(g.Now(), emptyIdle, time.Hour) {
			t.Error("remembered after its time")
		}
		// And with the session.
		send("last")
		s.end()
		send("later")
		if len(es.sent) != 0 || len(s.elicited) != 0 {
			t.Error("kept after the session's end")
		}
	})
}
