package catalogs

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected problems anew")

// Each folder of testdata/bad is a catalog and, in problems.txt, exactly what
// its operator is told.
func TestEveryProblemIsToldWithItsPlaceAndItsRemedy(t *testing.T) {
	folders, err := filepath.Glob("testdata/bad/*")
	if err != nil || len(folders) == 0 {
		t.Fatal("no cases", err)
	}
	for _, dir := range folders {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c, err := Load(dir, Options{Getenv: none})
			if c != nil {
				t.Error("a catalog with problems was given")
			}
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got %v, want Problems", err)
			}
			for _, p := range ps {
				if p.Line == 0 || p.Text == "" || p.Fix == "" {
					t.Errorf("incomplete: %#v", p)
				}
			}
			got := strings.ReplaceAll(ps.Error(), filepath.ToSlash(dir)+"/", "") + "\n"
			golden := filepath.Join(dir, "problems.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
