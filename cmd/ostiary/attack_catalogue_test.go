package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/store/audit"
)

// send asks for path in whatever way, and gives the answer's body.
func send(t *testing.T, method, url, body string, header map[string]string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(got)
}

// On the agents' network there is nothing of the operator's, with or without an
// agent's token, and what says how the gateway is says nothing of what it is
// made of (security catalogue A-111).
func TestAgentsFindNoDoorOfTheOperators(t *testing.T) {
	w := newTown(t)
	for _, path := range []string{
		"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/debug", "/admin", "/admin/", "/admin.sock", "/api/admin", "/status", "/config",
		"/version", "/healthz/", "/healthz/x", "/readyz/x", "/user/list", "/token/list", "/token.issue", "/audit/query", "/backup", "/.env", "/data/store.db",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for _, token := range []string{"", w.tokens["alice"]} {
				header := map[string]string{"Content-Type": "application/json"}
				if token != "" {
					header["Authorization"] = "Bearer " + token
				}
				response, body := send(t, method, w.base+path, "{}", header)
				if response.StatusCode != http.StatusNotFound && response.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s %s, token %v: %d %.200s", method, path, token != "", response.StatusCode, body)
				}
			}
		}
	}
	for path, want := range map[string]string{"/healthz": `{"status":"ok"}`, "/readyz": `"status":"ready"`} {
		response, body := send(t, http.MethodGet, w.base+path, "", map[string]string{"Authorization": "Bearer " + w.tokens["alice"]})
		if response.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
		all := body + fmt.Sprint(response.Header)
		for _, bad := range []string{"east", "west", "127.0.0.1", "http", w.data, runtime.Version(), thisBuild().Version, "Server:", "X-Powered-By"} {
			if bad != "" && strings.Contains(all, bad) {
				t.Errorf("%s says %q: %s", path, bad, all)
			}
		}
	}
}

// Where a request comes from, when, and through which program are not for the
// request to say: a rule that asks for them is not met by a header, and what an
// agent says of itself stands apart, as that (security catalogue A-103).
func TestARequestCantSayWhenceWhenOrByWhat(t *testing.T) {
	w := newTown(t)
	rule := func(condition string) {
		t.Helper()
		w.rules(t, "package ostiary\n\ndefault allow := false\n\nallow if { "+condition+" }\n")
	}
	attempt := func(meta string) string {
		t.Helper()
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{%s,"name":"east__echo","arguments":{"text":"x"}}}`, meta)
		_, got := send(t, http.MethodPost, w.url, body, map[string]string{
			"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + w.tokens["alice"],
			"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "east__echo",
			"X-Forwarded-For": "10.1.2.3", "X-Real-Ip": "10.1.2.3", "Forwarded": "for=10.1.2.3;proto=https", "X-Forwarded-Proto": "https", "X-Client-Cert": "x",
			"Date": "Thu, 01 Jan 1970 00:00:00 GMT", "X-Now": "0", "X-Time": "0", "X-Request-Start": "t=0", "X-Device-Posture": "managed", "X-Client-Verified": "SUCCESS",
		})
		return got
	}
	posture := strings.Replace(requestMeta, `"version":"1"}`, `"version":"1","posture":"managed","verified_name":"The Company","verified":true},"device":{"posture":"managed"},"time":{"hour":3},"source":{"ip":"10.1.2.3","tls":true}`, 1)
	rule(`input.source.ip == "127.0.0.1"; not input.source.tls; not input.source.proxied; input.time.unix > 1700000000; input.agent.name == "test"; input.client.verified_name != "The Company"`)
	eventually(t, "the call by what is so", func() bool { return strings.Contains(attempt(posture), `"result"`) })
	for _, claim := range []string{
		`input.source.ip == "10.1.2.3"`, `input.source.tls`, `input.source.proxied`, `input.time.unix < 1700000000`,
		`input.client.verified_name == "The Company"`, `input.client.verified_name == "test"`, `input.client.id == "test"`,
	} {
		rule(`input.user.name == "carol"`)
		eventually(t, "no call", func() bool { return !strings.Contains(attempt(posture), `"result"`) })
		w.rules(t, "package ostiary\n\ndefault allow := false\n\nallow if { "+claim+" }\n\nallow if { input.user.name == \"bob\" }\n")
		eventually(t, "the rule, by which bob may call", func() bool {
			got, err := w.answer(t.Context(), "bob", "tools/call", "west__echo", `"name":"west__echo","arguments":{"text":"x"}`)
			return err == nil && strings.Contains(got, `"result"`)
		})
		if got := attempt(posture); strings.Contains(got, `"result"`) {
			t.Errorf("a request made %s true: %s", claim, got)
		}
	}
	w.stop()
	for r, err := range audit.Read(w.data) {
		if err == nil && r.Request.Method == "tools/call" && r.Kind == "decision" && (r.Source.IP != "127.0.0.1" || r.Source.Proxied || r.Source.TLS || r.Client.VerifiedName == "The Company" || r.Time.Year() < 2020) {
			t.Errorf("recorded %+v %+v %s", r.Source, r.Client, r.Time)
		}
	}
}

// A list has a tool exactly when the call goes through, over HTTP with rules on
// groups, names and scopes (security catalogue A-098; policy/rego holds ten
// thousand draws against each other).
func TestOverHTTPListedIsCallable(t *testing.T) {
	const tools = 12
	t.Chdir(t.TempDir())
	if err := os.WriteFile("ostiary.yaml", []byte("policy: {timeout: 20s}\naudit: {deadline: 60s}\nscopes: {heavy: heavy things}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(newEcho(tools))
	t.Cleanup(upstream.Close)
	w := &town{site: newSite(t), policies: t.TempDir(), tokens: map[string]string{}}
	w.open(t, upstream.URL, true)
	w.rules(t, `package ostiary

default allow := false

allow if { "all" in input.user.groups }
allow if { input.upstream == "east"; "east" in input.user.groups; not endswith(input.target.name, "1") }
allow if { input.upstream == "west"; "heavy" in input.grant.scopes; endswith(input.target.name, "3") }
deny contains "not these" if { "guest" in input.user.groups; contains(input.target.name, "7") }
deny contains "not there" if { input.request.endpoint != "/mcp"; "guest" in input.user.groups }
`)
	users := map[string][]string{"ann": {"all"}, "ben": {"east"}, "cat": {"all", "guest"}, "dan": nil, "eve": {"east", "guest"}}
	for user, groups := range users {
		args := []string{"user", "add", user}
		for _, g := range groups {
			args = append(args, "--group", g)
		}
		w.verb(t, args...)
	}
	w.served = w.start(t, &console{}, "--policies", w.policies)
	for user := range users {
		w.tokens[user] = w.verb(t, "token", "issue", "--user", user)
		w.tokens[user+" heavy"] = w.verb(t, "token", "issue", "--user", user, "--scope", "heavy")
	}
	eventually(t, "ann's tools", func() bool { return len(w.list(t, "ann")) == 2*tools })
	every := w.list(t, "ann")
	merged, callable, hidden := w.url, 0, 0
	for who := range w.tokens {
		for _, at := range []string{"", "/east", "/west"} {
			w.url = merged + at
			shown := w.list(t, who)
			for _, name := range every {
				own := name
				if at != "" {
					upstream, bare, _ := strings.Cut(name, "__")
					if "/"+upstream != at {
						continue
					}
					own = bare
				}
				got, err := w.answer(t.Context(), who, "tools/call", own, fmt.Sprintf(`"name":%q,"arguments":{"text":"x"}`, own))
				if err != nil {
					t.Fatal(err)
				}
				ran := strings.Contains(got, `"result"`)
				if ran != slices.Contains(shown, own) || ran == strings.Contains(got, "Unknown tool: "+own) {
					t.Errorf("%s at %q: listed %v, %s: %.200s", who, at, !ran, own, got)
				}
				if ran {
					callable++
				} else {
					hidden++
				}
			}
		}
	}
	w.url = merged
	if callable < 50 || hidden < 50 {
		t.Errorf("%d callable, %d hidden: the rules tell too little apart", callable, hidden)
	}
}

// Nothing that a stranger is told when registering, or finds in metadata, holds
// what the gateway uses towards upstreams and the company's provider (security
// catalogue A-047).
func TestStrangersAreToldNoCredentialOfOurs(t *testing.T) {
	const secret, id = "canary-upstream-secret-0123456789", "canary-upstream-client"
	t.Chdir(t.TempDir())
	upstream := httptest.NewServer(newEcho(1))
	t.Cleanup(upstream.Close)
	s := newSite(t)
	s.declare(t, fmt.Sprintf("upstreams:\n  east: {url: %q, auth: {type: header, header: X-Api-Key, value: %q}, labels: [%q]}\n", upstream.URL, secret, id))
	s.verb(t, "user", "add", "alice", "--group", "g")
	g := s.start(t, &console{}, "--config", write(t, "ostiary.yaml", "oauth: {registration: true, clients: [{id: own, secret: "+secret+", redirectUris: [\"https://a.example/cb\"]}]}\n"))
	told := ""
	for _, path := range []string{
		"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp",
		"/.well-known/oauth-protected-resource/mcp/east", "/healthz", "/readyz", "/login", "/oauth/authorize?client_id=own", "/oauth/authorize?client_id=nobody", "/mcp", "/mcp/east",
	} {
		response, body := send(t, http.MethodGet, g.base+path, "", nil)
		told += fmt.Sprint(response.Header) + body
	}
	response, body := send(t, http.MethodPost, g.base+"/oauth/register", `{"client_name":"x","redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"none","client_id":"`+id+`x","software_id":"east"}`, map[string]string{"Content-Type": "application/json"})
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("registration: %d %s", response.StatusCode, body)
	}
	_, refused := send(t, http.MethodPost, g.base+"/oauth/register", `{"client_name":`, map[string]string{"Content-Type": "application/json"})
	_, token := send(t, http.MethodPost, g.base+"/oauth/token", "grant_type=client_credentials&client_id=own&client_secret=wrong", map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
	told += body + refused + token
	for _, bad := range []string{secret, id, filepath.Base(s.data) + "/", upstream.URL} {
		if strings.Contains(told, bad) {
			t.Errorf("a stranger is told %q", bad)
		}
	}
}
