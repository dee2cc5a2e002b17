package catalogs

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestServerJSONIsReadAsItIs(t *testing.T) {
	set := vars("ANALYTICS_TENANT", "acme", "ANALYTICS_API_KEY", "s3cret", "BRAVE_API_KEY", "b", "BRAVE_SEARCH_TARGET_DIR", "/srv",
		"DB_PASSWORD", "p", "EXAMPLE_MCP_DATABASE", "main", "OPTIONAL", "must not be read", "HOME", "must not be read")
	c, err := Load("testdata/registry", Options{Getenv: set})
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		name, where string
		transport   Transport
		env         string
		auth        string
	}
	var got []row
	for _, u := range c.Upstreams {
		var env []string
		for _, k := range sortedKeys(u.Env) {
			env = append(env, k+"="+u.Env[k].Reveal())
		}
		got = append(got, row{u.Name, u.URL + strings.Join(u.Command, " "), u.Transport, strings.Join(env, " "),
			strings.Trim(u.Auth.Header+": "+u.Auth.Prefix+u.Auth.Value.Reveal(), ": ")})
	}
	want := []row{
		{"analytics", "https://acme.example.com/eu/mcp?x={unknown}", StreamableHTTP, "", "Authorization: Bearer s3cret"},
		{"brave-search", "npx -y --loglevel=silent @modelcontextprotocol/server-brave-search@1.0.2 mcp /srv --mode=local -p 80 ${HOME} file:", Stdio,
			"BRAVE_API_KEY=b FIXED=file:as-is LOG_LEVEL=info", ""},
		{"example-mcp", "podman run -i --rm -e DB_PASSWORD --network=host example/database:3.1.0 main", Stdio, "DB_PASSWORD=p", ""},
		{"random", "dnx Knapcode.SampleMcpServer@0.4.0 --yes -- start", Stdio, "", ""},
		{"weather", "uvx weather-mcp@0.5.0", Stdio, "", ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if c.Upstreams[0].Title != "Acme Analytics" || c.Upstreams[0].Source != (Position{filepath.Join("testdata", "registry", "remote.json"), 3, 11}) {
		t.Errorf("%+v", c.Upstreams[0])
	}
	var warnings []string
	for _, w := range c.Warnings {
		warnings = append(warnings, fmt.Sprintf("%s:%d %s %s", filepath.Base(w.File), w.Line, w.Key, w.Text))
	}
	wantWarnings := []string{
		"api.json:4 servers[1].server.packages[0].runtimeHint is not a program that runs such a package: dnx is used",
		"npm.json:21 packages[2].packageArguments[4] is optional and has no default: it is left out",
		"npm.json:28 packages[2].environmentVariables[3] is optional and has no default: it is left out",
		"old.json:4 status is deprecated",
		"remote.json:19 remotes[1].headers[1] is a header that need not be sent: it is left out",
	}
	if !slices.Equal(warnings, wantWarnings) {
		t.Errorf("warnings:\n%s", strings.Join(warnings, "\n"))
	}
}

func TestWhatAServerJSONLeavesToTheUserIsAVariableThatMustBeSet(t *testing.T) {
	_, err := Load("testdata/registry", Options{Getenv: none})
	if err == nil {
		t.Fatal("nothing is missing")
	}
	for _, want := range []string{
		"npm.json:25:9: packages[2].environmentVariables[0]: names the variable BRAVE_API_KEY, which is not set",
		"names the variable BRAVE_SEARCH_TARGET_DIR", "remotes[1].url: names the variable ANALYTICS_TENANT",
		"names the variable ANALYTICS_API_KEY", "names the variable EXAMPLE_MCP_DATABASE", "names the variable DB_PASSWORD",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not said: %s\n%v", want, err)
		}
	}
}

func TestMistakesInServerJSONArePlaced(t *testing.T) {
	npm := func(more string) string {
		return `{"name": "a/x", "packages": [{"registryType": "npm", "identifier": "x"` + more + `}]}`
	}
	for content, want := range map[string]string{
		`{"name": "a/x", "remotes": [{"type": "sse", "url": "/relative"}]}`:                                                                                "must begin with https",
		`{"name": 1, "remotes": [{"type": "sse", "url": "https://a.example"}]}`:                                                                            "must be text",
		`{"remotes": [{"type": "sse", "url": "https://a.example"}]}`:                                                                                       "has no name",
		`{"name": "a/ostiary!", "remotes": ["https://a.example"]}`:                                                                                         "must be a mapping",
		npm(`, "environmentVariables": [{"name": "NO-NAME", "isRequired": true}]`):                                                                         "no variable can have",
		npm(`, "environmentVariables": [{"name": "OSTIARY_KEY", "isRequired": true}]`):                                                                     "the gateway's own",
		npm(`, "environmentVariables": {}`):                                                                                                                "must be a list",
		npm(`, "packageArguments": [{"type": "positional", "value": "${x}", "variables": {"x": {"default": "1"}}}]`):                                       "$ before a variable",
		npm(`, "packageArguments": [{"type": "positional", "isRequired": "yes"}]`):                                                                         "true or false",
		`{"name": "a/x", "remotes": [{"type": "sse", "url": "https://a.example", "headers": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}`: "a second header",
		`{"name": "a/x", "remotes": [{"type": "sse", "url": "https://a.example", "headers": [{"name": "Mcp-Session-Id", "value": "1"}]}]}`:                 "sets itself",
	} {
		_, err := Load(folder(t, "server.json", content), Options{Getenv: none})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "server.json:1:") {
			t.Errorf("%s: %v, want %s", content, err, want)
		}
	}
}

func TestVSCodeInputsAreVariables(t *testing.T) {
	content := `{"inputs": [{"type": "promptString", "id": "api-key", "password": true}, {"type": "pickString", "id": "region", "default": "eu", "options": ["eu", "us"]}],
"servers": {"x": {"type": "http", "url": "https://${input:region}.example.com/mcp", "headers": {"Authorization": "Bearer ${input:api-key}"}},
"y": {"command": "${userHome}/bin/y", "args": ["${input:not-declared}", "${env:SEEN}", "$SEEN", "$lower", "a${/}b"]}}}`
	for _, file := range []string{content, `{"editor.fontSize": 12, "mcp": ` + content + `}`} {
		c, err := Load(folder(t, "mcp.json", file), Options{Getenv: vars("API_KEY", "k", "NOT_DECLARED", "n", "SEEN", "s", "HOME", "/home/x")})
		if err != nil {
			t.Fatal(err)
		}
		x, y := c.Upstreams[0], c.Upstreams[1]
		if x.URL != "https://eu.example.com/mcp" || x.Auth.Value.Reveal() != "Bearer k" || !slices.Equal(x.Reads, []string{"API_KEY", "REGION"}) {
			t.Errorf("%+v", x)
		}
		if !slices.Equal(y.Command, []string{"/home/x/bin/y", "n", "s", "s", "$lower", "a/b"}) {
			t.Errorf("%q", y.Command)
		}
	}
}

func TestShapesOfEveryClientAreRead(t *testing.T) {
	c, err := Load(folder(t, "settings.json", `{"theme": "x", "mcp": {"allowed": ["g"]}, "mcpServers": {
  "gemini": {"httpUrl": "https://g.example/mcp", "url": "https://g.example/sse", "trust": true, "timeout": 600000, "includeTools": ["a"]},
  "cursor": {"url": "https://c.example/mcp", "headers": {"X-Api-Key": "${env:KEY}"}, "envFile": ".env"},
  "windsurf": {"serverUrl": "https://w.example/mcp", "disabled": false, "disabledTools": ["b"]},
  "claude": {"type": "stdio", "command": "run", "args": [], "env": {}},
  "cline": {"command": "run", "alwaysAllow": [], "disabled": true}
}}`), Options{Getenv: vars("KEY", "k-e-y-of-cursor")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range c.Upstreams {
		got = append(got, fmt.Sprintf("%s %s%s %s %v", u.Name, u.URL, strings.Join(u.Command, " "), u.Transport, u.Enabled))
	}
	if want := []string{"claude run stdio true", "cline run stdio false", "cursor https://c.example/mcp auto true", "gemini https://g.example/mcp streamable-http true", "windsurf https://w.example/mcp auto true"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	var keys []string
	for _, w := range c.Warnings {
		keys = append(keys, w.Key[len("mcpServers."):])
	}
	if want := []string{"gemini.trust", "gemini.timeout", "gemini.includeTools", "cursor.envFile", "windsurf.disabledTools", "cline.alwaysAllow"}; !slices.Equal(keys, want) {
		t.Errorf("warnings: %q", keys)
	}
}
