package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write makes a file in a new directory.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func environ(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func TestFlagBeatsVariableBeatsFileBeatsDefault(t *testing.T) {
	file := write(t, "ostiary.yaml", "listen: 127.0.0.1:3\ndata: from-file\ncatalogs: from-file\nlimits: {body: 1MiB}\n")
	env := environ("OSTIARY_DATA", "from-env", "OSTIARY_CATALOGS", "from-env", "OSTIARY_LIMITS_KEEP_ALIVE", "7s", "OSTIARY_CONFIG", file)
	c, err := loadConfig("", map[string]string{"catalogs": "from-flag"}, env)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ what, got, want string }{
		{"flag", c.Catalogs, "from-flag"}, {"variable", c.Data, "from-env"}, {"file", c.Listen, "127.0.0.1:3"}, {"default", c.LogFormat, "text"},
	} {
		if x.got != x.want {
			t.Errorf("%s: %q, want %q", x.what, x.got, x.want)
		}
	}
	if c.Limits.Body != 1<<20 || c.Limits.KeepAlive != 7*time.Second {
		t.Errorf("limits: %+v", c.Limits)
	}
}

func TestALaterLayerReplacesAList(t *testing.T) {
	file := write(t, "ostiary.yaml", "allowedOrigins: [https://a.example, https://b.example/]\n")
	c, err := loadConfig(file, nil, environ())
	if err != nil || strings.Join(c.AllowedOrigins, " ") != "https://a.example https://b.example" {
		t.Fatalf("%v, %v", c.AllowedOrigins, err)
	}
	c, err = loadConfig(file, nil, environ("OSTIARY_ALLOWED_ORIGINS", "https://c.example"))
	if err != nil || strings.Join(c.AllowedOrigins, " ") != "https://c.example" {
		t.Fatalf("%v, %v", c.AllowedOrigins, err)
	}
}

func TestProblemsOfTheFileSayWhereAndWhatToDo(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "listen: 127.0.0.1:1\nlisten_: x\n", `:2:1: listen_: unknown key, did you mean "listen"?`},
		{"unknown nested key", "limits:\n  boddy: 4MiB\n", `:2:3: limits.boddy: unknown key, did you mean "limits.body"?`},
		{"twice", "data: a\ndata: b\n", ":2:1: data: written twice"},
		{"not built", "metricsListen: 127.0.0.1:9090\n", ":1:1: metricsListen: not built yet in this version; remove the key"},
		{"unknown key two levels down", "audit:\n  checkpoint:\n    fiel: x\n", `:3:5: audit.checkpoint.fiel: unknown key, did you mean "audit.checkpoint.file"?`},
		{"wrong value", "limits:\n  body: many\n", `:2:9: limits.body: "many" is not a size`},
		{"zero", "limits: {calls: 0}\n", `:1:17: limits.calls: "0" is not a whole number above 0`},
		{"list for one value", "data: [a]\n", ":1:7: data: want one value"},
		{"one value for a list", "allowedOrigins: https://a.example\n", ":1:17: allowedOrigins: want a list"},
		{"bad item", "allowedOrigins:\n  - https://a.example\n  - a.example\n", `:3:5: allowedOrigins: "a.example" is not an origin`},
		{"value for keys", "tls: yes\n", ":1:6: tls: want keys with values"},
		{"not keys at all", "- a\n", ":1:1: the file: want keys with values"},
		{"not YAML", "a: [\n", "not YAML"},
		{"two documents", "data: a\n---\ndata: b\n", "want one document"},
		{"half of TLS", "tls: {certFile: a}\n", "certFile and keyFile go together"},
		{"path in the base", "publicUrl: https://a.example/mcp\n", "more than scheme, host and port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadConfig(write(t, "ostiary.yaml", c.text), nil, environ())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v\nwant %s", err, c.want)
			}
		})
	}
}

func TestAllProblemsOfAFileAreReportedAtOnce(t *testing.T) {
	_, err := loadConfig(write(t, "ostiary.yaml", "a: 1\nb: 2\nlogFormat: xml\n"), nil, environ())
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Fatalf("want three lines: %v", err)
	}
}

func TestAnEmptyFileIsAConfiguration(t *testing.T) {
	for _, text := range []string{"", "# nothing yet\n", "limits:\n"} {
		if _, err := loadConfig(write(t, "ostiary.yaml", text), nil, environ()); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAMissingFileIsRefusedWhenNamed(t *testing.T) {
	if _, err := loadConfig(filepath.Join(t.TempDir(), "no.yaml"), nil, environ()); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestVariablesAreNamedAfterKeys(t *testing.T) {
	want := map[string]string{"publicUrl": "OSTIARY_PUBLIC_URL", "limits.keepAlive": "OSTIARY_LIMITS_KEEP_ALIVE", "tls.certFile": "OSTIARY_TLS_CERT_FILE", "oauth.accessTTL": "OSTIARY_OAUTH_ACCESS_TTL", "noAuth": "OSTIARY_NO_AUTH"}
	seen := map[string]string{}
	for _, s := range settings() {
		if other, twice := seen[s.env()]; twice {
			t.Errorf("%s and %s share %s", s.key, other, s.env())
		}
		seen[s.env()] = s.key
		if w, ok := want[s.key]; ok && s.env() != w {
			t.Errorf("%s: %s, want %s", s.key, s.env(), w)
		}
	}
}

func TestMasterKeyIs32BytesAndNeverShown(t *testing.T) {
	for _, c := range []struct {
		value string
		ok    bool
	}{
		{strings.Repeat("ab", 32), true},
		{"q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=", true},
		{"file:" + write(t, "key", strings.Repeat("ab", 32)+"\n"), true},
		{strings.Repeat("ab", 31), false},
		{strings.Repeat("ab", 33), false},
		{"canary-secret", false},
	} {
		cfg, err := loadConfig("", nil, environ("OSTIARY_MASTER_KEY", c.value))
		if (err == nil) != c.ok || c.ok && len(cfg.MasterKey) != 32 {
			t.Errorf("%d characters: %v", len(c.value), err)
		}
		if err != nil && strings.Contains(err.Error(), c.value) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestSizesAndDurations(t *testing.T) {
	for s, want := range map[string]int{"1": 1, "512B": 512, "256KiB": 256 << 10, "4MiB": 4 << 20, "1GiB": 1 << 30} {
		if n, err := parseSize(s); err != nil || n != want {
			t.Errorf("%s: %d, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "0", "-1", "4MB", "4 M", "1.5MiB", "MiB", "99999999999GiB"} {
		if n, err := parseSize(s); err == nil {
			t.Errorf("%q is taken for %d", s, n)
		}
	}
	for _, s := range []string{"", "0s", "-5m", "5", "soon"} {
		if d, err := parseDuration(s); err == nil {
			t.Errorf("%q is taken for %v", s, d)
		}
	}
}

func TestLoopbackAddresses(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:80": true, "127.9.9.9:0": true, "[::1]:80": true, "localhost:80": true, "[::ffff:127.0.0.1]:80": true,
		":80": false, "0.0.0.0:80": false, "[::]:80": false, "192.168.1.2:80": false, "example.com:80": false, "localhost.example.com:80": false, "127.0.0.1": false,
	} {
		if loopback(addr) != want {
			t.Errorf("%s: %v", addr, !want)
		}
	}
}
