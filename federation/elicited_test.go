package federation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

func completion(id string) string {
	return `{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"` + id + `","n":1.0}}`
}

func toPage(question, id string) string {
	return `{"jsonrpc":"2.0","id":"` + question + `","method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://up.example/","elicitationId":"` + id + `"}}`
}

// visit answers two tools, which say so: one sends the agent to a page, and
// before its answer says that it is done; the other one says it once more, and
// of a page that nobody knows.
func visit(m rpc, say, aside func(string)) bool {
	switch {
	case strings.Contains(string(m.Params), `"visit"`):
		say(toPage("p1", "page"))
		say(completion("page"))
	case strings.Contains(string(m.Params), `"after"`):
		say(completion("page"))
		aside(completion("other"))
	default:
		return false
	}
	say(m.result(`{}`))
	return true
}

func TestACompletionIsItsCallsOrAfterwardsTheWatchers(t *testing.T) {
	entries := gossipEntries(t)
	entries["sse"] = newSSEUpstream(t, func(send func(string), m rpc) {
		if !visit(m, send, send) {
			echoEvent(send, m)
		}
	}).entry(catalogs.SSE)
	for transport, entry := range entries {
		for _, shared := range bothWays {
			t.Run(fmt.Sprintf("%s, shared %v", transport, shared), func(t *testing.T) {
				e := *entry
				e.Shared = shared
				f := realWorld(t, &e)
				late := make(chan Elicited, 16)
				defer f.WatchElicited(func(e Elicited) { late <- e })()
				var heard []string
				for _, name := range []string{"visit", "after"} {
					_, err := f.Call(t.Context(), user("alice"), &Call{
						Upstream: "up", Method: "tools/call", Params: []byte(`{"name":"` + name + `"}`), Agent: Agent{Capabilities: []byte(`{"elicitation":{"url":{}}}`)},
						Notify: func(method string, params []byte) { heard = append(heard, name+": "+method+" "+string(params)) },
						Ask:    func(context.Context, string, []byte) ([]byte, *wire.Error, error) { return []byte(`{}`), nil, nil },
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				during := []string{"visit: " + methodElicited + ` {"elicitationId":"page","n":1.0}`}
				want := []string{"other", "page"}
				owner := user("alice").Key()
				if shared { // whose page it is, nobody here knows
					during, want, owner = nil, []string{"other", "page", "page"}, ""
				}
				if shared && transport == "http" { // which nobody listens to, and so has no GET stream
					want = want[1:]
				}
				if !slices.Equal(heard, during) {
					t.Errorf("the calls heard %q", heard)
				}
				var told []string // in the order of their ids: there are two streams
				for range want {
					select {
					case e := <-late:
						told = append(told, fmt.Sprintf("%s %q %s", e.Upstream, e.Principal, e.Params))
					case <-time.After(20 * time.Second):
						t.Fatalf("the watcher was told of %q alone", told)
					}
				}
				slices.Sort(told)
				for n, id := range want {
					if w := fmt.Sprintf(`up %q {"elicitationId":"%s","n":1.0}`, owner, id); told[n] != w {
						t.Errorf("the watcher got %s, want %s", told[n], w)
					}
				}
			})
		}
	}
}

// Of two calls under way, the one that asked is told, and no other one.
func TestACompletionGoesToTheCallThatAsked(t *testing.T) {
	h := newHub([]byte(`{"elicitation":{}}`))
	var late []string
	h.elicited = func(params []byte) { late = append(late, string(params)) }
	answer := func(context.Context, string, []byte) ([]byte, *wire.Error, error) { return []byte(`{}`), nil, nil }
	enter := func(id string) *inflight {
		ctx, clock := withDeadline(t.Context(), time.Minute)
		t.Cleanup(clock.stop)
		i := newInflight(ctx, &Call{Ask: answer, Notify: func(string, []byte) {}, Agent: Agent{Era: wire.Legacy}}, clock, []byte(id))
		h.enter(i)
		return i
	}
	one, other := enter("1"), enter("2")
	if got := h.owner(parsed(t, completion("page-1"))); got != nil {
		t.Error("a completion that nobody asked for has an owner")
	}
	for n := range maxQuestions + 1 {
		one.question(parsed(t, toPage(fmt.Sprint(n), fmt.Sprintf("page-%d", n))), func([]byte) {})
		one.asking.Wait()
	}
	other.question(parsed(t, toPage("q", "page-of-2")), func([]byte) {})
	other.asking.Wait()
	for id, want := range map[string]*inflight{
		"page-1": one, fmt.Sprintf("page-%d", maxQuestions): one, "page-of-2": other,
		"page-0": nil, // one more than a call keeps
	} {
		if h.owner(parsed(t, completion(id))) != want {
			t.Errorf("%s has another owner", id)
		}
	}
	h.leave(one.id)
	one.finish()
	if m := parsed(t, completion("page-1")); h.owner(m) != nil || one.notify(m) {
		t.Error("a call that is over was told")
	} else {
		h.publish(m)
	}
	if len(late) != 1 || !strings.Contains(late[0], "page-1") {
		t.Errorf("the watcher got %q", late)
	}
}
