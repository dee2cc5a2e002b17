package login

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// company is an OpenID Connect provider: discovery, code with PKCE, ID tokens,
// userinfo, refresh tokens that rotate. Its fields turn it into a broken or a
// hostile one.
type company struct {
	*httptest.Server
	key, foreign *rsa.PrivateKey

	mu        sync.Mutex
	codes     map[string]url.Values     // code to what was asked
	refreshes map[string]string         // refresh token to subject
	people    map[string]map[string]any // subject to claims; gone = unknown
	info      map[string]map[string]any // userinfo, where it differs
	asked     []url.Values              // at the token endpoint

	subject  string                           // who signs in next
	discover func(map[string]any)             // changes the metadata
	claims   func(map[string]any)             // changes the next ID tokens
	sign     func() (*rsa.PrivateKey, string) // changes key and algorithm
	token    func(http.ResponseWriter) bool   // answers the token endpoint instead
	answer   func(url.Values)                 // changes what comes back through the browser
	noID     bool                             // a refresh brings no ID token
}

var companyKeys = sync.OnceValue(func() [2]*rsa.PrivateKey {
	var k [2]*rsa.PrivateKey
	for i := range k {
		var err error
		if k[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return k
})

func newCompany(t *testing.T) *company {
	t.Helper()
	c := &company{
		key: companyKeys()[0], foreign: companyKeys()[1], subject: "s-1",
		codes: map[string]url.Values{}, refreshes: map[string]string{}, info: map[string]map[string]any{},
		people: map[string]map[string]any{
			"s-1": {"name": "Alice Baker", "groups": []string{"staff", "engineering"}, "amr": []string{"pwd", "mfa"}},
			"s-2": {"preferred_username": "bob", "groups": "sales"},
		},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", c.metadata)
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		send(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &c.key.PublicKey, KeyID: "k", Use: "sig", Algorithm: "RS256"}}})
	})
	mux.HandleFunc("POST /token", c.exchange)
	mux.HandleFunc("GET /userinfo", c.userinfo)
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

func send(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (c *company) metadata(w http.ResponseWriter, _ *http.Request) {
	doc := map[string]any{
		"issuer": c.URL, "authorization_endpoint": c.URL + "/auth", "token_endpoint": c.URL + "/token",
		"jwks_uri": c.URL + "/jwks", "userinfo_endpoint": c.URL + "/userinfo",
		"id_token_signing_alg_values_supported": []string{"RS256"}, "scopes_supported": []string{"openid", "offline_access"},
		"authorization_response_iss_parameter_supported": true,
	}
	if c.discover != nil {
		c.discover(doc)
	}
	send(w, 200, doc)
}

// visit plays the person's browser at the authorization endpoint: what comes
// back is the query of the redirect.
func (c *company) visit(address string) url.Values {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	code := rand.Text()
	asked := u.Query()
	asked.Set("sub", c.subject)
	c.codes[code] = asked
	answer := url.Values{"code": {code}, "state": {asked.Get("state")}, "iss": {c.URL}}
	if c.answer != nil {
		c.answer(answer)
	}
	return answer
}

func (c *company) exchange(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = r.ParseForm()
	c.asked = append(c.asked, r.PostForm)
	if c.token != nil && c.token(w) {
		return
	}
	if id, secret, ok := r.BasicAuth(); !ok || id != "gateway" || secret != "s3cret" {
		send(w, 401, map[string]any{"error": "invalid_client"})
		return
	}
	subject, nonce := "", ""
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		asked, ok := c.codes[r.PostForm.Get("code")]
		delete(c.codes, r.PostForm.Get("code"))
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		if !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") || r.PostForm.Get("redirect_uri") != asked.Get("redirect_uri") {
			send(w, 400, map[string]any{"error": "invalid_grant"})
			return
		}
		subject, nonce = asked.Get("sub"), asked.Get("nonce")
	case "refresh_token":
		subject = c.refreshes[r.PostForm.Get("refresh_token")]
		delete(c.refreshes, r.PostForm.Get("refresh_token"))
	}
	if c.people[subject] == nil {
		send(w, 400, map[string]any{"error": "invalid_grant"})
		return
	}
	refresh := rand.Text()
	c.refreshes[refresh] = subject
	v := map[string]any{"access_token": "at-" + subject, "token_type": "Bearer", "refresh_token": refresh, "expires_in": 300}
	if !c.noID {
		v["id_token"] = c.idToken(subject, nonce)
	}
	send(w, 200, v)
}

func (c *company) idToken(subject, nonce string) string {
	claims := map[string]any{"iss": c.URL, "sub": subject, "aud": "gateway", "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix()}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	for k, v := range c.people[subject] {
		claims[k] = v
	}
	if c.claims != nil {
		c.claims(claims)
	}
	key := any(c.key)
	alg := jose.RS256
	if c.sign != nil {
		k, name := c.sign()
		if key = k; name == "HS256" {
			key, alg = []byte("a secret of thirty-two bytes or more"), jose.HS256
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		panic(err)
	}
	raw, _ := json.Marshal(claims)
	signed, err := signer.Sign(raw)
	if err != nil {
		panic(err)
	}
	s, _ := signed.CompactSerialize()
	return s
}

func (c *company) userinfo(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	subject := r.Header.Get("Authorization")[len("Bearer at-"):]
	v := map[string]any{"sub": subject}
	for k, x := range c.info[subject] {
		v[k] = x
	}
	send(w, 200, v)
}
