package federation

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// The whole of it over a real connection: list, call, close.
func TestFederationOverHTTP(t *testing.T) {
	var mu sync.Mutex
	var called []string
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var m struct {
			ID     json.RawMessage
			Method string
			Params struct{ Name string }
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(rw, "bad", http.StatusBadRequest)
			return
		}
		answer := func(result string) {
			rw.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(rw, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
		}
		switch m.Method {
		case "server/discover":
			answer(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}`)
		case "tools/list":
			answer(`{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[{"name":"echo","inputSchema":{"type":"object"}},{"name":"twice","a":1,"a":2}]}`)
		case "tools/call":
			mu.Lock()
			called = append(called, m.Params.Name)
			mu.Unlock()
			answer(`{"resultType":"complete","content":[]}`)
		default:
			rw.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(rw, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}`, m.ID)
		}
	}))
	defer server.Close()

	f := New(Config{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Version: "test"})
	w := &world{Federation: f, t: t}
	defer w.stop()
	e := entry("real")
	e.URL = server.URL + "/mcp"
	w.apply(e)
	s := w.status("real")
	if s.State != "ready" || s.Era != "modern" || s.Tools != 1 || len(s.LeftOut) != 1 || s.Latency <= 0 || s.Since.After(time.Now()) {
		t.Fatalf("status: %+v", s)
	}
	equal(t, "tools", w.names(Merged, Tool), []string{"real__echo"})
	if a := mustCall(t, w, user("u"), toolCall("real", "echo")); a.Error != nil || len(a.Result) == 0 {
		t.Errorf("answer: %+v", a)
	}
	equal(t, "called", called, []string{"echo"})
}
