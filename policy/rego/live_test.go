package rego

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
)

// change is what a watcher reported.
type change struct {
	e  *Engine
	ps Problems
}

// watched opens dir and watches it until the test ends.
func watched(t *testing.T, dir string) (*Live, <-chan change) {
	t.Helper()
	l, err := Open(dir, patient())
	if err != nil {
		t.Fatal(err)
	}
	changes := make(chan change, 16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Watch(t.Context(), 5*time.Millisecond, func(e *Engine, ps Problems) { changes <- change{e, ps} })
	}()
	t.Cleanup(func() { <-done })
	return l, changes
}

func next(t *testing.T, changes <-chan change) change {
	t.Helper()
	select {
	case c := <-changes:
		return c
	case <-time.After(30 * time.Second):
		t.Fatal("no change was noticed")
		return change{}
	}
}

func allows(t *testing.T, l *Live) bool {
	t.Helper()
	d, err := l.Decide(t.Context(), request())
	if err != nil {
		t.Fatal(err)
	}
	shown, err := l.Visible(t.Context(), request(), []string{"github"}, []policy.Target{request().Target})
	if err != nil || shown[0] != d.Allow {
		t.Fatalf("listed %v, allowed %v, %v", shown, d.Allow, err)
	}
	return d.Allow
}

func TestBrokenAtTheStartIsRefused(t *testing.T) {
	if _, err := Open(directory(t, "a.rego", "package ostiary\nallow if {"), Options{}); err == nil {
		t.Error("no error")
	}
}

func TestAReloadSwapsOrKeepsTheLastGood(t *testing.T) {
	yes, no := sound+"allow if input.user.name == \"alice\"\n", sound
	dir := directory(t, "policy.rego", no)
	file := filepath.Join(dir, "policy.rego")
	l, changes := watched(t, dir)
	first := l.Revision()
	if allows(t, l) || len(l.Status()) > 0 {
		t.Fatal("at the start")
	}

	write(t, file, yes)
	if c := next(t, changes); c.e == nil || c.e.Revision() != l.Revision() || l.Revision() == first || !allows(t, l) {
		t.Fatalf("a good change: %+v", c)
	}
	good, before := l.Revision(), l.Engine()

	write(t, file, yes+"deny if true\n")
	c := next(t, changes)
	if c.e != nil || len(c.ps) != 1 || !strings.Contains(c.ps.Error(), "deny must be a set") {
		t.Fatalf("a bad change: %+v", c)
	}
	if len(l.Status()) != 1 || l.Revision() != good || !allows(t, l) {
		t.Errorf("after a bad change: %v, revision %s", l.Status(), l.Revision())
	}

	write(t, file, yes)
	if c := next(t, changes); c.e != before || len(l.Status()) > 0 || l.Revision() != good {
		t.Fatalf("back to the last good: %+v, %v", c, l.Status())
	}

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if c := next(t, changes); len(c.ps) != 1 || len(l.Status()) != 1 || !allows(t, l) {
		t.Fatalf("the directory is gone: %+v", c)
	}
	write(t, file, no)
	if c := next(t, changes); c.e == nil || len(l.Status()) > 0 || allows(t, l) {
		t.Fatalf("the directory is back: %+v", c)
	}
}

// TestNothingIsLostDuringReloads: each decision is wholly of one engine.
func TestNothingIsLostDuringReloads(t *testing.T) {
	dir := directory(t, "policy.rego", sound+"allow if input.user.name == \"alice\"\n")
	l, changes := watched(t, dir)
	stop, done := make(chan struct{}), make(chan error, 2)
	for range 2 {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				if d, err := l.Decide(t.Context(), request()); err != nil || !d.Allow {
					done <- err
					return
				}
			}
		}()
	}
	for i := range 5 {
		write(t, filepath.Join(dir, "data.json"), strings.Repeat(" ", i)+"{}")
		next(t, changes)
	}
	close(stop)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
