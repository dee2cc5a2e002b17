package conformance

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/conformance/cases"
)

// TestCasesOverTheWire runs the body of cases against the program itself:
// built, started and asked like any other gateway.
func TestCasesOverTheWire(t *testing.T) {
	watchSources(t)
	t.Setenv("OSTIARY_ALLOWED_ORIGINS", "https://allowed.example.com")
	dir := t.TempDir()
	program := filepath.Join(dir, "ostiary")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, module+"/cmd/ostiary")
	if _, err := output(build); err != nil {
		t.Fatal(err)
	}
	upstream := &cases.Recorder{}
	recorder := httptest.NewServer(upstream)
	t.Cleanup(recorder.Close)
	p, err := startWith(t.Context(), program, dir, cases.Catalog(recorder.URL), cases.Endpoints(), "echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the gateway's log ends:\n%s", tail(p.log.String(), 4000))
		}
	})
	data := filepath.Join(dir, "data")
	before, small := descriptors(t, p.cmd.Process.Pid), peak(t, p.cmd.Process.Pid)
	cases.Run(t, cases.Target{
		URL: "http://" + p.addr, Upstream: upstream, Log: p.log.String, Data: data,
		Records: func(since time.Time) ([]map[string]any, error) { return query(program, data, since) },
	}, nil)
	settled(t, p.cmd.Process.Pid, before)
	if grown := peak(t, p.cmd.Process.Pid) - small; grown > memory {
		t.Errorf("memory grew by %d MiB, want at most %d", grown>>20, memory>>20)
	}
}

// memory bounds what the process may have taken at its highest more than
// before: the largest answers are cut at 16 MiB, two at once, and a buffer
// that grows holds up to three times what is in it before it is collected.
const memory = 256 << 20

// peak is the highest resident size of a process in bytes; 0 where the system
// does not say.
func peak(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Logf("memory is not measured: %v", err)
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kib int
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 && err == nil {
			return kib << 10
		}
	}
	t.Log("memory is not measured: no VmHWM")
	return 0
}

// query reads the audit log as an operator does, beside the running server.
func query(program, data string, since time.Time) ([]map[string]any, error) {
	out, err := output(exec.Command(program, "audit", "query", "--data", data, "--format", "json", "--since", since.UTC().Format(time.RFC3339Nano)))
	if err != nil {
		return nil, err
	}
	var records []map[string]any
	lines := bufio.NewScanner(bytes.NewReader([]byte(out)))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		r, err := cases.Record(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("audit query: %w", err)
		}
		records = append(records, r)
	}
	return records, lines.Err()
}

// spare is how many descriptors a server may have open more than before: a
// few kept connections to upstreams, a segment of the log.
const spare = 24

// settled waits until what the attacks opened is closed again.
func settled(t *testing.T, pid, before int) {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	now := 0
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if now = descriptors(t, pid); now <= before+spare {
			return
		}
	}
	t.Errorf("%d descriptors are open, %d were before", now, before)
}

// descriptors counts the open files and connections of a process; 0 where the
// system does not say.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Logf("descriptors are not counted: %v", err)
		return 0
	}
	return len(entries)
}
