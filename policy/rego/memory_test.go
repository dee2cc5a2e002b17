package rego

import (
	"encoding/json"
	stdflag "flag" // flag is a kind of leaf here
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ostiary/ostiary/policy"
)

func TestMemoryForgetsTheScopeLongestUnused(t *testing.T) {
	m := newMemory[int](6) // three scopes with an answer each
	for i := range 3 {
		m.put([]byte{byte(i)}, []byte("k"), i)
	}
	m.find([]byte{0})
	m.put([]byte{3}, []byte("k"), 3)
	for i, want := range []bool{true, false, true, true} {
		if _, got := m.find([]byte{byte(i)}).get([]byte("k")); got != want {
			t.Errorf("scope %d kept: %v, want %v", i, got, want)
		}
	}
	if m.held != 6 {
		t.Errorf("%d held, want 6", m.held)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory[int](100)
	for scope := range 20 {
		for key := range 30 {
			m.put(fmt.Appendf(nil, "s%d", scope), fmt.Appendf(nil, "k%d", key), key)
		}
	}
	for key := range 500 { // one scope can't have more than everything
		m.put([]byte("big"), fmt.Appendf(nil, "k%d", key), key)
	}
	n := len(m.scopes)
	for _, s := range m.scopes {
		n += len(s.answers)
	}
	if n > 100 || n != m.held {
		t.Errorf("%d kept, %d counted, want at most 100", n, m.held)
	}
	if v, ok := m.find([]byte("big")).get([]byte("k7")); !ok || v != 7 {
		t.Errorf("got %d, %v", v, ok)
	}
}

func TestMemoryIsSafeForConcurrentUse(t *testing.T) {
	m := newMemory[int](50)
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() {
			for i := range 2000 {
				scope, key := fmt.Appendf(nil, "s%d", (i*w)%9), fmt.Appendf(nil, "k%d", i%11)
				if v, ok := m.find(scope).get(key); ok && v != i%11 {
					t.Errorf("got %d for %d", v, i%11)
				}
				m.put(scope, key, i%11)
			}
		})
	}
	work.Wait()
}

func TestWhatIsRemembered(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		want        int
	}{
		{"an allowing decision", `allow if input.user.name == "alice"`, 1},
		{"a denial is made anew", `allow if input.user.name == "bob"`, 0},
		{"a failure is none", `allow if true
deny contains "x" if to_number(input.user.name) > 3`, 0},
		{"arguments hardly come back", `allow if input.arguments.title`, 0},
		{"nor does a second", `allow if input.time.unix > 3`, 0},
		{"nor does the whole input", `allow if object.get(input, ["user", "name"], "") == "alice"`, 0},
		{"an hour does", `allow if input.time.hour > 3`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := engineOf(t, tt.rules)
			for range 3 {
				e.Decide(t.Context(), request())
			}
			n := 0
			for _, s := range e.decisions.scopes {
				n += len(s.answers)
			}
			if n != tt.want {
				t.Errorf("%d answers, want %d", n, tt.want)
			}
		})
	}
}

// TestRememberedHoldsForTheSameValuesOnly changes one field after another: an
// answer may hold on exactly where the rules don't read the field.
func TestRememberedHoldsForTheSameValuesOnly(t *testing.T) {
	changes := map[string]func(*policy.Request){
		"input.version == 1":                                  func(r *policy.Request) { r.Version = 2 },
		"not input.listing":                                   func(r *policy.Request) { r.Listing = true },
		`input.request.method == "tools/call"`:                func(r *policy.Request) { r.Request.Method = "prompts/get" },
		`input.request.kind == "tool"`:                        func(r *policy.Request) { r.Request.Kind = "prompt" },
		`input.request.era == "modern"`:                       func(r *policy.Request) { r.Request.Era = "legacy" },
		`input.request.endpoint == "/mcp"`:                    func(r *policy.Request) { r.Request.Endpoint = "/mcp/github" },
		`input.upstream == "github"`:                          func(r *policy.Request) { r.Upstream = "gitlab" },
		`input.target.kind == "tool"`:                         func(r *policy.Request) { r.Target.Kind = "prompt" },
		`input.target.name == "create_issue"`:                 func(r *policy.Request) { r.Target.Name = "delete_issue" },
		`"write" in input.target.labels`:                      func(r *policy.Request) { r.Target.Labels = nil },
		`input.target.annotations == {"readOnlyHint": false}`: func(r *policy.Request) { r.Target.Annotations = json.RawMessage(`{"readOnlyHint":true}`) },
		"input.target.trusted":                                func(r *policy.Request) { r.Target.Trusted = false },
		"not input.target.visibility":                         func(r *policy.Request) { r.Target.Visibility = []string{"app"} },
		`startswith(input.target.digest, "5d41")`:             func(r *policy.Request) { r.Target.Digest = "00" },
		`input.user.id == "local:alice"`:                      func(r *policy.Request) { r.User.ID = "local:bob" },
		`input.user.name == "alice"`:                          func(r *policy.Request) { r.User.Name = "bob" },
		`"staff" in input.user.groups`:                        func(r *policy.Request) { r.User.Groups = []string{"engineering"} },
		"input.user.auth_time > 1000":                         func(r *policy.Request) { r.User.AuthTime = 0 },
		`"otp" in input.user.amr`:                             func(r *policy.Request) { r.User.AMR = []string{"pwd"} },
		`input.client.id == "cli"`:                            func(r *policy.Request) { r.Client.ID = "other" },
		`input.client.kind == "static"`:                       func(r *policy.Request) { r.Client.Kind = "dynamic" },
		`input.client.verified_name == "Command line"`:        func(r *policy.Request) { r.Client.VerifiedName = "" },
		`input.client.redirect_host == "127.0.0.1"`:           func(r *policy.Request) { r.Client.RedirectHost = "app.example" },
		`"mcp" in input.grant.scopes`:                         func(r *policy.Request) { r.Grant.Scopes = nil },
		`endswith(input.grant.resource, "/mcp")`:              func(r *policy.Request) { r.Grant.Resource = "https://gateway.example/mcp/github" },
		"input.grant.consented_at > 0":                        func(r *policy.Request) { r.Grant.ConsentedAt = 0 },
		`input.agent.name == "agent"`:                         func(r *policy.Request) { r.Agent.Name = "other" },
		`input.agent.version == "1.2"`:                        func(r *policy.Request) { r.Agent.Version = "1.3" },
		`input.source.ip == "192.0.2.7"`:                      func(r *policy.Request) { r.Source.IP = "192.0.2.8" },
		"not input.source.proxied":                            func(r *policy.Request) { r.Source.Proxied = true },
		"input.source.tls":                                    func(r *policy.Request) { r.Source.TLS = false },
		"input.time.hour == 12":                               func(r *policy.Request) { r.Time.Hour = 13 },
		`input.time.weekday == "monday"`:                      func(r *policy.Request) { r.Time.Weekday = "tuesday" },
		`input.time.zone == "UTC"`:                            func(r *policy.Request) { r.Time.Zone = "CET" },
		"input.time.unix < 2000000000":                        func(r *policy.Request) { r.Time.Unix = 2000000001 },
		`startswith(input.time.rfc3339, "2026")`:              func(r *policy.Request) { r.Time.RFC3339 = "2027-01-01T00:00:00Z" },
		"not input.counters.calls":                            func(r *policy.Request) { r.Counters = map[string]int64{"calls": 1} },
		`input.arguments.title == "Broken"`:                   func(r *policy.Request) { r.Arguments = json.RawMessage(`{}`) },
		"not input.responses":                                 func(r *policy.Request) { r.Responses = json.RawMessage(`{}`) },
	}
	if got, want := len(changes), len(leaves()); got != want {
		t.Fatalf("%d fields are changed, there are %d", got, want)
	}
	for rule, change := range changes {
		t.Run(rule, func(t *testing.T) {
			e := engineOf(t, "allow if "+rule)
			before, after := request(), request()
			change(after)
			for range 2 {
				for r, want := range map[*policy.Request]bool{before: true, after: false} {
					if d, err := e.Decide(t.Context(), r); err != nil || d.Allow != want {
						t.Fatalf("allowed %v, want %v (%v)", d.Allow, want, err)
					}
				}
			}
			other := engineOf(t, `allow if { not input.user.nothing }`)
			for _, r := range []*policy.Request{before, after} {
				if d, err := other.Decide(t.Context(), r); err != nil || !d.Allow {
					t.Fatal(d, err)
				}
			}
		})
	}
}

func TestNeighbouringValuesDoNotRunTogether(t *testing.T) {
	e := engine(t, `allow if { input.upstream == "ab"; input.target.name == "c"; input.user.groups == ["d", "e"] }`, patient())
	r := request()
	for _, tt := range []struct {
		upstream, name string
		groups         []string
		want           bool
	}{{"ab", "c", []string{"d", "e"}, true}, {"a", "bc", []string{"d", "e"}, false}, {"ab", "c", []string{"de"}, false}, {"ab", "c", []string{"", "de"}, false}} {
		r.Upstream, r.Target.Name, r.User.Groups = tt.upstream, tt.name, tt.groups
		if d, err := e.Decide(t.Context(), r); err != nil || d.Allow != tt.want {
			t.Errorf("%+v: allowed %v, %v", tt, d.Allow, err)
		}
	}
}

// rememberedIsFresh holds answers from memory, and from the trimmed document,
// against an evaluation of the whole document.
func rememberedIsFresh(t *testing.T, seed uint64) {
	g := newGenerator(seed)
	text := g.policy()
	e := generated(t, text)
	if e == nil {
		return
	}
	for range 6 {
		r := g.caller()
		r.Upstream, r.Target = g.target()
		g.open(&r)
		fresh := *e
		fresh.decided = e.leaves
		want, wantErr := fresh.evaluate(t.Context(), &r, patient().Timeout)
		for range 2 {
			got, err := e.Decide(t.Context(), &r)
			if fmt.Sprintf("%v", got) != fmt.Sprintf("%v", want) || (err == nil) != (wantErr == nil) {
				doc, _ := json.Marshal(r)
				t.Fatalf("seed %d: got %v (%v), fresh %v (%v)\n%s\n%s", seed, got, err, want, wantErr, text, doc)
			}
		}
		list := r
		list.Request.Era = g.pick("", "modern")
		first := visible(t, e, &list)
		e.listings = newMemory[bool](100)
		if again := visible(t, e, &list); again != first {
			t.Fatalf("seed %d: listed from memory %v, fresh %v\n%s", seed, first, again, text)
		}
	}
}

func TestRememberedIsFresh(t *testing.T) {
	for seed := range uint64(30) {
		rememberedIsFresh(t, 1_000_000+seed)
	}
}

// FuzzRememberedIsFresh makes a policy for each input.
func FuzzRememberedIsFresh(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(rememberedIsFresh)
}

// bodies is how many requests TestBodiesRememberedAreFresh makes; go test -bodies
// 10000000 -run Bodies -timeout 0 is the long round.
var bodies = stdflag.Int("bodies", 3000, "requests of TestBodiesRememberedAreFresh")

// crowd is a few policies, whose memories fill up and forget.
type crowd struct {
	engines []*Engine
	texts   []string
}

func newCrowd(t testing.TB) *crowd {
	c := &crowd{}
	for seed := uint64(3_000_000); len(c.engines) < 64; seed++ {
		text := newGenerator(seed).policy()
		s, ps := readSources(directory(t, "policy.rego", text, "data.json", tables))
		if len(ps) > 0 {
			t.Fatal(ps)
		}
		o := patient()
		o.Remember, o.Denials = 500, seed%2 == 0
		if e, _, ps := assemble(s, o); len(ps) == 0 {
			c.engines, c.texts = append(c.engines, e), append(c.texts, text)
		}
	}
	return c
}

// ask holds one request against an evaluation of the whole document; arguments,
// unless nil, are its own.
func (c *crowd) ask(t *testing.T, which int, seed uint64, arguments []byte) {
	e := c.engines[which%len(c.engines)]
	g := newGenerator(seed)
	r := g.caller()
	r.Upstream, r.Target = g.target()
	g.open(&r)
	if arguments != nil {
		r.Arguments = arguments
	}
	fresh := *e
	fresh.decided = e.leaves
	want, wantErr := fresh.evaluate(t.Context(), &r, patient().Timeout)
	got, err := e.Decide(t.Context(), &r)
	if (err == nil) != (wantErr == nil) && !e.decides.leaves["arguments"] {
		return // arguments that no rule reads need not be readable
	}
	if !same(got, want) || (err == nil) != (wantErr == nil) {
		doc, _ := json.Marshal(r)
		t.Errorf("got %v (%v), fresh %v (%v)\n%s\n%s", got, err, want, wantErr, c.texts[which%len(c.engines)], doc)
	}
}

func TestBodiesRememberedAreFresh(t *testing.T) {
	c := newCrowd(t)
	var next atomic.Int64
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for n := next.Add(1); n <= int64(*bodies) && !t.Failed(); n = next.Add(1) {
				c.ask(t, int(n), uint64(n), nil)
			}
		})
	}
	work.Wait()
}

func FuzzBodiesRememberedAreFresh(f *testing.F) {
	c := newCrowd(f)
	f.Add(uint16(1), uint64(1), []byte(`{"x":1,"list":[0,2]}`))
	f.Add(uint16(2), uint64(2), []byte(`{"x":1e400}`))
	f.Fuzz(func(t *testing.T, which uint16, seed uint64, arguments []byte) { c.ask(t, int(which), seed, arguments) })
}
