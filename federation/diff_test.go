package federation

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
)

func TestADiffSaysWhatDiffers(t *testing.T) {
	for _, c := range []struct{ rule, before, after, want string }{
		{"nothing", `{"a":1,"b":[1]}`, `{"b":[1],"a":1}`, ``},
		{"a text", `{"description":"Reads."}`, `{"description":"Writes."}`, `/description: "Reads." → "Writes."`},
		{"a number as written", `{"a":{"minimum":1}}`, `{"a":{"minimum":1.0}}`, `/a/minimum: 1 → 1.0`},
		{"what came and went, in order", `{"a":1,"c":{"x":[]}}`, `{"b":null,"c":{"x":[],"y":""}}`,
			"/a: 1 → (none)\n/b: (none) → null\n/c/y: (none) → \"\""},
		{"another type", `{"a":{"b":1}}`, `{"a":[1]}`, `/a: {"b":1} → [1]`},
		{"an element that came in the middle", `{"enum":["a","b"]}`, `{"enum":["a","x","b"]}`, `/enum/1: (none) → "x"`},
		{"an element that differs", `{"r":[{"n":1},{"n":2},3]}`, `{"r":[{"n":1},{"n":5},3]}`, `/r/1/n: 2 → 5`},
		{"elements that went", `{"r":[1,2,3]}`, `{"r":[3]}`, "/r/0: 1 → (none)\n/r/1: 2 → (none)"},
		{"keys that a pointer escapes", `{"a/b":{"~":1}}`, `{"a/b":{"~":2}}`, `/a~1b/~0: 1 → 2`},
		{"what nobody sees", `{"d":"ab"}`, `{"d":"a\u200bb"}`, `/d: "ab" → "a\u200bb"`},
		{"letters of another alphabet", `{"d":"read Отчёт"}`, `{"d":"r\u0435ad Отчёт"}`, `/d: "read Отчёт" → "r\u0435ad Отчёт"`},
		{"what turns a terminal", `{"d":1}`, `{"d":"\u202e\u001b[2J\nx"}`, `/d: 1 → "\u202e\u001b[2J\nx"`},
		{"a key that nobody sees", `{}`, `{"a\u200b":1}`, `/a\u200b: (none) → 1`},
	} {
		t.Run(c.rule, func(t *testing.T) {
			d := Drift{Before: []byte(c.before), After: []byte(c.after)}
			if got := d.Diff(4096); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestALongTextIsCutToWhatDiffers(t *testing.T) {
	long := strings.Repeat("word ", 200)
	object := func(s string) []byte { return append(append([]byte(`{"d":`), wire.AppendString(nil, s)...), '}') }
	d := Drift{Before: object(long + "read only" + long), After: object(long + "read and write" + long)}
	got := d.Diff(4096)
	if !strings.Contains(got, "read only") || !strings.Contains(got, "read and write") || len(got) > 300 || strings.Count(got, "…") != 4 {
		t.Error(got)
	}
	d = Drift{Before: object("x"), After: object("x" + strings.Repeat("é", 5000))}
	if got := d.Diff(4096); !strings.HasSuffix(got, "é\"…") || strings.Count(got, "é") != diffValue-1 {
		t.Error(got)
	}
}

func TestADiffKeepsItsLimitAndCountsTheRest(t *testing.T) {
	var before, after []string
	for n := range 500 {
		before = append(before, fmt.Sprintf(`"k%03d":%d`, n, n))
		after = append(after, fmt.Sprintf(`"k%03d":-%d`, n, n+1))
	}
	d := Drift{Before: []byte("{" + strings.Join(before, ",") + "}"), After: []byte("{" + strings.Join(after, ",") + "}")}
	for _, limit := range []int{40, 100, 4096} {
		got := d.Diff(limit)
		var rest int
		lines := strings.Split(got, "\n")
		if _, err := fmt.Sscanf(lines[len(lines)-1], "… and %d more", &rest); err != nil || len(lines)-1+rest != 500 || len(got) > limit {
			t.Errorf("limit %d: %d bytes, %d lines and %d, %v", limit, len(got), len(lines), rest, err)
		}
	}
	if got := d.Diff(1 << 20); strings.Count(got, "\n") != 499 || strings.Contains(got, "more") {
		t.Errorf("room for all: %d lines", strings.Count(got, "\n"))
	}
	key := strings.Repeat("k", 5000)
	d = Drift{Before: []byte(`{"` + key + `":1}`), After: []byte(`{"` + key + `":2}`)}
	if got := d.Diff(4096); got != "… and 1 more" {
		t.Errorf("a key over the limit: %q", shortened(got))
	}
}

// FuzzDiff: whatever two definitions hold, the diff is within its limit, says
// nothing exactly when they are the same, and shows nothing that can't be seen.
func FuzzDiff(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"x"}]}`), []byte(`{"a":[1,{"b":"\u200b"},2]}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if wire.Check(a, wire.DefaultLimits) != nil || wire.Check(b, wire.DefaultLimits) != nil {
			return
		}
		a, b = wire.Compact(nil, a), wire.Compact(nil, b)
		d := Drift{Before: a, After: b}
		got := d.Diff(4096)
		if (got == "") != (string(canonical(a)) == string(canonical(b))) {
			t.Errorf("%s, %s: %q", a, b, got)
		}
		if len(got) > 4096 || strings.ContainsFunc(strings.ReplaceAll(got, "\n", ""), invisible) {
			t.Errorf("%q", got)
		}
	})
}
