package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

// asStdio turns the test binary into a stdio upstream.
const asStdio = "TEST_STDIO_UPSTREAM"

func TestMain(m *testing.M) {
	if os.Getenv(asStdio) != "" {
		serveStdio()
		return
	}
	os.Exit(m.Run())
}

// serveStdio is a legacy MCP server with one tool, until stdin ends.
func serveStdio() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		m, err := wire.Parse(in.Bytes(), wire.DefaultLimits)
		if err != nil || m.Kind != wire.Request {
			continue
		}
		var out []byte
		switch m.Method {
		case "initialize":
			out = wire.AppendResult(nil, m.ID, []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"p","version":"1"}}`))
		case "tools/list":
			out = wire.AppendResult(nil, m.ID, []byte(`{"tools":[{"name":"echo","inputSchema":{"type":"object"}}]}`))
		case "tools/call":
			out = wire.AppendResult(nil, m.ID, []byte(`{"content":[]}`))
		default:
			out = wire.AppendError(nil, m.ID, &wire.Error{Code: -32601, Message: "Method not found"})
		}
		os.Stdout.Write(append(out, '\n'))
	}
}

// holding is what this process holds of the machine.
type holding struct{ goroutines, files, processes int }

func nowHolding() holding {
	h := holding{goroutines: runtime.NumGoroutine()}
	files, _ := os.ReadDir("/proc/self/fd") // none where there is no such thing
	h.files = len(files)
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		raw, _ := os.ReadFile(list)
		h.processes += len(strings.Fields(string(raw)))
	}
	return h
}

// overlap is how many goroutines and descriptors may differ without a leak: a
// pool keeps a connection more for each request that overlapped with others. A
// leak would be one a cycle, or one of every other.
const overlap = 50

func (h holding) atMost(other holding) bool {
	return h.goroutines <= other.goroutines+overlap && h.files <= other.files+overlap && h.processes <= other.processes
}

// visitor is one agent with connections of its own.
type visitor struct {
	user, url string
	client    *http.Client
}

func newVisitor(user, url string) *visitor {
	return &visitor{user, url, &http.Client{Transport: &http.Transport{}}}
}

func (v *visitor) leaves() { v.client.CloseIdleConnections() }

func (v *visitor) send(ctx context.Context, verb, body string, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, verb, v.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Test-User", v.user)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return v.client.Do(req)
}

// does sends a request that must be answered with want in it.
func (v *visitor) does(ctx context.Context, verb, body, want string, header ...string) (http.Header, error) {
	resp, err := v.send(ctx, verb, body, header...)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 || !bytes.Contains(raw, []byte(want)) {
		return nil, fmt.Errorf("%s %.200s: %s %.300s, want %s (%v)", verb, body, resp.Status, raw, want, err)
	}
	return resp.Header, nil
}

// cuts opens a stream, and hangs up in the middle of it.
func (v *visitor) cuts(ctx context.Context, verb, body string, first int, header ...string) error {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	resp, err := v.send(ctx, verb, body, header...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", verb, resp.Status)
	}
	_, err = io.ReadFull(resp.Body, make([]byte, first))
	return err
}

var rpcBody = `{"jsonrpc":"2.0","id":1,"method":%q,"params":{%s}}`

// legacyCycle is the whole life of a session; only every other agent says
// goodbye.
func (v *visitor) legacyCycle(ctx context.Context, goodbye bool) error {
	defer v.leaves()
	h, err := v.does(ctx, http.MethodPost, fmt.Sprintf(rpcBody, "initialize", `"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"v","version":"1"}`), "protocolVersion")
	if err != nil {
		return err
	}
	session := []string{"Mcp-Session-Id", h.Get("Mcp-Session-Id"), "Mcp-Protocol-Version", "2025-11-25"}
	steps := []struct{ verb, body, want string }{
		{http.MethodPost, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, ""},
		{http.MethodPost, fmt.Sprintf(rpcBody, "tools/list", ""), "program__echo"},
		{http.MethodPost, fmt.Sprintf(rpcBody, "tools/call", `"name":"http__echo"`), "content"},
		{http.MethodPost, fmt.Sprintf(rpcBody, "tools/call", `"name":"program__echo"`), "content"},
	}
	for _, s := range steps {
		if _, err := v.does(ctx, s.verb, s.body, s.want, session...); err != nil {
			return err
		}
	}
	if err := v.cuts(ctx, http.MethodGet, "", 0, session...); err != nil {
		return err
	}
	if goodbye {
		_, err = v.does(ctx, http.MethodDelete, "", "", session...)
	}
	return err
}

// modernCycle needs no goodbye.
func (v *visitor) modernCycle(ctx context.Context) error {
	defer v.leaves()
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	for method, s := range map[string][2]string{
		"tools/list": {"", "program__echo"},
		"tools/call": {`"name":"http__echo"`, "content"},
	} {
		params := meta
		if s[0] != "" {
			params += "," + s[0]
		}
		if _, err := v.does(ctx, http.MethodPost, fmt.Sprintf(rpcBody, method, params), s[1], modernHeaders(method, s[0])...); err != nil {
			return err
		}
	}
	listen := fmt.Sprintf(rpcBody, "subscriptions/listen", meta+`,"notifications":{"toolsListChanged":true}`)
	return v.cuts(ctx, http.MethodPost, listen, len("data: "), modernHeaders("subscriptions/listen", "")...)
}

// Agents that come and go leave nothing behind: as many processes,
// goroutines and descriptors as there were. Each of the four people comes with connections
// of its own in both eras, and has a session and a process upstream. Every
// round ends all upstream processes and sessions, and begins new ones: some
// thirty process starts, since one costs as much as many cycles over HTTP.
func TestFiveHundredAgentsComeAndGo(t *testing.T) {
	const cycles, rounds = 500, 5
	people := []string{"alice", "bob", "carol", "dave"}
	lanes := 5 * len(people) // agents at once
	r := newRig(t, map[string]*upstream{"http": newUpstream(t, wire.Legacy)})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := *r.fed.Snapshot().Upstreams()[0].Config
	renew := func(round int) {
		web := config
		web.Limits.Concurrency += round // another entry: what was connected goes
		program := &catalogs.Upstream{
			Name: "program", Prefix: "program", Enabled: true, Command: []string{self}, Transport: catalogs.Stdio,
			Env: map[string]catalogs.Secret{asStdio: catalogs.Secret(fmt.Sprint(round))}, Auth: config.Auth, Limits: config.Limits,
		}
		if err := r.fed.Apply(t.Context(), &catalogs.Catalog{Upstreams: []*catalogs.Upstream{&web, program}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r.fed.Settle(ctx)
	}
	round := func(each int) {
		var agents sync.WaitGroup
		for lane := range lanes {
			agents.Go(func() {
				who := people[lane%len(people)]
				for n := range each {
					v := newVisitor(who, r.URL+"/mcp")
					come := v.modernCycle
					if n%2 == 0 {
						come = func(ctx context.Context) error { return v.legacyCycle(ctx, n%4 == 0) }
					}
					if err := come(t.Context()); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		agents.Wait()
	}
	settles := func(what string, want holding) {
		t.Helper()
		deadline := time.Now().Add(patience)
		for !nowHolding().atMost(want) {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Fatalf("%s: %+v, before: %+v\n%s", what, nowHolding(), want, buf[:runtime.Stack(buf, true)])
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	renew(0)
	before := nowHolding()
	round(1) // each person has what is theirs now
	var used holding
	comes(t, "four processes more", func() bool {
		used = nowHolding()
		return used.processes == before.processes+len(people) || runtime.GOOS != "linux"
	})
	renew(1)
	settles("after the first round", before)
	for n := range rounds {
		round(cycles / rounds / lanes)
		if t.Failed() {
			return
		}
		if n == rounds-1 {
			settles("with everybody's upstream sessions still open", used)
		}
		renew(n + 2)
	}
	settles("after all", before)
}
