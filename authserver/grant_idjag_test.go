package authserver

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// provider is an enterprise's identity provider: it has keys, publishes them
// and signs what a test wants it to.
type provider struct {
	url  string
	keys []jose.JSONWebKey
	hits atomic.Int32
	down atomic.Bool
	next atomic.Int32 // jti
}

// providerKeys are made once: RSA keys take their time.
var providerKeys = sync.OnceValue(func() []jose.JSONWebKey {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return []jose.JSONWebKey{
		{KeyID: "rs", Algorithm: "RS256", Key: must(rsa.GenerateKey(rand.Reader, 2048))},
		{KeyID: "es", Algorithm: "ES256", Key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))},
		{KeyID: "ed", Algorithm: "EdDSA", Key: ed},
		{KeyID: "foreign", Algorithm: "ES256", Key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))},
		{KeyID: "rs", Algorithm: "RS512", Key: must(rsa.GenerateKey(rand.Reader, 2048))},
	}
})

func newProvider(t *testing.T) *provider {
	p := &provider{keys: providerKeys()}
	public := jose.JSONWebKeySet{}
	for _, k := range p.keys[:3] {
		public.Keys = append(public.Keys, k.Public())
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.hits.Add(1)
		if p.down.Load() {
			w.WriteHeader(500)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_ = json.NewEncoder(w).Encode(public)
	}))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

func (p *provider) key(id string) jose.JSONWebKey {
	return p.keys[slices.IndexFunc(p.keys, func(k jose.JSONWebKey) bool { return k.KeyID == id })]
}

// sign makes a JWT of claims with key k.
func (p *provider) sign(k jose.JSONWebKey, kind string, claims map[string]any) string {
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Algorithm), Key: k},
		(&jose.SignerOptions{}).WithType(jose.ContentType(kind))))
	return must(must(signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
}

// office is a house with an enterprise provider and the client "agent".
type office struct {
	*house
	idp *provider
}

const agentSecret = "agent-secret-agent-secret"

func newOffice(t *testing.T, change ...func(*Config)) *office {
	idp := newProvider(t)
	h := newHouse(t, func(h *house, c *Config) {
		c.Clients.Static = []store.Client{
			{ID: "agent", SecretHash: client.SecretHash(agentSecret), GrantTypes: []string{grantJWTBearer}},
			{ID: "other", SecretHash: client.SecretHash(agentSecret), GrantTypes: []string{grantJWTBearer}},
			{ID: "plain", SecretHash: client.SecretHash(agentSecret), GrantTypes: []string{grantClientCredentials}},
		}
		must(0, c.Clients.Check())
		c.Enterprise = []EnterpriseIssuer{{Issuer: idp.url, JWKSURI: idp.url + "/keys"}}
		for _, f := range change {
			f(c)
		}
	})
	return &office{h, idp}
}

// claims are good ones, with some replaced; nil removes one.
func (o *office) claims(change map[string]any) map[string]any {
	now := o.clock().Unix()
	m := map[string]any{
		"iss": o.idp.url, "sub": "u-1", "aud": o.url, "client_id": "agent", "jti": fmt.Sprint("j", o.idp.next.Add(1)),
		"iat": now, "exp": now + 300, "scope": "mcp heavy", "groups": []string{"staff", "engineering"}, "name": "Eve Ny",
	}
	maps.Copy(m, change)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func (o *office) assertion(change map[string]any) string {
	return o.idp.sign(o.idp.key("es"), typeIDJAG, o.claims(change))
}

// redeem presents an assertion as client id, with extra parameters.
func (o *office) redeem(id, assertion string, extra ...string) (int, map[string]any) {
	form := url.Values{"grant_type": {grantJWTBearer}, "assertion": {assertion}}
	for i := 0; i < len(extra); i += 2 {
		form.Set(extra[i], extra[i+1])
	}
	if id == "web" { // a public one
		form.Set("client_id", id)
	}
	r := must(http.NewRequest(http.MethodPost, o.url+"/oauth/token", strings.NewReader(form.Encode())))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "web" {
		r.SetBasicAuth(id, agentSecret)
	}
	res := must(http.DefaultClient.Do(r))
	defer res.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		o.t.Fatal(err)
	}
	return res.StatusCode, answer
}

func (o *office) verified(bearer any, path string) (*identity.Principal, error) {
	r := httptest.NewRequest(http.MethodPost, o.url+path, nil)
	r.Header.Set("Authorization", fmt.Sprint("Bearer ", bearer))
	return o.Verify(o.t.Context(), r)
}

func TestAnEnterpriseLetsItsPeopleIn(t *testing.T) {
	o := newOffice(t)
	for _, key := range o.idp.keys[:3] {
		status, a := o.redeem("agent", o.idp.sign(key, typeIDJAG, o.claims(map[string]any{"amr": []string{"hwk"}, "auth_time": o.clock().Unix() - 60})), "scope", "heavy offline_access")
		if status != 200 || a["token_type"] != "Bearer" || a["scope"] != "heavy mcp" || a["expires_in"] != 600.0 {
			t.Fatalf("%s: %d %v", key.Algorithm, status, a)
		}
		if a["refresh_token"] != nil {
			t.Error("a refresh token was given")
		}
		p, err := o.verified(a["access_token"], "/mcp")
		if err != nil {
			t.Fatal(err)
		}
		if p.Issuer != o.idp.url || p.Subject != "u-1" || p.Name != "Eve Ny" || !slices.Equal(p.Groups, []string{"engineering", "staff"}) ||
			p.Client.ID != "agent" || p.Client.Kind != client.Static || !slices.Equal(p.AMR, []string{"hwk"}) || p.AuthTime.Unix() > o.clock().Unix()-60 ||
			p.Grant.Resource != o.url+"/mcp" || !slices.Equal(p.Grant.Scopes, []string{"heavy", "mcp"}) || !p.Grant.ConsentedAt.IsZero() {
			t.Errorf("%+v", p)
		}
	}
	if o.idp.hits.Load() != 1 {
		t.Errorf("the keys were fetched %d times", o.idp.hits.Load())
	}
	if n := len(o.records.named(eventIssued)); n != 3 {
		t.Errorf("%d records of issued tokens", n)
	}
	var m metadata
	res := must(http.Get(o.url + "/.well-known/oauth-authorization-server"))
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil || !slices.Contains(m.GrantProfiles, profileIDJAG) || !slices.Contains(m.GrantTypes, grantJWTBearer) {
		t.Errorf("metadata %+v, %v", m, err)
	}
}

func TestAnAssertionThatIsRefused(t *testing.T) {
	o := newOffice(t, func(c *Config) {
		other := c.Enterprise[0]
		other.Issuer, other.Clients = "https://second.example", []string{"other"}
		c.Enterprise = append(c.Enterprise, other)
	})
	o.hold()
	now := o.clock().Unix()
	with := func(k string, v any) string { return o.assertion(map[string]any{k: v}) }
	life := func(issued, expires int64) string {
		return o.assertion(map[string]any{"iat": now + issued, "exp": now + expires})
	}
	es := o.idp.key("es")
	symmetric := func() string { // HS256 with the public key as the secret
		k := must(json.Marshal(es.Public()))
		return o.idp.sign(jose.JSONWebKey{KeyID: "es", Algorithm: "HS256", Key: k}, typeIDJAG, o.claims(nil))
	}
	unsigned := func() string {
		good := strings.Split(o.assertion(nil), ".")
		return "eyJhbGciOiJub25lIiwidHlwIjoib2F1dGgtaWQtamFnK2p3dCJ9." + good[1] + "."
	}
	renamed := es
	renamed.Key = o.idp.key("foreign").Key
	unnamed := o.idp.key("foreign")
	unnamed.KeyID = ""
	strange := es
	strange.KeyID = "../../etc/passwd' OR 1=1; http://evil.example/key"
	tests := map[string]string{
		"no JWT":                        "x",
		"alg none":                      unsigned(),
		"a symmetrical signature":       symmetric(),
		"an algorithm not on the list":  o.idp.sign(o.idp.keys[4], typeIDJAG, o.claims(nil)),
		"a key that isn't published":    o.idp.sign(o.idp.key("foreign"), typeIDJAG, o.claims(nil)),
		"a foreign key, a known kid":    o.idp.sign(renamed, typeIDJAG, o.claims(nil)),
		"a foreign key, no kid":         o.idp.sign(unnamed, typeIDJAG, o.claims(nil)),
		"a kid that is a path":          o.idp.sign(strange, typeIDJAG, o.claims(nil)),
		"changed after it was signed":   o.assertion(nil)[:40] + "A" + o.assertion(nil)[41:],
		"an ID token":                   o.idp.sign(es, "JWT", o.claims(nil)),
		"an access token":               o.idp.sign(es, "at+jwt", o.claims(nil)),
		"no typ":                        o.idp.sign(es, "", o.claims(nil)),
		"another issuer":                with("iss", "https://evil.example"),
		"an issuer with a slash more":   with("iss", o.idp.url+"/"),
		"an issuer for another client":  with("iss", "https://second.example"),
		"no issuer":                     with("iss", nil),
		"no subject":                    with("sub", nil),
		"an empty subject":              with("sub", ""),
		"a long subject":                with("sub", strings.Repeat("s", maxSubject+1)),
		"a numeric subject":             with("sub", 7),
		"Sub for sub":                   o.assertion(map[string]any{"sub": nil, "Sub": "u-1"}),
		"another audience":              with("aud", "https://other.example"),
		"us and another audience":       with("aud", []string{o.url, "https://other.example"}),
		"our token endpoint":            with("aud", o.url+"/oauth/token"),
		"our resource as the audience":  with("aud", o.url+"/mcp"),
		"no audience":                   with("aud", nil),
		"another client":                with("client_id", "other"),
		"no client":                     with("client_id", nil),
		"no jti":                        with("jti", nil),
		"a long jti":                    with("jti", strings.Repeat("j", maxSubject+1)),
		"expired":                       life(-120, -30),
		"no exp":                        with("exp", nil),
		"no iat":                        with("iat", nil),
		"an exp beyond all time":        with("exp", 9.3e18),
		"an exp that is a text":         with("exp", "soon"),
		"a negative iat":                with("iat", -5),
		"issued in the future":          life(31, 300),
		"not valid yet":                 with("nbf", now+31),
		"valid for over an hour":        life(0, 3601),
		"bound to a key":                with("cnf", map[string]string{"jkt": "x"}),
		"a resource of others":          with("resource", "https://other.example/mcp"),
		"a scope that isn't a text":     with("scope", []string{"mcp"}),
		"groups that are no texts":      with("groups", []int{1}),
		"too many groups":               with("groups", slices.Repeat([]string{"g"}, maxGroups+1)),
		"a group too long":              with("groups", []string{strings.Repeat("g", maxGroupBytes+1)}),
		"only scopes that aren't there": with("scope", "files"),
		"an empty scope":                with("scope", ""),
	}
	for name, assertion := range tests {
		t.Run(name, func(t *testing.T) {
			want := "invalid_grant"
			switch {
			case strings.Contains(name, "resource of others"):
				want = "invalid_target"
			case strings.Contains(name, "scope") && !strings.Contains(name, "text"):
				want = "invalid_scope"
			}
			status, a := o.redeem("agent", assertion)
			if status != 400 || a["error"] != want || a["access_token"] != nil {
				t.Errorf("%d %v, want %s", status, a, want)
			}
		})
	}
	if status, a := o.redeem("agent", ""); status != 400 || a["error"] != "invalid_request" {
		t.Errorf("no assertion: %d %v", status, a)
	}
	for name, assertion := range map[string]string{
		"30 s after its end":       life(-120, -29),
		"30 s before its start":    life(29, 300),
		"an hour":                  life(0, 3600),
		"as many groups as may be": with("groups", slices.Repeat([]string{"g"}, maxGroups)),
		"the longest subject":      with("sub", strings.Repeat("s", maxSubject)),
		"typ as a media type":      o.idp.sign(es, "application/OAuth-ID-JAG+jwt", o.claims(nil)),
		"an audience as a list":    with("aud", []string{o.url}),
	} {
		if status, a := o.redeem("agent", assertion); status != 200 {
			t.Errorf("%s: %d %v", name, status, a)
		}
	}
	if n := o.idp.hits.Load(); n > 2 {
		t.Errorf("unknown key ids caused %d fetches", n)
	}
	if all := must(o.Store.Users(t.Context())); len(all) != 4 { // alice, bob, u-1 and the longest
		t.Errorf("refused assertions made people: %d", len(all))
	}
}

func TestWhoMayPresentAnAssertion(t *testing.T) {
	o := newOffice(t)
	if status, a := o.redeem("plain", o.assertion(map[string]any{"client_id": "plain"})); status != 400 || a["error"] != "unauthorized_client" {
		t.Errorf("a client without the grant type: %d %v", status, a)
	}
	if status, a := o.redeem("web", o.assertion(map[string]any{"client_id": "web"})); status != 400 || a["error"] != "unauthorized_client" {
		t.Errorf("a public client: %d %v", status, a)
	}
	// Even if a record says that it may.
	must(o.Store.UpdateClient(t.Context(), "web", func(c *store.Client) error { c.GrantTypes = []string{grantJWTBearer}; return nil }))
	if status, a := o.redeem("web", o.assertion(map[string]any{"client_id": "web"})); status != 400 || a["error"] != "unauthorized_client" {
		t.Errorf("a public client with the grant type: %d %v", status, a)
	}
	off := newOffice(t, func(c *Config) { c.Enterprise = nil })
	if status, a := off.redeem("agent", off.assertion(nil)); status != 400 || a["error"] != "unsupported_grant_type" {
		t.Errorf("no enterprise: %d %v", status, a)
	}
}

func TestAnAssertionWorksOnce(t *testing.T) {
	o := newOffice(t)
	assertion := o.assertion(nil)
	var good, bad atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			switch status, a := o.redeem("agent", assertion); {
			case status == 200:
				good.Add(1)
			case status == 400 && a["error"] == "invalid_grant":
				bad.Add(1)
			default:
				t.Errorf("%d %v", status, a)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 || bad.Load() != 49 {
		t.Errorf("%d times good, %d times invalid_grant", good.Load(), bad.Load())
	}
	// As long as it would be valid, and a little longer.
	o.forward(5 * time.Minute)
	if status, _ := o.redeem("agent", assertion); status == 200 {
		t.Error("it worked again")
	}
}

func TestTheTokenIsForOneResource(t *testing.T) {
	o := newOffice(t)
	both := []string{o.url + "/mcp/github", o.url + "/mcp/wiki"}
	tests := map[string]struct {
		claim any
		asked string
		want  string // "" = invalid_target
	}{
		"neither":                {nil, "", "/mcp"},
		"asked":                  {nil, "/mcp/github", "/mcp/github"},
		"named":                  {o.url + "/mcp/github", "", "/mcp/github"},
		"both alike":             {o.url + "/mcp/github", "/mcp/github", "/mcp/github"},
		"both differ":            {o.url + "/mcp/github", "/mcp/wiki", ""},
		"asked for more":         {o.url + "/mcp/github", "/mcp", ""},
		"one of two":             {both, "/mcp/wiki", "/mcp/wiki"},
		"two, and none is asked": {both, "", ""},
		"not ours":               {"https://other.example/mcp", "", ""},
		"asked what is not ours": {nil, "/other", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var extra []string
			if tt.asked != "" {
				extra = []string{"resource", o.url + tt.asked}
			}
			status, a := o.redeem("agent", o.assertion(map[string]any{"resource": tt.claim}), extra...)
			if tt.want == "" {
				if status != 400 || a["error"] != "invalid_target" {
					t.Errorf("%d %v", status, a)
				}
				return
			}
			p, err := o.verified(a["access_token"], tt.want)
			if err != nil || p.Grant.Resource != o.url+tt.want {
				t.Fatalf("%d %v: %+v, %v", status, a, p, err)
			}
			if _, err := o.verified(a["access_token"], "/mcp/elsewhere"); (err == nil) != (tt.want == "/mcp") {
				t.Errorf("at another resource: %v", err)
			}
		})
	}
}

func TestScopesAreWhatBothAllow(t *testing.T) {
	o := newOffice(t)
	tests := []struct {
		claim       any
		asked, want string
	}{
		{nil, "", "mcp"},
		{nil, "heavy mcp", "mcp"}, // nobody consented to heavy
		{"mcp heavy", "", "mcp"},
		{"mcp heavy", "heavy", "heavy mcp"},
		{"mcp", "heavy mcp", "mcp"},
		{"heavy", "heavy mcp", "heavy"},
		{"mcp heavy other", "mcp other", "mcp"},
		{"mcp offline_access", "mcp offline_access", "mcp"},
	}
	for _, tt := range tests {
		if status, a := o.redeem("agent", o.assertion(map[string]any{"scope": tt.claim}), "scope", tt.asked); status != 200 || a["scope"] != tt.want {
			t.Errorf("allowed %v, asked %q: %d %v, want %q", tt.claim, tt.asked, status, a, tt.want)
		}
	}
}

func TestWhatTheProviderSaysNowCounts(t *testing.T) {
	o := newOffice(t, func(c *Config) { c.Enterprise[0].GroupsClaim = "roles" })
	_, a := o.redeem("agent", o.assertion(map[string]any{"roles": "admin"}))
	first, err := o.verified(a["access_token"], "/mcp")
	if err != nil || !slices.Equal(first.Groups, []string{"admin"}) {
		t.Fatalf("%+v, %v", first, err)
	}
	// No claim: no groups, and the tokens of before follow.
	if status, _ := o.redeem("agent", o.assertion(map[string]any{"name": nil})); status != 200 {
		t.Fatal(status)
	}
	select {
	case <-first.Ended:
	default:
		t.Error("a principal with groups of before still stands")
	}
	again, err := o.verified(a["access_token"], "/mcp")
	if err != nil || len(again.Groups) != 0 || again.Name != "Eve Ny" {
		t.Errorf("%+v, %v", again, err)
	}
	id := o.idp.url + ":u-1"
	must(o.Store.UpdateUser(t.Context(), id, func(u *store.User) error { u.Disabled = true; return nil }))
	o.Changed(id)
	if _, err := o.verified(a["access_token"], "/mcp"); err == nil {
		t.Error("a disabled person's token works")
	}
	if status, a := o.redeem("agent", o.assertion(nil)); status != 400 || a["error"] != "invalid_grant" {
		t.Errorf("a disabled person: %d %v", status, a)
	}
}

// TestLostGroupsAreLostEvenIfNoTokenFollowsTheAssertion: the log fails after the provider
// has spoken.
func TestLostGroupsAreLostEvenIfNoTokenFollowsTheAssertion(t *testing.T) {
	o := newOffice(t)
	_, a := o.redeem("agent", o.assertion(nil))
	o.records.mu.Lock()
	o.records.err = audit.ErrUnavailable
	o.records.mu.Unlock()
	if status, a := o.redeem("agent", o.assertion(map[string]any{"groups": nil})); status != 503 || a["access_token"] != nil {
		t.Errorf("%d %v", status, a)
	}
	if p, err := o.verified(a["access_token"], "/mcp"); err != nil || len(p.Groups) != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestAProviderThatIsDownIsNoBadAssertion(t *testing.T) {
	o := newOffice(t)
	o.idp.down.Store(true)
	if status, a := o.redeem("agent", o.assertion(nil)); status != 503 || a["error"] != "temporarily_unavailable" {
		t.Errorf("%d %v", status, a)
	}
}

func TestAnEnterpriseThatCantWorkIsRefusedAtStart(t *testing.T) {
	good := EnterpriseIssuer{Issuer: "https://idp.example", JWKSURI: "https://idp.example/keys"}
	for name, list := range map[string][]EnterpriseIssuer{
		"no issuer":         {{JWKSURI: good.JWKSURI}},
		"no keys":           {{Issuer: good.Issuer}},
		"keys over http":    {{Issuer: good.Issuer, JWKSURI: "http://idp.example/keys"}},
		"keys in a file":    {{Issuer: good.Issuer, JWKSURI: "file:///keys"}},
		"an issuer by name": {{Issuer: "local", JWKSURI: good.JWKSURI}},
		"twice":             {good, good},
	} {
		if checkEnterprise(list, &client.Registry{}) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := checkEnterprise([]EnterpriseIssuer{good}, &client.Registry{}); err != nil {
		t.Error(err)
	}
}
