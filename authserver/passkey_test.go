package authserver

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

func base32Of(secret string) ([]byte, error) { return base32.StdEncoding.DecodeString(secret) }

func (h *house) keysOf(id string) []store.Passkey {
	h.t.Helper()
	return must(h.Store.Passkeys(h.t.Context(), id))
}

// TestAPasskeyIsAddedAndSignsInByItself goes the whole way over HTTP with an
// authenticator in software.
func TestAPasskeyIsAddedAndSignsInByItself(t *testing.T) {
	for synced, held := range map[byte]string{0: "hwk", flagSynced: "swk"} {
		h := newHouse(t, onLocalhost)
		b, d := h.browser().signIn("alice"), newDevice(h)
		d.flags |= synced
		if a := b.ask("/account/passkey", b.account("passkey-add", "password", "wrong")); a.status != 403 || a.PublicKey != nil {
			t.Errorf("with a wrong password: %d %s", a.status, a.raw)
		}
		if a := b.addKey(d, "name", "My <b>laptop</b>"); a.StatusCode != 200 || !strings.Contains(a.body, "The passkey is added") || !strings.Contains(a.body, "My &lt;b&gt;laptop") {
			t.Fatalf("added: %d\n%s", a.StatusCode, a.body)
		}
		if u := h.person("local:alice"); string(d.handle) != string(u.Handle) || len(u.Handle) != 32 || strings.Contains(string(u.Handle), "alice") {
			t.Errorf("the user handle is %q", u.Handle)
		}
		c := h.browser()
		page := c.get(authorize("web", webURI))
		request := page.field("request")
		a := c.ask("/login/passkey", url.Values{"request": {request}})
		if a.key.RPID != "localhost" || a.key.UserVerification != "required" || a.key.AllowCredentials != nil || strings.Contains(a.raw, "alice") {
			t.Errorf("what a stranger is sent: %s", a.raw)
		}
		done := c.post("/login", url.Values{"request": {request}, "challenge": {a.Challenge}, "passkey": {d.get(a.key)}})
		if done.at() != "/consent" {
			t.Fatalf("signed in: %d %s\n%s", done.StatusCode, done.at(), done.body)
		}
		ses := must(h.Store.Session(t.Context(), hashCookie(c.cookieOf().Value)))
		if got := strings.Join(ses.AMR, " "); ses.User != "local:alice" || got != held+" user mfa" {
			t.Errorf("%s by %s", ses.User, got)
		}
		if got := h.records.named(eventSignedIn); len(got) != 1 || strings.Join(got[0].User.AMR, " ") != held+" user mfa" {
			t.Errorf("records: %+v", got)
		}
		if got := h.records.named(eventPasskeyAdded); len(got) != 1 || got[0].User.ID != "local:alice" {
			t.Errorf("records: %+v", got)
		}
		if k := h.keysOf("local:alice")[0]; k.Count != d.count || k.LastUsed.IsZero() || k.Synced != (synced != 0) {
			t.Errorf("kept %+v", k)
		}
	}
}

// TestAfterThePasswordAPasskeyIsAskedFor: who added one has a second factor, and
// no credential is named before the password is right.
func TestAfterThePasswordAPasskeyIsAskedFor(t *testing.T) {
	h := newHouse(t, onLocalhost)
	d, bobs := h.give(newDevice(h), "alice"), h.give(newDevice(h), "bob")
	c := h.browser()
	page := c.post("/login", url.Values{"username": {"alice"}, "password": {password}})
	step := page.field("step")
	if page.StatusCode != 200 || step == "" || c.cookieOf() != nil || strings.Contains(page.body, `name="code"`) || !strings.Contains(page.body, "/assets/passkey-") {
		t.Fatalf("the password alone: %d\n%s", page.StatusCode, page.body)
	}
	if a := c.ask("/login/passkey", url.Values{"step": {"forged"}}); a.status != 403 || a.PublicKey != nil {
		t.Errorf("with a forged step: %d %s", a.status, a.raw)
	}
	if a := c.post("/login", url.Values{"step": {step}, "code": {"000000"}}); a.StatusCode != 403 || c.cookieOf() != nil {
		t.Errorf("a code that the account does not have: %d", a.StatusCode)
	}
	a := c.ask("/login/passkey", url.Values{"step": {step}})
	if len(a.key.AllowCredentials) != 1 || a.key.AllowCredentials[0].ID != b64(d.id) {
		t.Fatalf("asked for %+v", a.key.AllowCredentials)
	}
	send := func(by *device, step string) answer {
		return c.post("/login", url.Values{"step": {step}, "challenge": {a.Challenge}, "passkey": {by.get(a.key)}})
	}
	if r := send(bobs, step); r.StatusCode != 403 || c.cookieOf() != nil || r.field("step") == "" {
		t.Errorf("bob's passkey: %d", r.StatusCode)
	}
	if r := send(d, ""); r.StatusCode != 403 || c.cookieOf() != nil {
		t.Errorf("the second factor without the first: %d", r.StatusCode)
	}
	if r := send(d, step); r.at() != "/account" || r.StatusCode != 200 {
		t.Fatalf("both: %d %s", r.StatusCode, r.at())
	}
	if got := must(h.Store.Session(t.Context(), hashCookie(c.cookieOf().Value))).AMR; strings.Join(got, " ") != "pwd hwk user mfa" {
		t.Errorf("amr %v", got)
	}
}

// TestWhatIsNotThePasskeyOpensNothing: whatever is wrong, the answer is the same.
func TestWhatIsNotThePasskeyOpensNothing(t *testing.T) {
	tests := []struct {
		rule string
		bend func(h *house, b *browser, d *device) url.Values
	}{
		{"nobody's", func(h *house, b *browser, _ *device) url.Values { return b.keySignIn(newDevice(h)) }},
		{"another key under its id", func(h *house, b *browser, d *device) url.Values {
			other := newDevice(h)
			other.id, other.handle, other.count = d.id, d.handle, d.count
			return b.keySignIn(other)
		}},
		{"another person's user handle", func(h *house, b *browser, d *device) url.Values {
			d.handle = h.person("local:bob").Handle
			return b.keySignIn(d)
		}},
		{"no user handle", func(_ *house, b *browser, d *device) url.Values { d.handle = nil; return b.keySignIn(d) }},
		{"made on another site", func(_ *house, b *browser, d *device) url.Values {
			d.origin = "https://evil.example"
			return b.keySignIn(d)
		}},
		{"made on another port", func(_ *house, b *browser, d *device) url.Values {
			d.origin = "http://localhost:1"
			return b.keySignIn(d)
		}},
		{"for another place", func(_ *house, b *browser, d *device) url.Values { d.place = "evil.example"; return b.keySignIn(d) }},
		{"the person was not verified", func(_ *house, b *browser, d *device) url.Values { d.flags = flagPresent; return b.keySignIn(d) }},
		{"the person was not there", func(_ *house, b *browser, d *device) url.Values { d.flags = flagVerified; return b.keySignIn(d) }},
		{"it became one that is synced", func(_ *house, b *browser, d *device) url.Values { d.flags |= flagSynced; return b.keySignIn(d) }},
		{"its counter went back", func(_ *house, b *browser, d *device) url.Values { d.count = 0; return b.keySignIn(d) }},
		{"its counter stands still", func(_ *house, b *browser, d *device) url.Values { d.still = true; return b.keySignIn(d) }},
		{"disabled", func(h *house, b *browser, d *device) url.Values {
			must(h.Store.UpdateUser(h.t.Context(), "local:alice", func(u *store.User) error { u.Disabled = true; return nil }))
			return b.keySignIn(d)
		}},
		{"removed", func(h *house, b *browser, d *device) url.Values {
			must(0, h.Store.DeletePasskeys(h.t.Context(), "local:alice"))
			return b.keySignIn(d)
		}},
		{"another browser's challenge", func(h *house, b *browser, d *device) url.Values { b.keySignIn(d); return h.browser().keySignIn(d) }},
		{"a challenge without a browser", func(h *house, _ *browser, d *device) url.Values { return h.browser().keySignIn(d) }},
		{"the challenge of another sign-in", func(h *house, b *browser, d *device) url.Values {
			f := b.keySignIn(d)
			f.Set("request", b.get(authorize("web", webURI)).field("request"))
			return f
		}},
		{"the challenge for a new passkey", func(h *house, b *browser, d *device) url.Values {
			in := h.browser().signIn("carol")
			f := b.keySignIn(d)
			f.Set("challenge", in.ask("/account/passkey", in.account("passkey-add")).Challenge)
			return f
		}},
		{"an answer to another challenge", func(_ *house, b *browser, d *device) url.Values {
			f := b.keySignIn(d)
			f.Set("challenge", b.keySignIn(d).Get("challenge"))
			return f
		}},
		{"no JSON", func(_ *house, b *browser, d *device) url.Values { f := b.keySignIn(d); f.Set("passkey", "{"); return f }},
		{"too late", func(h *house, b *browser, d *device) url.Values {
			f := b.keySignIn(d)
			h.forward(passkeyLife)
			return f
		}},
		{"twice", func(h *house, b *browser, d *device) url.Values {
			d.still, d.count = true, 0 // so that it is not the counter that sees it
			must(h.Store.UpdatePasskey(h.t.Context(), b64(d.id), func(k *store.Passkey) error { k.Count = 0; return nil }))
			f := b.keySignIn(d)
			if a := b.post("/login", f); a.at() != "/account" {
				h.t.Fatalf("once: %d", a.StatusCode)
			}
			must(0, h.Store.DeleteSessions(h.t.Context(), "local:alice"))
			return f
		}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, onLocalhost)
			h.hold()
			d := newDevice(h)
			d.count = 7
			h.give(d, "alice")
			h.give(newDevice(h), "bob")
			b := h.browser()
			a := b.post("/login", tt.bend(h, b, d))
			if a.StatusCode != 403 || !strings.Contains(a.body, `role="alert"`) || b.in() {
				t.Fatalf("%d at %s\n%s", a.StatusCode, a.at(), a.body)
			}
			stale := strings.Contains(a.body, "took too long")
			if tt.rule == "too late" && !stale {
				t.Errorf("it does not say that it came too late:\n%s", a.body)
			}
			if !stale && !strings.Contains(a.body, wrongPasskey) {
				t.Errorf("it says what was wrong:\n%s", a.body)
			}
			h.Flood.Flush()
			if got := len(h.records.named(audit.EventFailures)); !stale && got != 1 {
				t.Errorf("%d records of the failure", got)
			}
			if got := h.records.named(eventPasskeyCloned); (len(got) == 1) != strings.Contains(tt.rule, "its counter") {
				t.Errorf("records of a copied passkey: %+v", got)
			}
		})
	}
}

func TestAChallengeLastsFiveMinutes(t *testing.T) {
	h := newHouse(t, onLocalhost)
	h.hold()
	d := h.give(newDevice(h), "alice")
	b := h.browser()
	f := b.keySignIn(d)
	h.forward(passkeyLife - time.Nanosecond)
	if a := b.post("/login", f); a.at() != "/account" || a.StatusCode != 200 {
		t.Errorf("just below: %d %s", a.StatusCode, a.at())
	}
}

// TestOfManyAnswersToOneChallengeOneCounts sends the same answer from a hundred
// tabs at once. The passkey has no counter, so the challenge alone decides.
func TestOfManyAnswersToOneChallengeOneCounts(t *testing.T) {
	h := newHouse(t, onLocalhost)
	d := newDevice(h)
	d.still = true
	h.give(d, "alice")
	b := h.browser()
	f := b.keySignIn(d)
	page := must(url.Parse(h.url + "/login"))
	cookies := b.client.Jar.Cookies(page)
	var in, out atomic.Int32
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 100 {
		wg.Go(func() {
			r := must(http.NewRequestWithContext(t.Context(), "POST", page.String(), strings.NewReader(f.Encode())))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for _, c := range cookies {
				r.AddCookie(c)
			}
			<-start
			res, err := (&http.Transport{}).RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			res.Body.Close()
			switch {
			case res.StatusCode == 303 && res.Header.Get("Location") == "/account":
				in.Add(1)
			case res.StatusCode == 403 || res.StatusCode == 429:
				out.Add(1)
			default:
				t.Errorf("answer %d", res.StatusCode)
			}
		})
	}
	close(start)
	wg.Wait()
	if in.Load() != 1 || out.Load() != 99 {
		t.Errorf("%d got in, %d did not", in.Load(), out.Load())
	}
	if got := must(h.Store.Sessions(t.Context(), "local:alice")); len(got) != 1 {
		t.Errorf("%d sessions", len(got))
	}
}

func TestGuessingAPasskeyIsSlowedDown(t *testing.T) {
	h := newHouse(t, onLocalhost)
	d := h.give(newDevice(h), "alice")
	b, wrong := h.browser(), newDevice(h)
	for range 100 {
		a := b.post("/login", b.keySignIn(wrong))
		if a.StatusCode == 429 {
			if a.Header.Get("Retry-After") == "" {
				t.Error("it does not say how long")
			}
			if a := b.post("/login", b.keySignIn(d)); a.StatusCode != 429 {
				t.Errorf("the right one meanwhile: %d", a.StatusCode)
			}
			return
		}
	}
	t.Error("a hundred guesses went through")
}

// TestPasskeysAreForOneAddress: browsers bind them to a domain or localhost, so
// at an IP address, and at another name of the gateway, nothing offers them.
func TestPasskeysAreForOneAddress(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	if page := b.get("/login").body; strings.Contains(page, "passkey") {
		t.Error("at an IP address the sign-in page offers passkeys")
	}
	if page := b.signIn("alice").get("/account"); strings.Contains(page.body, "asskey") || strings.Contains(page.Header.Get("Content-Security-Policy"), "script-src") {
		t.Error("at an IP address the account page offers passkeys")
	}
	named := newHouse(t, onLocalhost)
	c := named.browser()
	other := strings.Replace(named.url, "localhost", "127.0.0.1", 1)
	for _, path := range []string{"/login/passkey", "/account/passkey"} {
		if a := b.post(path, nil); a.StatusCode != 404 {
			t.Errorf("%s at an IP address: %d", path, a.StatusCode)
		}
		if a := c.post(other+path, nil); a.StatusCode != 404 {
			t.Errorf("%s at another name: %d", path, a.StatusCode)
		}
		if a := c.get(path); a.StatusCode != 404 {
			t.Errorf("GET %s: %d", path, a.StatusCode)
		}
	}
	if page := c.get(other + "/login").body; strings.Contains(page, "passkey") {
		t.Error("at another name the sign-in page offers passkeys")
	}
	if page := c.get("/login").body; !strings.Contains(page, "/assets/passkey-") {
		t.Error("at its own name the sign-in page offers none")
	}
}

// TestAPasskeyIsNotForgottenWhereItCantBeUsed: an account that has one is not
// opened by the password alone when the gateway has moved to another address.
func TestAPasskeyIsNotForgottenWhereItCantBeUsed(t *testing.T) {
	h := newHouse(t)
	h.give(newDevice(h), "alice")
	b := h.browser()
	a := b.post("/login", url.Values{"username": {"alice"}, "password": {password}})
	if a.StatusCode != 200 || b.in() || !strings.Contains(a.body, "not the address that they were made at") || strings.Contains(a.body, "<script") {
		t.Errorf("%d\n%s", a.StatusCode, a.body)
	}
	if a := b.post("/login", url.Values{"step": {a.field("step")}, "passkey": {"{}"}, "challenge": {"x"}}); a.StatusCode != 403 || b.in() {
		t.Errorf("with an answer all the same: %d", a.StatusCode)
	}
}

func TestAnotherSiteCantAskForAChallenge(t *testing.T) {
	h := newHouse(t, onLocalhost)
	b := h.browser().signIn("alice")
	b.header = http.Header{"Sec-Fetch-Site": {"cross-site"}}
	for _, path := range []string{"/login/passkey", "/account/passkey"} {
		if a := b.ask(path, url.Values{}); a.status != 403 || a.PublicKey != nil {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	b.header = nil
	if a := b.ask("/account/passkey", url.Values{"do": {"passkey-add"}, "password": {password}}); a.status != 403 || a.PublicKey != nil {
		t.Errorf("without the page's ticket: %d", a.status)
	}
	if a := h.browser().ask("/account/passkey", url.Values{"do": {"passkey-add"}, "password": {password}}); a.status != 403 || a.PublicKey != nil {
		t.Errorf("not signed in: %d", a.status)
	}
}

// TestOnlyPagesWithPasskeysRunScript holds every page's policy against what is
// on it.
func TestOnlyPagesWithPasskeysRunScript(t *testing.T) {
	h := newHouse(t, onLocalhost)
	b := h.browser()
	pages := map[string]answer{"sign-in": b.get("/login"), "set-up": b.get("/setup?token=x")}
	b.signIn("alice")
	pages["account"], pages["consent"], pages["error"] = b.get("/account"), b.get(authorize("web", webURI)), b.get("/oauth/authorize")
	for name, a := range pages {
		csp := a.Header.Get("Content-Security-Policy")
		wanted := name == "sign-in" || name == "account"
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") != wanted || strings.Contains(a.body, "<script") != wanted {
			t.Errorf("%s: %s", name, csp)
		}
		if wanted && (!strings.Contains(csp, "script-src 'self';") || strings.Count(a.body, "<script") != 1 || !strings.Contains(a.body, `defer></script>`)) {
			t.Errorf("%s: %s\n%s", name, csp, a.body)
		}
	}
}

func TestAPasskeyIsOnePersonsAndAnAccountHasSoMany(t *testing.T) {
	h := newHouse(t, onLocalhost)
	d := newDevice(h)
	d.still = true
	alice, bob := h.browser().signIn("alice"), h.browser().signIn("bob")
	h.give(d, "alice")
	if a := bob.addKey(d); a.StatusCode != 403 || len(h.keysOf("local:bob")) != 0 || !strings.Contains(a.body, "in use already") {
		t.Errorf("alice's passkey as bob's: %d", a.StatusCode)
	}
	if f := alice.prove(d, alice.account("passkey-remove", "key", b64(d.id))); bob.post("/account", f).StatusCode != 403 || len(h.keysOf("local:alice")) != 1 {
		t.Error("bob sent alice's form")
	}
	bobs := newDevice(h)
	bobs.still = true
	h.give(bobs, "bob")
	if f := bob.prove(bobs, bob.account("passkey-remove", "key", b64(d.id))); bob.post("/account", f).StatusCode != 200 || len(h.keysOf("local:alice")) != 1 {
		t.Error("bob removed alice's")
	}
	for i := len(h.keysOf("local:bob")); i < store.MaxPasskeys; i++ {
		must(0, h.Store.CreatePasskey(t.Context(), store.Passkey{ID: fmt.Sprint(i), User: "local:bob", Created: h.clock()}))
	}
	if page := bob.get("/account").body; strings.Contains(page, `value="passkey-add"`) || !strings.Contains(page, "as many passkeys as") {
		t.Error("a full account is offered another")
	}
	f := bob.account("passkey-add")
	f = bob.prove(bobs, f)
	a := bob.ask("/account/passkey", f)
	f.Set("challenge", a.Challenge)
	f.Set("passkey", newDevice(h).create(a.key))
	if r := bob.post("/account", f); r.StatusCode != 403 || len(h.keysOf("local:bob")) != store.MaxPasskeys {
		t.Errorf("one more: %d", r.StatusCode)
	}
}

// TestASecondFactorIsChangedByWhoHasOne: of an account with one, the password
// alone neither adds, replaces nor removes any.
func TestASecondFactorIsChangedByWhoHasOne(t *testing.T) {
	const secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	h := newHouse(t, onLocalhost)
	b, d := h.browser().signIn("alice"), newDevice(h)
	// confirm sends the form that turns a new one-time code on.
	confirm := func(change func(url.Values) url.Values) answer {
		begun := b.press("totp-begin")
		key := strings.ReplaceAll(strings.Split(strings.Split(begun.body, `class="secret"><code>`)[1], "<")[0], " ", "")
		f := b.account("totp-confirm", "enrolment", begun.field("enrolment"), "code", codeOf(key, h.clock()))
		return b.post("/account", change(f))
	}
	plain := func(f url.Values) url.Values { return f }
	h.give(d, "alice")

	// With a passkey.
	if a := confirm(plain); a.StatusCode != 403 || h.person("local:alice").TOTP != nil {
		t.Errorf("a code beside a passkey, by password: %d", a.StatusCode)
	}
	if a := b.post("/account", b.account("passkey-remove", "key", b64(d.id))); a.StatusCode != 403 || len(h.keysOf("local:alice")) != 1 {
		t.Errorf("a passkey removed by password: %d", a.StatusCode)
	}
	if a := b.ask("/account/passkey", b.account("passkey-add")); a.Create || !a.More || len(a.key.AllowCredentials) != 1 {
		t.Errorf("another passkey by password: %s", a.raw)
	}
	if a := confirm(func(f url.Values) url.Values { return b.prove(d, f) }); a.StatusCode != 200 || h.person("local:alice").TOTP == nil {
		t.Fatalf("a code beside a passkey, with it: %d\n%s", a.StatusCode, a.body)
	}
	// A proof is for who gave it, and once.
	used := b.prove(d, b.account("totp-off"))
	other := h.browser().signIn("alice")
	used.Set("ticket", other.get("/account").field("ticket"))
	if a := other.post("/account", used); a.StatusCode != 403 {
		t.Errorf("the proof of another browser: %d", a.StatusCode)
	}

	// With a one-time code.
	must(h.Store.UpdateUser(t.Context(), "local:alice", func(u *store.User) error {
		u.TOTP, u.TOTPStep = must(base32Of(secret)), 0
		return nil
	}))
	must(0, h.Store.DeletePasskeys(t.Context(), "local:alice"))
	if a := confirm(plain); a.StatusCode != 403 || string(h.person("local:alice").TOTP) != string(must(base32Of(secret))) {
		t.Errorf("a code replaced by password: %d", a.StatusCode)
	}
	if a := b.post("/account", b.account("totp-off")); a.StatusCode != 403 || h.person("local:alice").TOTP == nil {
		t.Errorf("a code removed by password: %d", a.StatusCode)
	}
	if a := b.ask("/account/passkey", b.account("passkey-add")); a.status != 403 || a.PublicKey != nil {
		t.Errorf("a passkey beside a code, by password: %s", a.raw)
	}
	if a := b.ask("/account/passkey", b.account("passkey-add", "second", "000000")); a.status != 403 || a.PublicKey != nil {
		t.Errorf("with a wrong code: %s", a.raw)
	}
	now := codeOf(secret, h.clock())
	if a := b.addKey(newDevice(h), "second", now); a.StatusCode != 200 || len(h.keysOf("local:alice")) != 1 {
		t.Errorf("with the code: %d", a.StatusCode)
	}
	if a := b.post("/account", b.account("totp-off", "second", now)); a.StatusCode != 403 || h.person("local:alice").TOTP == nil {
		t.Errorf("the code again: %d", a.StatusCode)
	}
	h.forward(time.Minute)
	if a := b.post("/account", b.account("totp-off", "second", codeOf(secret, h.clock()))); a.StatusCode != 200 || h.person("local:alice").TOTP != nil {
		t.Errorf("the next code: %d", a.StatusCode)
	}
}

// TestTheStepAfterThePasswordIsNotRenewedByWrongCodes: it ends five minutes
// after the password, however busy somebody is guessing.
func TestTheStepAfterThePasswordIsNotRenewedByWrongCodes(t *testing.T) {
	const secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	h := newHouse(t)
	h.hold()
	must(h.Store.UpdateUser(t.Context(), "local:alice", func(u *store.User) error { u.TOTP = must(base32Of(secret)); return nil }))
	b := h.browser()
	page := b.post("/login", url.Values{"username": {"alice"}, "password": {password}})
	for range 4 {
		h.forward(stepLife/4 - time.Second)
		if page = b.post("/login", url.Values{"step": {page.field("step")}, "code": {"000000"}}); page.StatusCode != 403 || page.field("step") == "" {
			t.Fatalf("a wrong code: %d", page.StatusCode)
		}
	}
	late := page.field("step")
	h.forward(4*time.Second - 1)
	if a := h.browser().post("/login", url.Values{"step": {late}, "code": {codeOf(secret, h.clock())}}); a.at() != "/account" {
		t.Errorf("just below: %d", a.StatusCode)
	}
	h.forward(1)
	if a := b.post("/login", url.Values{"step": {late}, "code": {codeOf(secret, h.clock().Add(30*time.Second))}}); a.StatusCode != 403 || !strings.Contains(a.body, "took too long") || b.cookieOf() != nil {
		t.Errorf("at its end: %d", a.StatusCode)
	}
}

// TestANewPasswordEndsTheStepAfterTheOldOne: who knew the old one is out, with a
// right second factor, too.
func TestANewPasswordEndsTheStepAfterTheOldOne(t *testing.T) {
	const secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	h := newHouse(t, onLocalhost)
	d := h.give(newDevice(h), "alice")
	must(h.Store.UpdateUser(t.Context(), "local:alice", func(u *store.User) error { u.TOTP = must(base32Of(secret)); return nil }))
	b := h.browser()
	step := b.post("/login", url.Values{"username": {"alice"}, "password": {password}}).field("step")
	asked := b.ask("/login/passkey", url.Values{"step": {step}})
	must(h.Store.UpdateUser(t.Context(), "local:alice", func(u *store.User) error { u.Password += "new"; return nil }))
	for rule, form := range map[string]url.Values{
		"by passkey": {"step": {step}, "challenge": {asked.Challenge}, "passkey": {d.get(asked.key)}},
		"by code":    {"step": {step}, "code": {codeOf(secret, time.Now())}},
	} {
		if a := b.post("/login", form); a.StatusCode != 403 || b.in() || !strings.Contains(a.body, "begin again") {
			t.Errorf("%s: %d", rule, a.StatusCode)
		}
	}
	if a := b.ask("/login/passkey", url.Values{"step": {step}}); a.status != 403 || a.PublicKey != nil {
		t.Errorf("a new challenge: %d", a.status)
	}
}

// TestAPasskeyIsForTheHostAsBrowsersWriteIt, however the operator wrote it.
func TestAPasskeyIsForTheHostAsBrowsersWriteIt(t *testing.T) {
	st := must(store.Open(t.TempDir(), store.Options{}))
	defer st.Close()
	for _, origin := range []string{"https://gw.example", "https://GW.Example", "https://gw.example:443", "https://gw.example:8443"} {
		options, _, err := login.NewPasskeys(origin, &login.Local{Users: st}, st).BeginSignIn()
		if err != nil || !strings.Contains(string(options), `"rpId":"gw.example"`) {
			t.Errorf("%s: %s %v", origin, options, err)
		}
	}
}

// FuzzWhatABrowserAnswers feeds the parsers of both ceremonies.
func FuzzWhatABrowserAnswers(f *testing.F) {
	st := must(store.Open(f.TempDir(), store.Options{}))
	f.Cleanup(func() { st.Close() })
	must(0, st.CreateUser(f.Context(), store.User{Issuer: "local", Subject: "alice", Name: "A"}))
	keys := login.NewPasskeys("http://localhost:1", &login.Local{Users: st}, st)
	u := must(st.User(f.Context(), "local:alice"))
	options, add, err := keys.BeginAdd(f.Context(), u)
	u = must(st.User(f.Context(), "local:alice"))
	_, get, err2 := keys.BeginSignIn()
	if err != nil || err2 != nil {
		f.Fatal(err, err2)
	}
	var o publicKey
	must(0, json.Unmarshal(options, &o))
	d := newDevice(&house{url: "http://localhost:1"})
	f.Add(d.create(o))
	f.Add(d.get(o))
	f.Add(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","attestationObject":"o2NmbXQ"}}`)
	never := func(context.Context) (bool, error) { return false, nil }
	f.Fuzz(func(t *testing.T, answer string) {
		keys := login.NewPasskeys("http://localhost:1", &login.Local{Users: st}, st) // one that has counted no failures
		_, _, err1 := keys.SignIn(t.Context(), get, []byte(answer), "192.0.2.1", never)
		_, err2 := keys.Add(t.Context(), u, "x", add, []byte(answer), never)
		if !errors.Is(err1, login.ErrWrong) || !errors.Is(err2, login.ErrWrong) {
			t.Errorf("%v, %v", err1, err2)
		}
	})
}
