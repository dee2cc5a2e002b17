package login

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

const callback = "https://gateway.example/login/callback"

func atCompany(t *testing.T) (*company, *folk, *OIDC) {
	c, f := newCompany(t), newFolk(t)
	return c, f, &OIDC{Issuer: c.URL, ClientID: "gateway", ClientSecret: "s3cret", Dev: true, Users: f, Now: f.now}
}

// signIn goes the whole way.
func signIn(t *testing.T, c *company, o *OIDC) (*store.User, *SignIn, error) {
	t.Helper()
	to, pending, err := o.Begin(t.Context(), callback, Ask{})
	if err != nil {
		return nil, nil, err
	}
	return o.Finish(t.Context(), pending, c.visit(to))
}

func TestAPersonIsWhoIssuerAndSubjectSay(t *testing.T) {
	c, f, o := atCompany(t)
	u, how, err := signIn(t, c, o)
	if err != nil {
		t.Fatal(err)
	}
	if u.ID() != c.URL+":s-1" || u.Name != "Alice Baker" || !slices.Equal(u.Groups, []string{"engineering", "staff"}) || u.ProviderRefresh == "" || u.Vouched.IsZero() {
		t.Errorf("kept %+v", u)
	}
	if !slices.Equal(how.AMR, []string{"pwd", "mfa"}) || how.At.IsZero() {
		t.Errorf("signed in as %+v", how)
	}
	// The same name at another subject is another person.
	c.people["s-9"] = c.people["s-1"]
	c.subject = "s-9"
	if v, _, err := signIn(t, c, o); err != nil || v.ID() == u.ID() {
		t.Errorf("two people became one: %v", err)
	}
	users, err := f.Users(t.Context())
	if err != nil || len(users) != 2 {
		t.Errorf("%d users, %v", len(users), err)
	}
}

func TestTheRequestCarriesStateNonceAndChallenge(t *testing.T) {
	_, _, o := atCompany(t)
	seen := map[string]bool{}
	for range 2 {
		to, pending, err := o.Begin(t.Context(), callback, Ask{Prompt: "login"})
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(to)
		q := u.Query()
		if q.Get("state") != pending.State || q.Get("nonce") != pending.Nonce || q.Get("code_challenge_method") != "S256" ||
			q.Get("code_challenge") == "" || q.Get("code_challenge") == pending.Verifier || q.Get("prompt") != "login" ||
			q.Get("redirect_uri") != callback || q.Get("response_type") != "code" {
			t.Errorf("request %v", q)
		}
		if !slices.Contains(strings.Fields(q.Get("scope")), "offline_access") {
			t.Errorf("scope %q", q.Get("scope"))
		}
		for _, v := range []string{q.Get("state"), q.Get("nonce"), q.Get("code_challenge")} {
			if seen[v] {
				t.Error("a value was used twice")
			}
			seen[v] = true
		}
	}
}

// max_age and a new sign-in are asked of the provider, and what it says counts
// (OpenID Connect Core 3.1.2.1, 3.1.3.7 12).
func TestAnOlderSignInAtTheProviderIsRefusedWhereANewOneIsAsked(t *testing.T) {
	c, _, o := atCompany(t)
	now, minute := time.Duration(0), time.Minute
	for _, tt := range []struct {
		rule   string
		within *time.Duration
		signed time.Duration // ago; negative = the provider doesn't say
		want   error
	}{
		{"any will do", nil, time.Hour, nil},
		{"any will do, unsaid", nil, -1, nil},
		{"now", &now, 0, nil},
		{"now, by a clock that is behind", &now, clockSkew - 10*time.Second, nil},
		{"not now", &now, clockSkew + 10*time.Second, ErrTooOld},
		{"now, unsaid", &now, -1, ErrTooOld},
		{"within the minute", &minute, time.Minute, nil},
		{"before it", &minute, time.Minute + clockSkew + 10*time.Second, ErrTooOld},
		{"within the minute, unsaid", &minute, -1, ErrTooOld},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			at := o.now().Add(-tt.signed)
			c.claims = func(m map[string]any) {
				if tt.signed >= 0 {
					m["auth_time"] = at.Unix()
				}
			}
			to, pending, err := o.Begin(t.Context(), callback, Ask{MaxAge: tt.within})
			if err != nil {
				t.Fatal(err)
			}
			asked := ""
			if tt.within != nil {
				asked = fmt.Sprint(int(tt.within.Seconds()))
			}
			if u, _ := url.Parse(to); u.Query().Get("max_age") != asked {
				t.Errorf("sent to %s", to)
			}
			_, how, err := o.Finish(t.Context(), pending, c.visit(to))
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && tt.signed > 0 && how.At.Unix() != at.Unix() {
				t.Errorf("signed in at %v, by the provider's word at %v", how.At, at)
			}
		})
	}
	// Where it reads the parameter, it is asked to say when.
	if to, _, _ := o.Begin(t.Context(), callback, Ask{}); strings.Contains(to, "claims=") {
		t.Errorf("a provider that reads no claims parameter gets one: %s", to)
	}
	c.discover = func(doc map[string]any) { doc["claims_parameter_supported"] = true }
	o = &OIDC{Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.ClientSecret, Dev: true, Users: o.Users}
	if to, _, _ := o.Begin(t.Context(), callback, Ask{}); !strings.Contains(to, "claims=") || !strings.Contains(to, "auth_time") {
		t.Errorf("not asked for auth_time: %s", to)
	}
}

func TestGroupsComeFromTheClaimAsListOrStringAndMissingMeansNone(t *testing.T) {
	tests := []struct {
		rule, claim string
		id, info    map[string]any
		want        []string
	}{
		{"a list", "", map[string]any{"groups": []string{"b", "a", "b", ""}}, nil, []string{"a", "b"}},
		{"a string", "", map[string]any{"groups": "b a"}, nil, []string{"a", "b"}},
		{"another claim", "roles", map[string]any{"groups": "x", "roles": []string{"r"}}, nil, []string{"r"}},
		{"in userinfo", "", map[string]any{}, map[string]any{"groups": []string{"u"}}, []string{"u"}},
		{"missing", "", map[string]any{}, nil, nil},
		{"of another shape", "", map[string]any{"groups": map[string]any{"admin": true}}, nil, nil},
		{"too long to be a name", "", map[string]any{"groups": []string{strings.Repeat("g", maxGroupName+1), strings.Repeat("h", maxGroupName)}}, nil, []string{strings.Repeat("h", maxGroupName)}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			c, _, o := atCompany(t)
			o.GroupsClaim = tt.claim
			c.people["s-1"], c.info["s-1"] = tt.id, tt.info
			u, _, err := signIn(t, c, o)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(u.Groups, tt.want) {
				t.Errorf("groups %.60q, want %.60q", u.Groups, tt.want)
			}
		})
	}
}

func TestAnAddressIsANameOnlyWhenItIsVerified(t *testing.T) {
	for verified, want := range map[any]string{true: "alice@acme.example", "true": "alice@acme.example", false: "s-1", nil: "s-1"} {
		c, _, o := atCompany(t)
		c.people["s-1"] = map[string]any{"email": "alice@acme.example", "email_verified": verified, "groups": "x"}
		if u, _, err := signIn(t, c, o); err != nil || u.Name != want {
			t.Errorf("verified %v: name %q, %v", verified, u.Name, err)
		}
	}
}

// TestAWrongAnswerIsRefusedAndNothingIsKept are the ways in which an answer can
// belong to another server, another sign-in or nobody.
// Security catalogue A-051.
func TestAWrongAnswerIsRefusedAndNothingIsKept(t *testing.T) {
	tests := []struct {
		rule string
		do   func(c *company, p *Pending)
	}{
		{"another state", func(c *company, p *Pending) { c.answer = func(q url.Values) { q.Set("state", "x") } }},
		{"no state", func(c *company, p *Pending) { c.answer = func(q url.Values) { q.Del("state") } }},
		{"two states", func(c *company, p *Pending) { c.answer = func(q url.Values) { q.Add("state", "x") } }},
		{"another issuer", func(c *company, p *Pending) { c.answer = func(q url.Values) { q.Set("iss", "https://evil.example") } }},
		{"no issuer where one is promised", func(c *company, p *Pending) { c.answer = func(q url.Values) { q.Del("iss") } }},
		{"an error", func(c *company, p *Pending) { c.answer = func(q url.Values) { q.Set("error", "access_denied") } }},
		{"no code", func(c *company, p *Pending) { c.answer = func(q url.Values) { q.Del("code") } }},
		{"another code", func(c *company, p *Pending) { c.answer = func(q url.Values) { q.Set("code", "x") } }},
		{"another verifier", func(c *company, p *Pending) { p.Verifier = strings.Repeat("v", 43) }},
		{"too late", func(c *company, p *Pending) { p.Expires = time.Now().Add(-time.Second) }},
		{"another nonce", func(c *company, p *Pending) { c.claims = func(m map[string]any) { m["nonce"] = "x" } }},
		{"no nonce", func(c *company, p *Pending) { c.claims = func(m map[string]any) { delete(m, "nonce") } }},
		{"another audience", func(c *company, p *Pending) { c.claims = func(m map[string]any) { m["aud"] = "other" } }},
		{"two audiences without azp", func(c *company, p *Pending) {
			c.claims = func(m map[string]any) { m["aud"] = []string{"gateway", "other"} }
		}},
		{"issued to another client", func(c *company, p *Pending) { c.claims = func(m map[string]any) { m["azp"] = "other" } }},
		{"a token of another issuer", func(c *company, p *Pending) { c.claims = func(m map[string]any) { m["iss"] = "https://evil.example" } }},
		{"expired", func(c *company, p *Pending) {
			c.claims = func(m map[string]any) { m["exp"] = time.Now().Add(-time.Minute).Unix() }
		}},
		{"no subject", func(c *company, p *Pending) { c.claims = func(m map[string]any) { delete(m, "sub") } }},
		{"signed by another key", func(c *company, p *Pending) { c.sign = func() (*rsa.PrivateKey, string) { return c.foreign, "" } }},
		{"signed with a shared secret", func(c *company, p *Pending) { c.sign = func() (*rsa.PrivateKey, string) { return c.key, "HS256" } }},
		{"no ID token", func(c *company, p *Pending) { c.noID = true }},
		{"userinfo about somebody else", func(c *company, p *Pending) {
			c.people["s-1"], c.info["s-1"] = map[string]any{}, map[string]any{"sub": "s-2"}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			c, f, o := atCompany(t)
			to, pending, err := o.Begin(t.Context(), callback, Ask{})
			if err != nil {
				t.Fatal(err)
			}
			tt.do(c, &pending)
			if u, _, err := o.Finish(t.Context(), pending, c.visit(to)); !errors.Is(err, ErrRefused) || u != nil {
				t.Errorf("got %v, %v", u, err)
			}
			if users, err := f.Users(t.Context()); err != nil || len(users) != 0 {
				t.Errorf("%d users were kept, %v", len(users), err)
			}
		})
	}
}

func TestMetadataThatCantBeTrustedIsRefused(t *testing.T) {
	for rule, discover := range map[string]func(map[string]any){
		"another issuer":             func(m map[string]any) { m["issuer"] = "https://evil.example" },
		"a token endpoint in clear":  func(m map[string]any) { m["token_endpoint"] = "http://idp.example/token" },
		"keys in clear":              func(m map[string]any) { m["jwks_uri"] = "http://192.0.2.1/jwks" },
		"an address with a password": func(m map[string]any) { m["token_endpoint"] = "https://a:b@idp.example/token" },
		"more than a megabyte":       func(m map[string]any) { m["x"] = strings.Repeat("x", maxProviderBody) },
	} {
		c, _, o := atCompany(t)
		c.discover = discover
		if _, _, err := o.Begin(t.Context(), callback, Ask{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", rule, err)
		}
		c.discover = nil // and it is asked again, not remembered
		if _, _, err := o.Begin(t.Context(), callback, Ask{}); err != nil {
			t.Errorf("%s mended: %v", rule, err)
		}
	}
	_, _, o := atCompany(t)
	if o.Dev = false; true {
		if _, _, err := o.Begin(t.Context(), callback, Ask{}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("plain http without --dev: %v", err)
		}
	}
}

func TestTheSecretFollowsNoRedirect(t *testing.T) {
	c, _, o := atCompany(t)
	c.token = func(w http.ResponseWriter) bool {
		w.Header().Set("Location", c.URL+"/token")
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}
	if _, _, err := signIn(t, c, o); err == nil {
		t.Error("a redirect was taken for an answer")
	}
	if len(c.asked) != 1 {
		t.Errorf("the code was sent %d times", len(c.asked))
	}
}

func TestARefreshBringsTheGroupsOfNow(t *testing.T) {
	c, f, o := atCompany(t)
	u, _, err := signIn(t, c, o)
	if err != nil {
		t.Fatal(err)
	}
	c.people["s-1"]["groups"] = []string{"board"}
	f.forward(30 * 24 * time.Hour)
	c.claims = func(m map[string]any) { m["exp"] = f.now().Add(time.Minute).Unix() }
	for range 3 { // the provider's refresh token rotates, and the stale copy is no matter
		now, err := o.Refresh(t.Context(), u)
		if err != nil || !slices.Equal(now.Groups, []string{"board"}) {
			t.Fatalf("%v %v", now, err)
		}
	}
	c.noID, c.info["s-1"] = true, map[string]any{"name": "Alice", "groups": "cellar"}
	if now, err := o.Refresh(t.Context(), u); err != nil || !slices.Equal(now.Groups, []string{"cellar"}) || now.Name != "Alice" {
		t.Errorf("without an ID token: %v %v", now, err)
	}
}

func TestManyRefreshesAtOnceSpendOneProviderToken(t *testing.T) {
	c, _, o := atCompany(t)
	u, _, err := signIn(t, c, o)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if _, err := o.Refresh(t.Context(), u); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestWhoTheProviderDoesNotKnowIsUnknown(t *testing.T) {
	c, f, o := atCompany(t)
	u, _, err := signIn(t, c, o)
	if err != nil {
		t.Fatal(err)
	}
	delete(c.people, "s-1")
	if _, err := o.Refresh(t.Context(), u); !errors.Is(err, ErrUnknownPerson) {
		t.Errorf("removed there: %v", err)
	}
	if _, err := f.UpdateUser(t.Context(), u.ID(), func(u *store.User) error { u.Disabled = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Refresh(t.Context(), u); !errors.Is(err, ErrDisabled) {
		t.Errorf("disabled here: %v", err)
	}
	c.people["s-1"] = map[string]any{"groups": "x"}
	if _, _, err := signIn(t, c, o); !errors.Is(err, ErrDisabled) {
		t.Errorf("a disabled person signs in: %v", err)
	}
}

func TestAnotherPersonsTokensDontVouch(t *testing.T) {
	c, _, o := atCompany(t)
	u, _, err := signIn(t, c, o)
	if err != nil {
		t.Fatal(err)
	}
	c.claims = func(m map[string]any) { m["sub"] = "s-2" }
	if _, err := o.Refresh(t.Context(), u); !errors.Is(err, ErrUnknownPerson) {
		t.Errorf("got %v", err)
	}
}

// TestAnOutageIsNotARemoval: while the provider can't be asked its word counts
// for MaxAge; after that nobody is let on, and nobody is called unknown.
func TestAnOutageIsNotARemoval(t *testing.T) {
	for name, down := range map[string]func(http.ResponseWriter) bool{
		"server error":    func(w http.ResponseWriter) bool { w.WriteHeader(503); return true },
		"too many":        func(w http.ResponseWriter) bool { w.WriteHeader(429); return true },
		"not our client":  func(w http.ResponseWriter) bool { send(w, 401, map[string]any{"error": "invalid_client"}); return true },
		"an error of 500": func(w http.ResponseWriter) bool { send(w, 500, map[string]any{"error": "invalid_grant"}); return true },
	} {
		c, f, o := atCompany(t)
		u, _, err := signIn(t, c, o)
		if err != nil {
			t.Fatal(err)
		}
		c.token = down
		f.forward(defaultMaxAge - time.Minute)
		if _, err := o.Refresh(t.Context(), u); err != nil {
			t.Errorf("%s, within the hour: %v", name, err)
		}
		f.forward(2 * time.Minute)
		if _, err := o.Refresh(t.Context(), u); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s, after the hour: %v", name, err)
		}
	}
}

func TestWithoutAProvidersRefreshTokenTheSignInAges(t *testing.T) {
	c, f, o := atCompany(t)
	o.MaxAge = 10 * time.Minute
	u, _, err := signIn(t, c, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.UpdateUser(t.Context(), u.ID(), func(u *store.User) error { u.ProviderRefresh = ""; return nil }); err != nil {
		t.Fatal(err)
	}
	f.forward(9 * time.Minute)
	if _, err := o.Refresh(t.Context(), u); err != nil {
		t.Errorf("just below: %v", err)
	}
	f.forward(time.Minute)
	if _, err := o.Refresh(t.Context(), u); !errors.Is(err, ErrUnknownPerson) {
		t.Errorf("just above: %v", err)
	}
}

// TestNoErrorHoldsASecret: what goes to logs and pages names neither tokens nor
// the code.
func TestNoErrorHoldsASecret(t *testing.T) {
	c, _, o := atCompany(t)
	to, pending, err := o.Begin(t.Context(), callback, Ask{})
	if err != nil {
		t.Fatal(err)
	}
	answer := c.visit(to)
	c.Close()
	_, _, err = o.Finish(t.Context(), pending, answer)
	if err == nil {
		t.Fatal("a provider that is gone answered")
	}
	for _, secret := range []string{"s3cret", answer.Get("code"), pending.State, pending.Nonce, pending.Verifier} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q holds a secret", err)
		}
	}
}
