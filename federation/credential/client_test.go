package credential

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
)

// company is an authorization server and an upstream that it protects.
type company struct {
	t     *testing.T
	as    *httptest.Server
	up    *httptest.Server
	docs  map[string]string // path → document, on both; {as} and {up} are their addresses
	token func(w http.ResponseWriter, r *http.Request, n int64)

	challenge string // WWW-Authenticate
	tokens    atomic.Int64
	mu        sync.Mutex
	asked     []url.Values
	basic     []string
	asks      []string // paths
}

func newCompany(t *testing.T) *company {
	c := &company{t: t, docs: map[string]string{
		"/.well-known/oauth-authorization-server":   `{"issuer":"{as}","token_endpoint":"{as}/token"}`,
		"/.well-known/oauth-protected-resource/mcp": `{"resource":"{up}/mcp","authorization_servers":["{as}"],"scopes_supported":["from-prm"]}`,
	}}
	c.token = func(w http.ResponseWriter, _ *http.Request, n int64) {
		fmt.Fprintf(w, `{"access_token":"access-token-%d","token_type":"Bearer","expires_in":3600}`, n)
	}
	c.as = httptest.NewServer(c.serve(true))
	c.up = httptest.NewServer(c.serve(false))
	t.Cleanup(c.as.Close)
	t.Cleanup(c.up.Close)
	return c
}

func (c *company) serve(isAS bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		c.asks = append(c.asks, r.URL.Path)
		doc, known := c.docs[r.URL.Path]
		switch {
		case isAS && r.URL.Path == "/token":
			r.ParseForm()
			c.asked = append(c.asked, r.PostForm)
			c.basic = append(c.basic, r.Header.Get("Authorization"))
			c.token(w, r, c.tokens.Add(1))
		case known:
			strings.NewReplacer("{as}", c.as.URL, "{up}", c.up.URL).WriteString(w, doc)
		case !isAS && r.URL.Path == "/mcp":
			w.Header().Set("WWW-Authenticate", strings.ReplaceAll(c.challenge, "{up}", c.up.URL))
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}
}

func (c *company) entry(change ...func(*catalogs.OAuthClient)) *catalogs.Upstream {
	u := &catalogs.Upstream{Name: "up", URL: c.up.URL + "/mcp", Source: catalogs.Position{File: "catalogs/up.yaml", Line: 3},
		Auth: catalogs.Auth{Type: catalogs.AuthClientCredentials, Client: catalogs.OAuthClient{
			ID: "me&co", Secret: "the-clients-secret%", How: catalogs.ClientBasic, Issuer: c.as.URL,
		}}}
	for _, f := range change {
		f(&u.Auth.Client)
	}
	return u
}

// plain makes clients without a guard, which is the federation's to test.
func plain(*catalogs.Upstream, string) (*http.Client, error) {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

func taken(t *testing.T, u *catalogs.Upstream, now func() time.Time) Credential {
	t.Helper()
	c, err := (&Keeper{Outbound: plain, Now: now}).Credential(t.Context(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bearer is what c puts into a request to u.
func bearer(ctx context.Context, c Credential, u *catalogs.Upstream) (string, error) {
	r := request(u.URL).WithContext(ctx)
	err := c.Authorize(r)
	return r.Header.Get("Authorization"), err
}

func TestATokenIsAskedForAsTheEntryAndTheMetadataSay(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("me%26co:the-clients-secret%25")) // RFC 6749 2.3.1
	for name, tt := range map[string]struct {
		change func(*catalogs.OAuthClient)
		set    func(*company)
		basic  string
		want   string // form, encoded
	}{
		"client_secret_basic, scopes and resource from the metadata": {basic: basic, want: "grant_type=client_credentials&resource={up}/mcp&scope=from-prm"},
		"client_secret_post": {
			change: func(c *catalogs.OAuthClient) { c.How = catalogs.ClientPost },
			want:   "client_id=me&co&client_secret=the-clients-secret%&grant_type=client_credentials&resource={up}/mcp&scope=from-prm",
		},
		"scopes of the challenge come before those of the metadata": {
			set: func(c *company) { c.challenge = `Bearer error="invalid_token", scope="one two"` }, basic: basic,
			want: "grant_type=client_credentials&resource={up}/mcp&scope=one two",
		},
		"scopes of the entry come first": {
			change: func(c *catalogs.OAuthClient) { c.Scopes = []string{"mine"} },
			set:    func(c *company) { c.challenge = `Bearer scope="one two"` }, basic: basic,
			want: "grant_type=client_credentials&resource={up}/mcp&scope=mine",
		},
		"the challenge names the metadata": {
			set: func(c *company) {
				c.challenge = `Bearer resource_metadata="{up}/elsewhere"`
				c.docs["/elsewhere"] = `{"resource":"{up}","authorization_servers":["{as}"]}`
			}, basic: basic,
			want: "grant_type=client_credentials&resource={up}",
		},
		"an upstream without metadata": {
			set: func(c *company) { delete(c.docs, "/.well-known/oauth-protected-resource/mcp") }, basic: basic,
			want: "grant_type=client_credentials&resource={up}/mcp",
		},
		"a token endpoint of the operator's": {
			change: func(c *catalogs.OAuthClient) { c.TokenURL, c.Issuer = c.Issuer+"/token", "" },
			set:    func(c *company) { clear(c.docs) }, basic: basic,
			want: "grant_type=client_credentials&resource={up}/mcp",
		},
		"an issuer with OpenID Connect metadata alone": {
			set: func(c *company) {
				c.docs["/.well-known/openid-configuration"] = c.docs["/.well-known/oauth-authorization-server"]
				delete(c.docs, "/.well-known/oauth-authorization-server")
			}, basic: basic,
			want: "grant_type=client_credentials&resource={up}/mcp&scope=from-prm",
		},
	} {
		c := newCompany(t)
		if tt.set != nil {
			tt.set(c)
		}
		change := tt.change
		if change == nil {
			change = func(*catalogs.OAuthClient) {}
		}
		u := c.entry(change)
		cred := taken(t, u, nil)
		got, err := bearer(t.Context(), cred, u)
		if err != nil || got != "Bearer access-token-1" || cred.ID != "up/client_credentials" {
			t.Errorf("%s: %q %v", name, got, err)
			continue
		}
		form, _ := url.QueryUnescape(c.asked[0].Encode())
		if want := strings.ReplaceAll(tt.want, "{up}", c.up.URL); form != want || c.basic[0] != tt.basic {
			t.Errorf("%s:\n%s, %s\nwant %s", name, form, c.basic[0], want)
		}
		if m := cred.Mask(); m.Text("access-token-1 the-clients-secret%") != hidden+" "+hidden {
			t.Errorf("%s: not masked: %s", name, m.Text("access-token-1 the-clients-secret%"))
		}
	}
}

// E1, E3, cases A-064: the secret goes where the operator said, or nowhere.
func TestNoSecretGoesToAnotherServerThanTheOperatorsOwn(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*company)
		want string
	}{
		"metadata of another issuer": {func(c *company) {
			c.docs["/.well-known/oauth-authorization-server"] = `{"issuer":"{as}/","token_endpoint":"{as}/token"}`
		}, "another issuer's"},
		"a token endpoint elsewhere": {func(c *company) {
			c.docs["/.well-known/oauth-authorization-server"] = `{"issuer":"{as}","token_endpoint":"{up}/token"}`
		}, "another origin"},
		"no token endpoint": {func(c *company) { c.docs["/.well-known/oauth-authorization-server"] = `{"issuer":"{as}"}` }, "or none"},
		"no metadata":       {func(c *company) { delete(c.docs, "/.well-known/oauth-authorization-server") }, "no metadata"},
		"metadata that is too large": {func(c *company) {
			c.docs["/.well-known/oauth-authorization-server"] = strings.Repeat(" ", maxMetadata+1)
		}, "over 65536 bytes"},
		"metadata that is no JSON": {func(c *company) { c.docs["/.well-known/oauth-authorization-server"] = "<html>" }, "no JSON"},
		"a resource that is another": {func(c *company) {
			c.docs["/.well-known/oauth-protected-resource/mcp"] = `{"resource":"{up}/other","authorization_servers":["{as}"]}`
		}, "another resource"},
		"a resource on another host": {func(c *company) {
			c.docs["/.well-known/oauth-protected-resource/mcp"] = `{"resource":"{as}/mcp","authorization_servers":["{as}"]}`
		}, "another resource"},
		"an upstream of other issuers": {func(c *company) {
			c.docs["/.well-known/oauth-protected-resource/mcp"] = `{"resource":"{up}/mcp","authorization_servers":["{up}"]}`
		}, "doesn't take tokens of the entry's issuer"},
	} {
		c := newCompany(t)
		tt.set(c)
		u := c.entry()
		_, err := bearer(t.Context(), taken(t, u, nil), u)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "catalogs/up.yaml:3") {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		if c.tokens.Load() != 0 {
			t.Errorf("%s: the secret was sent", name)
		}
	}
	c := newCompany(t)
	c.challenge = `Bearer resource_metadata="` + c.as.URL + `/elsewhere"`
	u := c.entry()
	if _, err := bearer(t.Context(), taken(t, u, nil), u); err != nil || strings.Contains(fmt.Sprint(c.asks), "elsewhere") {
		t.Error("metadata of another origin was asked for", err, c.asks)
	}
	if _, err := bearer(t.Context(), taken(t, u, nil), keyed("https://elsewhere.example/mcp")); err == nil {
		t.Error("a token went to another origin")
	}
}

func TestARefusedTokenRequestIsSaidInOurWords(t *testing.T) {
	for answer, want := range map[string]string{
		`401 {"error":"invalid_client","error_description":"SECRET the-clients-secret%"}`: "HTTP 401 invalid_client: check clientId",
		`400 {"error":"invalid_scope"}`:       "check scopes",
		`400 {"error":"invalid_target"}`:      "invalid_target",
		`400 {"error":"unauthorized_client"}`: "not registered for the grant",
		`400 {"error":"SECRET"}`:              "HTTP 400",
		`500 SECRET`:                          "HTTP 500",
		`302 SECRET`:                          "HTTP 302",
		`200 {"access_token":"SECRET-TOKEN","token_type":"DPoP"}`:     "something else than a bearer token",
		`200 {"access_token":"SECRET\r\nX: y","token_type":"bearer"}`: "something else than a bearer token",
		`200 {"token_type":"Bearer"}`:                                 "no usable answer",
		`200 SECRET`:                                                  "no usable answer",
	} {
		c := newCompany(t)
		c.token = func(w http.ResponseWriter, r *http.Request, _ int64) {
			var status int
			fmt.Sscan(answer, &status)
			w.Header().Set("Location", c.up.URL+"/stolen")
			w.WriteHeader(status)
			fmt.Fprint(w, answer[4:])
		}
		u := c.entry()
		_, err := bearer(t.Context(), taken(t, u, nil), u)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "the-clients") {
			t.Errorf("%s: %v", answer, err)
		}
		if strings.Contains(fmt.Sprint(c.asks), "stolen") {
			t.Error("a redirect was followed")
		}
	}
}

func TestATokenIsRenewedBeforeItsEndOnceForAll(t *testing.T) {
	var clock atomic.Int64
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	c := newCompany(t)
	u := c.entry()
	cred := taken(t, u, now)
	all := func(want string) {
		t.Helper()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got, err := bearer(t.Context(), cred, u); err != nil || got != want {
					t.Errorf("%q %v, want %s", got, err, want)
				}
			})
		}
		wg.Wait()
	}
	all("Bearer access-token-1")
	clock.Add(3569) // 31 s before its end
	all("Bearer access-token-1")
	if n := c.tokens.Load(); n != 1 {
		t.Fatalf("%d tokens", n)
	}
	clock.Add(2) // 29 s before it: renewed beside the calls
	if _, err := bearer(t.Context(), cred, u); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if got, _ := bearer(t.Context(), cred, u); got == "Bearer access-token-2" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not renewed")
		}
	}
	clock.Add(3600) // at its end
	all("Bearer access-token-3")
	if n := c.tokens.Load(); n != 3 {
		t.Errorf("%d tokens", n)
	}
	if m := cred.Mask(); m.Text("access-token-2, access-token-3") != hidden+", "+hidden {
		t.Error("the token before this one is not masked")
	}
}

// case A-070.
func TestARefusedTokenIsReplacedOnceForAllAndNotAgainAtOnce(t *testing.T) {
	var clock atomic.Int64
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	c := newCompany(t)
	u := c.entry()
	cred := taken(t, u, now)
	refused := request(u.URL).WithContext(t.Context())
	if err := cred.Authorize(refused); err != nil {
		t.Fatal(err)
	}
	if cred.Renew(refused) {
		t.Error("a token that is seconds old was given up")
	}
	clock.Add(10)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if !cred.Renew(refused) {
				t.Error("no other token")
			}
			if got, err := bearer(t.Context(), cred, u); err != nil || got != "Bearer access-token-2" {
				t.Errorf("%q %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := c.tokens.Load(); n != 2 {
		t.Errorf("%d tokens", n)
	}
}

func TestACallerWhoGivesUpDoesNotSpoilTheToken(t *testing.T) {
	c := newCompany(t)
	release := make(chan bool)
	c.token = func(w http.ResponseWriter, _ *http.Request, n int64) {
		<-release
		fmt.Fprintf(w, `{"access_token":"access-token-%d","token_type":"bearer"}`, n)
	}
	u := c.entry()
	cred := taken(t, u, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bearer(ctx, cred, u); err == nil {
		t.Error("a cancelled caller got a token")
	}
	close(release)
	if got, err := bearer(t.Context(), cred, u); err != nil || got != "Bearer access-token-1" {
		t.Errorf("%q %v", got, err)
	}
}

func TestAClientAssertionIsSignedForTheServer(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	verify := map[string]func(text, sig []byte) bool{
		"RS256": func(text, sig []byte) bool {
			sum := sha256.Sum256(text)
			return rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, sum[:], sig) == nil
		},
		"ES256": func(text, sig []byte) bool {
			sum := sha256.Sum256(text)
			return len(sig) == 64 && ecdsa.Verify(&ecKey.PublicKey, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		},
		"EdDSA": func(text, sig []byte) bool { return ed25519.Verify(edPublic, text, sig) },
	}
	for alg, key := range map[string]any{"RS256": rsaKey, "ES256": ecKey, "EdDSA": edKey} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		c := newCompany(t)
		u := c.entry(func(o *catalogs.OAuthClient) {
			o.Secret, o.How = "", ""
			o.Key = catalogs.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		})
		if got, err := bearer(t.Context(), taken(t, u, nil), u); err != nil || got != "Bearer access-token-1" {
			t.Fatalf("%s: %q %v", alg, got, err)
		}
		form := c.asked[0]
		parts := strings.Split(form.Get("client_assertion"), ".")
		if len(parts) != 3 || form.Get("client_id") != "me&co" || form.Has("client_secret") || c.basic[0] != "" ||
			form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.Fatalf("%s: %v", alg, form)
		}
		sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
		if !verify[alg]([]byte(parts[0]+"."+parts[1]), sig) {
			t.Errorf("%s: wrong signature", alg)
		}
		var claims struct {
			Iss, Sub, Aud, JTI string
			Exp                int64
		}
		raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
		json.Unmarshal(raw, &claims)
		if left := time.Until(time.Unix(claims.Exp, 0)); claims.Iss != "me&co" || claims.Sub != "me&co" || claims.Aud != c.as.URL || claims.JTI == "" || left > assertionTime {
			t.Errorf("%s: %s", alg, raw)
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		if _, _, err := privateKey(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(small)})); err == nil {
			t.Error("an RSA key of 1024 bits was taken")
		}
	}
	if _, _, err := privateKey([]byte("nonsense")); err == nil {
		t.Error("nonsense was taken for a key")
	}
}

func BenchmarkTakingAToken(b *testing.B) {
	g := &grant{at: &url.URL{Scheme: "https", Host: "a.example"}, now: time.Now}
	g.token.Store(&token{header: []string{"Bearer x"}, until: time.Now().Add(time.Hour), renew: time.Now().Add(time.Hour)})
	r := request("https://a.example/mcp")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := &http.Request{URL: r.URL, Header: http.Header{}}
		for pb.Next() {
			if err := g.authorize(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
