package catalogs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// told is what a watcher was told: revisions, or errors after "!".
type told struct {
	mu   sync.Mutex
	said []string
}

func (l *told) fn(c *Catalog, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.said = append(l.said, "! "+err.Error())
		return
	}
	names := ""
	for _, u := range c.Upstreams {
		names += " " + u.Name
	}
	l.said = append(l.said, strings.TrimSpace(names))
}

func (l *told) take() (said []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	said, l.said = l.said, nil
	return said
}

// watch runs steps beside a watcher; look waits two rounds and gives what was
// said.
func watch(t *testing.T, dir string, o Options, steps func(look func() []string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var l told
		var wg sync.WaitGroup
		wg.Go(func() { Watch(ctx, dir, o, 0, l.fn) })
		look := func() []string {
			time.Sleep(2*DefaultEvery + settle*(maxSettles+1))
			synctest.Wait()
			return l.take()
		}
		steps(look)
		cancel()
		wg.Wait()
	})
}

func expect(t *testing.T, when string, said []string, want ...string) {
	t.Helper()
	if len(said) != len(want) {
		t.Errorf("%s: told %q, want %q", when, said, want)
		return
	}
	for i := range want {
		if said[i] != want[i] && !(strings.HasPrefix(want[i], "!") && strings.HasPrefix(said[i], "!") && strings.Contains(said[i], want[i][1:])) {
			t.Errorf("%s: told %q, want %q", when, said, want)
		}
	}
}

func TestWatchTellsOfEachChangeOnceAndKeepsThroughErrors(t *testing.T) {
	one, two := "upstreams: {one: {command: [x, 'file:s']}}", "upstreams: {two: {command: [x]}}"
	dir := folder(t, "a.yaml", one, "s", "1")
	a := filepath.Join(dir, "a.yaml")
	watch(t, dir, Options{Getenv: none}, func(look func() []string) {
		expect(t, "start", look())
		put(t, a, one+"\n")
		expect(t, "content", look(), "one")
		put(t, filepath.Join(dir, "b.yaml"), two)
		expect(t, "new file", look(), "one two")
		put(t, filepath.Join(dir, "b.yaml"), "upstreams: {two: {comand: [x]}}")
		expect(t, "broken", look(), "!did you mean command")
		put(t, filepath.Join(dir, "b.yaml"), "upstreams: {two: {comand: [x]}} # and a comment")
		expect(t, "still broken in the same way", look())
		put(t, filepath.Join(dir, "b.yaml"), "upstreams: {two: {commandd: [x]}}")
		expect(t, "broken otherwise", look(), "!commandd")
		put(t, filepath.Join(dir, "b.yaml"), two)
		expect(t, "mended to what it was", look(), "one two")
		if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
			t.Fatal(err)
		}
		expect(t, "file removed", look(), "one")
		put(t, filepath.Join(dir, "s"), "2")
		expect(t, "secret file", look(), "one")
		put(t, filepath.Join(dir, "README"), "x")
		put(t, a, one+"\n")
		expect(t, "nothing of meaning", look())
		if err := os.Rename(dir, dir+"-away"); err != nil {
			t.Fatal(err)
		}
		expect(t, "directory gone", look(), "!does not exist")
		if err := os.Rename(dir+"-away", dir); err != nil {
			t.Fatal(err)
		}
		expect(t, "directory back", look(), "one")
	})
}

func TestWatchSeesARewriteThatKeepsTimeAndSize(t *testing.T) {
	dir := folder(t, "a.yaml", "upstreams: {one: {command: [x]}}")
	a := filepath.Join(dir, "a.yaml")
	info, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	watch(t, dir, Options{Getenv: none}, func(look func() []string) {
		expect(t, "start", look())
		put(t, a, "upstreams: {two: {command: [x]}}")
		if err := os.Chtimes(a, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		expect(t, "rewritten", look(), "two")
	})
}

func TestWatchSeesWhatCameBetweenTheFirstLoadAndItsStart(t *testing.T) {
	dir := folder(t, "a.yaml", "upstreams: {one: {command: [x]}}")
	c, err := Load(dir, Options{Getenv: none})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "a.yaml"), "upstreams: {two: {command: [x]}}")
	watch(t, dir, Options{Getenv: none, Revision: c.Revision}, func(look func() []string) {
		expect(t, "start", look(), "two")
	})
}

func TestWatchSeesACertificateAndALinkThatMove(t *testing.T) {
	dir := folder(t, "v1/a.yaml", "upstreams: {x: {url: 'https://a.example', caFile: ca.pem}}", "v2/a.yaml", "upstreams: {y: {command: [y]}}", "ca.pem", certificate(t))
	if err := os.Symlink("v1/a.yaml", filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	other := certificate(t)
	watch(t, dir, Options{Getenv: none}, func(look func() []string) {
		expect(t, "start", look())
		put(t, filepath.Join(dir, "ca.pem"), other)
		expect(t, "certificate", look(), "x")
		if err := os.Symlink("v2/a.yaml", filepath.Join(dir, "new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "a.yaml")); err != nil {
			t.Fatal(err)
		}
		expect(t, "link", look(), "y")
	})
}

func TestWatchStartsWithABrokenCatalog(t *testing.T) {
	dir := folder(t, "a.yaml", "upstreams: [")
	watch(t, dir, Options{Getenv: none}, func(look func() []string) {
		expect(t, "start", look(), "!not YAML")
		put(t, filepath.Join(dir, "a.yaml"), "upstreams: {one: {command: [x]}}")
		expect(t, "mended", look(), "one")
	})
}

func TestWatchSeesAVariableThatChanges(t *testing.T) {
	dir := folder(t, "a.yaml", "upstreams: {one: {command: [x, '${A:-d}']}}")
	var value atomic.Pointer[string]
	getenv := func(string) (string, bool) {
		if v := value.Load(); v != nil {
			return *v, true
		}
		return "", false
	}
	watch(t, dir, Options{Getenv: getenv}, func(look func() []string) {
		expect(t, "start", look())
		v := "v"
		value.Store(&v)
		expect(t, "set", look(), "one")
	})
}

func TestWatchWaitsForAFileThatIsBeingWritten(t *testing.T) {
	dir := folder(t, "a.yaml", "upstreams: {one: {command: [x, '${A:-d}']}}")
	b := filepath.Join(dir, "b.yaml")
	var half atomic.Bool
	// The variable is read after the files: the writer finishes just then.
	getenv := func(string) (string, bool) {
		if half.CompareAndSwap(true, false) {
			put(t, b, "upstreams: {two: {command: [x]}}")
		}
		return "", false
	}
	watch(t, dir, Options{Getenv: getenv}, func(look func() []string) {
		expect(t, "start", look())
		put(t, b, "upstreams: {two: {com")
		half.Store(true)
		expect(t, "written in two steps", look(), "one two")
	})
}
