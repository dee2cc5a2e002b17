package authserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/store"
)

// machine is a client that acts for itself, with a secret or with keys.
func withMachines(t *testing.T, key *ecdsa.PrivateKey) func(*house, *Config) {
	return func(_ *house, c *Config) {
		own := []string{"client_credentials"}
		set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}}
		for _, m := range []store.Client{
			{ID: "basic", Kind: client.Static, AuthMethod: "client_secret_basic", SecretHash: client.SecretHash("s3cret&="), GrantTypes: own, Scopes: []string{"heavy"}},
			{ID: "keyed", Kind: client.Static, AuthMethod: "private_key_jwt", Keys: must(json.Marshal(set)), GrantTypes: own},
			{ID: "public", Kind: client.Static, AuthMethod: "none", GrantTypes: own},
		} {
			must(0, c.Store.CreateClient(t.Context(), m, 0))
		}
	}
}

// TestClientsThatActForThemselves: client_credentials, by secret (RFC 6749 2.3.1,
// 4.4).
func TestClientsThatActForThemselves(t *testing.T) {
	h := newHouse(t, withMachines(t, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))
	basic := func(id, secret string) []string {
		r := must(http.NewRequest("GET", "/", nil))
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	own := func(more ...string) url.Values {
		v := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	good := h.ask("/oauth/token", own("scope", "heavy"), basic("basic", "s3cret&=")...)
	if good.StatusCode != 200 || good.body["refresh_token"] != nil || good.body["scope"] != "heavy mcp" {
		t.Fatalf("%d %v", good.StatusCode, good.body)
	}
	if p := must(h.at("/mcp", good.body)); p.ID() != "client:basic" || p.Client.ID != "basic" || len(p.Groups) != 0 {
		t.Errorf("%+v", p)
	}
	if a := h.ask("/oauth/token", own("client_id", "basic", "client_secret", "s3cret&=")); a.StatusCode != 200 {
		t.Errorf("secret in the body: %v", a.body)
	}
	for name, c := range map[string]struct {
		form   url.Values
		header []string
		status int
		want   string
	}{
		"a wrong secret":           {own(), basic("basic", "s3cret"), 401, "invalid_client"},
		"an unknown client":        {own(), basic("nobody", "s3cret&="), 401, "invalid_client"},
		"no secret":                {own("client_id", "basic"), nil, 401, "invalid_client"},
		"no client":                {own(), nil, 401, "invalid_client"},
		"a bearer":                 {own(), []string{"Authorization", "Bearer x"}, 401, "invalid_client"},
		"two ways":                 {own("client_id", "basic", "client_secret", "s3cret&="), basic("basic", "s3cret&="), 400, "invalid_request"},
		"two ids":                  {own("client_id", "web"), basic("basic", "s3cret&="), 400, "invalid_request"},
		"a public client":          {own("client_id", "public"), nil, 400, "unauthorized_client"},
		"a secret of a public one": {own("client_id", "public", "client_secret", "x"), nil, 401, "invalid_client"},
		"a scope it may not have":  {own("scope", "offline_access"), basic("basic", "s3cret&="), 400, "invalid_scope"},
		"an unknown scope":         {own("scope", "admin"), basic("basic", "s3cret&="), 400, "invalid_scope"},
		"a foreign resource":       {own("resource", "https://evil.example/"), basic("basic", "s3cret&="), 400, "invalid_target"},
		"a code, which it may not": {own("grant_type", "authorization_code"), basic("basic", "s3cret&="), 400, "unauthorized_client"},
		"an assertion of no kind":  {own("client_id", "keyed", "client_assertion", "x"), nil, 400, "invalid_request"},
		"an assertion, other kind": {own("client_id", "keyed", "client_assertion", "x", "client_assertion_type", "saml"), nil, 400, "invalid_request"},
		"a secret of a keyed one":  {own("client_id", "keyed", "client_secret", "x"), nil, 401, "invalid_client"},
	} {
		a := h.ask("/oauth/token", c.form, c.header...)
		if a.StatusCode != c.status || a.word() != c.want || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v, want %d %s", name, a.StatusCode, a.body, c.status, c.want)
		}
		if www := a.Header.Get("WWW-Authenticate"); a.StatusCode == 401 && c.header != nil && !strings.HasPrefix(www, "Basic ") {
			t.Errorf("%s: WWW-Authenticate %q", name, www)
		}
	}
}

// TestClientAssertions (RFC 7523 3): signed by the client, for this server,
// now, once.
// Security catalogue A-025.
func TestClientAssertions(t *testing.T) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	h := newHouse(t, withMachines(t, key))
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	n := 0
	sign := func(k any, alg jose.SignatureAlgorithm, id string, change map[string]any) string {
		n++
		claims := map[string]any{"iss": "keyed", "sub": "keyed", "aud": h.url, "exp": h.clock().Add(time.Minute).Unix(), "jti": fmt.Sprint(n)}
		for name, v := range change {
			if claims[name] = v; v == nil {
				delete(claims, name)
			}
		}
		signer := must(jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: k, KeyID: id}}, nil))
		return must(must(signer.Sign(must(json.Marshal(claims)))).CompactSerialize())
	}
	form := func(assertion string) url.Values {
		return url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {assertionType}, "client_assertion": {assertion}}
	}
	for name, aud := range map[string]any{"issuer": h.url, "endpoint": h.url + "/oauth/token", "a list": []string{"x", h.url}, "another loopback name": strings.Replace(h.url, "127.0.0.1", "localhost", 1)} {
		if a := h.ask("/oauth/token", form(sign(key, jose.ES256, "k1", map[string]any{"aud": aud}))); a.StatusCode != 200 {
			t.Errorf("%s: %d %v", name, a.StatusCode, a.body)
		}
	}
	once := sign(key, jose.ES256, "k1", nil)
	if a := h.ask("/oauth/token", form(once)); a.StatusCode != 200 {
		t.Fatalf("%v", a.body)
	}
	public := must(json.Marshal(jose.JSONWebKey{Key: &key.PublicKey}))
	for name, assertion := range map[string]string{
		"used before":            once,
		"another key":            sign(other, jose.ES256, "k1", nil),
		"unknown key id":         sign(key, jose.ES256, "k2", nil),
		"a public key as secret": sign(public, jose.HS256, "k1", nil),
		"no signature":           "eyJhbGciOiJub25lIn0." + strings.Split(once, ".")[1] + ".",
		"rubbish":                "x.y.z",
		"another issuer":         sign(key, jose.ES256, "k1", map[string]any{"iss": "basic"}),
		"another client":         sign(key, jose.ES256, "k1", map[string]any{"iss": "basic", "sub": "basic"}),
		"another audience":       sign(key, jose.ES256, "k1", map[string]any{"aud": "https://evil.example"}),
		"a longer audience":      sign(key, jose.ES256, "k1", map[string]any{"aud": h.url + "/mcp"}),
		"no audience":            sign(key, jose.ES256, "k1", map[string]any{"aud": nil}),
		"expired":                sign(key, jose.ES256, "k1", map[string]any{"exp": h.clock().Add(-clockSkew - time.Second).Unix()}),
		"no end":                 sign(key, jose.ES256, "k1", map[string]any{"exp": nil}),
		"too long":               sign(key, jose.ES256, "k1", map[string]any{"exp": h.clock().Add(maxAssertionLife + time.Minute).Unix()}),
		"never ends":             sign(key, jose.ES256, "k1", map[string]any{"exp": 1e300}),
		"not yet":                sign(key, jose.ES256, "k1", map[string]any{"nbf": h.clock().Add(5 * time.Minute).Unix()}),
		"no id":                  sign(key, jose.ES256, "k1", map[string]any{"jti": nil}),
	} {
		if a := h.ask("/oauth/token", form(assertion)); a.StatusCode != 401 || a.word() != "invalid_client" {
			t.Errorf("%s: %d %v", name, a.StatusCode, a.body)
		}
	}
	shared := sign(key, jose.ES256, "k1", nil)
	var wins sync.Map
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if h.ask("/oauth/token", form(shared)).StatusCode == 200 {
				wins.Store(i, true)
			}
		})
	}
	all.Wait()
	count := 0
	wins.Range(func(any, any) bool { count++; return true })
	if count != 1 {
		t.Errorf("one assertion worked %d times", count)
	}
}

// TestWhatTheShellRefuses: at every endpoint that takes a form.
func TestWhatTheShellRefuses(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("x", maxForm)
	many := strings.Repeat("&a=b", maxParameters)
	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/par"} {
		for name, c := range map[string]struct {
			method, query, kind, body string
			status                    int
		}{
			"GET":                 {"GET", "", "", "", 405},
			"PUT":                 {"PUT", "", "application/x-www-form-urlencoded", "client_id=loop", 405},
			"a query":             {"POST", "?client_id=loop", "application/x-www-form-urlencoded", "client_id=loop", 400},
			"an empty query":      {"POST", "?", "application/x-www-form-urlencoded", "client_id=loop", 400},
			"JSON":                {"POST", "", "application/json", `{"client_id":"loop"}`, 400},
			"multipart":           {"POST", "", "multipart/form-data; boundary=x", "--x--", 400},
			"no type":             {"POST", "", "", "client_id=loop", 400},
			"client_id twice":     {"POST", "", "application/x-www-form-urlencoded", "client_id=loop&client_id=loop", 400},
			"grant_type twice":    {"POST", "", "application/x-www-form-urlencoded", "client_id=loop&grant_type=refresh_token&grant_type=", 400},
			"token twice":         {"POST", "", "application/x-www-form-urlencoded", "client_id=loop&token=a&token=b", 400},
			"semicolons":          {"POST", "", "application/x-www-form-urlencoded", "client_id=loop;x=y", 400},
			"a NUL":               {"POST", "", "application/x-www-form-urlencoded", "client_id=loop%00", 400},
			"a newline":           {"POST", "", "application/x-www-form-urlencoded", "client_id=loop%0a", 400},
			"broken UTF-8":        {"POST", "", "application/x-www-form-urlencoded", "client_id=%ff", 400},
			"over the limit":      {"POST", "", "application/x-www-form-urlencoded", "a=" + long, 413},
			"too many parameters": {"POST", "", "application/x-www-form-urlencoded", "client_id=loop" + many, 400},
		} {
			r := must(http.NewRequest(c.method, h.url+path+c.query, strings.NewReader(c.body)))
			if c.kind != "" {
				r.Header.Set("Content-Type", c.kind)
			}
			if a := h.send(r); a.StatusCode != c.status || a.word() != "invalid_request" || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %s: %d %v", path, name, a.StatusCode, a.body)
			}
		}
		r := must(http.NewRequest("OPTIONS", h.url+path, nil))
		r.Header.Set("Origin", "https://inspector.example")
		if a := h.send(r); a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: preflight %d %v", path, a.StatusCode, a.Header)
		}
	}
	under, oerr := parseParameters("a=b" + strings.Repeat("&resource=x", maxParameters-1))
	if oerr != nil || len(under["resource"]) != maxParameters-1 {
		t.Errorf("at the limit of parameters: %v", oerr)
	}
}

// FuzzParameters: whatever is parsed has each parameter once, with a value of
// plain text; encoding it and parsing it again gives the same.
func FuzzParameters(f *testing.F) {
	for _, seed := range []string{"a=b", "a=b&a=c", "resource=x&resource=y", "a=&b", "%zz", "a;b", "a=%00", "a=%ff", "", "&&&", "client_id=x&scope=a+b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		v, oerr := parseParameters(raw)
		if oerr != nil {
			return
		}
		for name, values := range v {
			if len(values) == 0 || len(values) > 1 && name != "resource" {
				t.Fatalf("%q has %d values", name, len(values))
			}
			for _, value := range values {
				if value == "" || strings.ContainsAny(name+value, "\x00\r\n\x7f") {
					t.Fatalf("%q=%q", name, value)
				}
			}
		}
		if again, oerr := parseParameters(v.Encode()); oerr != nil || again.Encode() != v.Encode() {
			t.Fatalf("%q: parsed again %q, %v", raw, again.Encode(), oerr)
		}
	})
}

// FuzzResource: what is accepted is one of ours, and canonical already.
func FuzzResource(f *testing.F) {
	s := &Server{Config: Config{Issuer: "https://gw.example"}, issuer: must(url.Parse("https://gw.example"))}
	for _, seed := range []string{"https://gw.example/mcp", "https://gw.example/mcp/a", "HTTPS://GW.EXAMPLE:443/mcp/", "https://gw.example/mcp/%61", "https://gw.example\\@evil/mcp"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		got := s.resource(asked)
		if got == "" {
			return
		}
		if path := strings.TrimPrefix(got, s.Issuer); !resourcePath(path) || s.resource(got) != got {
			t.Fatalf("%q became %q", asked, got)
		}
		if u, err := url.Parse(asked); err != nil || !strings.EqualFold(u.Hostname(), "gw.example") {
			t.Fatalf("%q was taken for ours", asked)
		}
	})
}
