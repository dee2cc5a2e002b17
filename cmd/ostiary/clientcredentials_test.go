package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAGatewayIsTheClientOfAnother: the one in the back is authorization server
// and upstream, the one in front gets its tokens there by client credentials.
func TestAGatewayIsTheClientOfAnother(t *testing.T) {
	t.Chdir(t.TempDir())
	echo := httptest.NewServer(newEcho(1))
	t.Cleanup(echo.Close)
	back := newSite(t)
	back.declare(t, fmt.Sprintf("upstreams:\n  deep: {url: %q}\n", echo.URL))
	policies := t.TempDir()
	if err := os.WriteFile(filepath.Join(policies, "p.rego"), []byte("package ostiary\n\ndefault allow := false\n\nallow if input.client.id == \"front\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var client madeClient
	if err := json.Unmarshal([]byte(back.verb(t, "client", "add", "front", "--secret", "--client-credentials", "--format", "json")), &client); err != nil || client.Secret == "" {
		t.Fatal(err)
	}
	b := back.start(t, &console{}, "--policies", policies)

	front := newSite(t)
	declare := func(secret string) {
		front.declare(t, fmt.Sprintf("upstreams:\n  back:\n    url: %s\n    auth: {type: client_credentials, clientId: front, clientSecret: %q, issuer: %q}\n", b.url, secret, b.base))
	}
	declare("not-the-secret-at-all")
	f := front.serve(t)
	eventually(t, "the refusal", func() bool { return strings.Contains(f.err.String(), "invalid_client: check clientId") })
	declare(client.Secret)
	_, list, _ := ostiary(t, front.with("tools", "list", "--format", "json")...)
	_, name, found := strings.Cut(list, `"back__`)
	name, _, _ = strings.Cut("back__"+name, `"`)
	if !found {
		t.Fatalf("no tools: %s", list)
	}
	eventually(t, "a call", func() bool {
		code, _, _ := ostiary(t, "tools", "call", name, "--url", f.url)
		return code == exitDone
	})
	records := front.verb(t, "audit", "query", "--format", "json")
	if !strings.Contains(records, `"credential":"back/client_credentials"`) {
		t.Error("no record names the credential")
	}
	f.stop()
	err := filepath.WalkDir(front.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), client.Secret) || strings.Contains(string(text), "ost_at_") {
			t.Errorf("%s holds a credential", path)
		}
		return err
	})
	if log := f.err.String(); err != nil || strings.Contains(log, client.Secret) || strings.Contains(log, "ost_at_") {
		t.Error("the log holds a credential, or", err)
	}
}
