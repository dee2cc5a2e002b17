package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/store/audit"
)

// A client that writes its whole body before it reads must still learn why it
// was refused, and not find its connection reset.
func TestABodyOverTheLimitIsAnsweredAfterItWasSent(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	size := wire.DefaultLimits.Bytes + 1
	fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size)
	if _, err := io.CopyN(conn, zeros{}, int64(size)); err != nil {
		t.Fatalf("the body could not be sent: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
		t.Errorf("%d, close %v", resp.StatusCode, resp.Close)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// limits.streams and limits.calls are two limits: who listens may still call.
func TestAStreamIsNotCountedAsACall(t *testing.T) {
	const calls = 2
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)}, func(_ *rig, c *Config) { c.Limits.Calls = calls })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range calls + 1 {
		params := `"notifications":{"toolsListChanged":true}`
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+"/mcp", strings.NewReader(r.modernBody("subscriptions/listen", params)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "text/event-stream")
		header := modernHeaders("subscriptions/listen", params)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("listen: %d", resp.StatusCode)
		}
		if _, err := wire.NewEventReader(resp.Body, 1<<20).Next(); err != nil { // the acknowledgement
			t.Fatal(err)
		}
	}
	if a := r.modern("/mcp", "tools/call", `"name":"up__echo"`); a.status != http.StatusOK {
		t.Errorf("call beside %d streams: %d %s", calls+1, a.status, a.body)
	}
	r.g.quota.mu.Lock()
	defer r.g.quota.mu.Unlock()
	if len(r.g.quota.n) > 0 {
		t.Errorf("calls still counted: %v", r.g.quota.n)
	}
}

// What can't be a name is recorded in short, and answered as unknown: a log
// that is well must not be said to be unwell.
func TestAVeryLongNameIsUnknownAndRecorded(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Legacy)})
	s := r.legacy("/mcp")
	long := strings.Repeat("n", audit.MaxRecord+1)
	for _, c := range []struct{ method, params string }{
		{"tools/call", `"name":"` + long + `"`},
		{"prompts/get", `"name":"` + long + `"`},
		{"resources/read", `"uri":"x:` + long + `"`},
	} {
		a := r.in(s, "/mcp", c.method, c.params)
		if code := a.code(t); a.status != http.StatusOK || code != codeInvalidParams && code != codeResourceMissing {
			t.Errorf("%s: %d %.200s", c.method, a.status, a.body)
		}
	}
	n := 0
	for _, rec := range r.records() {
		if rec.Outcome == "not_found" && rec.Kind == "decision" {
			if n++; len(rec.Target.Name) == 0 || len(rec.Target.Name) > recordedName {
				t.Errorf("%d bytes of the name", len(rec.Target.Name))
			}
		}
	}
	if n != 3 {
		t.Errorf("%d records", n)
	}
}

// An upstream's own annotations must not make its tools unrecordable, nor the
// log grow by a megabyte a call: the definition's digest names them.
func TestVeryLongAnnotationsAreNotCopiedIntoEachRecord(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools = `{"name":"fat","inputSchema":{"type":"object"},"annotations":{"title":"` + strings.Repeat("\u00ad", 300_000) + `"}}`
	r := newRig(t, map[string]*upstream{"up": u})
	if a := r.modern("/mcp", "tools/call", `"name":"up__fat"`); a.status != http.StatusOK {
		t.Fatalf("%d %.200s", a.status, a.body)
	}
	for _, rec := range r.records() {
		if len(rec.Target.Annotations) > recordedAnnotations {
			t.Errorf("%d bytes of annotations", len(rec.Target.Annotations))
		}
	}
}

// MCP 2025-11-25, Streamable HTTP: the answer to a POSTed request is JSON or an
// event stream. One that was cancelled has no response, so it is a stream
// without events.
func TestACancelledLegacyRequestEndsAsAnEmptyStream(t *testing.T) {
	w := newTape()
	rp := newReply(w, post(t.Context()), both())
	rp.close()
	if ct := w.header.Get("Content-Type"); w.code() != http.StatusOK || ct != "text/event-stream" || w.text() != "" {
		t.Errorf("%d %q %q", w.code(), ct, w.text())
	}
}

func TestTwoSessionHeadersNameNoSession(t *testing.T) {
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Legacy)})
	s := r.legacy("/mcp")[1]
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		req, err := http.NewRequest(method, r.URL+"/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header["Mcp-Session-Id"] = []string{s, s}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
}

// A browser asks before it sends a header, and which Mcp-Param-* there are only
// the tools say.
func TestAPreflightAllowsMirroredParameters(t *testing.T) {
	const app = "https://app.example.com"
	r := newRig(t, map[string]*upstream{"up": newUpstream(t, wire.Modern)}, func(_ *rig, c *Config) { c.AllowedOrigins = []string{app} })
	req, err := http.NewRequest(http.MethodOptions, r.URL+"/mcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", app)
	req.Header.Set("Access-Control-Request-Headers", "content-type,mcp-param-region, x-evil,mcp-param-a b,mcp-param-")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	got := resp.Header.Get("Access-Control-Allow-Headers")
	if !strings.HasSuffix(got, "Tracestate, mcp-param-region") {
		t.Errorf("%d %q", resp.StatusCode, got)
	}
}
