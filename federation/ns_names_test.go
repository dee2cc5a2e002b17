package federation

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/catalogs"
)

func TestExposeName(t *testing.T) {
	for _, c := range []struct{ rule, prefix, name, want string }{
		{"plain", "github", "create_issue", "github__create_issue"},
		{"no prefix leaves the name alone", "", "any thing.at/all", "any thing.at/all"},
		{"47 fit", "p", strings.Repeat("x", 44), "p__" + strings.Repeat("x", 44)},
		{"48 keep the tail", "p", "head" + strings.Repeat("x", 41), "p__" + strings.Repeat("x", 35) + "_"},
		{"a replaced character is hashed", "p", "a.b", "p__a_b_"},
		{"a name that looks hashed is hashed", "p", "x_0123abcd", "p__x_0123abcd_"},
		{"upper-case hex does not look hashed", "p", "x_0123ABCD", "p__x_0123ABCD"},
		{"seven digits do not look hashed", "p", "x_0123abc", "p__x_0123abc"},
		{"a prefix that splits twice is hashed", "a__b", "c", "a__b__c_"},
		{"a prefix that ends in _ is hashed", "a_", "b", "a___b_"},
		{"the longest prefix leaves room for the hash alone", strings.Repeat("p", 46), "n", strings.Repeat("p", 36) + "___"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			got := ExposeName(c.prefix, c.name)
			if strings.HasSuffix(c.want, "_") { // then the hash follows
				if len(got) != len(c.want)+nameHash || !strings.HasPrefix(got, c.want) {
					t.Fatalf("got %q, want %q and 8 hex digits", got, c.want)
				}
				return
			}
			if got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The exact values are a contract: agents' allow-lists hold them.
func TestExposeNameIsStable(t *testing.T) {
	if got, want := ExposeName("github", "issues.create"), "github__issues_create_87958dcd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExposedNamesAreInjectiveAndWellFormed(t *testing.T) {
	shape := regexp.MustCompile(`^[A-Za-z0-9_-]{1,47}$`)
	from := map[string][2]string{}
	check := func(prefix, name string) string {
		t.Helper()
		got := ExposeName(prefix, name)
		if !shape.MatchString(got) {
			t.Fatalf("%q + %q = %q: malformed", prefix, name, got)
		}
		if other, taken := from[got]; taken && other != [2]string{prefix, name} {
			t.Fatalf("%q + %q and %q + %q are both %q", prefix, name, other[0], other[1], got)
		}
		from[got] = [2]string{prefix, name}
		return got
	}

	// All short pairs over the characters that matter.
	letters := []string{"a", "_", "-", "."}
	words := letters
	for range 3 {
		for _, w := range words {
			for _, l := range letters {
				words = append(words, w+l)
			}
		}
		slices.Sort(words)
		words = slices.Compact(words)
	}
	for _, p := range words {
		for _, n := range words {
			if len(p) < 4 {
				check(p, n)
			}
		}
	}
	// Exposed names fed back as names, with every way to cut them.
	for _, name := range []string{"c", "x.y", strings.Repeat("n", 60), "x_0123abcd", "0123abcd"} {
		for range 3 {
			exposed := check("a__b", name)
			for cut := 1; cut < len(exposed); cut++ {
				check(exposed[:cut], exposed[cut:])
				check(exposed[:cut], strings.TrimLeft(exposed[cut:], "_")+"z")
			}
			name = exposed
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("ab01_-.é")
	random := func(n int) string {
		b := make([]rune, 1+r.IntN(n))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	for range 20_000 {
		check(random(40), random(80))
	}
}

func TestExposeURI(t *testing.T) {
	u := &catalogs.Upstream{Name: "docs", Prefix: "d"}
	for _, c := range []struct{ rule, own, want string }{
		{"marker appended", "file:///a", "file:///a#upstream=docs"},
		{"fragment escaped", "file:///a#b&c", "file:///a#upstream=docs&fragment=b%26c"},
		{"empty fragment kept", "file:///a#", "file:///a#upstream=docs&fragment="},
		{"own marker escaped", "x#upstream=evil", "x#upstream=docs&fragment=upstream%3Devil"},
		{"template", "t://{id}/data", "t://{id}/data#upstream=docs"},
		{"template with fragment expression", "t://x{#part}", "t://x{#part}#upstream=docs"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := ExposeURI(u, c.own); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			if upstream, own, marked := SplitURI(c.want); !marked || upstream != "docs" || own != c.own {
				t.Fatalf("split: %q %q %v", upstream, own, marked)
			}
		})
	}
	if got := ExposeURI(&catalogs.Upstream{Name: "docs"}, "x#y"); got != "x#y" {
		t.Errorf("without prefix: %q", got)
	}
}

func TestSplitURILeavesWhatHasNoWellFormedMarker(t *testing.T) {
	for _, uri := range []string{"", "x", "x#y", "x#upstream=", "x#upstream=A", "x#upstream=a b", "x#upstream=a&other=1", "x#upstream=a&fragment=%zz", "x?upstream=a"} {
		if upstream, own, marked := SplitURI(uri); marked || upstream != "" || own != uri {
			t.Errorf("%q: %q %q %v", uri, upstream, own, marked)
		}
	}
}

func FuzzURI(f *testing.F) {
	for _, s := range []string{"", "a", "a#", "a#b", "a#b#c", "{x}#y", "x#upstream=a", "x#upstream=a&fragment=b", "é%20+#&=+ %"} {
		f.Add(s, "docs")
	}
	f.Fuzz(func(t *testing.T, own, name string) {
		if !isUpstreamName(name) {
			return
		}
		exposed := ExposeURI(&catalogs.Upstream{Name: name, Prefix: name}, own)
		upstream, back, marked := SplitURI(exposed)
		if !marked || upstream != name || back != own {
			t.Fatalf("%q -> %q -> %q %q %v", own, exposed, upstream, back, marked)
		}
		SplitURI(own)
	})
}

func TestURITemplates(t *testing.T) {
	for _, c := range []struct {
		template, uri string
		want          bool
	}{
		{"test://template/{id}/data", "test://template/7/data", true},
		{"test://template/{id}/data", "test://template/7/8/data", false},
		{"test://template/{id}/data", "test://template/7/datum", false},
		{"test://template/{id}/data", "xtest://template/7/data", false},
		{"file:///{+path}", "file:///a/b?c", true},
		{"x{?q,r}", "x", true},
		{"x{?q,r}", "x?q=1&r=2", true},
		{"x{?q,r}", "y?q=1", false},
		{"x{/a,b}", "x/1/2", true},
		{"x{.a}", "x.json", true},
		{"x{;a}", "x;a=1", true},
		{"x{#a}", "x#frag", true},
		{"x{&a}", "x&a=1", true},
		{"x{a*}{b:3}", "x1,2", true},
		{"a.c", "abc", false},
		{"p/{name}", "p/naïve thing", true},
	} {
		parsed, err := parseTemplate(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
		} else if got := parsed.matches(c.uri); got != c.want {
			t.Errorf("%s matches %s: %v", c.template, c.uri, got)
		}
	}
	for _, bad := range []string{"{", "}", "x{}", "x{a", "xa}", "{{a}}", "{=a}", "{+}", strings.Repeat("{a}", maxExpressions+1)} {
		if _, err := parseTemplate(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := parseTemplate(strings.Repeat("{a}", maxExpressions)); err != nil {
		t.Errorf("%d expressions: %v", maxExpressions, err)
	}
	worst, err := parseTemplate(strings.Repeat("{+a}", maxExpressions) + "!")
	if err != nil {
		t.Fatal(err)
	}
	if worst.matches(strings.Repeat("x", maxURI)) || worst.matches(strings.Repeat("!", maxURI+1)) {
		t.Error("matched")
	}
}
