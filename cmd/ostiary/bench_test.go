package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func readAll(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// runBench is one short part of the benchmark.
func runBench(t *testing.T, part string, more ...string) benchReport {
	t.Helper()
	t.Setenv(asProgram, "1") // for the processes that it starts
	code, out, errs := ostiary(t, append([]string{"bench", "--part", part, "--repeat", "1", "--attempts", "1", "--cell", "60ms",
		"--lead-in", "20ms", "--connections", "2", "--dir", t.TempDir(), "--format", "json"}, more...)...)
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, errs)
	}
	var report benchReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if report.SyncP99 <= 0 {
		t.Errorf("%+v", report)
	}
	return report
}

func TestBenchMeasuresEveryTarget(t *testing.T) {
	report := runBench(t, "calls", "--tools", "5")
	if len(report.Rows) != 8 || report.Neighbours != nil {
		t.Fatalf("%+v", report)
	}
	for _, r := range report.Rows {
		if r.Operations == 0 || r.CPU <= 0 || r.Ratio <= 0 || r.P99 < r.P50 {
			t.Errorf("%+v", r)
		}
	}
}

func TestBenchListsAllPagesOfALargeCatalog(t *testing.T) {
	report := runBench(t, "scale", "--upstreams", "12") // more tools than a page has
	if len(report.Rows) != 6 {
		t.Fatalf("%+v", report)
	}
	for n, r := range report.Rows {
		list := n >= 4
		switch {
		case r.Operations == 0 || r.CPU <= 0 || r.Ratio <= 0,
			list && (r.Bytes < 12*scaleTools*500 || r.PerKB <= 0 || r.Bar != perKBBar),
			!list && n >= 2 && r.Bar != scaleBar:
			t.Errorf("%d: %+v", n, r)
		}
	}
}

func TestBenchCallsTheHealthyUpstreamAloneBesideWellOnesAndBesideIllOnes(t *testing.T) {
	report := runBench(t, "neighbours")
	n := report.Neighbours
	if n == nil || len(report.Rows) != 0 {
		t.Fatalf("%+v", report)
	}
	for _, c := range []cellResult{n.Alone, n.BesideWell, n.Beside} {
		if c.Operations == 0 || c.P50 <= 0 {
			t.Errorf("%+v", c)
		}
	}
	if n.Pairs != neighbourPairs || n.P99Ratio <= 0 || n.P99Alone <= 0 || n.Bar != neighbourBar || n.Beside.Longest <= 0 {
		t.Errorf("%+v", n)
	}
}

// Security catalogue A-097.
func TestBenchComparesHiddenToolsWithAbsentOnes(t *testing.T) {
	rows := runBench(t, "hidden", "--pairs", "20").Hidden
	if len(rows) != 4 {
		t.Fatalf("%+v", rows)
	}
	for _, r := range rows {
		if r.Pairs != 20 || r.Hidden <= 0 || r.Absent <= 0 || r.AUC <= 0 || r.AUC >= 1 {
			t.Errorf("%+v", r)
		}
	}
}

func TestAreaUnderCurveIsTheShareOfPairsInWhichTheFirstIsLarger(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want float64
	}{
		{[]float64{3, 4}, []float64{1, 2}, 1},
		{[]float64{1, 2}, []float64{3, 4}, 0},
		{[]float64{1, 4}, []float64{3, 2}, 0.5},
		{[]float64{1, 1}, []float64{1}, 0.5},
		{[]float64{2, 3, 1}, []float64{2}, 0.5},
	} {
		if got := areaUnderCurve(c.a, c.b); got != c.want {
			t.Errorf("%v and %v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestBenchKnowsItsParts(t *testing.T) {
	if code, _, errs := ostiary(t, "bench", "--part", "all"); code != exitUsage || !strings.Contains(errs, "calls, scale, neighbours or hidden") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestIllUpstreamIsWellUntilItFalls(t *testing.T) {
	s := httptest.NewServer(newIll(newEcho(1)))
	defer s.Close()
	ask := func(illness string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if illness != "hanging" {
			ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		}
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/"+illness+"/mcp", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		return readAll(t, r), nil
	}
	for _, illness := range illnesses[1:] { // with time enough
		if body, err := ask(illness); err != nil || !strings.Contains(body, `"result":{}`) {
			t.Errorf("%s before it falls: %q %v", illness, body, err)
		}
	}
	if r, err := http.Get(s.URL + "/fall"); err != nil {
		t.Fatal(err)
	} else {
		readAll(t, r)
	}
	if body, err := ask("hanging"); err == nil {
		t.Errorf("the hanging one answers %q", body)
	}
	if body, err := ask("garbage"); err != nil || json.Valid([]byte(body)) {
		t.Errorf("the garbage is %q %v", body, err)
	}
	well, cut := false, false
	for deadline := time.Now().Add(30 * time.Second); !(well && cut) && time.Now().Before(deadline); {
		if _, err := ask("flapping"); err != nil {
			cut = true
			time.Sleep(flapTime / 10)
		} else {
			well = true
		}
	}
	if !well || !cut {
		t.Errorf("flapping: well %v, cut %v", well, cut)
	}
}

func TestCPUTimeOfAProcessGrowsWithItsWork(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for start := time.Now(); time.Since(start) < 30*time.Millisecond; n++ {
	}
	after, err := cpuTime(os.Getpid())
	if err != nil || after-before < 2*time.Millisecond {
		t.Errorf("%v after %d rounds, %v", after-before, n, err)
	}
	if _, err := cpuTime(1<<22 + 1); err == nil {
		t.Error("a process that is not there has CPU time")
	}
}
