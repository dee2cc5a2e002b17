package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

func newServer(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s.URL
}

// realWorld is a Federation over one real upstream.
func realWorld(t *testing.T, entry *catalogs.Upstream) *Federation {
	t.Helper()
	f := New(Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "1"})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := f.Close(ctx); err != nil {
			t.Error("close:", err)
		}
	})
	if err := f.Apply(t.Context(), catalogOf(entry)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	f.Settle(ctx)
	return f
}

// said is what the gossip answers.
type said struct {
	Canary, Instance string
	Hello            struct{ Capabilities json.RawMessage }
}

var bothWays = []bool{false, true} // of sharing: principal, shared

// eachSharing runs test for both transports and both ways of sharing.
func eachSharing(t *testing.T, ways []bool, test func(t *testing.T, transport string, f *Federation, shared bool)) {
	for _, shared := range ways {
		for transport, entry := range gossipEntries(t) {
			t.Run(fmt.Sprintf("%s, shared %v", transport, shared), func(t *testing.T) {
				entry.Shared = shared
				test(t, transport, realWorld(t, entry), shared)
			})
		}
	}
}

// askGossip makes one call of the gossip on behalf of who; heard are its notifications.
func askGossip(t *testing.T, f *Federation, who string, n int, level string) (s said, heard []string) {
	c := &Call{
		Upstream: "up", Method: "tools/call", Params: fmt.Appendf(nil, `{"name":"x","arguments":{"who":%q,"n":%d}}`, who, n),
		ProgressToken: fmt.Appendf(nil, `"%s %d"`, who, n),
		Agent:         Agent{LogLevel: level, Capabilities: []byte(`{"elicitation":{},"roots":{},"sampling":{}}`)},
		Notify: func(method string, params []byte) {
			kind := strings.TrimPrefix(method, "notifications/")
			heard = append(heard, kind+" "+about(params))
			if kind == "progress" && !strings.Contains(string(params), fmt.Sprintf(`"progressToken":"%s %d"`, who, n)) {
				t.Errorf("%s got the progress of another token: %s", who, params)
			}
		},
		Ask: func(context.Context, string, []byte) ([]byte, *wire.Error, error) { return []byte(`{}`), nil, nil },
	}
	a, err := f.Call(t.Context(), user(who), c)
	if err != nil {
		t.Error(err)
		return s, heard
	}
	if err := json.Unmarshal(a.Result, &s); err != nil {
		t.Errorf("%s", a.Result)
	}
	return s, heard
}

// A thousand calls of four people at once: nobody hears of anybody else.
func TestNobodyHearsOfAnother(t *testing.T) {
	people := []string{"alice", "bob", "carol", "dave"}
	const each, atOnce = 250, 16
	eachSharing(t, bothWays, func(t *testing.T, transport string, f *Federation, shared bool) {
		var mu sync.Mutex
		instances := map[string]map[string]bool{}
		logs := 0
		work := make(chan int)
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				for n := range work {
					who := people[n%len(people)]
					level := "debug"
					if n%len(people) > 1 {
						level = "" // carol and dave don't care for logs
					}
					s, heard := askGossip(t, f, who, n, level)
					own := fmt.Sprintf("%s-%d.", who, n)
					if s.Canary != own {
						t.Errorf("%s got the answer of %s", own, s.Canary)
					}
					progress := 0
					mu.Lock()
					for _, h := range heard {
						switch {
						case h == "progress "+own:
							progress++
						case h == "message "+own, strings.HasPrefix(h, "message "+who+"-") && !shared:
							logs++
						default:
							t.Errorf("%s heard %q", own, h)
						}
					}
					if instances[s.Instance] == nil {
						instances[s.Instance] = map[string]bool{}
					}
					instances[s.Instance][who] = true
					mu.Unlock()
					if progress == 0 { // or two, if the late one is not too late
						t.Errorf("%s heard nothing of its progress", own)
					}
				}
			})
		}
		for n := range each * len(people) {
			work <- n
		}
		close(work)
		wg.Wait()

		if want := map[bool]int{false: len(people), true: 1}[shared]; len(instances) != want {
			t.Errorf("%d sessions, want %d", len(instances), want)
		}
		for id, whose := range instances {
			if !shared && len(whose) != 1 {
				t.Errorf("session %s was of %v", id, whose)
			}
		}
		switch {
		case transport == "stdio" && shared:
			// A process has no stream of a call's own to say which a log
			// message belongs to.
			if logs > 0 {
				t.Errorf("%d log messages of a shared process", logs)
			}
		case logs == 0:
			t.Error("no log message reached its owner")
		}
	})
}

// The only call under way is no proof that a message is about it.
func TestLateWordOfASharedUpstreamReachesNobody(t *testing.T) {
	eachSharing(t, bothWays, func(t *testing.T, transport string, f *Federation, shared bool) {
		askGossip(t, f, "alice", 1, "debug")
		for n := range 20 {
			_, heard := askGossip(t, f, "bob", n, "debug")
			for _, h := range heard {
				if strings.Contains(h, "alice") || shared && transport == "stdio" && strings.HasPrefix(h, "message") {
					t.Errorf("bob heard %q", h)
				}
			}
		}
	})
}

func TestSharedConnectionDeclaresNothingAndIsAskedNothing(t *testing.T) {
	eachSharing(t, bothWays, func(t *testing.T, transport string, f *Federation, shared bool) {
		s, _ := askGossip(t, f, "alice", 1, "")
		if declared := string(s.Hello.Capabilities); (declared == `{}`) != shared {
			t.Errorf("declared %s", declared)
		}
	})
	for _, script := range []string{"ask", "sample"} {
		u := processFor("plain")
		u.Shared = true
		f := realWorld(t, u)
		call := toolNamed(script, 0)
		call.Upstream, call.Agent.Capabilities = "up", []byte(`{"elicitation":{},"sampling":{}}`)
		call.Ask = func(context.Context, string, []byte) ([]byte, *wire.Error, error) {
			t.Error("an agent was asked over a shared connection")
			return nil, nil, nil
		}
		a, err := f.Call(t.Context(), user("alice"), call)
		if err != nil || !strings.Contains(string(a.Result), `-32601`) {
			t.Errorf("%+v %v", a, err)
		}
	}
}

// What says itself what it is about reaches all who asked for that, and
// nobody else.
func TestUpdatesOfASharedUpstreamGoByURI(t *testing.T) {
	eachSharing(t, []bool{true}, func(t *testing.T, _ string, f *Federation, _ bool) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var wg sync.WaitGroup
		heard := make(chan string, 64)
		for _, s := range []struct {
			who  string
			uris []string
		}{{"alice", []string{"x://alice"}}, {"bob", []string{"x://bob", "x://alice"}}, {"carol", []string{"x://carol"}}} {
			ready := make(chan bool)
			wg.Go(func() {
				agent := Agent{Capabilities: []byte(`{"roots":{}}`)}
				f.Subscribe(ctx, user(s.who), agent, "up", s.uris, func() { close(ready) }, func(params []byte) {
					heard <- s.who + " heard of " + about(params)
				})
			})
			<-ready
		}
		var got []string
		for _, who := range []string{"alice", "bob"} {
			askGossip(t, f, who, 1, "")
		}
		want := []string{"alice heard of x://alice", "bob heard of x://alice", "bob heard of x://bob"}
		for range want {
			got = append(got, <-heard)
		}
		askGossip(t, f, "dave", 1, "") // whom nobody asked for
		cancel()
		wg.Wait()
		close(heard)
		for h := range heard {
			got = append(got, h)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}
