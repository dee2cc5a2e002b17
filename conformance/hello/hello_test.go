package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// TestAnswers holds the whole conversation in one table: a message and the
// parts of the answer that matter, as path = JSON.
func TestAnswers(t *testing.T) {
	tests := []struct {
		rule, send string
		want       map[string]string // path → JSON; nil = no answer at all
	}{
		{"legacy: a version we know is answered with itself",
			`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
			map[string]string{"id": `1`, "result.protocolVersion": `"2025-06-18"`, "result.serverInfo.name": `"hello"`, "result.capabilities": `{"tools":{}}`, "result.resultType": ""}},
		{"legacy: an unknown version is answered with our latest",
			`{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"1999-01-01"}}`,
			map[string]string{"id": `"a"`, "result.protocolVersion": `"2025-11-25"`}},
		{"legacy: ping", `{"jsonrpc":"2.0","id":2,"method":"ping"}`, map[string]string{"result": `{}`}},
		{"legacy: list has no cache hints", `{"jsonrpc":"2.0","id":3,"method":"tools/list"}`,
			map[string]string{"result.tools.0.name": `"echo"`, "result.tools.1.name": `"time"`, "result.ttlMs": "", "result.resultType": ""}},
		{"legacy: echo", `{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hä\u0000?"}}}`,
			map[string]string{"result.content": `[{"type":"text","text":"hä\u0000?"}]`, "result.resultType": ""}},
		{"legacy: discover without markers is not known", `{"jsonrpc":"2.0","id":5,"method":"server/discover"}`, map[string]string{"error.code": `-32601`}},

		{"modern: discover", `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{` + meta + `}}`,
			map[string]string{"result.resultType": `"complete"`, "result.supportedVersions.0": `"2026-07-28"`, "result.ttlMs": `3600000`, "result.cacheScope": `"public"`,
				"result.capabilities": `{"tools":{}}`, "result._meta.io\x00modelcontextprotocol/serverInfo.name": `"hello"`}},
		{"modern: list is cacheable", `{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{` + meta + `}}`,
			map[string]string{"result.resultType": `"complete"`, "result.ttlMs": `3600000`, "result.cacheScope": `"public"`, "result.tools.0.name": `"echo"`}},
		{"modern: call is not", `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"time",` + meta + `}}`,
			map[string]string{"result.resultType": `"complete"`, "result.content.0.text": `"2026-11-24T12:00:00Z"`, "result.ttlMs": ""}},
		{"modern: initialize is gone", `{"jsonrpc":"2.0","id":4,"method":"initialize","params":{` + meta + `}}`, map[string]string{"id": `4`, "error.code": `-32601`}},
		{"modern: a version we don't speak names those we do",
			`{"jsonrpc":"2.0","id":5,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2031-01-01","io.modelcontextprotocol/clientCapabilities":{}}}}`,
			map[string]string{"error.code": `-32022`, "error.data.requested": `"2031-01-01"`, "error.data.supported.0": `"2026-07-28"`}},
		{"modern: capabilities are required",
			`{"jsonrpc":"2.0","id":6,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
			map[string]string{"error.code": `-32602`}},

		{"an unknown tool is a protocol error", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"rm"}}`, map[string]string{"error.code": `-32602`}},
		{"bad arguments are a result", `{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"echo","arguments":{"text":1}}}`, map[string]string{"result.isError": `true`}},
		{"absent arguments are none", `{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"echo"}}`, map[string]string{"result.isError": `true`}},
		{"arguments we don't know are refused", `{"jsonrpc":"2.0","id":10,"method":"tools/call","params":{"name":"time","arguments":{"zone":"CET"}}}`, map[string]string{"result.isError": `true`}},
		{"a large id comes back as written", `{"jsonrpc":"2.0","id":9007199254740993,"method":"ping"}`, map[string]string{"id": `9007199254740993`}},
		{"a notification has no answer", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, nil},
		{"a response has no answer", `{"jsonrpc":"2.0","id":1,"result":{}}`, nil},
		{"a batch is refused", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, map[string]string{"id": `null`, "error.code": `-32600`}},
		{"what is not JSON is refused", `{"jsonrpc"`, map[string]string{"id": `null`, "error.code": `-32700`}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			got := handle([]byte(tt.send), noon)
			if tt.want == nil {
				if got != nil {
					t.Fatalf("answered %s", got)
				}
				return
			}
			for path, want := range tt.want {
				if at := dig(t, got, path); !sameJSON(t, at, want) {
					t.Errorf("%s = %s, want %s\nin %s", path, at, want, got)
				}
			}
		})
	}
}

// TestOverRealPipes starts this very binary as the server: one line in, one
// line out, and the end of stdin ends it.
func TestOverRealPipes(t *testing.T) {
	if os.Getenv("HELLO_SERVE") == "1" {
		main()
		os.Exit(0)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOverRealPipes$")
	cmd.Env = append(os.Environ(), "HELLO_SERVE=1")
	cmd.Stdin = strings.NewReader("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n" +
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n" +
		"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"hi\"}}}\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("server: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2:\n%s", len(lines), out)
	}
	if at := dig(t, []byte(lines[1]), "result.content.0.text"); at != `"hi"` {
		t.Errorf("echo = %s", at)
	}
}

func TestALineAtTheLimitIsServedAndOneOverItEndsTheServer(t *testing.T) {
	head, tail := `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"pad":"`, `"}}`
	message := func(n int) string { return head + strings.Repeat("x", n-len(head)-len(tail)) + tail }
	// The scanner needs the newline inside its buffer, too.
	if err := serve(strings.NewReader(message(maxLine-1)+"\n"), io.Discard, time.Now); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if err := serve(strings.NewReader(message(maxLine+1)+"\n"), io.Discard, time.Now); err == nil {
		t.Error("over the limit: no error")
	}
}

// dig is the JSON at a path of keys and indices ("" = absent); \x00 in a key
// stands for a dot.
func dig(t *testing.T, doc []byte, path string) string {
	t.Helper()
	var at any
	d := json.NewDecoder(strings.NewReader(string(doc)))
	d.UseNumber()
	if err := d.Decode(&at); err != nil {
		t.Fatalf("answer is not JSON: %v\n%s", err, doc)
	}
	for key := range strings.SplitSeq(path, ".") {
		key = strings.ReplaceAll(key, "\x00", ".")
		switch v := at.(type) {
		case map[string]any:
			var ok bool
			if at, ok = v[key]; !ok {
				return ""
			}
		case []any:
			i := int(key[0] - '0')
			if i >= len(v) {
				return ""
			}
			at = v[i]
		default:
			return ""
		}
	}
	b, err := json.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	if a == "" || b == "" || strings.Trim(a, "0123456789") == "" {
		return a == b // absent, or a number that no float must touch
	}
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		t.Fatalf("not JSON: %s or %s", a, b)
	}
	return reflect.DeepEqual(x, y)
}
