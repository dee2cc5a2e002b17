package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// upstream is a scripted MCP server of one era, over real HTTP. It records
// every byte that reaches it.
type upstream struct {
	era   wire.Era
	tools string            // inside of the tools array
	extra map[string]string // method -> raw result, for lists and others
	// call answers tools/call and everything that extra does not; it may
	// write to w itself and return "".
	call func(w http.ResponseWriter, r *http.Request, m *wire.Message) string

	// more are further members of its capabilities, after a comma.
	more string
	// version is what it says to initialize; "" = 2025-11-25.
	version string
	// get serves the GET stream of a legacy upstream, listen what a modern one
	// says on a listen stream after its acknowledgement; nil = nothing.
	get    http.HandlerFunc
	listen func(w http.ResponseWriter, r *http.Request, id string)

	tape *transcript // set before a gateway knows it
	*httptest.Server
	mu      sync.Mutex
	hits    []hit
	waiting map[string]chan *wire.Message // for responses, by our request id
}

type hit struct {
	method string
	header http.Header
	body   string
}

func newUpstream(t testing.TB, era wire.Era) *upstream {
	u := &upstream{
		era:   era,
		tools: `{"name":"echo","description":"says it","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}`,
		extra: map[string]string{},
	}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.tape.between(gatewayCalls, upstreamSays, http.HandlerFunc(u.serve)).ServeHTTP(w, r)
	}))
	t.Cleanup(u.Server.Close)
	return u
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && u.get != nil {
		u.get(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, _ := io.ReadAll(r.Body)
	m, err := wire.Parse(body, wire.DefaultLimits)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	u.mu.Lock()
	u.hits = append(u.hits, hit{m.Method, r.Header.Clone(), string(body)})
	if c := u.waiting[string(m.ID)]; c != nil && m.Kind == wire.Response {
		delete(u.waiting, string(m.ID))
		c <- m
	}
	u.mu.Unlock()
	if m.Kind != wire.Request {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	capabilities := `{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{}` + u.more + `}`
	var result string
	switch {
	case u.era == wire.Modern && m.Method == "server/discover":
		result = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":` + capabilities + `,"ttlMs":60000,"cacheScope":"public"}`
	case u.era == wire.Legacy && m.Method == "initialize":
		w.Header().Set("Mcp-Session-Id", "s1")
		result = `{"protocolVersion":"` + cmp.Or(u.version, "2025-11-25") + `","capabilities":` + capabilities + `,"serverInfo":{"name":"scripted","version":"1"}}`
	case u.era == wire.Legacy && (m.Method == "server/discover" || r.Header.Get("Mcp-Session-Id") == ""):
		w.WriteHeader(http.StatusBadRequest)
		return
	case m.Method == "subscriptions/listen":
		w.Header().Set("Content-Type", "text/event-stream")
		w.Write(wire.AppendEvent(nil, "", wire.AppendNotification(nil, "notifications/subscriptions/acknowledged",
			[]byte(`{"_meta":{"io.modelcontextprotocol/subscriptionId":`+string(m.ID)+`},"notifications":{"toolsListChanged":true}}`))))
		w.(http.Flusher).Flush()
		if u.listen != nil {
			u.listen(w, r, string(m.ID))
		}
		<-r.Context().Done()
		return
	case m.Method == "tools/list":
		result = `{"tools":[` + u.tools + `]}`
	case strings.HasSuffix(m.Method, "/list"):
		key := map[string]string{"prompts/list": "prompts", "resources/list": "resources", "resources/templates/list": "resourceTemplates"}[m.Method]
		result = `{"` + key + `":[` + u.extra[m.Method] + `]}`
	case u.extra[m.Method] != "":
		result = u.extra[m.Method]
	case u.call != nil:
		if result = u.call(w, r, m); result == "" {
			return
		}
	default:
		result = `{"content":[]}`
	}
	if u.era == wire.Modern && strings.HasSuffix(m.Method, "/list") {
		result = strings.TrimSuffix(result, "}") + `,"resultType":"complete","ttlMs":60000,"cacheScope":"public"}`
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(wire.AppendResult(nil, m.ID, []byte(result)))
}

func (u *upstream) reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.hits = nil
}

// emit writes messages to an event stream, which it begins if need be.
func emit(w http.ResponseWriter, messages ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, m := range messages {
		w.Write(wire.AppendEvent(nil, "", []byte(m)))
	}
	w.(http.Flusher).Flush()
}

// expects lets reply wait for the response to a request of the upstream's own.
func (u *upstream) expects(id string) (reply chan *wire.Message) {
	reply = make(chan *wire.Message, 1)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting == nil {
		u.waiting = make(map[string]chan *wire.Message)
	}
	u.waiting[id] = reply
	return reply
}

// all are the recorded requests.
func (u *upstream) all() []hit {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.hits)
}

// heard counts all recorded requests.
func (u *upstream) heard() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.hits)
}

// calls are the recorded requests of a method.
func (u *upstream) calls(method string) []hit {
	u.mu.Lock()
	defer u.mu.Unlock()
	var got []hit
	for _, h := range u.hits {
		if h.method == method {
			got = append(got, h)
		}
	}
	return got
}

// rig is a gateway with everything real around it, and a principal that the
// header "X-Test-User" names.
type rig struct {
	t   testing.TB
	dir string
	g   *Gateway
	fed *federation.Federation
	st  *store.Store
	log *audit.Log
	*httptest.Server
	tape *transcript
	id   int
	last string // body posted last
}

func newRig(t testing.TB, ups map[string]*upstream, opts ...func(*rig, *Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.start(ups, opts...)
	return r
}

func (r *rig) start(ups map[string]*upstream, opts ...func(*rig, *Config)) {
	t := r.t
	t.Helper()
	var err error
	if r.st, err = store.Open(r.dir, store.Options{}); err != nil {
		t.Fatal(err)
	}
	if r.log, err = audit.Open(r.dir, audit.Options{}); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	r.fed = federation.New(federation.Config{Logger: logger, Now: time.Now, Credentials: credential.None{}, Snapshots: r.st, Version: "test"})
	c := &catalogs.Catalog{Revision: "test"}
	for name, u := range ups {
		c.Upstreams = append(c.Upstreams, &catalogs.Upstream{
			Name: name, Prefix: name, Enabled: true, URL: u.URL + "/mcp", Transport: catalogs.Auto, Auth: catalogs.Auth{Type: "none"},
			Limits: catalogs.Limits{Timeout: 10 * time.Second, Concurrency: 32, Response: 16 << 20}, Confine: true,
		})
	}
	if err := r.fed.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r.fed.Settle(ctx)
	cfg := Config{
		Federation: r.fed, Verifier: testVerifier{}, Decider: policy.AllowAll{}, Audit: r.log, Sealer: r.st, Once: r.st,
		Logger: logger, Now: time.Now, Version: "test",
	}
	for _, o := range opts {
		o(r, &cfg)
	}
	if r.g, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	r.Server = httptest.NewServer(r.tape.between(agentSays, gatewayGives, r.g))
	t.Cleanup(r.stop)
}

func (r *rig) stop() {
	if r.Server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := r.g.Close(ctx); err != nil {
		r.t.Errorf("gateway did not close: %v", err)
	}
	r.Server.Close()
	r.Server = nil
	r.fed.Close(ctx)
	r.log.Close()
	r.st.Close()
}

// testVerifier takes the user from a header, as a token check would from a
// token.
type testVerifier struct{}

func (testVerifier) Verify(_ context.Context, r *http.Request) (*identity.Principal, error) {
	name := r.Header.Get("X-Test-User")
	switch name {
	case "":
		name = "alice"
	case "nobody":
		return nil, errNoToken
	}
	return &identity.Principal{Issuer: "test", Subject: name, Name: name, Groups: strings.Fields(r.Header.Get("X-Test-Groups")), Client: identity.Client{ID: "c1", Kind: "static"}}, nil
}

var errNoToken = errors.New("no token")

type answer struct {
	status int
	header http.Header
	body   string
}

// result is the raw result of a JSON answer.
func (a answer) result(t testing.TB) string {
	t.Helper()
	var m struct {
		Result json.RawMessage
		Error  json.RawMessage
	}
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
	if m.Error != nil {
		t.Fatalf("error answer: %s", a.body)
	}
	return string(m.Result)
}

func (a answer) code(t testing.TB) int64 {
	t.Helper()
	var m struct{ Error struct{ Code int64 } }
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
	return m.Error.Code
}

// post sends a body as it is.
func (r *rig) post(path, body string, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.URL+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	r.last = body
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		b = lastEvent(b)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func lastEvent(stream []byte) []byte {
	var last []byte
	er := wire.NewEventReader(bytes.NewReader(stream), 32<<20)
	for {
		e, err := er.Next()
		if err != nil {
			return last
		}
		if len(e.Data) > 0 {
			last = bytes.Clone(e.Data)
		}
	}
}

// modern sends one request of 2026-07-28. params is the inside of the object.
func (r *rig) modern(path, method, params string, header ...string) answer {
	r.t.Helper()
	return r.post(path, r.modernBody(method, params), append(modernHeaders(method, params), header...)...)
}

func (r *rig) modernBody(method, params string) string {
	r.id++
	if params != "" {
		params = "," + params
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"io.modelcontextprotocol/clientInfo":{"name":"rig","version":"1"}}%s}}`, r.id, method, params)
}

func modernHeaders(method, params string) []string {
	h := []string{"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", method}
	o, err := wire.Fields([]byte("{" + params + "}"))
	if err != nil {
		return h
	}
	for _, key := range []string{"name", "uri", "taskId"} {
		if v, ok := o.String(key); ok {
			h = append(h, "Mcp-Name", v)
		}
	}
	return h
}

// legacy opens a session and returns the header that names it.
func (r *rig) legacy(path string, header ...string) []string {
	r.t.Helper()
	a := r.post(path, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"rig","version":"1"}}}`, header...)
	if a.status != http.StatusOK {
		r.t.Fatalf("initialize: %d %s", a.status, a.body)
	}
	h := append([]string{"Mcp-Session-Id", a.header.Get("Mcp-Session-Id"), "Mcp-Protocol-Version", "2025-11-25"}, header...)
	r.post(path, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, h...)
	return h
}

func (r *rig) in(session []string, path, method, params string) answer {
	r.t.Helper()
	r.id++
	return r.post(path, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s}}`, r.id, method, params), session...)
}

// records are all records so far.
func (r *rig) records() []*audit.Record {
	r.t.Helper()
	var all []*audit.Record
	for rec, err := range audit.Read(r.dir) {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, rec)
	}
	return all
}
