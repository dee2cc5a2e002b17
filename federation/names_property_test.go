package federation

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fits are the names that model providers and clients accept for a function:
// the merged namespace stays within all of them.
var fits = map[string]*regexp.Regexp{
	"merged namespace":          regexp.MustCompile(`^[A-Za-z0-9_-]{1,47}$`),
	"OpenAI, Anthropic":         regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`),
	"MCP 2025-11-25, SEP-986":   regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`),
	"Claude Code, server alias": regexp.MustCompile(`^.{1,47}$`), // mcp__, ten characters, __ stand before it
}

// originals are random names as upstreams have them: short, dotted, slashed,
// not ASCII, of 60 to 128 characters that differ at one end alone.
func originals(r *rand.Rand, n int) []string {
	kinds := [][]rune{
		[]rune("abcxyzABC0189_-"), []rune("ab.c_"), []rune("ab/c-"), []rune("añ日本語éß_"), []rune("0123456789abcdef_"),
	}
	long := strings.Repeat("long_name_of_a_tool_", 8)
	names := map[string]bool{}
	for len(names) < n {
		alphabet := kinds[r.IntN(len(kinds))]
		word := make([]rune, 1+r.IntN(12))
		for i := range word {
			word[i] = alphabet[r.IntN(len(alphabet))]
		}
		size := 60 + r.IntN(60)
		name := []string{string(word), string(word) + long[:size], long[:size] + string(word)}[r.IntN(3)]
		if len(name) <= maxName {
			names[name] = true
		}
	}
	all := make([]string, 0, n)
	for name := range names {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Whatever two upstreams call their tools and prompts, also when both call them
// the same, the merged namespace has every one, under a name of its own that
// every provider accepts, that leads back to it, and that depends on nothing
// but the upstream's prefix and the original.
// Security catalogue A-090.
func TestEveryToolAndPromptHasOneAcceptableName(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 47))
	for _, k := range []Kind{Tool, Prompt} {
		t.Run(k.String(), func(t *testing.T) {
			names := originals(r, 2000)
			prefixes := []string{"a", "a-b", strings.Repeat("p", 46)}
			n, backwards := newNamespace(), newNamespace()
			var s, other *Snapshot
			for _, prefix := range prefixes {
				s = put(t, n, sectionOf(entry(prefix), k, names...))
			}
			reversed := slices.Clone(names)
			slices.Reverse(reversed)
			for _, prefix := range slices.Backward(prefixes) {
				other = put(t, backwards, sectionOf(entry(prefix), k, reversed[:len(reversed)/2]...))
			}

			list := s.List(Merged, k)
			if len(list) != len(prefixes)*len(names) {
				t.Fatalf("%d items of %d", len(list), len(prefixes)*len(names))
			}
			for _, prefix := range prefixes {
				for i, name := range names {
					exposed := ExposeName(prefix, name)
					for whose, shape := range fits {
						if !shape.MatchString(exposed) {
							t.Fatalf("%s + %q = %q: not for %s", prefix, name, exposed, whose)
						}
					}
					item, ok := s.Find(Merged, k, exposed)
					if !ok || item.Upstream.Name != prefix || item.Name != name {
						t.Fatalf("%q leads to %+v, not to %s + %q", exposed, item, prefix, name)
					}
					if i < len(names)/2 {
						continue // only the second half stands there
					}
					if item, ok := other.Find(Merged, k, exposed); !ok || item.Upstream.Name != prefix || item.Name != name {
						t.Fatalf("%q means another %s among fewer, in another order", exposed, k)
					}
				}
			}
		})
	}
}
