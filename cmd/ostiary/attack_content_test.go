package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// logText is every byte of the audit log's segments.
func logText(t *testing.T, data string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "audit", "segment-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal("no segments", err)
	}
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return string(all)
}

// callRaw calls a tool with exactly these arguments and returns the answer.
func callRaw(t *testing.T, url, tool, arguments string) string {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"a\nb \u202e {\"seq\":1}","version":"1\n{\"format\":1}"}},"name":` + quoted(t, tool) + `,"arguments":` + arguments + `}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Content-Type": "application/json", "Accept": "application/json", "Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call"} {
		req.Header.Set(k, v)
	}
	req.Header.Set("Mcp-Name", "=?base64?"+base64.StdEncoding.EncodeToString([]byte(tool))+"?=")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Attacks on a real server: no secret stands in the log, equal
// ones can be told to be equal, what rules read comes back from the sealed part
// until its day is destroyed, and a digest can be checked against the bytes.
func TestNoSecretStandsInTheLogOfAServer(t *testing.T) {
	upstream := httptest.NewServer(newEcho(1))
	defer upstream.Close()
	s := newSite(t)
	s.declare(t, "upstreams:\n  up:\n    url: "+upstream.URL+"\n")
	dir := rules(t, "p.rego", "package ostiary\n\ndefault allow := false\n\nallow if input.arguments.text != \"no\"\n")
	config := filepath.Join(t.TempDir(), "ostiary.yaml")
	if err := os.WriteFile(config, []byte("audit:\n  redact:\n    pointers:\n      - {upstream: up, tool: echo, path: /arguments/text}\n    keys: [customer no]\n    off: [card]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := s.serve(t, "--policies", dir, "--config", config)
	eventually(t, "the upstream", func() bool {
		code, _, _ := ostiary(t, "tools", "call", "up__echo", "text=hi", "--url", g.url)
		return code == exitDone
	})
	const secret, card = "hunter2-hunter2", "4111111111111111"
	arguments := `{"text":"` + secret + `","Customer_No":"` + secret + `","n":1.00,"card":"` + card + `"}`
	for range 2 {
		if a := callRaw(t, g.url, "up__echo", arguments); !strings.Contains(a, secret) {
			t.Fatalf("the call did not get through as it was sent: %s", a)
		}
	}
	file := filepath.Join(t.TempDir(), "arguments")
	if err := os.WriteFile(file, []byte(arguments), 0o600); err != nil {
		t.Fatal(err)
	}
	digest := func() (d digests) {
		t.Helper()
		code, out, errs := ostiary(t, "audit", "digest", file, "--data", s.data, "--format", "json")
		if code != exitDone || json.Unmarshal([]byte(out), &d) != nil {
			t.Fatalf("exit %d, %s %s", code, out, errs)
		}
		return d
	}
	beside := digest()
	if code := g.stop(); code != exitDone {
		t.Fatal(code)
	}
	if alone := digest(); alone != beside || len(alone.Keyed) != 64 {
		t.Errorf("%+v beside the server, %+v without", beside, alone)
	}
	text := logText(t, s.data)
	if strings.Contains(text, secret) || strings.Contains(text, beside.Plain) || !strings.Contains(text, card) {
		t.Error("the log has a secret or its plain digest, or lacks what was not to be redacted")
	}
	if log := g.err.String(); strings.Contains(log, secret) {
		t.Errorf("the server's own log has it: %s", log)
	}

	st, err := store.Open(s.data, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var shown []string
	for r, err := range audit.Query(s.data, audit.Filter{Tool: "echo", Kind: "decision", Text: "Customer_No"}) {
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, string(r.Arguments.Value))
		if r.Arguments.Keyed != beside.Keyed || r.Arguments.Size != len(arguments) || r.Arguments.Redacted != 2 {
			t.Errorf("%+v", r.Arguments)
		}
		doc, unknown, err := audit.Clear(r, st)
		if len(unknown) > 0 || err != nil || string(doc.Arguments) != arguments {
			t.Errorf("%s, unknown %v, %v", doc.Arguments, unknown, err)
		}
		if _, err := st.DestroyDays(t.Context(), time.Now().Add(48*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, unknown, err := audit.Clear(r, st); len(unknown) != 1 || err != nil {
			t.Errorf("after the day was destroyed: unknown %v, %v", unknown, err)
		}
		break
	}
	for r, err := range audit.Query(s.data, audit.Filter{Tool: "echo", Kind: "decision", Text: "Customer_No"}) {
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, string(r.Arguments.Value))
	}
	if len(shown) != 3 || shown[0] != shown[2] || strings.Count(shown[0], "[redacted:hmac:") != 2 || !strings.Contains(shown[0], `"n":1.00,"card":"`+card) {
		t.Errorf("%q", shown)
	}
	if code, _, errs := ostiary(t, "audit", "verify", "--data", s.data); code != exitDone {
		t.Errorf("the chain: exit %d, %s", code, errs)
	}
}

// Attack A-110 on a real server: whatever an agent names, there is one line per
// record, and what was named reads as it was sent.
func TestAnAgentForgesNoRecord(t *testing.T) {
	s := newSite(t)
	g := s.serve(t)
	const forged = "x\"}\n{\"format\":1,\"seq\":1,\"prev\":\"\",\"kind\":\"event\",\"event\":\"forged\"}\r\n\u2028\u202e\x7f"
	arguments := `{"text":` + quoted(t, forged) + `,` + quoted(t, forged) + `:1}`
	callRaw(t, g.url, forged, arguments)
	postMCP(t, g.url, "", `{"jsonrpc":"2.0","id":1,"method":`+quoted(t, forged)+`}`).Body.Close()
	resp, err := http.Get(g.base + "/mcp/x%22%7D%0A%7B%22kind%22:%22event%22%7D")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	g.stop()
	text := logText(t, s.data)
	if code, out, errs := ostiary(t, "audit", "verify", "--data", s.data, "--format", "json"); code != exitDone {
		t.Fatalf("exit %d, %s %s", code, out, errs)
	}
	found := false
	for line := range strings.Lines(text) {
		var r audit.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Event == "forged" || strings.ContainsAny(line[:len(line)-1], "\r\u2028\u202e\x7f") {
			t.Errorf("%v: %q", err, line)
		}
		if r.Target.Name == forged {
			found = true
			if string(r.Arguments.Value) != strings.NewReplacer("\u2028", `\u2028`, "\u202e", `\u202e`, "\x7f", `\u007f`).Replace(arguments) {
				t.Errorf("%s\nwant %s", r.Arguments.Value, arguments)
			}
			if r.Agent.Name != "a\nb \u202e {\"seq\":1}" {
				t.Errorf("%q", r.Agent.Name)
			}
		}
	}
	if !found {
		t.Errorf("no record of the call: %s", text)
	}
}

// What the issue asks to be shown of anonymous junk: at most one record per
// source and minute, and a caller beside it notices nothing. A second of it by
// default; OSTIARY_FLOOD_SECONDS=60 runs the minute, at 1,000 requests a second.
// Security catalogue A-032.
func TestAnonymousJunkFillsNoLog(t *testing.T) {
	seconds, _ := strconv.Atoi(cmp.Or(os.Getenv("OSTIARY_FLOOD_SECONDS"), "1"))
	upstream := httptest.NewServer(newEcho(1))
	defer upstream.Close()
	s := newSite(t)
	s.declare(t, "upstreams:\n  up:\n    url: "+upstream.URL+"\n")
	s.verb(t, "user", "add", "alice", "--data", s.data)
	g := s.start(t, &console{})
	code, token, errs := ostiary(t, "token", "issue", "--user", "alice", "--public-url", g.base, "--data", s.data)
	if token = strings.TrimSpace(token); code != exitDone {
		t.Fatal(errs)
	}
	call := func() (time.Duration, bool) {
		began := time.Now()
		resp := postMCP(t, g.url, token, initialize)
		resp.Body.Close()
		return time.Since(began), resp.StatusCode == http.StatusOK
	}
	eventually(t, "a call that is admitted", func() bool { _, ok := call(); return ok })
	before := strings.Count(logText(t, s.data), "\n")

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	var junk sync.WaitGroup
	sent := make([]int, 8)
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for w := range sent {
		junk.Go(func() {
			tick := time.NewTicker(8 * time.Millisecond)
			defer tick.Stop()
			for time.Now().Before(end) {
				<-tick.C
				path := [...]string{"/mcp", "/oauth/token", "/mcp/up", "/nothing", "/oauth/register"}[sent[w]%5]
				if sent[w]%100 == 0 { // a password costs the server on purpose
					path = "/login"
				}
				resp, err := client.Post(g.base+path, "application/x-www-form-urlencoded", strings.NewReader("username=alice&password=wrong&grant_type=refresh_token&refresh_token=x&client_id=cli"))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				sent[w]++
			}
		})
	}
	calls, slowest := 0, time.Duration(0)
	for time.Now().Before(end) {
		took, ok := call()
		if !ok {
			t.Error("a well-behaved caller was refused")
			break
		}
		calls++
		slowest = max(slowest, took)
		time.Sleep(20 * time.Millisecond)
	}
	junk.Wait()
	all := 0
	for _, n := range sent {
		all += n
	}
	g.stop()
	summaries, counted := 0, 0
	for r, err := range audit.Query(s.data, audit.Filter{Kind: "event"}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Event == audit.EventFailures {
			summaries++
			counted += r.Failures.Count
		}
	}
	lines := strings.Count(logText(t, s.data), "\n") - before
	t.Logf("%d junk requests in %d s, %d counted in %d summaries; %d calls beside them, the slowest %s; %d lines", all, seconds, counted, summaries, calls, slowest, lines)
	if most := seconds/60 + 1; summaries > most || summaries == 0 || lines > calls+most+5 {
		t.Errorf("%d summaries, %d lines for %d calls", summaries, lines, calls)
	}
	if counted < all*4/5 {
		t.Errorf("%d of %d are counted", counted, all)
	}
}
