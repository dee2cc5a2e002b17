package rego

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"

	"github.com/ostiary/ostiary/policy"
)

// goldens are the published documents.
func goldens(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../testdata/*.json")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = text
	}
	return all
}

// TestRulesReadThePublishedDocument: what rules get is what the schema's
// golden documents say, to the last digit.
func TestRulesReadThePublishedDocument(t *testing.T) {
	for name, text := range goldens(t) {
		var r policy.Request
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		sameDocument(t, name, &r)
	}
}

// sameDocument compares both ways from a request to a document.
func sameDocument(t *testing.T, name string, r *policy.Request) {
	t.Helper()
	got, err := document(leaves(), r)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := ast.ValueFromReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if got.Compare(want) != 0 {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestNoNumberIsRounded(t *testing.T) {
	e := engine(t, `allow if { input.arguments.n == 9007199254740993; input.arguments.n != 9007199254740992 }`, patient())
	r := request()
	for text, want := range map[string]bool{`9007199254740993`: true, `9007199254740992`: false, `9007199254740993.0`: true} {
		r.Arguments = json.RawMessage(`{"n":` + text + `}`)
		if d, err := e.Decide(t.Context(), r); err != nil || d.Allow != want {
			t.Errorf("%s: %v %v, want %v", text, d.Allow, err, want)
		}
	}
}

// schemaCheck asks OPA whether documents fit the schema; the gate's own
// capabilities have no such function.
func schemaCheck(t *testing.T) func(doc []byte) string {
	t.Helper()
	q, err := opa.New(opa.Query(`json.match_schema(input.doc, input.schema)`)).PrepareForEval(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return func(doc []byte) string {
		var v, schema any
		if err := json.Unmarshal(doc, &v); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(policy.InputSchema, &schema); err != nil {
			t.Fatal(err)
		}
		rs, err := q.Eval(t.Context(), opa.EvalInput(map[string]any{"doc": v, "schema": schema}))
		if err != nil || len(rs) != 1 {
			t.Fatal(rs, err)
		}
		answer := rs[0].Expressions[0].Value.([]any)
		if answer[0] == true {
			return ""
		}
		text, _ := json.Marshal(answer[1])
		return string(text)
	}
}

func TestDocumentsFitTheSchema(t *testing.T) {
	check := schemaCheck(t)
	for name, text := range goldens(t) {
		if wrong := check(text); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
	call := string(goldens(t)["call.json"])
	for old, bad := range map[string]string{
		`"version": 1`:     `"version": 2`,
		`"hour": 14`:       `"hour": 24`,
		`"groups"`:         `"gruops"`,
		`"tls": true`:      `"tls": "true"`,
		`"listing": false`: `"lister": false`,
	} {
		if broken := strings.Replace(call, old, bad, 1); broken == call || check([]byte(broken)) == "" {
			t.Errorf("%s fits the schema", bad)
		}
	}
}

// TestSchemaAndTableNameTheSameFields: a field in one alone would be a field
// that rules can't read, or that check calls unknown.
func TestSchemaAndTableNameTheSameFields(t *testing.T) {
	type node struct {
		Properties map[string]*node `json:"properties"`
	}
	var root node
	if err := json.Unmarshal(policy.InputSchema, &root); err != nil {
		t.Fatal(err)
	}
	var want []string
	for name, n := range root.Properties {
		if len(n.Properties) == 0 {
			want = append(want, name)
			continue
		}
		for child := range maps.Keys(n.Properties) {
			want = append(want, name+"."+child)
		}
	}
	var got []string
	for _, l := range leaves() {
		got = append(got, l.path)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("table %v\nschema %v", got, want)
	}
}

func TestAmbiguousJSONIsNotJudged(t *testing.T) {
	e := engine(t, `allow if input.arguments.path`, patient())
	deep := func(n int) string { return strings.Repeat(`{"path":`, n) + "1" + strings.Repeat("}", n) }
	for _, tt := range []struct {
		name, arguments string
		fine            bool
	}{
		{"plain", `{"path":"/etc"}`, true},
		{"a key twice", `{"path":"/srv","path":"/etc"}`, false},
		{"a key twice, once escaped", `{"path":"/srv","\u0070ath":"/etc"}`, false},
		{"a key twice, deep", `{"path":[{"a":1,"a":2}]}`, false},
		{"not UTF-8", "{\"path\":\"\xff\"}", false},
		{"two values", `{"path":"/srv"} {"path":"/etc"}`, false},
		{"cut off", `{"path":"/srv"`, false},
		{"nothing inside", `{"path":`, false},
		{"64 levels", deep(64), true},
		{"65 levels", deep(65), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request()
			r.Arguments = json.RawMessage(tt.arguments)
			d, err := e.Decide(t.Context(), r)
			if d.Allow != tt.fine || tt.fine != (err == nil) {
				t.Fatalf("allowed %v, error %v", d.Allow, err)
			}
			if !tt.fine {
				wantFailure(t, err, policy.FailedInput)
				if strings.Contains(err.Error(), "/etc") || strings.Contains(err.Error(), "/srv") {
					t.Errorf("an argument is in the error: %v", err)
				}
			}
		})
	}
}

// FuzzDocument holds the engine's own way to a document against the JSON of
// the request.
func FuzzDocument(f *testing.F) {
	f.Add("n", "l1", `{"a":[1,2.50,"x",null,true]}`, int64(-3), true)
	f.Add("\x00é", "", `[]`, int64(1<<53+1), false)
	f.Fuzz(func(t *testing.T, name, label, raw string, n int64, flag bool) {
		r := request()
		r.Target.Name, r.Target.Labels, r.User.AuthTime, r.Target.Trusted = name, []string{label}, n, flag
		r.Arguments, r.Responses = json.RawMessage(raw), json.RawMessage(raw)
		if _, err := parseJSON([]byte(raw)); err != nil || !validText(name) || !validText(label) {
			return
		}
		r.Counters = map[string]int64{label: n}
		sameDocument(t, "fuzz", r)
	})
}

// validText tells whether encoding/json would keep s as it is.
func validText(s string) bool { return strings.ToValidUTF8(s, "") == s }
