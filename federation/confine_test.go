package federation

import (
	"slices"
	"strings"
	"testing"
)

func TestStatusSaysHowUpstreamsAreConfined(t *testing.T) {
	var log logged
	f := New(Config{Logger: log.logger(), Version: "1", Shim: "/proc/self/exe", Confined: []string{t.TempDir()}})
	t.Cleanup(func() { f.Close(t.Context()) })
	confined, free, remote := processFor("plain"), processFor("plain"), entryFor("http://127.0.0.1:1/mcp")
	confined.Name, free.Name, remote.Name = "confined", "free", "remote"
	confined.Confine = true
	if err := f.Apply(t.Context(), catalogOf(confined, free, remote)); err != nil {
		t.Fatal(err)
	}
	f.Settle(t.Context())
	for _, s := range f.Status() {
		switch s.Name {
		case "confined":
			// Where no means can be had, it is unavailable and says so.
			refused := strings.Contains(s.Detail, "can't be confined here (")
			if refused != (s.Confinement == "") || s.Unconfined() {
				t.Errorf("%+v", s)
			}
			if !refused && !strings.Contains(log.String(), "stdio upstream is confined") {
				t.Error("the log does not say so")
			}
		case "free":
			if s.Confinement != "none (confine: false)" || !s.Unconfined() {
				t.Errorf("%+v", s)
			}
			if !strings.Contains(log.String(), "could read the data directory") {
				t.Error("nobody is told of", s.Name)
			}
		case "remote":
			if s.Confinement != "" || s.Unconfined() {
				t.Errorf("%+v", s)
			}
		}
	}
	if n := strings.Count(log.String(), "stdio upstream runs with this user's rights"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// Promise 1: a credential of one upstream does not reach another, not even by
// the file that it comes from.
func TestFilesOfOtherUpstreamsSecretsAreHidden(t *testing.T) {
	s := tools("x")
	w := newWorld(t, nil, map[string]*script{"a": s})
	defer w.stop()
	w.config.Confined, w.config.Fixed = []string{"/data"}, []string{"/catalogs"}
	a, b, c := program("a"), entry("b"), entry("c")
	a.Reads = []string{"file:/secrets/a"}
	b.Reads, b.CAFile = []string{"KEY", "file:/secrets/b", "file:/etc/ca.pem"}, "/etc/ca.pem"
	c.Reads, c.Enabled = []string{"file:/secrets/a", "file:/secrets/c"}, false
	w.apply(a, b, c)
	hidden := slices.Sorted(slices.Values(s.dials[0].Confined))
	equal(t, "hidden", hidden, []string{"/data", "/secrets/b", "/secrets/c"})
	equal(t, "fixed", s.dials[0].Fixed, []string{"/catalogs"})
}

func TestConfinementIsPartOfHowAnUpstreamIsReached(t *testing.T) {
	a, b := program("a"), program("a")
	b.Confine = true
	if sameReach(a, b) {
		t.Error("a process goes on unconfined after a reload that confines it")
	}
}
