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
	used        map[string]bool // unknown paths that have a condition already
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0x6f737469)), used: map[string]bool{}}
}

func (g *generator) pick(words ...string) string { return words[g.IntN(len(words))] }

var (
	groupWords    = []string{"red", "green", "blue"}
	labelWords    = []string{"read", "write", "admin"}
	nameWords     = []string{"alpha", "beta", "gamma"}
	upstreamWords = []string{"one", "two"}
	argumentWords = []string{"x", "y"}
)

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
	if !g.satisfiable && g.IntN(4) == 0 {
		fmt.Fprintf(&b, "obligations contains {\"type\": %q} if {\n%s}\n\n", g.pick("step_up", "mask"), g.body(1))
	}
	return b.String() + strings.Join(g.helpers, "\n")
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
	c := []string{
		fmt.Sprintf("%q in input.user.groups", g.pick(groupWords...)),
		fmt.Sprintf("%q in input.target.labels", g.pick(labelWords...)),
		fmt.Sprintf("input.target.name == %q", g.pick(nameWords...)),
		fmt.Sprintf("input.upstream == %q", g.pick(upstreamWords...)),
		fmt.Sprintf("input.time.hour >= %d", 8+g.IntN(8)),
		fmt.Sprintf("input.target.annotations.level == %d", g.IntN(3)),
		"input.target.trusted",
		fmt.Sprintf("startswith(input.target.name, %q)", g.pick("a", "b", "g", "")),
	}
	return g.pick("", "", "not ") + g.pick(c...)
}

// unknown is a condition on what a listing does not know.
func (g *generator) unknown() string {
	path := "input.arguments." + g.pick(argumentWords...)
	if g.satisfiable {
		// One condition for each path: two may contradict each other.
		free := []string{}
		for i := range 40 {
			free = append(free, fmt.Sprintf("input.arguments.p%d", i))
		}
		path = free[len(g.used)%len(free)]
		g.used[path] = true
		return fmt.Sprintf("%s == %d", path, 1)
	}
	g.n++
	v := fmt.Sprintf("u%d", g.n)
	c := []string{
		fmt.Sprintf("%s == %d", path, g.IntN(3)),
		fmt.Sprintf("%s > %d", path, g.IntN(3)),
		fmt.Sprintf("not %s", path),
		fmt.Sprintf("%s != input.user.name", path),
		`net.cidr_contains("10.0.0.0/8", input.source.ip)`,
		"input.source.tls",
		fmt.Sprintf("input.counters.calls < %d", g.IntN(4)),
		fmt.Sprintf("input.responses.ok == %v", g.pick("true", "false")),
		fmt.Sprintf("some %s in input.arguments.list; %s == %d", v, v, g.IntN(3)),
		fmt.Sprintf("every %s in input.arguments.list { %s < %d }", v, v, g.IntN(4)),
		fmt.Sprintf("count([%s | some %s in input.arguments.list; %s > %d]) < 2", v, v, v, g.IntN(3)),
		fmt.Sprintf("input.arguments[input.target.name] == %d", g.IntN(3)),
		fmt.Sprintf("input.request.era == %q", g.pick("modern", "legacy")),
	}
	return g.pick(c...)
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
	r.User.Name = g.pick("ann", "bob")
	r.User.Groups = g.some(groupWords)
	r.Time = policy.At(noon)
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
	t = policy.Target{Kind: "tool", Name: g.pick(nameWords...), Labels: g.some(labelWords), Trusted: g.IntN(2) == 0, Digest: "d"}
	if g.IntN(2) == 0 {
		t.Annotations = json.RawMessage(fmt.Sprintf(`{"level":%d}`, g.IntN(3)))
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
	r.Arguments, _ = json.Marshal(args)
	if g.IntN(5) == 0 {
		r.Arguments = nil
	}
	r.Responses = json.RawMessage(g.pick(`{"ok":true}`, `{"ok":false}`, `{}`))
	r.Counters = map[string]int64{"calls": int64(g.IntN(5))}
	r.Source = policy.Source{IP: g.pick("10.1.2.3", "192.0.2.1"), TLS: g.IntN(2) == 0}
	r.Request.Era = g.pick("modern", "legacy")
}
