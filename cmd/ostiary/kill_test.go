package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

const (
	// killRounds says how often the server is killed, for a long run by hand.
	killRounds  = "OSTIARY_TEST_KILL_ROUNDS"
	shortRounds = 3

	webRedirect  = "https://app.example/cb"
	killVerifier = "a-verifier-of-at-least-forty-three-characters-0123"
)

// TestAKilledServerLosesNothingAcknowledgedAndSpendsNothingTwice kills a real
// serve while agents and a person use it over HTTP: registration, consent, code
// exchange and refresh, all at once. After each kill the next server must know
// what the one before acknowledged, and honour no code or token twice.
func TestAKilledServerLosesNothingAcknowledgedAndSpendsNothingTwice(t *testing.T) {
	rounds := shortRounds
	if n, err := strconv.Atoi(os.Getenv(killRounds)); err == nil {
		rounds = n
	}
	v := newVictim(t)
	var total answers
	said := &answers{}
	for n := range rounds + 1 {
		v.start()
		if n == 0 {
			v.signIn()
		}
		v.check(said)
		total.add(said)
		if t.Failed() || n == rounds {
			v.kill()
			break
		}
		said = v.work()
		v.checkStore()
	}
	t.Logf("%d kills; acknowledged: %d registrations, %d consents, %d codes, %d refreshes; cut off: %d codes (%d of them spent), %d refreshes (%d of them spent)", rounds,
		len(total.registered), len(total.consents), len(total.codes), total.refreshes, total.cutCodes, total.lostCodes, total.cutRefreshes, total.lostRefreshes)
	if len(total.registered) < rounds || len(total.consents) < rounds || len(total.codes) < rounds || total.refreshes < rounds {
		t.Error("too little was done between kills to show anything")
	}
}

// answers are what one server acknowledged before it was killed.
type answers struct {
	registered []string            // client ids
	consents   []string            // resources that the person let the client have
	codes      map[string]granted  // redeemed
	cut        map[string]struct{} // codes whose redemption got no answer
	chains     []chain

	refreshes, cutCodes, lostCodes, cutRefreshes, lostRefreshes int
}

type granted struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`

	resource string
}

// chain is the last that a client has of one grant's refresh tokens.
type chain struct {
	last granted
	cut  bool // an exchange of it got no answer
}

func (a *answers) add(b *answers) {
	a.registered, a.consents = append(a.registered, b.registered...), append(a.consents, b.consents...)
	if a.codes == nil {
		a.codes = map[string]granted{}
	}
	for code, g := range b.codes {
		a.codes[code] = g
	}
	a.refreshes += b.refreshes
	a.cutCodes += b.cutCodes
	a.lostCodes += b.lostCodes
	a.cutRefreshes += b.cutRefreshes
	a.lostRefreshes += b.lostRefreshes
}

// victim is a server that runs as a process of its own, until it is killed.
type victim struct {
	t             *testing.T
	site          *site
	address, base string
	child         *exec.Cmd
	said          bytes.Buffer // on stderr, by the child of now
	client        *http.Client
	jar           http.CookieJar
	app           string // client id of a site that people let in
	resources     atomic.Int64
	requests      atomic.Int64 // answered
}

func newVictim(t *testing.T) *victim {
	v := &victim{t: t, site: newSite(t)}
	v.site.declare(t, "upstreams: {}\n")
	v.site.verb(t, "user", "add", "alice", "--password-stdin")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v.address = ln.Addr().String()
	v.base = "http://" + v.address
	ln.Close()
	if v.jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.kill)
	return v
}

func (v *victim) start() {
	v.t.Helper()
	v.said.Reset()
	v.child = exec.Command(os.Args[0], v.site.with("serve", "--listen", v.address, "--log-format", "json")...)
	v.child.Env, v.child.Dir = append(os.Environ(), asProgram+"=1"), v.t.TempDir()
	v.child.Stderr = &v.said
	if err := v.child.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.client = &http.Client{Jar: v.jar, Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	eventually(v.t, "a server", func() bool {
		res, err := v.client.Get(v.base + "/healthz")
		if err == nil {
			res.Body.Close()
		}
		return err == nil && res.StatusCode == http.StatusOK
	})
}

func (v *victim) kill() {
	if v.child == nil {
		return
	}
	_ = v.child.Process.Kill()
	_ = v.child.Wait() // killed
	v.child = nil
	v.client.CloseIdleConnections()
}

// ask is one request; nil = the server was killed before it had answered.
func (v *victim) ask(method, address string, form url.Values) (*http.Response, string) {
	if strings.HasPrefix(address, "/") {
		address = v.base + address
	}
	request, err := http.NewRequestWithContext(context.Background(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		panic(err) // of this test's own making
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return v.send(request)
}

func (v *victim) send(request *http.Request) (*http.Response, string) {
	res, err := v.client.Do(request)
	if err != nil {
		return nil, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, ""
	}
	v.requests.Add(1)
	return res, string(body)
}

func (v *victim) register() (id string, full bool) {
	request, _ := http.NewRequest(http.MethodPost, v.base+"/oauth/register", strings.NewReader(
		`{"client_name":"An agent","redirect_uris":["`+webRedirect+`"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"]}`))
	request.Header.Set("Content-Type", "application/json")
	res, body := v.send(request)
	var made struct {
		ID string `json:"client_id"`
	}
	switch {
	case res == nil:
	case res.StatusCode == http.StatusTooManyRequests:
		return "", true
	case res.StatusCode != http.StatusCreated || json.Unmarshal([]byte(body), &made) != nil || made.ID == "":
		v.t.Errorf("register: %d %s", res.StatusCode, body)
	}
	return made.ID, false
}

func (v *victim) signIn() {
	v.t.Helper()
	res, body := v.ask("POST", "/login", url.Values{"username": {"alice"}, "password": {testPassword}})
	if res == nil || res.StatusCode != http.StatusSeeOther {
		v.t.Fatalf("sign-in: %v %s", res, body)
	}
	if v.app, _ = v.register(); v.app == "" {
		v.t.Fatal("no client")
	}
}

func (v *victim) authorizeURL(client, redirect, resource string) string {
	sum := sha256.Sum256([]byte(killVerifier))
	return "/oauth/authorize?" + url.Values{"client_id": {client}, "redirect_uri": {redirect}, "response_type": {"code"}, "resource": {resource},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}.Encode()
}

var hiddenField = regexp.MustCompile(`name="(request|ticket)" value="([^"]*)"`)

// code is a code for the resource, and whether the person was asked for it; ""
// = the server was killed.
func (v *victim) code(resource string) (code string, asked bool) {
	res, body := v.ask("GET", v.authorizeURL(v.app, webRedirect, resource), nil)
	for res != nil && res.StatusCode == http.StatusSeeOther && strings.HasPrefix(res.Header.Get("Location"), "/") {
		res, body = v.ask("GET", res.Header.Get("Location"), nil)
	}
	if res != nil && res.StatusCode == http.StatusOK {
		asked = true
		form := url.Values{"decision": {"approve"}}
		for _, m := range hiddenField.FindAllStringSubmatch(body, -1) {
			form.Set(m[1], html.UnescapeString(m[2]))
		}
		res, body = v.ask("POST", "/consent", form)
	}
	if res == nil {
		return "", asked
	}
	to, err := res.Location()
	if err != nil || to.Query().Get("code") == "" {
		v.t.Errorf("no code: %d %s %s", res.StatusCode, res.Header.Get("Location"), body)
		return "", asked
	}
	return to.Query().Get("code"), asked
}

// newResource is one that nobody was asked about.
func (v *victim) newResource() string { return fmt.Sprintf("%s/mcp/r%d", v.base, v.resources.Add(1)) }

// token asks the token endpoint: 200, 400, or 0 when the server was killed.
func (v *victim) token(form url.Values) (granted, int) {
	form.Set("client_id", v.app)
	res, body := v.ask("POST", "/oauth/token", form)
	var g granted
	switch {
	case res == nil:
		return g, 0
	case res.StatusCode == http.StatusOK && json.Unmarshal([]byte(body), &g) == nil && g.Access != "" && g.Refresh != "":
	case res.StatusCode == http.StatusBadRequest && strings.Contains(body, `"invalid_grant"`):
	default:
		v.t.Errorf("token endpoint: %d %s", res.StatusCode, body)
	}
	return g, res.StatusCode
}

func (v *victim) redeem(code string) (granted, int) {
	return v.token(url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {webRedirect}, "code_verifier": {killVerifier}})
}

func (v *victim) refresh(g granted) (granted, int) {
	return v.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.Refresh}})
}

// work uses the server until it is killed, at any moment.
func (v *victim) work() *answers {
	said := &answers{codes: map[string]granted{}, cut: map[string]struct{}{}}
	v.requests.Store(0)
	last := 8 + mathrand.Int64N(150)
	var wg sync.WaitGroup
	wg.Go(func() {
		for full := false; !full; {
			var id string
			if id, full = v.register(); id != "" {
				said.registered = append(said.registered, id)
			} else if !full {
				return
			}
		}
	})
	wg.Go(func() {
		for {
			resource := v.newResource()
			code, _ := v.code(resource)
			if code == "" {
				return
			}
			said.consents = append(said.consents, resource)
		}
	})
	wg.Go(func() {
		for {
			resource := v.newResource()
			code, _ := v.code(resource)
			if code == "" {
				return
			}
			g, status := v.redeem(code)
			g.resource = resource
			switch status {
			case http.StatusOK:
				said.codes[code] = g
			case 0:
				said.cut[code] = struct{}{}
				return
			default:
				v.t.Error("a new code is refused")
				return
			}
		}
	})
	wg.Go(func() {
		for {
			resource := v.newResource()
			code, _ := v.code(resource)
			g, status := v.redeem(code)
			if code == "" || status != http.StatusOK {
				return
			}
			c := chain{last: g}
			c.last.resource = resource
			for range 5 {
				next, status := v.refresh(c.last)
				if c.cut = status == 0; c.cut {
					break
				}
				if status != http.StatusOK {
					v.t.Error("a new refresh token is refused")
					return
				}
				next.resource = resource
				c.last = next
				said.refreshes++
			}
			if said.chains = append(said.chains, c); c.cut {
				return
			}
		}
	})
	for end := time.Now().Add(30 * time.Second); v.requests.Load() < last && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(mathrand.N(5 * time.Millisecond)) // anywhere in a request
	v.kill()
	wg.Wait()
	return said
}

// admitted says whether an access token opens its resource.
func (v *victim) admitted(g granted) bool {
	request, _ := http.NewRequest(http.MethodPost, g.resource, strings.NewReader(initialize))
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + g.Access} {
		request.Header.Set(name, value)
	}
	res, _ := v.send(request)
	return res != nil && res.StatusCode != http.StatusUnauthorized
}

// check holds the server of now against what the one before acknowledged.
func (v *victim) check(said *answers) {
	t := v.t
	t.Helper()
	for _, id := range said.registered {
		res, body := v.ask("GET", v.authorizeURL(id, webRedirect, v.base+"/mcp"), nil)
		if res == nil || res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), "/consent?") {
			t.Errorf("registered client %s is lost: %v %s", id, res, body)
		}
	}
	for _, resource := range said.consents {
		if code, asked := v.code(resource); code == "" || asked {
			t.Errorf("the consent for %s is lost", resource)
		}
	}
	for code, g := range said.codes {
		if !v.admitted(g) {
			t.Error("the access token of a redeemed code is lost")
		}
		if _, status := v.redeem(code); status != http.StatusBadRequest {
			t.Errorf("a redeemed code is answered %d", status)
		}
	}
	for code := range said.cut {
		said.cutCodes++
		if _, status := v.redeem(code); status != http.StatusOK {
			said.lostCodes++
		} else if _, status := v.redeem(code); status != http.StatusBadRequest {
			t.Errorf("a code is redeemed twice: %d", status)
		}
	}
	for _, c := range said.chains {
		if !c.cut && !v.admitted(c.last) {
			t.Error("an access token of the moment is lost")
		}
		_, status := v.refresh(c.last)
		switch {
		case c.cut && status == http.StatusBadRequest: // it was spent, and the answer is lost
			said.cutRefreshes++
			said.lostRefreshes++
			continue
		case c.cut:
			said.cutRefreshes++
		}
		if status != http.StatusOK {
			t.Errorf("a refresh token of the moment is answered %d", status)
			continue
		}
		if _, status := v.refresh(c.last); status != http.StatusBadRequest {
			t.Errorf("a refresh token is exchanged twice: %d", status)
		}
	}
}

// checkStore reads what the killed server left: no grant has two access tokens,
// as it would if a code or refresh token had been spent twice.
func (v *victim) checkStore() {
	v.t.Helper()
	s, err := store.Open(v.site.data, store.Options{})
	if err != nil {
		v.t.Fatal(err)
	}
	defer s.Close()
	live := map[string]int{}
	err = s.LiveTokens(v.t.Context(), func(t store.Token, g *store.Grant) error {
		live[g.ID]++
		return nil
	})
	for id, n := range live {
		if n > 1 {
			v.t.Errorf("grant %s has %d access tokens", id, n)
		}
	}
	if err != nil || len(live) == 0 {
		v.t.Errorf("%d live grants, %v", len(live), err)
	}
}
