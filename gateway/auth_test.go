package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

// challenged is an error of a Verifier that says how it is answered.
type challenged struct {
	status int
	header string
}

func (c challenged) Error() string            { return "not verified" }
func (c challenged) Challenge() (int, string) { return c.status, c.header }

// refuses verifies nobody.
type refuses struct{ err error }

func (r refuses) Verify(context.Context, *http.Request) (*identity.Principal, error) {
	return nil, r.err
}

// revocable verifies as testVerifier does, until a user is revoked: then what
// was said of them has ended, and nobody is that user any more.
type revocable struct {
	mu    sync.Mutex
	ended map[string]chan struct{}
	gone  map[string]bool
}

func (v *revocable) Verify(ctx context.Context, r *http.Request) (*identity.Principal, error) {
	p, err := testVerifier{}.Verify(ctx, r)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.gone[p.Subject] {
		return nil, errNoToken
	}
	if v.ended[p.Subject] == nil {
		v.ended[p.Subject] = make(chan struct{})
	}
	p.Ended = v.ended[p.Subject]
	return p, nil
}

// changed ends what is known of the user; again says whether they come back.
func (v *revocable) changed(user string, again bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.ended[user]; c != nil {
		close(c)
		delete(v.ended, user)
	}
	v.gone[user] = !again
}

func newRevocable() *revocable {
	return &revocable{ended: map[string]chan struct{}{}, gone: map[string]bool{}}
}

func (v *revocable) option(_ *rig, c *Config) { c.Verifier, c.LegacySSE = v, true }

const metadata = `Bearer resource_metadata="http://gw.test/.well-known/oauth-protected-resource/mcp", scope="mcp"`

func TestWithoutATokenEverythingIsAnsweredByTheChallenge(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) {
		c.Verifier, c.LegacySSE = refuses{challenged{http.StatusUnauthorized, metadata}}, true
	})
	for _, method := range []string{"GET", "POST", "DELETE", "HEAD", "PUT", "OPTIONS"} {
		for _, path := range []string{"/mcp", "/mcp/up", "/mcp/no-such-upstream"} {
			for name, header := range map[string][]string{
				"plain":               nil,
				"unknown version":     {"Mcp-Protocol-Version", "1999-01-01"},
				"modern version":      {"Mcp-Protocol-Version", "2026-07-28"},
				"unknown session":     {"Mcp-Session-Id", "abc"},
				"wrong content type":  {"Content-Type", "text/plain"},
				"nothing acceptable":  {"Accept", "image/png"},
				"encoded body":        {"Content-Encoding", "gzip"},
				"a token":             {"Authorization", "Bearer wrong"},
				"old event stream":    {"Accept", "text/event-stream"},
				"an event to go from": {"Last-Event-ID", "x-1"},
			} {
				req, err := http.NewRequest(method, r.URL+path, strings.NewReader("{not json"))
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(header); i += 2 {
					req.Header.Set(header[i], header[i+1])
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if got := resp.Header.Values("WWW-Authenticate"); resp.StatusCode != http.StatusUnauthorized || !slices.Equal(got, []string{metadata}) {
					t.Errorf("%s %s, %s: %d %q", method, path, name, resp.StatusCode, got)
				}
			}
		}
	}
	if got := r.records(); len(got) != 0 {
		t.Errorf("strangers wrote %d records", len(got))
	}
}

func TestHostAndOriginAreCheckedBeforeTheToken(t *testing.T) {
	r := newRig(t, nil, func(_ *rig, c *Config) {
		c.Verifier, c.AllowedOrigins = refuses{challenged{401, metadata}}, []string{"https://app.example.com"}
	})
	for _, c := range []struct {
		name, method, host, origin string
		want                       int
	}{
		{"a foreign host", "POST", "evil.example.com", "", http.StatusForbidden},
		{"a foreign origin", "POST", "", "https://evil.example.com", http.StatusForbidden},
		{"a preflight needs no token", "OPTIONS", "", "https://app.example.com", http.StatusNoContent},
		{"what follows it does", "POST", "", "https://app.example.com", http.StatusUnauthorized},
	} {
		req, _ := http.NewRequest(c.method, r.URL+"/mcp", strings.NewReader("{}"))
		if c.host != "" {
			req.Host = c.host
		}
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", c.name, resp.StatusCode, c.want)
		}
		if exposed := resp.Header.Get("Access-Control-Expose-Headers"); c.want == 401 && !strings.Contains(exposed, "WWW-Authenticate") {
			t.Errorf("%s: a page can't read the challenge: %q", c.name, exposed)
		}
	}
}

func TestHowAVerifiersErrorIsAnswered(t *testing.T) {
	for _, c := range []struct {
		name      string
		err       error
		status    int
		challenge string
	}{
		{"malformed", challenged{400, `Bearer error="invalid_request"`}, 400, `Bearer error="invalid_request"`},
		{"wrapped", fmt.Errorf("verify: %w", challenged{401, metadata}), 401, metadata},
		{"a status that is none of ours", challenged{200, metadata}, 401, metadata},
		{"an error without words", errors.New("the index is gone"), 401, `Bearer scope="mcp"`},
	} {
		r := newRig(t, nil, func(_ *rig, cfg *Config) { cfg.Verifier = refuses{c.err} })
		a := r.post("/mcp", "{}")
		if got := a.header.Get("WWW-Authenticate"); a.status != c.status || got != c.challenge {
			t.Errorf("%s: %d %q", c.name, a.status, got)
		}
		if strings.Contains(a.body, "index") || !strings.Contains(a.body, `"error"`) {
			t.Errorf("%s: %s", c.name, a.body)
		}
		r.stop()
	}
}

// endTime is how long a stream may outlive its principal: the promise is one
// second, the bound of the test is for machines that have no time.
const endTime = 10 * time.Second

func TestOpenStreamsEndWithTheirPrincipal(t *testing.T) {
	slow := func(u *upstream) (called chan struct{}) {
		called = make(chan struct{})
		u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
			close(called)
			<-r.Context().Done()
			return ""
		}
		return called
	}
	for _, c := range []struct {
		name string
		// open makes the stream of alice's.
		open func(t *testing.T, r *rig, u *upstream, ctx context.Context) *http.Response
		// farewell: lists changed, as they may have for whoever comes back.
		farewell bool
	}{
		{"the GET stream of a session", func(t *testing.T, r *rig, u *upstream, ctx context.Context) *http.Response {
			return r.getStream(ctx, "/mcp", r.legacy("/mcp")...)
		}, true},
		{"an old agent's stream", func(t *testing.T, r *rig, u *upstream, ctx context.Context) *http.Response {
			return r.getStream(ctx, "/mcp")
		}, false},
		{"subscriptions/listen", func(t *testing.T, r *rig, u *upstream, ctx context.Context) *http.Response {
			return do(t, r.talk(wire.Modern, "", "{}").request(ctx, 1, "subscriptions/listen", `"notifications":{"toolsListChanged":true}`))
		}, true},
		{"a long call of a session", func(t *testing.T, r *rig, u *upstream, ctx context.Context) *http.Response {
			called := slow(u)
			resp := do(t, r.talk(wire.Legacy, "2025-11-25", "{}").request(ctx, 1, "tools/call", `"name":"up__echo"`))
			<-called
			return resp
		}, false},
		{"a long modern call", func(t *testing.T, r *rig, u *upstream, ctx context.Context) *http.Response {
			called := slow(u)
			resp := do(t, r.talk(wire.Modern, "", "{}").request(ctx, 1, "tools/call", `"name":"up__echo"`))
			<-called
			return resp
		}, false},
		{"a batch", func(t *testing.T, r *rig, u *upstream, ctx context.Context) *http.Response {
			called := slow(u)
			k := r.talk(wire.Legacy, "2025-03-26", "{}")
			req := k.request(ctx, 1, "tools/call", `"name":"up__echo"`)
			body, _ := io.ReadAll(req.Body)
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader("["+string(body)+"]")), -1
			resp := do(t, req)
			<-called
			return resp
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, u := newRevocable(), newUpstream(t, wire.Legacy)
			r := newRig(t, map[string]*upstream{"up": u}, v.option, func(_ *rig, c *Config) { c.Limits.KeepAlive = 10 * time.Millisecond })
			ctx, cancel := context.WithTimeout(t.Context(), endTime)
			defer cancel()
			other := r.getStream(ctx, "/mcp", "X-Test-User", "bob")
			defer other.Body.Close()
			resp := c.open(t, r, u, ctx)
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
			began := time.Now()
			v.changed("alice", false)
			last, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatalf("the stream goes on: %v", err)
			}
			if got := strings.Contains(string(last), "notifications/tools/list_changed"); got != c.farewell {
				t.Errorf("that tools changed: %v, in %q", got, last)
			}
			t.Logf("ended after %v", time.Since(began))
			if _, err := other.Body.Read(make([]byte, 1)); err != nil {
				t.Errorf("another's stream ended, too: %v", err)
			}
			if a := r.post("/mcp", "{}"); a.status != http.StatusUnauthorized {
				t.Errorf("afterwards: %d", a.status)
			}
		})
	}
}

func do(t *testing.T, req *http.Request) *http.Response {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestACallIsCancelledUpstreamWhenItsPrincipalEnds(t *testing.T) {
	v, u := newRevocable(), newUpstream(t, wire.Legacy)
	u.asks(t, formAsk("a"))
	r := newRig(t, map[string]*upstream{"up": u}, v.option)
	bob := r.talk(wire.Modern, "", everyCapability)
	bob.user = "bob"
	k := r.talk(wire.Modern, "", everyCapability)
	bobs := bob.parked(t, `"name":"up__echo"`)
	alices := k.parked(t, `"name":"up__echo"`)

	v.changed("alice", true)
	until(t, "the upstream is told of one call", func() bool { return len(u.calls("notifications/cancelled")) == 1 })
	if m, _ := k.once(t.Context(), "tools/call", `"name":"up__echo"`+alices); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error("a parked call outlived its principal:", said(m))
	}
	if text := got(t, bob.call("tools/call", `"name":"up__echo"`+bobs)); !strings.Contains(text, "accept") {
		t.Error("another's parked call was hurt:", text)
	}
}

func TestASessionWhoseSubscriptionsEndedIsOver(t *testing.T) {
	v, u := newRevocable(), newUpstream(t, wire.Legacy)
	u.extra["resources/list"] = `{"uri":"file:///a","name":"a"}`
	u.extra["resources/subscribe"] = `{}`
	r := newRig(t, map[string]*upstream{"up": u}, v.option)
	subscribed, quiet := r.legacy("/mcp/up"), r.legacy("/mcp/up")
	if a := r.in(subscribed, "/mcp/up", "resources/subscribe", `"uri":"file:///a"`); a.status != http.StatusOK {
		t.Fatal(a.body)
	}
	v.changed("alice", true)
	until(t, "the session is not found", func() bool {
		return r.in(subscribed, "/mcp/up", "ping", "").status == http.StatusNotFound
	})
	if a := r.in(quiet, "/mcp/up", "ping", ""); a.status != http.StatusOK {
		t.Errorf("a session without subscriptions ended, too: %d %s", a.status, a.body)
	}
}

func TestTheRecordSaysWhoIsBehindAProxy(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	for name, c := range map[string]struct {
		proxies []netip.Prefix
		want    string
	}{
		"a declared one":       {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "203.0.113.9"},
		"nobody in particular": {nil, "127.0.0.1"},
	} {
		r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, cfg *Config) { cfg.TrustedProxies = c.proxies })
		r.modern("/mcp", "tools/call", `"name":"up__echo"`, "X-Forwarded-For", "203.0.113.9", "X-Forwarded-Proto", "https")
		r.stop()
		for _, rec := range r.records() {
			if rec.Kind == "decision" && (rec.Source.IP != c.want || rec.Source.TLS != (c.proxies != nil) || rec.Source.Proxied != rec.Source.TLS) {
				t.Errorf("%s: %+v", name, rec.Source)
			}
		}
	}
}
