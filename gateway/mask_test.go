package gateway

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

func schemaOf(t testing.TB, text string) *schema {
	t.Helper()
	s, err := compileSchema([]byte(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return s
}

func pointer(path string) policy.Pointer { return strings.Split(path, "/")[1:] }

// Whatever a schema says of the value: what stands in its place is of the same
// type, fits, and says nothing of what was there.
func TestAMaskedValueFitsItsSchema(t *testing.T) {
	for _, c := range []struct{ name, schema, value, want string }{
		{"nothing said", `true`, `"secret-1"`, `"[masked]"`},
		{"number", `true`, `12345678901234567890.5`, `0`},
		{"bool", `true`, `true`, `false`},
		{"null", `true`, `null`, `null`},
		{"array", `true`, `["secret-1"]`, `[]`},
		{"object", `true`, `{"k":"secret-1"}`, `{}`},
		{"minLength", `{"minLength":12}`, `"secret-1-more"`, `"[masked]****"`},
		{"maxLength", `{"maxLength":3}`, `"abc"`, `"[ma"`},
		{"length 0", `{"maxLength":0}`, `""`, `""`},
		{"enum", `{"enum":["low","high"]}`, `"high"`, `"low"`},
		{"const", `{"const":"only"}`, `"only"`, `"only"`},
		{"enum of numbers", `{"enum":[3,"x",5]}`, `5`, `3`},
		{"bool const", `{"const":true}`, `true`, `true`},
		{"minimum", `{"type":"integer","minimum":18}`, `42`, `18`},
		{"fraction", `{"type":"integer","minimum":17.5}`, `42`, `18`},
		{"maximum", `{"maximum":-5}`, `-42`, `-5`},
		{"exclusive", `{"exclusiveMinimum":1,"exclusiveMaximum":2}`, `1.2`, `1.5`},
		{"multiple", `{"multipleOf":7,"minimum":8}`, `21`, `14`},
		{"format date", `{"type":"string","format":"date"}`, `"2026-01-02"`, `"1970-01-01"`},
		{"format of draft-07", `{"$schema":"http://json-schema.org/draft-07/schema#","format":"email"}`, `"a@b.c"`, `"masked@masked.invalid"`},
		{"pattern", `{"pattern":"^[0-9]{3}-[0-9]{2}-[0-9]{4}$"}`, `"123-45-6789"`, `"000-00-0000"`},
		{"pattern with a choice", `{"pattern":"^(GB|DE)[A-F0-9]+$"}`, `"DE77"`, `"GB0"`},
		{"pattern and length", `{"pattern":"^a+$","minLength":5}`, `"aaaaaaaaa"`, `"aaaaa"`},
		{"items wanted", `{"minItems":2,"items":{"enum":["p","q"]}}`, `["q","q","p"]`, `["p","p"]`},
		{"members wanted", `{"required":["id","at"],"properties":{"id":{"type":"integer","minimum":1},"at":{"type":"string","format":"date"}},"additionalProperties":false}`, `{"id":77,"at":"2026-01-01"}`, `{"at":"1970-01-01","id":1}`},
		{"reference", `{"$ref":"#/$defs/level","$defs":{"level":{"enum":["low","high"]}}}`, `"high"`, `"low"`},
		{"all of", `{"allOf":[{"minLength":2},{"maxLength":4}]}`, `"secr"`, `"[mas"`},
		{"one of", `{"oneOf":[{"const":"a"},{"const":"b"}]}`, `"b"`, `"a"`},
		{"nullable", `{"type":["string","null"]}`, `"secret-1"`, `"[masked]"`},
		{"default", `{"not":{"const":"[masked]"},"default":"fine","minLength":1}`, `"secret-1"`, `"fine"`},
	} {
		for form, wrap := range map[string][3]string{
			"property": {`{"type":"object","properties":{"v":%s},"required":["v"]}`, `{"n":1.50, "v": %s}`, "/v"},
			"element":  {`{"properties":{"v":{"items":%s}}}`, `{"v":[%s]}`, "/v/*"},
			"prefix":   {`{"properties":{"v":{"prefixItems":[true,%s]}}}`, `{"v":[0, %s,0]}`, "/v/1"},
			"pattern":  {`{"patternProperties":{"^v":%s}}`, `{"v":%s}`, "/v"},
			"rest":     {`{"additionalProperties":%s}`, `{"v":%s}`, "/v"},
		} {
			if strings.Contains(c.schema, `"$ref"`) || strings.Contains(c.schema, `"$schema"`) {
				if form != "property" {
					continue
				}
				// References and drafts are of the whole schema.
				for _, key := range []string{`"$defs":`, `"$schema":`} {
					if at := strings.Index(c.schema, key); at >= 0 {
						head := c.schema[at : len(c.schema)-1]
						if key == `"$schema":` {
							head = `"$schema":"http://json-schema.org/draft-07/schema#"`
						}
						wrap[0] = `{` + head + `,` + wrap[0][1:]
					}
				}
			}
			s := schemaOf(t, fmt.Sprintf(wrap[0], c.schema))
			doc := fmt.Sprintf(wrap[1], c.value)
			if err := s.check([]byte(doc)); err != nil {
				t.Fatalf("%s, %s: %s: %v", c.name, form, doc, err)
			}
			got, _, err := s.mask([]byte(doc), []policy.Pointer{pointer(wrap[2])})
			if want := fmt.Sprintf(wrap[1], c.want); err != nil || string(got) != want {
				t.Errorf("%s, %s: got %s, want %s; %v", c.name, form, got, want, err)
			}
		}
	}
}

// What stands in place of a value must not depend on it.
func TestAMaskSaysNothingOfTheValue(t *testing.T) {
	s := schemaOf(t, `{"properties":{"v":{"enum":["low","high","none"]}}}`)
	for _, v := range []string{"low", "high", "none"} {
		got, _, err := s.mask([]byte(`{"v":"`+v+`"}`), []policy.Pointer{{"v"}})
		if err != nil || string(got) != `{"v":"low"}` {
			t.Errorf("%s becomes %s, %v", v, got, err)
		}
	}
}

func TestAMaskTouchesNoOtherByte(t *testing.T) {
	const doc = "{ \"a\" : 1.0e+2,\n\"s\":\"\\u0061\\/\", \"v\": [ {\"k\": \"x\" , \"z\":9007199254740993}, {\"k\":{}} ] ,\"dup\":1}"
	var none *schema
	got, taken, err := none.mask([]byte(doc), []policy.Pointer{{"v", "*", "k"}, {"v", "0", "k"}, {"nothing"}, {"s", "0"}})
	want := strings.NewReplacer(`"k": "x"`, `"k": "[masked]"`).Replace(doc)
	if err != nil || string(got) != want || len(taken) != 3 {
		t.Errorf("got %s, %v, taken %d", got, err, len(taken))
	}
	// A value inside of one that is masked is gone with it.
	if got, _, err = none.mask([]byte(doc), []policy.Pointer{{"v", "0", "k"}, {"v"}}); err != nil || string(got) != strings.Replace(doc, doc[strings.Index(doc, "[ {"):strings.Index(doc, " ,\"dup\"")], "[]", 1) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestWhatCannotBeMaskedIsAnError(t *testing.T) {
	for name, c := range map[string]struct{ schema, doc string }{
		"nothing fits": {`{"properties":{"v":{"type":"string","not":{"maxLength":100}}}}`, `{"v":"` + strings.Repeat("s", 200) + `"}`},
		"a false one":  {`{"properties":{"v":{"type":"number","not":{"type":"integer"},"minimum":1,"maximum":3,"multipleOf":0.7}}}`, `{"v":1.4}`},
	} {
		s := schemaOf(t, c.schema)
		if err := s.check([]byte(c.doc)); err != nil {
			t.Fatal(name, err)
		}
		got, _, err := s.mask([]byte(c.doc), []policy.Pointer{{"v"}})
		if err == nil && s.check(got) != nil {
			t.Errorf("%s: %s does not fit", name, got)
		}
		if err != nil && got != nil {
			t.Errorf("%s: an error and %s", name, got)
		}
	}
	s := schemaOf(t, `{"properties":{"v":{"type":"string","pattern":"^(?:s{200})$"}}}`)
	if got, _, err := s.mask([]byte(`{"v":"`+strings.Repeat("s", 200)+`"}`), []policy.Pointer{{"v"}}); err != nil {
		t.Error(got, err)
	}
	s = schemaOf(t, `{"properties":{"v":{"type":"string","not":{"maxLength":100}}}}`)
	if _, _, err := s.mask([]byte(`{"v":"`+strings.Repeat("s", 200)+`"}`), []policy.Pointer{{"v"}}); !errors.Is(err, errNothingFits) {
		t.Error(err)
	}
	// What was invalid before may stay so: masking is not what made it so.
	s = schemaOf(t, `{"required":["x"]}`)
	if got, _, err := s.mask([]byte(`{"v":"secret-1"}`), []policy.Pointer{{"v"}}); err != nil || string(got) != `{"v":"[masked]"}` {
		t.Error(string(got), err)
	}
	var none *schema
	many := []byte("[" + strings.Repeat("1,", maskedValues) + "1]")
	if _, _, err := none.mask(many, everything); !errors.Is(err, errMaskTooMuch) {
		t.Error(err)
	}
	if _, _, err := none.mask([]byte("["+strings.Repeat("1,", maskedValues-1)+"1]"), everything); err != nil {
		t.Error(err)
	}
}

// Alternatives that depend on each other: the first choice does not fit, another
// does.
func TestAnotherNeutralValueIsTriedWhereTheFirstDoesNotFit(t *testing.T) {
	s := schemaOf(t, `{"anyOf":[{"properties":{"kind":{"const":"a"},"n":{"type":"integer"}}},{"properties":{"kind":{"const":"b"},"n":{"type":"string"}}}]}`)
	got, _, err := s.mask([]byte(`{"kind":"b","n":"secret-1"}`), []policy.Pointer{{"kind"}})
	if err != nil || s.check(got) != nil || string(got) != `{"kind":"b","n":"secret-1"}` {
		t.Error(string(got), err)
	}
	// The kind is the only one that goes with the rest, which is in clear: it
	// says nothing that the rest does not.
}

func TestNeedlesAreTakenOutOfText(t *testing.T) {
	n := new(needles)
	n.take([][]byte{[]byte(`"secret \"1\""`), []byte(`{"deep":["12345678","abc"],"n":[4242.5,7]}`), []byte(`"line\nbreak"`)})
	for in, want := range map[string]string{
		`say secret "1"!`:                `say [masked]!`,
		`{"a":"secret \"1\""}`:           `{"a":"[masked]"}`,
		`[{"t":"{\"x\":\"12345678\"}"}]`: `[{"t":"{\"x\":\"[masked]\"}"}]`,
		`{"n": 4242.5, "m": 14242.5}`:    `{"n": 0, "m": 14242.5}`,
		`it is 4242.5 or 12345678`:       `it is [masked] or [masked]`,
		`abc 7`:                          `abc 7`,
		"a line\nbreak":                  "a [masked]",
		`a "line\nbreak" in quotes`:      `a "[masked]" in quotes`,
		`{"12345678":1}`:                 `{"[masked]":1}`,
		``:                               ``,
	} {
		if got := n.sweep(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	var many [][]byte
	for i := range needlesMost {
		many = append(many, fmt.Appendf(nil, `"word%d"`, i))
	}
	n = new(needles)
	if n.take(many); n.tooMany || n.sweep("plain") != "plain" {
		t.Error("at the bound")
	}
	if n.take([][]byte{[]byte(`"one more"`)}); n.sweep("plain") != maskWord {
		t.Error("above the bound")
	}
}

// Programs write one number in several ways.
func TestANumberIsFoundInOtherForms(t *testing.T) {
	n := new(needles)
	n.take([][]byte{[]byte(`[4242.50, 1.2345e4, 90071992547409931234, 12.0]`)})
	for in, want := range map[string]string{
		`4242.5`: maskWord, `12345`: maskWord, `1.2345e4`: maskWord, `90071992547409931234`: maskWord, `12`: `12`,
		`{"a":4242.5,"b":12345.0,"c":123450e-1,"d":12346,"e":90071992547409931235}`: `{"a":0,"b":0,"c":0,"d":12346,"e":90071992547409931235}`,
	} {
		if got := n.sweep(in); got != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}

// What a result can say a value in beside text: links, names, _meta, and text
// that comes as bytes. Words of the protocol, pictures and states stay.
func TestAMaskReachesEveryStringOfAResult(t *testing.T) {
	blob := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const secret = "123-45-6789"
	result := func(word, twin string) string {
		return `{"content":[{"type":"resource_link","uri":"x://p/` + word + `","name":"of ` + word + `","mimeType":"text"},` +
			`{"type":"resource","resource":{"uri":"x://r","blob":"` + blob(`{"v":"`+twin+`","w":1}`) + `"}},` +
			`{"type":"resource","resource":{"uri":"x://r","blob":"` + blob("say "+word) + `"}},` +
			`{"type":"resource","resource":{"uri":"x://r","blob":"` + blob("\xff"+secret) + `"}},` +
			`{"type":"image","data":"` + secret + `","mimeType":"text"}],` +
			`"_meta":{"own":["` + word + `"]},"requestState":"` + secret + `","structuredContent":{"v":"` + twin + `","type":"kept"}}`
	}
	x := &exchange{g: &Gateway{}}
	got, f := x.maskResult(&target{masks: &masks{result: []policy.Pointer{{"structuredContent", "v"}}}}, []byte(result(secret, secret)))
	if want := result(maskWord, maskWord); f != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, f, want)
	}
}

// maskedValue is a value whose characters no mask has.
func maskedValue(s string) bool {
	return len(s) >= needleLeast && !strings.ContainsAny(s, "[masked]0") && wire.Check([]byte(jsonText(s)), wire.DefaultLimits) == nil
}

func jsonText(s string) string { return string(wire.AppendString(nil, s)) }

// FuzzMask: a masked result is JSON, and the value is gone from its place, from
// all text, and from JSON in text.
func FuzzMask(f *testing.F) {
	f.Add("123-45-6789", "the number is 123-45-6789", `{"ssn":"123-45-6789","n":1}`)
	f.Add("\"\\\n", "x", `[]`)
	f.Add("héé¡", "\\u00e9", `"héé¡"`)
	f.Add("secret", "", "\n0")
	f.Fuzz(func(t *testing.T, secret, around, doc string) {
		doc = strings.TrimSpace(doc) // a RawMessage is
		if !maskedValue(secret) || !json.Valid([]byte(doc)) || wire.Check([]byte(doc), wire.DefaultLimits) != nil || wire.Check([]byte(jsonText(around)), wire.DefaultLimits) != nil {
			return
		}
		value := jsonText(secret)
		twin := `{"a":{"v":` + value + `},"other":` + doc + `}`
		result := `{"content":[{"type":"text","text":` + jsonText(twin) + `},{"type":"text","text":` + jsonText(around+secret) + `},` +
			`{"type":"text","text":` + jsonText(`{"x":`+jsonText(twin)+`}`) + `}],"structuredContent":{"a":{"v":` + value + `},"b":` + doc + `}}`
		x := &exchange{g: &Gateway{}}
		target := &target{masks: &masks{result: []policy.Pointer{{"structuredContent", "a", "v"}}}}
		got, refused := x.maskResult(target, []byte(result))
		if refused != nil || !json.Valid(got) {
			t.Fatalf("%v, %s", refused, got)
		}
		var m struct {
			Content           []struct{ Text string }
			StructuredContent struct {
				A struct{ V string }
				B json.RawMessage
			}
		}
		if err := json.Unmarshal(got, &m); err != nil {
			t.Fatal(err)
		}
		if m.StructuredContent.A.V != maskWord || string(m.StructuredContent.B) != doc {
			t.Errorf("%s", got)
		}
		for _, c := range m.Content {
			if strings.Contains(c.Text, secret) || strings.Contains(c.Text, value[1:len(value)-1]) {
				t.Errorf("%q is left in %q", secret, c.Text)
			}
		}
	})
}
