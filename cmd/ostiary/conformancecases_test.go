package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/conformance/cases"
)

// casesSite is a gateway in this process, in front of the cases' upstreams.
func casesSite(t *testing.T, upstream *cases.Recorder, base string) (*site, *served) {
	t.Helper()
	s := newSite(t)
	s.declare(t, string(cases.Catalog(base)))
	config := filepath.Join(filepath.Dir(s.data), "ostiary.yaml")
	if err := os.WriteFile(config, []byte("allowedOrigins: [https://allowed.example.com]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, s.serve(t, "--config", config)
}

// goroutinesSpare is how many goroutines a gateway may have more after the
// attacks than before: those of kept connections and open sessions.
const goroutinesSpare = 60

// TestCasesInProcess runs the body of cases against the composition of
// wire.go. Those that need a connection of their own run over the wire, in
// package conformance.
func TestCasesInProcess(t *testing.T) {
	upstream := &cases.Recorder{}
	recorder := httptest.NewServer(upstream)
	t.Cleanup(recorder.Close)
	s, g := casesSite(t, upstream, recorder.URL)
	target := cases.Target{
		URL: g.base, Upstream: upstream, Data: s.data, Log: g.err.String,
		Records: func(since time.Time) ([]map[string]any, error) { return recordsSince(s.data, since) },
	}
	if err := waitReady(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	cases.Run(t, target, func(c cases.Case) bool { return !c.Raw() })
	eventually(t, "the end of what the attacks began", func() bool { return runtime.NumGoroutine() <= before+goroutinesSpare })
}

func TestConformancePrintsWhatTheCatalogNeeds(t *testing.T) {
	code, out, errs := ostiary(t, "conformance", "--catalog", "--recorder", "127.0.0.1:4711")
	if code != exitDone || errs != "" || !strings.Contains(out, "  recorder:\n    url: http://127.0.0.1:4711/recorder\n") {
		t.Fatalf("exit %d, %q, %q", code, errs, out)
	}
	s := newSite(t)
	s.declare(t, out)
	if code, _, errs := ostiary(t, "catalog", "check", "--catalogs", s.catalogs); code != exitDone {
		t.Errorf("the printed catalog is refused: %s", errs)
	}
}

func TestConformanceJudgesARunningGateway(t *testing.T) {
	// The address is known only when the recorder listens, and the catalog must
	// name it before: take one that was free a moment ago.
	probe := httptest.NewServer(nil)
	addr := probe.Listener.Addr().String()
	probe.Close()
	s, g := casesSite(t, nil, "http://"+addr)

	code, out, errs := ostiary(t, "conformance", "--url", g.url, "--recorder", addr, "--data", s.data, "--case", "A-085")
	if code != exitDone || !strings.Contains(out, "A-085  2      ok") || !strings.Contains(errs, "1 of 1, A-085: 2 steps, ok") {
		t.Errorf("a sound gateway: exit %d, %s\n%s", code, out, errs)
	}
	// A gateway that does not allow the origin fails A-012, and says where.
	plain := s.serveAgain(t, g)
	code, out, errs = ostiary(t, "conformance", "--url", plain.url, "--recorder", addr, "--case", "A-012", "--format", "json")
	var report casesReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, errs)
	}
	if code != exitFailed || report.Failed != 1 || report.Passed != 0 || !strings.Contains(out, "conformance/cases/wire/A-012.txtar:") {
		t.Errorf("a wrong gateway: exit %d, %s", code, out)
	}
}

// serveAgain ends g and serves its site once more, without a config file.
func (s *site) serveAgain(t *testing.T, g *served) *served {
	t.Helper()
	if code := g.stop(); code != exitDone {
		t.Fatalf("exit %d", code)
	}
	return s.serve(t)
}

func TestConformanceSendsTheTokenOfTheEnvironment(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan string, 1)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case seen <- r.Header.Get("Authorization"):
		default:
		}
		cancel() // it would wait for upstreams that are not there
	}))
	t.Cleanup(gateway.Close)
	c := &console{env: map[string]string{"OSTIARY_TOKEN": "from-the-environment"}}
	if code := c.run(ctx, "conformance", "--url", gateway.URL, "--recorder", "127.0.0.1:0"); code == exitDone {
		t.Fatalf("done without a gateway: %s", c.out.String())
	}
	select {
	case got := <-seen:
		if got != "Bearer from-the-environment" {
			t.Errorf("the gateway gets Authorization %q", got)
		}
	default:
		t.Errorf("the gateway was not asked: %s", c.err.String())
	}
}
