package rego

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// grounds are the library's policies that allow something; the others only
// take away, and stand beside one of these.
var grounds = []string{"everyone", "by_group"}

func library(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("library")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) < 11 {
		t.Fatalf("only %v", names)
	}
	return names
}

// copied is a policy directory with these folders of the library.
func copied(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join("library", name))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Security catalogue A-102.
func TestEachPolicyOfTheLibraryStandsAlone(t *testing.T) {
	for _, name := range library(t) {
		t.Run(name, func(t *testing.T) {
			names := []string{name}
			if !slices.Contains(grounds, name) {
				names = append(names, "everyone")
			}
			dir := copied(t, names...)
			e, err := Load(dir, patient())
			if err != nil {
				t.Fatal(err)
			}
			if ps := e.Warnings(); len(ps) > 0 {
				t.Errorf("warnings: %v", ps)
			}
			report, err := Test(t.Context(), dir, true)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range report.Coverage {
				if c.Percent < 100 {
					t.Errorf("the tests leave lines %v of %s out", c.Missed, c.File)
				}
			}
			text, err := os.ReadFile(filepath.Join("library", name, "policy.rego"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(text), "# ") || strings.Index(string(text), "package ostiary\n") < 150 {
				t.Error("it does not begin with a paragraph that explains it")
			}
		})
	}
}

func TestTheLibraryStandsTogether(t *testing.T) {
	names := slices.DeleteFunc(library(t), func(name string) bool { return name == "everyone" })
	e, err := Load(copied(t, names...), patient())
	if err != nil {
		t.Fatal(err)
	}
	if e.Tested() < 50 {
		t.Errorf("only %d tests ran", e.Tested())
	}
}
