package rego

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/ostiary/ostiary/policy"
)

// generator writes small policies, and requests that their conditions are
// about. Values come from few words, so that conditions are often met.
type generator struct {
	*rand.Rand
	helpers []string // rules written so far
	n       int

	// satisfiable keeps to policies whose conditions on unknown values can
	// all be met at once: then listed must imply callable by some arguments.
	satisfiable bool
	toggles     []func(*policy.Request) // each makes one of these conditions hold, and no other
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0x6f737469))}
}

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }

var (
	groupWords    = []string{"red", "green", "blue"}
	labelWords    = []string{"read", "write", "admin"}
	nameWords     = []string{"alpha", "beta", "gamma"}
	upstreamWords = []string{"one", "two"}
	argumentWords = []string{"x", "y"}
	scopeWords    = []string{"mcp", "write", "offline_access"}
	methodWords   = []string{"tools/call", "prompts/get", "resources/read"}
	kindWords     = []string{"tool", "prompt", "resource"}
	placeWords    = []string{"model", "app"}
)

// tables are the data file beside each generated policy.
const tables = `{"table": {
	"grants": {"red": {"one": ["alpha", "b*"]}, "green": {"one": ["*"], "two": ["gamma"]}},
	"levels": {"ann": 2, "bob": 1},
	"networks": ["10.0.0.0/8", "2001:db8::/32"],
	"clients": {"cli": {"upstreams": ["one"]}}
}}`

// policy is one policy of package ostiary.
func (g *generator) policy() string {
	var b strings.Builder
	b.WriteString("package ostiary\n\ndefault allow := false\n\n")
	for range 1 + g.IntN(3) {
		fmt.Fprintf(&b, "allow if {\n%s}\n\n", g.body(2))
	}
	for i := range g.IntN(3) {
		fmt.Fprintf(&b, "deny contains \"d%d\" if {\n%s}\n\n", i, g.body(2))
	}
	if g.IntN(3) == 0 {
		fmt.Fprintf(&b, "obligations contains %s if {\n%s}\n\n", g.obligation(), g.body(1))
	}
	if g.IntN(6) == 0 {
		fmt.Fprintf(&b, "reasons contains \"r\" if {\n%s}\n\n", g.body(1))
	}
	return b.String() + strings.Join(g.helpers, "\n")
}

// obligation is one that satisfiable policies can fulfil: any but step_up, which
// lists what can't be called yet.
func (g *generator) obligation() string {
	all := []string{
		`{"type": "mask", "paths": ["/arguments/x"]}`, `{"type": "rate", "class": "heavy"}`,
		`{"type": "approval"}`, `{"type": "mask", "paths": [sprintf("/result/%s", [input.target.name])]}`,
	}
	if !g.satisfiable {
		all = append(all, `{"type": "step_up", "scopes": ["write"]}`, `{"type": "step_up", "scopes": [input.target.name]}`,
			`{"type": "step_up", "scopes": [input.arguments.x]}`, `{"type": input.arguments.x}`)
	}
	return g.pick(all...)
}

func (g *generator) body(depth int) string {
	var b strings.Builder
	for range 1 + g.IntN(3) {
		b.WriteString("\t" + g.condition(depth) + "\n")
	}
	return b.String()
}

func (g *generator) condition(depth int) string {
	switch n := g.IntN(20); {
	case n < 8 || depth == 0:
		return g.known()
	case n < 14:
		return g.unknown()
	case n < 17:
		return g.pick("not ", "") + g.helper(depth-1)
	case g.satisfiable:
		return g.known()
	default:
		return g.odd(depth)
	}
}

// known is a condition on what a listing knows.
func (g *generator) known() string {
	g.n++
	v := fmt.Sprintf("k%d", g.n)
	if g.IntN(8) == 0 {
		// Tables of data, which can't be negated as they stand.
		return g.pick(
			fmt.Sprintf("some %s in input.user.groups; some %s_ in data.table.grants[%s][input.upstream]; glob.match(%s_, [], input.target.name)", v, v, v, v),
			fmt.Sprintf("some %s in data.table.clients[input.client.id].upstreams; %s == input.upstream", v, v),
			fmt.Sprintf("every %s in input.target.labels { %s != %q }", v, v, g.pick(labelWords...)),
		)
	}
	c := []string{
		fmt.Sprintf("%q in input.user.groups", g.pick(groupWords...)),
		fmt.Sprintf("%q in input.user.groups", g.pick(groupWords...)),
		fmt.Sprintf("%q in input.target.labels", g.pick(labelWords...)),
		fmt.Sprintf("%q in input.target.labels", g.pick(labelWords...)),
		fmt.Sprintf("input.target.name == %q", g.pick(nameWords...)),
		fmt.Sprintf("input.upstream == %q", g.pick(upstreamWords...)),
		fmt.Sprintf("input.time.hour >= %d", 8+g.IntN(8)),
		fmt.Sprintf("input.time.weekday in {%q, %q}", g.pick("monday", "sunday"), g.pick("friday", "saturday")),
		fmt.Sprintf("input.time.unix - input.user.auth_time < %d", 60*(1+g.IntN(3))),
		fmt.Sprintf("%q in input.user.amr", g.pick("pwd", "otp")),
		fmt.Sprintf("input.target.annotations.level == %d", g.IntN(3)),
		"input.target.trusted",
		fmt.Sprintf("%q in input.target.visibility", g.pick(placeWords...)),
		fmt.Sprintf("startswith(input.target.name, %q)", g.pick("a", "b", "g", "")),
		fmt.Sprintf("input.target.kind == %q", g.pick(kindWords...)),
		fmt.Sprintf("input.request.method == %q", g.pick(methodWords...)),
		fmt.Sprintf("input.request.kind != %q", g.pick(kindWords...)),
		fmt.Sprintf("input.request.endpoint == %q", g.pick("/mcp", "/mcp/one")),
		fmt.Sprintf("input.client.id == %q", g.pick("cli", "web")),
		fmt.Sprintf("input.client.kind == %q", g.pick("static", "dynamic")),
		fmt.Sprintf("endswith(input.client.redirect_host, %q)", g.pick(".example", "127.0.0.1")),
		fmt.Sprintf("%q in input.grant.scopes", g.pick(scopeWords...)),
		fmt.Sprintf("input.grant.consented_at > %d", g.pick2(0, noon.Unix())),
		fmt.Sprintf("input.agent.name == %q", g.pick("agent", "robot")),
		fmt.Sprintf("data.table.levels[input.user.name] >= %d", g.IntN(4)),
		"input.version == 1",
	}
	return g.pick("", "", "not ") + g.pick(c...)
}

func (g *generator) pick2(a, b int64) int64 {
	if g.IntN(2) == 0 {
		return a
	}
	return b
}

// unknown is a condition on what a listing does not know.
func (g *generator) unknown() string {
	if g.satisfiable {
		return g.toggle()
	}
	path := "input.arguments." + g.pick(argumentWords...)
	g.n++
	v := fmt.Sprintf("u%d", g.n)
	c := []string{
		fmt.Sprintf("%s == %d", path, g.IntN(3)),
		fmt.Sprintf("%s > %d", path, g.IntN(3)),
		fmt.Sprintf("not %s", path),
		fmt.Sprintf("%s != input.user.name", path),
		fmt.Sprintf("%s <= data.table.levels[input.user.name]", path),
		fmt.Sprintf("startswith(input.arguments.s, %q)", g.pick("/srv/", "/etc/", "")),
		fmt.Sprintf("not startswith(input.arguments.s, %q)", g.pick("/srv/", "/etc/")),
		fmt.Sprintf("regex.match(%q, input.arguments.s)", g.pick("^/srv/[a-z]+$", "passw")),
		fmt.Sprintf("input.arguments.o.deep[%q] == %d", g.pick("k", "l"), g.IntN(2)),
		fmt.Sprintf("count(input.arguments) < %d", 1+g.IntN(6)),
		fmt.Sprintf("%q in object.keys(input.arguments)", g.pick("x", "s", "alpha")),
		fmt.Sprintf("is_number(%s)", path),
		fmt.Sprintf("count({%s | some %s, %s_ in input.arguments; %s_ == %d}) > 0", v, v, v, v, g.IntN(3)),
		`net.cidr_contains("10.0.0.0/8", input.source.ip)`,
		`not net.cidr_contains("10.0.0.0/8", input.source.ip)`,
		fmt.Sprintf("some %s in data.table.networks; net.cidr_contains(%s, input.source.ip)", v, v),
		"input.source.tls",
		"not input.source.proxied",
		fmt.Sprintf("input.counters.calls < %d", g.IntN(4)),
		fmt.Sprintf("input.counters[input.user.name] < %d", g.IntN(4)),
		fmt.Sprintf("input.responses.ok == %v", g.pick("true", "false")),
		"not input.responses",
		fmt.Sprintf("some %s in input.arguments.list; %s == %d", v, v, g.IntN(3)),
		fmt.Sprintf("every %s in input.arguments.list { %s < %d }", v, v, g.IntN(4)),
		fmt.Sprintf("count([%s | some %s in input.arguments.list; %s > %d]) < 2", v, v, v, g.IntN(3)),
		fmt.Sprintf("input.arguments[input.target.name] == %d", g.IntN(3)),
		fmt.Sprintf("input.request.era == %q", g.pick("modern", "legacy")),
		g.pick("", "not ") + "input.listing",
	}
	return g.pick(c...)
}

// toggle is a condition that no other contradicts: each is about a path of its
// own.
func (g *generator) toggle() string {
	n := len(g.toggles)
	var condition string
	var set func(*policy.Request)
	switch name := fmt.Sprintf("p%d", n); g.IntN(6) {
	case 0:
		condition, set = "input.responses."+name+" == true", func(r *policy.Request) { r.Responses = with(r.Responses, name, true) }
	case 1:
		condition, set = "input.counters."+name+" > 2", func(r *policy.Request) { r.Counters[name] = 3 }
	case 2:
		condition, set = fmt.Sprintf("%q in input.arguments.list", name), func(r *policy.Request) { r.Arguments = with(r.Arguments, "list", name) }
	case 3:
		condition, set = fmt.Sprintf("startswith(input.arguments.%s, \"/srv/\")", name), func(r *policy.Request) { r.Arguments = with(r.Arguments, name, "/srv/x") }
	default:
		condition, set = "input.arguments."+name+" == 1", func(r *policy.Request) { r.Arguments = with(r.Arguments, name, 1) }
	}
	g.toggles = append(g.toggles, set)
	return condition
}

// with sets a member of a JSON object; of a list it adds one.
func with(object json.RawMessage, name string, value any) json.RawMessage {
	all := map[string]any{}
	if len(object) > 0 {
		json.Unmarshal(object, &all)
	}
	if name == "list" {
		list, _ := all[name].([]any)
		value = append(list, value)
	}
	all[name] = value
	text, _ := json.Marshal(all)
	return text
}

// odd are the forms that mislead analysis: aliases, whole documents, defaults,
// else chains, functions, with.
func (g *generator) odd(depth int) string {
	g.n++
	v := fmt.Sprintf("v%d", g.n)
	switch g.IntN(9) {
	case 0:
		return fmt.Sprintf("%s := input; %s.arguments.x == %d", v, v, g.IntN(3))
	case 1:
		return fmt.Sprintf("object.get(input, [\"arguments\", \"y\"], %d) == %d", g.IntN(3), g.IntN(3))
	case 2:
		return fmt.Sprintf("object.get(input, [\"user\", \"name\"], \"\") == %q", g.pick("ann", "bob"))
	case 3:
		return fmt.Sprintf("some k%s; input[k%s].x == %d", v, v, g.IntN(3))
	case 4:
		name := g.name()
		g.helpers = append(g.helpers, fmt.Sprintf("default %s := %s\n\n%s := %s if {\n%s}\n", name, g.pick("true", "false"), name, g.pick("true", "false"), g.body(depth-1)))
		return fmt.Sprintf("%s == %s", name, g.pick("true", "false"))
	case 5:
		name := g.name()
		g.helpers = append(g.helpers, fmt.Sprintf("%s if {\n%s} else := %s if {\n%s}\n", name, g.body(depth-1), g.pick("true", "false"), g.body(depth-1)))
		return g.pick("", "not ") + name
	case 6:
		name := g.name()
		g.helpers = append(g.helpers, fmt.Sprintf("%s(a) if {\n\ta.x == %d\n%s}\n", name, g.IntN(3), g.body(depth-1)))
		return g.pick("", "not ") + name + "(input.arguments)"
	case 7:
		return fmt.Sprintf("%s with input.arguments as {\"x\": %d}", g.helper(depth-1), g.IntN(3))
	default:
		name := g.name()
		g.helpers = append(g.helpers, fmt.Sprintf("%s contains %q if {\n%s}\n\n%s contains input.arguments.x\n", name, g.pick(nameWords...), g.body(depth-1), name))
		return fmt.Sprintf("%s%s[input.target.name]", g.pick("", "not "), name)
	}
}

func (g *generator) name() string {
	g.n++
	return fmt.Sprintf("h%d", g.n)
}

// helper writes a rule of its own and gives its name.
func (g *generator) helper(depth int) string {
	name := g.name()
	for range 1 + g.IntN(2) {
		g.helpers = append(g.helpers, fmt.Sprintf("%s if {\n%s}\n", name, g.body(max(depth, 0))))
	}
	return name
}

// caller is somebody at some hour; the target and all that is unknown to a
// listing stay open.
func (g *generator) caller() policy.Request {
	r := *request()
	r.Request.Method, r.Request.Kind = g.pick(methodWords...), g.pick(kindWords...)
	r.Request.Endpoint = g.pick("/mcp", "/mcp/one")
	r.User.Name = g.pick("ann", "bob")
	r.User.Groups = g.some(groupWords)
	r.User.AMR = g.some([]string{"pwd", "otp"})
	r.User.AuthTime = noon.Unix() - int64(g.IntN(240))
	r.Client.ID, r.Client.Kind = g.pick("cli", "web"), g.pick("static", "dynamic")
	r.Client.RedirectHost = g.pick("app.example", "127.0.0.1", "")
	r.Grant.Scopes, r.Grant.ConsentedAt = g.some(scopeWords), g.pick2(0, noon.Unix()-3600)
	r.Agent.Name = g.pick("agent", "robot")
	r.Time = policy.At(noon.AddDate(0, 0, g.IntN(7)))
	r.Time.Hour = 6 + g.IntN(12)
	return r
}

func (g *generator) some(words []string) []string {
	all := []string{}
	for _, w := range words {
		if g.IntN(2) == 0 {
			all = append(all, w)
		}
	}
	return all
}

func (g *generator) target() (upstream string, t policy.Target) {
	t = policy.Target{Kind: g.pick(kindWords...), Name: g.pick(nameWords...), Labels: g.some(labelWords), Trusted: g.IntN(2) == 0, Digest: "d"}
	if g.IntN(2) == 0 {
		t.Annotations = json.RawMessage(fmt.Sprintf(`{"level":%d}`, g.IntN(3)))
	}
	if g.IntN(3) == 0 {
		t.Visibility = g.some(placeWords)
	}
	return g.pick(upstreamWords...), t
}

// open fills in what a listing does not know.
func (g *generator) open(r *policy.Request) {
	args := map[string]any{}
	for _, name := range append(argumentWords, nameWords...) {
		if g.IntN(3) > 0 {
			args[name] = g.IntN(3)
		}
	}
	if g.IntN(3) > 0 {
		list := []int{}
		for range g.IntN(3) {
			list = append(list, g.IntN(3))
		}
		args["list"] = list
	}
	if g.IntN(2) == 0 {
		args["s"] = g.pick("/srv/data", "/etc/passwd", "")
	}
	if g.IntN(3) == 0 {
		args["o"] = map[string]any{"deep": map[string]int{g.pick("k", "l"): g.IntN(2)}}
	}
	r.Arguments, _ = json.Marshal(args)
	if g.IntN(5) == 0 {
		r.Arguments = nil
	}
	r.Responses = json.RawMessage(g.pick(`{"ok":true}`, `{"ok":false}`, `{}`, ``))
	r.Counters = map[string]int64{"calls": int64(g.IntN(5)), "ann": int64(g.IntN(5))}
	r.Source = policy.Source{IP: g.pick("10.1.2.3", "192.0.2.1", "2001:db8::1"), Proxied: g.IntN(2) == 0, TLS: g.IntN(2) == 0}
	r.Listing = false
	r.Request.Era = g.pick("modern", "legacy")
}
