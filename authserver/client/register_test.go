package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

// desk is a registry over a real store, behind a real server.
type desk struct {
	*Registry
	store *store.Store
	url   string
	clock *clock
}

func newDesk(t *testing.T, change func(*Registry)) *desk {
	t.Helper()
	c := &clock{now: time.Now()}
	s, err := store.Open(t.TempDir(), store.Options{Now: c.read})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r := &Registry{Store: s, Now: c.read, Registration: Registration{Enabled: true}, PrivateSchemes: []string{"cursor"}}
	if change != nil {
		change(r)
	}
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return &desk{r, s, srv.URL, c}
}

// post registers and returns the status, the answer and its header.
func (d *desk) post(t *testing.T, body string) (int, map[string]any, http.Header) {
	t.Helper()
	res, err := http.Post(d.url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatalf("%d %q: %v", res.StatusCode, raw, err)
	}
	return res.StatusCode, answer, res.Header
}

const loopbackBody = `{"redirect_uris":["http://localhost:9/cb"],"token_endpoint_auth_method":"none"}`

func TestTheClientsOfTheFieldRegister(t *testing.T) {
	tests := map[string]struct {
		body   string
		method string
		grants []string
	}{
		"Claude Code":   {`{"client_name":"Claude Code (gw)","redirect_uris":["http://localhost:53123/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none","application_type":"native"}`, "none", []string{authorizationCode, refreshToken}},
		"Codex":         {`{"client_name":"Codex","redirect_uris":["http://127.0.0.1:41233/callback"],"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none","response_types":["code"],"application_type":"native"}`, "none", []string{authorizationCode, refreshToken}},
		"Inspector":     {`{"redirect_uris":["http://127.0.0.1:6276/oauth/callback"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"client_name":"MCP Inspector","client_uri":"https://github.com/modelcontextprotocol/inspector","scope":"mcp offline_access"}`, "none", []string{authorizationCode, refreshToken}},
		"mcp-remote":    {`{"client_name":"MCP CLI Proxy","redirect_uris":["http://localhost:3334/oauth/callback"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"client_uri":"https://github.com/modelcontextprotocol/mcp-cli","software_id":"2e6dc280-f3c3-4e01-99a7-8181dbd1d23d","software_version":"0.15.1"}`, "none", []string{authorizationCode, refreshToken}},
		"VS Code":       {`{"client_name":"Visual Studio Code","client_uri":"https://code.visualstudio.com","grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"],"response_types":["code"],"redirect_uris":["https://insiders.vscode.dev/redirect","https://vscode.dev/redirect","http://127.0.0.1/","http://127.0.0.1:33418/"],"token_endpoint_auth_method":"none","application_type":"native"}`, "none", []string{authorizationCode, refreshToken}},
		"Cursor":        {`{"client_name":"Cursor","redirect_uris":["cursor://anysphere.cursor-mcp/oauth/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`, "none", []string{authorizationCode, refreshToken}},
		"claude.ai":     {`{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"client_secret_post"}`, "client_secret_post", []string{authorizationCode, refreshToken}},
		"RFC defaults":  {`{"redirect_uris":["https://app.example/cb"]}`, "client_secret_basic", []string{authorizationCode}},
		"null members":  {`{"redirect_uris":["https://app.example/cb"],"client_name":null,"jwks":null,"grant_types":null,"token_endpoint_auth_method":null}`, "client_secret_basic", []string{authorizationCode}},
		"its own keys":  {`{"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":` + publicSet + `}`, "private_key_jwt", []string{authorizationCode}},
		"unknown words": {`{"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"none","x":{"y":[1,2]},"Redirect_URIs":["javascript:x"],"client_name#de":"Ä"}`, "none", []string{authorizationCode}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, nil)
			status, answer, header := d.post(t, tt.body)
			if status != http.StatusCreated || header.Get("Cache-Control") != "no-store" || header.Get("Content-Type") != "application/json" {
				t.Fatalf("%d %v %v", status, answer, header)
			}
			id, _ := answer["client_id"].(string)
			c, err := d.Client(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			// RFC 7591 3.2.1: the answer is what was stored.
			if answer["token_endpoint_auth_method"] != tt.method || c.AuthMethod != tt.method {
				t.Errorf("method %v, stored %q, want %q", answer["token_endpoint_auth_method"], c.AuthMethod, tt.method)
			}
			if !slices.Equal(c.GrantTypes, tt.grants) || fmt.Sprint(answer["grant_types"]) != fmt.Sprint(c.GrantTypes) {
				t.Errorf("grants %v, stored %v, want %v", answer["grant_types"], c.GrantTypes, tt.grants)
			}
			if fmt.Sprint(answer["redirect_uris"]) != fmt.Sprint(c.RedirectURIs) || answer["application_type"] != c.Application {
				t.Errorf("answered %v, stored %+v", answer, c)
			}
			secret, _ := answer["client_secret"].(string)
			if want := strings.HasPrefix(tt.method, "client_secret"); want != (secret != "") || want != bytes.Equal(c.SecretHash, SecretHash(secret)) {
				t.Errorf("secret %q, hash %x", secret, c.SecretHash)
			}
			if c.Kind != Dynamic || c.Verified || c.Digest != "" {
				t.Errorf("stored %+v", c)
			}
			for _, word := range []string{"registration_client_uri", "registration_access_token", "x", "scope"} {
				if answer[word] != nil {
					t.Errorf("the answer has %s", word)
				}
			}
		})
	}
}

// Security catalogue A-045.
func TestARegistrationThatIsRefused(t *testing.T) {
	d := newDesk(t, func(r *Registry) { r.Registration.Burst = 1000 })
	uris := func(n int) string {
		return `["https://a.example/cb"` + strings.Repeat(`,"https://a.example/cb"`, n-1) + `]`
	}
	with := func(members string) string {
		return `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"none",` + members + `}`
	}
	tests := map[string]struct{ body, code string }{
		"no redirect URI":           {`{}`, invalidRedirect},
		"an empty list":             {`{"redirect_uris":[]}`, invalidRedirect},
		"a string for a list":       {`{"redirect_uris":"https://a.example/cb"}`, invalidRedirect},
		"null in the list":          {`{"redirect_uris":[null]}`, invalidRedirect},
		"javascript":                {`{"redirect_uris":["javascript:alert(1)"]}`, invalidRedirect},
		"data":                      {`{"redirect_uris":["data:text/html,x"]}`, invalidRedirect},
		"file":                      {`{"redirect_uris":["file:///x"]}`, invalidRedirect},
		"http elsewhere":            {`{"redirect_uris":["http://a.example/cb"]}`, invalidRedirect},
		"a wildcard":                {`{"redirect_uris":["https://*.example/cb"]}`, invalidRedirect},
		"a scheme nobody allowed":   {`{"redirect_uris":["vscode://x/cb"]}`, invalidRedirect},
		"one good and one bad":      {`{"redirect_uris":["https://a.example/cb","file:///x"]}`, invalidRedirect},
		"21 redirect URIs":          {`{"redirect_uris":` + uris(MaxRedirectURIs+1) + `}`, invalidRedirect},
		"1,000 redirect URIs":       {`{"redirect_uris":["` + strings.Repeat(`","`, 999) + `"]}`, invalidRedirect},
		"a web app on the machine":  {`{"redirect_uris":["http://localhost/cb"],"application_type":"web"}`, invalidRedirect},
		"another kind of app":       {with(`"application_type":"toaster"`), invalidMetadata},
		"another method":            {`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"tls_client_auth"}`, invalidMetadata},
		"only client_credentials":   {with(`"grant_types":["client_credentials"]`), invalidMetadata},
		"only implicit":             {with(`"grant_types":["implicit"]`), invalidMetadata},
		"only token":                {with(`"response_types":["token"]`), invalidMetadata},
		"keys elsewhere":            {with(`"jwks_uri":"http://169.254.169.254/keys"`), invalidMetadata},
		"a secret key":              {with(`"jwks":{"keys":[{"kty":"oct","k":"AAAA"}]}`), invalidMetadata},
		"a private key":             {with(`"jwks":` + privateSet), invalidMetadata},
		"private_key_jwt, no keys":  {`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt"}`, invalidMetadata},
		"a script as policy_uri":    {with(`"policy_uri":"javascript:alert(1)"`), invalidMetadata},
		"a script as client_uri":    {with(`"client_uri":"data:text/html,x"`), invalidMetadata},
		"a number as a name":        {with(`"client_name":7`), invalidMetadata},
		"a name twice":              {with(`"client_name":"a","client_name":"b"`), invalidMetadata},
		"a name twice, deep":        {with(`"x":[{"a":1,"a":2}]`), invalidMetadata},
		"too deep":                  {with(`"x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)), invalidMetadata},
		"two values":                {with(`"x":1`) + `{}`, invalidMetadata},
		"no object":                 {`[]`, invalidMetadata},
		"null":                      {`null`, invalidMetadata},
		"no JSON":                   {`{"redirect_uris"`, invalidMetadata},
		"nothing":                   {``, invalidMetadata},
		"no UTF-8":                  {with("\"client_name\":\"\xff\""), invalidMetadata},
		"1 MiB":                     {with(`"x":"` + strings.Repeat("a", 1<<20) + `"`), invalidMetadata},
		"one byte over the limit":   {pad(with(`"x":1`), maxRegistration+1), invalidMetadata},
		"a long method":             {with(`"software_id":"` + strings.Repeat("a", maxWord+1) + `"`), invalidMetadata},
		"too many grant types":      {with(`"grant_types":["authorization_code"` + strings.Repeat(`,"x"`, maxWords) + `]`), invalidMetadata},
		"more keys than the limit":  {with(`"jwks":{"keys":[{}` + strings.Repeat(`,{}`, maxKeys) + `]}`), invalidMetadata},
		"no usable key":             {with(`"jwks":{"keys":[{"kty":"XYZ"}]}`), invalidMetadata},
		"a case variant of the one": {`{"Redirect_URIs":["https://a.example/cb"]}`, invalidRedirect},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			status, answer, header := d.post(t, tt.body)
			if status != http.StatusBadRequest || answer["error"] != tt.code || header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v, want 400 %s", status, answer, tt.code)
			}
			if text, _ := answer["error_description"].(string); text == "" || len(text) > 400 {
				t.Errorf("description %q", text)
			}
		})
	}
	if all, err := d.store.Clients(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%d clients were kept, %v", len(all), err)
	}
	for name, body := range map[string]string{
		"20 redirect URIs":        `{"redirect_uris":` + uris(MaxRedirectURIs) + `}`,
		"a body of just the size": pad(with(`"x":1`), maxRegistration),
		"just not too deep":       with(`"x":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1)),
		"as many words as may be": with(`"grant_types":["authorization_code"` + strings.Repeat(`,"x"`, maxWords-1) + `]`),
	} {
		if status, answer, _ := d.post(t, body); status != http.StatusCreated {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
}

func pad(body string, size int) string { return body + strings.Repeat(" ", size-len(body)) }

func TestRegistrationTakesJSONByPost(t *testing.T) {
	d := newDesk(t, nil)
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded"} {
		res, err := http.Post(d.url, media, strings.NewReader(loopbackBody))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: %d", media, res.StatusCode)
		}
	}
	res, err := http.Get(d.url)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %d", res.StatusCode)
	}
	off := newDesk(t, func(r *Registry) { r.Registration.Enabled = false })
	if status, answer, _ := off.post(t, loopbackBody); status != http.StatusForbidden || answer["error"] != "access_denied" {
		t.Errorf("switched off: %d %v", status, answer)
	}
}

// Security catalogue A-045.
func TestANameIsOneHarmlessLine(t *testing.T) {
	tests := map[string]string{
		"Claude Code (gw)":              "Claude Code (gw)",
		"  a \t b\r\n c ":               "a b c",
		"abc\u202egnp.exe":              "abcgnp.exe",
		"a\u200bb\ufeffc\u2066d\u2069e": "abcde",
		"\x1b[31mred\x07\x00":           "[31mred",
		"<script>":                      "<script>",
		"\ue000x\ufffd":                 "x",
		strings.Repeat("é", MaxName):    strings.Repeat("é", MaxName),
		strings.Repeat("é", MaxName+1):  strings.Repeat("é", MaxName),
		strings.Repeat("x", 10_000):     strings.Repeat("x", MaxName),
		"\u2028line\u2029":              "line",
	}
	for name, want := range tests {
		if got := CleanName(name); got != want {
			t.Errorf("CleanName(%.40q) = %q, want %q", name, got, want)
		}
	}
}

// Security catalogue A-046.
func TestOneSourceIsSlowedDownAndOthersAreNot(t *testing.T) {
	var source netip.Addr
	d := newDesk(t, func(r *Registry) { r.Source = func(*http.Request) netip.Addr { return source } })
	source = netip.MustParseAddr("2001:db8:1:2::1")
	for i := range Burst {
		source = source.Next() // its whole /64 is one source
		if status, answer, _ := d.post(t, loopbackBody); status != http.StatusCreated {
			t.Fatalf("registration %d: %d %v", i, status, answer)
		}
	}
	status, _, header := d.post(t, loopbackBody)
	if status != http.StatusTooManyRequests || header.Get("Retry-After") != "10" {
		t.Errorf("over the burst: %d, Retry-After %q", status, header.Get("Retry-After"))
	}
	here := source
	source = netip.MustParseAddr("2001:db8:1:3::1")
	if status, _, _ := d.post(t, loopbackBody); status != http.StatusCreated {
		t.Errorf("the next /64: %d", status)
	}
	source = netip.MustParseAddr("::ffff:192.0.2.7")
	if status, _, _ := d.post(t, loopbackBody); status != http.StatusCreated {
		t.Errorf("IPv4: %d", status)
	}
	source = here
	d.clock.add(Every - time.Millisecond)
	if status, _, _ := d.post(t, loopbackBody); status != http.StatusTooManyRequests {
		t.Errorf("just before the next: %d", status)
	}
	d.clock.add(time.Millisecond)
	if status, _, _ := d.post(t, loopbackBody); status != http.StatusCreated {
		t.Errorf("the next: %d", status)
	}
}

// TestAFloodTakesNothingFromWhoIsThere: 20,000 registrations from one address
// and from 200 of them (the clock advances as they come).
// Security catalogue A-046.
func TestAFloodTakesNothingFromWhoIsThere(t *testing.T) {
	for _, sources := range []int{1, 200} {
		t.Run(fmt.Sprint(sources, " sources"), func(t *testing.T) {
			t.Parallel()
			var source netip.Addr
			const most, burst = 400, 4
			d := newDesk(t, func(r *Registry) {
				r.Registration.Max, r.Registration.Burst = most, burst
				r.Source = func(*http.Request) netip.Addr { return source }
			})
			source = netip.MustParseAddr("192.0.2.1")
			_, answer, _ := d.post(t, loopbackBody)
			mine := answer["client_id"].(string)
			status := map[int]int{}
			for i := range 20_000 {
				source = netip.AddrFrom4([4]byte{198, 51, 100, byte(i % sources)})
				d.clock.add(time.Millisecond)
				w := httptest.NewRecorder()
				req := httptest.NewRequest(http.MethodPost, "/oauth/register", strings.NewReader(loopbackBody))
				req.Header.Set("Content-Type", "application/json")
				d.ServeHTTP(w, req)
				status[w.Code]++
				if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
					t.Fatal("429 without Retry-After")
				}
			}
			all, err := d.store.Clients(t.Context())
			if err != nil || len(all) > most || len(status) != 2 || status[http.StatusCreated] != len(all)-1 {
				t.Errorf("%d clients, answers %v, %v", len(all), status, err)
			}
			if sources == 1 && len(all) > 1+burst+3 {
				t.Errorf("one source made %d clients in 20 s", len(all))
			}
			if _, err := d.Client(t.Context(), mine); err != nil {
				t.Errorf("the client that was there: %v", err)
			}
		})
	}
}

func TestOneSourceCantUseUpTheCap(t *testing.T) {
	if n := Burst + int(UnusedTTL/Every); n >= MaxRegistered {
		t.Errorf("one source keeps %d unused registrations alive; the cap is %d", n, MaxRegistered)
	}
}

func TestTheTableOfSourcesIsBounded(t *testing.T) {
	l := limiter{burst: 1, every: time.Minute, max: 3}
	now := time.Now()
	a := netip.MustParseAddr("192.0.2.1")
	for i := range 100 {
		wait := l.take(a, now)
		if i <= 3 && wait != 0 { // three of their own, one for all others together
			t.Errorf("source %d waits %v", i, wait)
		} else if i > 3 && wait != time.Minute {
			t.Errorf("source %d waits %v", i, wait)
		}
		a = a.Next()
	}
	if len(l.buckets) > 4 {
		t.Errorf("%d buckets", len(l.buckets))
	}
	if wait := l.take(a, now.Add(time.Minute)); wait != 0 {
		t.Errorf("a minute later: %v", wait)
	}
	if len(l.buckets) != 1 {
		t.Errorf("%d buckets are left of those that are full again", len(l.buckets))
	}
}

// Security catalogue A-046.
func TestARegistrationIsForgottenWhenItIsNotUsed(t *testing.T) {
	d := newDesk(t, nil)
	_, a, _ := d.post(t, loopbackBody)
	_, b, _ := d.post(t, loopbackBody)
	unused, used := a["client_id"].(string), b["client_id"].(string)
	d.clock.add(UnusedTTL - time.Second)
	if err := d.Used(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{unused, used} {
		if _, err := d.Client(t.Context(), id); err != nil {
			t.Errorf("before its time: %v", err)
		}
	}
	d.clock.add(time.Second)
	if _, err := d.Client(t.Context(), unused); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("after its time: %v", err)
	}
	d.clock.add(UsedTTL - 2*time.Second)
	if err := d.Used(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	d.clock.add(UsedTTL - time.Second)
	if _, err := d.Client(t.Context(), used); err != nil {
		t.Errorf("in use: %v", err)
	}
	d.clock.add(time.Second)
	if _, err := d.Client(t.Context(), used); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("90 days without use: %v", err)
	}
}

func TestAtTheCapARegistrationWaits(t *testing.T) {
	d := newDesk(t, func(r *Registry) { r.Registration.Max = 2 })
	for range 2 {
		if status, _, _ := d.post(t, loopbackBody); status != http.StatusCreated {
			t.Fatalf("below the cap: %d", status)
		}
	}
	if status, _, header := d.post(t, loopbackBody); status != http.StatusTooManyRequests || header.Get("Retry-After") == "" {
		t.Errorf("at the cap: %d", status)
	}
	d.clock.add(UnusedTTL)
	if status, _, _ := d.post(t, loopbackBody); status != http.StatusCreated {
		t.Errorf("when they have expired: %d", status)
	}
}

func TestASchemeTakenOffTheListStopsWorking(t *testing.T) {
	d := newDesk(t, nil)
	_, a, _ := d.post(t, `{"redirect_uris":["cursor://x/cb","http://localhost/cb"],"token_endpoint_auth_method":"none"}`)
	id := a["client_id"].(string)
	d.PrivateSchemes = nil
	c, err := d.Client(t.Context(), id)
	if err != nil || !slices.Equal(c.RedirectURIs, []string{"http://localhost/cb"}) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAnUnknownClientIsNotFound(t *testing.T) {
	d := newDesk(t, nil)
	for _, id := range []string{"", "nobody", strings.Repeat("x", MaxURI+1), "https://a.example/client.json"} {
		if _, err := d.Client(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%.40q: %v", id, err)
		}
	}
}

// failing is a store that can't write.
type failing struct{ Store }

func (failing) CreateClient(context.Context, store.Client, int) error { return store.ErrFull }

func TestARegistrationThatIsNotKeptIsNotAcknowledged(t *testing.T) {
	d := newDesk(t, func(r *Registry) { r.Store = failing{r.Store} })
	if status, answer, _ := d.post(t, loopbackBody); status != http.StatusServiceUnavailable || answer["client_id"] != nil {
		t.Errorf("%d %v", status, answer)
	}
}

func TestAnOperatorsStoredClientNeverExpires(t *testing.T) {
	d := newDesk(t, nil)
	if err := d.store.PutClient(t.Context(), store.Client{ID: "desk", Kind: Static, Verified: true}); err != nil {
		t.Fatal(err)
	}
	if err := d.Used(t.Context(), "desk"); err != nil {
		t.Fatal(err)
	}
	c, err := d.Client(t.Context(), "desk")
	if err != nil || !c.LastUsed.Equal(d.clock.read()) || !c.Expires.IsZero() {
		t.Errorf("%+v, %v", c, err)
	}
}

// FuzzRegistration: whatever a stranger registers, what is kept obeys the rules.
func FuzzRegistration(f *testing.F) {
	f.Add([]byte(loopbackBody))
	f.Add([]byte(`{"redirect_uris":["https://a.example/cb","cursor://x"],"client_name":"a\u202eb","jwks":{"keys":[{"kty":"oct"}]},"token_endpoint_auth_method":"private_key_jwt"}`))
	f.Add([]byte(`{"redirect_uris":["https://a.example/cb"],"redirect_uris":["javascript:x"]}`))
	f.Add([]byte(`{"redirect_uris":["https://a.example/cb"],"jwks":` + publicSet + `,"grant_types":["authorization_code","x"]}`))
	r := &Registry{PrivateSchemes: []string{"cursor"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		c, err := r.readRegistration(httptest.NewRecorder(), req)
		if err != nil {
			return
		}
		if len(body) > maxRegistration || !json.Valid(body) {
			t.Error("taken, but too long or no JSON")
		}
		if n := len(c.RedirectURIs); n == 0 || n > MaxRedirectURIs {
			t.Errorf("%d redirect URIs", n)
		}
		for _, uri := range c.RedirectURIs {
			if err := checkRedirect(uri, r.PrivateSchemes); err != nil {
				t.Errorf("%q: %v", uri, err)
			}
		}
		if c.Name != CleanName(c.Name) || c.Verified || c.KeysURI != "" || !slices.Contains(c.GrantTypes, authorizationCode) {
			t.Errorf("%+v", c)
		}
		if c.Keys != nil {
			if _, err := publicKeys(c.Keys); err != nil {
				t.Errorf("keys %s: %v", c.Keys, err)
			}
		}
		if c.AuthMethod == authPrivateKey && c.Keys == nil {
			t.Error("private_key_jwt without keys")
		}
	})
}
