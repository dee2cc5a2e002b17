package federation

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
)

// vector is one line of testdata/digests.json, which was not made with the
// code under test.
type vector struct{ Rule, Kind, Definition, Canonical, Digest string }

func TestDigestsAreThePublishedOnes(t *testing.T) {
	content, err := os.ReadFile("testdata/digests.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(content, &file); err != nil || len(file.Vectors) < 20 {
		t.Fatalf("%d vectors, %v", len(file.Vectors), err)
	}
	for _, v := range file.Vectors {
		t.Run(v.Rule, func(t *testing.T) {
			k := Kind(slices.Index([]string{"tool", "prompt", "resource", "template"}, v.Kind))
			i := encodeOne(t, entry("up"), k, v.Definition)
			if i.Digest != v.Digest {
				object, _ := wire.Fields(i.Own)
				c := canon{}
				c.only(object, toolMembers)
				t.Errorf("%s\n got %s\nwant %s", i.Digest, c.out, v.Canonical)
			}
		})
	}
}

func TestBytesThatAgentsSeeChangeTheListThoughTheDigestDoesNot(t *testing.T) {
	for _, other := range []string{`{"inputSchema":{},"name":"x"}`, `{"name":"x","inputSchema":{},"icons":[]}`} {
		a, b := encodeOne(t, entry("up"), Tool, `{"name":"x","inputSchema":{}}`), encodeOne(t, entry("up"), Tool, other)
		if a.Digest != b.Digest {
			t.Fatalf("%s: another digest", other)
		}
		was := newSection(a.Upstream, nil, [kinds][]*Item{Tool: {a}}, [kinds][]LeftOut{})
		is := newSection(a.Upstream, nil, [kinds][]*Item{Tool: {b}}, [kinds][]LeftOut{})
		if change, _ := difference(was, is); !change.Kinds[Tool] {
			t.Errorf("%s: nobody is told", other)
		}
	}
}

// FuzzCanonical: the order of keys has no part in the canonical text, which is
// canonical itself, and it says what the value says.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"b":[1,{"d":null,"c":"\u0061\n"}],"a":-1.50e+3}`, `{}`, `[[],{},""]`, `"\ud83d\ude00"`, `{"":0,"\u0000x":1}`, `0`, `{"a":{"c":{},"b":{}},"A":1}`} {
		f.Add([]byte(seed), uint64(1))
	}
	f.Fuzz(func(t *testing.T, raw []byte, order uint64) {
		if wire.Check(raw, wire.DefaultLimits) != nil {
			return
		}
		raw = wire.Compact(nil, raw)
		text := canonical(raw)
		if err := wire.Check(text, wire.DefaultLimits); err != nil {
			t.Fatalf("%s became %s: %v", raw, text, err)
		}
		if again := canonical(text); string(again) != string(text) {
			t.Errorf("%s became %s, which became %s", raw, text, again)
		}
		if other := canonical(shuffled(raw, rand.New(rand.NewPCG(order, 0)))); string(other) != string(text) {
			t.Errorf("in another order: %s, not %s", other, text)
		}
		var was, is any
		if json.Unmarshal(raw, &was) != nil || json.Unmarshal(text, &is) != nil {
			return // a number that float64 can't hold
		}
		if fmt.Sprint(was) != fmt.Sprint(is) {
			t.Errorf("%s says something else than %s", text, raw)
		}
	})
}

// shuffled is raw with the members of every object in another order.
func shuffled(raw []byte, r *rand.Rand) []byte {
	var parts []string
	open, end := byte('['), byte(']')
	if o, err := wire.Fields(raw); err == nil {
		open, end = '{', '}'
		for _, m := range o.Members {
			quoted := raw[m.From:m.To]
			value := shuffled(raw[m.Start:m.End], r)
			parts = append(parts, string(quoted[:len(quoted)-(m.End-m.Start)])+string(value))
		}
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	} else if elements, err := wire.Elements(raw); err == nil {
		for _, e := range elements {
			parts = append(parts, string(shuffled(e, r)))
		}
	} else {
		return raw
	}
	return []byte(string(open) + strings.Join(parts, ",") + string(end))
}

// typicalTool is about 2 KB, as tools of real servers are.
func typicalTool(n int) string {
	var properties []string
	for p := range 10 {
		properties = append(properties, fmt.Sprintf(`"parameter_%d":{"type":"string","description":"What the parameter is for, in a sentence or two of \"plain\" words.","enum":["open","closed","all"]}`, 9-p))
	}
	return fmt.Sprintf(`{"name":"tool_%d","title":"A tool","description":%q,"inputSchema":{"type":"object","properties":{%s},"required":["parameter_1"],"additionalProperties":false},"annotations":{"readOnlyHint":true,"openWorldHint":false}}`,
		n, strings.Repeat("Says what the tool does and when to use it. ", 8), strings.Join(properties, ","))
}

// A typical tool costs at most 20 µs.
func BenchmarkDigest(b *testing.B) {
	own := wire.Compact(nil, []byte(typicalTool(1)))
	object, err := wire.Fields(own)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(own)))
	b.ReportAllocs()
	for b.Loop() {
		digest(Tool, object)
	}
}

func BenchmarkEncodeTenThousandTools(b *testing.B) {
	raws := make([][]byte, 10_000)
	for n := range raws {
		raws[n] = []byte(typicalTool(n))
	}
	u := entry("up")
	for b.Loop() {
		encode(u, Tool, raws, nil)
	}
}
