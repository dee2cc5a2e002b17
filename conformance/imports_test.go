package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ostiary/ostiary"

// room is one line of the architecture diagram: a package
// and what it may import of ours. anything is the wiring's privilege.
type room struct {
	name    string
	imports string // separated by spaces
	tests   string // what its tests may import besides
}

const anything = "*"

// rooms IS the diagram: a package that is missing here fails the test, and so
// does an arrow that is missing. Lines of packages that are yet to come stand
// here already, so that their walls are known before they are built.
var rooms = []room{
	// The words: leaves that everyone may speak.
	{name: "authserver/identity"},
	{name: "policy", imports: "authserver/identity"},
	{name: "catalogs"},
	{name: "gateway/wire"},
	{name: "store", tests: "store/storetest"},
	{name: "store/storetest", imports: "store"}, // the contract of a backend, as tests
	{name: "store/audit", imports: "authserver/identity policy"},

	// The decision.
	{name: "policy/rego", imports: "policy authserver/identity"},

	// The inner door: knows no policy, no store, no inbound token.
	{name: "federation/credential", imports: "authserver/identity catalogs"},
	{name: "federation", imports: "authserver/identity catalogs federation/credential gateway/wire"},

	// The outer door: knows no authserver, no store, no credential.
	{name: "gateway", imports: "authserver/identity catalogs federation gateway/wire policy store/audit",
		tests: "conformance/cases federation/credential store"},
	{name: "gateway/admin", imports: "authserver/identity catalogs federation policy store store/audit"},
	{name: "gateway/telemetry"},

	// Signing in.
	{name: "authserver/client", imports: "store store/audit"},
	{name: "authserver/pages"},
	{name: "authserver/login", imports: "authserver/identity store"},
	{name: "authserver", imports: "authserver/identity authserver/client authserver/login authserver/pages store store/audit policy"},

	// Wiring, and the view from outside. Nothing imports cmd.
	{name: "cmd/ostiary", imports: anything},
	{name: "conformance", imports: "conformance/cases conformance/tasks"},
	{name: "conformance/auditproof"},
	{name: "conformance/cases"},
	{name: "conformance/hello"},
	{name: "conformance/tasks"},
	{name: "conformance/taskserver", imports: "conformance/tasks"},
}

// library is code of others and the doors it may come in by.
type library struct {
	paths string // import path prefixes, separated by spaces
	doors string // our packages; anything = small, or everyone's API
	tests string // packages whose tests may import it besides
	never bool   // not even by a door
}

// libraries names every library that we import ourselves. The first that
// matches counts. One door each for the heavy ones: who wants to replace OPA,
// fosite or bbolt finds all of it behind one package.
var libraries = []library{
	{paths: "github.com/mark3labs/mcp-go/server", doors: "gateway", tests: "federation cmd/ostiary"},
	{paths: "github.com/mark3labs/mcp-go/client", doors: "federation", tests: "gateway cmd/ostiary"},
	{paths: "github.com/mark3labs/mcp-go/mcp", doors: "gateway/wire", tests: "federation gateway cmd/ostiary"},
	{paths: "github.com/go-json-experiment/json", doors: "gateway/wire"},
	{paths: "github.com/hashicorp/go-memdb", doors: "federation"},
	{paths: "github.com/santhosh-tekuri/jsonschema", doors: "gateway"},
	{paths: "go.etcd.io/bbolt", doors: "store"},
	{paths: "github.com/jackc/pgx", doors: "store"},
	{paths: "go.yaml.in/yaml gopkg.in/yaml.v3 github.com/goccy/go-yaml", doors: "catalogs cmd/ostiary"},
	// v1/sdk brings a server, plugins and 150 more packages with it.
	{paths: "github.com/open-policy-agent/opa/v1/sdk github.com/open-policy-agent/opa/sdk", never: true},
	{paths: "github.com/open-policy-agent/opa", doors: "policy/rego"},
	{paths: "github.com/ory/fosite", doors: "authserver"},
	{paths: "github.com/coreos/go-oidc", doors: "authserver/login"},
	{paths: "github.com/go-webauthn/webauthn", doors: "authserver/login"},
	{paths: "rsc.io/qr", doors: "authserver/pages"},
	{paths: "github.com/go-jose/go-jose", doors: "authserver authserver/client", tests: "authserver/login cmd/ostiary"},
	{paths: "golang.org/x/oauth2", doors: "federation/credential authserver/login"},
	{paths: "go.opentelemetry.io/otel/sdk go.opentelemetry.io/otel/exporters github.com/prometheus", doors: "gateway/telemetry"},
	{paths: "go.opentelemetry.io/otel", doors: anything}, // the API alone
	{paths: "golang.org/x", doors: anything},
}

// pkg is what `go list -json` says of one package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// TestEveryImportIsInTheDiagram holds the tree against the two tables above.
func TestEveryImportIsInTheDiagram(t *testing.T) {
	watchSources(t)
	// -e: a package that does not compile right now still has imports.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) < 5 {
		t.Fatalf("go list found %d packages of %s; is the test run outside its tree?", len(pkgs), module)
	}
	for _, wrong := range violations(pkgs) {
		t.Error(wrong)
	}
}

// TestAWrongImportIsSeen breaks each rule of the house once, so that a rule
// which can't fail would be noticed.
func TestAWrongImportIsSeen(t *testing.T) {
	tests := []struct {
		rule, from, to string
		test           bool
		want           string // "" = allowed
	}{
		{rule: "gateway takes a Verifier, not the authserver", from: "gateway", to: module + "/authserver", want: "gateway may not import authserver"},
		{rule: "gateway may name principals", from: "gateway", to: module + "/authserver/identity"},
		{rule: "gateway reads no store", from: "gateway", to: module + "/store", want: "gateway may not import store"},
		{rule: "gateway writes records", from: "gateway", to: module + "/store/audit"},
		{rule: "gateway sees no credential", from: "gateway", to: module + "/federation/credential", want: "gateway may not import federation/credential"},
		{rule: "federation decides nothing", from: "federation", to: module + "/policy", want: "federation may not import policy"},
		{rule: "federation reads no store", from: "federation", to: module + "/store", want: "federation may not import store"},
		{rule: "federation verifies no token", from: "federation", to: module + "/authserver", want: "federation may not import authserver"},
		{rule: "only cmd imports gateway", from: "gateway/admin", to: module + "/gateway", want: "gateway/admin may not import gateway"},
		{rule: "only cmd imports telemetry", from: "gateway", to: module + "/gateway/telemetry", want: "gateway may not import gateway/telemetry"},
		{rule: "only cmd imports admin", from: "gateway", to: module + "/gateway/admin", want: "gateway may not import gateway/admin"},
		{rule: "cmd wires everything", from: "cmd/ostiary", to: module + "/gateway/admin"},
		{rule: "nothing imports cmd", from: "conformance", to: module + "/cmd/ostiary", want: "conformance may not import cmd/ostiary"},
		{rule: "tests obey too", from: "gateway", to: module + "/authserver", test: true, want: "test of gateway may not import authserver"},
		{rule: "tests prefer the real store", from: "gateway", to: module + "/store", test: true},
		{rule: "tests may use the cases", from: "gateway", to: module + "/conformance/cases", test: true},
		{rule: "code may not use the cases", from: "gateway", to: module + "/conformance/cases", want: "gateway may not import conformance/cases"},
		{rule: "an external test imports its own package", from: "store", to: module + "/store", test: true},
		{rule: "OPA has one door", from: "policy", to: "github.com/open-policy-agent/opa/v1/rego", want: "policy may not import github.com/open-policy-agent/opa/v1/rego: its doors are policy/rego"},
		{rule: "OPA's door is open", from: "policy/rego", to: "github.com/open-policy-agent/opa/v1/rego"},
		{rule: "OPA's sdk has none", from: "policy/rego", to: "github.com/open-policy-agent/opa/v1/sdk", want: "policy/rego may not import github.com/open-policy-agent/opa/v1/sdk"},
		{rule: "mcp-go's client stays in the south", from: "gateway", to: "github.com/mark3labs/mcp-go/client/transport", want: "gateway may not import"},
		{rule: "mcp-go's server may play the upstream in tests", from: "federation", to: "github.com/mark3labs/mcp-go/server", test: true},
		{rule: "bbolt has one door", from: "store/audit", to: "go.etcd.io/bbolt", want: "store/audit may not import go.etcd.io/bbolt"},
		{rule: "the otel API is everyone's", from: "gateway", to: "go.opentelemetry.io/otel/trace"},
		{rule: "the otel sdk is not", from: "gateway", to: "go.opentelemetry.io/otel/sdk/trace", want: "gateway may not import go.opentelemetry.io/otel/sdk/trace"},
		{rule: "a library comes with a line in the table", from: "gateway", to: "example.com/handy", want: "example.com/handy is in no line of libraries"},
		{rule: "a package comes with a line in the table", from: "util", to: "fmt", want: "package util is not in the diagram"},
		{rule: "a prefix is a path, not a string", from: "gateway", to: "golang.org/xtra", want: "golang.org/xtra is in no line"},
		{rule: "the standard library is free", from: "policy", to: "net/http"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			p := pkg{ImportPath: module + "/" + tt.from}
			if tt.test {
				p.XTestImports = []string{tt.to}
			} else {
				p.Imports = []string{tt.to}
			}
			got := violations([]pkg{p})
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("allowed import was refused: %v", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Errorf("got %v, want one violation: …%s…", got, tt.want)
			}
		})
	}
}

// TestTheDiagramHasNoCycle: the arrows of the table itself form no circle, and
// name only rooms that exist in it.
func TestTheDiagramHasNoCycle(t *testing.T) {
	arrows := map[string][]string{}
	for _, r := range rooms {
		if _, twice := arrows[r.name]; twice {
			t.Errorf("two lines for %s", r.name)
		}
		arrows[r.name] = strings.Fields(r.imports)
	}
	var walk func(name string, path []string)
	walk = func(name string, path []string) {
		if slices.Contains(path, name) {
			t.Errorf("circle: %s", strings.Join(append(path, name), " → "))
			return
		}
		for _, to := range arrows[name] {
			if _, ok := arrows[to]; !ok && to != anything {
				t.Errorf("%s → %s: no such room", name, to)
			}
			walk(to, append(slices.Clone(path), name))
		}
	}
	for name := range arrows {
		walk(name, nil)
	}
}

// violations says in words what is wrong with the imports of pkgs.
func violations(pkgs []pkg) []string {
	var wrong []string
	for _, p := range pkgs {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		i := slices.IndexFunc(rooms, func(r room) bool { return r.name == name })
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("package %s is not in the diagram: add a line to rooms in conformance/imports_test.go that says what it may import", name))
			continue
		}
		r := rooms[i]
		for _, imp := range p.Imports {
			wrong = append(wrong, judge(r, imp, false)...)
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			if imp != p.ImportPath { // an external test's own package
				wrong = append(wrong, judge(r, imp, true)...)
			}
		}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

// judge holds one import of a room against both tables.
func judge(r room, imp string, test bool) []string {
	who := r.name
	if test {
		who = "the test of " + r.name
	}
	if own, ok := strings.CutPrefix(imp, module+"/"); ok {
		allowed := r.imports
		if test {
			allowed += " " + r.tests
		}
		if !has(allowed, own) {
			return []string{fmt.Sprintf("%s may not import %s: its arrows are: %s", who, own, orNone(allowed))}
		}
		return nil
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return nil // the standard library
	}
	for _, l := range libraries {
		if !slices.ContainsFunc(strings.Fields(l.paths), func(p string) bool { return imp == p || strings.HasPrefix(imp, p+"/") }) {
			continue
		}
		switch {
		case l.never:
			return []string{fmt.Sprintf("%s may not import %s: nobody may", who, imp)}
		case has(l.doors, r.name) || test && has(l.tests, r.name):
			return nil
		default:
			return []string{fmt.Sprintf("%s may not import %s: its doors are %s", who, imp, l.doors)}
		}
	}
	return []string{fmt.Sprintf("%s imports %s, but %s is in no line of libraries: name its door in conformance/imports_test.go", who, imp, imp)}
}

// has tells whether a list of words holds one word, or everything.
func has(list, word string) bool {
	words := strings.Fields(list)
	return slices.Contains(words, word) || slices.Contains(words, anything)
}

func orNone(s string) string {
	if strings.TrimSpace(s) == "" {
		return "none"
	}
	return strings.TrimSpace(s)
}

// watchSources looks at every Go file in this process. `go test` remembers a
// pass as long as the files that the test itself touched stay the same, and
// what its child `go list` reads is not among them.
func watchSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != ".." {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
