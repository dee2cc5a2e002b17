package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// byName allows, and lists, what hides does not name.
type byName struct {
	policy.AllowAll
	mu       sync.Mutex
	revision string
	hides    func(t policy.Target) bool
	decided  []string // names that were judged
}

func (b *byName) Decide(_ context.Context, r *policy.Request) (policy.Decision, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decided = append(b.decided, r.Target.Name)
	return policy.Decision{Allow: !b.hides(r.Target)}, nil
}

func (b *byName) Visible(_ context.Context, _ *policy.Request, _ []string, targets []policy.Target) ([]bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	shown := make([]bool, len(targets))
	for i, t := range targets {
		shown[i] = !b.hides(t)
	}
	return shown, nil
}

func (b *byName) Revision() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.revision
}

// change replaces the rule.
func (b *byName) change(hides func(policy.Target) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hides, b.revision = hides, b.revision+"+"
}

func (b *byName) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := b.decided
	b.decided = nil
	return names
}

// A rule that lets agents read one folder can't be gone round by another way to
// write a URI, nor by another method: what is denied answers as what does not
// exist, and its upstream hears nothing (security catalogue A-099).
func TestADeniedURIIsUnknownHoweverItIsWritten(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	const everything = "file:///{+path}"
	u.extra["resources/list"] = `{"uri":"file:///public/a","name":"a"},{"uri":"file:///secret/key","name":"k"},{"uri":"file:///public/./odd","name":"o"}`
	u.extra["resources/templates/list"] = `{"uriTemplate":"` + everything + `","name":"e"},{"uriTemplate":"secret://{id}","name":"s"}`
	u.extra["prompts/list"] = `{"name":"secret"}`
	dec := &byName{hides: func(t policy.Target) bool {
		return t.Name != everything && !strings.HasPrefix(t.Name, "file:///public/")
	}}
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = dec })
	merged, direct := r.legacy("/mcp"), r.legacy("/mcp/up")

	type asked struct{ method, params string }
	ask := func(path, era string, q asked) answer {
		r.id = 100
		if era == "modern" {
			o, err := wire.Fields([]byte("{" + q.params + "}"))
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			wire.SetStandardHeaders(h, wire.LatestModern, q.method, o)
			var header []string
			for name := range h {
				header = append(header, name, h.Get(name))
			}
			return r.post(path, r.modernBody(q.method, q.params), header...)
		}
		if path == "/mcp" {
			return r.in(merged, path, q.method, q.params)
		}
		return r.in(direct, path, q.method, q.params)
	}
	of := func(uri string) []asked {
		quoted := string(wire.AppendString(nil, uri))
		return []asked{
			{"resources/read", `"uri":` + quoted},
			{"resources/subscribe", `"uri":` + quoted},
			{"completion/complete", `"ref":{"type":"ref/resource","uri":` + quoted + `},"argument":{"name":"path","value":""}`},
			{"subscriptions/listen", `"notifications":{"resourceSubscriptions":[` + quoted + `]}`},
		}
	}
	for _, path := range []string{"/mcp", "/mcp/up"} {
		mark := ""
		if path == "/mcp" {
			mark = "#upstream=up"
		}
		for _, era := range []string{"modern", "legacy"} {
			for _, own := range []string{
				"file:///secret/key", "file:///secret/other", "secret://7", "secret://{id}", "file:///secret/{+path}",
				"file:///public/../secret/key", "file:///public/x/../../secret/key", "file:///public/./../secret/key", "file:///public/..",
				"file:///public/%2e%2e/secret/key", "file:///public/%2E./secret/key", "file:///public/..%2fsecret/key", "file:///public/x%2F..%2f..%2Fsecret/key",
				`file:///public/..\secret/key`, `file:///public\..\secret/key`, "file:///public/..%5csecret/key", "file:///public/.\t./secret/key", "file:///public/.\n./secret/key",
				"FILE:///secret/key", "File:///public/a", "file:///%73ecret/key", "file:///public/%61", "file:///public/./a", " file:///secret/key",
			} {
				for i, q := range of(own + mark) {
					if q.method == "subscriptions/listen" || era == "modern" && q.method == "resources/subscribe" {
						continue
					}
					hits := u.heard()
					got := ask(path, era, q)
					absent := ask(path, era, of("none://x" + mark)[i])
					same := strings.ReplaceAll(absent.body, string(wire.AppendString(nil, "none://x"+mark)), string(wire.AppendString(nil, own+mark)))
					if got.status != absent.status || got.body != same || u.heard() != hits {
						t.Errorf("%s %s %s %q:\n%d %s, %d hits\nabsent: %d %s", path, era, q.method, own, got.status, got.body, u.heard()-hits, absent.status, same)
					}
				}
			}
			if a := ask(path, era, asked{"completion/complete", `"ref":{"type":"ref/prompt","name":"` + map[string]string{"/mcp": "up__secret", "/mcp/up": "secret"}[path] + `"},"argument":{"name":"a","value":""}`}); a.code(t) != codeInvalidParams {
				t.Errorf("%s %s: completion of a hidden prompt: %s", path, era, a.body)
			}
			for _, method := range []string{"prompts/list", "resources/list", "resources/templates/list"} {
				if a := ask(path, era, asked{method, ""}); strings.Contains(a.body, "secret") {
					t.Errorf("%s %s %s: %s", path, era, method, a.body)
				}
			}
			dec.take()
			// What is allowed arrives as it was judged, byte for byte.
			for _, own := range []string{"file:///public/a", "file:///public/./odd", "file:///public/B%20c%2Fd", "file:///public/..a/.b/c..?x=../y", "file:///public/é", "file:///public/a%252e%252e"} {
				u.reset()
				ask(path, era, of(own + mark)[0]).result(t)
				sent := u.calls("resources/read")
				if len(sent) != 1 || !strings.Contains(sent[0].body, `"uri":`+string(wire.AppendString(nil, own))) {
					t.Errorf("%s %s: %q went out as %v", path, era, own, sent)
				}
				if judged := dec.take(); len(judged) != 1 || judged[0] != own {
					t.Errorf("%s %s: %q was judged as %q", path, era, own, judged)
				}
			}
		}
		// A stream acknowledges what it honours, and asks the upstream for that.
		k := r.talk(wire.Modern, "", "{}")
		k.path = path
		ctx, cancel := context.WithCancel(t.Context())
		resp := do(t, k.request(ctx, 1, "subscriptions/listen", fmt.Sprintf(`"notifications":{"resourceSubscriptions":[%q,%q,%q]}`,
			"file:///secret/key"+mark, "file:///public/../secret/key"+mark, "file:///public/a"+mark)))
		ack := <-readEvents(resp.Body)
		if !strings.Contains(ack.data, `"resourceSubscriptions":["file:///public/a`+mark+`"]`) {
			t.Errorf("%s: acknowledged %s", path, ack.data)
		}
		cancel()
		resp.Body.Close()
	}
	for _, h := range u.all() {
		if strings.Contains(h.body, "secret") {
			t.Errorf("the upstream heard of it: %s", h.body)
		}
	}
}

// Who may no longer read a resource hears no more of it, though the
// subscription stands and a template that makes its URI is still shown
// (security catalogue A-104).
func TestUpdatesEndWithThePermission(t *testing.T) {
	for _, agent := range []wire.Era{wire.Modern, wire.Legacy} {
		for _, ups := range []wire.Era{wire.Modern, wire.Legacy} {
			t.Run(fmt.Sprintf("%v agent, %v upstream", agent, ups), func(t *testing.T) {
				u := newUpstream(t, ups)
				u.extra["resources/list"] = `{"uri":"x://listed","name":"r"},{"uri":"x://kept","name":"k"}`
				u.extra["resources/templates/list"] = `{"uriTemplate":"x://made/{id}","name":"m"}`
				u.extra["resources/subscribe"], u.extra["resources/unsubscribe"] = `{}`, `{}`
				send := u.notices()
				dec := &byName{hides: func(policy.Target) bool { return false }}
				r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Decider = dec })
				k := r.talk(agent, "2025-11-25", "{}")
				k.path = "/mcp/up"
				if agent == wire.Legacy {
					k = &talker{r: r, era: agent, caps: "{}", path: "/mcp/up", session: r.legacy("/mcp/up")}
				}
				uris := []string{"x://listed", "x://made/1", "x://kept"}
				events := k.watch(t, `"resourceSubscriptions":["`+strings.Join(uris, `","`)+`"]`)
				if agent == wire.Legacy {
					for _, uri := range uris {
						if a := r.in(k.session, k.path, "resources/subscribe", `"uri":"`+uri+`"`); a.status != 200 || strings.Contains(a.body, `"error"`) {
							t.Fatal(a.body)
						}
					}
				}
				// Several streams may stand, of which one carries a subscription:
				// all are said until each of those wanted was heard a few times.
				round := func(word string, wanted ...string) (heard string) {
					stop := make(chan struct{})
					var said sync.WaitGroup
					said.Go(func() {
						for {
							for _, uri := range append(uris, "x://made/1/part") {
								select {
								case send <- `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"` + uri + `","round":"` + word + `"}}`:
								case <-stop:
									return
								}
							}
						}
					})
					defer said.Wait()
					defer close(stop)
					for slices.ContainsFunc(wanted, func(uri string) bool { return strings.Count(heard, `"`+uri+`"`) < 4 }) {
						heard += hear(t, events, `"`+word+`"`)
					}
					return heard
				}
				round("before", uris...)
				dec.change(func(t policy.Target) bool { return t.Name == "x://listed" || strings.HasPrefix(t.Name, "x://made/1") })
				if heard := round("after", "x://kept"); strings.Contains(heard, "x://listed") || strings.Contains(heard, "x://made") {
					t.Errorf("updates of what is hidden: %s", heard)
				}
			})
		}
	}
}
