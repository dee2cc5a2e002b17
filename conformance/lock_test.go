package conformance

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The lock names versions and digests, and no host: npm asks the registry that
// the machine is set up with, and no mirror of ours is asked for by others.
// `npm config set omit-lockfile-registry-resolved true` keeps it so.
func TestPinnedPackagesAreExactAndNameNoHost(t *testing.T) {
	var manifest struct{ Dependencies, OptionalDependencies map[string]string }
	var lock struct {
		Packages map[string]struct{ Version, Resolved, Integrity string }
	}
	for name, into := range map[string]any{"package.json": &manifest, "package-lock.json": &lock} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	exact := regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	for _, named := range []map[string]string{manifest.Dependencies, manifest.OptionalDependencies} {
		for name, version := range named {
			if !exact.MatchString(version) || lock.Packages["node_modules/"+name].Version != version {
				t.Errorf("package.json: %s at %q: want an exact version, the one in the lock (%q)", name, version, lock.Packages["node_modules/"+name].Version)
			}
		}
	}
	if len(lock.Packages) < len(manifest.Dependencies) {
		t.Errorf("package-lock.json: %d packages", len(lock.Packages))
	}
	for path, p := range lock.Packages {
		if p.Resolved != "" {
			t.Errorf("package-lock.json: %s is resolved to %s; want no address", path, p.Resolved)
		}
		if path != "" && !strings.HasPrefix(p.Integrity, "sha512-") {
			t.Errorf("package-lock.json: %s has the digest %q, want one of SHA-512", path, p.Integrity)
		}
	}
	for _, arch := range []string{"x64", "arm64"} {
		for _, name := range []string{"node-linux-" + arch, "@openai/codex-linux-" + arch, "@anthropic-ai/claude-code-linux-" + arch} {
			if lock.Packages["node_modules/"+name].Version == "" {
				t.Errorf("package-lock.json: no %s: the tools would not run there", name)
			}
		}
	}
}
