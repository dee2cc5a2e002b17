package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

// site serves one document and counts.
type site struct {
	url   string // of the document
	hits  atomic.Int32
	mu    sync.Mutex
	serve http.HandlerFunc
}

func newSite(t *testing.T) *site {
	s := &site{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		s.mu.Lock()
		serve := s.serve
		s.mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL + "/client.json"
	s.set(s.json(nil))
	return s
}

func (s *site) set(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = h
}

// document is a good document with some members replaced; nil removes one.
func (s *site) document(change map[string]any) string {
	m := map[string]any{"client_id": s.url, "client_name": "Agent", "redirect_uris": []string{"http://localhost/callback"},
		"grant_types": []string{authorizationCode, refreshToken}, "token_endpoint_auth_method": "none"}
	for k, v := range change {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (s *site) json(change map[string]any, headers ...string) http.HandlerFunc {
	return s.text(s.document(change), headers...)
}

func (s *site) text(body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		fmt.Fprint(w, body)
	}
}

func withDocuments(r *Registry) { r.Dev, r.Documents.Enabled = true, true }

func TestAClientDescribesItselfAtItsURL(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	c, err := d.Client(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != s.url || c.Kind != Document || c.Name != "Agent" || c.Verified || c.AuthMethod != "none" || c.Application != "native" ||
		!slices.Equal(c.GrantTypes, []string{authorizationCode, refreshToken}) || c.Digest == "" {
		t.Errorf("%+v", c)
	}
	c.RedirectURIs[0] = "spoilt"
	c, err = d.Client(t.Context(), s.url)
	if err != nil || c.RedirectURIs[0] != "http://localhost/callback" || s.hits.Load() != 1 {
		t.Errorf("again: %+v, %v, %d fetches", c, err, s.hits.Load())
	}
	if all, err := d.store.Clients(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("a stranger made %d records, %v", len(all), err)
	}
}

// Security catalogue A-048.
func TestADocumentThatIsRefused(t *testing.T) {
	s := newSite(t)
	with := func(k string, v any) http.HandlerFunc { return s.json(map[string]any{k: v}) }
	pad := func(size int) http.HandlerFunc {
		body := s.document(nil)
		return s.text(body + strings.Repeat(" ", size-len(body)))
	}
	tests := map[string]http.HandlerFunc{
		"another client_id":           with("client_id", s.url+"x"),
		"client_id in another case":   with("client_id", strings.Replace(s.url, "client", "Client", 1)),
		"no client_id":                with("client_id", nil),
		"no name":                     with("client_name", nil),
		"a name of nothing":           with("client_name", "\u202e"),
		"no redirect_uris":            with("redirect_uris", nil),
		"a forbidden redirect URI":    with("redirect_uris", []string{"javascript:x"}),
		"a client secret":             with("client_secret", "s"),
		"a symmetrical method":        with("token_endpoint_auth_method", "client_secret_basic"),
		"a method that isn't known":   with("token_endpoint_auth_method", "client_secret_jwt"),
		"a symmetrical key":           with("jwks", json.RawMessage(`{"keys":[{"kty":"oct","k":"AA"}]}`)),
		"a private key":               with("jwks", json.RawMessage(privateSet)),
		"no keys for private_key_jwt": with("token_endpoint_auth_method", "private_key_jwt"),
		"jwks_uri http elsewhere":     with("jwks_uri", "http://keys.example/x"),
		"jwks_uri of a file":          with("jwks_uri", "file:///etc/passwd"),
		"a logo that is a script":     with("logo_uri", "javascript:x"),
		"a name twice":                s.text(strings.Replace(s.document(nil), "{", `{"client_name":"Other",`, 1)),
		"two values":                  s.text(s.document(nil) + "{}"),
		"a list":                      s.text("[]"),
		"5 KiB and one byte":          pad(MaxDocument + 1),
		"5 MiB":                       pad(5 << 20),
		"text/html":                   s.json(nil, "Content-Type", "text/html"),
		"no content type":             s.json(nil, "Content-Type", ""),
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/other.json", http.StatusFound)
		},
		"a lasting redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, s.url+"?x", http.StatusPermanentRedirect)
		},
		"404": func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"201": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, s.document(nil))
		},
	}
	for name, serve := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, withDocuments)
			s.set(serve)
			before := s.hits.Load()
			_, err := d.Client(t.Context(), s.url)
			if !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("got %v", err)
			}
			if s.hits.Load() != before+1 {
				t.Errorf("%d requests", s.hits.Load()-before)
			}
			s.set(s.json(nil))
			d.clock.add(negativeFor - time.Second)
			if _, err := d.Client(t.Context(), s.url); !errors.Is(err, store.ErrNotFound) || s.hits.Load() != before+1 {
				t.Errorf("within a minute: %v, %d requests", err, s.hits.Load()-before)
			}
			d.clock.add(time.Second)
			if _, err := d.Client(t.Context(), s.url); err != nil {
				t.Errorf("after a minute: %v", err)
			}
		})
	}
	for name, serve := range map[string]http.HandlerFunc{
		"5 KiB":                     pad(MaxDocument),
		"a suffix type":             s.json(nil, "Content-Type", "application/oauth-client+json; charset=utf-8"),
		"keys":                      s.json(map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": json.RawMessage(publicSet)}),
		"a logo, which stays there": with("logo_uri", "http://169.254.169.254/latest"),
	} {
		d := newDesk(t, withDocuments)
		s.set(serve)
		if _, err := d.Client(t.Context(), s.url); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADocumentThatCantBeHadIsNoUnknownClient(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"500":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"429":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"a hang-up":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut short":  func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "99"); panicAfter(w) },
		"a big head": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) },
	} {
		t.Run(name, func(t *testing.T) {
			d, s := newDesk(t, withDocuments), newSite(t)
			s.set(serve)
			if _, err := d.Client(t.Context(), s.url); !errors.Is(err, ErrUnavailable) || errors.Is(err, store.ErrNotFound) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func panicAfter(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, "{")
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// Security catalogue A-048.
func TestASlowDripIsCutOff(t *testing.T) {
	t.Parallel() // it takes fetchTime
	d, s := newDesk(t, withDocuments), newSite(t)
	s.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			fmt.Fprint(w, " ")
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	start := time.Now()
	if _, err := d.Client(t.Context(), s.url); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took < fetchTime-time.Second || took > 10*fetchTime {
		t.Errorf("cut off after %v", took)
	}
}

func TestADocumentIsKeptAsLongAsItSays(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"":                              MinFresh,
		"max-age=1":                     MinFresh,
		"max-age=3600":                  time.Hour,
		"public, Max-Age=3600":          time.Hour,
		"max-age=86401":                 MaxFresh,
		"max-age=99999999999999999999":  MinFresh,
		"max-age=-1":                    MinFresh,
		"max-age=3600, no-store":        MinFresh,
		"no-cache, max-age=3600":        MinFresh,
		"s-maxage=7200":                 MinFresh,
		"max-age=7200, stale-if-error=": 2 * time.Hour,
	} {
		t.Run(value, func(t *testing.T) {
			d, s := newDesk(t, withDocuments), newSite(t)
			s.set(s.json(nil, "Cache-Control", value))
			for _, step := range []struct {
				wait time.Duration
				hits int32
			}{{0, 1}, {want - time.Second, 1}, {time.Second, 2}} {
				d.clock.add(step.wait)
				if _, err := d.Client(t.Context(), s.url); err != nil || s.hits.Load() != step.hits {
					t.Errorf("after %v: %d fetches, want %d; %v", step.wait, s.hits.Load(), step.hits, err)
				}
			}
		})
	}
}

// Security catalogue A-048.
func TestAnExpiredDocumentIsNeverServedStale(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	if _, err := d.Client(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	d.clock.add(MinFresh)
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	if _, err := d.Client(t.Context(), s.url); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the site is down: %v", err)
	}
	s.set(s.json(map[string]any{"redirect_uris": []string{"https://new.example/cb"}}))
	d.clock.add(negativeFor)
	c, err := d.Client(t.Context(), s.url)
	if err != nil || MatchRedirect(c, "http://localhost:7/callback") || !MatchRedirect(c, "https://new.example/cb") {
		t.Errorf("changed redirect URIs: %+v, %v", c, err)
	}
}

// Security catalogue A-048.
func TestTheDigestChangesWithWhatAConsentStandsOn(t *testing.T) {
	s := newSite(t)
	digestOf := func(change map[string]any) string {
		d := newDesk(t, withDocuments)
		s.set(s.json(change))
		c, err := d.Client(t.Context(), s.url)
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest
	}
	was := digestOf(nil)
	for name, change := range map[string]map[string]any{
		"name":          {"client_name": "Other"},
		"redirect URI":  {"redirect_uris": []string{"http://localhost/callback", "https://a.example/cb"}},
		"grant types":   {"grant_types": []string{authorizationCode}},
		"proof and key": {"token_endpoint_auth_method": "private_key_jwt", "jwks": json.RawMessage(publicSet)},
		"keys URI":      {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://keys.example/jwks"},
	} {
		if digestOf(change) == was {
			t.Errorf("%s: the same digest", name)
		}
	}
	for name, change := range map[string]map[string]any{
		"logo": {"logo_uri": "https://a.example/x.png"}, "home page": {"client_uri": "https://a.example"}, "unknown": {"x": 1},
	} {
		if digestOf(change) != was {
			t.Errorf("%s: another digest", name)
		}
	}
}

// Security catalogue A-048.
func TestAClientIDThatIsNoDocumentURL(t *testing.T) {
	var fetched atomic.Int32
	r := &Registry{Documents: Documents{Enabled: true}}
	r.setup()
	r.fetches.http.Transport = counting{&fetched}
	for _, id := range []string{
		"http://a.example/c", "https://", "https:///c", "https://a.example", "https://a.example/", "https://a.example?x", "https://a.example/?x",
		"https://a.example/c#f", "https://u@a.example/c", "https://u:p@a.example/c", "https://a.example/./c", "https://a.example/x/../c",
		"https://a.example/%2E%2e/c", "https://A.example/c", "https://a.example./c", "https://a.example:443/c", "https://a.example:/c",
		"https://a.example:0443/c", "https://a.example/c d", "https://a.example/é", `https://a.example\c`, "https://a.example/*",
		"https://127.1/c", "https://0x7f.1/c", "http://localhost/c", "https://a.example/" + strings.Repeat("c", MaxURI),
	} {
		if _, err := r.Client(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%.60q: %v", id, err)
		}
	}
	if n := fetched.Load(); n != 0 {
		t.Errorf("%d were fetched", n)
	}
}

// counting is a transport that reaches nobody.
type counting struct{ n *atomic.Int32 }

func (c counting) RoundTrip(*http.Request) (*http.Response, error) {
	c.n.Add(1)
	return nil, errors.New("nobody there")
}

// Security catalogue A-065.
func TestStrangersCantSendUsIntoThePrivateNetwork(t *testing.T) {
	inner := newSite(t)
	port := inner.url[strings.LastIndex(inner.url, ":"):]
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "169.254.169.254", "10.0.0.1", "[fd00::1]"} {
		r := &Registry{Store: nothing{}, Documents: Documents{Enabled: true}}
		_, err := r.Client(t.Context(), "https://"+host+port)
		if !errors.Is(err, store.ErrNotFound) || !errors.Is(err, errAddress) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if inner.hits.Load() != 0 {
		t.Error("the inner server was reached")
	}
}

// nothing is a store that knows nobody.
type nothing struct{ Store }

func (nothing) Client(context.Context, string) (*store.Client, error) { return nil, store.ErrNotFound }

func TestWhichAddressesMayBeDialled(t *testing.T) {
	tests := map[string][3]bool{ // stranger, stranger under Dev, operator
		"203.0.114.1:443": {true, true, true}, "[2606:4700::1]:443": {true, true, true}, "[64:ff9b::808:808]:443": {true, true, true},
		"127.0.0.1:443": {false, true, true}, "127.9.9.9:80": {false, true, true}, "[::1]:443": {false, true, true}, "[::ffff:127.0.0.1]:443": {false, true, true},
		"10.1.2.3:443": {false, false, true}, "172.16.0.1:443": {false, false, true}, "172.31.255.255:443": {false, false, true}, "172.32.0.0:443": {true, true, true},
		"192.168.1.1:443": {false, false, true}, "100.64.0.1:443": {false, false, true}, "[fd12::1]:443": {false, false, true}, "[::ffff:10.0.0.1]:443": {false, false, true},
		"[64:ff9b::a00:1]:443": {false, false, true}, "198.18.0.1:443": {false, false, true},
		"169.254.169.254:80": {}, "100.100.100.200:80": {}, "0.0.0.0:443": {}, "[::]:443": {}, "224.0.0.1:443": {}, "255.255.255.255:443": {}, "240.0.0.1:443": {},
		"[fe80::1%eth0]:443": {}, "[ff02::1]:443": {}, "[fd00:ec2::254]:80": {}, "[2002:a00:1::]:443": {}, "[2001:0:1::]:443": {}, "[64:ff9b:1::a00:1]:443": {}, "[64:ff9b::a9fe:a9fe]:80": {},
		"[::10.0.0.1]:443": {}, "203.0.113.1:443": {}, "192.0.2.1:443": {}, "[2001:db8::1]:443": {}, "/run/docker.sock": {}, "": {},
	}
	for address, want := range tests {
		for i, level := range []trust{stranger, strangerHere, operator} {
			if err := level.control("tcp", address, nil); (err == nil) != want[i] {
				t.Errorf("%s, trust %d: %v", address, level, err)
			}
		}
	}
}

func TestAFetchUsesNoProxy(t *testing.T) {
	proxy := newSite(t)
	t.Setenv("HTTP_PROXY", proxy.url)
	t.Setenv("HTTPS_PROXY", proxy.url)
	f := newFetcher(stranger)
	if f.http.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy would be asked")
	}
}

// TestManyAskersCauseOneFetch, and one who goes away doesn't take it from the others.
func TestManyAskersCauseOneFetch(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	good := s.json(nil)
	s.set(func(w http.ResponseWriter, r *http.Request) { close(arrived); <-release; good(w, r) })
	first, leave := context.WithCancel(t.Context())
	var wg, gone sync.WaitGroup
	gone.Go(func() {
		if _, err := d.Client(first, s.url); !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("the first: %v", err)
		}
	})
	<-arrived
	for range 50 {
		wg.Go(func() {
			if _, err := d.Client(t.Context(), s.url); err != nil {
				t.Error(err)
			}
		})
	}
	leave()
	gone.Wait()
	close(release)
	wg.Wait()
	if s.hits.Load() != 1 {
		t.Errorf("%d fetches", s.hits.Load())
	}
}

// Security catalogue A-065.
func TestOnlySoManyFetchesAtATime(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	for range fetchSlots {
		d.fetches.gate.all <- struct{}{}
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := d.fetches.get(short, s.url, MaxDocument, true); !errors.Is(err, errBusy) || s.hits.Load() != 0 {
		t.Errorf("one too many: %v, %d fetches", err, s.hits.Load())
	}
	<-d.fetches.gate.all
	for range 3 { // each gives its slot back
		if _, _, err := d.fetches.get(t.Context(), s.url, MaxDocument, true); err != nil {
			t.Error(err)
		}
	}
	if len(d.fetches.gate.all) != fetchSlots-1 {
		t.Errorf("%d slots are taken", len(d.fetches.gate.all))
	}
}

func TestThatAFetchHadToWaitIsNotRemembered(t *testing.T) {
	c := newCache[int](1)
	now := time.Now()
	read := func() time.Time { return now }
	_, err := c.get(t.Context(), "a", read, false, func(context.Context) (int, time.Duration, error) { return 0, 0, errBusy })
	if !errors.Is(err, errBusy) {
		t.Error(err)
	}
	if v, err := c.get(t.Context(), "a", read, false, func(context.Context) (int, time.Duration, error) { return 7, time.Hour, nil }); v != 7 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	c := newCache[int](3)
	now := time.Now()
	read := func() time.Time { return now }
	load := func(ttl time.Duration, err error) func(context.Context) (int, time.Duration, error) {
		return func(context.Context) (int, time.Duration, error) { return 1, ttl, err }
	}
	bad := errors.New("bad")
	_, _ = c.get(t.Context(), "long", read, false, load(time.Hour, nil))
	_, _ = c.get(t.Context(), "short", read, false, load(time.Minute, nil))
	for i := range 100 {
		_, _ = c.get(t.Context(), fmt.Sprint("bad", i), read, false, load(0, bad))
	}
	if len(c.entries) != 3 || c.entries["long"] == nil || c.entries["short"] == nil {
		t.Errorf("failures push values out: %v", c.entries)
	}
	_, _ = c.get(t.Context(), "new", read, false, load(time.Hour, nil))
	_, _ = c.get(t.Context(), "newer", read, false, load(time.Hour, nil))
	if len(c.entries) != 3 || c.entries["long"] == nil || c.entries["short"] != nil {
		t.Errorf("the first to expire goes: %v", c.entries)
	}
	// While all of them are being loaded, nobody else is.
	stay := make(chan struct{})
	c = newCache[int](1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = c.get(ctx, "a", read, false, func(context.Context) (int, time.Duration, error) { <-stay; return 1, time.Hour, nil })
	if _, err := c.get(t.Context(), "b", read, false, load(time.Hour, nil)); !errors.Is(err, errBusy) {
		t.Errorf("got %v", err)
	}
	close(stay)
}

func TestPinnedDocumentsNeedNoNetwork(t *testing.T) {
	const id = "https://claude.ai/oauth/client.json"
	file := filepath.Join(t.TempDir(), "claude.json")
	write := func(name, uri string) {
		t.Helper()
		text := fmt.Sprintf(`{"client_id":%q,"client_name":%q,"redirect_uris":[%q],"token_endpoint_auth_method":"none"}`, id, name, uri)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Claude Code", "http://localhost/callback")
	var fetched atomic.Int32
	for _, enabled := range []bool{false, true} {
		d := newDesk(t, func(r *Registry) { r.Documents = Documents{Enabled: enabled, Pinned: map[string]string{id: file}} })
		d.fetches.http.Transport = counting{&fetched}
		c, err := d.Client(t.Context(), id)
		if err != nil || c.Kind != Document || !c.Verified || !MatchRedirect(c, "http://localhost:49152/callback") {
			t.Fatalf("%+v, %v", c, err)
		}
		write("Claude Code 2", "https://claude.ai/cb")
		after, err := d.Client(t.Context(), id)
		if err != nil || after.Digest == c.Digest || after.Name != "Claude Code 2" {
			t.Errorf("after a change: %+v, %v", after, err)
		}
		write("Claude Code", "javascript:alert(1)")
		still, err := d.Client(t.Context(), id)
		if err != nil || still.Digest != after.Digest {
			t.Errorf("after a bad change: %+v, %v", still, err)
		}
		write("Claude Code", "http://localhost/callback")
		if c, err := d.Client(t.Context(), id); err != nil || c.Name != "Claude Code" {
			t.Errorf("after it was mended: %+v, %v", c, err)
		}
	}
	if fetched.Load() != 0 {
		t.Errorf("%d fetches", fetched.Load())
	}
	for name, text := range map[string]string{"damaged": "{", "of another URL": `{"client_id":"https://a.example/c","client_name":"x","redirect_uris":["https://a.example/cb"]}`, "too long": strings.Repeat(" ", MaxDocument+1)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := &Registry{Store: nothing{}, Documents: Documents{Enabled: true, Pinned: map[string]string{id: file}}}
		if err := r.Check(); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
		if r.Check() == nil {
			t.Errorf("%s: the second Check forgot", name)
		}
		r.fetches.http.Transport = counting{&fetched}
		if _, err := r.Client(t.Context(), id); !errors.Is(err, store.ErrNotFound) || fetched.Load() != 0 {
			t.Errorf("%s: %v, %d fetches", name, err, fetched.Load())
		}
	}
}

func TestOnlyAllowedHostsAreAsked(t *testing.T) {
	s := newSite(t)
	for _, allow := range []string{"claude.ai", "27.0.0.1", "*.0.0.2"} {
		d := newDesk(t, func(r *Registry) { withDocuments(r); r.Documents.Allow = []string{allow} })
		if _, err := d.Client(t.Context(), s.url); !errors.Is(err, store.ErrNotFound) || s.hits.Load() != 0 {
			t.Errorf("%s: %v, %d fetches", allow, err, s.hits.Load())
		}
	}
	d := newDesk(t, func(r *Registry) { withDocuments(r); r.Documents.Allow = []string{"claude.ai", "127.0.0.1"} })
	if _, err := d.Client(t.Context(), s.url); err != nil {
		t.Error(err)
	}
	below := Documents{Allow: []string{"*.Example.org"}}
	for id, want := range map[string]bool{
		"https://a.example.org/c": true, "https://a.b.example.org:8443/c": true, "https://example.org/c": false,
		"https://badexample.org/c": false, "https://a.example.org.evil.example/c": false, "https://evil.example/.example.org": false,
	} {
		if below.allows(id) != want {
			t.Errorf("%s: %v", id, !want)
		}
	}
	for _, host := range []string{"", "*", "https://a.example", "a.example:443", "a.*.example", "*.*.example", "a b"} {
		if (&Registry{Documents: Documents{Allow: []string{host}}}).Check() == nil {
			t.Errorf("%q taken", host)
		}
	}
}

func TestAUsedDocumentClientGetsARecord(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	if err := d.Used(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	first, err := d.store.Client(t.Context(), s.url)
	if err != nil || first.Name != "Agent" || first.Digest == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	d.clock.add(2 * time.Hour)
	s.set(s.json(map[string]any{"client_name": "Renamed"}))
	for s.hits.Load() < 2 { // read anew behind the back of the request that stands on it
		if err := d.Used(t.Context(), s.url); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Client(t.Context(), s.url); err != nil { // waits for it
		t.Fatal(err)
	}
	if err := d.Used(t.Context(), s.url); err != nil {
		t.Fatal(err)
	}
	again, err := d.store.Client(t.Context(), s.url)
	if err != nil || again.Name != "Renamed" || !again.Created.Equal(first.Created) || !again.LastUsed.After(first.LastUsed) {
		t.Errorf("%+v, %v", again, err)
	}
	d.clock.add(UsedTTL)
	if _, err := d.store.Client(t.Context(), s.url); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("90 days without use: %v", err)
	}
}

// Security catalogue A-025.
func TestUnknownKeyIDsCauseNoStorm(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	s.set(s.text(publicSet, "Cache-Control", "max-age=3600"))
	c := &store.Client{ID: "x", Kind: Document, KeysURI: s.url}
	for i := range 1000 {
		if _, err := d.Keys(t.Context(), c, fmt.Sprint("unknown", i)); err != nil {
			t.Fatal(err)
		}
	}
	if s.hits.Load() != 1 {
		t.Errorf("%d fetches", s.hits.Load())
	}
	d.clock.add(reloadAfter)
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	for range 10 {
		if _, err := d.Keys(t.Context(), c, "unknown"); err != nil {
			t.Errorf("what was good stays good until it expires: %v", err)
		}
	}
	if s.hits.Load() != 2 {
		t.Errorf("%d fetches a minute later", s.hits.Load())
	}
	d.clock.add(time.Hour - reloadAfter)
	if _, err := d.Keys(t.Context(), c, ""); !errors.Is(err, ErrUnavailable) {
		t.Errorf("expired: %v", err)
	}
}

func TestAKeySetIsReadOnceAndStrictly(t *testing.T) {
	d, s := newDesk(t, withDocuments), newSite(t)
	s.set(s.text(publicSet))
	keys, err := d.Keys(t.Context(), &store.Client{Kind: Document, KeysURI: s.url}, "one")
	if err != nil || len(keys.Keys) != 1 || keys.Keys[0].Use != "sig" || keys.Keys[0].KeyID != "one" {
		t.Errorf("%+v, %v", keys, err)
	}
	own, err := d.Keys(t.Context(), &store.Client{Kind: Dynamic, Keys: []byte(publicSet)}, "one")
	if err != nil || len(own.Keys) != 1 || s.hits.Load() != 1 {
		t.Errorf("its own: %+v, %v", own, err)
	}
	for name, set := range map[string]string{
		"a secret":          `{"keys":[{"kty":"oct","k":"AA"}]}`,
		"a private key":     privateSet,
		"one of them is":    strings.Replace(publicSet, `[`, `[{"kty":"oct","k":"AA"},`, 1),
		"a weak RSA key":    `{"keys":[{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("v", 171) + `"}]}`,
		"for encryption":    strings.Replace(publicSet, `{"kty`, `{"use":"enc","kty`, 1),
		"no list":           `{"keys":{}}`,
		"nothing":           `{}`,
		"a member twice":    strings.Replace(publicSet, `"kid"`, `"kid":"two","kid"`, 1),
		"over its limit":    publicSet + strings.Repeat(" ", MaxKeySet),
		"off its curve":     `{"keys":[{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}]}`,
		"a kind of its own": `{"keys":[{"kty":"NEW"}]}`,
	} {
		d := newDesk(t, withDocuments)
		s.set(s.text(set))
		if _, err := d.Keys(t.Context(), &store.Client{Kind: Document, KeysURI: s.url}, "one"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheOperatorsKeysMayLieInside(t *testing.T) {
	s := newSite(t)
	s.set(s.text(publicSet))
	r := &Registry{Store: nothing{}, Documents: Documents{Enabled: true}}
	if _, err := r.OperatorKeys(t.Context(), s.url, "one"); err != nil {
		t.Error(err)
	}
	if _, err := r.Keys(t.Context(), &store.Client{Kind: Document, KeysURI: s.url}, "one"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a stranger got them from the cache: %v", err)
	}
}

func TestACertificateIsChecked(t *testing.T) {
	var hits atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	d := newDesk(t, withDocuments)
	if _, err := d.Client(t.Context(), srv.URL+"/client.json"); !errors.Is(err, ErrUnavailable) || hits.Load() != 0 {
		t.Errorf("%v, %d requests", err, hits.Load())
	}
}

// Where there is no way out, the operator reads why and what to do; and nobody
// can fill the log by naming addresses that don't answer.
func TestTheOperatorHearsOfUnreadableDocumentsOnceAWhile(t *testing.T) {
	var log bytes.Buffer
	d, s := newDesk(t, func(r *Registry) { withDocuments(r); r.Logger = slog.New(slog.NewTextHandler(&log, nil)) }), newSite(t)
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	for n := range 20 {
		if _, err := d.Client(t.Context(), fmt.Sprint(s.url, n)); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if got := strings.Count(log.String(), "clientDocuments.pinned"); got != 1 {
		t.Errorf("%d warnings:\n%s", got, &log)
	}
	d.clock.add(warnEvery)
	_, _ = d.Client(t.Context(), s.url+"again")
	if got := strings.Count(log.String(), "clientDocuments.pinned"); got != 2 {
		t.Errorf("%d warnings after %v", got, warnEvery)
	}
}
