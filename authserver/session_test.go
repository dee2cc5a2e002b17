package authserver

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

var errDisk = fmt.Errorf("the disk of the test: %w", audit.ErrUnavailable)

func (l *records) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// cookieOf is the session cookie that a browser holds.
func (b *browser) cookieOf() *http.Cookie {
	u, _ := url.Parse(b.h.url + "/account")
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == b.h.cookieName() {
			return c
		}
	}
	return nil
}

func (b *browser) in() bool { return b.get("/account").at() == "/account" }

func TestOverTLSTheCookieIsBoundToTheHost(t *testing.T) {
	h := newHouse(t, func(_ *house, c *Config) {
		c.Loopback = false
		c.Issuer = strings.Replace(c.Issuer, "http://", "https://", 1)
	})
	b := h.browser()
	b.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := b.post("/login", url.Values{"username": {"alice"}, "password": {password}})
	set := a.Header.Get("Set-Cookie")
	for _, want := range []string{"__Host-ostiary=", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"} {
		if !strings.Contains(set, want) {
			t.Errorf("Set-Cookie %q has no %q", set, want)
		}
	}
	if strings.Contains(set, "Domain") {
		t.Errorf("Set-Cookie %q has a domain", set)
	}
}

func TestASessionIsNewAtEverySignInAndTheOldOneIsOver(t *testing.T) {
	h := newHouse(t)
	b := h.browser().enter("alice")
	before := b.cookieOf().Value
	if len(before) < 43 {
		t.Errorf("the cookie has %d characters", len(before))
	}
	if a := b.get("/account"); strings.Contains(a.body, before) {
		t.Error("a page shows the cookie")
	}
	b.enter("alice")
	if b.cookieOf().Value == before {
		t.Fatal("the cookie stayed")
	}
	if _, err := h.Store.Session(t.Context(), hashCookie(before)); err == nil {
		t.Error("the old session lives on")
	}
	// One that a neighbour planted is not taken over.
	c := h.browser()
	u, _ := url.Parse(h.url)
	c.client.Jar.SetCookies(u, []*http.Cookie{{Name: h.cookieName(), Value: "planted"}})
	if c.enter("bob"); c.cookieOf().Value == "planted" {
		t.Error("a planted cookie was taken over")
	}
}

func TestASessionEnds(t *testing.T) {
	t.Run("after idle time", func(t *testing.T) {
		h := newHouse(t)
		b := h.browser().signIn("alice")
		h.forward(sessionIdle - time.Minute)
		if !b.in() {
			t.Fatal("just below the idle time")
		}
		h.forward(sessionIdle - time.Minute)
		if !b.in() {
			t.Fatal("used in between")
		}
		h.forward(sessionIdle)
		if b.in() {
			t.Error("at the idle time")
		}
	})
	t.Run("at its end, however busy", func(t *testing.T) {
		h := newHouse(t)
		b := h.browser().signIn("alice")
		for passed := time.Duration(0); passed < sessionLife-6*time.Hour; passed += 6 * time.Hour {
			h.forward(6 * time.Hour)
			if !b.in() {
				t.Fatalf("after %s", passed+6*time.Hour)
			}
		}
		h.forward(6 * time.Hour)
		if b.in() {
			t.Error("after seven days")
		}
	})
	t.Run("by signing out", func(t *testing.T) {
		h := newHouse(t)
		b := h.browser().signIn("alice")
		cookie := b.cookieOf()
		if b.get("/logout"); !b.in() {
			t.Error("a link signed out")
		}
		b.header = http.Header{"Sec-Fetch-Site": {"cross-site"}}
		if b.post("/logout", nil); b.get("/account").at() != "/account" {
			t.Error("another site signed out")
		}
		b.header = nil
		if a := b.post("/logout", nil); a.StatusCode != 200 || b.cookieOf() != nil || b.in() {
			t.Errorf("sign-out: %d", a.StatusCode)
		}
		u, _ := url.Parse(h.url)
		b.client.Jar.SetCookies(u, []*http.Cookie{cookie})
		if b.in() {
			t.Error("the cookie still opens")
		}
	})
	t.Run("when the person is disabled or gone", func(t *testing.T) {
		h := newHouse(t)
		alice, bob := h.browser().signIn("alice"), h.browser().signIn("bob")
		if _, err := h.Store.UpdateUser(t.Context(), "local:alice", func(u *store.User) error { u.Disabled = true; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := h.Store.DeleteUser(t.Context(), "local:bob"); err != nil {
			t.Fatal(err)
		}
		if alice.in() || bob.in() {
			t.Error("still in")
		}
	})
}

func TestLastSeenIsWrittenAtMostOnceAMinute(t *testing.T) {
	h := newHouse(t)
	b := h.browser().signIn("alice")
	hash := hashCookie(b.cookieOf().Value)
	seen := func() time.Time { b.in(); return must(h.Store.Session(t.Context(), hash)).LastSeen }
	first := seen()
	h.forward(sessionTouch - 10*time.Second)
	if !seen().Equal(first) {
		t.Error("written within the minute")
	}
	h.forward(10 * time.Second)
	if !seen().After(first) {
		t.Error("not written after it")
	}
}

// Security catalogue A-054.
func TestAWrongSignInSaysNothingAboutTheAccount(t *testing.T) {
	h := newHouse(t)
	var first string
	for _, name := range []string{"alice", "nobody", "ALICE", "a b"} {
		a := h.browser().post("/login", url.Values{"username": {name}, "password": {"wrong horse battery"}})
		body := strings.ReplaceAll(a.body, `value="`+name+`"`, `value=""`)
		if first == "" {
			first = body
		}
		if a.StatusCode != 403 || body != first || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
	}
	if a := h.browser().post("/login", url.Values{"username": {"alice"}, "password": {"my secret of today"}}); strings.Contains(a.body, "my secret of today") {
		t.Error("the page repeats the password")
	}
}

// Security catalogue A-054.
func TestGuessingIsSlowedDownAndRecordedOnce(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	for range 50 {
		a := b.post("/login", url.Values{"username": {"alice"}, "password": {"wrong"}})
		if a.StatusCode == http.StatusTooManyRequests {
			if a.Header.Get("Retry-After") == "" || !strings.Contains(a.body, "Try again in") {
				t.Errorf("the answer does not say when: %s", a.Header.Get("Retry-After"))
			}
			h.Flood.Flush()
			got := h.records.named(audit.EventFailures)
			if len(got) != 1 || got[0].RequestedBy != "127.0.0.1" || got[0].Failures.Kinds[0].Kind != eventSignInFailed {
				t.Errorf("records: %+v", got)
			}
			return
		}
	}
	t.Error("fifty guesses were judged")
}

func TestASignInThatCantBeRecordedDoesNotHappen(t *testing.T) {
	h := newHouse(t)
	h.records.fail(errDisk)
	b := h.browser()
	if a := b.post("/login", url.Values{"username": {"alice"}, "password": {password}}); a.StatusCode != 503 || b.cookieOf() != nil {
		t.Errorf("answer %d", a.StatusCode)
	}
}

// TestEveryPageIsGuarded reads headers and markup of all kinds of pages.
// Security catalogue A-057.
func TestEveryPageIsGuarded(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	pages := map[string]answer{
		"sign-in":       b.get("/login"),
		"failed":        b.post("/login", url.Values{"username": {"x"}, "password": {"x"}}),
		"unknown":       b.get("/oauth/authorize?client_id=nobody"),
		"stale":         b.get("/consent?request=x"),
		"setup":         b.get("/setup?token=x"),
		"foreign":       b.do("POST", "/account", url.Values{"do": {"x"}, "a": {"b"}}),
		"too large":     b.post("/login", url.Values{"username": {strings.Repeat("x", maxPageForm)}}),
		"authorize":     b.get(authorize("loop", loopUsed)),
		"consent":       b.signIn("alice").get(authorize("loop", loopUsed)),
		"account":       b.get("/account"),
		"wrong ticket":  b.post("/account", url.Values{"do": {"everywhere"}, "ticket": {"x"}}),
		"signed out":    b.post("/logout", nil),
		"cross-origin ": b.get("/login"),
	}
	for name, a := range pages {
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "Content-Type": "text/html; charset=utf-8",
		} {
			if !strings.HasPrefix(a.Header.Get(header), want) {
				t.Errorf("%s: %s is %q", name, header, a.Header.Get(header))
			}
		}
		csp := a.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") || strings.Contains(csp, "*") {
			t.Errorf("%s: CSP %q", name, csp)
		}
		for _, bad := range []string{"<script", "style=", "javascript:", "http-equiv", " src=", "url("} {
			if strings.Contains(a.body, bad) {
				t.Errorf("%s: the page holds %s", name, bad)
			}
		}
		for _, must := range []string{`<html lang="en">`, "<main", "<h1", `name="viewport"`, `href="/assets/ostiary-`} {
			if !strings.Contains(a.body, must) {
				t.Errorf("%s: the page has no %s", name, must)
			}
		}
	}
}

func TestAssetsAreKeptForEverUnderTheNameOfTheirContent(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	body := b.get("/login").body
	at := strings.Index(body, "/assets/ostiary-")
	path, _, _ := strings.Cut(body[at:], `"`)
	if a := b.get(path); a.StatusCode != 200 || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: %d %v", path, a.StatusCode, a.Header)
	}
	if a := b.get("/assets/ostiary-000000000000.css"); a.StatusCode != 404 {
		t.Errorf("another name: %d", a.StatusCode)
	}
}

// Hashing a password takes a while; who was shut out meanwhile stays out.
func TestASignInUnderWayEndsWithThePassword(t *testing.T) {
	for rule, change := range map[string]func(*store.User){
		"the password changed": func(u *store.User) { u.Password = "another" },
		"they were disabled":   func(u *store.User) { u.Disabled = true },
	} {
		t.Run(rule, func(t *testing.T) {
			h := newHouse(t)
			verified := h.person("local:alice")
			must(h.Store.UpdateUser(t.Context(), verified.ID(), func(u *store.User) error { change(u); return nil }))
			w := httptest.NewRecorder()
			h.enter(w, httptest.NewRequest("POST", "/login", nil), &verified, nil, "")
			if !strings.HasPrefix(w.Header().Get("Location"), "/login") {
				t.Errorf("sent on to %q", w.Header().Get("Location"))
			}
			if all := must(h.Store.Sessions(t.Context(), verified.ID())); len(all) != 0 {
				t.Errorf("%d sessions", len(all))
			}
		})
	}
}

func TestRefusedRequestsWithoutAPersonAreCounted(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	for _, path := range []string{"/oauth/token", "/oauth/token", "/oauth/revoke", "/oauth/par"} {
		if a := b.post(path, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "client_id": {"nobody"}}); a.StatusCode < 400 || a.StatusCode >= 500 {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	h.Flood.Flush()
	got := h.records.named(audit.EventFailures)
	if len(got) != 1 {
		t.Fatalf("%d summaries", len(got))
	}
	if kinds := fmt.Sprint(got[0].Failures.Kinds); kinds != "[{oauth.token 2} {oauth.revoke 1} {oauth.par 1}]" {
		t.Error(kinds)
	}
}
