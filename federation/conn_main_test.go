package federation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

// TestMain turns the test binary into a stdio upstream when a test starts it
// as one.
func TestMain(m *testing.M) {
	Shim()
	if name := os.Getenv("TEST_UPSTREAM"); name != "" {
		os.Exit(actAs(name))
	}
	// The runtime opens descriptors of its own with the first socket.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	os.Exit(m.Run())
}

// rpc is any JSON-RPC message, as the scripted upstreams see it.
type rpc struct {
	ID     json.RawMessage `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

func (m rpc) token() string {
	var p struct {
		Meta struct {
			Token json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	json.Unmarshal(m.Params, &p)
	return string(p.Meta.Token)
}

func (m rpc) result(result string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

const (
	discoverResult = `{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private","instructions":"be kind","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}`
	helloResult    = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{},"resources":{"subscribe":true}},"serverInfo":{"name":"s","version":"1"}}`
)

func readRPC(r *http.Request) (m rpc) {
	raw, _ := io.ReadAll(r.Body)
	json.Unmarshal(raw, &m)
	return m
}

func sendJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// sendEvents starts an event stream; the function it returns sends one event.
func sendEvents(w http.ResponseWriter) func(data string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	return func(data string) {
		fmt.Fprintf(w, "data: %s\n\n", data)
		w.(http.Flusher).Flush()
	}
}

// modernUpstream answers server/discover itself and leaves the rest to serve.
func modernUpstream(t *testing.T, serve func(w http.ResponseWriter, r *http.Request, m rpc)) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := readRPC(r)
		if m.Method == "server/discover" {
			sendJSON(w, 200, m.result(discoverResult))
			return
		}
		serve(w, r, m)
	}))
	t.Cleanup(s.Close)
	return s
}

// legacyUpstream keeps sessions like a server of 2025-11-25.
type legacyUpstream struct {
	*httptest.Server
	serve  func(w http.ResponseWriter, r *http.Request, m rpc)
	stream func(w http.ResponseWriter, r *http.Request) // GET; nil = 405

	mu       sync.Mutex
	opened   int
	sessions map[string]bool
	seen     []rpc // everything that came within a session
	deleted  []string
}

func newLegacyUpstream(t *testing.T, serve func(w http.ResponseWriter, r *http.Request, m rpc)) *legacyUpstream {
	l := &legacyUpstream{serve: serve, sessions: make(map[string]bool)}
	l.Server = httptest.NewServer(l)
	t.Cleanup(l.Close)
	return l
}

func (l *legacyUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("Mcp-Session-Id")
	l.mu.Lock()
	known := l.sessions[id]
	l.mu.Unlock()
	if r.Method == http.MethodPost {
		m := readRPC(r)
		switch {
		case m.Method == "initialize":
			l.mu.Lock()
			l.opened++
			id := fmt.Sprintf("session-%d", l.opened)
			l.sessions[id] = true
			l.mu.Unlock()
			w.Header().Set("Mcp-Session-Id", id)
			sendJSON(w, 200, m.result(helloResult))
			return
		case id == "":
			sendJSON(w, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: no session"}}`)
			return
		case !known:
			sendJSON(w, 404, `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`)
			return
		}
		l.mu.Lock()
		l.seen = append(l.seen, m)
		l.mu.Unlock()
		switch {
		case m.ID == nil || m.Method == "":
			w.WriteHeader(202)
		default:
			l.serve(w, r, m)
		}
		return
	}
	switch {
	case !known:
		w.WriteHeader(404)
	case r.Method == http.MethodDelete:
		l.mu.Lock()
		delete(l.sessions, id)
		l.deleted = append(l.deleted, id)
		l.mu.Unlock()
	case l.stream != nil:
		l.stream(w, r)
	default:
		w.WriteHeader(405)
	}
}

// forget loses all sessions, as a restart does.
func (l *legacyUpstream) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.sessions)
}

// got waits for a message with this method, "" for a response.
func (l *legacyUpstream) got(t *testing.T, method string) rpc {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		l.mu.Lock()
		for _, m := range l.seen {
			if m.Method == method {
				l.mu.Unlock()
				return m
			}
		}
		l.mu.Unlock()
	}
	t.Fatalf("upstream never got %q", method)
	return rpc{}
}

func (l *legacyUpstream) count(method string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.seen {
		if m.Method == method {
			n++
		}
	}
	return n
}

// entryFor is a catalog entry for a URL or a command.
func entryFor(url string) *catalogs.Upstream {
	return &catalogs.Upstream{Name: "up", Enabled: true, URL: url, Transport: catalogs.Auto,
		Limits: catalogs.Limits{Timeout: 5 * time.Second}}
}

func connect(t *testing.T, d dialConfig) connection {
	t.Helper()
	d.Version = "1.2.3"
	c, err := dial(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close(t.Context()) })
	return c
}

func echoCall() *Call {
	return &Call{Upstream: "up", Method: "tools/call", Params: []byte(`{"name":"echo","arguments":{"a":1}}`)}
}

// wantKind checks a failure's kind, and that its text for the operator keeps
// what the upstream said to itself.
func wantKind(t *testing.T, err, kind error) *Failure {
	t.Helper()
	f, ok := err.(*Failure)
	if !ok || f.Kind != kind {
		t.Fatalf("got %v, want %v", err, kind)
	}
	if strings.Contains(f.Error(), "SECRET-BODY") {
		t.Errorf("the upstream's words are in %q", f.Error())
	}
	return f
}

// leavesNothing fails the test when goroutines or open files of it are left
// at its end.
func leavesNothing(t *testing.T) {
	files := func() int {
		list, _ := os.ReadDir("/proc/self/fd") // none where there is no such thing
		return len(list)
	}
	goroutinesBefore, filesBefore := runtime.NumGoroutine(), files()
	t.Cleanup(func() {
		deadline := time.Now().Add(3 * time.Second)
		for runtime.NumGoroutine() > goroutinesBefore || files() > filesBefore {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Errorf("%d goroutines and %d open files left over\n%s", runtime.NumGoroutine()-goroutinesBefore,
					files()-filesBefore, buf[:runtime.Stack(buf, true)])
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// logged is a logger that writes to a buffer.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func era(e wire.Era) *wire.Era { return &e }
