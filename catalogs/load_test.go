package catalogs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// folder writes files, given as name, content, name, content.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		put(t, filepath.Join(dir, files[i]), files[i+1])
	}
	return dir
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func vars(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

// only loads one entry, given by its keys in flow style.
func only(t *testing.T, keys string, o Options) (*Upstream, error) {
	t.Helper()
	if o.Getenv == nil {
		o.Getenv = none
	}
	c, err := Load(folder(t, "a.yaml", "upstreams: {x: {"+keys+"}}\n"), o)
	if err != nil {
		return nil, err
	}
	return c.Upstreams[0], nil
}

func TestEveryKeyOfTheFormatArrives(t *testing.T) {
	dir := folder(t, "a.yaml", `
upstreams:
  remote:
    title: A Remote
    enabled: true
    url: https://mcp.example.com/mcp?x=1
    transport: streamable_http
    auth: {type: header, header: X-Api-Key, value: "${KEY}", prefix: "k "}
    prefix: rem
    labels: [private-read, private-read, b]
    tools:
      create_issue: {labels: [write], timeout: 30s}
    sharing: shared
    apps: merged
    limits: {timeout: 90s, concurrency: 5, response: 64KiB}
    trustAnnotations: true
    meta: [com.example/trace, plain]
    foldedArguments: true
    proxy: http://me:${KEY}@proxy.example.com:3128
  local:
    command: [run, --port, 8080, true, "${KEY}"]
    env: {A: "${KEY}", PORT: 8080}
    dir: work
    user: nobody
    confine: false
    prefix: ""
`)
	c, err := Load(dir, Options{Getenv: vars("KEY", "s3cret")})
	if err != nil {
		t.Fatal(err)
	}
	local, remote := *c.Upstreams[0], *c.Upstreams[1]
	local.Digest, remote.Digest = "", ""
	file := filepath.Join(dir, "a.yaml")
	if want := (Upstream{
		Name: "remote", Title: "A Remote", Enabled: true, URL: "https://mcp.example.com/mcp?x=1", Transport: StreamableHTTP,
		Auth:   Auth{Type: AuthHeader, Header: "X-Api-Key", Value: "s3cret", Prefix: "k "},
		Prefix: "rem", Labels: []string{"private-read", "b"},
		Tools:  map[string]Tool{"create_issue": {Labels: []string{"write"}, Timeout: 30 * time.Second}},
		Shared: true, MergedApps: true, Limits: Limits{90 * time.Second, 5, 64 << 10}, TrustAnnotations: true,
		Meta: []string{"com.example/trace", "plain"}, FoldedArguments: true,
		Proxy: "http://me:s3cret@proxy.example.com:3128", Confine: true,
		Reads: []string{"KEY"}, Source: Position{file, 3, 3},
	}); !reflect.DeepEqual(remote, want) {
		t.Errorf("got  %#v\nwant %#v", remote, want)
	}
	if want := (Upstream{
		Name: "local", Enabled: true, Command: []string{"run", "--port", "8080", "true", "s3cret"},
		Env: map[string]Secret{"A": "s3cret", "PORT": "8080"}, Dir: filepath.Join(dir, "work"),
		Transport: Stdio, Auth: Auth{Type: AuthNone}, User: "nobody",
		Limits: Limits{DefaultTimeout, DefaultConcurrency, DefaultResponse},
		Reads:  []string{"KEY"}, Source: Position{file, 20, 3},
	}); !reflect.DeepEqual(local, want) {
		t.Errorf("got  %#v\nwant %#v", local, want)
	}
}

func TestDefaults(t *testing.T) {
	u, err := only(t, "url: http://localhost:1/mcp", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !u.Enabled || !u.Confine || u.Shared || u.MergedApps || u.TrustAnnotations || u.FoldedArguments ||
		u.Prefix != "x" || u.Transport != Auto || u.Auth.Type != AuthNone ||
		u.Limits != (Limits{60 * time.Second, 32, 16 << 20}) {
		t.Errorf("%+v", u)
	}
}

func TestTransportWordsOfOtherTools(t *testing.T) {
	for word, want := range map[string]Transport{
		"auto": Auto, "http": StreamableHTTP, "streamable-http": StreamableHTTP,
		"streamable_http": StreamableHTTP, "streamableHttp": StreamableHTTP, "sse": SSE,
	} {
		if u, err := only(t, "url: https://a.example/mcp, transport: "+word, Options{}); err != nil || u.Transport != want {
			t.Errorf("%s: %v, %v", word, u, err)
		}
	}
	for _, word := range []string{"auto", "stdio"} {
		if u, err := only(t, "command: [x], transport: "+word, Options{}); err != nil || u.Transport != Stdio {
			t.Errorf("%s: %v, %v", word, u, err)
		}
	}
}

func TestHeaderCredentialIsABearerUnlessItSaysMore(t *testing.T) {
	for keys, want := range map[string][2]string{
		`value: v`:                                          {"Authorization", "Bearer "},
		`value: v, prefix: ""`:                              {"Authorization", ""},
		`value: v, prefix: Token`:                           {"Authorization", "Token "},
		`value: v, prefix: "Token token="`:                  {"Authorization", "Token token="},
		`value: v, header: authorization`:                   {"authorization", "Bearer "},
		`value: v, header: X-Key`:                           {"X-Key", ""},
		`value: v, header: X-Key, prefix: Bearer`:           {"X-Key", "Bearer"},
		`value: v, header: Proxy-Authorization, prefix: ""`: {"Proxy-Authorization", ""},
	} {
		u, err := only(t, "url: https://a.example/mcp, auth: {type: header, "+keys+"}", Options{})
		if err != nil || [2]string{u.Auth.Header, u.Auth.Prefix} != want {
			t.Errorf("%s: %+v, %v, want %q", keys, u, err, want)
		}
	}
}

func TestKindsThatAreNotBuiltYetKeepTheirKeys(t *testing.T) {
	u, err := only(t, `url: https://a.example/mcp, auth: {type: oauth, clientId: me, clientSecret: "${S}", scopes: [a, "${S}"], nested: {on: true, n: 1}}`,
		Options{Getenv: vars("S", "s3cret")})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"clientId": Secret("me"), "clientSecret": Secret("s3cret"),
		"scopes": []any{Secret("a"), Secret("s3cret")}, "nested": map[string]any{"on": true, "n": Secret("1")}}
	if !reflect.DeepEqual(u.Auth.Extra, want) {
		t.Errorf("%#v", u.Auth.Extra)
	}
	u, err = only(t, `url: https://a.example/mcp, auth: {type: oauth, scopes: [a]}`, Options{})
	if err != nil || u.Auth.Account != AccountUser {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestOneProblemRefusesAllFiles(t *testing.T) {
	dir := folder(t,
		"a.yaml", "upstreams: {good: {command: [x]}}",
		"b.yml", "upstreams: {bad: {command: [x], labels: read}}",
		"c.yaml", "upstreams: {worse: {url: https://a.example/mcp, prefix: good}}")
	c, err := Load(dir, Options{Getenv: none})
	var ps Problems
	if c != nil || !errors.As(err, &ps) || len(ps) != 2 || !strings.HasSuffix(ps[0].File, "b.yml") || !strings.HasSuffix(ps[1].File, "c.yaml") {
		t.Errorf("%v, %v", c, err)
	}
}

func TestFilesThatAreNoCatalogAreLeftAlone(t *testing.T) {
	dir := folder(t, "a.yaml", "upstreams: {x: {command: [x]}}",
		"README.md", "{", ".hidden.yaml", "{", "a.yaml~", "{", "sub/b.yaml", "{", "b.schema.json", "{")
	if err := os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := Load(dir, Options{Getenv: none})
	if err != nil || len(c.Upstreams) != 1 || len(c.Warnings) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestMissingDirectoryIsAnErrorThatSaysWhatToDo(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none"), Options{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--catalogs") {
		t.Error(err)
	}
	var ps Problems
	if errors.As(err, &ps) {
		t.Error("a missing directory is no problem of a catalog")
	}
}

func TestEmptyDirectoriesAndFilesAreWarnings(t *testing.T) {
	for name, files := range map[string][]string{
		"no file": nil, "no document": {"a.yaml", "# nothing\n"}, "no entries": {"a.yaml", "upstreams:\n  # x: {}\n"}, "null": {"a.yaml", "~"},
		"empty mapping": {"a.yaml", "upstreams: {}\n"},
	} {
		c, err := Load(folder(t, files...), Options{Getenv: none})
		if err != nil || len(c.Upstreams) != 0 || len(c.Warnings) != 1+len(files)/2 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestCredentialsOverPlainHTTPAreAWarningBeyondThisMachine(t *testing.T) {
	for host, want := range map[string]int{"localhost:1": 0, "127.0.0.1": 0, "[::1]:8": 0, "a.example": 1, "10.0.0.1": 1} {
		c, err := Load(folder(t, "a.yaml", "upstreams: {x: {url: 'http://"+host+"/mcp', auth: {type: header, value: longer-than-eight}}}"), Options{Getenv: none})
		if err != nil || len(c.Warnings) != want {
			t.Errorf("%s: %+v, %v", host, c, err)
		}
	}
}

func TestAFileThatCannotBeReadIsAProblem(t *testing.T) {
	dir := folder(t)
	if err := os.Symlink("nowhere", filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	_, err := Load(dir, Options{Getenv: none})
	if want := filepath.Join(dir, "a.yaml") + ": this is a catalog file that does not exist"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestRevisionFollowsContentAndValuesAlone(t *testing.T) {
	text := "upstreams: {x: {command: [x, '${A}', 'file:s']}}"
	revision := func(name, text, secret string, getenv func(string) (string, bool)) string {
		t.Helper()
		c, err := Load(folder(t, name, text, "s", secret), Options{Getenv: getenv})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Revision) != 64 {
			t.Errorf("revision %q", c.Revision)
		}
		return c.Revision
	}
	first := revision("a.yaml", text, "s", vars("A", "a"))
	if again := revision("a.yaml", text, "s", vars("A", "a", "B", "b")); again != first {
		t.Error("the same content gave another revision")
	}
	for what, other := range map[string]string{
		"name":     revision("b.yaml", text, "s", vars("A", "a")),
		"content":  revision("a.yaml", text+"\n", "s", vars("A", "a")),
		"variable": revision("a.yaml", text, "s", vars("A", "b")),
		"file":     revision("a.yaml", text, "S", vars("A", "a")),
	} {
		if other == first {
			t.Errorf("another %s gave the same revision", what)
		}
	}
}

func TestDigestFollowsTheMeaningOfAnEntry(t *testing.T) {
	digest := func(keys string, getenv func(string) (string, bool)) string {
		t.Helper()
		u, err := only(t, keys, Options{Getenv: getenv})
		if err != nil {
			t.Fatal(err)
		}
		return u.Digest
	}
	base := digest(`url: https://a.example/mcp, auth: {type: oauth, s: "${A}"}, labels: [a, b]`, vars("A", "1"))
	if same := digest(`labels: [a, b],   auth: {s: "${B}", type: oauth}, url: https://a.example/mcp, enabled: true`, vars("B", "1")); same != base {
		t.Error("the same meaning gave another digest")
	}
	for _, keys := range []string{
		`url: https://a.example/mcp, auth: {type: oauth, s: "${A}"}, labels: [a]`,
		`url: https://a.example/mcp, auth: {type: oauth, s: "2"}, labels: [a, b]`,
		`url: https://a.example/mcp, auth: {type: oauth, s: "${A}"}, labels: [a, b], tools: {t: {timeout: 1s}}`,
		`url: https://a.example/mcp, auth: {type: oauth, s: "${A}"}, labels: [a, b], limits: {concurrency: 1}`,
	} {
		if digest(keys, vars("A", "1")) == base {
			t.Errorf("another meaning gave the same digest: %s", keys)
		}
	}
}

func TestDigestFollowsTheContentOfTheCertificateFile(t *testing.T) {
	dir := folder(t, "a.yaml", "upstreams: {x: {url: 'https://a.example', caFile: ca.pem}}", "ca.pem", certificate(t))
	digest := func() string {
		t.Helper()
		c, err := Load(dir, Options{Getenv: none})
		if err != nil {
			t.Fatal(err)
		}
		return c.Upstreams[0].Digest
	}
	first := digest()
	put(t, filepath.Join(dir, "ca.pem"), certificate(t))
	if digest() == first {
		t.Error("another certificate gave the same digest")
	}
}
