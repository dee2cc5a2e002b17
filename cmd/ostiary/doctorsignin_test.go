package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDoctorLooksAtSignIn(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSite(t)
	s.declare(t, "upstreams: {}\n")
	look := func(args ...string) string {
		_, out, _ := ostiary(t, s.with(append([]string{"doctor", "--listen", "127.0.0.1:0"}, args...)...)...)
		return out
	}
	says := func(when, out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s, doctor does not say %q:\n%s", when, w, out)
			}
		}
	}
	says("in a new place", look(), "✓ store     no database yet", "✓ sign-in   people at http://127.0.0.1:0/login")
	if _, err := os.Stat(s.data); err == nil {
		t.Error("doctor made the data directory")
	}
	s.verb(t, "user", "add", "alice")
	says("with a user", look(), "✓ store     every value", "✓ users     1 user")
	s.verb(t, "user", "delete", "alice")
	says("without a user", look(), "! users     nobody can sign in yet")
	says("without sign-in", look("--no-auth"), "! sign-in   off")
	says("in clear text", look("--listen", "0.0.0.0:0"), "✗ address   0.0.0.0:0 can be reached from other machines, in clear text", "✗ sign-in")

	g := s.start(t, &console{})
	says("beside a server", look(), "✓ admin     the server on "+s.data)
	key := filepath.Join(s.data, "admin.key")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	says("beside a server whose key is open", look(), "✗ admin", "has mode 0644")
	g.stop()

	database := filepath.Join(s.data, "ostiary.db")
	if err := os.WriteFile(database, []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	says("with a damaged database", look(), "✗ store     "+database+": the database is damaged", "ostiary restore FILE")
}

func TestDoctorAsksTheIdentityProvider(t *testing.T) {
	t.Chdir(t.TempDir())
	var provider *httptest.Server
	provider = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(strings.ReplaceAll(`{"issuer":"BASE","authorization_endpoint":"BASE/a","token_endpoint":"BASE/t","jwks_uri":"BASE/k",
			"id_token_signing_alg_values_supported":["RS256"],"response_types_supported":["code"],"subject_types_supported":["public"]}`, "BASE", provider.URL)))
	}))
	defer provider.Close()
	s := newSite(t)
	s.declare(t, "upstreams: {}\n")
	config := write(t, "ostiary.yaml", "dev: true\noidc: {issuer: \""+provider.URL+"\", clientId: ostiary}\n")
	args := s.with("doctor", "--listen", "127.0.0.1:0", "--config", config)
	if _, out, _ := ostiary(t, args...); !strings.Contains(out, "✓ provider  ") || !strings.Contains(out, "http://127.0.0.1:0/login/callback") {
		t.Errorf("one that answers:\n%s", out)
	}
	provider.Close()
	if code, out, _ := ostiary(t, args...); code != exitFailed || !strings.Contains(out, "✗ provider") {
		t.Errorf("one that is gone: exit %d\n%s", code, out)
	}
}
