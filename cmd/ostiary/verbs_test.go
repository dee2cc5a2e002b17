package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

func TestCatalogCheckPrintsProblemsAsFileLineColumn(t *testing.T) {
	s := newSite(t)
	s.declare(t, "upstreams:\n  a:\n    url: http://127.0.0.1:1/mcp\n    colour: red\n")
	code, out, errs := ostiary(t, s.with("catalog", "check")...)
	if code != exitFailed || !strings.HasPrefix(out, filepath.Join(s.catalogs, "test.yaml")+":4:5: upstreams.a.colour: ") || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d, %s", code, out)
	}
	if errs != fmt.Sprintf("ostiary: catalog %s: 1 problem; nothing of it would be served\n", s.catalogs) {
		t.Errorf("%q", errs)
	}
	code, out, _ = ostiary(t, s.with("catalog", "check", "--format", "json")...)
	var report struct {
		OK       bool
		Problems []problemLine
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitFailed || report.OK || len(report.Problems) != 1 || report.Problems[0].Line != 4 || report.Problems[0].Column != 5 {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
}

func TestCatalogCheckNamesWhatAFileReadsAndNeverItsValue(t *testing.T) {
	s := newSite(t)
	s.declare(t, "upstreams:\n  a:\n    command: [sh, -c, \"${SECRET_WORD}\"]\n")
	c := &console{env: map[string]string{"SECRET_WORD": "canary-value"}}
	for _, verb := range []string{"check", "list"} {
		if code := c.run(t.Context(), s.with("catalog", verb)...); code != exitDone {
			t.Fatalf("exit %d, %s", code, c.err.String())
		}
	}
	if out := c.out.String(); !strings.Contains(out, "a reads SECRET_WORD") || strings.Contains(out, "canary-value") {
		t.Error(out)
	}
}

func TestAMissingCatalogDirectoryIsAnError(t *testing.T) {
	code, _, errs := ostiary(t, "catalog", "check", "--catalogs", filepath.Join(t.TempDir(), "none"))
	if code != exitFailed || !strings.Contains(errs, "none") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

func TestCatalogListHidesCredentialsOfURLs(t *testing.T) {
	s := newSite(t)
	s.declare(t, "upstreams:\n  a:\n    url: https://mcp.example.com/mcp?key=canary-value\n  gone:\n    enabled: false\n    command: [no-such-program-here]\n")
	code, out, errs := ostiary(t, s.with("catalog", "list")...)
	if code != exitDone || strings.Contains(out, "canary-value") || !strings.Contains(out, "https://mcp.example.com/mcp") || !strings.Contains(out, "no-such-program-here (not installed)") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}

func TestCatalogTestTriesRealUpstreams(t *testing.T) {
	s := newSite(t)
	web := httptest.NewServer(newEcho(3))
	defer web.Close()
	pipes, err := os.ReadFile(filepath.Join(s.catalogs, "test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.declare(t, string(pipes)+"  web:\n    url: "+web.URL+"/mcp\n  off:\n    enabled: false\n    url: "+web.URL+"/mcp\n")
	code, out, errs := ostiary(t, s.with("catalog", "test", "--format", "json")...)
	var results []tried
	if err := json.Unmarshal([]byte(out), &results); err != nil || code != exitDone || len(results) != 2 {
		t.Fatalf("exit %d, %v, %s%s", code, err, out, errs)
	}
	for i, want := range []struct {
		name  string
		tools int
	}{{"pipes", 2}, {"web", 3}} {
		if r := results[i]; r.Name != want.name || r.State != "ready" || r.Tools != want.tools || r.Era != "modern" {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
	// By name, one that is off is tried too.
	if code, out, _ := ostiary(t, s.with("catalog", "test", "off")...); code != exitDone || !strings.Contains(out, "off   ready") || strings.Contains(out, "web") {
		t.Errorf("exit %d, %s", code, out)
	}
	if code, _, errs := ostiary(t, s.with("catalog", "test", "wbe")...); code != exitUsage || !strings.Contains(errs, `did you mean "web"?`) {
		t.Errorf("exit %d, %s", code, errs)
	}
	web.Close()
	if code, out, errs := ostiary(t, s.with("catalog", "test", "web")...); code != exitFailed || !strings.Contains(out, "unavailable") || !strings.Contains(errs, "1 of 1 upstream could not be reached") {
		t.Errorf("a dead upstream: exit %d, %s%s", code, out, errs)
	}
}

func TestToolsWorkWithoutAServer(t *testing.T) {
	s := newSite(t)
	code, out, errs := ostiary(t, s.with("tools", "list")...)
	if code != exitDone || !strings.Contains(out, "pipes__echo ") || !strings.Contains(out, "Look a record up") || errs != "" {
		t.Errorf("tools list: exit %d, %s%s", code, out, errs)
	}
	// No server on this address: the call opens the data directory itself.
	free := "127.0.0.1:1"
	code, out, errs = ostiary(t, s.with("tools", "call", "pipes__echo", "--args", `{"text":"by itself"}`, "--listen", free)...)
	if code != exitDone || out != "by itself\n" || errs != "" {
		t.Errorf("tools call: exit %d, %q, %q", code, out, errs)
	}
	code, out, _ = ostiary(t, "audit", "query", "--data", s.data, "--upstream", "pipes")
	if code != exitDone || !strings.Contains(out, "tools/call") || !strings.Contains(out, "allow") || !strings.Contains(out, "outcome") {
		t.Errorf("the call is not on record: exit %d, %s", code, out)
	}
}

func TestToolsListSaysWhichUpstreamIsMissing(t *testing.T) {
	s := newSite(t)
	s.declare(t, "upstreams:\n  dead:\n    command: [\"false\"]\n")
	code, _, errs := ostiary(t, s.with("tools", "list")...)
	if code != exitFailed || !strings.Contains(errs, "upstream dead is unavailable") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

func TestCallArguments(t *testing.T) {
	got, err := callArguments("", []string{"n=12", "b=true", "s=a=b", `o={"x":1.50}`, "q=\"1\"", "e="})
	if err != nil || string(got) != `{"n":12,"b":true,"s":"a=b","o":{"x":1.50},"q":"1","e":""}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestAuditQueryFilters(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for i, r := range []*audit.Record{
		{Kind: "decision", DecisionID: "one", User: policy.User{ID: "local:ann", Name: "ann"}, Client: policy.Client{ID: "cli"}, Upstream: "up", Target: policy.Target{Name: "echo"}, Decision: &policy.Decision{Allow: true}},
		{Kind: "decision", DecisionID: "two", User: policy.User{ID: "local:bob", Name: "bob"}, Upstream: "down", Target: policy.Target{Name: "shout"}, Decision: &policy.Decision{}},
		{Kind: "outcome", DecisionID: "two", Outcome: "denied"},
		{Kind: "outcome", DecisionID: "one", Outcome: "tool_error", Detail: "Needle"},
	} {
		r.Format, r.Time = audit.Format, start.Add(time.Duration(i)*time.Hour)
		if err := log.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"", "one two two one"},
		{"--user ann", "one one"},
		{"--user local:bob", "two two"},
		{"--client cli", "one one"},
		{"--tool shout", "two two"},
		{"--upstream up", "one one"},
		{"--decision allow", "one one"},
		{"--decision deny", "two two"},
		{"--text nEEdle", "one"},
		{"--since 2026-01-31T13:00:00Z", "two two one"},
		{"--until 2026-01-31T13:00:00Z", "one"},
		{"--user ann --until 2026-01-31T14:00:00Z", "one"},
		{"--user ann --decision deny", ""},
	} {
		code, out, errs := ostiary(t, append([]string{"audit", "query", "--data", dir, "--format", "json"}, strings.Fields(c.args)...)...)
		var ids []string
		for line := range strings.Lines(out) {
			var r audit.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, r.DecisionID)
		}
		if got := strings.Join(ids, " "); code != exitDone || got != c.want || errs != "" {
			t.Errorf("%q: exit %d, %q, want %q; %s", c.args, code, got, c.want, errs)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := ostiary(t, "audit", "query", "--data", filepath.Join(dir, "none")); code != exitFailed || !strings.Contains(errs, "check --data") {
		t.Errorf("no data directory: exit %d, %s", code, errs)
	}
}

func TestAuditVerifyFindsAChangedByte(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := log.Append(t.Context(), &audit.Record{Kind: "event", Event: "test.word", Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := ostiary(t, "audit", "verify", "--data", dir); code != exitDone || !strings.HasPrefix(out, "3 records, 1 to 3, in 1 segment; head ") {
		t.Errorf("exit %d, %s", code, out)
	}
	err = filepath.WalkDir(filepath.Join(dir, "audit"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(raw), "test.word") {
			return err
		}
		return os.WriteFile(path, []byte(strings.Replace(string(raw), "test.word", "test.work", 1)), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errs := ostiary(t, "audit", "verify", "--data", dir); code != exitFailed || !strings.Contains(errs, "does not verify") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

func TestDoctorSaysWhatIsWrongAndHowToMendIt(t *testing.T) {
	s := newSite(t)
	args := s.with("doctor", "--listen", "127.0.0.1:0")
	code, out, errs := ostiary(t, args...)
	if code != exitDone || strings.Contains(out, "✗") || errs != "" {
		t.Fatalf("a well place: exit %d, %s%s", code, out, errs)
	}
	if !strings.Contains(out, "✓ confine   pipes: ") {
		t.Errorf("how the upstream is confined is not said:\n%s", out)
	}
	for _, w := range connectCommands("x") {
		if !strings.Contains(out, w.Agent) {
			t.Errorf("no way to connect %s", w.Agent)
		}
	}

	if err := os.Mkdir(s.data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.data, "master.key"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.declare(t, "upstreams:\n  gone:\n    command: [no-such-program-here]\n    confine: false\n")
	code, out, _ = ostiary(t, args...)
	for _, want := range []string{
		"! data      " + s.data + " has mode 0755", "→ chmod 700 " + s.data,
		"✗ files     key file", "→ chmod 600 " + filepath.Join(s.data, "master.key"),
		"✗ program   upstream gone needs no-such-program-here",
		"✗ upstream  gone is unavailable", "! confine   gone runs with this user's rights", "→ drop confine: false",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor does not say %q:\n%s", want, out)
		}
	}
	if code != exitFailed {
		t.Errorf("exit %d", code)
	}

	code, out, _ = ostiary(t, append(args, "--format", "json", "--listen", "0.0.0.0:0")...)
	var report struct {
		OK       bool
		Findings []finding
		Connect  []connect
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitFailed || report.OK || len(report.Findings) == 0 || len(report.Connect) == 0 {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
}

func TestInMemoryRoundTripIsAnHTTPAnswer(t *testing.T) {
	client := http.Client{Transport: inMemory{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "localhost" || r.RemoteAddr == "" || r.RequestURI != "/a?b=c" || r.Body == nil {
			t.Errorf("the handler sees %+v", r)
		}
		switch r.Method {
		case http.MethodGet:
			w.Header().Set("X-Test", "kept")
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, "short and stout")
		case http.MethodPost:
			fmt.Fprint(w, "half of")
			panic(http.ErrAbortHandler)
		}
	})}}
	response, err := client.Get("http://localhost/a?b=c")
	if err != nil {
		t.Fatal(err)
	}
	var body strings.Builder
	if _, err := fmt.Fprint(&body, readAll(t, response)); err != nil || response.StatusCode != 418 || response.Header.Get("X-Test") != "kept" || body.String() != "short and stout" {
		t.Errorf("%d %v %q", response.StatusCode, response.Header, body.String())
	}
	response, err = client.Post("http://localhost/a?b=c", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	buf := make([]byte, 64)
	for err == nil {
		_, err = response.Body.Read(buf)
	}
	if !strings.Contains(err.Error(), "aborted") {
		t.Errorf("an aborted answer ends with %v", err)
	}
}
