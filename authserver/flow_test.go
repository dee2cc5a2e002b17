package authserver

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/store"
)

// said is one answer of an endpoint.
type said struct {
	*http.Response
	body map[string]any
}

func (s said) word() string { word, _ := s.body["error"].(string); return word }

// ask posts a form to an endpoint; header is name, value, …
func (h *house) ask(path string, form url.Values, header ...string) said {
	h.t.Helper()
	r := must(http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.url+path, strings.NewReader(form.Encode())))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return h.send(r)
}

func (h *house) send(r *http.Request) said {
	h.t.Helper()
	res := must(http.DefaultClient.Do(r))
	defer res.Body.Close()
	s := said{Response: res}
	_ = json.Unmarshal(must(io.ReadAll(res.Body)), &s.body)
	return s
}

// code goes through consent and brings back a code.
func (b *browser) code(id, redirect string, more ...string) string {
	b.h.t.Helper()
	a := b.decide(b.get(authorize(id, redirect, more...)), "approve")
	code := a.query().Get("code")
	if code == "" {
		b.h.t.Fatalf("no code: %d %s\n%s", a.StatusCode, a.Header.Get("Location"), a.body)
	}
	return code
}

func codeForm(code, id, redirect string, more ...string) url.Values {
	v := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "client_id": {id}, "redirect_uri": {redirect}, "code_verifier": {verifier}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

func refreshForm(tokens map[string]any, id string, more ...string) url.Values {
	token, _ := tokens["refresh_token"].(string)
	v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {id}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v
}

// at asks for path with a bearer.
func (h *house) at(path string, tokens map[string]any) (*identity.Principal, error) {
	r := must(http.NewRequest("POST", h.url+path, nil))
	token, _ := tokens["access_token"].(string)
	r.Header.Set("Authorization", "Bearer "+token)
	return h.Verify(h.t.Context(), r)
}

func open(p *identity.Principal) bool {
	select {
	case <-p.Ended:
		return false
	default:
		return true
	}
}

func withRegistration(_ *house, c *Config) { c.Clients.Registration.Enabled = true }

// TestTheWholeWay: register, authorize, sign in, consent, code, token, use,
// refresh, revoke; what each step gave works, and nothing after the last.
func TestTheWholeWay(t *testing.T) {
	h := newHouse(t, withRegistration)
	r := must(http.NewRequest("POST", h.url+"/oauth/register", strings.NewReader(
		`{"client_name":"An agent","redirect_uris":["http://localhost/callback"],"application_type":"native","token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"]}`)))
	r.Header.Set("Content-Type", "application/json")
	registered := h.send(r)
	id, _ := registered.body["client_id"].(string)
	if registered.StatusCode != 201 || id == "" {
		t.Fatalf("registration: %d %v", registered.StatusCode, registered.body)
	}
	const uri = "http://localhost:3118/callback"
	code := h.browser().signIn("alice").code(id, uri, "resource", h.url+"/mcp/")
	got := h.ask("/oauth/token", codeForm(code, id, uri, "resource", h.url+"/mcp"))
	if got.StatusCode != 200 || got.body["token_type"] != "Bearer" || got.body["expires_in"] != 600.0 || got.body["scope"] != "mcp offline_access" {
		t.Fatalf("token: %d %v", got.StatusCode, got.body)
	}
	if c := got.Header.Get("Cache-Control"); c != "no-store" {
		t.Errorf("token answer may be cached: %q", c)
	}
	if !strings.HasPrefix(got.body["access_token"].(string), "ost_at_") || !strings.HasPrefix(got.body["refresh_token"].(string), "ost_rt_") || !strings.HasPrefix(code, "ost_ac_") {
		t.Error("tokens lack their prefix")
	}
	p, err := h.at("/mcp", got.body)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID() != "local:alice" || p.Client.ID != id || p.Client.Kind != "dynamic" || p.Client.VerifiedName != "" || p.Client.RedirectHost != "localhost" ||
		p.Grant.Resource != h.url+"/mcp" || !slices.Equal(p.Grant.Scopes, []string{"mcp", "offline_access"}) || p.Grant.ConsentedAt.IsZero() || p.AuthTime.IsZero() || !slices.Contains(p.AMR, "pwd") {
		t.Errorf("principal %+v", p)
	}
	again := h.ask("/oauth/token", refreshForm(got.body, id, "resource", h.url+"/mcp"))
	if again.StatusCode != 200 || again.body["refresh_token"] == got.body["refresh_token"] {
		t.Fatalf("refresh: %d %v", again.StatusCode, again.body)
	}
	if q, err := h.at("/mcp", again.body); err != nil || q != p || !open(p) {
		t.Errorf("after the refresh: %v, same principal %v, streams open %v", err, q == p, open(p))
	}
	if _, err := h.at("/mcp", got.body); err == nil {
		t.Error("the access token before the refresh still works")
	}
	if gone := h.ask("/oauth/revoke", url.Values{"token": {again.body["refresh_token"].(string)}, "client_id": {id}}); gone.StatusCode != 200 {
		t.Errorf("revoke: %d", gone.StatusCode)
	}
	if h.works(again.body) || open(p) {
		t.Errorf("after revocation: works %v, streams open %v", h.works(again.body), open(p))
	}
	if last := h.ask("/oauth/token", refreshForm(again.body, id)); last.word() != "invalid_grant" {
		t.Errorf("refresh after revocation: %v", last.body)
	}
	for _, e := range []string{eventIssued, eventRefreshed, eventGrantRevoked} {
		if n := len(h.records.named(e)); n != 1 {
			t.Errorf("%d records of %s", n, e)
		}
	}
}

// TestTokensOutliveARestart: what the store has is valid again at once.
func TestTokensOutliveARestart(t *testing.T) {
	h := newHouse(t)
	tokens := h.browser().signIn("alice").connect("loop", loopUsed)
	p := must(h.at("/mcp", tokens))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if open(p) {
		t.Error("a stream outlives the server")
	}
	second := must(New(t.Context(), h.Config))
	defer second.Close()
	h.Server = second
	if !h.works(tokens) {
		t.Error("the access token is unknown after a restart")
	}
	if at := must(h.Store.Grants(t.Context(), nil))[0].LastUsed; at.IsZero() {
		t.Error("the last use was not written")
	}
}

// TestOneOfManyRedeems and TestOneOfManyRefreshes: of a hundred requests at
// once exactly one succeeds, its tokens work afterwards, and each loser is told
// invalid_grant.
// Security catalogue A-038.
func TestOneOfManyRedeems(t *testing.T) {
	h := newHouse(t)
	code := h.browser().signIn("alice").code("loop", loopUsed)
	raceOf(t, h, codeForm(code, "loop", loopUsed))
}

func TestOneOfManyRefreshes(t *testing.T) {
	h := newHouse(t)
	tokens := h.browser().signIn("alice").connect("loop", loopUsed)
	raceOf(t, h, refreshForm(tokens, "loop"))
}

func raceOf(t *testing.T, h *house, form url.Values) {
	t.Helper()
	const many = 100
	start := make(chan struct{})
	answers := make([]said, many)
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() {
			<-start
			answers[i] = h.ask("/oauth/token", form)
		})
	}
	close(start)
	all.Wait()
	var won []map[string]any
	for _, a := range answers {
		switch {
		case a.StatusCode == 200:
			won = append(won, a.body)
		case a.StatusCode != 400 || a.word() != "invalid_grant":
			t.Errorf("a loser got %d %v", a.StatusCode, a.body)
		}
	}
	if len(won) != 1 {
		t.Fatalf("%d of %d succeeded", len(won), many)
	}
	if !h.works(won[0]) {
		t.Error("the winner's access token does not work")
	}
	if next := h.ask("/oauth/token", refreshForm(won[0], "loop")); next.StatusCode != 200 || !h.works(next.body) {
		t.Errorf("the winner's refresh token: %d %v", next.StatusCode, next.body)
	}
}

// TestASpentCodeEndsItsGrant: only with the verifier, by the owner.
func TestASpentCodeEndsItsGrant(t *testing.T) {
	h := newHouse(t)
	b := h.browser().signIn("alice")
	code := b.code("loop", loopUsed)
	tokens := h.ask("/oauth/token", codeForm(code, "loop", loopUsed)).body
	p := must(h.at("/mcp", tokens))
	for name, form := range map[string]url.Values{
		"another client":    codeForm(code, "web", loopUsed),
		"without verifier":  codeForm(code, "loop", loopUsed, "code_verifier", ""),
		"a guessed one":     codeForm(code, "loop", loopUsed, "code_verifier", strings.Repeat("x", 43)),
		"an unknown client": codeForm(code, "nobody", loopUsed),
	} {
		if a := h.ask("/oauth/token", form); a.StatusCode == 200 || !h.works(tokens) {
			t.Errorf("%s: %d, the owner's token works: %v", name, a.StatusCode, h.works(tokens))
		}
	}
	if a := h.ask("/oauth/token", codeForm(code, "loop", loopUsed)); a.word() != "invalid_grant" {
		t.Errorf("replay: %d %v", a.StatusCode, a.body)
	}
	if h.works(tokens) || open(p) {
		t.Error("the tokens of a replayed code still work")
	}
	if a := h.ask("/oauth/token", refreshForm(tokens, "loop")); a.word() != "invalid_grant" {
		t.Errorf("its refresh token: %v", a.body)
	}
	if n := len(h.records.named(eventCodeReuse)); n != 1 {
		t.Errorf("%d records of the reuse", n)
	}
}

// TestACodeIsRefused: to others, for another address, too late; and
// none of it spoils the code.
func TestACodeIsRefused(t *testing.T) {
	h := newHouse(t)
	b := h.browser().signIn("alice")
	code := b.code("loop", loopUsed)
	for name, c := range map[string]struct {
		form url.Values
		want string
	}{
		"another client":         {codeForm(code, "web", loopUsed), "invalid_grant"},
		"another address":        {codeForm(code, "loop", "http://127.0.0.1:20118/callback"), "invalid_grant"},
		"no address":             {codeForm(code, "loop", ""), "invalid_grant"},
		"no verifier":            {codeForm(code, "loop", loopUsed, "code_verifier", ""), "invalid_grant"},
		"a wrong verifier":       {codeForm(code, "loop", loopUsed, "code_verifier", verifier+"x"), "invalid_grant"},
		"a short verifier":       {codeForm(code, "loop", loopUsed, "code_verifier", verifier[:42]), "invalid_grant"},
		"another resource":       {codeForm(code, "loop", loopUsed, "resource", h.url+"/mcp/github"), "invalid_target"},
		"a foreign resource":     {codeForm(code, "loop", loopUsed, "resource", "https://evil.example/mcp"), "invalid_target"},
		"a code that never was":  {codeForm("ost_ac_"+strings.Repeat("A", 43), "loop", loopUsed), "invalid_grant"},
		"no code":                {codeForm("", "loop", loopUsed), "invalid_grant"},
		"an unknown client":      {codeForm(code, "nobody", loopUsed), "invalid_client"},
		"another grant type":     {codeForm(code, "loop", loopUsed, "grant_type", "password"), "unsupported_grant_type"},
		"no grant type":          {codeForm(code, "loop", loopUsed, "grant_type", ""), "invalid_request"},
		"a refresh with it":      {refreshForm(map[string]any{"refresh_token": code}, "loop"), "invalid_grant"},
		"the client's own grant": {url.Values{"grant_type": {"client_credentials"}, "client_id": {"loop"}}, "unauthorized_client"},
	} {
		if a := h.ask("/oauth/token", c.form); a.word() != c.want || a.StatusCode == 200 || a.StatusCode >= 500 {
			t.Errorf("%s: %d %v, want %s", name, a.StatusCode, a.body, c.want)
		}
	}
	if a := h.ask("/oauth/token", codeForm(code, "loop", loopUsed)); a.StatusCode != 200 {
		t.Errorf("the code is spoilt: %v", a.body)
	}
	late := b.code("loop", loopUsed)
	h.forward(h.CodeTTL)
	if a := h.ask("/oauth/token", codeForm(late, "loop", loopUsed)); a.word() != "invalid_grant" {
		t.Errorf("an expired code: %v", a.body)
	}
}

// TestARotatedTokenThatComesBack ends the family; but not within ten seconds
// while the successor is unused, and never by another client's doing.
func TestARotatedTokenThatComesBack(t *testing.T) {
	h := newHouse(t)
	first := h.browser().signIn("alice").connect("loop", loopUsed)
	second := h.ask("/oauth/token", refreshForm(first, "loop")).body
	if a := h.ask("/oauth/token", refreshForm(first, "web")); a.word() != "invalid_grant" || !h.works(second) {
		t.Errorf("another client's replay: %v, works %v", a.body, h.works(second))
	}
	h.forward(repeatGrace - time.Second)
	if a := h.ask("/oauth/token", refreshForm(first, "loop")); a.word() != "invalid_grant" || !h.works(second) {
		t.Errorf("a repetition within the grace: %v, works %v", a.body, h.works(second))
	}
	h.forward(2 * time.Second)
	p := must(h.at("/mcp", second))
	if a := h.ask("/oauth/token", refreshForm(first, "loop")); a.word() != "invalid_grant" || h.works(second) || open(p) {
		t.Errorf("a replay after the grace: %v, works %v, open %v", a.body, h.works(second), open(p))
	}
	if a := h.ask("/oauth/token", refreshForm(second, "loop")); a.word() != "invalid_grant" {
		t.Errorf("the family lives: %v", a.body)
	}
	if n := len(h.records.named(eventRefreshReuse)); n != 1 {
		t.Errorf("%d records of the reuse", n)
	}
}

// TestARepetitionAfterTheSuccessorWasUsed is reuse, however soon it comes.
func TestARepetitionAfterTheSuccessorWasUsed(t *testing.T) {
	h := newHouse(t)
	first := h.browser().signIn("alice").connect("loop", loopUsed)
	second := h.ask("/oauth/token", refreshForm(first, "loop")).body
	third := h.ask("/oauth/token", refreshForm(second, "loop")).body
	if a := h.ask("/oauth/token", refreshForm(first, "loop")); a.word() != "invalid_grant" || h.works(third) {
		t.Errorf("%v, works %v", a.body, h.works(third))
	}
}

// TestRefreshKeepsToWhatWasGranted: scope, resource, client, and an end
// that no rotation moves.
func TestRefreshKeepsToWhatWasGranted(t *testing.T) {
	h := newHouse(t, func(_ *house, c *Config) { c.RefreshTTL = time.Hour })
	tokens := h.browser().signIn("alice").connect("loop", loopUsed)
	for name, c := range map[string]struct {
		form url.Values
		want string
	}{
		"a wider scope":      {refreshForm(tokens, "loop", "scope", "mcp heavy"), "invalid_scope"},
		"another client":     {refreshForm(tokens, "web"), "invalid_grant"},
		"another resource":   {refreshForm(tokens, "loop", "resource", h.url+"/mcp/github"), "invalid_target"},
		"a foreign resource": {refreshForm(tokens, "loop", "resource", "https://evil.example/mcp"), "invalid_target"},
		"an access token":    {refreshForm(map[string]any{"refresh_token": tokens["access_token"]}, "loop"), "invalid_grant"},
	} {
		if a := h.ask("/oauth/token", c.form); a.word() != c.want || !h.works(tokens) {
			t.Errorf("%s: %v, want %s", name, a.body, c.want)
		}
	}
	narrow := h.ask("/oauth/token", refreshForm(tokens, "loop", "scope", "mcp"))
	if narrow.body["scope"] != "mcp" || !slices.Equal(must(h.at("/mcp", narrow.body)).Grant.Scopes, []string{"mcp"}) {
		t.Errorf("a narrower scope: %v", narrow.body)
	}
	wide := h.ask("/oauth/token", refreshForm(narrow.body, "loop"))
	if wide.body["scope"] != "mcp offline_access" {
		t.Errorf("the refresh token was narrowed too: %v", wide.body)
	}
	h.forward(59*time.Minute + 50*time.Second)
	last := h.ask("/oauth/token", refreshForm(wide.body, "loop"))
	if n, _ := last.body["expires_in"].(float64); last.StatusCode != 200 || n > 10 {
		t.Errorf("just before the end: %v", last.body)
	}
	h.forward(time.Minute)
	if a := h.ask("/oauth/token", refreshForm(last.body, "loop")); a.word() != "invalid_grant" {
		t.Errorf("after the end: %v", a.body)
	}
}

// TestNoRefreshTokenWithoutTheGrantType: and with it also without offline_access.
func TestNoRefreshTokenWithoutTheGrantType(t *testing.T) {
	h := newHouse(t, func(_ *house, c *Config) {
		must(0, c.Store.CreateClient(t.Context(), store.Client{ID: "short", Kind: client.Dynamic, RedirectURIs: []string{webURI}, AuthMethod: "none", GrantTypes: []string{"authorization_code"}}, 0))
	})
	b := h.browser().signIn("alice")
	if got := h.ask("/oauth/token", codeForm(b.code("short", webURI), "short", webURI)); got.StatusCode != 200 || got.body["refresh_token"] != nil {
		t.Errorf("without the grant type: %v", slices.Sorted(keys(got.body)))
	}
	if got := h.ask("/oauth/token", codeForm(b.code("loop", loopUsed, "scope", "mcp"), "loop", loopUsed)); got.body["refresh_token"] == nil || got.body["scope"] != "mcp" {
		t.Errorf("without offline_access: %v", got.body["scope"])
	}
}

// TestNothingIsIssuedUnrecorded (promise 3): with a log that can't be written
// nothing is issued, and the sign-in is not lost.
func TestNothingIsIssuedUnrecorded(t *testing.T) {
	h := newHouse(t)
	code := h.browser().signIn("alice").code("loop", loopUsed)
	h.records.mu.Lock()
	h.records.err = errBusy
	h.records.mu.Unlock()
	a := h.ask("/oauth/token", codeForm(code, "loop", loopUsed))
	if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || a.body["access_token"] != nil {
		t.Errorf("%d %v", a.StatusCode, a.body)
	}
	for _, g := range must(h.Store.Grants(t.Context(), nil)) {
		if g.Revoked.IsZero() {
			t.Error("a grant lives without a record")
		}
	}
}
