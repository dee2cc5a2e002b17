package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store/audit"
)

// site is the directories of one gateway.
type site struct{ catalogs, data string }

// newSite declares one stdio upstream, "pipes", which is this test binary.
func newSite(t *testing.T) *site {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &site{filepath.Join(dir, "catalogs"), filepath.Join(dir, "data")}
	if err := os.Mkdir(s.catalogs, 0o700); err != nil {
		t.Fatal(err)
	}
	s.declare(t, fmt.Sprintf("upstreams:\n  pipes:\n    command: [%q]\n    env: {%s: \"1\"}\n    labels: [read]\n", self, asUpstream))
	return s
}

func (s *site) declare(t *testing.T, yaml string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.catalogs, "test.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
}

// with adds the site's directories to a command line.
func (s *site) with(args ...string) []string {
	return append(args, "--catalogs", s.catalogs, "--data", s.data)
}

// served is a gateway that runs in this process.
type served struct {
	*console
	url  string // of the endpoint
	base string
	stop func() int // ends it and gives its exit code
}

func (s *site) serve(t *testing.T, args ...string) *served {
	t.Helper()
	return s.start(t, &console{}, append([]string{"--no-auth"}, args...)...)
}

// start serves with sign-in, unless args say otherwise.
func (s *site) start(t *testing.T, c *console, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	g := &served{console: c}
	ended := make(chan int, 1)
	go func() {
		ended <- g.run(ctx, s.with(append([]string{"serve", "--listen", "127.0.0.1:0", "--log-format", "json"}, args...)...)...)
	}()
	code, over := 0, false
	g.stop = func() int {
		cancel()
		if !over {
			code, over = <-ended, true
		}
		return code
	}
	t.Cleanup(func() { g.stop() })
	eventually(t, "the serving record", func() bool {
		for line := range strings.Lines(g.err.String()) {
			var record struct{ Msg, URL string }
			if json.Unmarshal([]byte(line), &record) == nil && record.Msg == "serving" {
				g.url, g.base = record.URL, strings.TrimSuffix(record.URL, "/mcp")
				return true
			}
		}
		return false
	})
	return g
}

// eventually waits until ok, and fails the test after some seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no sign of %s", what)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: Content-Type %q", url, got)
	}
	return response.StatusCode, strings.TrimSpace(string(body))
}

func TestServeRefusesWhatIsLessSafeThanItLooks(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSite(t)
	proxied := write(t, "ostiary.yaml", "trustedProxies: [10.0.0.0/8]\n")
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"all interfaces in clear text", "in clear text; set tls.certFile", []string{"serve", "--listen", ":0"}},
		{"another machine's address in clear text", "trustedProxies", []string{"serve", "--listen", "192.0.2.1:0"}},
		{"behind a proxy, its address unknown", "set --public-url", []string{"serve", "--listen", "0.0.0.0:0", "--config", proxied}},
		{"agents in clear text", "it must be https", []string{"serve", "--listen", "127.0.0.1:0", "--public-url", "http://mcp.example.com"}},
		{"agents in clear text behind a proxy", "it must be https", []string{"serve", "--listen", "0.0.0.0:0", "--config", proxied, "--public-url", "http://mcp.example.com"}},
		{"loosened for other machines", "--dev loosens checks", []string{"serve", "--dev", "--listen", "0.0.0.0:0", "--config", proxied}},
		{"all interfaces", "listen on a loopback address", []string{"serve", "--no-auth", "--listen", ":0"}},
		{"another machine's address", "listen on a loopback address", []string{"serve", "--no-auth", "--listen", "192.0.2.1:0"}},
	} {
		code, _, errs := ostiary(t, s.with(c.args...)...)
		if code != exitFailed || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %q", c.name, code, errs)
		}
	}
	if _, err := os.Stat(s.data); err == nil {
		t.Error("a refused start made the data directory")
	}
	if err := os.Mkdir("policies", 0o700); err != nil {
		t.Fatal(err)
	}
	code, _, errs := ostiary(t, s.with("serve", "--no-auth", "--listen", "127.0.0.1:0")...)
	if code != exitFailed || !strings.Contains(errs, "there is no .rego file") {
		t.Errorf("policies without a rule: exit %d, %q", code, errs)
	}
}

func TestABrokenCatalogIsRefusedAtStartWithAllProblems(t *testing.T) {
	s := newSite(t)
	s.declare(t, "upstreams:\n  a:\n    url: http://127.0.0.1:1/mcp\n    colour: red\n  b:\n    url: http://127.0.0.1:1/mcp\n    shape: round\n")
	code, _, errs := ostiary(t, s.with("serve", "--no-auth", "--listen", "127.0.0.1:0")...)
	if code != exitFailed || !strings.Contains(errs, "test.yaml:4:5: upstreams.a.colour") || !strings.Contains(errs, "test.yaml:7:5: upstreams.b.shape") {
		t.Fatalf("exit %d, %s", code, errs)
	}
}

func TestAPortInUseIsSaidInWords(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	code, _, errs := ostiary(t, newSite(t).with("serve", "--no-auth", "--listen", ln.Addr().String())...)
	if code != exitFailed || !strings.Contains(errs, ln.Addr().String()+" is in use by another program") {
		t.Fatalf("exit %d, %s", code, errs)
	}
}

func TestServeEndToEnd(t *testing.T) {
	s := newSite(t)
	g := s.serve(t)

	if code, body := get(t, g.base+"/healthz"); code != 200 || body != `{"status":"ok"}` {
		t.Errorf("healthz: %d %s", code, body)
	}
	if code, body := get(t, g.base+"/nothing"); code != 404 || body != `{"error":"not found"}` {
		t.Errorf("another path: %d %s", code, body)
	}
	eventually(t, "a ready upstream", func() bool {
		code, body := get(t, g.base+"/readyz")
		if code != 200 || !strings.Contains(body, `"status":"ready"`) || strings.Contains(body, "pipes") {
			t.Fatalf("readyz: %d %s", code, body)
		}
		return strings.Contains(body, `"upstreams":{"ready":1}`)
	})

	code, out, errs := ostiary(t, "tools", "call", "pipes__echo", "text=hello there", "--url", g.url)
	if code != exitDone || out != "hello there\n" || errs != "" {
		t.Errorf("tools call: exit %d, %q, %q", code, out, errs)
	}
	code, _, errs = ostiary(t, "tools", "call", "pipes__nothing", "--url", g.url)
	if code != exitFailed || !strings.Contains(errs, "-32602") {
		t.Errorf("an unknown tool: exit %d, %q", code, errs)
	}

	// Beside the running server, all of it is on record.
	code, out, errs = ostiary(t, "audit", "query", "--data", s.data, "--format", "json", "--tool", "echo")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitDone || len(lines) != 2 || errs != "" {
		t.Fatalf("audit query: exit %d, %q, %s", code, errs, out)
	}
	var decision, outcome audit.Record
	if json.Unmarshal([]byte(lines[0]), &decision) != nil || json.Unmarshal([]byte(lines[1]), &outcome) != nil {
		t.Fatalf("not a record a line: %s", out)
	}
	if decision.User.Name != "local" || decision.Upstream != "pipes" || decision.Decision == nil || !decision.Decision.Allow || outcome.DecisionID != decision.DecisionID || outcome.Outcome != "ok" {
		t.Errorf("decision %+v, outcome %+v", decision, outcome)
	}
	if code, _, errs := ostiary(t, "audit", "verify", "--data", s.data); code != exitDone {
		t.Errorf("audit verify beside the server: exit %d, %s", code, errs)
	}

	// A second server over the same data is refused in words.
	if code, _, errs := ostiary(t, s.with("serve", "--no-auth", "--listen", "127.0.0.1:0")...); code != exitFailed || !strings.Contains(errs, s.data) {
		t.Errorf("a second server: exit %d, %s", code, errs)
	}

	if code := g.stop(); code != exitDone {
		t.Errorf("serve ends with %d: %s", code, g.err.String())
	}
	if _, err := http.Get(g.base + "/healthz"); err == nil {
		t.Error("it still answers")
	}
	_, out, _ = ostiary(t, "audit", "query", "--data", s.data, "--format", "json", "--text", "server.")
	if !strings.Contains(out, "server.start") || !strings.Contains(out, "server.stop") {
		t.Errorf("start and stop are not on record: %s", out)
	}
}

func TestAReloadKeepsTheLastGoodCatalog(t *testing.T) {
	s := newSite(t)
	g := s.serve(t)
	good, err := os.ReadFile(filepath.Join(s.catalogs, "test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ready := func(want string) {
		t.Helper()
		eventually(t, want, func() bool {
			code, body := get(t, g.base+"/readyz")
			if code != 200 {
				t.Fatalf("readyz: %d %s", code, body)
			}
			return strings.Contains(body, want)
		})
	}
	s.declare(t, "upstreams:\n  pipes:\n    colour: red\n")
	ready(`"catalog":"`)
	ready(`the last good catalog serves`)
	eventually(t, "the problem in the log", func() bool {
		return strings.Contains(g.err.String(), `"level":"ERROR","msg":"catalog refused, the last good one serves"`) && strings.Contains(g.err.String(), "test.yaml:3:5")
	})
	if code, out, errs := ostiary(t, "tools", "call", "pipes__echo", "text=still here", "--url", g.url); code != exitDone || out != "still here\n" {
		t.Errorf("the last good catalog does not serve: exit %d, %q, %q", code, out, errs)
	}
	s.declare(t, strings.Replace(string(good), "pipes:", "tubes:", 1))
	ready(`"catalog":"ok"`)
	eventually(t, "the renamed upstream", func() bool {
		code, out, _ := ostiary(t, "tools", "call", "tubes__echo", "text=moved", "--url", g.url)
		return code == exitDone && out == "moved\n"
	})
	if code := g.stop(); code != exitDone {
		t.Errorf("serve ends with %d", code)
	}
	_, out, _ := ostiary(t, "audit", "query", "--data", s.data, "--format", "json", "--text", "catalog.re")
	if !strings.Contains(out, `"catalog.refused"`) || !strings.Contains(out, `"catalog.reload"`) {
		t.Errorf("reloads are not on record: %s", out)
	}
}

func TestTextServeSaysWhatItServesAndHowToConnect(t *testing.T) {
	s := newSite(t)
	g := &console{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- g.run(ctx, s.with("serve", "--no-auth", "--dev", "--listen", "127.0.0.1:0")...) }()
	eventually(t, "the connect line", func() bool {
		return strings.Contains(g.err.String(), "claude mcp add --transport http ostiary http://127.0.0.1:")
	})
	eventually(t, "how the upstream is confined", func() bool {
		return strings.Contains(g.err.String(), `msg="stdio upstream is confined" part=federation upstream=pipes confinement=`)
	})
	for _, want := range []string{"ostiary: serving http://127.0.0.1:", "1 enabled of 1 declared", noAuthSentence, s.data, "loosened"} {
		if !strings.Contains(g.err.String(), want) {
			t.Errorf("serve does not say %q:\n%s", want, g.err.String())
		}
	}
	cancel()
	if code := <-ended; code != exitDone {
		t.Errorf("exit %d", code)
	}
}

func TestReadinessFollowsTheLogAndTheShutdown(t *testing.T) {
	s := newSite(t)
	h := openTestHouse(t, s)
	for _, c := range []struct {
		name   string
		change func(*readiness)
		code   int
		want   string
	}{
		{"well", func(*readiness) {}, 200, `"status":"ready"`},
		{"catalog refused", func(r *readiness) { r.setCatalog(catalogProblem(2)) }, 200, "2 problems in the files"},
		{"log unwell", func(r *readiness) { r.audit = illLog{} }, 503, `"audit":"unavailable"`},
		{"stopping", func(r *readiness) { r.close() }, 503, `"status":"not ready"`},
	} {
		r := &readiness{audit: h.audit, store: h.store, status: h.federation.Status}
		c.change(r)
		client := http.Client{Transport: inMemory{r}}
		response, err := client.Get("http://localhost/readyz")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != c.code || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %d %s, %v", c.name, response.StatusCode, body, err)
		}
	}
}

// illLog is a log that can't be written.
type illLog struct{ audit.Sink }

func (illLog) Err() error { return audit.ErrUnavailable }

func openTestHouse(t *testing.T, s *site) *house {
	t.Helper()
	c := defaults()
	c.Catalogs, c.Data = s.catalogs, s.data
	h, err := openForCall(t.Context(), c, stdio{Err: io.Discard, Getenv: environ()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestTheTokenOfAnAgentIsIgnoredWithoutAuth(t *testing.T) {
	r, err := http.NewRequest(http.MethodPost, "http://localhost/mcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer someone-else")
	p, err := noAuth{}.Verify(t.Context(), r)
	if err != nil || p.ID() != "local:local" || p.Client.ID != "local" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestTermEndsTheProcessInGoodOrder(t *testing.T) {
	t.Setenv(asProgram, "1")
	s := newSite(t)
	c, err := startChild(t.Context(), loadCPU, s.with("serve", "--no-auth", "--listen", "127.0.0.1:0", "--log-format", "json")...)
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := get(t, c.url+"/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	c.stop()
	if code := c.cmd.ProcessState.ExitCode(); code != exitDone {
		t.Errorf("exit %d after SIGTERM", code)
	}
	if code, _, errs := ostiary(t, "audit", "verify", "--data", s.data); code != exitDone {
		t.Errorf("the log after SIGTERM: %s", errs)
	}
}
