package authserver

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// press sends a form of the account page.
func (b *browser) press(do string, more ...string) answer {
	b.h.t.Helper()
	f := url.Values{"do": {do}, "ticket": {b.get("/account").field("ticket")}}
	for i := 0; i < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return b.post("/account", f)
}

func TestWhatIsTakenBackStopsWorkingAtOnce(t *testing.T) {
	tests := []struct {
		do, field string
		loopToo   bool // the other client ends too
	}{
		{"revoke-client", "client", false},
		{"withdraw-consent", "consent", false},
		{"revoke-grant", "grant", false},
		{"everywhere", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.do, func(t *testing.T) {
			h := newHouse(t)
			alice, bob := h.browser().signIn("alice"), h.browser().signIn("bob")
			web, loop, bobs := alice.connect("web", webURI), alice.connect("loop", loopUsed), bob.connect("web", webURI)
			if !h.works(web) || !h.works(loop) || !h.works(bobs) {
				t.Fatal("the tokens don't work to begin with")
			}
			value := ""
			if tt.field != "" {
				// The page sorts by name: "The loop" first, "The web" after it.
				all := regexp.MustCompile(`name="`+tt.field+`" value="([^"]*)"`).FindAllStringSubmatch(alice.get("/account").body, -1)
				value = html.UnescapeString(all[len(all)-1][1])
			}
			// Somebody else can't, whatever they send.
			if bob.press(tt.do, tt.field, value); tt.field != "client" && tt.field != "" && !h.works(web) {
				t.Fatal("bob ended what is alice's")
			}
			if tt.do == "everywhere" || tt.do == "revoke-client" {
				if h.works(bobs) {
					t.Error("bob could not end his own")
				}
			} else if !h.works(bobs) {
				t.Error("bob lost his")
			}
			if !h.works(web) {
				t.Fatal("bob's form reached alice's")
			}

			a := alice.press(tt.do, tt.field, value)
			if a.StatusCode != 200 {
				t.Fatalf("answer %d\n%s", a.StatusCode, a.body)
			}
			if h.works(web) {
				t.Error("the access token still works")
			}
			if status, v := h.refresh(web, "web"); status != 400 || v["error"] != "invalid_grant" {
				t.Errorf("the refresh token: %d %v", status, v)
			}
			if h.works(loop) == tt.loopToo {
				t.Errorf("the other client's token works: %v", h.works(loop))
			}
			if alice.in() == (tt.do == "everywhere") {
				t.Errorf("alice is signed in: %v", !(tt.do == "everywhere"))
			}
			if tt.do == "withdraw-consent" || tt.do == "revoke-client" {
				if a := alice.get(authorize("web", webURI)); a.at() != "/consent" || a.StatusCode != 200 {
					t.Errorf("not asked again: %d", a.StatusCode)
				}
			}
		})
	}
}

func TestTheAccountPageShowsWhatActsForThePerson(t *testing.T) {
	h := newHouse(t)
	alice := h.browser()
	alice.header = http.Header{"User-Agent": {"Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36"}}
	alice.signIn("alice")
	h.browser().signIn("alice")
	h.browser().signIn("bob").connect("app", appURI)
	tokens := alice.connect("web", webURI)
	if body := alice.get("/account").body; !strings.Contains(body, "never used") {
		t.Error("an unused grant does not say so")
	}
	h.works(tokens)
	body := alice.get("/account").body
	for _, want := range []string{"ALICE", "local:alice", "The web", "unverified", "app.example", "offline_access", h.url + "/mcp", "last used", "active now", "Chrome on Windows", "this one", "127.0.0.1"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if strings.Count(body, `value="end-session"`) != 2 || strings.Contains(body, "The app") || strings.Contains(body, tokens["access_token"].(string)) {
		t.Error("the page shows too much or too little")
	}
	if a := h.browser().get("/account"); a.at() != "/login" {
		t.Errorf("a stranger sees %s", a.at())
	}
}

func TestAFormOfTheAccountPageIsOfThisSessionAndPage(t *testing.T) {
	h := newHouse(t)
	alice, bob := h.browser().signIn("alice"), h.browser().signIn("bob")
	tokens := alice.connect("web", webURI)
	for rule, f := range map[string]url.Values{
		"no ticket":                      {"do": {"everywhere"}},
		"another person's ticket":        {"do": {"everywhere"}, "ticket": {bob.get("/account").field("ticket")}},
		"the ticket of a consent":        {"do": {"everywhere"}, "ticket": {alice.get(authorize("loop", loopUsed)).field("ticket")}},
		"the ticket of an older session": {"do": {"everywhere"}, "ticket": {h.browser().signIn("alice").get("/account").field("ticket")}},
	} {
		if a := alice.post("/account", f); a.StatusCode != 403 || !h.works(tokens) {
			t.Errorf("%s: %d", rule, a.StatusCode)
		}
	}
	if a := alice.press("no-such-thing"); a.StatusCode != 400 {
		t.Errorf("an unknown action: %d", a.StatusCode)
	}
	if a := alice.get("/account?do=everywhere&ticket=" + url.QueryEscape(alice.get("/account").field("ticket"))); a.StatusCode != 200 || !h.works(tokens) {
		t.Errorf("GET acted: %d", a.StatusCode)
	}
	if a := alice.get("/account?done=%3Cb%3Ehello"); strings.Contains(a.body, "hello") {
		t.Error("the address puts words on the page")
	}
	ticket := alice.get("/account").field("ticket")
	h.forward(accountLife)
	if a := alice.post("/account", url.Values{"do": {"everywhere"}, "ticket": {ticket}}); a.StatusCode != 400 || !alice.in() {
		t.Errorf("an old page: %d", a.StatusCode)
	}
}

func TestOneBrowserIsSignedOutFromAnother(t *testing.T) {
	h := newHouse(t)
	here, there, bob := h.browser().signIn("alice"), h.browser().signIn("alice"), h.browser().signIn("bob")
	id := hashCookie(there.cookieOf().Value)
	if bob.press("end-session", "session", id); !there.in() {
		t.Fatal("bob signed alice out")
	}
	if here.press("end-session", "session", id); there.in() || !here.in() {
		t.Error("the wrong browser was signed out")
	}
	if a := here.press("end-session", "session", hashCookie(here.cookieOf().Value)); a.StatusCode != 200 || here.in() {
		t.Errorf("this browser: %d", a.StatusCode)
	}
}

func TestAPasswordIsChangedByWhoKnowsIt(t *testing.T) {
	h := newHouse(t)
	b, other := h.browser().signIn("alice"), h.browser().signIn("alice")
	const fresh = "another horse battery"
	for rule, f := range map[string][3]string{
		"the present one is wrong": {"wrong horse battery", fresh, fresh},
		"too short":                {password, "1234567", "1234567"},
		"not the same twice":       {password, fresh, fresh + "x"},
	} {
		if a := b.press("password", "password", f[0], "new", f[1], "again", f[2]); a.StatusCode < 400 || strings.Contains(a.body, fresh) {
			t.Errorf("%s: %d", rule, a.StatusCode)
		}
	}
	if !other.in() {
		t.Fatal("a refused change signed out")
	}
	before := b.cookieOf().Value
	if a := b.press("password", "password", password, "new", fresh, "again", fresh); a.StatusCode != 200 || !strings.Contains(a.body, "is changed") {
		t.Fatalf("change: %d\n%s", a.StatusCode, a.body)
	}
	if other.in() || b.cookieOf().Value == before || !b.in() {
		t.Error("sessions after the change")
	}
	if a := h.browser().post("/login", url.Values{"username": {"alice"}, "password": {password}}); a.StatusCode != 403 {
		t.Errorf("the old password: %d", a.StatusCode)
	}
	if a := h.browser().post("/login", url.Values{"username": {"alice"}, "password": {fresh}}); a.at() != "/account" {
		t.Errorf("the new password: %d", a.StatusCode)
	}
}

// TestAOneTimeCodeIsSetUpAskedForAndTurnedOff goes through the pages alone; the
// key is read from the page, as an app would.
func TestAOneTimeCodeIsSetUpAskedForAndTurnedOff(t *testing.T) {
	h := newHouse(t)
	b := h.browser().signIn("alice")
	begun := b.press("totp-begin")
	uri := regexp.MustCompile(`href="(otpauth:[^"]*)"`).FindStringSubmatch(begun.body)
	if uri == nil {
		t.Fatalf("no otpauth link\n%s", begun.body)
	}
	u := must(url.Parse(html.UnescapeString(uri[1])))
	if u.Query().Get("issuer") != strings.TrimPrefix(h.url, "http://") || h.person("local:alice").TOTP != nil {
		t.Errorf("link %s", u)
	}
	code := func() string { return codeOf(u.Query().Get("secret"), h.clock()) }
	send := func(code, pass string) answer {
		return b.post("/account", url.Values{"do": {"totp-confirm"}, "ticket": {begun.field("ticket")}, "enrolment": {begun.field("enrolment")}, "code": {code}, "password": {pass}})
	}
	if a := send("000000", password); a.StatusCode != 403 || !strings.Contains(a.body, u.Query().Get("secret")[:4]) {
		t.Errorf("a wrong code: %d", a.StatusCode)
	}
	if a := send(code(), "wrong"); a.StatusCode != 403 || h.person("local:alice").TOTP != nil {
		t.Errorf("a wrong password: %d", a.StatusCode)
	}
	used := code()
	if a := send(used, password); a.StatusCode != 200 || h.person("local:alice").TOTP == nil {
		t.Fatalf("set up: %d\n%s", a.StatusCode, a.body)
	}

	c := h.browser()
	asked := c.get(authorize("web", webURI))
	asked = c.post("/login", url.Values{"request": {asked.field("request")}, "username": {"alice"}, "password": {password}})
	if asked.StatusCode != 200 || asked.field("step") == "" || c.cookieOf() != nil {
		t.Fatalf("the password alone: %d %s", asked.StatusCode, asked.at())
	}
	second := func(code, step string) answer {
		return c.post("/login", url.Values{"request": {asked.field("request")}, "step": {step}, "code": {code}})
	}
	if a := second(used, asked.field("step")); a.StatusCode != 403 || c.cookieOf() != nil {
		t.Errorf("the code of the set-up again: %d", a.StatusCode)
	}
	h.forward(60e9)
	if a := second(code(), "x"); a.StatusCode != 403 {
		t.Errorf("a forged step: %d", a.StatusCode)
	}
	if a := second(code(), asked.field("step")); a.at() != "/consent" {
		t.Fatalf("the next code: %d %s\n%s", a.StatusCode, a.at(), a.body)
	}
	if got := must(h.Store.Session(t.Context(), hashCookie(c.cookieOf().Value))).AMR; strings.Join(got, " ") != "pwd otp mfa" {
		t.Errorf("amr %v", got)
	}

	h.forward(60e9)
	if a := b.press("totp-off", "password", "wrong", "second", code()); a.StatusCode != 403 || h.person("local:alice").TOTP == nil {
		t.Errorf("turned off with a wrong password: %d", a.StatusCode)
	}
	if a := b.press("totp-off", "password", password, "second", code()); a.StatusCode != 200 || h.person("local:alice").TOTP != nil {
		t.Errorf("turned off: %d", a.StatusCode)
	}
}

func TestTheSetUpLinkMakesOneUserOnce(t *testing.T) {
	h := newHouse(t)
	if link, err := h.SetupLink(t.Context()); err != nil || link != "" {
		t.Fatalf("with users: %q %v", link, err)
	}
	for _, id := range []string{"local:alice", "local:bob"} {
		if err := h.Store.DeleteUser(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	link := must(h.SetupLink(t.Context()))
	if !strings.HasPrefix(link, h.url+"/setup?token=") {
		t.Fatalf("link %q", link)
	}
	b := h.browser()
	page := b.get(link)
	form := func(name, one, two string) url.Values {
		return url.Values{"token": {page.field("token")}, "username": {name}, "password": {one}, "again": {two}}
	}
	for rule, f := range map[string]url.Values{
		"a name that can't be": form("Al Ice", password, password),
		"a short password":     form("root", "1234567", "1234567"),
		"not the same twice":   form("root", password, password+"x"),
	} {
		if a := b.post("/setup", f); a.StatusCode != 400 || !strings.Contains(a.body, `role="alert"`) {
			t.Errorf("%s: %d", rule, a.StatusCode)
		}
	}
	forged := form("root", password, password)
	forged.Set("token", "x")
	if a := b.post("/setup", forged); a.StatusCode != 404 {
		t.Errorf("a forged token: %d", a.StatusCode)
	}
	if users := must(h.Store.Users(t.Context())); len(users) != 0 {
		t.Fatalf("users %v", users)
	}
	if a := b.post("/setup", form("local", password, password)); a.StatusCode != 400 {
		t.Errorf("the name of the user of --no-auth: %d", a.StatusCode)
	}
	if a := b.post("/setup", form("Root", password, password)); a.at() != "/account" || a.StatusCode != 200 || !b.in() {
		t.Fatalf("made: %d %s\n%s", a.StatusCode, a.at(), a.body)
	}
	if u := h.person("local:root"); u.Password == "" || strings.Contains(u.Password, password) {
		t.Errorf("kept %+v", u)
	}
	for _, a := range []answer{b.get(link), b.post("/setup", form("eve", password, password))} {
		if a.StatusCode != 404 {
			t.Errorf("the link again: %d", a.StatusCode)
		}
	}
	if len(h.records.named(eventFirstUser)) != 1 {
		t.Error("not recorded")
	}
}

func TestASetUpLinkIsOverAfterADay(t *testing.T) {
	h := newHouse(t, func(_ *house, c *Config) {
		for _, id := range []string{"local:alice", "local:bob"} {
			must(0, c.Store.DeleteUser(t.Context(), id))
		}
	})
	link := must(h.SetupLink(t.Context()))
	h.forward(setupLife - 1e9)
	if a := h.browser().get(link); a.StatusCode != 200 {
		t.Errorf("just below: %d", a.StatusCode)
	}
	h.forward(1e9)
	if a := h.browser().get(link); a.StatusCode != 404 {
		t.Errorf("just above: %d", a.StatusCode)
	}
	h.Local = nil
	if link, err := h.SetupLink(t.Context()); err != nil || link != "" {
		t.Errorf("without local accounts: %q %v", link, err)
	}
}
