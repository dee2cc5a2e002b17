package authserver

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/store"
)

// company is just enough of an identity provider; package login tests what a
// wrong one does.
type company struct {
	*httptest.Server
	mu     sync.Mutex
	nonces map[string]string // code to nonce
	person map[string]any    // claims of who signs in; nil = removed
	down   bool
}

var companyKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

func newCompany(t *testing.T) *company {
	c := &company{nonces: map[string]string{}, person: map[string]any{"sub": "s-1", "name": "Carol Dean", "groups": []string{"staff"}}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{"issuer": c.URL, "authorization_endpoint": c.URL + "/auth", "token_endpoint": c.URL + "/token", "jwks_uri": c.URL + "/jwks", "authorization_response_iss_parameter_supported": true})
	})
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &companyKey().PublicKey, KeyID: "k"}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_ = r.ParseForm()
		switch {
		case c.down:
			w.WriteHeader(503)
			return
		case c.person == nil:
			answer(w, 400, map[string]any{"error": "invalid_grant"})
			return
		}
		claims := map[string]any{"iss": c.URL, "aud": "gateway", "exp": time.Now().Add(100 * 24 * time.Hour).Unix(), "nonce": c.nonces[r.PostForm.Get("code")]}
		for k, v := range c.person {
			claims[k] = v
		}
		signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: companyKey()}, (&jose.SignerOptions{}).WithHeader("kid", "k")))
		id := must(must(signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
		answer(w, 200, map[string]any{"access_token": "a", "token_type": "Bearer", "refresh_token": rand.Text(), "id_token": id})
	})
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// visit plays the provider's pages: the query with which it sends people back.
func (c *company) visit(a answer) url.Values {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked, code := a.query(), rand.Text()
	c.nonces[code] = asked.Get("nonce")
	return url.Values{"code": {code}, "state": {asked.Get("state")}, "iss": {c.URL}}
}

func atCompany(t *testing.T) (*company, *house) {
	c := newCompany(t)
	return c, newHouse(t, func(h *house, cfg *Config) {
		cfg.OIDC = &login.OIDC{Issuer: c.URL, ClientID: "gateway", ClientSecret: "s3cret", Title: "Acme", Dev: true, Users: cfg.Store, Now: h.clock}
	})
}

func back(q url.Values) string { return callbackPath + "?" + q.Encode() }

// enterBy signs a browser in at the provider.
func (b *browser) enterBy(c *company) *browser {
	b.h.t.Helper()
	if a := b.get(back(c.visit(b.get("/login?with=provider")))); a.at() != "/account" || a.StatusCode != 200 {
		b.h.t.Fatalf("not signed in: %d %s\n%s", a.StatusCode, a.at(), a.body)
	}
	return b
}

func TestTheProvidersPersonComesBackToTheirRequest(t *testing.T) {
	c, h := atCompany(t)
	b := h.browser()
	a := b.get(authorize("web", webURI))
	if !strings.Contains(a.body, "Continue with Acme") {
		t.Fatalf("no way to the provider\n%s", a.body)
	}
	there := b.get("/login?" + url.Values{"with": {"provider"}, "request": {a.field("request")}}.Encode())
	if there.StatusCode != http.StatusSeeOther || !strings.HasPrefix(there.Header.Get("Location"), c.URL+"/auth?") {
		t.Fatalf("sent to %d %s", there.StatusCode, there.Header.Get("Location"))
	}
	a = b.get(back(c.visit(there)))
	if a.at() != "/consent" || !strings.Contains(a.body, "Carol Dean") {
		t.Fatalf("back at %s\n%s", a.at(), a.body)
	}
	if q := b.decide(a, "approve").query(); q.Get("code") == "" {
		t.Errorf("no code: %v", q)
	}
	if u := h.person(c.URL + ":s-1"); u.Name != "Carol Dean" || len(u.Groups) != 1 {
		t.Errorf("kept %+v", u)
	}
}

// TestAnAnswerBelongsToOneBrowserOnce are the ways to hand in a foreign or used
// answer of the provider.
// TestTheProvidersOwnSignInIsWhatCounts: max_age and prompt=login are asked
// there, and a session that is new stands on the sign-in that its provider names.
func TestTheProvidersOwnSignInIsWhatCounts(t *testing.T) {
	for _, tt := range []struct {
		ask, value string
		signed     time.Duration // ago, by the provider's word; negative = it doesn't say
		sent       [2]string     // max_age, prompt
		in         bool
	}{
		{"max_age", "600", 5 * time.Minute, [2]string{"600", ""}, true},
		{"max_age", "600", 11 * time.Minute, [2]string{"600", ""}, false},
		{"max_age", "600", -1, [2]string{"600", ""}, false},
		{"prompt", "login", 0, [2]string{"0", "login"}, true},
		{"prompt", "login", time.Minute, [2]string{"0", "login"}, false},
		{"prompt", "login", -1, [2]string{"0", "login"}, false},
		{"prompt", "select_account", time.Hour, [2]string{"", "select_account"}, true},
		{"prompt", "consent", time.Hour, [2]string{"", ""}, true},
	} {
		t.Run(tt.ask+"="+tt.value, func(t *testing.T) {
			c, h := atCompany(t)
			at := h.clock().Add(-tt.signed)
			if tt.signed >= 0 {
				c.person["auth_time"] = at.Unix()
			}
			b := h.browser()
			a := b.get(authorize("loop", loopUsed, tt.ask, tt.value))
			there := b.get("/login?" + url.Values{"with": {"provider"}, "request": {a.field("request")}}.Encode())
			if q := there.query(); q.Get("max_age") != tt.sent[0] || q.Get("prompt") != tt.sent[1] {
				t.Errorf("asked for max_age=%q prompt=%q", q.Get("max_age"), q.Get("prompt"))
			}
			a = b.get(back(c.visit(there)))
			if !tt.in {
				if a.StatusCode != http.StatusForbidden || b.cookieOf() != nil || !strings.Contains(a.body, "with=provider") {
					t.Errorf("let in by an old sign-in: %d %s", a.StatusCode, a.at())
				}
				return
			}
			if a.at() != "/consent" {
				t.Fatalf("back at %s, %d\n%s", a.at(), a.StatusCode, a.body)
			}
			p := must(h.at("/mcp", h.redeem(b.decide(a, "approve"), "loop", loopUsed)))
			if p.AuthTime.Unix() != at.Unix() {
				t.Errorf("the grant says %v, the provider %v", p.AuthTime, at)
			}
		})
	}
	// A session that is new, by an older sign-in, does not pass for one either.
	c, h := atCompany(t)
	c.person["auth_time"] = h.clock().Add(-time.Hour).Unix()
	b := h.browser()
	a := b.get(authorize("loop", loopUsed, "max_age", "600"))
	b.enterBy(c)
	if a := b.get("/consent?" + url.Values{"request": {a.field("request")}}.Encode()); a.at() != "/login" {
		t.Errorf("gone round max_age to %s", a.at())
	}
}

// Security catalogue A-051.
func TestAnAnswerBelongsToOneBrowserOnce(t *testing.T) {
	tests := []struct {
		rule string
		do   func(h *house, mine, other *browser, q url.Values) answer
	}{
		{"no state", func(h *house, mine, _ *browser, q url.Values) answer { q.Del("state"); return mine.get(back(q)) }},
		{"another state", func(h *house, mine, _ *browser, q url.Values) answer {
			q.Set("state", rand.Text())
			return mine.get(back(q))
		}},
		{"two states", func(h *house, mine, _ *browser, q url.Values) answer { q.Add("state", "x"); return mine.get(back(q)) }},
		{"a browser that began nothing", func(h *house, _, _ *browser, q url.Values) answer { return h.browser().get(back(q)) }},
		{"another browser, with a sign-in of its own", func(h *house, _, other *browser, q url.Values) answer { return other.get(back(q)) }},
		{"another issuer", func(h *house, mine, _ *browser, q url.Values) answer {
			q.Set("iss", "https://evil.example")
			return mine.get(back(q))
		}},
		{"no issuer", func(h *house, mine, _ *browser, q url.Values) answer { q.Del("iss"); return mine.get(back(q)) }},
		{"an error", func(h *house, mine, _ *browser, q url.Values) answer {
			q.Set("error", "access_denied")
			return mine.get(back(q))
		}},
		{"after ten minutes", func(h *house, mine, _ *browser, q url.Values) answer {
			h.forward(providerLife)
			return mine.get(back(q))
		}},
		{"by POST", func(h *house, mine, _ *browser, q url.Values) answer {
			a := mine.post(callbackPath, q)
			a.StatusCode -= 4
			return a
		}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			c, h := atCompany(t)
			mine, other := h.browser(), h.browser()
			q := c.visit(mine.get("/login?with=provider"))
			other.get("/login?with=provider")
			a := tt.do(h, mine, other, q)
			if a.StatusCode != 400 || mine.cookieOf() != nil || other.cookieOf() != nil {
				t.Errorf("answer %d", a.StatusCode)
			}
			if users := must(h.Store.Users(t.Context())); len(users) != 2 {
				t.Errorf("%d users", len(users))
			}
			if strings.Contains(a.body, q.Get("code")) {
				t.Error("the page shows the code")
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		c, h := atCompany(t)
		b := h.browser()
		q := c.visit(b.get("/login?with=provider"))
		b.get(back(q))
		if a := b.get(back(q)); a.StatusCode != 400 {
			t.Errorf("the second time: %d", a.StatusCode)
		}
	})
	t.Run("two tabs both work", func(t *testing.T) {
		c, h := atCompany(t)
		b := h.browser()
		first, second := b.get("/login?with=provider"), b.get("/login?with=provider")
		for _, there := range []answer{second, first} {
			if a := b.get(back(c.visit(there))); a.at() != "/account" || a.StatusCode != 200 {
				t.Errorf("answer %d", a.StatusCode)
			}
		}
	})
}

func TestBeginningsFromOneSourceAreBounded(t *testing.T) {
	var b begins
	now := time.Now()
	for i := range maxBegins {
		if b.take("a", now, maxBegins, 0) != 0 {
			t.Fatalf("begin %d is refused", i+1)
		}
	}
	if b.take("a", now, maxBegins, 0) == 0 || b.take("b", now, maxBegins, 0) != 0 {
		t.Error("the limit is not the source's")
	}
	for i := range 2 * maxBeginSources {
		b.take(string(rune(i)), now, maxBegins, 0)
	}
	if len(b.count) > maxBeginSources+1 {
		t.Errorf("%d sources are counted", len(b.count))
	}
	if b.take("a", now.Add(beginsEvery), maxBegins, 0) != 0 {
		t.Error("refused in the next ten minutes")
	}
}

func TestBeginningsOfOneNetworkAndOfAllAreBounded(t *testing.T) {
	var b begins
	now := time.Now()
	if b.take("2001:db8::1", now, 1, 0) != 0 || b.take("2001:db8::ffff:2", now, 1, 0) == 0 {
		t.Error("one machine has a whole /64 of sources")
	}
	b = begins{}
	for i, source := range []string{"a", "b", "c"} {
		if wait := b.take(source, now, 9, 2); (wait == 0) != (i < 2) {
			t.Errorf("source %d of 2 together: wait %v", i+1, wait)
		}
	}
}

// A person of one issuer must never have the id of another's.
func TestIssuersWhosePeopleCouldBeMixedUpAreRefused(t *testing.T) {
	if checkIssuers([]string{"https://idp.example", "https://idp.example:8443"}) == nil {
		t.Error("https://idp.example with subject 8443:bob is https://idp.example:8443 with subject bob")
	}
	if err := checkIssuers([]string{"https://idp.example/a", "https://idp.example/b", "https://idp.example"}); err != nil {
		t.Error(err)
	}
}

// Cookies know no ports: what is answered on loopback must not take the
// person's session along to the agent's port.
func TestASessionOnLoopbackStaysOnOurPages(t *testing.T) {
	for uri, own := range map[string]bool{
		"http://127.0.0.1:9/callback": false, "http://127.0.0.1:9/oauth/callback": false, "http://127.0.0.1:9": false,
		"http://127.0.0.1:9/consents": false, "http://127.0.0.1:9/consent": true, "http://127.0.0.1:9/consent/x": true,
		"http://127.0.0.1:9/x/../login": true, "http://127.0.0.1:9/x/%2e%2e/account": true, "http://127.0.0.1:9/oauth/authorize": true,
	} {
		if ownPage(uri) != own {
			t.Errorf("%s: ownPage is %v", uri, !own)
		}
	}
	s := &Server{Config: Config{Loopback: true}}
	w := httptest.NewRecorder()
	s.setCookie(w, s.cookieName(), "v", time.Hour)
	for _, c := range w.Result().Cookies() {
		if !ownPage("http://127.0.0.1:9" + c.Path) {
			t.Errorf("the cookie goes to %q", c.Path)
		}
	}
	if len(w.Result().Cookies()) != len(loopbackPaths) {
		t.Error("a page gets no cookie")
	}
}

func TestAProviderThatIsDownIsSaidSo(t *testing.T) {
	c, h := atCompany(t)
	b := h.browser()
	there := b.get("/login?with=provider")
	c.down = true
	if a := b.get(back(c.visit(there))); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(a.body, "Acme") {
		t.Errorf("answer %d", a.StatusCode)
	}
}

// TestWhoLeavesTheCompanyLosesAgentsAndBrowsers: at the next refresh, and
// before a new agent can be connected.
func TestWhoLeavesTheCompanyLosesAgentsAndBrowsers(t *testing.T) {
	c, h := atCompany(t)
	b := h.browser().enterBy(c)
	tokens := b.connect("web", webURI)
	c.person["groups"] = []string{"board"}
	status, tokens := h.refresh(tokens, "web")
	if status != 200 || h.person(c.URL + ":s-1").Groups[0] != "board" {
		t.Fatalf("a refresh while known: %d %v", status, tokens)
	}
	page := b.get(authorize("loop", loopUsed))
	c.person = nil
	if a := b.decide(page, "approve"); a.at() != "/login" || b.in() {
		t.Errorf("a new agent after leaving: %d %s", a.StatusCode, a.Header.Get("Location"))
	}
	if status, v := h.refresh(tokens, "web"); status != 400 || v["error"] != "invalid_grant" {
		t.Errorf("a refresh after leaving: %d %v", status, v)
	}
	if len(h.records.named(eventUnknownPerson)) == 0 {
		t.Error("not recorded")
	}
}

func TestAnOutageOfTheProviderKeepsTheRefreshTokenGood(t *testing.T) {
	c, h := atCompany(t)
	b := h.browser().enterBy(c)
	tokens := b.connect("web", webURI)
	c.down = true
	h.forward(2 * time.Hour)
	if status, v := h.refresh(tokens, "web"); status != 503 || v["error"] != "temporarily_unavailable" {
		t.Errorf("while down: %d %v", status, v)
	}
	c.down = false
	if status, v := h.refresh(tokens, "web"); status != 200 {
		t.Errorf("after it: %d %v", status, v)
	}
}

func TestADisabledPersonDoesNotComeInByTheProvider(t *testing.T) {
	c, h := atCompany(t)
	must(0, h.Store.CreateUser(t.Context(), store.User{Issuer: c.URL, Subject: "s-1", Disabled: true}))
	b := h.browser()
	if a := b.get(back(c.visit(b.get("/login?with=provider")))); a.StatusCode != 403 || b.cookieOf() != nil {
		t.Errorf("answer %d", a.StatusCode)
	}
}
