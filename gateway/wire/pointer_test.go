package wire

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestLocateFindsWhatAPointerLeadsTo(t *testing.T) {
	const doc = ` {"a":{"b":[1,{"c":"x"},[true]],"":null,"é":"e"},"0":"zero","*":7,"a":"again"} `
	for path, want := range map[string]string{
		"a.b.0": `1`, "a.b.1.c": `"x"`, "a.b.2.0": `true`, "a.": `null`, "a.é": `"e"`, "0": `"zero"`,
		"a":       `{"b":[1,{"c":"x"},[true]],"":null,"é":"e"} "again"`, // both of two equal names
		"*":       `{"b":[1,{"c":"x"},[true]],"":null,"é":"e"} "zero" 7 "again"`,
		"a.*.*.c": `"x"`, "a.b.*": `1 {"c":"x"} [true]`,
		"a.b.3": ``, "a.b.-": ``, "a.b.01": ``, "a.b.+1": ``, "b": ``, "0.0": ``, "a.b.0.x": ``,
	} {
		var got []string
		for _, at := range Locate([]byte(doc), strings.Split(path, "."), "*") {
			got = append(got, doc[at.Start:at.End])
			again := Locate([]byte(doc), at.Tokens, "\x00")
			if !slices.ContainsFunc(again, func(l Located) bool { return l.Span == at.Span }) {
				t.Errorf("%s: the tokens %q don't lead back", path, at.Tokens)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: got %s, want %s", path, s, want)
		}
	}
	if all := Locate([]byte(`[1]`), nil, "*"); len(all) != 1 || all[0].Span != (Span{0, 3}) {
		t.Error("no tokens:", all)
	}
}

func TestScalarsAreValuesWithTheirKeys(t *testing.T) {
	const doc = `{"a":"x","b":[1,"y",{"c":-2.5e3,"d":null}],"e":{},"f":[],"g":true}`
	var got []string
	for _, s := range Scalars([]byte(doc)) {
		got = append(got, s.Key+"="+doc[s.Start:s.End])
	}
	if s := strings.Join(got, " "); s != `a="x" b=1 b="y" c=-2.5e3` {
		t.Error(s)
	}
	if top := Scalars([]byte(` "s" `)); len(top) != 1 || top[0].Key != "" {
		t.Error(top)
	}
}

// Locate on anything at all ends, and on JSON finds values.
func FuzzLocate(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"c"}]}`), "a/1/b")
	f.Add([]byte(`[[`), "0/0")
	f.Add([]byte(`{"a" 1,}`), "*/*")
	f.Fuzz(func(t *testing.T, raw []byte, path string) {
		found := Locate(raw, strings.Split(path, "/"), "*")
		scalars := Scalars(raw)
		if !json.Valid(raw) {
			return
		}
		for _, l := range found {
			if !json.Valid(raw[l.Start:l.End]) {
				t.Errorf("found %q", raw[l.Start:l.End])
			}
		}
		for _, s := range scalars {
			if !json.Valid(raw[s.Start:s.End]) {
				t.Errorf("scalar %q", raw[s.Start:s.End])
			}
		}
	})
}
