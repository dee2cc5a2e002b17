package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var attackID = regexp.MustCompile(`\bA-\d{3}\b`)

// TestEveryAttackOfTheCatalogueIsShown holds catalogue.txt against the tree:
// each line names a test that exists and says in its comment what it shows, a
// case that exists, or what is missing; and no test shows an attack that the
// catalogue does not have.
func TestEveryAttackOfTheCatalogueIsShown(t *testing.T) {
	text, err := os.ReadFile("catalogue.txt")
	if err != nil {
		t.Fatal(err)
	}
	shown := attacksOfTests(t)
	known := map[string]int{} // lines below each id
	id := ""
	for n, line := range strings.Split(string(text), "\n") {
		wrong := func(what string) { t.Errorf("catalogue.txt:%d: %s: %s", n+1, what, line) }
		rest, below := strings.CutPrefix(line, "\t")
		switch {
		case line == "" || line[0] == '#':
		case !below:
			id, _, _ = strings.Cut(line, " ")
			if _, twice := known[id]; twice || !attackID.MatchString(id) {
				wrong("no id, or twice")
			}
			known[id] = 0
		case strings.HasPrefix(rest, "- "):
			known[id]++
		case strings.HasSuffix(rest, ".txtar"):
			known[id]++
			if _, err := os.Stat(filepath.Join("..", rest)); err != nil {
				wrong("no such case")
			}
		default:
			known[id]++
			ids, ok := shown[rest]
			if !ok {
				wrong("no such test")
			} else if !slices.Contains(ids, id) {
				wrong("the test's comment does not name " + id)
			}
		}
	}
	for id, lines := range known {
		if lines == 0 {
			t.Errorf("%s: no test, no case, and nothing that says why", id)
		}
	}
	for test, ids := range shown {
		for _, id := range ids {
			if _, ok := known[id]; !ok {
				t.Errorf("%s shows %s, which catalogue.txt does not have", test, id)
			}
		}
	}
	if len(known) < 90 || len(shown) < 500 {
		t.Errorf("%d attacks, %d tests: something was not read", len(known), len(shown))
	}
}

// attacksOfTests are all tests of the tree, as "directory name", with the
// attacks that their comments name.
func attacksOfTests(t *testing.T) map[string][]string {
	t.Helper()
	shown := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel("..", filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				shown[filepath.ToSlash(dir)+" "+f.Name.Name] = attackID.FindAllString(f.Doc.Text(), -1)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return shown
}
