package gateway

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// capabilityOf is the server capability that offers a kind.
var capabilityOf = [4]string{
	federation.Tool: "tools", federation.Prompt: "prompts",
	federation.Resource: "resources", federation.Template: "resources",
}

// firstContact bounds how long after a first start requests wait for upstreams
// that were never reached before: long enough for a process to start, well
// below every client's own limit.
const firstContact = 3 * time.Second

// settle waits, right after a first start, until each upstream behind the
// endpoint was tried. Later one that was never reached keeps nobody waiting
// (promise 7).
func (x *exchange) settle(ctx context.Context) {
	for _, u := range x.snap.Upstreams() {
		if u.Known || x.endpoint != federation.Merged && x.endpoint != u.Config.Name {
			continue
		}
		x.g.Federation.FirstContact(ctx, x.endpoint, firstContact)
		x.snap = x.g.Federation.Snapshot()
		return
	}
}

// upstreams are those behind the exchange's endpoint.
func (x *exchange) upstreams() []federation.UpstreamInfo {
	if x.endpoint == federation.Merged {
		return x.snap.Upstreams()
	}
	if u, ok := x.snap.Upstream(x.endpoint); ok {
		return []federation.UpstreamInfo{u}
	}
	return nil
}

// offers reports whether the endpoint has a server capability. What is
// declared and what answers must be the same (MCP 2026-07-28, discovery). The
// merged namespace always has tools: upstreams may still come.
func (x *exchange) offers(capability string) bool {
	if x.endpoint == federation.Merged && capability == "tools" {
		return true
	}
	for _, u := range x.upstreams() {
		if hasCapability(u.Capabilities, capability) {
			return true
		}
	}
	return false
}

func hasCapability(capabilities []byte, name string) bool {
	o, err := wire.Fields(capabilities)
	if err != nil {
		return false
	}
	raw, ok := o.Get(name)
	return ok && len(raw) > 0 && raw[0] == '{'
}

// capabilities is the ServerCapabilities of the endpoint: only what the
// gateway truly relays.
func (x *exchange) capabilities() []byte {
	b := []byte{'{'}
	add := func(s string) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, s...)
	}
	if x.offers("completions") {
		add(`"completions":{}`)
	}
	if x.offers("logging") {
		add(`"logging":{}`)
	}
	if x.offers("prompts") {
		add(`"prompts":{"listChanged":true}`)
	}
	if x.offers("resources") {
		add(`"resources":{"subscribe":true,"listChanged":true}`)
	}
	apps, tasks := x.offeredApps(), x.offersTasks()
	if x.era == wire.Modern && tasks {
		add(`"extensions":{"` + tasksExtension + `":{}`)
		if apps != nil {
			add(`"` + appsExtension + `":` + string(apps))
		}
		b = append(b, '}')
	} else if apps != nil {
		add(`"extensions":{"` + appsExtension + `":` + string(apps) + `}`)
	}
	if x.era == wire.Legacy && tasks {
		add(`"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}`)
	}
	if x.offers("tools") {
		add(`"tools":{"listChanged":true}`)
	}
	return append(b, '}')
}

// instructionsMax bounds what one upstream may say in the merged instructions.
const instructionsMax = 2 << 10

// instructions are the endpoint's. Clients show little of them (Codex: 512
// characters), so the merged ones begin with what matters.
func (x *exchange) instructions() string {
	all := x.upstreams()
	if x.endpoint != federation.Merged {
		if len(all) == 1 {
			return all[0].Instructions
		}
		return ""
	}
	var b strings.Builder
	b.WriteString("One endpoint in front of several MCP servers. Tools and prompts are named {server}__{name}. Servers: ")
	for i, u := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(u.Config.Name)
		if u.Config.Title != "" && u.Config.Title != u.Config.Name {
			b.WriteString(" (" + u.Config.Title + ")")
		}
	}
	b.WriteString(".")
	for _, u := range all {
		if u.Instructions == "" {
			continue
		}
		text := u.Instructions
		if len(text) > instructionsMax {
			text = strings.ToValidUTF8(text[:instructionsMax], "") + " …"
		}
		b.WriteString("\n\n# " + u.Config.Name + "\n" + text)
	}
	return b.String()
}

// serverInfo is what the gateway says of itself, in the agent's revision: title
// came with 2025-06-18.
func (x *exchange) serverInfo() []byte {
	if x.version >= wire.Version20250618 {
		return x.g.serverInfo
	}
	o, err := wire.Fields(x.g.serverInfo)
	if err != nil {
		return x.g.serverInfo
	}
	return wire.NewPatch(o).Remove("title").Bytes()
}

// initialize answers the legacy handshake and opens a session (MCP
// 2025-11-25, lifecycle).
func (x *exchange) initialize(ctx context.Context, w http.ResponseWriter) {
	x.settle(ctx)
	asked, ok := x.m.Params.String("protocolVersion")
	if !ok {
		x.answerHTTP(w, refuse(http.StatusBadRequest, codeInvalidParams, "params", "params.protocolVersion must be a string"))
		return
	}
	version := wire.NegotiateLegacy(asked)
	x.version = version
	caps := []byte("{}")
	if raw, ok := x.m.Params.Get("capabilities"); ok && raw[0] == '{' {
		caps = relayed(raw)
	}
	if raw, ok := x.m.Params.Get("clientInfo"); ok {
		x.agent = readAgent(raw)
	}
	_, token := x.g.sessions.create(x.p, x.endpoint, version, caps, x.agent)
	x.lifecycle()

	b := append([]byte(`{"protocolVersion":`), strconv.Quote(version)...)
	b = append(b, `,"capabilities":`...)
	b = append(b, x.capabilities()...)
	b = append(b, `,"serverInfo":`...)
	b = append(b, x.serverInfo()...)
	if text := x.instructions(); text != "" {
		b = wire.AppendString(append(b, `,"instructions":`...), text)
	}
	b = append(b, '}')
	w.Header().Set("Mcp-Session-Id", token)
	x.reply.finish(http.StatusOK, wire.AppendResult(nil, x.m.ID, b), nil)
}

// discover answers server/discover (MCP 2026-07-28).
func (x *exchange) discover(ctx context.Context) ([]byte, *refusal) {
	x.settle(ctx)
	x.lifecycle()
	b := []byte(`{"resultType":"complete","supportedVersions":`)
	b = append(b, supportedVersions...)
	b = append(b, `,"capabilities":`...)
	b = append(b, x.capabilities()...)
	if text := x.instructions(); text != "" {
		b = wire.AppendString(append(b, `,"instructions":`...), text)
	}
	b = append(b, `,"ttlMs":`...)
	b = strconv.AppendInt(b, listTTL.Milliseconds(), 10)
	b = append(b, `,"cacheScope":"private","_meta":`...)
	b = append(b, x.g.serverMeta...)
	return append(b, '}'), nil
}

// supportedVersions is every revision served on this URL, newest first.
var supportedVersions = func() []byte {
	b := []byte{'['}
	for i, v := range wire.Versions() {
		if i > 0 {
			b = append(b, ',')
		}
		b = wire.AppendString(b, v)
	}
	return append(b, ']')
}()

// readAgent reads an Implementation: what the agent says of itself, bounded.
func readAgent(raw []byte) policy.Agent {
	o, err := wire.Fields(raw)
	if err != nil {
		return policy.Agent{}
	}
	name, _ := o.String("name")
	version, _ := o.String("version")
	return policy.Agent{Name: clip(name, 256), Version: clip(version, 64)}
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// relayed reduces an agent's capabilities to those that the gateway relays. An
// extension or task that the gateway does not carry must not be offered to an
// upstream in the agent's name.
func relayed(capabilities []byte) []byte {
	o, err := wire.Fields(capabilities)
	if err != nil {
		return []byte("{}")
	}
	p := wire.NewPatch(o).Remove("tasks").Remove("extensions")
	if extensions := relayedExtensions(o); extensions != nil {
		p.Set("extensions", extensions)
	}
	return p.Bytes()
}

// noMethod answers for a method that this endpoint does not have: MCP
// 2026-07-28 asks for HTTP 404, earlier revisions for a plain answer.
func (x *exchange) noMethod() *refusal {
	status := http.StatusOK
	if x.era == wire.Modern {
		status = http.StatusNotFound
	}
	return refuse(status, codeMethodNotFound, "unknown_method", "method not found")
}
