package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// tattler is an upstream of either era that keeps every header it gets and tells
// all of them to everybody: in its name, tools, results, errors and log messages.
type tattler struct {
	modern bool
	header string // of the key that it wants
	mu     sync.Mutex
	got    []http.Header
	body   strings.Builder
}

func (u *tattler) keys() (list []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, h := range u.got {
		list = append(list, h.Get(u.header))
	}
	return list
}

func (u *tattler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.got = append(u.got, r.Header.Clone())
	u.body.Write(raw)
	u.mu.Unlock()
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct{ Arguments struct{ How string } }
	}
	json.Unmarshal(raw, &m)
	all, _ := json.Marshal(fmt.Sprint(r.Header))
	answer := func(result string) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
	}
	switch {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case len(m.ID) == 0:
		w.WriteHeader(http.StatusAccepted)
	case m.Method == "server/discover" && u.modern:
		answer(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"logging":{}},"ttlMs":60000,"cacheScope":"private","instructions":` + string(all) + `}`)
	case m.Method == "server/discover":
		w.WriteHeader(http.StatusBadRequest)
	case m.Method == "initialize":
		w.Header().Set("Mcp-Session-Id", "s")
		answer(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":` + string(all) + `,"version":"1"},"instructions":` + string(all) + `}`)
	case m.Method == "tools/list":
		answer(`{"resultType":"complete","ttlMs":60000,"cacheScope":"private","tools":[{"name":"tell","description":` + string(all) + `,"inputSchema":{"type":"object","properties":{"how":{"type":"string","default":` + string(all) + `}}}}]}`)
	case m.Params.Arguments.How == "crash":
		w.WriteHeader(http.StatusInternalServerError)
		w.Write(all)
	case m.Params.Arguments.How == "junk":
		w.Header().Set("Content-Type", r.Header.Get(u.header))
	case m.Method == "tools/call":
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"error\",\"data\":%s}}\n\n", all)
		if m.Params.Arguments.How == "error" {
			fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-32000,\"message\":%s,\"data\":%s}}\n\n", m.ID, all, all)
			return
		}
		fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"resultType\":\"complete\",\"content\":[{\"type\":\"text\",\"text\":%s}]}}\n\n", m.ID, all)
	default:
		answer(`{}`)
	}
}

// TestTokensStayOnTheirSideOfTheGateway is promise 1 with a canary on either
// side: an agent's token never reaches an upstream, the gateway's credential for
// an upstream never an agent, a log, a record or a file.
func TestTokensStayOnTheirSideOfTheGateway(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSite(t)
	now, before := &tattler{modern: true, header: "Authorization"}, &tattler{header: "X-Api-Key"}
	modern, legacy := httptest.NewServer(now), httptest.NewServer(before)
	t.Cleanup(modern.Close)
	t.Cleanup(legacy.Close)
	const nowKey, beforeKey, nextKey = "canary-of-the-modern-upstream", "canary-of-the-legacy-upstream", "canary-after-a-rotation"
	keyFile := filepath.Join(t.TempDir(), "key")
	rotate := func(key string) {
		if err := os.WriteFile(keyFile+".new", []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(keyFile+".new", keyFile); err != nil {
			t.Fatal(err)
		}
	}
	rotate(beforeKey)
	s.declare(t, fmt.Sprintf("upstreams:\n  now:\n    url: %s/mcp\n    auth: {type: header, value: \"${NOW_KEY}\"}\n  before:\n    url: %s/mcp\n    auth: {type: header, header: X-Api-Key, value: \"file:%s\"}\n",
		modern.URL, legacy.URL, keyFile))
	s.verb(t, "user", "add", "alice")
	g := s.start(t, &console{env: map[string]string{"NOW_KEY": nowKey}})
	token := s.verb(t, "token", "issue", "--user", "alice")

	var said strings.Builder
	post := func(body string, header ...string) http.Header {
		r, err := http.NewRequest(http.MethodPost, g.url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + token,
			"X-Api-Key": token, "Cookie": "t=" + token, "Mcp-Param-Authorization": token, "X-Forwarded-Authorization": token,
		} {
			r.Header.Set(name, value)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&said, resp.Header, string(answer))
		return resp.Header
	}
	inModern := func(method, name, params string) {
		h := []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", method}
		if name != "" {
			h = append(h, "Mcp-Name", name)
		}
		post(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s,%s}}`, method, params,
			strings.Replace(requestMeta, `"_meta":{`, `"_meta":{"io.modelcontextprotocol/logLevel":"debug","authorization":"`+token+`",`, 1)), h...)
	}
	eventually(t, "both upstreams", func() bool {
		said.Reset()
		inModern("tools/list", "", `"x":0`)
		return strings.Contains(said.String(), "now__tell") && strings.Contains(said.String(), "before__tell")
	})
	session := post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`).Get("Mcp-Session-Id")
	inLegacy := func(method, params string) {
		post(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s}}`, method, params), "Mcp-Session-Id", session, "Mcp-Protocol-Version", "2025-11-25")
	}
	inModern("server/discover", "", `"x":0`)
	inLegacy("tools/list", `"x":0`)
	for _, upstream := range []string{"now", "before"} {
		for _, how := range []string{"well", "error", "crash", "junk"} {
			call := fmt.Sprintf(`"name":"%s__tell","arguments":{"how":%q}`, upstream, how)
			inModern("tools/call", upstream+"__tell", call)
			inLegacy("tools/call", call)
		}
	}
	for u, want := range map[*tattler]string{now: "Bearer " + nowKey, before: beforeKey} {
		for _, key := range u.keys() {
			if key != want {
				t.Errorf("an upstream got the key %q", key)
			}
		}
	}
	rotate(nextKey)
	eventually(t, "the rotated key", func() bool {
		inLegacy("tools/call", `"name":"before__tell","arguments":{"how":"well"}`)
		keys := before.keys()
		return keys[len(keys)-1] == nextKey
	})
	records := s.verb(t, "audit", "query", "--format", "json")
	g.stop()

	for _, u := range []*tattler{now, before} {
		if text := fmt.Sprint(u.got, u.body.String()); strings.Contains(text, token) {
			t.Error("the agent's token reached an upstream")
		}
	}
	places := map[string]string{"the agent": said.String(), "the log": g.err.String() + g.out.String(), "a record": records}
	err := filepath.WalkDir(s.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		places[path] = string(text)
		return err
	})
	if err != nil || len(places) < 5 {
		t.Fatalf("%d places, %v", len(places), err)
	}
	for place, text := range places {
		for _, secret := range []string{nowKey, beforeKey, nextKey, token} {
			if strings.Contains(text, secret) {
				t.Errorf("%s… reached %s", secret[:12], place)
			}
		}
	}
	if !strings.Contains(said.String(), "(credential)") || strings.Count(said.String(), "notifications/message") < 2 {
		t.Error("the upstreams told nothing")
	}
	for _, id := range []string{`"credential":"now/header"`, `"credential":"before/header"`} {
		if strings.Count(records, id) < 8 {
			t.Errorf("%d records name %s", strings.Count(records, id), id)
		}
	}
}
