package gateway

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestEveryWordOfARecordIsExplained finds the outcome and reason words in the
// source and asks words.go for each.
func TestEveryWordOfARecordIsExplained(t *testing.T) {
	text, err := os.ReadFile("words.go")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^//\t([a-z_, ]+)`).FindAllStringSubmatch(string(text), -1) {
		names, _, _ := strings.Cut(line[1], "  ")
		for name := range strings.SplitSeq(names, ", ") {
			explained[strings.TrimSpace(name)] = true
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range recordWords(parsed) {
			found[word] = true
			if !explained[word] {
				t.Errorf("%s: %q is not explained in words.go", file, word)
			}
		}
	}
	for _, word := range []string{"refused", "http_method", "bad_answer", "unknown", "unrecorded"} {
		if !found[word] {
			t.Errorf("the search misses %q: it would miss others", word)
		}
	}
}

// recordWords are the literals that refuse takes as its reason, and those
// given to the fields outcome and reason of a refusal.
func recordWords(file *ast.File) (words []string) {
	take := func(e ast.Expr) {
		if b, ok := e.(*ast.BasicLit); ok && b.Kind == token.STRING {
			if s, err := strconv.Unquote(b.Value); err == nil && s != "" {
				words = append(words, s)
			}
		}
	}
	field := func(name string) bool { return name == "outcome" || name == "reason" }
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "refuse" && len(n.Args) == 4 {
				take(n.Args[2])
			}
		case *ast.KeyValueExpr:
			if k, ok := n.Key.(*ast.Ident); ok && field(k.Name) {
				take(n.Value)
			}
		case *ast.AssignStmt:
			for i, to := range n.Lhs {
				if s, ok := to.(*ast.SelectorExpr); ok && field(s.Sel.Name) && len(n.Lhs) == len(n.Rhs) {
					take(n.Rhs[i])
				}
			}
		}
		return true
	})
	return words
}
