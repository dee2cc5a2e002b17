package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
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

func TestBenchMeasuresEveryTarget(t *testing.T) {
	t.Setenv(asProgram, "1") // for the processes that it starts
	code, out, errs := ostiary(t, "bench", "--tools", "5", "--repeat", "1", "--attempts", "1", "--cell", "60ms", "--lead-in", "20ms", "--connections", "2", "--dir", t.TempDir(), "--format", "json")
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, errs)
	}
	var report benchReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Rows) != 8 || report.SyncP99 <= 0 {
		t.Fatalf("%+v", report)
	}
	for _, r := range report.Rows {
		if r.Operations == 0 || r.CPU <= 0 || r.Ratio <= 0 || r.P99 < r.P50 {
			t.Errorf("%+v", r)
		}
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
