package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// The names of the two upstreams, in catalogs and endpoints.
const (
	legacy = "legacy"
	modern = "modern"
)

// fixtureTool is one of the fixture's, by which it is known to be there.
const fixtureTool = "test_simple_text"

// revision is one set of required scenarios and the upstream it runs against.
type revision struct {
	name     string
	upstream string
	extra    []string // not scored by the suite, but by us
}

// revisions are the two eras. The suite runs the extra ones with the set, as
// "pending": its own TypeScript fixture can't pass them, ours does.
var revisions = []revision{
	{name: "2025-11-25", upstream: legacy},
	{name: "2026-07-28", upstream: modern, extra: []string{
		"http-header-validation", "http-custom-header-server-validation", "json-schema-2020-12",
	}},
}

// Outcome is what one run of one scenario came to, in checks.
type Outcome struct {
	Passed   int      `json:"passed"`
	Failed   int      `json:"failed"`
	Failures []string `json:"failures,omitempty"` // check id: the suite's words
}

// OK tells whether the scenario ran and nothing in it failed. A scenario whose
// checks were all skipped did not run.
func (o Outcome) OK() bool { return o.Failed == 0 && o.Passed > 0 }

// runSuite runs one revision's set against url and reads what it left in dir.
func (t *tools) runSuite(ctx context.Context, url string, r revision, bearer, dir string) (map[string]Outcome, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, t.node, t.suite, "server", "--url", url, "--requirements", r.name, "-o", dir)
	t.authorize(cmd, url, bearer)
	return runNode(cmd, url, dir, io.Discard)
}

// authorize makes a Node program send the bearer to url; "" = none.
func (t *tools) authorize(cmd *exec.Cmd, url, bearer string) {
	if bearer != "" {
		cmd.Env = append(os.Environ(), "NODE_OPTIONS=--import="+t.preload,
			"OSTIARY_CONFORMANCE_BEARER="+bearer, "OSTIARY_CONFORMANCE_ORIGIN="+origins(url))
	}
}

// runScenarios runs single scenarios against url, those that the suite would
// leave out as an extension's included, and reads what they left in dir.
func (t *tools) runScenarios(ctx context.Context, url string, names []string, bearer, dir string) (map[string]Outcome, error) {
	all := map[string]Outcome{}
	for _, name := range names {
		out := filepath.Join(dir, name)
		if err := os.MkdirAll(out, 0o755); err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, t.node, t.suite, "server", "--url", url, "--scenario", name, "--force", "-o", out)
		t.authorize(cmd, url, bearer)
		one, err := runNode(cmd, url, out, io.Discard)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, one)
	}
	return all, nil
}

// runNode runs the suite and reads what it left in dir. What it says meanwhile
// goes to said, too.
func runNode(cmd *exec.Cmd, url, dir string, said io.Writer) (map[string]Outcome, error) {
	var log lockedBuffer
	cmd.Stderr = &log
	cmd.Stdout = io.MultiWriter(&log, said)
	err := cmd.Run()
	out := log.String()
	// The suite exits 1 when scenarios fail; what failed is in its files.
	if exit := (*exec.ExitError)(nil); err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		return nil, fmt.Errorf("suite at %s: %w: %s", url, err, tail(out, 2000))
	}
	outcomes, err := readOutcomes(dir)
	if err == nil && len(outcomes) == 0 {
		err = errors.New("it left no results")
	}
	if err != nil {
		return nil, fmt.Errorf("suite at %s: %w: %s", url, err, tail(out, 2000))
	}
	return outcomes, nil
}

// origins are the origin of a URL, and its other loopback name: the suite
// rewrites one to the other in a scenario.
func origins(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	host, _, _ := strings.Cut(rest, "/")
	name, port, _ := strings.Cut(host, ":")
	all := []string{scheme + "://" + host}
	if name == "localhost" || name == "127.0.0.1" {
		all = append(all, scheme+"://localhost:"+port, scheme+"://127.0.0.1:"+port)
	}
	return strings.Join(all, " ")
}

// resultDir is the name of a scenario's folder: server-NAME-TIMESTAMP or
// authorization-server-NAME-TIMESTAMP.
var resultDir = regexp.MustCompile(`^(?:authorization-)?server-(.+)-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z$`)

// readOutcomes reads checks.json of every scenario in the suite's output.
func readOutcomes(dir string) (map[string]Outcome, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	outcomes := map[string]Outcome{}
	for _, e := range entries {
		m := resultDir.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name(), "checks.json"))
		if err != nil {
			return nil, err
		}
		var checks []struct {
			ID, Status, Description, ErrorMessage string
		}
		if err := json.Unmarshal(b, &checks); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		var o Outcome
		for _, c := range checks {
			switch c.Status {
			case "SUCCESS":
				o.Passed++
			case "FAILURE":
				o.Failed++
				o.Failures = append(o.Failures, c.ID+": "+firstOf(c.ErrorMessage, c.Description))
			} // WARNING, INFO and SKIPPED count as neither, as in the suite
		}
		outcomes[m[1]] = o
	}
	return outcomes, nil
}

// required reads the server scenarios that a revision's frozen list scores.
// The file is YAML of the simplest kind: a key and the items under it.
func (t *tools) required(revision string) ([]string, error) {
	f, err := os.Open(filepath.Join(t.pinned, revision+".yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the suite has no list of scenarios for %s", revision)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	in := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		switch name, item := strings.CutPrefix(strings.TrimSpace(line), "- "); {
		case line == "server:":
			in = true
		case line != "" && line[0] != ' ' && line[0] != '#' && line[0] != '-':
			in = false
		case in && item:
			names = append(names, strings.TrimSpace(name))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the suite's list of scenarios for %s has no server part", revision)
	}
	return names, nil
}

func firstOf(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}
