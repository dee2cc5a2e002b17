package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway"
	"github.com/ostiary/ostiary/store/audit"
)

func TestRatesAreConfiguredByTheFile(t *testing.T) {
	c, err := loadConfig(write(t, "ostiary.yaml", "rates:\n  heavy: {limit: 10, per: 1m, by: [user, tool]}\n  all: {per: 1h, limit: 10000, by: []}\n  both_2: {limit: 1, per: 24h}\n"), nil, environ())
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Rates; len(r) != 3 || r[0].Name != "heavy" || r[0].Limit != 10 || r[0].Per != time.Minute || strings.Join(r[0].By, " ") != "user tool" ||
		r[1].Name != "all" || r[1].Limit != gateway.MaxRateLimit || len(r[1].By) != 0 || r[2].Per != gateway.MaxRatePer {
		t.Errorf("%+v", r)
	}
	for file, want := range map[string]string{
		"rates: [a]":                                                      ":1:8: rates: want keys with values",
		"rates: {heavy: 10}":                                              ":1:16: rates.heavy: want keys with values",
		"rates: {heavy: }":                                                "rates.heavy: want limit and per",
		"rates: {heavy: {per: 1m}}":                                       ":1:16: rates.heavy.limit: is missing",
		"rates: {heavy: {limit: 1}}":                                      ":1:16: rates.heavy.per: is missing",
		"rates: {heavy: {limit: 0, per: 1m}}":                             ":1:24: rates.heavy.limit: want a number from 1 to 10000",
		"rates: {heavy: {limit: 10001, per: 1m}}":                         "rates.heavy.limit: want a number from 1 to 10000",
		"rates: {heavy: {limit: 1.5, per: 1m}}":                           "rates.heavy.limit: want a number",
		"rates: {heavy: {limit: 1, per: 999ms}}":                          ":1:32: rates.heavy.per: want a duration from 1s to 24h0m0s",
		"rates: {heavy: {limit: 1, per: 25h}}":                            "rates.heavy.per: want a duration",
		"rates: {heavy: {limit: 1, per: minute}}":                         "rates.heavy.per: want a duration",
		"rates: {heavy: {limit: 1, per: 1m, by: user}}":                   ":1:40: rates.heavy.by: want a list of user, client, tool, upstream, each once",
		"rates: {heavy: {limit: 1, per: 1m, by: [person]}}":               "rates.heavy.by: want a list",
		"rates: {heavy: {limit: 1, per: 1m, by: [user, user]}}":           "rates.heavy.by: want a list",
		"rates: {heavy: {limits: 1, per: 1m}}":                            `:1:17: rates.heavy.limits: unknown key, did you mean "limit"?`,
		"rates: {a b: {limit: 1, per: 1m}}":                               ":1:9: rates.a b: a class is named with",
		"rates: {heavy: {limit: 1, per: 1m}, heavy: {limit: 2, per: 1m}}": "heavy: written twice",
	} {
		if _, err := loadConfig(write(t, "ostiary.yaml", file+"\n"), nil, environ()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", file, err, want)
		}
	}
	if _, err := loadConfig("", nil, environ("OSTIARY_RATES", "x")); err == nil || !strings.Contains(err.Error(), "write it in ostiary.yaml") {
		t.Error(err)
	}
}

// obliging is a site with rules that oblige, and the configuration file's text
// after them. Its bounds are for machines that have no time.
func obliging(t *testing.T, rego, config string) (*site, []string) {
	t.Helper()
	dir := rules(t, "p.rego", "package ostiary\n\ndefault allow := false\n\n"+rego)
	file := filepath.Join(t.TempDir(), "ostiary.yaml")
	if err := os.WriteFile(file, []byte("policy: {timeout: 20s}\naudit: {deadline: 60s}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	return newSite(t), []string{"--config", file, "--policies", dir}
}

// callEcho calls the site's tool in a session of its own.
func callEcho(t *testing.T, url, token, arguments string) *http.Response {
	t.Helper()
	session := postMCP(t, url, token, initialize)
	session.Body.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"pipes__echo","arguments":`+arguments+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	request.Header.Set("Mcp-Session-Id", session.Header.Get("Mcp-Session-Id"))
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func bodyOf(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The rules of a directory, the configuration's budgets and a real upstream:
// each obligation as operators write it.
func TestObligationsOfRulesAreCarriedOut(t *testing.T) {
	t.Chdir(t.TempDir())
	s, args := obliging(t, `
allow if input.upstream == "pipes"

deny contains "enough for now" if input.counters.all >= 5

obligations contains {"type": "rate", "class": "heavy"} if input.arguments.kind == "open"

obligations contains {"type": "rate", "class": "all"} if true

obligations contains {"type": "mask", "paths": ["/arguments/text", "/result/content/*/text"]} if startswith(input.arguments.text, "secret")

obligations contains {"type": "approval"} if input.arguments.text == "delete all"
`, "rates:\n  heavy: {limit: 1, per: 1h, by: [user, tool]}\n  all: {limit: 100, per: 1h}\n")
	g := s.serve(t, args...)
	call := func(arguments string) (string, http.Header) {
		r := callEcho(t, g.url, "", arguments)
		return bodyOf(t, r), r.Header
	}
	for _, c := range []struct{ name, arguments, want, not string }{
		{"a plain call", `{"text":"hello"}`, `"text":"hello"`, "error"},
		{"what is masked comes back so", `{"text":"secret-canary"}`, `"text":"[masked]"`, "canary"},
		{"a person", `{"text":"delete all"}`, "a person has to approve", "result"},
		{"a list in place of text", `{"text":["secret-canary"]}`, "/text: want string, got array", "canary"},
		{"a budget", `{"text":"hello","kind":"open"}`, `"text":"hello"`, "error"},
		{"the budget is spent", `{"text":"hello","kind":"open"}`, `"retryAfter":`, "result"},
		{"another is not", `{"text":"hello"}`, `"text":"hello"`, "error"},
		{"nor is the last of what counts", `{"text":"hello"}`, `"text":"hello"`, "error"},
		{"rules read counters", `{"text":"hello"}`, "enough for now", "result"},
	} {
		body, header := call(c.arguments)
		if !strings.Contains(body, c.want) || strings.Contains(body, `"`+c.not+`"`) || c.not == "canary" && strings.Contains(body, "canary") {
			t.Errorf("%s: %s", c.name, body)
		}
		if retry := header.Get("Retry-After"); (retry != "") != strings.Contains(c.want, "retryAfter") {
			t.Errorf("%s: Retry-After %q", c.name, retry)
		}
	}
	// Budgets survive a reload of the rules.
	dir := args[3]
	loose := "package ostiary\n\ndefault allow := true\n\nobligations contains {\"type\": \"rate\", \"class\": \"heavy\"} if true\n"
	if err := os.WriteFile(filepath.Join(dir, "p.rego"), []byte(loose), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new rules", func() bool { return strings.Contains(g.err.String(), "policies reloaded") })
	if body, _ := call(`{"text":"hello"}`); !strings.Contains(body, `"retryAfter":`) {
		t.Error("a reload gives budgets back:", body)
	}
	g.stop()
	reasons := map[string]int{}
	for rec, err := range audit.Read(s.data) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(rec.Line), "canary") {
			t.Errorf("recorded %s", rec.Line)
		}
		if rec.Kind == "decision" && rec.Outcome == "denied" {
			reasons[rec.Reason+" "+rec.Detail]++
		}
	}
	for _, want := range []string{"rate class heavy", "approval_not_available ", "schema ", "denied "} {
		if reasons[want] == 0 {
			t.Errorf("no record of %q in %v", want, reasons)
		}
	}
}

// The flow of MCP 2026-07-28, Authorization, Scope Challenge Handling, as a
// client goes through it: from the 403 to a token that does.
// Security catalogue A-031.
func TestAnAgentStepsUpToTheScopesThatItIsAskedFor(t *testing.T) {
	t.Chdir(t.TempDir())
	s, args := obliging(t, `
allow if {
	input.target.name != "echo"
}

allow if {
	input.target.name == "echo"
	"send" in input.grant.scopes
}

obligations contains {"type": "step_up", "scopes": ["send"]} if input.target.name == "echo"
`, "scopes: {send: send things in your name}\n")
	g := s.start(t, &console{}, args...)
	s.verb(t, "user", "add", "alice", "--password-stdin")
	token := s.verb(t, "token", "issue", "--user", "alice", "--public-url", g.base)
	refused := callEcho(t, g.url, token, `{"text":"x"}`)
	body, challenge := bodyOf(t, refused), refused.Header.Get("WWW-Authenticate")
	if refused.StatusCode != http.StatusForbidden || !strings.Contains(body, `"code":-31001`) || !strings.Contains(challenge, `Bearer error="insufficient_scope"`) {
		t.Fatalf("%d %q %s", refused.StatusCode, challenge, body)
	}
	parameter := func(name string) string {
		m := regexp.MustCompile(name + `="([^"]*)"`).FindStringSubmatch(challenge)
		if m == nil {
			t.Fatalf("no %s in %q", name, challenge)
		}
		return m[1]
	}
	if scope := parameter("scope"); scope != "mcp send" {
		t.Errorf("asks for %q", scope)
	}
	better := g.authorize(t, parameter("resource_metadata"), parameter("scope"), "alice")
	if r := callEcho(t, g.url, better, `{"text":"x"}`); r.StatusCode != http.StatusOK || !strings.Contains(bodyOf(t, r), `"text":"x"`) {
		t.Errorf("with the scopes: %d", r.StatusCode)
	}
}

// authorize is a public client that gets a token for the scopes: discovery,
// registration, and a browser that fills in the forms.
func (g *served) authorize(t *testing.T, metadata, scope, user string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var code string
	const callback = "http://127.0.0.1:9/callback"
	browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			code = r.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}}
	object := func(r *http.Response, err error) map[string]any {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if body := bodyOf(t, r); json.Unmarshal([]byte(body), &m) != nil {
			t.Fatalf("%d %s", r.StatusCode, body)
		}
		return m
	}
	resource := object(http.Get(metadata))
	issuer := resource["authorization_servers"].([]any)[0].(string)
	server := object(http.Get(issuer + "/.well-known/oauth-authorization-server"))
	client := object(http.Post(server["registration_endpoint"].(string), "application/json", strings.NewReader(
		`{"client_name":"stepper","redirect_uris":["`+callback+`"],"token_endpoint_auth_method":"none"}`)))
	verifier := strings.Repeat("v", 50)
	sum := sha256.Sum256([]byte(verifier))
	page, err := browser.Get(server["authorization_endpoint"].(string) + "?" + url.Values{
		"response_type": {"code"}, "client_id": {client["client_id"].(string)}, "redirect_uri": {callback}, "scope": {scope}, "state": {"a-state-of-the-client"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "resource": {resource["resource"].(string)},
	}.Encode())
	for range 5 {
		if err != nil {
			t.Fatal(err)
		}
		text := bodyOf(t, page)
		if code != "" {
			break
		}
		page, err = browser.PostForm(formOf(t, page.Request.URL, text, url.Values{"username": {user}, "password": {testPassword}, "decision": {"approve"}}))
	}
	granted := object(http.PostForm(server["token_endpoint"].(string), url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "client_id": {client["client_id"].(string)},
		"code_verifier": {verifier}, "resource": {resource["resource"].(string)},
	}))
	token, ok := granted["access_token"].(string)
	if !ok {
		t.Fatalf("no token: %v", granted)
	}
	return token
}

var (
	formTag   = regexp.MustCompile(`(?s)<form[^>]*>.*?</form>`)
	formTo    = regexp.MustCompile(`<form[^>]*action="([^"]*)"`)
	inputTag  = regexp.MustCompile(`<(?:input|button)[^>]*>`)
	attribute = func(name string) *regexp.Regexp { return regexp.MustCompile(`\b` + name + `="([^"]*)"`) }
)

// formOf is where the page's form goes, and what of it a person fills in.
func formOf(t *testing.T, at *url.URL, page string, known url.Values) (string, url.Values) {
	t.Helper()
	for _, form := range formTag.FindAllString(page, -1) {
		values, asks := url.Values{}, false
		for _, tag := range inputTag.FindAllString(form, -1) {
			name := attribute("name").FindStringSubmatch(tag)
			if name == nil {
				continue
			}
			if v, ok := known[name[1]]; ok {
				values[name[1]], asks = v, true
			} else if value := attribute("value").FindStringSubmatch(tag); value != nil && strings.Contains(tag, `type="hidden"`) {
				values.Set(name[1], html.UnescapeString(value[1]))
			}
		}
		if !asks {
			continue
		}
		to := at
		if m := formTo.FindStringSubmatch(form); m != nil {
			next, err := at.Parse(html.UnescapeString(m[1]))
			if err != nil {
				t.Fatal(err)
			}
			to = next
		}
		return to.String(), values
	}
	t.Fatalf("no form of a person's on %s: %s", at, page)
	return "", nil
}

// A literal obligation that would refuse is said before it does.
func TestPolicyCheckWarnsOfObligationsThatRefuse(t *testing.T) {
	dir := rules(t, "p.rego", "package ostiary\n\ndefault allow := true\n\nobligations contains {\"type\": \"rate\", \"class\": \"heavy\"} if true\n")
	code, out, errs := ostiary(t, "policy", "check", dir)
	if code != exitDone || !strings.Contains(out, "warning: ") || !strings.Contains(out, "p.rego:5:22: the class heavy is not declared under rates") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	file := write(t, "ostiary.yaml", "rates: {heavy: {limit: 1, per: 1m}}\n")
	if code, out, _ := ostiary(t, "policy", "check", dir, "--config", file); code != exitDone || strings.Contains(out, "warning") {
		t.Errorf("exit %d, %s", code, out)
	}
}
