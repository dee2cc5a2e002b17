package authserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/store"
)

// TestConsentIsGivenOnceByThePersonWhoWasAsked are forms that are not the
// person's own answer to the page they saw.
// Security catalogue A-056.
func TestConsentIsGivenOnceByThePersonWhoWasAsked(t *testing.T) {
	h := newHouse(t)
	alice, bob := h.browser().signIn("alice"), h.browser().signIn("bob")
	page := alice.get(authorize("web", webURI))
	form := func() url.Values {
		return url.Values{"request": {page.field("request")}, "ticket": {page.field("ticket")}, "decision": {"approve"}}
	}
	refused := func(rule string, a answer, status int) {
		t.Helper()
		if a.StatusCode != status || a.Header.Get("Location") != "" {
			t.Errorf("%s: %d %s", rule, a.StatusCode, a.Header.Get("Location"))
		}
	}
	f := form()
	f.Del("ticket")
	refused("no ticket", alice.post("/consent", f), 403)
	f.Set("ticket", bob.get(authorize("web", webURI)).field("ticket"))
	refused("the ticket of another session", alice.post("/consent", f), 403)
	refused("another session with the ticket", bob.post("/consent", form()), 403)
	f.Set("ticket", alice.get(authorize("web", webURI, "scope", "mcp heavy")).field("ticket"))
	refused("the ticket of another request", alice.post("/consent", f), 403)
	f.Set("ticket", alice.get("/account").field("ticket"))
	refused("the ticket of the account page", alice.post("/consent", f), 403)
	refused("a GET that says approve", alice.get("/consent?"+form().Encode()), 200)
	f = form()
	f.Set("decision", "yes")
	refused("an unknown decision", alice.post("/consent", f), 400)
	f = form()
	f["decision"] = []string{"deny", "approve"}
	refused("two decisions", alice.post("/consent", f), 400)
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		alice.header = http.Header{name: {value}}
		refused("cross-site by "+name, alice.post("/consent", form()), 403)
	}
	alice.header = nil
	if a := h.browser().post("/consent", form()); a.at() != "/login" {
		t.Errorf("not signed in: %s", a.at())
	}
	if all, err := h.Store.Consents(t.Context(), ""); err != nil || len(all) != 0 {
		t.Fatalf("consents after all that: %v %v", all, err)
	}

	second := alice.get(authorize("web", webURI)) // another tab
	if a := alice.post("/consent", form()); a.query().Get("code") == "" {
		t.Errorf("the first tab: %d\n%s", a.StatusCode, a.body)
	}
	refused("the same form again", alice.post("/consent", form()), 400)
	if a := alice.decide(second, "approve"); a.query().Get("code") == "" {
		t.Errorf("the second tab: %d\n%s", a.StatusCode, a.body)
	}
}

// Security catalogue A-044.
func TestDenyTellsTheClientAndKeepsNothing(t *testing.T) {
	h := newHouse(t)
	b := h.browser().signIn("alice")
	a := b.decide(b.get(authorize("web", webURI)), "deny")
	if q := a.query(); q.Get("error") != "access_denied" || q.Get("iss") != h.url || q.Get("state") != "the-state-of-web" || q.Has("code") {
		t.Errorf("answer %v", q)
	}
	if all, _ := h.Store.Consents(t.Context(), ""); len(all) != 0 {
		t.Errorf("kept %v", all)
	}
	if len(h.records.named(eventConsentDenied)) != 1 {
		t.Error("not recorded")
	}
}

// TestAskingIsSkippedOnlyForTheSameAgain: one consent, then requests that differ
// in one thing.
// Security catalogue A-048.
func TestAskingIsSkippedOnlyForTheSameAgain(t *testing.T) {
	h := newHouse(t)
	alice := h.browser().signIn("alice")
	for _, c := range [][2]string{{"web", webURI}, {"loop", loopUsed}, {"app", appURI}} {
		alice.connect(c[0], c[1])
	}
	other := "https://other.example/cb"
	if _, err := h.Store.UpdateClient(t.Context(), "web", func(c *store.Client) error {
		c.RedirectURIs = append(c.RedirectURIs, other)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		rule    string
		b       *browser
		address string
		asked   bool
	}{
		{"the same again", alice, authorize("web", webURI), false},
		{"in another browser of the person", h.browser().signIn("alice"), authorize("web", webURI), false},
		{"fewer scopes", alice, authorize("web", webURI, "scope", "mcp"), false},
		{"more scopes", alice, authorize("web", webURI, "scope", "mcp heavy"), true},
		{"another resource", alice, authorize("web", webURI, "resource", h.url+"/mcp/github"), true},
		{"another host to answer to", alice, authorize("web", other), true},
		{"the client asks for it", alice, authorize("web", webURI, "prompt", "consent"), true},
		{"another person", h.browser().signIn("bob"), authorize("web", webURI), true},
		{"loopback", alice, authorize("loop", loopUsed), true},
		{"a private-use scheme", alice, authorize("app", appURI), true},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			a := tt.b.get(tt.address)
			if asked := a.at() == "/consent" && a.StatusCode == 200; asked != tt.asked {
				t.Errorf("asked %v: %d %s", asked, a.StatusCode, a.Header.Get("Location"))
			}
		})
	}
	if _, err := h.Store.UpdateClient(t.Context(), "web", func(c *store.Client) error { c.Digest = "changed"; return nil }); err != nil {
		t.Fatal(err)
	}
	if a := alice.get(authorize("web", webURI)); a.at() != "/consent" || a.StatusCode != 200 {
		t.Errorf("a client that has changed is not asked about: %d", a.StatusCode)
	}
}

// TestPromptNoneShowsNoPage for a program on the person's computer, and for a
// site that somebody here has let in.
func TestPromptNoneShowsNoPage(t *testing.T) {
	for id, uri := range map[string]string{"loop": loopUsed, "web": webURI} {
		h := newHouse(t)
		h.browser().signIn("bob").connect(id, uri)
		b := h.browser()
		if q := b.get(authorize(id, uri, "prompt", "none")).query(); q.Get("error") != "login_required" || q.Get("iss") != h.url {
			t.Errorf("%s: nobody signed in: %v", id, q)
		}
		b.signIn("alice")
		if q := b.get(authorize(id, uri, "prompt", "none")).query(); q.Get("error") != "consent_required" || q.Get("iss") != h.url {
			t.Errorf("%s: nothing allowed: %v", id, q)
		}
	}
	h := newHouse(t)
	b := h.browser().signIn("alice")
	b.connect("web", webURI)
	if q := b.get(authorize("web", webURI, "prompt", "none")).query(); q.Get("code") == "" {
		t.Errorf("allowed before: %v", q)
	}
}

func TestAnOlderSignInIsNotEnoughWhereANewOneIsAsked(t *testing.T) {
	for _, ask := range [][2]string{{"prompt", "login"}, {"max_age", "0"}, {"max_age", "60"}} {
		h := newHouse(t)
		b := h.browser().signIn("alice")
		h.forward(61e9)
		a := b.get(authorize("web", webURI, ask[0], ask[1]))
		if a.at() != "/login" {
			t.Fatalf("%s=%s: %s", ask[0], ask[1], a.at())
		}
		if a := b.get("/consent?" + url.Values{"request": {a.field("request")}}.Encode()); a.at() != "/login" {
			t.Errorf("%s=%s: gone round the sign-in to %s", ask[0], ask[1], a.at())
		}
		a = b.post("/login", url.Values{"request": {a.field("request")}, "username": {"alice"}, "password": {password}})
		if a.at() != "/consent" {
			t.Errorf("%s=%s: after the sign-in: %s\n%s", ask[0], ask[1], a.at(), a.body)
		}
	}
}

func TestARequestExpiresAndCantBeForged(t *testing.T) {
	h := newHouse(t)
	b := h.browser().signIn("alice")
	a := b.get(authorize("web", webURI))
	for _, request := range []string{"", "x", a.field("ticket"), a.field("request") + "x"} {
		if a := b.get("/consent?" + url.Values{"request": {request}}.Encode()); a.StatusCode != 400 {
			t.Errorf("%.20q: %d", request, a.StatusCode)
		}
	}
	h.forward(authorizationLife)
	if a := b.decide(a, "approve"); a.StatusCode != 400 || a.Header.Get("Location") != "" {
		t.Errorf("after ten minutes: %d", a.StatusCode)
	}
}

// TestAHostileClientNameIsShownAsWhatItIs: A name can be markup, turn the text
// around, imitate another, or be endless.
// Security catalogue A-058.
func TestAHostileClientNameIsShownAsWhatItIs(t *testing.T) {
	for rule, name := range map[string]string{"markup and look-alikes": oddNameRaw, "endless": strings.Repeat("M", 10_000), "quotes": `"'><img src=x onerror=alert(1)>`} {
		h := newHouse(t)
		if _, err := h.Store.UpdateClient(t.Context(), "web", func(c *store.Client) error { c.Name = name; return nil }); err != nil {
			t.Fatal(err)
		}
		b := h.browser()
		a := b.get(authorize("web", webURI))
		in := b.post("/login", url.Values{"request": {a.field("request")}, "username": {"alice"}, "password": {password}})
		for _, body := range []string{a.body, in.body} {
			for _, bad := range []string{"<script", "<img", "\u202e", strings.Repeat("M", 100)} {
				if strings.Contains(body, bad) {
					t.Errorf("%s: the page holds %.20q", rule, bad)
				}
			}
		}
		for _, must := range []string{"app.example", "unverified", ">web<"} {
			if !strings.Contains(in.body, must) {
				t.Errorf("%s: the consent page does not show %q", rule, must)
			}
		}
		if odd := strings.Contains(in.body, "Look twice"); odd != (name == oddNameRaw) {
			t.Errorf("%s: warned %v", rule, odd)
		}
	}
}

func TestNothingIsConsentedWhatCantBeRecorded(t *testing.T) {
	h := newHouse(t)
	b := h.browser().signIn("alice")
	page := b.get(authorize("web", webURI))
	h.records.fail(errDisk)
	if a := b.decide(page, "approve"); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || strings.Contains(a.body, errDisk.Error()) {
		t.Errorf("answer %d %s", a.StatusCode, a.Header.Get("Location"))
	}
	if all, _ := h.Store.Consents(t.Context(), ""); len(all) != 0 {
		t.Errorf("kept %v", all)
	}
}
