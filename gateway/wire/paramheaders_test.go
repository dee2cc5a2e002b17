package wire

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestAnnotationsAreReadThroughPropertiesAlone(t *testing.T) {
	tests := []struct{ rule, schema, want string }{
		{"none", `{"type":"object","properties":{"a":{"type":"string"}}}`, "[]"},
		{"three types", `{"properties":{"r":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"},"b":{"x-mcp-header":"b","type":"boolean"}}}`, "[{Region [r] string} {N [n] integer} {b [b] boolean}]"},
		{"nested", `{"properties":{"a":{"type":"object","properties":{"b":{"properties":{"c":{"type":"string","x-mcp-header":"C"}}}}}}}`, "[{C [a b c] string}]"},
		{"null beside", `{"properties":{"a":{"type":["null","integer"],"x-mcp-header":"A"}}}`, "[{A [a] integer}]"},
		{"a property of that name", `{"properties":{"x-mcp-header":{"type":"string"},"items":{"type":"string","x-mcp-header":"I"}}}`, "[{I [items] string}]"},
		{"data, not a schema", `{"properties":{"a":{"type":"object","default":{"x-mcp-header":""},"enum":[{"x-mcp-header":1}]}}}`, "[]"},
		{"boolean schemas", `{"properties":{"a":true,"b":{"type":"string","x-mcp-header":"B"}}}`, "[{B [b] string}]"},
		{"escaped keyword", `{"properties":{"a":{"type":"string","x-mcp-\u0068eader":"A"}}}`, "[{A [a] string}]"},
		{"all token characters", `{"properties":{"a":{"type":"string","x-mcp-header":"a!#$%&'*+-.^_` + "`" + `|~9Z"}}}`, "[{a!#$%&'*+-.^_`|~9Z [a] string}]"},
		{"not an object", `true`, "[]"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			got, err := ParamHeaders([]byte(test.schema))
			if err != nil || fmt.Sprint(got) != test.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestForbiddenAnnotationsExcludeTheTool(t *testing.T) {
	property := func(p string) string { return `{"type":"object","properties":{"a":` + p + `}}` }
	const good = `{"type":"string","x-mcp-header":"A"}`
	for rule, schema := range map[string]string{
		"empty":                    property(`{"type":"string","x-mcp-header":""}`),
		"not a string":             property(`{"type":"string","x-mcp-header":1}`),
		"null":                     property(`{"type":"string","x-mcp-header":null}`),
		"space":                    property(`{"type":"string","x-mcp-header":"A B"}`),
		"colon":                    property(`{"type":"string","x-mcp-header":"A:"}`),
		"CR LF":                    property(`{"type":"string","x-mcp-header":"A\r\nX: 1"}`),
		"not ASCII":                property(`{"type":"string","x-mcp-header":"Ä"}`),
		"number":                   property(`{"type":"number","x-mcp-header":"A"}`),
		"object":                   property(`{"type":"object","x-mcp-header":"A"}`),
		"array":                    property(`{"type":"array","x-mcp-header":"A"}`),
		"null type":                property(`{"type":"null","x-mcp-header":"A"}`),
		"null types alone":         property(`{"type":["null"],"x-mcp-header":"A"}`),
		"number among types":       property(`{"type":["integer","number"],"x-mcp-header":"A"}`),
		"no type":                  property(`{"x-mcp-header":"A"}`),
		"duplicate, ignoring case": `{"properties":{"a":{"type":"string","x-mcp-header":"Region"},"b":{"properties":{"c":{"type":"string","x-mcp-header":"REGION"}}}}}`,
		"root":                     `{"type":"object","x-mcp-header":"A"}`,
		"items":                    property(`{"type":"array","items":` + good + `}`),
		"prefixItems":              property(`{"type":"array","prefixItems":[` + good + `]}`),
		"properties inside items":  property(`{"type":"array","items":{"properties":{"b":` + good + `}}}`),
		"oneOf":                    property(`{"oneOf":[` + good + `]}`),
		"anyOf":                    property(`{"anyOf":[` + good + `]}`),
		"allOf at the root":        `{"allOf":[{"properties":{"a":` + good + `}}]}`,
		"not":                      property(`{"not":` + good + `}`),
		"if":                       `{"if":{"properties":{"a":` + good + `}}}`,
		"then":                     `{"then":{"properties":{"a":` + good + `}}}`,
		"else":                     `{"else":{"properties":{"a":` + good + `}}}`,
		"$defs behind a $ref":      `{"properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":` + good + `}}`,
		"additionalProperties":     `{"additionalProperties":` + good + `}`,
		"patternProperties":        `{"patternProperties":{"^a":` + good + `}}`,
		"dependentSchemas":         `{"dependentSchemas":{"a":{"properties":{"b":` + good + `}}}}`,
	} {
		t.Run(rule, func(t *testing.T) {
			if got, err := ParamHeaders([]byte(schema)); !errors.Is(err, ErrParamHeader) {
				t.Errorf("accepted: %v, %v", got, err)
			}
		})
	}
}

func TestParamHeadersMustMirrorTheArguments(t *testing.T) {
	specs := []ParamHeader{
		{"Region", []string{"region"}, "string"},
		{"Count", []string{"page", "count"}, "integer"},
		{"Dry", []string{"dry"}, "boolean"},
	}
	tests := []struct {
		rule, arguments string
		headers         string // "Name=value;…"
		ok              bool
	}{
		{"nothing at all", ``, ``, true},
		{"absent arguments", `{}`, ``, true},
		{"null arguments", `{"region":null,"page":{"count":null},"dry":null}`, ``, true},
		{"the way leads nowhere", `{"page":[1]}`, ``, true},
		{"all right", `{"region":"eu","page":{"count":42},"dry":true}`, `Region=eu;Count=42;Dry=true`, true},
		{"encoded", `{"region":" \u00e9"}`, `Region==?base64?IMOp?=`, true},
		{"empty string", `{"region":""}`, `Region=`, true},
		{"unknown header", `{}`, `Other=x`, true},
		{"42 and 42.0", `{"page":{"count":42}}`, `Count=42.0`, true},
		{"42.0 and 42", `{"page":{"count":42.0}}`, `Count=42`, true},
		{"4.2e1 and 42", `{"page":{"count":4.2e1}}`, `Count=42`, true},
		{"-0 and 0", `{"page":{"count":-0}}`, `Count=0`, true},
		{"largest safe integer", `{"page":{"count":9007199254740991}}`, `Count=9007199254740991`, true},
		{"smallest safe integer", `{"page":{"count":-9007199254740991}}`, `Count=-9.007199254740991e15`, true},
		{"a string of digits stays a string", `{"region":"42"}`, `Region=42`, true},

		{"missing", `{"region":"eu"}`, ``, false},
		{"missing for an empty string", `{"region":""}`, ``, false},
		{"sent for an absent argument", `{}`, `Region=eu`, false},
		{"sent empty for an absent argument", `{}`, `Region=`, false},
		{"sent for null", `{"region":null}`, `Region=null`, false},
		{"sent without arguments", ``, `Dry=true`, false},
		{"differs", `{"region":"eu"}`, `Region=us`, false},
		{"differs in case", `{"region":"eu"}`, `Region=EU`, false},
		{"twice", `{"region":"eu"}`, `Region=eu;Region=eu`, false},
		{"bad Base64", `{"region":"eu"}`, `Region==?base64?!?=`, false},
		{"control character", `{"region":"e\u0001"}`, "Region=e\x01", false},
		{"boolean in capitals", `{"dry":true}`, `Dry=True`, false},
		{"boolean as a number", `{"dry":true}`, `Dry=1`, false},
		{"integer differs", `{"page":{"count":42}}`, `Count=43`, false},
		{"integer with a fraction", `{"page":{"count":42.5}}`, `Count=42.5`, false},
		{"integer in hex", `{"page":{"count":42}}`, `Count=0x2a`, false},
		{"integer with a plus", `{"page":{"count":42}}`, `Count=+42`, false},
		{"integer that floats would make equal", `{"page":{"count":9007199254740991}}`, `Count=9007199254740991.4`, false},
		{"over the safe range", `{"page":{"count":9007199254740992}}`, `Count=9007199254740992`, false},
		{"under the safe range", `{"page":{"count":-9007199254740992}}`, `Count=-9007199254740992`, false},
		{"an object", `{"region":{}}`, `Region={}`, false},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			h := http.Header{}
			for field := range strings.SplitSeq(test.headers, ";") {
				if name, value, ok := strings.Cut(field, "="); ok {
					h.Add("Mcp-Param-"+name, value)
				}
			}
			err := CheckParamHeaders(h, specs, []byte(test.arguments))
			var wrong *HeaderError
			if (err == nil) != test.ok || err != nil && !errors.As(err, &wrong) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestSetParamHeadersPassesTheCheck(t *testing.T) {
	specs, err := ParamHeaders([]byte(`{"properties":{"s":{"type":"string","x-mcp-header":"S"},"n":{"type":"integer","x-mcp-header":"n"},"o":{"properties":{"b":{"type":"boolean","x-mcp-header":"B-b"}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, arguments := range []string{
		``, `{}`, `{"s":null}`, `{"s":"","n":0,"o":{"b":false}}`, `{"s":"\ttab\u0000","n":-7.0}`, `{"s":"=?base64?x?=","n":1e15}`, `{"o":1}`,
	} {
		h := http.Header{}
		SetParamHeaders(h, specs, []byte(arguments))
		if err := CheckParamHeaders(h, specs, []byte(arguments)); err != nil {
			t.Errorf("%s gives %v: %v", arguments, h, err)
		}
	}
	h := http.Header{}
	SetParamHeaders(h, specs, []byte(`{"s":[],"n":1.5}`))
	if len(h) != 0 {
		t.Errorf("what no header can carry is sent: %v", h)
	}
	SetParamHeaders(h, specs, []byte(`{"n":4.2e1}`))
	if h.Get("Mcp-Param-N") != "42" {
		t.Errorf("%v", h)
	}
}
