package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestFieldsIndexesOneLevel(t *testing.T) {
	raw := ` { "a" : [1,{"b":2}] ,"c\u0064":"x\"}","e":{},"f":-1.5e3 } `
	o, err := Fields([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": `[1,{"b":2}]`, "cd": `"x\"}"`, "e": "{}", "f": "-1.5e3"}
	got := map[string]string{}
	for _, m := range o.Members {
		got[m.Key] = raw[m.Start:m.End]
		if !strings.HasPrefix(raw[m.From:m.To], `"`) || !strings.HasSuffix(raw[m.From:m.To], raw[m.Start:m.End]) {
			t.Errorf("member %q spans %q", m.Key, raw[m.From:m.To])
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if s, ok := o.String("cd"); !ok || s != `x"}` {
		t.Errorf("%q", s)
	}
	if _, ok := o.String("a"); ok {
		t.Error("an array is not a string")
	}
	if _, ok := o.Get("b"); ok {
		t.Error("found what lies deeper")
	}
}

func TestFieldsAndElementsRefuseOtherThings(t *testing.T) {
	for _, raw := range []string{``, ` `, `[]`, `"{}"`, `null`, `1`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{} x`, `{"a" 1}`, `{"a":1 "b":2}`} {
		if _, err := Fields([]byte(raw)); !errors.Is(err, ErrNotObject) {
			t.Errorf("Fields %q: %v", raw, err)
		}
	}
	for _, raw := range []string{``, `{}`, `"[]"`, `[`, `[1`, `[1,`, `[1,]`, `[] x`, `[1 2]`} {
		if _, err := Elements([]byte(raw)); !errors.Is(err, ErrNotArray) {
			t.Errorf("Elements %q: %v", raw, err)
		}
	}
	if all, err := Elements([]byte(` [ ] `)); err != nil || len(all) != 0 {
		t.Errorf("%q, %v", all, err)
	}
	if all, err := Elements([]byte(` [ 1 , [2,3],"]" ] `)); err != nil || fmt.Sprintf("%q", all) != `["1" "[2,3]" "\"]\""]` {
		t.Errorf("%q, %v", all, err)
	}
}

func TestStringsOfAnyLengthEndAtTheirOwnQuote(t *testing.T) {
	for prefix := range 3 * shortString {
		for _, tail := range []string{`\"`, `\\`, `\\\"`, `\\\\`, `\"]},{[\"`, `\u005c`} {
			text := `"` + strings.Repeat("x", prefix) + tail + strings.Repeat("y", prefix) + `"`
			if all, err := Elements([]byte(`[` + text + `,` + text + `]`)); err != nil || len(all) != 2 || string(all[1]) != text {
				t.Errorf("%s: %q, %v", text, all, err)
			}
		}
	}
}

func TestMembersCannotBeAppendedOverTheirNeighbours(t *testing.T) {
	raw := []byte(`{"a":1,"b":2}`)
	o, _ := Fields(raw)
	value, _ := o.Get("a")
	_ = append(value, "XXX"...)
	if string(raw) != `{"a":1,"b":2}` {
		t.Errorf("%s", raw)
	}
}

func TestTextIsQuotedAndUnquoted(t *testing.T) {
	for text, want := range map[string]string{
		"":                 `""`,
		`a"\b`:             `"a\"\\b"`,
		"<&>é\u2028":       "\"<&>é\u2028\"",
		"\x00\n\x1f":       `"\u0000\n\u001f"`,
		"a\xffb":           `"a` + "\ufffd" + `b"`,
		"\u007f\U0001f600": "\"\u007f\U0001f600\"",
	} {
		got := AppendString([]byte("x"), text)
		if string(got) != "x"+want {
			t.Errorf("%q gives %s, want x%s", text, got, want)
		}
		back, ok := Unquote(got[1:])
		if !ok || back != strings.ToValidUTF8(text, "\ufffd") {
			t.Errorf("%q comes back as %q", text, back)
		}
	}
	for _, bad := range []string{``, `"`, `a`, `"a`, `1`, `"\ud800"`, "\"\xff\"", `"a"b"`, `"name`, `"name1`} {
		if text, ok := Unquote([]byte(bad)); ok {
			t.Errorf("%q is unquoted to %q", bad, text)
		}
	}
}

func TestCompactDropsWhitespaceAlone(t *testing.T) {
	got := Compact([]byte("x"), []byte(" {\n \"a b\" : [ 1.0 ,\t\"\\u0041 \\\" \" , 1e+05 ] }\r\n"))
	if string(got) != `x{"a b":[1.0,"\u0041 \" ",1e+05]}` {
		t.Errorf("%s", got)
	}
}

func TestPatchKeepsTheRestByteForByte(t *testing.T) {
	const raw = ` { "a" : 1.0,  "b":"\u0041" ,"c":[ ] } `
	tests := []struct {
		rule, raw string
		edit      func(*Patch)
		want      string
	}{
		{"nothing", raw, func(p *Patch) {}, raw},
		{"remove what is not there", raw, func(p *Patch) { p.Remove("z") }, raw},
		{"set in place", raw, func(p *Patch) { p.Set("b", []byte("2")) }, ` { "a" : 1.0,  "b":2 ,"c":[ ] } `},
		{"append", raw, func(p *Patch) { p.Set("d\"", []byte("2")).Set("e", []byte("{}")) }, ` { "a" : 1.0,  "b":"\u0041" ,"c":[ ],"d\"":2,"e":{} } `},
		{"remove the first", raw, func(p *Patch) { p.Remove("a") }, ` { "b":"\u0041" ,"c":[ ] } `},
		{"remove in the middle", raw, func(p *Patch) { p.Remove("b") }, ` { "a" : 1.0,  "c":[ ] } `},
		{"remove the last", raw, func(p *Patch) { p.Remove("c") }, ` { "a" : 1.0,  "b":"\u0041" } `},
		{"remove the last two", raw, func(p *Patch) { p.Remove("c").Remove("b") }, ` { "a" : 1.0 } `},
		{"remove all", raw, func(p *Patch) { p.Remove("c").Remove("b").Remove("a") }, ` {  } `},
		{"remove all, append", raw, func(p *Patch) { p.Remove("c").Remove("b").Remove("a").Set("z", []byte("0")) }, ` { "z":0 } `},
		{"remove first and last, append", raw, func(p *Patch) { p.Remove("a").Remove("c").Set("z", []byte("0")) }, ` { "b":"\u0041","z":0 } `},
		{"the last word wins", raw, func(p *Patch) { p.Set("a", []byte("2")).Remove("a").Set("a", []byte("3")).Set("z", nil).Remove("z") }, ` { "a" : 3,  "b":"\u0041" ,"c":[ ] } `},
		{"an empty value is null", `{}`, func(p *Patch) { p.Set("a", []byte{}) }, `{"a":null}`},
		{"an empty object", ` { } `, func(p *Patch) { p.Set("a", []byte("1")).Set("b", []byte("2")) }, ` {"a":1,"b":2 } `},
		{"an absent object", ``, func(p *Patch) { p.Set("a", []byte("1")) }, `{"a":1}`},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			var o Object
			if test.raw != "" {
				var err error
				if o, err = Fields([]byte(test.raw)); err != nil {
					t.Fatal(err)
				}
			}
			p := NewPatch(o)
			test.edit(p)
			if got := string(p.Bytes()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if string(o.Raw) != test.raw {
				t.Errorf("the object changed to %s", o.Raw)
			}
		})
	}
}

func TestSpliceTakesEditsInAnyOrderAndIgnoresImpossibleOnes(t *testing.T) {
	edits := []Edit{{8, 9, []byte("Z")}, {0, 2, []byte("AB")}, {1, 3, []byte("no")}, {4, 4, []byte("+")}, {9, 99, nil}, {5, 4, nil}, {-1, 0, nil}}
	before := slices.Clone(edits)
	if got := string(Splice([]byte("<"), []byte("0123456789"), edits)); got != "<AB23+4567Z9" {
		t.Error(got)
	}
	if !reflect.DeepEqual(edits, before) {
		t.Error("the caller's edits were sorted")
	}
}

// document makes a random object with what re-encoding would spoil: long
// numbers, escapes, whitespace, unknown names.
func document(r *rand.Rand, depth int) string {
	space := func() string { return []string{"", "", " ", "\n\t"}[r.IntN(4)] }
	var value func(depth int) string
	value = func(depth int) string {
		n := 7
		if depth == 0 {
			n = 5
		}
		switch r.IntN(n) {
		case 0:
			return fmt.Sprintf("%d%018d%011d", 1+r.IntN(9), r.Int64N(1e18), r.Int64N(1e11))
		case 1:
			return fmt.Sprintf("-%d.%030d", r.IntN(10), r.Int64())
		case 2:
			return []string{"true", "false", "null", "1.0", "1e400", "-0"}[r.IntN(6)]
		case 3:
			return []string{`"\u00e9\/"`, `"<&>"`, `"\ud83d\ude00"`, `"]}\",{["`, `"uri"`, "\"\u2028\""}[r.IntN(6)]
		case 4:
			return `""`
		case 5:
			return document(r, depth-1)
		default:
			var parts []string
			for range r.IntN(4) {
				parts = append(parts, space()+value(depth-1)+space())
			}
			return "[" + strings.Join(parts, ",") + "]"
		}
	}
	var parts []string
	for i := range r.IntN(6) {
		key := fmt.Sprintf([]string{`"k%d"`, `"\u006b-%d"`, `"K\"%d"`, `"é%d"`}[r.IntN(4)], i)
		parts = append(parts, space()+key+space()+":"+space()+value(depth)+space())
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestPatchLosesNothingOfRandomDocuments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		raw := document(r, 4)
		if err := Check([]byte(raw), Limits{}); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		o, err := Fields([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		p := NewPatch(o)
		want := map[string]string{}
		for _, m := range o.Members {
			value, _ := o.Get(m.Key)
			want[m.Key] = string(value)
			switch r.IntN(4) {
			case 0:
				p.Remove(m.Key)
				delete(want, m.Key)
			case 1:
				p.Set(m.Key, []byte(`{"new":1.0}`))
				want[m.Key] = `{"new":1.0}`
			}
		}
		if r.IntN(2) == 0 {
			p.Set("added", []byte("[]"))
			want["added"] = "[]"
		}
		got := p.Bytes()
		if err := Check(got, Limits{}); err != nil {
			t.Fatalf("%s\nbecame %s: %v", raw, got, err)
		}
		after, err := Fields(got)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range after.Members {
			if value, ok := want[m.Key]; !ok || value != string(got[m.Start:m.End]) {
				t.Fatalf("%s\nbecame %s: %q", raw, got, m.Key)
			}
		}
		if len(after.Members) != len(want) {
			t.Fatalf("%s\nbecame %s", raw, got)
		}
		compact := Compact(nil, []byte(raw))
		var a, b any
		if json.NewDecoder(bytes.NewReader(compact)).Decode(&a) == nil && json.Unmarshal([]byte(raw), &b) == nil && !reflect.DeepEqual(a, b) {
			t.Fatalf("%s\ncompacted to %s", raw, compact)
		}
	}
}
