package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store/audit"
)

const testPassword = "correct horse battery"

// verb runs one that must succeed, and returns what it prints.
func (s *site) verb(t *testing.T, args ...string) string {
	t.Helper()
	c := &console{in: testPassword + "\n"}
	if code := c.run(t.Context(), append(args, "--data", s.data)...); code != exitDone {
		t.Fatalf("%v: exit %d, %s", args, code, c.err.String())
	}
	return strings.TrimSpace(c.out.String())
}

// fails runs a verb that must not succeed, and returns its exit code and error.
func (s *site) fails(t *testing.T, args ...string) (int, string) {
	t.Helper()
	c := &console{in: testPassword + "\n"}
	code := c.run(t.Context(), append(args, "--data", s.data)...)
	if code == exitDone || c.out.String() != "" {
		t.Errorf("%v: exit %d, %s", args, code, c.out.String())
	}
	return code, c.err.String()
}

// asked is one request of an agent's with a token.
func postMCP(t *testing.T, url, token, body string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

const initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`

// admitted is the status that a token gets.
func admitted(t *testing.T, url, token string) int {
	t.Helper()
	response := postMCP(t, url, token, initialize)
	response.Body.Close()
	return response.StatusCode
}

// TestOperatorsVerbsWorkWithAndWithoutAServer runs the same story both ways.
func TestOperatorsVerbsWorkWithAndWithoutAServer(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("server %v", running), func(t *testing.T) {
			s := newSite(t)
			if running {
				s.start(t, &console{})
			}
			if got := s.verb(t, "user", "add", "Alice", "--group", "eng", "--group", "admins", "--password-stdin"); got != "added local:alice" {
				t.Errorf("user add: %q", got)
			}
			s.verb(t, "user", "add", "ci", "--name", "Build machine")
			if code, text := s.fails(t, "user", "add", "alice"); code != exitFailed || !strings.Contains(text, "exists already; `ostiary user set`") {
				t.Errorf("twice: exit %d, %s", code, text)
			}
			for _, name := range []string{"a b", "local", ""} {
				if code, _ := s.fails(t, "user", "add", name); code != exitUsage {
					t.Errorf("user add %q: exit %d", name, code)
				}
			}
			s.verb(t, "user", "set", "ci", "--group", "bots")
			var users []shownUser
			if err := json.Unmarshal([]byte(s.verb(t, "user", "list", "--format", "json")), &users); err != nil || len(users) != 2 {
				t.Fatalf("%v, %v", users, err)
			}
			if a, ci := users[0], users[1]; a.ID != "local:alice" || strings.Join(a.Groups, " ") != "admins eng" || !a.Password || ci.Name != "Build machine" || ci.Groups[0] != "bots" || ci.Password {
				t.Errorf("%+v", users)
			}
			if table := s.verb(t, "user", "list"); strings.Contains(table, "argon2") || !strings.Contains(table, "no password") {
				t.Error(table)
			}

			made := s.verb(t, "client", "add", "nightly", "--secret", "--client-credentials")
			if !regexp.MustCompile(`^client_id +nightly\nclient_secret +ost_cs_[A-Z2-7]{52}$`).MatchString(made) {
				t.Errorf("client add: %q", made)
			}
			s.verb(t, "client", "add", "desk", "--redirect-uri", "http://127.0.0.1/cb")
			for _, args := range [][]string{{"client", "add", "bad"}, {"client", "add", "bad", "--redirect-uri", "http://example.com/cb"}, {"client", "add", "bad", "--client-credentials"}} {
				if code, text := s.fails(t, args...); code != exitUsage {
					t.Errorf("%v: exit %d, %s", args, code, text)
				}
			}
			if all := s.verb(t, "client", "list"); !strings.Contains(all, "nightly") || !strings.Contains(all, "127.0.0.1") {
				t.Error(all)
			}
			s.verb(t, "client", "revoke", "desk")
			if code, text := s.fails(t, "client", "revoke", "desk"); code != exitFailed || !strings.Contains(text, "no client desk") {
				t.Errorf("revoked twice: exit %d, %s", code, text)
			}

			token := s.verb(t, "token", "issue", "--user", "ci", "--client", "nightly", "--ttl", "2h")
			if !regexp.MustCompile(`^ost_at_\S+$`).MatchString(token) {
				t.Errorf("token issue: %q", token)
			}
			var grants []shownGrant
			if err := json.Unmarshal([]byte(s.verb(t, "token", "list", "--format", "json")), &grants); err != nil || len(grants) != 1 {
				t.Fatalf("%v, %v", grants, err)
			}
			if g := grants[0]; g.User != "local:ci" || g.Client != "nightly" || strings.Join(g.Scopes, " ") != "mcp" || !strings.HasSuffix(g.Resource, "/mcp") || g.Expires.Sub(g.Created) != 2*time.Hour {
				t.Errorf("%+v", g)
			}
			s.verb(t, "token", "revoke", grants[0].ID)
			if left := s.verb(t, "token", "list", "--format", "json"); left != "[]" {
				t.Errorf("after token revoke: %s", left)
			}
			if code, text := s.fails(t, "token", "revoke", "unknown"); code != exitFailed || !strings.Contains(text, "no token unknown") {
				t.Errorf("unknown token: exit %d, %s", code, text)
			}

			s.verb(t, "key", "rotate")
			file := filepath.Join(t.TempDir(), "backup.db")
			s.verb(t, "backup", file)
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
				t.Errorf("%v, %v", info, err)
			}
			if code, text := s.fails(t, "backup", file); code != exitFailed || !strings.Contains(text, "exists already") {
				t.Errorf("backup over a file: exit %d, %s", code, text)
			}
			s.verb(t, "user", "disable", "alice")
			if all := s.verb(t, "user", "list"); !strings.Contains(all, "disabled") {
				t.Error(all)
			}
			s.verb(t, "user", "enable", "alice")
			s.verb(t, "user", "passwd", "alice", "--password-stdin")
			s.verb(t, "user", "delete", "alice")
			if code, text := s.fails(t, "user", "delete", "alice"); code != exitFailed || !strings.Contains(text, "no user alice; `ostiary user list`") {
				t.Errorf("deleted twice: exit %d, %s", code, text)
			}

			code, _, text := ostiary(t, "restore", file, "--data", s.data)
			if running {
				if code != exitFailed || !strings.Contains(text, "a server runs on") {
					t.Errorf("restore under a server: exit %d, %s", code, text)
				}
				return
			}
			if code != exitDone {
				t.Fatalf("restore: exit %d, %s", code, text)
			}
			if all := s.verb(t, "user", "list"); !strings.Contains(all, "local:alice") {
				t.Errorf("after restore: %s", all)
			}
			for r, err := range audit.Read(s.data) {
				if err != nil {
					t.Fatal(err)
				}
				if line := string(r.Line); strings.Contains(line, testPassword) || strings.Contains(line, "argon2") || strings.Contains(line, token) {
					t.Errorf("a secret is on record: %s", line)
				}
			}
		})
	}
}

func TestAnAgentNeedsATokenThatStands(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSite(t)
	s.verb(t, "user", "add", "alice", "--password-stdin") // before there is a server
	g := s.start(t, &console{})

	for _, method := range []string{"GET", "POST", "DELETE"} {
		request, _ := http.NewRequestWithContext(t.Context(), method, g.url, strings.NewReader("{"))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		want := fmt.Sprintf(`Bearer resource_metadata="%s/.well-known/oauth-protected-resource/mcp", scope="mcp"`, g.base)
		if got := response.Header.Get("WWW-Authenticate"); response.StatusCode != http.StatusUnauthorized || got != want {
			t.Errorf("%s: %d %q, want %q", method, response.StatusCode, got, want)
		}
	}
	code, metadata := get(t, g.base+"/.well-known/oauth-protected-resource/mcp")
	if code != http.StatusOK || !strings.Contains(metadata, `"`+g.url+`"`) {
		t.Errorf("%d %s", code, metadata)
	}

	token := s.verb(t, "token", "issue", "--user", "alice")
	if code := admitted(t, g.url, token); code != http.StatusOK {
		t.Fatalf("a token of the moment: %d", code)
	}
	one := s.verb(t, "token", "issue", "--user", "alice", "--resource", g.base+"/mcp/pipes")
	if code := admitted(t, g.base+"/mcp/pipes", one); code != http.StatusOK {
		t.Errorf("a token for one upstream, there: %d", code)
	}
	if code := admitted(t, g.url, one); code != http.StatusUnauthorized {
		t.Errorf("a token for one upstream, elsewhere: %d", code)
	}
	if _, text := s.fails(t, "token", "issue", "--user", "alice", "--public-url", "https://other.example.com"); !strings.Contains(text, "resource") {
		t.Errorf("a token for another server: %s", text)
	}

	// What is open ends with the person.
	session := postMCP(t, g.url, token, initialize)
	session.Body.Close()
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url, nil)
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Mcp-Session-Id", session.Header.Get("Mcp-Session-Id"))
	stream, err := http.DefaultClient.Do(request)
	if err != nil || stream.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", stream, err)
	}
	defer stream.Body.Close()
	s.verb(t, "user", "disable", "alice")
	if code := admitted(t, g.url, token); code != http.StatusUnauthorized {
		t.Errorf("a disabled user's token: %d", code)
	}
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("a disabled user's stream: %v", err)
	}
	if code := g.stop(); code != exitDone {
		t.Errorf("exit %d: %s", code, g.err.String())
	}
	if left, _ := filepath.Glob(filepath.Join(s.data, "admin.*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if strings.Contains(g.err.String(), token) {
		t.Error("the log has a token")
	}
}

func TestToolsAreSeenAndCalledAsAUser(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("policies", 0o700); err != nil {
		t.Fatal(err)
	}
	rules := "package ostiary\ndefault allow := false\nallow if { \"eng\" in input.user.groups; input.target.name != \"echo2\" }\n"
	// The file is found where the program runs. Its bounds are for machines that
	// have no time.
	for file, text := range map[string]string{"policies/p.rego": rules, "ostiary.yaml": "policy: {timeout: 20s}\naudit: {deadline: 60s}\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("server %v", running), func(t *testing.T) {
			s := newSite(t)
			s.verb(t, "user", "add", "alice", "--group", "eng")
			s.verb(t, "user", "add", "bob")
			listen := "127.0.0.1:1"
			if running {
				listen = strings.TrimPrefix(s.start(t, &console{}).base, "http://")
			}
			run := func(env map[string]string, args ...string) (int, string, string) {
				c := &console{env: env}
				code := c.run(t.Context(), s.with(append(args, "--listen", listen)...)...)
				return code, c.out.String(), c.err.String()
			}
			name := ""
			if code, out, errs := run(nil, "tools", "list", "--as", "alice", "--format", "json"); code != exitDone || !strings.Contains(out, `"pipes"`) {
				t.Fatalf("alice's list: exit %d, %s%s", code, out, errs)
			} else {
				var rows []listedTool
				if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) == 0 {
					t.Fatal(err, out)
				}
				name = rows[0].Name
			}
			if code, out, errs := run(nil, "tools", "list", "--as", "bob", "--format", "json"); code != exitDone || strings.TrimSpace(out) != "[]" {
				t.Errorf("bob's list: exit %d, %s%s", code, out, errs)
			}
			if code, out, errs := run(nil, "tools", "call", name, "--as", "alice"); code != exitDone {
				t.Errorf("alice's call: exit %d, %s%s", code, out, errs)
			}
			if code, _, errs := run(nil, "tools", "call", name, "--as", "bob"); code != exitFailed || !strings.Contains(errs, "code -32602") {
				t.Errorf("bob's call: exit %d, %s", code, errs)
			}
			if code, _, errs := run(nil, "tools", "call", name, "--as", "nobody"); code != exitFailed || !strings.Contains(errs, "nobody") {
				t.Errorf("nobody's call: exit %d, %s", code, errs)
			}
			if left := s.verb(t, "token", "list", "--format", "json"); left != "[]" {
				t.Errorf("tokens of the moment are left: %s", left)
			}
			if !running {
				return
			}
			token := s.verb(t, "token", "issue", "--user", "alice")
			if code, _, errs := run(map[string]string{tokenVariable: token}, "tools", "call", name); code != exitDone {
				t.Errorf("with a token in the environment: exit %d, %s", code, errs)
			}
			if code, _, errs := run(nil, "tools", "call", name, "--token", token); code != exitDone {
				t.Errorf("with a token: exit %d, %s", code, errs)
			}
			if code, _, errs := run(nil, "tools", "call", name); code != exitFailed || !strings.Contains(errs, "--as USER") {
				t.Errorf("without: exit %d, %s", code, errs)
			}
		})
	}
}

func TestTheFirstUserIsInvitedOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSite(t)
	g := s.start(t, &console{})
	eventually(t, "the set-up link", func() bool { return strings.Contains(g.err.String(), g.base+"/setup?token=") })
	g.stop()
	s.verb(t, "user", "add", "alice", "--password-stdin")
	g = s.start(t, &console{})
	g.stop()
	if strings.Contains(g.err.String(), "/setup?") {
		t.Errorf("a link beside a user: %s", g.err.String())
	}
	if !strings.Contains(g.err.String(), `"sign_in":"1 user"`) {
		t.Error(g.err.String())
	}
}

func TestAPasswordIsRefusedBeforeAnythingIsMade(t *testing.T) {
	s := newSite(t)
	for name, in := range map[string]string{"none": "", "an empty line": "\n", "too short": "1234567\n", "too long": strings.Repeat("x", 1025) + "\n"} {
		c := &console{in: in}
		if code := c.run(t.Context(), "user", "add", "alice", "--password-stdin", "--data", s.data); code != exitFailed || !strings.Contains(c.err.String(), "password") {
			t.Errorf("%s: exit %d, %s", name, code, c.err.String())
		}
	}
	if _, err := os.Stat(s.data); err == nil {
		t.Error("a refused password made a data directory")
	}
	for _, in := range []string{"12345678", "12345678\r\n"} {
		c := &console{in: in}
		if code := c.run(t.Context(), "user", "add", fmt.Sprintf("u%d", len(in)), "--password-stdin", "--data", s.data); code != exitDone {
			t.Errorf("%q: exit %d, %s", in, code, c.err.String())
		}
	}
}

func TestWhatOAuthRefusesOfTheConfigurationIsRefusedAtStart(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, c := range map[string]struct{ text, want string }{
		"a client's redirect":  {"oauth: {clients: [{id: a, redirectUris: [\"http://example.com/cb\"]}]}\n", "use https"},
		"a client twice":       {"oauth: {clients: [{id: a, redirectUris: [\"https://a.example/\"]}, {id: a, redirectUris: [\"https://a.example/\"]}]}\n", "twice"},
		"a scheme of browsers": {"oauth: {privateSchemes: [javascript]}\n", "can't be allowed"},
		"a pinned file":        {"oauth: {clientDocuments: {pinned: {\"https://a.example/c.json\": /no/such}}}\n", "/no/such"},
		"a scope's name":       {"scopes: {\"a b\": words}\n", `"a b"`},
	} {
		s := newSite(t)
		code, _, errs := ostiary(t, s.with("serve", "--listen", "127.0.0.1:0", "--config", write(t, "ostiary.yaml", c.text))...)
		if code != exitFailed || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %s", name, code, errs)
		}
	}
}

func TestBehindTLSTheChallengeNamesThePublicURL(t *testing.T) {
	t.Chdir(t.TempDir())
	certFile, keyFile, pool := certificate(t)
	s := newSite(t)
	config := write(t, "ostiary.yaml", fmt.Sprintf("publicUrl: https://mcp.example.com/\ntls: {certFile: %q, keyFile: %q}\n", certFile, keyFile))
	c := &console{}
	// The serving record names the public URL, so the port is chosen before.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	g := s.start(t, c, "--config", config, "--listen", "0.0.0.0:"+port)
	if g.url != "https://mcp.example.com/mcp" {
		t.Errorf("served at %s", g.url)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:"+port+"/mcp", nil)
	request.Host = "mcp.example.com"
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, response)
	want := `resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp"`
	if got := response.Header.Get("WWW-Authenticate"); response.StatusCode != http.StatusUnauthorized || !strings.Contains(got, want) {
		t.Errorf("%d %q", response.StatusCode, got)
	}
}

func TestADeclaredProxySaysWhoIsBehindIt(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSite(t)
	s.verb(t, "user", "add", "alice")
	g := s.start(t, &console{}, "--config", write(t, "ostiary.yaml", "trustedProxies: [127.0.0.1]\n"))
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url, strings.NewReader(initialize))
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Authorization": "Bearer " + s.verb(t, "token", "issue", "--user", "alice"),
		"X-Forwarded-For": "192.0.2.66, 203.0.113.9",
	} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, response)
	g.stop()
	for r, err := range audit.Read(s.data) {
		if err == nil && r.Kind == "lifecycle" && (r.Source.IP != "203.0.113.9" || !r.Source.Proxied || r.User.ID != "local:alice") {
			t.Errorf("%+v %+v", r.Source, r.User)
		}
	}
}

func TestWithoutSignInAPublicURLNeedsNoTLS(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSite(t)
	g := s.serve(t, "--public-url", "http://mcp.example.com")
	if g.url != "http://mcp.example.com/mcp" {
		t.Errorf("served at %s", g.url)
	}
	s.verb(t, "user", "add", "alice") // the operator can prepare what comes
}
