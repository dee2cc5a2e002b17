package conformance

import (
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"testing"

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
	p, err := startGateway(t.Context(), program, dir, false, map[string]string{"recorder": recorder.URL + "/mcp"}, "echo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the gateway's log ends:\n%s", tail(p.log.String(), 4000))
		}
	})
	cases.Run(t, cases.Target{URL: "http://" + p.addr, Upstream: upstream})
}
