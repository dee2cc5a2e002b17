package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// house is a whole authorization server behind real HTTP, with a clock that a
// test can turn.
type house struct {
	*Server
	t       *testing.T
	url     string
	records records
	ahead   atomic.Int64
	held    atomic.Pointer[time.Time]
}

const (
	password   = "correct horse battery"
	webURI     = "https://app.example/cb"
	verifier   = "a-verifier-of-at-least-forty-three-characters-0123"
	appURI     = "cursor://anysphere.cursor-mcp/oauth/callback"
	loopURI    = "http://127.0.0.1/callback"
	loopUsed   = "http://127.0.0.1:20117/callback" // no port that the system hands out: the test server must not get it
	oddNameRaw = "G\u043e\u043egle (verified) \u202e<script>alert(1)</script>"
)

// records is an audit log in memory.
type records struct {
	mu   sync.Mutex
	list []audit.Record
	err  error
}

func (l *records) Append(_ context.Context, r *audit.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.list = append(l.list, *r)
	}
	return l.err
}
func (l *records) Note(r *audit.Record) { _ = l.Append(context.Background(), r) }
func (l *records) Err() error           { return nil }

func (l *records) named(event string) (found []audit.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.list {
		if r.Event == event {
			found = append(found, r)
		}
	}
	return found
}

func (h *house) clock() time.Time {
	now := time.Now()
	if at := h.held.Load(); at != nil {
		now = *at
	}
	return now.Add(time.Duration(h.ahead.Load()))
}

// hold stops the clock, for rules that a second decides.
func (h *house) hold() { now := time.Now(); h.held.Store(&now) }

func (h *house) forward(d time.Duration)     { h.ahead.Add(int64(d)) }
func (h *house) person(id string) store.User { return *must(h.Store.User(h.t.Context(), id)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// passwordHash is made once: a hash is meant to be slow.
var passwordHash = sync.OnceValue(func() string { return must(login.HashPassword(context.Background(), password)) })

// newHouse builds one on plain-http loopback, with the accounts alice and bob.
func newHouse(t *testing.T, change ...func(*house, *Config)) *house {
	t.Helper()
	h := &house{t: t}
	web := httptest.NewUnstartedServer(nil)
	c := Config{
		Issuer: "http://" + web.Listener.Addr().String(), Loopback: true, Now: h.clock, Audit: &h.records, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Scopes:    map[string]string{"heavy": "Run what takes long"},
		Upstreams: func() []Resource { return []Resource{{"github", "GitHub"}, {"wiki", "Company wiki"}} },
	}
	c.Store = must(store.Open(t.TempDir(), store.Options{Now: h.clock}))
	t.Cleanup(func() { c.Store.Close() })
	c.Local = &login.Local{Users: c.Store, Now: h.clock}
	c.Clients = &client.Registry{Store: c.Store, Now: h.clock, PrivateSchemes: []string{"cursor"}}
	for id, uri := range map[string]string{"web": webURI, "loop": loopURI, "app": appURI} {
		must(0, c.Store.CreateClient(t.Context(), store.Client{
			ID: id, Kind: client.Dynamic, Name: "The " + id, RedirectURIs: []string{uri}, AuthMethod: "none",
			GrantTypes: []string{"authorization_code", "refresh_token"},
		}, 0))
	}
	for _, name := range []string{"alice", "bob"} {
		must(0, c.Store.CreateUser(t.Context(), store.User{Issuer: "local", Subject: name, Name: strings.ToUpper(name), Password: passwordHash()}))
	}
	for _, f := range change {
		f(h, &c)
	}
	h.Server = must(New(t.Context(), c))
	mux := http.NewServeMux()
	h.Routes(mux)
	web.Config.Handler = mux
	if !c.Loopback {
		web.StartTLS()
	} else {
		web.Start()
	}
	h.url = c.Issuer
	t.Cleanup(func() { web.Close(); h.Close() })
	return h
}

// browser is a person's: it keeps cookies, follows redirects inside the house
// and stops at those that leave it.
type browser struct {
	h      *house
	client *http.Client
	header http.Header // sent besides
}

func (h *house) browser() *browser {
	b := &browser{h: h, header: http.Header{}}
	b.client = &http.Client{Jar: must(cookiejar.New(nil)), CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), h.url+"/") || len(via) > 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

// answer is what came back, after redirects.
type answer struct {
	*http.Response
	body string
}

func (b *browser) do(method, address string, form url.Values) answer {
	b.h.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.h.url + address
	}
	r := must(http.NewRequestWithContext(b.h.t.Context(), method, address, strings.NewReader(form.Encode())))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range b.header {
		r.Header[k] = v
	}
	res := must(b.client.Do(r))
	defer res.Body.Close()
	return answer{res, string(must(io.ReadAll(res.Body)))}
}

func (b *browser) get(address string) answer { b.h.t.Helper(); return b.do("GET", address, nil) }
func (b *browser) post(address string, form url.Values) answer {
	b.h.t.Helper()
	return b.do("POST", address, form)
}

// field is the value of a hidden field of the page.
func (a answer) field(name string) string {
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(a.body)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// at is the path of the page that was reached.
func (a answer) at() string { return a.Request.URL.Path }

// query is what was brought back to the client; nil when nothing was.
func (a answer) query() url.Values {
	u, err := a.Location()
	if err != nil {
		return nil
	}
	return u.Query()
}

// signIn gives the browser a session of name's. It takes no password, which is
// slow on purpose; enter does.
func (b *browser) signIn(name string) *browser {
	b.h.t.Helper()
	value, now := rand.Text(), b.h.clock()
	must(0, b.h.Store.CreateSession(b.h.t.Context(), store.Session{
		Hash: hashCookie(value), User: "local:" + name, AuthTime: now, AMR: []string{"pwd"}, Created: now, LastSeen: now,
		Expires: now.Add(sessionLife), Agent: b.header.Get("User-Agent"), Address: "127.0.0.1",
	}))
	w := httptest.NewRecorder()
	b.h.setCookie(w, b.h.cookieName(), value, time.Hour)
	b.client.Jar.SetCookies(must(url.Parse(b.h.url)), w.Result().Cookies())
	return b
}

// enter signs name in by the page.
func (b *browser) enter(name string) *browser {
	b.h.t.Helper()
	if a := b.post("/login", url.Values{"username": {name}, "password": {password}}); a.at() != "/account" || a.StatusCode != 200 {
		b.h.t.Fatalf("%s can't sign in: %s %d\n%s", name, a.at(), a.StatusCode, a.body)
	}
	return b
}

// authorize is the address that a client sends people to.
func authorize(id, redirect string, more ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{"client_id": {id}, "redirect_uri": {redirect}, "response_type": {"code"}, "state": {"the-state-of-" + id},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "scope": {"mcp offline_access"}}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return "/oauth/authorize?" + q.Encode()
}

// decide sends the form of the consent page a.
func (b *browser) decide(a answer, decision string) answer {
	b.h.t.Helper()
	return b.post("/consent", url.Values{"request": {a.field("request")}, "ticket": {a.field("ticket")}, "decision": {decision}})
}

// connect goes through consent and redeems the code; it returns the tokens.
func (b *browser) connect(id, redirect string) map[string]any {
	b.h.t.Helper()
	page := b.get(authorize(id, redirect))
	if page.at() != "/consent" {
		b.h.t.Fatalf("no consent page for %s: %s %d", id, page.at(), page.StatusCode)
	}
	return b.h.redeem(b.decide(page, "approve"), id, redirect)
}

// TestSignInAndConsentLeadToACode: the whole way of a person who is not signed
// in, as a cookie jar that submits forms goes it.
// Security catalogue A-044.
func TestSignInAndConsentLeadToACode(t *testing.T) {
	h := newHouse(t)
	b := h.browser()
	a := b.get(authorize("loop", loopUsed))
	if a.at() != "/login" || !strings.Contains(a.body, "The loop") {
		t.Fatalf("not asked to sign in: %s %d %s\n%s", a.at(), a.StatusCode, a.Header.Get("Location"), a.body)
	}
	a = b.post("/login", url.Values{"request": {a.field("request")}, "username": {"Alice"}, "password": {password}})
	if a.at() != "/consent" || a.StatusCode != 200 {
		t.Fatalf("not asked for consent: %s %d\n%s", a.at(), a.StatusCode, a.body)
	}
	for _, must := range []string{"The loop", "unverified", "loop</bdi>", "127.0.0.1:20117", "program on this computer", "ALICE", "GitHub", "Company wiki", h.url + "/mcp", "Stay connected"} {
		if !strings.Contains(a.body, must) {
			t.Errorf("the consent page does not show %q", must)
		}
	}
	a = b.decide(a, "approve")
	q := a.query()
	if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), loopUsed+"?") ||
		q.Get("code") == "" || q.Get("state") != "the-state-of-loop" || q.Get("iss") != h.url {
		t.Fatalf("answer to the client: %d %s", a.StatusCode, a.Header.Get("Location"))
	}
	if tokens := h.redeem(a, "loop", loopUsed); tokens["access_token"] == nil || tokens["refresh_token"] == nil {
		t.Errorf("tokens: %v", slices.Sorted(keys(tokens)))
	}
	for _, event := range []string{eventSignedIn, eventConsentGiven} {
		if got := h.records.named(event); len(got) != 1 || got[0].User.ID != "local:alice" {
			t.Errorf("records of %s: %+v", event, got)
		}
	}
}
