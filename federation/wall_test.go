package federation

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

const ourKey = "canary-upstream-key-0001"

// withKey is the entry with a credential, and that credential.
func withKey(t *testing.T, u *catalogs.Upstream) dialConfig {
	t.Helper()
	u.Source = catalogs.Position{File: "catalogs/up.yaml", Line: 12}
	u.Auth = catalogs.Auth{Type: catalogs.AuthHeader, Header: "X-Api-Key", Value: ourKey}
	c, err := new(credential.Keeper).Credential(t.Context(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	return dialConfig{Upstream: u, Credential: c}
}

// overheard is everything that a connection gives away.
type overheard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *overheard) put(what ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fmt.Fprintln(&h.text, what...)
}

// call makes one call and hears all that comes of it.
func (h *overheard) call(t *testing.T, c connection, tool string) {
	call := &Call{
		Upstream: "up", Method: "tools/call", Params: []byte(`{"name":"` + tool + `","arguments":{}}`), ProgressToken: []byte(`"p"`),
		Agent:  Agent{Era: wire.Legacy, LogLevel: "debug"},
		Notify: func(method string, params []byte) { h.put("notified", method, string(params)) },
		Ask: func(_ context.Context, method string, params []byte) ([]byte, *wire.Error, error) {
			h.put("asked", method, string(params))
			return []byte(`{"action":"decline"}`), nil, nil
		},
	}
	a, err := c.do(t.Context(), call)
	if err != nil {
		h.put("failed", err.Error(), fmt.Sprintf("%+v", err))
		return
	}
	h.put("answered", string(a.Result))
	if a.Error != nil {
		h.put("refused", a.Error.Message, string(a.Error.Data), string(a.Error.Raw))
	}
}

// tattle answers a message with the request's own credential in it, wherever there
// is room for text.
func tattle(m rpc, say func(string)) {
	plain := `"` + ourKey + `"`
	coded := `"` + base64.StdEncoding.EncodeToString([]byte("X-Api-Key: "+ourKey)) + ` \u0063anary-upstream-key-0001"`
	if token := m.token(); token != "" {
		say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1,"message":%s}}`, token, plain))
	}
	say(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":{%s:%s}}}`, plain, coded))
	if strings.Contains(string(m.Params), `"error"`) {
		say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":%s,"data":[%s]}}`, m.ID, plain, coded))
		return
	}
	say(m.result(fmt.Sprintf(`{"content":[{"type":"text","text":%s},{"uri":"x://%s"}],"structuredContent":{%s:1}}`, coded, ourKey, plain)))
}

// TestACredentialThatIsEchoedStopsAtTheWall: promise 1, case A-071.
func TestACredentialThatIsEchoedStopsAtTheWall(t *testing.T) {
	leavesNothing(t)
	hello := func(s string) string {
		return strings.NewReplacer(`"be kind"`, `"be kind, `+ourKey+`"`, `"name":"s"`, `"name":"`+ourKey+`"`).Replace(s)
	}
	transports := map[string]func(t *testing.T) *catalogs.Upstream{
		"2026-07-28": func(t *testing.T) *catalogs.Upstream {
			return entryFor(newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch m := readRPC(r); {
				case r.Header.Get("X-Api-Key") != ourKey:
					w.WriteHeader(401)
				case m.Method == "server/discover":
					sendJSON(w, 200, m.result(hello(discoverResult)))
				case strings.Contains(string(m.Params), `"junk"`):
					w.Header().Set("Content-Type", ourKey)
					w.WriteHeader(200)
				default:
					tattle(m, sendEvents(w))
				}
			})))
		},
		"2025-11-25": func(t *testing.T) *catalogs.Upstream {
			return entryFor(newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch m := readRPC(r); {
				case r.Header.Get("X-Api-Key") != ourKey:
					w.WriteHeader(401)
				case r.Method != http.MethodPost:
					w.WriteHeader(405)
				case m.Method == "initialize":
					sendJSON(w, 200, m.result(hello(helloResult)))
				case m.Method == "server/discover":
					w.WriteHeader(400)
				case m.Method == "" || m.ID == nil:
					w.WriteHeader(202)
				case strings.Contains(string(m.Params), `"junk"`):
					w.Header().Set("Content-Type", ourKey)
					w.WriteHeader(200)
				case m.Method == "tools/call":
					say := sendEvents(w)
					say(fmt.Sprintf(`{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":%q}}`, ourKey))
					tattle(m, say)
				default:
					sendJSON(w, 200, m.result(`{}`))
				}
			})))
		},
		"2024-11-05, HTTP+SSE": func(t *testing.T) *catalogs.Upstream {
			u := newSSEUpstream(t, func(say func(string), m rpc) { tattle(m, say) })
			t.Cleanup(u.CloseClientConnections)
			return u.entry(catalogs.SSE)
		},
	}
	for name, up := range transports {
		t.Run(name, func(t *testing.T) {
			var h overheard
			d := withKey(t, up(t))
			d.Capabilities = []byte(`{"elicitation":{}}`)
			c := connect(t, d)
			h.put("peer", c.peer().Instructions, string(c.peer().ServerInfo), string(c.peer().Capabilities))
			for _, tool := range []string{"plain", "error", "junk"} {
				h.call(t, c, tool)
			}
			got := h.text.String()
			if strings.Contains(got, "canary") || strings.Contains(got, base64.StdEncoding.EncodeToString([]byte("X-Api-Key: " + ourKey))[16:]) {
				t.Errorf("the gateway's own credential came back:\n%s", got)
			}
			for _, part := range []string{"answered", "refused", "notified notifications/progress", "notified notifications/message", "(credential)"} {
				if !strings.Contains(got, part) {
					t.Errorf("nothing was %s in\n%s", part, got)
				}
			}
		})
	}
}

func TestASecretOfAProcessStopsAtTheWall(t *testing.T) {
	leavesNothing(t)
	u := processFor("legacy")
	u.Env["API_TOKEN"] = ourKey
	c, err := new(credential.Keeper).Credential(t.Context(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := connect(t, dialConfig{Upstream: u, Credential: c}).do(t.Context(),
		&Call{Upstream: "up", Method: "tools/call", Params: []byte(`{"name":"env","arguments":{}}`)})
	if err != nil || strings.Contains(string(a.Result), "canary") || !strings.Contains(string(a.Result), "(credential)") {
		t.Errorf("%+v %v", a, err)
	}
}

func TestNoRedirectTakesACredentialAlong(t *testing.T) {
	leavesNothing(t)
	reached := make(chan *http.Request, 16)
	elsewhere := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached <- r }))
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, status) }))
		_, err := dial(t.Context(), withKey(t, entryFor(s)))
		if f := wantKind(t, err, ErrUnavailable); !strings.Contains(f.Detail, "redirects are not followed") {
			t.Error(f)
		}
	}
	if len(reached) > 0 {
		t.Error("a redirect was followed")
	}
}

func TestARefusedCredentialIsSaidWithItsPlace(t *testing.T) {
	leavesNothing(t)
	s := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }))
	_, err := dial(t.Context(), withKey(t, entryFor(s)))
	if f := wantKind(t, err, ErrUnavailable); !strings.Contains(f.Detail, "refuses its credential; check auth in catalogs/up.yaml:12") {
		t.Error(f)
	}
	u := entryFor(s)
	u.Source = catalogs.Position{File: "catalogs/up.yaml", Line: 12}
	_, err = dial(t.Context(), dialConfig{Upstream: u})
	if f := wantKind(t, err, ErrUnavailable); !strings.Contains(f.Detail, "wants a credential; declare its auth in catalogs/up.yaml:12") {
		t.Error(f)
	}
}

// A 401 says that the request did not run: with another credential at hand it is
// sent again, once.
func TestARenewedCredentialIsTriedOnce(t *testing.T) {
	leavesNothing(t)
	var mu sync.Mutex
	var keys []string
	s := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		keys = append(keys, r.Header.Get("X-Key"))
		mu.Unlock()
		if m := readRPC(r); r.Header.Get("X-Key") == "2" {
			sendJSON(w, 200, m.result(discoverResult))
			return
		}
		w.WriteHeader(401)
	}))
	for _, tt := range []struct {
		goal int
		want string
	}{{2, "1 2"}, {3, "1 3"}} {
		key, renewals := 1, 0
		keys = nil
		d := dialConfig{Upstream: entryFor(s), Credential: credential.Credential{
			Authorize: func(r *http.Request) error { r.Header.Set("X-Key", fmt.Sprint(key)); return nil },
			Renew:     func(*http.Request) bool { key = tt.goal; renewals++; return true },
		}}
		c, err := dial(t.Context(), d)
		if (err == nil) != (tt.goal == 2) || renewals != 1 || strings.Join(keys, " ") != tt.want {
			t.Errorf("%v, %d renewals, keys %q", err, renewals, keys)
		}
		if c != nil {
			c.close(t.Context())
		}
	}
}

// TestAPersistedSnapshotTellsNoCredential: definitions pass the wall before they
// are kept, and an answer says with which credential it was got.
func TestAPersistedSnapshotTellsNoCredential(t *testing.T) {
	s := modernUpstream(t, func(w http.ResponseWriter, r *http.Request, m rpc) {
		if m.Method == "tools/list" {
			sendJSON(w, 200, m.result(`{"resultType":"complete","ttlMs":60000,"cacheScope":"public","tools":[{"name":"echo","description":"your key is `+r.Header.Get("X-Api-Key")+`","inputSchema":{"type":"object"}}]}`))
			return
		}
		sendJSON(w, 200, m.result(`{"content":[]}`))
	})
	u := entryFor(s.URL)
	u.Auth = catalogs.Auth{Type: catalogs.AuthHeader, Header: "X-Api-Key", Value: ourKey}
	kept := &keeper{}
	f := New(Config{Logger: (&logged{}).logger(), Version: "1", Credentials: new(credential.Keeper), Snapshots: kept})
	if err := f.Apply(t.Context(), catalogOf(u)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	f.Settle(ctx)
	a, err := f.Call(ctx, nil, echoCall())
	if err != nil || a.Credential != "up/header" {
		t.Errorf("%+v %v", a, err)
	}
	s.Close()
	_, err = f.Call(ctx, nil, echoCall())
	if lost, ok := err.(*Failure); !ok || lost.Credential != "up/header" {
		t.Errorf("%v", err)
	}
	if err := f.Close(ctx); err != nil {
		t.Error(err)
	}
	if text := fmt.Sprintf("%s", kept.values); strings.Contains(text, "canary") || !strings.Contains(text, "your key is (credential)") {
		t.Errorf("kept: %s", text)
	}
}
