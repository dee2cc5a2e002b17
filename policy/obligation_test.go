package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func parse(texts ...string) (Obligations, error) {
	var all []json.RawMessage
	for _, t := range texts {
		all = append(all, json.RawMessage(t))
	}
	return ParseObligations(all)
}

func TestObligationsAreRead(t *testing.T) {
	got, err := parse(
		`{"type":"mask","paths":["/arguments/ssn","/result/structuredContent/rows/*/a~1b~0c"]}`,
		`{"type":"mask","paths":["/arguments/"]}`,
		`{"type":"step_up","scopes":["mail:send","mcp"]}`, `{"type":"step_up","scopes":["mcp"]}`,
		`{"type":"rate","class":"heavy"}`, `{"type":"rate","class":"heavy"}`, `{"class":"other","type":"rate"}`,
		`{"type":"approval","by":["security"],"within":"1h"}`,
	)
	want := Obligations{
		Arguments: []Pointer{{"ssn"}, {""}},
		Result:    []Pointer{{"structuredContent", "rows", "*", "a/b~c"}},
		Scopes:    []string{"mail:send", "mcp"}, Classes: []string{"heavy", "other"}, Approval: true,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if s := want.Result[0].String(); s != "/structuredContent/rows/*/a~1b~0c" {
		t.Error(s)
	}
	if got, err := parse(); err != nil || !reflect.DeepEqual(got, Obligations{}) {
		t.Errorf("none: %+v, %v", got, err)
	}
}

func TestAnObligationThatIsNotUnderstoodIsAnError(t *testing.T) {
	long := strings.Repeat("x", maxMaskPath)
	for text, code := range map[string]string{
		`{"type":"pay"}`:                         UnknownObligation,
		`{"type":""}`:                            UnknownObligation,
		`{"type":"Mask","paths":["/result/a"]}`:  UnknownObligation,
		`{}`:                                     BadObligation,
		`{"type":7}`:                             BadObligation,
		`[]`:                                     BadObligation,
		``:                                       BadObligation,
		`{"type":"mask"}`:                        BadObligation,
		`{"type":"mask","paths":null}`:           BadObligation,
		`{"type":"mask","paths":[]}`:             BadObligation,
		`{"type":"mask","paths":"/result/a"}`:    BadObligation,
		`{"type":"mask","paths":["result/a"]}`:   BadObligation,
		`{"type":"mask","paths":["/result"]}`:    BadObligation,
		`{"type":"mask","paths":["/arguments"]}`: BadObligation,
		`{"type":"mask","paths":["/responses/a"]}`:             BadObligation,
		`{"type":"mask","paths":["/result/a~2"]}`:              BadObligation,
		`{"type":"mask","paths":["/result/a~"]}`:               BadObligation,
		`{"type":"mask","paths":["/result/a",7]}`:              BadObligation,
		`{"type":"mask","paths":["/result/a"],"with":"***"}`:   BadObligation,
		`{"type":"mask","paths":["/result/` + long + `"]}`:     BadObligation,
		`{"type":"step_up"}`:                                   BadObligation,
		`{"type":"step_up","scopes":[]}`:                       BadObligation,
		`{"type":"step_up","scopes":["a b"]}`:                  BadObligation,
		`{"type":"step_up","scopes":["a\""]}`:                  BadObligation,
		`{"type":"step_up","scopes":[""]}`:                     BadObligation,
		`{"type":"step_up","scopes":["a"],"reason":"because"}`: BadObligation,
		`{"type":"rate"}`:                                      BadObligation,
		`{"type":"rate","class":""}`:                           BadObligation,
		`{"type":"rate","class":7}`:                            BadObligation,
		`{"type":"rate","class":"a b"}`:                        BadObligation,
		`{"type":"rate","class":"a","limit":5}`:                BadObligation,
	} {
		got, err := parse(`{"type":"rate","class":"heavy"}`, text)
		var o *ObligationError
		if !errors.As(err, &o) || o.Code != code || !reflect.DeepEqual(got, Obligations{}) {
			t.Errorf("%s: %v, want %s", text, err, code)
		}
	}
}

// Bounds, just below and just above.
func TestObligationsAreBounded(t *testing.T) {
	list := func(n int, format string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(format, i))
		}
		return strings.Join(all, ",")
	}
	for name, c := range map[string]struct {
		most int
		text func(n int) []string
	}{
		"paths": {MaxMaskPaths, func(n int) []string { return []string{`{"type":"mask","paths":[` + list(n, `"/result/%d"`) + `]}`} }},
		"depth": {maxMaskDepth, func(n int) []string {
			return []string{`{"type":"mask","paths":["/result` + strings.Repeat("/a", n) + `"]}`}
		}},
		"path": {maxMaskPath, func(n int) []string {
			return []string{`{"type":"mask","paths":["/result/` + strings.Repeat("a", n-len("/result/")) + `"]}`}
		}},
		"scopes": {maxScopes, func(n int) []string { return []string{`{"type":"step_up","scopes":[` + list(n, `"s%d"`) + `]}`} }},
		"scope": {maxScope, func(n int) []string {
			return []string{`{"type":"step_up","scopes":["` + strings.Repeat("s", n) + `"]}`}
		}},
		"class": {maxClassName, func(n int) []string { return []string{`{"type":"rate","class":"` + strings.Repeat("c", n) + `"}`} }},
		"classes": {maxRateClasses, func(n int) []string {
			return strings.Split(strings.ReplaceAll(list(n, `{"type":"rate";"class":"c%d"}`), ";", "|"), ",")
		}},
	} {
		fix := func(all []string) []string {
			for i := range all {
				all[i] = strings.ReplaceAll(all[i], "|", ",")
			}
			return all
		}
		if _, err := parse(fix(c.text(c.most))...); err != nil {
			t.Errorf("%s: %d: %v", name, c.most, err)
		}
		if _, err := parse(fix(c.text(c.most + 1))...); err == nil {
			t.Errorf("%s: %d pass", name, c.most+1)
		}
	}
}
