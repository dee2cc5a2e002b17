package authserver

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestTheTableNamesTests: every test that the package's documentation names is
// there, here or in a package below.
func TestTheTableNamesTests(t *testing.T) {
	files := must(filepath.Glob("*_test.go"))
	files = append(files, must(filepath.Glob("*/*_test.go"))...)
	have := map[string]bool{}
	for _, f := range files {
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(must(os.ReadFile(f))), -1) {
			have[m[1]] = true
		}
	}
	named := regexp.MustCompile(`\bTest\w+`).FindAllString(string(must(os.ReadFile("doc.go"))), -1)
	if len(named) < 40 {
		t.Fatalf("the table names %d tests", len(named))
	}
	for _, name := range named {
		if !have[name] {
			t.Errorf("%s is named in the table and does not exist", name)
		}
	}
}
