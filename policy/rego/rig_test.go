package rego

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
)

// noon is a Monday.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// patient are options for tests that must not fail on a slow machine.
func patient() Options {
	return Options{Timeout: 10 * time.Second, Now: func() time.Time { return noon }}
}

// directory writes files, given as name and content in turn.
func directory(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		write(t, filepath.Join(dir, files[i]), files[i+1])
	}
	return dir
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// engine loads rules of package ostiary, with a default for allow.
func engine(t testing.TB, rules string, o Options) *Engine {
	t.Helper()
	e, err := Load(directory(t, "policy.rego", "package ostiary\n\ndefault allow := false\n\n"+rules), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// request is a call of github's create_issue by alice, an engineer.
func request() *policy.Request {
	return &policy.Request{
		Version:  policy.Version,
		Request:  policy.Act{Method: "tools/call", Kind: "tool", Era: "modern", Endpoint: "/mcp"},
		Upstream: "github",
		Target: policy.Target{
			Kind: "tool", Name: "create_issue", Labels: []string{"write"}, Annotations: json.RawMessage(`{"readOnlyHint":false}`),
			Trusted: true, Digest: "5d41402abc4b2a76b9719d911017c592ae2f1d3c4b5a69788796a5b4c3d2e1f0",
		},
		Arguments: json.RawMessage(`{"title":"Broken","path":"/srv/data/report.txt","amount":12.50}`),
		User:      policy.User{ID: "local:alice", Name: "alice", Groups: []string{"engineering", "staff"}, AuthTime: noon.Unix() - 60, AMR: []string{"pwd", "otp"}},
		Client:    policy.Client{ID: "cli", Kind: "static", VerifiedName: "Command line", RedirectHost: "127.0.0.1"},
		Grant:     policy.Grant{Scopes: []string{"mcp"}, Resource: "https://gateway.example/mcp", ConsentedAt: noon.Unix() - 3600},
		Agent:     policy.Agent{Name: "agent", Version: "1.2"},
		Source:    policy.Source{IP: "192.0.2.7", TLS: true},
		Time:      policy.At(noon),
	}
}

// catalog is n targets over ten upstreams, as lists have them.
func catalog(n int) (upstreams []string, targets []policy.Target) {
	for i := range n {
		labels := []string{"read"}
		if i%3 == 0 {
			labels = []string{"write", "audited"}
		}
		upstreams = append(upstreams, fmt.Sprintf("up%d", i%10))
		targets = append(targets, policy.Target{Kind: "tool", Name: fmt.Sprintf("tool_number_%d", i), Labels: labels, Digest: fmt.Sprintf("%064x", i)})
	}
	return upstreams, targets
}
