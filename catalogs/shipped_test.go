package catalogs

import (
	"strings"
	"testing"
)

func none(string) (string, bool) { return "", false }

func TestShippedFilesLoadOnACleanMachineAndExactlyOneIsEnabled(t *testing.T) {
	c, err := Load(".", Options{Getenv: none, DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	var enabled []string
	for _, u := range c.Upstreams {
		if u.Enabled {
			enabled = append(enabled, u.Name)
		}
		if u.Title == "" || len(u.Labels) == 0 {
			t.Errorf("%s: a ready-made entry has a title and labels", u.Name)
		}
	}
	if strings.Join(enabled, " ") != "hello" {
		t.Errorf("enabled: %v, want hello alone", enabled)
	}
	if len(c.Upstreams) < 15 {
		t.Errorf("%d upstreams, want 15 or more", len(c.Upstreams))
	}
}

func TestShippedRunnersNameAVersion(t *testing.T) {
	c, err := Load(".", Options{Getenv: none})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range c.Upstreams {
		if len(u.Command) > 2 && u.Command[0] == "npx" {
			if _, version, ok := strings.Cut(u.Command[2][1:], "@"); !ok || version == "" || version == "latest" {
				t.Errorf("%s: %s is not pinned", u.Name, u.Command[2])
			}
		}
	}
}
