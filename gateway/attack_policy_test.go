package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// A hidden tool answers as one that never was, also while its upstream is down
// (security catalogue A-097).
func TestHiddenIsUnknownWhileItsUpstreamIsDown(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools += `,{"name":"hidden","inputSchema":{"type":"object"}}`
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = &hiding{} })
	u.CloseClientConnections()
	u.Server.Close()
	ask := func(name string) answer {
		r.id = 7
		return r.modern("/mcp", "tools/call", `"name":"up__`+name+`"`)
	}
	if a := ask("echo"); a.code(t) != CodeUnavailable {
		t.Fatalf("a tool that is shown: %s", a.body)
	}
	hidden, absent := ask("hidden"), ask("nosuch")
	if hidden.status != absent.status || strings.ReplaceAll(hidden.body, "hidden", "nosuch") != absent.body {
		t.Errorf("hidden %s\nabsent %s", hidden.body, absent.body)
	}
}

// Headers by which other gateways hand on who is asking say nothing here, and
// go nowhere (security catalogue A-028).
func TestNoHeaderSaysWhoIsAsking(t *testing.T) {
	const canary = "canary-bob-0123456789"
	u := newUpstream(t, wire.Modern)
	dec := &obliging{rule: func(*policy.Request) policy.Decision { return allowed() }}
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = dec })
	for _, name := range []string{
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Forwarded", "X-Client-Ip", "True-Client-Ip",
		"X-Pomerium-Claim-Email", "X-Pomerium-Jwt-Assertion", "X-Mcp-Authorized", "Router-Key", "Mcp-Init-Host", "X-Auth-Request-User", "Remote-User", "X-Remote-User", "X-User", "X-Original-Url",
	} {
		dec.asked = nil
		u.reset()
		if a := r.modern("/mcp", "tools/call", `"name":"up__echo"`, name, canary); a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", name, a.status, a.body)
		}
		if len(dec.asked) != 1 || dec.asked[0].User.ID != "test:alice" || dec.asked[0].Source.IP != "127.0.0.1" {
			t.Errorf("%s: policy saw %+v", name, dec.asked)
		}
		for _, h := range u.all() {
			for header, values := range h.header {
				if header == name || strings.Contains(strings.Join(values, " ")+h.body, canary) {
					t.Errorf("%s reached the upstream: %s: %s", name, header, values)
				}
			}
		}
	}
	r.stop()
	for _, rec := range r.records() {
		if rec.Kind == "decision" && (rec.User.ID != "test:alice" || rec.Source.IP != "127.0.0.1") {
			t.Errorf("recorded %+v %+v", rec.User, rec.Source)
		}
	}
}

// Lists are remembered for one caller as policy may see them: whatever differs
// in the input makes another entry (security catalogue A-101).
func TestAListIsRememberedUnderAllThatPolicyMayRead(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	base := func() *identity.Principal {
		return &identity.Principal{Issuer: "local", Subject: "s", Name: "n", Groups: []string{"a", "b"}, AMR: []string{"pwd"}, AuthTime: now,
			Client: identity.Client{ID: "c", Kind: "static", VerifiedName: "v", RedirectHost: "h"},
			Grant:  identity.Grant{Scopes: []string{"mcp"}, Resource: "r", ConsentedAt: now}}
	}
	key := func(p *identity.Principal) string { return viewKey(p, "", policy.Agent{}) }
	seen := map[string]string{key(base()): "the same"}
	for name, change := range map[string]func(*identity.Principal){
		"issuer": func(p *identity.Principal) { p.Issuer = "x" }, "subject": func(p *identity.Principal) { p.Subject = "x" }, "name": func(p *identity.Principal) { p.Name = "x" },
		"groups": func(p *identity.Principal) { p.Groups = []string{"a"} }, "no groups": func(p *identity.Principal) { p.Groups = nil },
		"groups that run together": func(p *identity.Principal) { p.Groups = []string{"a\x00b"} }, "groups into methods": func(p *identity.Principal) { p.Groups, p.AMR = []string{"a", "b\x00\x01pwd"}, nil },
		"method": func(p *identity.Principal) { p.AMR = []string{"otp"} }, "time of sign-in": func(p *identity.Principal) { p.AuthTime = now.Add(1) },
		"client": func(p *identity.Principal) { p.Client.ID = "x" }, "kind": func(p *identity.Principal) { p.Client.Kind = "dynamic" },
		"verified name": func(p *identity.Principal) { p.Client.VerifiedName = "x" }, "redirect host": func(p *identity.Principal) { p.Client.RedirectHost = "x" },
		"scopes": func(p *identity.Principal) { p.Grant.Scopes = []string{"mcp", "x"} }, "resource": func(p *identity.Principal) { p.Grant.Resource = "x" },
		"consent": func(p *identity.Principal) { p.Grant.ConsentedAt = now.Add(1) },
	} {
		p := base()
		change(p)
		if other, dup := seen[key(p)]; dup {
			t.Errorf("%s has the entry of %s", name, other)
		}
		seen[key(p)] = name
	}
	for name, other := range map[string]string{"endpoint": viewKey(base(), "up", policy.Agent{}), "agent": viewKey(base(), "", policy.Agent{Name: "x"}), "its version": viewKey(base(), "", policy.Agent{Version: "x"})} {
		if was, dup := seen[other]; dup {
			t.Errorf("another %s has the entry of %s", name, was)
		}
	}
}

// One client of two people gets each their own list, marked as private to
// caches of both eras; a policy change counts for the call right after it
// (security catalogue A-101).
func TestNoCacheHandsOnWhatIsAnothers(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	dec := &byName{hides: func(policy.Target) bool { return false }}
	mine := &perUser{byName: dec}
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = mine })
	for range 3 {
		for user, sees := range map[string]bool{"alice": true, "bob": false} {
			a := r.modern("/mcp", "tools/list", "", "X-Test-User", user, "If-None-Match", "*")
			if strings.Contains(a.result(t), "up__echo") != sees || !strings.Contains(a.body, `"cacheScope":"private"`) {
				t.Errorf("%s: %s", user, a.body)
			}
			if h := a.header; h.Get("Cache-Control") != "no-store" || h.Get("Etag")+h.Get("Expires")+h.Get("Last-Modified") != "" {
				t.Errorf("%s: %v", user, h)
			}
			s := r.legacy("/mcp", "X-Test-User", user)
			a = r.in(s, "/mcp", "tools/list", "")
			if strings.Contains(a.result(t), "up__echo") != sees || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v %s", user, a.header, a.body)
			}
		}
	}
	if a := r.modern("/mcp", "tools/call", `"name":"up__echo"`); a.code(t) != 0 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("before the change: %v %s", a.header, a.body)
	}
	u.reset()
	dec.change(func(t policy.Target) bool { return t.Name == "echo" })
	if a := r.modern("/mcp", "tools/call", `"name":"up__echo"`); a.code(t) != codeInvalidParams || u.heard() != 0 {
		t.Errorf("right after the change: %s, %d hits", a.body, u.heard())
	}
}

// perUser shows tools to alice alone.
type perUser struct{ *byName }

func (p *perUser) Visible(ctx context.Context, r *policy.Request, u []string, targets []policy.Target) ([]bool, error) {
	shown, err := p.byName.Visible(ctx, r, u, targets)
	for i := range shown {
		shown[i] = shown[i] && r.User.Name == "alice"
	}
	return shown, err
}

// pondering decides when the agent has left, or after half a minute.
type pondering struct {
	policy.AllowAll
	pending chan struct{} // a decision began
}

func (p *pondering) Decide(ctx context.Context, _ *policy.Request) (policy.Decision, error) {
	p.pending <- struct{}{}
	select {
	case <-ctx.Done():
	case <-time.After(30 * time.Second):
	}
	return policy.Decision{Allow: true}, nil
}

// Who leaves while the decision is pending has not called: the upstream hears
// nothing, whatever the decision is then. What was let through before the end
// was seen has its record (security catalogue A-105).
func TestACancelDuringTheDecisionIsNoCall(t *testing.T) {
	for name, leave := range map[string]func(r *rig, k *talker, cancel func()){
		"a modern agent hangs up": func(_ *rig, _ *talker, cancel func()) { cancel() },
		"a legacy agent cancels": func(r *rig, k *talker, _ func()) {
			r.post("/mcp", `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`, k.session...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, wire.Modern)
			dec := &pondering{pending: make(chan struct{})}
			r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = dec })
			era := wire.Modern
			if strings.Contains(name, "legacy") {
				era = wire.Legacy
			}
			k := r.talk(era, "2025-11-25", "{}")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var over sync.WaitGroup
			over.Go(func() {
				if resp, err := http.DefaultClient.Do(k.request(ctx, 1, "tools/call", `"name":"up__echo"`)); err == nil {
					resp.Body.Close()
				}
			})
			<-dec.pending
			leave(r, k, cancel)
			over.Wait()
			r.stop()
			decided, outcome := "", ""
			for _, rec := range r.records() {
				switch {
				case rec.Kind == "decision" && rec.Request.Method == "tools/call":
					decided = rec.DecisionID
				case rec.Kind == "outcome" && rec.DecisionID == decided:
					outcome = rec.Outcome
				}
			}
			calls := len(u.calls("tools/call"))
			if calls > 0 && decided == "" {
				t.Fatal("it ran unrecorded")
			}
			if calls > 0 || decided != "" && outcome != "cancelled" && outcome != "not_executed" {
				t.Errorf("%d calls after the cancel, decision %q, outcome %q", calls, decided, outcome)
			}
		})
	}
}

// mistaken panics with words that only the operator may read.
type mistaken struct{ policy.AllowAll }

const deepWords = "/home/ostiary/data/keys: canary-of-the-gateway"

func (mistaken) Decide(context.Context, *policy.Request) (policy.Decision, error) { panic(deepWords) }

// When the gateway itself goes wrong the agent learns an id, and the operator
// finds it in the log (security catalogue A-113).
func TestAMistakeOfOursTellsTheAgentAnIDAlone(t *testing.T) {
	var log lockedBuffer
	u := newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) {
		c.Decider, c.Logger = mistaken{}, slog.New(slog.NewTextHandler(&log, nil))
	})
	s := r.legacy("/mcp")
	for era, a := range map[string]answer{
		"modern": r.modern("/mcp", "tools/call", `"name":"up__echo"`),
		"legacy": r.in(s, "/mcp", "tools/call", `"name":"up__echo"`),
	} {
		_, id, ok := strings.Cut(strings.TrimSuffix(a.body, `"}}`), "the gateway's log says more under ")
		if a.status != http.StatusOK || a.code(t) != codeInternal || !ok || len(id) != 32 {
			t.Errorf("%s: %d %s", era, a.status, a.body)
		}
		for _, bad := range []string{"canary", "/home", "goroutine", ".go:", "panic"} {
			if strings.Contains(a.body, bad) {
				t.Errorf("%s: the answer says %s: %s", era, bad, a.body)
			}
		}
		if !strings.Contains(log.String(), "decision_id="+id) || !strings.Contains(log.String(), "canary-of-the-gateway") {
			t.Errorf("%s: the log has not %s", era, id)
		}
	}
	r.modern("/mcp", "tools/list", "").result(t)
}

// What an upstream gets wrong is answered in our own words (security catalogue
// no address, no text of its own, nothing of the parser's.
func TestAnUpstreamsMistakeIsAnsweredInOurWords(t *testing.T) {
	for name, result := range map[string]string{
		"no result": `null`, "a list": `[]`, "no object": `"canary /srv/upstream"`, "an unknown kind": `{"resultType":"canary /srv/upstream","content":[]}`, "no content": `{"resultType":"complete","content":null}`,
	} {
		u := newUpstream(t, wire.Modern)
		u.call = func(http.ResponseWriter, *http.Request, *wire.Message) string { return result }
		r := newRig(t, map[string]*upstream{"up": u})
		a := r.modern("/mcp", "tools/call", `"name":"up__echo"`)
		if a.status >= 500 || strings.Contains(a.body, "canary") || strings.Contains(a.body, u.URL) || strings.Contains(a.body, "127.0.0.1") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
