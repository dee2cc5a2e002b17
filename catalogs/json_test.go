package catalogs

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestFilesOfOtherToolsAreReadAsTheyAre(t *testing.T) {
	c, err := Load("testdata/json", Options{Getenv: vars("HOME_DIR", "/home/x", "TOKEN", "s3cret")})
	if err != nil {
		t.Fatal(err)
	}
	limits := Limits{DefaultTimeout, DefaultConcurrency, DefaultResponse}
	none := Auth{Type: AuthNone}
	claude, vscode := filepath.Join("testdata", "json", "claude.json"), filepath.Join("testdata", "json", "vscode.json")
	want := []Upstream{
		{Name: "github", Prefix: "github", Enabled: true, URL: "https://api.githubcopilot.com/mcp/", Transport: StreamableHTTP, Auth: none, Source: Position{vscode, 5, 5}},
		{Name: "local", Prefix: "local", Enabled: true, Command: []string{"run"}, Transport: Stdio, Auth: none, Source: Position{vscode, 7, 5}},
		{Name: "my-files", Title: "My Files", Prefix: "my-files", Enabled: true,
			Command: []string{"npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/x", "file:local.db", "a/b 😀"},
			Env:     map[string]Secret{"LOG": "debug", "TOKEN": "s3cret", "URL": "http://x // not a comment"}, Dir: "/srv",
			Transport: Stdio, Auth: none, Reads: []string{"HOME_DIR", "TOKEN"}, Source: Position{claude, 3, 3}},
		{Name: "old", Prefix: "old", URL: "https://mcp.example.com/sse", Transport: SSE, Auth: none, Source: Position{claude, 15, 3}},
		{Name: "remote-one", Title: "remote.one", Prefix: "remote-one", Enabled: true, URL: "https://mcp.example.com/mcp", Transport: StreamableHTTP,
			Auth: Auth{Type: AuthHeader, Header: "Authorization", Value: "Bearer s3cret"}, Reads: []string{"TOKEN"}, Source: Position{claude, 10, 3}},
		{Name: "windsurf", Prefix: "windsurf", Enabled: true, URL: "https://mcp.example.com/mcp", Transport: Auto, Auth: none, Source: Position{claude, 16, 3}},
	}
	if len(c.Upstreams) != len(want) {
		t.Fatalf("%d upstreams: %+v", len(c.Upstreams), c.Upstreams)
	}
	for i, u := range c.Upstreams {
		got := *u
		got.Digest, want[i].Limits, want[i].Confine = "", limits, true
		if !reflect.DeepEqual(got, want[i]) {
			t.Errorf("got  %#v\nwant %#v", got, want[i])
		}
	}
	if len(c.Warnings) != 1 || c.Warnings[0].Key != "mcpServers.My Files.autoApprove" {
		t.Errorf("warnings: %v", c.Warnings)
	}
}

func TestJSONThatIsNoCatalogIsAWarning(t *testing.T) {
	for _, content := range []string{`{}`, `{"name": "io.example/x", "packages": []}`, ``, `null`} {
		c, err := Load(folder(t, "a.json", content, "b.yaml", "upstreams: {x: {command: [x]}}"), Options{Getenv: none})
		if err != nil || len(c.Warnings) != 1 || len(c.Upstreams) != 1 {
			t.Errorf("%s: %+v, %v", content, c, err)
		}
	}
}

func TestMistakesInJSONArePlaced(t *testing.T) {
	for content, want := range map[string]string{
		`{"mcpServers": {"x": {`:                                                                           "not JSON",
		"{\"mcpServers\": {\"x\":\n{\"comand\": \"x\"}}}":                                                  ":1:17: mcpServers.x: has neither",
		`{"mcpServers": {"x": {"command": "x", "url": "https://a.example"}}}`:                              "stands beside url",
		`{"mcpServers": {"x": {"args": ["x"], "url": "https://a.example"}}}`:                               "x.args: has a meaning only beside command",
		`{"mcpServers": {"x": {"command": ["x"]}}}`:                                                        "command: must be text",
		`{"mcpServers": {"x": {"command": "x", "headers": {"A": "b"}}}}`:                                   "needs a url",
		`{"mcpServers": {"x": {"url": "https://a.example", "headers": {"A": "b", "C": "d"}}}}`:             "more than one header",
		`{"mcpServers": {"x": {"url": "https://a.example", "headers": {"A": "${input:key}"}}}}`:            "names the variable KEY",
		`{"mcpServers": {"x": {"url": "https://a.example", "headers": {"Mcp-Session-Id": "x"}}}}`:          "sets itself",
		`{"mcpServers": {"x": {"command": "x"}, "X": {"command": "x"}}}`:                                   "declared in",
		`{"mcpServers": {"x": {"command": "x"}, "x": {"command": "x"}}}`:                                   "given twice",
		`{"mcpServers": {"!": {"command": "x"}}}`:                                                          "may hold a-z",
		`{"mcpServers": {"ostiary": {"command": "x"}}}`:                                                    "reserved",
		`{"mcpServers": {"x": {"command": "x", "env": {"K": "${env:OSTIARY_K}"}}}}`:                        "the gateway's own",
		`{"mcpServers": {"x": {"command": "x", "type": "http"}}}`:                                          "has a command",
		`{"mcpServers": {"x": {"command": "x"}, "` + strings.Repeat("y", 40) + `": {"url": "/relative"}}}`: "must begin with https",
	} {
		_, err := Load(folder(t, "a.json", content), Options{Getenv: none})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "a.json:") {
			t.Errorf("%s: %v, want %s", content, err, want)
		}
	}
}

func TestCommentsAndPairsKeepTheirPlaces(t *testing.T) {
	for in, want := range map[string]string{
		"a // b\nc":          "a     \nc",
		"a /* b\nc */ d":     "a     \n     d",
		"a // b":             "a     ",
		"a /* b":             "a     ",
		`"// \" // " /**/ x`: `"// \" // "      x`,
		"{\t\"a\tb\"":        "{ \"a\tb\"",
		`"\ud83d\ude00"`:     `"\U0001f600"`,
		`"\udbff\udfff"`:     `"\U0010ffff"`,
		`"\\ud83d\\ude00"`:   `"\\ud83d\\ude00"`,
		`"\u00e9\ud83d"`:     `"\u00e9\ud83d"`,
		`"\u`:                `"\u`,
		`"\`:                 `"\`,
	} {
		if got := string(yamlFromJSON([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
