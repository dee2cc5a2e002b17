package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// The eras, as steps and upstreams name them.
const (
	modern = "modern"
	legacy = "legacy"
)

// The upstreams of a target under test.
const (
	plain   = "recorder" // both eras; every case that is about requests alone
	control = "healthy"  // asked while others misbehave

	elsewhere = "elsewhere" // where a redirect would lead
)

// entry is one upstream in the target's catalog.
type entry struct {
	name  string
	words string // keys beside url
}

// Limits that the catalog sets, small so that cases are quick.
const (
	// ResponseLimit is limits.response of the upstreams that misbehave.
	ResponseLimit = 64 << 10
	hastyTimeout  = "200ms"
)

var misbehaving = fmt.Sprintf("limits: {response: %dKiB}\n    tools: {hasty: {timeout: %s}}", ResponseLimit>>10, hastyTimeout)

// entries are all upstreams of a target.
var entries = [...]entry{
	{name: plain},
	{name: control},
	{name: modern, words: misbehaving},
	{name: legacy, words: misbehaving},
	{name: "lists-" + modern}, // with the default limits, and lists that change
	{name: "lists-" + legacy},
}

func names() []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.name)
	}
	return all
}

// eraOf is the one era that an upstream speaks; "" = both.
func eraOf(name string) string {
	switch {
	case strings.HasSuffix(name, modern):
		return modern
	case strings.HasSuffix(name, legacy):
		return legacy
	}
	return ""
}

// lists tells whether an upstream announces changes of its lists.
func lists(name string) bool { return strings.HasPrefix(name, "lists-") }

// Catalog is the file that a target needs: its upstreams are the Recorder's,
// which listens at base, a URL without a path.
func Catalog(base string) []byte {
	var b bytes.Buffer
	b.WriteString("upstreams:\n")
	for _, e := range entries {
		fmt.Fprintf(&b, "  %s:\n    url: %s/%s\n", e.name, base, e.name)
		if e.words != "" {
			fmt.Fprintf(&b, "    %s\n", e.words)
		}
	}
	return b.Bytes()
}

// Endpoints are the paths at a target where the upstreams' tools are listed.
func Endpoints() []string {
	var all []string
	for _, name := range names() {
		all = append(all, "/mcp/"+name)
	}
	return all
}

const recorderTools = `[` +
	`{"name":"echo","description":"Gives its arguments back.","inputSchema":{"type":"object"}},` +
	`{"name":"hasty","description":"Gives its arguments back, soon.","inputSchema":{"type":"object"}},` +
	`{"name":"other","description":"Another tool.","inputSchema":{"type":"object"}},` +
	`{"name":"region","description":"Has mirrored parameters.","inputSchema":{"type":"object","properties":{` +
	`"region":{"type":"string","x-mcp-header":"Region"},"count":{"type":"integer","x-mcp-header":"Count"}}}},` +
	`{"name":"shaped","description":"Promises a shape.","inputSchema":{"type":"object"},"outputSchema":{"type":"object",` +
	`"properties":{"n":{"type":"integer"}},"required":["n"]}}]`

const methodMissing = `{"code":-32601,"message":"method not found"}`

// behave answers as a good upstream does.
func (rec *Recorder) behave(w http.ResponseWriter, r *http.Request, name string, m *message) {
	era := eraOf(name)
	isModern := m.modern() && era != legacy
	if !isModern && era == modern {
		m.Method = "" // nothing of the legacy era is known here
	}
	// head is what a complete modern result has; the lists add cache hints.
	head, hints := "", ""
	if isModern {
		head, hints = `"resultType":"complete",`, `"ttlMs":60000,"cacheScope":"public",`
	}
	capabilities := `"capabilities":{"tools":{}}`
	if lists(name) {
		capabilities = `"capabilities":{"tools":{"listChanged":true}}`
	}
	var result string
	switch m.Method {
	case "server/discover":
		if isModern {
			result = `{` + head + hints + `"supportedVersions":["2026-07-28"],` + capabilities + `}`
		}
	case "subscriptions/listen":
		if isModern && lists(name) {
			rec.stream(w, r, name, string(m.ID))
			return
		}
	case "initialize":
		w.Header().Set("Mcp-Session-Id", rec.open(name))
		result = `{"protocolVersion":"2025-11-25",` + capabilities + `,"serverInfo":{"name":"` + name + `","version":"1"}}`
	case "ping":
		result = `{}`
	case "tools/list":
		result = `{` + head + hints + `"tools":` + recorderTools + `}`
	case "tools/call":
		text, err := json.Marshal(string(m.Params.Arguments))
		if err != nil {
			text = []byte(`""`)
		}
		result = `{` + head + `"content":[{"type":"text","text":` + string(text) + `}]}`
	}
	w.Header().Set("Content-Type", "application/json")
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"jsonrpc":"2.0","id":%s,`, m.ID)
	if result == "" {
		fmt.Fprintf(&b, `"error":%s}`, methodMissing)
		if isModern {
			w.WriteHeader(http.StatusNotFound)
		}
	} else {
		fmt.Fprintf(&b, `"result":%s}`, result)
	}
	_, _ = w.Write(b.Bytes()) // a client that is gone is no news here
}

// open begins a legacy session.
func (rec *Recorder) open(name string) string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.opened == nil {
		rec.opened = map[string]int{}
	}
	rec.opened[name]++
	return fmt.Sprintf("%s-%d", name, rec.opened[name])
}

// stream tells of list changes until the gateway hangs up. id is that of a
// modern subscription; "" is a legacy GET stream.
func (rec *Recorder) stream(w http.ResponseWriter, r *http.Request, name, id string) {
	wake := make(chan struct{}, 4096) // every single one is sent: that is the attack
	rec.mu.Lock()
	if rec.streams == nil {
		rec.streams = map[string]map[chan struct{}]bool{}
	}
	if rec.streams[name] == nil {
		rec.streams[name] = map[chan struct{}]bool{}
	}
	rec.streams[name][wake] = true
	rec.mu.Unlock()
	defer func() {
		rec.mu.Lock()
		delete(rec.streams[name], wake)
		rec.mu.Unlock()
	}()
	meta := ""
	if id != "" {
		meta = `"_meta":{"io.modelcontextprotocol/subscriptionId":` + id + `}`
	}
	send := func(method, params string) bool {
		_, err := fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"method\":%q,\"params\":{%s}}\n\n", method, strings.Trim(params+","+meta, ","))
		return err == nil && http.NewResponseController(w).Flush() == nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if id != "" && !send("notifications/subscriptions/acknowledged", `"notifications":{"toolsListChanged":true}`) {
		return
	}
	if id == "" && http.NewResponseController(w).Flush() != nil {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case <-wake:
			if !send("notifications/tools/list_changed", "") {
				return
			}
		}
	}
}

// change tells everybody who listens to an upstream that its tools changed.
func (rec *Recorder) change(name string) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for wake := range rec.streams[name] {
		select {
		case wake <- struct{}{}:
		default: // it has enough to read already
		}
	}
}
