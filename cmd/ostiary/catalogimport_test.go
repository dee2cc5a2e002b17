package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/catalogs"
)

func TestCatalogImportPrintsACatalogAndWhatItNeeds(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "mcp.json")
	text := `{"mcpServers": {"gh": {"command": "run", "env": {"GH_TOKEN": "canary"}, "trust": true}, "web": {"url": "https://mcp.example.com/mcp"}}}`
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := ostiary(t, "catalog", "import", source)
	if code != exitDone || !strings.Contains(out, "\nupstreams:\n  gh:\n") || !strings.Contains(out, `GH_TOKEN: "${GH_TOKEN}"`) {
		t.Errorf("exit %d\n%s", code, out)
	}
	if !strings.Contains(errs, "set GH_TOKEN before the gateway reads this: upstreams.gh.env.GH_TOKEN\n") || !strings.Contains(errs, "warning: mcp.json:1:") || strings.Contains(out+errs, "canary") {
		t.Errorf("stderr: %s", errs)
	}

	c := &console{}
	c.in = `"command": "run", "args": ["x"]`
	if code := c.run(t.Context(), "catalog", "import", "-", "--name", "mine", "--format", "json"); code != exitDone {
		t.Fatalf("exit %d, %s", code, c.err.String())
	}
	var report struct {
		Upstreams []string
		Variables []importedVariable
		YAML      string
	}
	if err := json.Unmarshal([]byte(c.out.String()), &report); err != nil || len(report.Upstreams) != 1 || report.Upstreams[0] != "mine" || !strings.Contains(report.YAML, "command: [run, x]") || report.Variables == nil {
		t.Errorf("%v %s", err, c.out.String())
	}
}

func TestCatalogImportNeverWritesOverAFileUnasked(t *testing.T) {
	s := newSite(t)
	source := filepath.Join(t.TempDir(), "mcp.json")
	if err := os.WriteFile(source, []byte(`{"mcpServers": {"web": {"url": "https://mcp.example.com/mcp"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(s.catalogs, "web.yaml")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitDone, "web.yaml: 1 upstream (web)"},
		{nil, exitFailed, "is there already"},
		{[]string{"--force"}, exitDone, "1 upstream"},
	} {
		code, stdout, stderr := ostiary(t, append([]string{"catalog", "import", source, "--out", out}, c.args...)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%q: exit %d, %s%s", c.args, code, stdout, stderr)
		}
		if code == exitFailed { // what was there still is
			continue
		}
		if err := os.WriteFile(out, append([]byte("# mine\n"), readFile(t, out)...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if text := string(readFile(t, out)); strings.Count(text, "# mine") != 1 {
		t.Errorf("--force left\n%s", text)
	}
	if left, _ := filepath.Glob(filepath.Join(s.catalogs, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := catalogs.Load(s.catalogs, catalogs.Options{}); err != nil {
		t.Error(err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestCatalogImportSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	two := write("two.json", `{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}}`)
	bad := write("bad.json", "{\"mcpServers\": {\"a\":\n{\"command\": 7, \"url\": \"ftp://x\"}}}")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "which FILE?"},
		{[]string{two, two}, exitUsage, "which FILE?"},
		{[]string{two, "--force"}, exitUsage, "--force goes with --out"},
		{[]string{two, "--name", "mine"}, exitUsage, "there are 2"},
		{[]string{write("one.json", `{"command": "x"}`)}, exitUsage, "--name"},
		{[]string{filepath.Join(dir, "none.json")}, exitFailed, "check the path"},
		{[]string{bad}, exitFailed, "bad.json:2:"},
		{[]string{bad}, exitFailed, "nothing was written"},
		{[]string{write("big.json", strings.Repeat(" ", catalogs.MaxFile+1))}, exitFailed, "more than 1 MiB"},
		{[]string{two, "--out", filepath.Join(dir, "none", "x.yaml")}, exitFailed, "no such file"},
	} {
		code, out, errs := ostiary(t, append([]string{"catalog", "import"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.want) || out != "" {
			t.Errorf("%q: exit %d, %s%s", c.args, code, out, errs)
		}
	}
}
