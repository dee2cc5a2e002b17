package catalogs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImportsAreTheFilesBesideTheirSources; UPDATE=1 writes them anew.
func TestImportsAreTheFilesBesideTheirSources(t *testing.T) {
	for _, source := range []string{"import/claude.json", "import/vscode.json", "registry/npm.json", "registry/remote.json"} {
		path := filepath.Join("testdata", source)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Import(filepath.Base(path), "", content)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		golden := filepath.Join("testdata", "import", strings.TrimSuffix(filepath.Base(path), ".json")+".yaml")
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(golden, got.YAML, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || string(want) != string(got.YAML) {
			t.Errorf("%s: %v\n%s", source, err, got.YAML)
		}
		if strings.Contains(string(got.YAML), "canary") {
			t.Errorf("%s: a secret is in the result", source)
		}
		c, err := Load(folder(t, "a.yaml", string(got.YAML)), Options{Getenv: func(name string) (string, bool) { return "x-" + name, true }})
		if err != nil || len(c.Upstreams) != len(got.Upstreams) {
			t.Errorf("%s: the result is not a catalog: %v", source, err)
		}
	}
}

func TestAnImportMeansWhatItsSourceMeans(t *testing.T) {
	content, err := os.ReadFile("testdata/import/claude.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Import("claude.json", "", content)
	if err != nil {
		t.Fatal(err)
	}
	var hidden []string
	for _, v := range got.Variables {
		if v.Hidden {
			hidden = append(hidden, v.Name+" "+strings.Join(v.Keys, " "))
		}
	}
	want := []string{
		"GITHUB_PERSONAL_ACCESS_TOKEN upstreams.github.env.GITHUB_PERSONAL_ACCESS_TOKEN",
		"OTHER upstreams.github.command",
		"POSTGRES_API_KEY upstreams.postgres.command",
		"POSTGRES_PASSWORD upstreams.postgres.command",
		"POSTGRES_TOKEN upstreams.postgres.command",
		"REMOTE_API_KEY upstreams.remote.command",
		"REMOTE_AUTHORIZATION upstreams.remote.command",
		"REMOTE_GITHUB_PERSONAL_ACCESS_TOKEN upstreams.remote.env.GITHUB_PERSONAL_ACCESS_TOKEN",
		"REMOTE_PATH_SECRET upstreams.remote.command",
	}
	if !slices.Equal(hidden, want) {
		t.Errorf("hidden:\n%s", strings.Join(hidden, "\n"))
	}
	set := vars("ALREADY_SET", "y", "GITHUB_PERSONAL_ACCESS_TOKEN", "canary-literal", "OTHER", "ghp_canary0123456789abcdef", "POSTGRES_API_KEY", "canary-flag",
		"POSTGRES_PASSWORD", "canary-pass", "POSTGRES_TOKEN", "canary-eq", "REMOTE_API_KEY", "canary-query", "REMOTE_AUTHORIZATION", "canary-header",
		"REMOTE_GITHUB_PERSONAL_ACCESS_TOKEN", "canary-another", "REMOTE_PATH_SECRET", "4f3a9b1c8d7e6f5a4b3c2d1e0f9a8b7c")
	was, err := Load(folder(t, "a.json", string(content)), Options{Getenv: set})
	if err != nil {
		t.Fatal(err)
	}
	is, err := Load(folder(t, "a.yaml", string(got.YAML)), Options{Getenv: set})
	if err != nil {
		t.Fatal(err)
	}
	for i, u := range was.Upstreams {
		if u.Digest != is.Upstreams[i].Digest {
			t.Errorf("%#v became %#v", u, is.Upstreams[i])
		}
	}
}

func TestPiecesOfFilesAreImported(t *testing.T) {
	server := `{"command": "run", "args": ["x"]}`
	for piece, want := range map[string]string{
		`{"mcpServers": {"a": ` + server + `}}`:                                                 "a",
		`"mcpServers": {"a": ` + server + `},`:                                                  "a",
		`{"a": ` + server + `, "b": {"url": "https://b.example"}}`:                              "a b",
		"\n// from a README\n" + `"a": ` + server + ",\n":                                       "a",
		`{"mcp": {"servers": {"a": ` + server + `}}}`:                                           "a",
		`{"server": {"name": "x/a", "remotes": [{"type": "sse", "url": "https://a.example"}]}}`: "a",
	} {
		got, err := Import("-", "", []byte(piece))
		if err != nil || strings.Join(got.Upstreams, " ") != want {
			t.Errorf("%s: %v, %v", piece, got, err)
		}
	}
	for _, piece := range []string{server, `"command": "run", "args": ["x"]`, `{"a": ` + server + `}`, `{"server": {"name": "x/mcp", "remotes": [{"type": "sse", "url": "https://a.example"}]}}`} {
		got, err := Import("-", "mine", []byte(piece))
		if err != nil || !slices.Equal(got.Upstreams, []string{"mine"}) || !strings.Contains(string(got.YAML), "\n  mine:\n") {
			t.Errorf("%s: %v, %v", piece, got, err)
		}
	}
	for piece, name := range map[string]string{server: "", `{"a": ` + server + `, "b": ` + server + `}`: "mine"} {
		if _, err := Import("-", name, []byte(piece)); !errors.Is(err, ErrUnnamed) {
			t.Errorf("%s, name %q: %v", piece, name, err)
		}
	}
	for piece, want := range map[string]string{
		``: "declares no servers", `{}`: "declares no servers", `hello`: "declares no servers", `[1]`: "must be a mapping", `{"theme": "x"}`: "declares no servers",
		`{"mcpServers": {"a": {"url": "https://u:p@a.example"}}}`: "holds a user or password",
		`{"mcpServers": {"a": {}}}`:                               "neither url nor command",
		`{"mcpServers": {"a": {"comand": "x"}}}`:                  "neither url nor command",
		`{"mcpServers": {"a": {"command": "x"}`:                   "not JSON",
		strings.Repeat(" ", MaxFile) + "{}":                       "more than 1 MiB",
	} {
		_, err := Import("-", "", []byte(piece))
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "-:") {
			t.Errorf("%.40s: %v, want %s", piece, err, want)
		}
	}
	if _, err := Import("-", "", []byte(strings.Repeat(" ", MaxFile-len(server)-6)+`{"a":`+server+`}`)); err != nil {
		t.Errorf("a file of just 1 MiB: %v", err)
	}
}

func TestAnImportThatLostSomethingIsOff(t *testing.T) {
	got, err := Import("-", "", []byte(`{"mcpServers": {"a": {"url": "https://a.example", "headers": {"X-Readonly": "true", "X-Key": "k"}}, "b": {"command": "x"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(folder(t, "a.yaml", string(got.YAML)), Options{Getenv: vars("A_X_KEY", "k")})
	if err != nil || c.Upstreams[0].Enabled || !c.Upstreams[1].Enabled {
		t.Errorf("%v\n%s", err, got.YAML)
	}
	if len(got.Warnings) != 1 || got.Warnings[0].Key != "mcpServers.a.headers.X-Readonly" {
		t.Errorf("%v", got.Warnings)
	}
}

func TestSecretsWithinValuesAreHiddenToo(t *testing.T) {
	got, err := Import("-", "", []byte(`{"inputs": [{"type": "promptString", "id": "k", "password": true, "default": "canary1"}], "servers": {"a": {"command": "run",
"args": ["--db", "postgres://app:canary2@${HOST}/x", "--key=${A_KEY:-canary3}", "${input:k}", "--port=${PORT:-80}"],
"env": {"E": "${E_TOKEN:-canary4}"}}, "b": {"url": "https://b.example/${REGION:-eu}?token=canary5"}, "c": {"url": "https://c.example", "headers": {"Authorization": "Bearer ${T:-ghp_canary0123456789}"}}}}`))
	if err != nil || strings.Contains(string(got.YAML), "canary") || !strings.Contains(string(got.YAML), "${PORT:-80}") || !strings.Contains(string(got.YAML), "${REGION:-eu}") {
		t.Fatalf("%v\n%s", err, got.YAML)
	}
	var names []string
	for _, v := range got.Variables {
		if v.Hidden {
			names = append(names, v.Name)
		}
	}
	if want := []string{"A_KEY", "A_PASSWORD", "B_TOKEN", "E_TOKEN", "T"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
}

func TestNoVariableOfTheGatewaysOwnIsNamed(t *testing.T) {
	got, err := Import("-", "", []byte(`{"ostiary-x": {"url": "https://a.example", "headers": {"X-Key": "k"}}, "b": {"command": "x", "env": {"OSTIARY_TOKEN": "k"}}}`))
	if err != nil || got.Variables[0].Name != "VALUE_OSTIARY_TOKEN" || got.Variables[1].Name != "VALUE_OSTIARY_X_X_KEY" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatLooksLikeASecret(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"GITHUB_TOKEN", "x", true}, {"apiKey", "x", true}, {"X-Api-Key", "x", true}, {"DB_PASSWORD", "1234", true}, {"Authorization", "x", true},
		{"KEYBOARD", "x", false}, {"AUTHOR", "me", false}, {"MONKEY", "x", false}, {"LOG_LEVEL", "debug", false},
		{"USE_AUTH", "true", false}, {"TOKEN", "", false}, {"TOKEN_FILE", "/run/x", false}, {"MAX_TOKENS", "4096", false}, {"MAX_TOKENS", "40960000", true},
		{"X", "ghp_0123456789abcdef", true}, {"X", `{"k":"ghp_0123456789abcdef"}`, true}, {"X", "sk-ant-REDACTED", true},
		{"X", "a1B2c3D4e5F6g7H8i9J", false}, {"X", "a1B2c3D4e5F6g7H8i9J0", true}, // 19 and 20 characters
		{"X", "550e8400-e29b-41d4-a716-446655440000", true},
		{"X", "mcp-server-sequential-thinking-2025", false}, {"X", "@scope/server-everything@2026.8.31", false}, {"X", "/Users/me/Documents/2025/a1b2c3", false},
		{"X", "https://mcp.example.com/v1/mcp/authv2", false}, {"X", "db-prod-1.c9akciq32.eu-west-1.rds.amazonaws.com", false},
	} {
		if got := secretEnv(c.name, c.value); got != c.want {
			t.Errorf("%s=%s: %v", c.name, c.value, got)
		}
	}
}

// FuzzImport: whatever is imported is a catalog file of ours that is well
// formed, and what was taken for a secret is not in it.
func FuzzImport(f *testing.F) {
	for _, pattern := range []string{"testdata/import/*.json", "testdata/registry/*.json", "testdata/json/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			content, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	f.Add([]byte(`{"a":{"command":"# x","args":["- y","\u0085","a: b","${X}$${Y}","'","\"","!t","&a","*b","~","1e3","\u2028"],"env":{"K":"\n"}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		got, err := Import("-", "", content)
		if err != nil {
			return
		}
		var problems Problems
		var warnings []Problem
		out := &file{"a.yaml", &problems, &warnings}
		es, declared := out.entries(got.YAML)
		importedForm(es)
		if !declared || len(problems) > 0 || len(es) != len(got.Upstreams) {
			t.Fatalf("%v\n%s", problems, got.YAML)
		}
		again, err := Import("-", "", fmt.Append(nil, string(content)))
		if err != nil || string(again.YAML) != string(got.YAML) {
			t.Errorf("imported twice: %v\n%s\n%s", err, got.YAML, again.YAML)
		}
	})
}
