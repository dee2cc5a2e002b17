package authserver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/store"
)

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestChallenges: which answer a request without a valid token gets.
// Security catalogue A-025.
func TestChallenges(t *testing.T) {
	h := newHouse(t)
	bearer, _, err := h.IssueToken(t.Context(), TokenRequest{User: "local:alice"})
	if err != nil {
		t.Fatal(err)
	}
	metadata := `resource_metadata="` + h.url + `/.well-known/oauth-protected-resource/mcp"`
	for name, c := range map[string]struct {
		auth   []string
		query  string
		status int
		code   string
	}{
		"none":              {nil, "", 401, ""},
		"empty":             {[]string{""}, "", 401, ""},
		"basic":             {[]string{"Basic YTpi"}, "", 401, ""},
		"scheme alone":      {[]string{"Bearer "}, "", 401, ""},
		"no scheme":         {[]string{bearer}, "", 400, "invalid_request"},
		"two headers":       {[]string{"Bearer " + bearer, "Bearer " + bearer}, "", 400, "invalid_request"},
		"scheme twice":      {[]string{"Bearer Bearer " + bearer}, "", 401, "invalid_token"},
		"unknown":           {[]string{"Bearer ost_at_x"}, "", 401, "invalid_token"},
		"alg none":          {[]string{"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."}, "", 401, "invalid_token"},
		"very long":         {[]string{"Bearer " + strings.Repeat("x", 1<<16)}, "", 401, "invalid_token"},
		"cut":               {[]string{"Bearer " + bearer[:len(bearer)-1]}, "", 401, "invalid_token"},
		"in the query":      {nil, "access_token=" + bearer, 400, "invalid_request"},
		"in the query, too": {[]string{"Bearer " + bearer}, "access_token=" + bearer, 400, "invalid_request"},
		"good":              {[]string{"Bearer " + bearer}, "", 200, ""},
		"good, lower case":  {[]string{"bearer " + bearer}, "", 200, ""},
		"good, other query": {[]string{"Bearer " + bearer}, "x=access_token", 200, ""},
	} {
		r := must(http.NewRequest("GET", h.url+"/mcp?"+c.query, nil))
		r.Header["Authorization"] = c.auth
		_, err := h.Verify(t.Context(), r)
		if c.status == 200 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var ch *ChallengeError
		if !errors.As(err, &ch) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		status, header := ch.Challenge()
		if status != c.status || !strings.HasPrefix(header, "Bearer ") || !strings.Contains(header, metadata) || !strings.Contains(header, `scope="mcp"`) ||
			strings.Contains(header, `error="`+c.code+`"`) != (c.code != "") || c.code == "" && strings.Contains(header, "error=") || strings.Contains(header+err.Error(), bearer) {
			t.Errorf("%s: %d %s", name, status, header)
		}
	}
	r := must(http.NewRequest("POST", h.url+"/mcp/github", nil))
	if got := h.InsufficientScope(r, []string{"mcp", "heavy"}); got != `Bearer error="insufficient_scope", resource_metadata="`+h.url+`/.well-known/oauth-protected-resource/mcp/github", scope="mcp heavy"` {
		t.Errorf("step-up: %s", got)
	}
}

// TestATokenIsForOneResource: one for /mcp covers the upstreams, any other only
// its own (RFC 8707 2.2; MCP, Authorization).
func TestATokenIsForOneResource(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		resource, path string
		ok             bool
	}{
		{"/mcp", "/mcp", true}, {"/mcp", "/mcp/", true}, {"/mcp", "/mcp/github", true}, {"/mcp", "/other", false}, {"/mcp", "/mcpx", false},
		{"/mcp/github", "/mcp/github", true}, {"/mcp/github", "/mcp", false}, {"/mcp/github", "/mcp/wiki", false}, {"/mcp/github", "/mcp/githubs", false},
	} {
		bearer, _, err := h.IssueToken(t.Context(), TokenRequest{User: "local:alice", Resource: h.url + c.resource})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.at(c.path, map[string]any{"access_token": bearer}); (err == nil) != c.ok {
			t.Errorf("a token for %s at %s: %v", c.resource, c.path, err)
		}
	}
}

// TestWhatEndsAToken: each of these at once, streams included.
func TestWhatEndsAToken(t *testing.T) {
	for name, end := range map[string]func(h *house, tokens map[string]any) error{
		"grant revoked": func(h *house, _ map[string]any) error {
			return h.RevokeGrant(h.t.Context(), must(h.Store.Grants(h.t.Context(), nil))[0].ID)
		},
		"client revoked":  func(h *house, _ map[string]any) error { return h.RevokeClient(h.t.Context(), "loop") },
		"person disabled": func(h *house, _ map[string]any) error { return h.DisableUser(h.t.Context(), "local:alice") },
		"person deleted":  func(h *house, _ map[string]any) error { return h.DeleteUser(h.t.Context(), "local:alice") },
		"signed out":      func(h *house, _ map[string]any) error { return h.SignOutEverywhere(h.t.Context(), "local:alice") },
		"consent withdrawn": func(h *house, _ map[string]any) error {
			return h.WithdrawConsent(h.t.Context(), &must(h.Store.Consents(h.t.Context(), ""))[0])
		},
		"token revoked": func(h *house, tokens map[string]any) error {
			h.ask("/oauth/revoke", url.Values{"token": {tokens["access_token"].(string)}, "client_id": {"loop"}})
			return nil
		},
		"run out": func(h *house, _ map[string]any) error {
			h.forward(h.AccessTTL)
			h.index.expire()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			tokens := h.browser().signIn("alice").connect("loop", loopUsed)
			other := h.browser().signIn("bob").connect("web", webURI)
			p, q := must(h.at("/mcp", tokens)), must(h.at("/mcp", other))
			if err := end(h, tokens); err != nil {
				t.Fatal(err)
			}
			if h.works(tokens) || open(p) {
				t.Errorf("works %v, streams open %v", h.works(tokens), open(p))
			}
			if name != "run out" && (!h.works(other) || !open(q)) {
				t.Error("another person's token ended too")
			}
			if a := h.ask("/oauth/token", refreshForm(tokens, "loop")); name != "run out" && name != "token revoked" && a.StatusCode == 200 {
				t.Error("its refresh token still works")
			}
			first := h.Server
			defer first.Close()
			h.Server = must(New(t.Context(), h.Config))
			if h.works(tokens) {
				t.Error("it works again after a restart")
			}
		})
	}
}

// TestChangedGroupsCountAtOnce: the token lives, its streams end, the next
// request has the new groups; a change that is none ends nothing.
func TestChangedGroupsCountAtOnce(t *testing.T) {
	h := newHouse(t)
	tokens := h.browser().signIn("alice").connect("loop", loopUsed)
	p := must(h.at("/mcp", tokens))
	set := func(groups ...string) {
		must(h.UpdateUser(t.Context(), "local:alice", func(u *store.User) error { u.Groups = groups; return nil }))
	}
	set("ops", "dev")
	q := must(h.at("/mcp", tokens))
	if open(p) || !open(q) || fmt.Sprint(q.Groups) != "[dev ops]" {
		t.Errorf("open %v, %v, groups %v", open(p), open(q), q.Groups)
	}
	set("dev", "ops")
	if r := must(h.at("/mcp", tokens)); r != q || !open(q) {
		t.Error("the same groups in another order ended the streams")
	}
}

// TestAnotherClientsTokenIsNotRevoked (A-053, RFC 7009 2.1).
func TestAnotherClientsTokenIsNotRevoked(t *testing.T) {
	h := newHouse(t)
	tokens := h.browser().signIn("alice").connect("loop", loopUsed)
	for _, kind := range []string{"access_token", "refresh_token"} {
		a := h.ask("/oauth/revoke", url.Values{"token": {tokens[kind].(string)}, "client_id": {"web"}})
		if a.StatusCode != 200 || !h.works(tokens) {
			t.Errorf("%s: %d, works %v", kind, a.StatusCode, h.works(tokens))
		}
	}
	if a := h.ask("/oauth/revoke", url.Values{"token": {"never"}, "client_id": {"web"}}); a.StatusCode != 200 {
		t.Errorf("unknown token: %d", a.StatusCode)
	}
	if a := h.ask("/oauth/revoke", url.Values{"client_id": {"web"}}); a.word() != "invalid_request" {
		t.Errorf("no token: %v", a.body)
	}
	if a := h.ask("/oauth/revoke", url.Values{"token": {"never"}, "client_id": {"nobody"}}); a.StatusCode != 401 || a.word() != "invalid_client" {
		t.Errorf("unknown client: %d %v", a.StatusCode, a.body)
	}
}

// TestOperatorsTokens: defaults, and what is refused with a hint.
func TestOperatorsTokens(t *testing.T) {
	h := newHouse(t)
	bearer, g, err := h.IssueToken(t.Context(), TokenRequest{User: "local:alice", Scopes: []string{"heavy"}})
	if err != nil {
		t.Fatal(err)
	}
	p := must(h.at("/mcp", map[string]any{"access_token": bearer}))
	if p.Client.ID != ClientCLI || p.Client.Kind != "static" || p.Grant.Resource != h.url+"/mcp" || fmt.Sprint(p.Grant.Scopes) != "[heavy mcp]" || g.Expires.Sub(g.Created) != time.Hour {
		t.Errorf("%+v %+v", p, g)
	}
	for name, r := range map[string]TokenRequest{
		"unknown user": {User: "local:nobody"}, "unknown client": {User: "local:alice", Client: "x"}, "foreign resource": {User: "local:alice", Resource: "https://evil.example/mcp"},
		"unknown scope": {User: "local:alice", Scopes: []string{"admin"}}, "no time": {User: "local:alice", TTL: time.Millisecond}, "for ever": {User: "local:alice", TTL: MaxTokenTTL + 1},
	} {
		if _, _, err := h.IssueToken(t.Context(), r); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
	h.forward(time.Hour)
	if h.works(map[string]any{"access_token": bearer}) {
		t.Error("it works after its end")
	}
}

// TestRandomBearersCostNothing: no store access, no growth, no log.
func TestRandomBearersCostNothing(t *testing.T) {
	h := newHouse(t)
	if err := h.Store.Close(); err != nil { // whatever asks it fails
		t.Fatal(err)
	}
	before := len(h.records.list)
	r := must(http.NewRequest("POST", h.url+"/mcp", nil))
	for range 100_000 {
		r.Header["Authorization"] = []string{"Bearer ost_at_" + rand.Text()}
		if _, err := h.Verify(t.Context(), r); err == nil {
			t.Fatal("a random token works")
		}
	}
	if len(h.records.list) != before || h.index.tokens.len() != 0 {
		t.Error("they left something behind")
	}
}

// cpuTime is what this process has used, so that a busy machine doesn't count.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkVerify is a token check at 100,000 live tokens.
func BenchmarkVerify(b *testing.B) {
	s := &Server{Config: Config{Issuer: "https://gw.example", Now: time.Now}, issuer: must(url.Parse("https://gw.example")), index: newIndex(time.Now)}
	const live = 100_000
	bearers := make([][]string, live)
	for i := range live {
		token, hash := newToken(prefixAccess)
		g := store.Grant{ID: fmt.Sprint(i), User: fmt.Sprint("local:", i/4), Client: "c", Resource: "https://gw.example/mcp", Scopes: []string{"mcp"}}
		u := &store.User{Issuer: "local", Subject: fmt.Sprint(i / 4), Groups: []string{"a", "b"}}
		err := s.index.add(facts{user: u, client: identity.Client{ID: "c"}}, g, []store.Token{{Hash: hash, Kind: tokenAccess, Scopes: g.Scopes, Expires: time.Now().Add(time.Hour)}}, false)
		if err != nil {
			b.Fatal(err)
		}
		bearers[i] = []string{"Bearer " + token}
	}
	r := must(http.NewRequest("POST", "https://gw.example/mcp", nil))
	ctx := b.Context()
	check := func(i int) {
		r.Header["Authorization"] = bearers[i*7919%live]
		if _, err := s.Verify(ctx, r); err != nil {
			b.Fatal(err)
		}
	}
	for i := range live { // the first use in a minute is noted
		check(i)
	}
	runtime.GC()
	// A server has just read the header; here it comes from far away in memory.
	// What fetching it costs is measured beside the check and taken off.
	var sum byte
	before := cpuTime(b)
	for i := range live {
		text := bearers[i*7919%live][0]
		r.Header["Authorization"] = bearers[i*7919%live]
		sum += text[0] ^ text[len(text)-1]
	}
	fetch := float64(cpuTime(b)-before) / live
	runtime.KeepAlive(sum)
	b.ReportAllocs()
	before, n := cpuTime(b), 0
	for ; b.Loop(); n++ {
		check(n)
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(n)-fetch, "cpu-ns/check")
}
