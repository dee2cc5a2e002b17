package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pins are the exact versions of everything that comes from npm, the script
// that installs them, and what is preloaded into Node.
//
//go:embed package.json package-lock.json tools.sh preload.mjs
var pins embed.FS

// fixture is the upstream that the suite's scenarios are written for: it alone
// passes every required scenario of both revisions, one revision a process.
const fixture = "github.com/modelcontextprotocol/go-sdk/conformance/everything-server@v1.8.0"

// tools are the programs of others that the official run needs.
type tools struct {
	node    string // Node 22
	suite   string // the suite's main script
	preload string // adds the bearer
	fixture string // everything-server
	pinned  string // the suite's folder of required scenarios
}

// install brings the tools into the cache folder ("" = OSTIARY_TOOLS, else the
// user's cache). What is there already is used as it is. It needs npm and go
// on PATH and their ordinary registries, once.
func install(ctx context.Context, cache string) (*tools, error) {
	if cache == "" {
		cache = os.Getenv("OSTIARY_TOOLS")
	}
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no cache folder for the conformance tools: %w; set OSTIARY_TOOLS", err)
		}
		cache = filepath.Join(user, "ostiary-conformance")
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	work, err := unpack(cache)
	if err != nil {
		return nil, fmt.Errorf("conformance tools: %w", err)
	}
	npm := exec.CommandContext(ctx, "bash", filepath.Join(work, "tools.sh"), work)
	npm.Env = append(os.Environ(), "OSTIARY_TOOLS="+cache)
	out, err := output(npm)
	if err != nil {
		return nil, fmt.Errorf("install the suite from npm: %w", err)
	}
	modules := filepath.Join(strings.TrimSpace(out), "node_modules")
	t := &tools{
		node:    filepath.Join(modules, ".bin", "node"),
		suite:   filepath.Join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js"),
		pinned:  filepath.Join(modules, "@modelcontextprotocol", "conformance", "requirements"),
		preload: filepath.Join(work, "preload.mjs"),
		fixture: filepath.Join(cache, "bin", "everything-server"),
	}
	if _, err := os.Stat(t.fixture); err == nil {
		return t, nil
	}
	// GOBIN is of this process alone; the user's own module is not looked at.
	goInstall := exec.CommandContext(ctx, "go", "install", fixture)
	goInstall.Env = append(os.Environ(), "GOBIN="+filepath.Dir(t.fixture), "GOFLAGS=")
	if _, err := output(goInstall); err != nil {
		return nil, fmt.Errorf("install %s: %w", fixture, err)
	}
	return t, nil
}

// unpack writes the pins to a folder named by their contents, so that two
// versions of Ostiary beside each other don't overwrite each other's.
func unpack(cache string) (string, error) {
	names, err := fs.Glob(pins, "*")
	if err != nil {
		return "", err
	}
	files, sum := map[string][]byte{}, sha256.New()
	for _, name := range names {
		if files[name], err = pins.ReadFile(name); err != nil {
			return "", err
		}
		sum.Write(files[name])
	}
	dir := filepath.Join(cache, fmt.Sprintf("pins-%x", sum.Sum(nil)[:8]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// output runs a command and gives back its stdout; the error carries the tail
// of its stderr.
func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, tail(stderr.String(), 2000))
	}
	return string(out), nil
}

// tail is the end of a text, at most n bytes.
func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	return s[max(0, len(s)-n):]
}
