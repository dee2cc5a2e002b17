package catalogs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzLoad(f *testing.F) {
	shipped, _ := filepath.Glob("*.yaml")
	bad, _ := filepath.Glob("testdata/bad/*/*.yaml")
	fuzz(f, "a.yaml", append(shipped, bad...))
}

func FuzzLoadJSON(f *testing.F) {
	seeds, _ := filepath.Glob("testdata/json/*.json")
	fuzz(f, "a.json", seeds)
}

// fuzz: whatever a file holds, Load gives a catalog or problems with a line.
func fuzz(f *testing.F, name string, seeds []string) {
	for _, seed := range seeds {
		content, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(dir, Options{Getenv: vars("KEY", "value"), DataDir: filepath.Join(dir, "data")})
		if err == nil {
			for _, u := range c.Upstreams {
				if !nameForm.MatchString(u.Name) || (u.URL == "") == (u.Command == nil) || u.Source.Line < 1 {
					t.Errorf("%+v", u)
				}
			}
			return
		}
		var ps Problems
		if !errors.As(err, &ps) || len(ps) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		lines := 1 + strings.Count(string(content), "\n") + strings.Count(string(content), "\r") +
			strings.Count(string(content), "\u0085") + strings.Count(string(content), "\u2028") + strings.Count(string(content), "\u2029")
		for _, p := range ps {
			if p.Line < 1 || p.Line > lines+1 && len(content) <= MaxFile || p.Text == "" || p.Fix == "" {
				t.Errorf("%#v", p)
			}
		}
	})
}
