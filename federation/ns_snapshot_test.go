package federation

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/catalogs"
)

// sectionOf offers names of one kind.
func sectionOf(u *catalogs.Upstream, k Kind, names ...string) *section {
	s := script{}
	s.set(k, names...)
	var lists [kinds][]*Item
	raws := make([][]byte, len(names))
	for n, def := range s.lists[k] {
		raws[n] = []byte(def)
	}
	lists[k], _ = encode(u, k, raws, nil)
	return newSection(u, &peer{}, lists, [kinds][]LeftOut{})
}

func put(t testing.TB, n *namespace, sections ...*section) *Snapshot {
	t.Helper()
	_, after, err := n.update(nil, func(all map[string]*section) {
		for _, s := range sections {
			all[s.info.Config.Name] = s
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return after
}

func bare(name string) *catalogs.Upstream {
	u := entry(name)
	u.Prefix = ""
	return u
}

func holder(s *Snapshot, k Kind, exposed string) string {
	i, ok := s.Find(Merged, k, exposed)
	if !ok {
		return ""
	}
	return i.Upstream.Name
}

func TestListsAreSortedAndFound(t *testing.T) {
	n := newNamespace()
	s := put(t, n, sectionOf(entry("b"), Tool, "z", "a"), sectionOf(entry("a"), Tool, "m"))
	var got []string
	for _, i := range s.List(Merged, Tool) {
		got = append(got, i.Exposed)
	}
	equal(t, "merged", got, []string{"a__m", "b__a", "b__z"})
	if i, ok := s.Find("b", Tool, "z"); !ok || i.Name != "z" {
		t.Error("not found at its own endpoint")
	}
	if _, ok := s.Find("b", Tool, "b__z"); ok {
		t.Error("found by its merged name at its own endpoint")
	}
	if _, ok := s.Find("nobody", Tool, "z"); ok || s.List("nobody", Tool) != nil {
		t.Error("an unknown endpoint offers something")
	}
	if len(s.List(Merged, Prompt)) != 0 || s.List("b", kinds) != nil {
		t.Error("other kinds offer something")
	}
	if got := testing.AllocsPerRun(100, func() { s.Find(Merged, Tool, "b__z"); s.Find("b", Tool, "z") }); got > 0 {
		t.Errorf("look-ups allocate %v times", got)
	}
}

func TestCollisionIsDeterministicAndReported(t *testing.T) {
	for range 20 { // map order must not show
		s := put(t, newNamespace(), sectionOf(bare("c"), Tool, "x"), sectionOf(bare("b"), Tool, "x"), sectionOf(bare("d"), Tool, "x", "y"))
		if got := holder(s, Tool, "x"); got != "b" {
			t.Fatalf("x is held by %q", got)
		}
		if len(s.List(Merged, Tool)) != 2 || len(s.leftOut["c"]) != 1 || len(s.leftOut["d"]) != 1 || len(s.leftOut["b"]) != 0 {
			t.Fatalf("left out: %v", s.leftOut)
		}
		if !strings.Contains(s.leftOut["d"][0].Reason, "upstream b already has x") {
			t.Fatalf("reason: %v", s.leftOut["d"])
		}
		if _, ok := s.Find("d", Tool, "x"); !ok {
			t.Fatal("left out at its own endpoint too")
		}
	}
}

func TestHeldNameStaysWithItsHolder(t *testing.T) {
	n := newNamespace()
	put(t, n, sectionOf(bare("c"), Tool, "x"))
	s := put(t, n, sectionOf(bare("a"), Tool, "x"))
	if got := holder(s, Tool, "x"); got != "c" {
		t.Fatalf("the newcomer took x: %q", got)
	}
	s = put(t, n, sectionOf(bare("b"), Tool, "x"))
	if got := holder(s, Tool, "x"); got != "c" {
		t.Fatalf("a second newcomer took x: %q", got)
	}
	s = put(t, n, sectionOf(bare("c"), Tool, "y"))
	if got := holder(s, Tool, "x"); got != "a" {
		t.Fatalf("x went to %q after its holder gave it up", got)
	}
	s = put(t, n, sectionOf(bare("c"), Tool, "x", "y"))
	if got := holder(s, Tool, "x"); got != "a" {
		t.Fatalf("the former holder took x back: %q", got)
	}
}

func TestURIThatNamesAnotherUpstreamIsLeftOut(t *testing.T) {
	s := put(t, newNamespace(), sectionOf(bare("a-liar"), Resource, "file:///a#upstream=bank", "file:///new#upstream=bank"), sectionOf(entry("bank"), Resource, "file:///a"))
	if got := holder(s, Resource, "file:///a#upstream=bank"); got != "bank" {
		t.Fatalf("bank's URI is held by %q", got)
	}
	if refs := s.Resolve(Merged, "file:///new#upstream=bank"); len(refs) != 1 || refs[0].Upstream.Name != "bank" {
		t.Fatalf("bank's URI means %v", refs)
	}
	if len(s.leftOut["a-liar"]) != 2 || !strings.Contains(s.leftOut["a-liar"][0].Reason, "another upstream") {
		t.Fatalf("left out: %v", s.leftOut)
	}
}

func TestResolve(t *testing.T) {
	n := newNamespace()
	put(t, n, sectionOf(entry("a"), Resource, "file:///x", "file:///same"), sectionOf(entry("b"), Resource, "file:///same"), sectionOf(bare("plain"), Resource, "file:///y", "file:///z"))
	s := put(t, n, sectionOf(entry("tpl"), Template, "file:///t/{id}"), sectionOf(entry("z"), Resource, "file:///z"))
	for _, c := range []struct {
		rule, endpoint, uri string
		want                []string // upstream, own URI, name of the item
	}{
		{"marked means one", Merged, "file:///x#upstream=a", []string{"a file:///x file:///x"}},
		{"marked, though unlisted", Merged, "file:///new#upstream=b", []string{"b file:///new -"}},
		{"marked with an unknown upstream", Merged, "file:///x#upstream=nobody", nil},
		{"bare, one lists it", Merged, "file:///x", []string{"a file:///x file:///x"}},
		{"bare, two list it", Merged, "file:///same", []string{"a file:///same file:///same", "b file:///same file:///same"}},
		{"bare, listed so by its holder", Merged, "file:///z", []string{"plain file:///z file:///z"}},
		{"bare, a template matches", Merged, "file:///t/1", []string{"tpl file:///t/1 file:///t/{id}"}},
		{"marked, a template matches", Merged, "file:///t/1#upstream=tpl", []string{"tpl file:///t/1 file:///t/{id}"}},
		{"bare, nobody", Merged, "file:///none", nil},
		{"own endpoint", "a", "file:///x", []string{"a file:///x file:///x"}},
		{"own endpoint takes a marker as it stands", "a", "file:///x#upstream=b", []string{"a file:///x#upstream=b -"}},
		{"own endpoint, unlisted", "a", "file:///new", []string{"a file:///new -"}},
		{"unknown endpoint", "nobody", "file:///x", nil},
	} {
		t.Run(c.rule, func(t *testing.T) {
			var got []string
			for _, r := range s.Resolve(c.endpoint, c.uri) {
				name := "-"
				if r.Item != nil {
					name = r.Item.Name
				}
				got = append(got, r.Upstream.Name+" "+r.URI+" "+name)
			}
			equal(t, c.uri, got, c.want)
		})
	}
}

func TestRevisionFollowsContentAlone(t *testing.T) {
	one := put(t, newNamespace(), sectionOf(entry("a"), Tool, "x"), sectionOf(entry("b"), Tool, "y"))
	n := newNamespace()
	put(t, n, sectionOf(entry("b"), Tool, "other"))
	two := put(t, n, sectionOf(entry("b"), Tool, "y"), sectionOf(entry("a"), Tool, "x"))
	if one.Revision() != two.Revision() {
		t.Error("equal content, other revision")
	}
	seen := map[string]string{one.Revision(): "base"}
	labelled, trusted, known := entry("a"), entry("a"), sectionOf(entry("a"), Tool, "x")
	labelled.Labels = []string{"write"}
	trusted.TrustAnnotations = true
	known = newSection(entry("a"), &peer{Instructions: "hi"}, known.lists, known.reports)
	for what, s := range map[string]*section{
		"tool":         sectionOf(entry("a"), Tool, "x2"),
		"kind":         sectionOf(entry("a"), Prompt, "x"),
		"labels":       sectionOf(labelled, Tool, "x"),
		"trust":        sectionOf(trusted, Tool, "x"),
		"prefix":       sectionOf(bare("a"), Tool, "x"),
		"instructions": known,
	} {
		got := put(t, newNamespace(), s, sectionOf(entry("b"), Tool, "y")).Revision()
		if other, dup := seen[got]; dup {
			t.Errorf("%s and %s have one revision", what, other)
		}
		seen[got] = what
	}
	moved := *entry("a")
	moved.Source.Line = 99
	if got := put(t, newNamespace(), sectionOf(&moved, Tool, "x"), sectionOf(entry("b"), Tool, "y")).Revision(); got != one.Revision() {
		t.Error("a line number changed the revision")
	}
}

// 100 upstreams with 100 tools each: one that changes costs its own items and
// one walk; BenchmarkRebuild10kTools says how much time that is.
func TestRebuildIsIncremental(t *testing.T) {
	n, change := bigNamespace(t)
	first := n.current.Load()
	after := put(t, n, change(1))
	if len(after.List(Merged, Tool)) != 10_000 {
		t.Fatalf("%d tools", len(after.List(Merged, Tool)))
	}
	kept := 0
	for _, i := range after.List(Merged, Tool) {
		if was, ok := first.Find(Merged, Tool, i.Exposed); ok && was == i {
			kept++
		}
	}
	if kept != 9_900 {
		t.Errorf("%d items of unchanged upstreams were kept", kept)
	}
	if !slices.IsSortedFunc(after.List(Merged, Tool), func(a, b *Item) int { return strings.Compare(a.Exposed, b.Exposed) }) {
		t.Error("not sorted")
	}
}

func bigNamespace(t testing.TB) (*namespace, func(version int) *section) {
	n := newNamespace()
	make1 := func(u, version int) *section {
		names := make([]string, 100)
		for i := range names {
			names[i] = fmt.Sprintf(`{"name":"tool%03d","description":"version %d","inputSchema":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}}}}`, i, version)
		}
		return sectionOf(entry(fmt.Sprintf("up%02d", u)), Tool, names...)
	}
	all := make([]*section, 100)
	for u := range all {
		all[u] = make1(u, 0)
	}
	put(t, n, all...)
	return n, func(version int) *section { return make1(50, version) }
}

func BenchmarkRebuild10kTools(b *testing.B) {
	n, change := bigNamespace(b)
	version := 0
	for b.Loop() {
		version++
		put(b, n, change(version))
	}
}

func BenchmarkFind(b *testing.B) {
	n, _ := bigNamespace(b)
	s := n.current.Load()
	for b.Loop() {
		s.Find(Merged, Tool, "up50__tool050")
	}
}
