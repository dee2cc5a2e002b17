package rego

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// refused loads files that must not load, and gives the problems with the
// directory's name cut off.
func refused(t *testing.T, files ...string) []string {
	t.Helper()
	dir := directory(t, files...)
	_, err := Load(dir, patient())
	var ps Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Fatalf("got %v, want Problems", err)
	}
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		lines = append(lines, strings.ReplaceAll(line, dir+"/", ""))
	}
	return lines
}

const sound = "package ostiary\n\ndefault allow := false\n"

func TestBrokenPoliciesAreRefusedWithTheirPlace(t *testing.T) {
	tests := []struct {
		name  string
		files []string
		want  []string // the beginnings of lines, all of them
	}{
		{"a syntax error", []string{"a.rego", sound + "allow if {\n"}, []string{"a.rego:5:1: unexpected eof"}},
		{"all errors of all files", []string{"a.rego", sound + "allow if nothing(1)\n\nallow if { x := 1 }\n", "b.rego", "package ostiary\n\nhelp if missing(2)\n"},
			[]string{"a.rego:4:10: undefined function nothing", "a.rego:6:12: assigned var x unused", "b.rego:3:9: undefined function missing"}},
		{"a boolean deny", []string{"a.rego", sound + "deny if input.user.name == \"x\"\n"},
			[]string{`a.rego:4:1: deny must be a set; write deny contains "reason" if { … }`}},
		{"a default deny", []string{"a.rego", sound + "default deny := false\n"},
			[]string{`a.rego:4:1: deny must be a set; write deny contains "reason" if { … }`}},
		{"boolean reasons", []string{"a.rego", sound + "reasons := [\"x\"]\n"}, []string{"a.rego:4:1: reasons must be a set; write reasons contains"}},
		{"obligations without a type", []string{"a.rego", sound + "obligations contains \"mask\"\n"}, []string{"obligations must contain objects with a type"}},
		{"allow as a set", []string{"a.rego", "package ostiary\nallow contains \"x\"\n"}, []string{"a.rego:2:1: allow must be true or false"}},
		{"allow as a function", []string{"a.rego", "package ostiary\nallow(x) if x\n"}, []string{"a.rego:2:1: allow must be true or false"}},
		{"no allow", []string{"a.rego", "package ostiary\nallowed if true\n"}, []string{"no file has a rule allow in package ostiary"}},
		{"another package", []string{"a.rego", "package other\ndefault allow := false\n"}, []string{"no file has a rule allow"}},
		{"the gate's package", []string{"a.rego", sound, "b.rego", "package ostiarygate\nlisted if true\n"}, []string{"b.rego:1:1: package ostiarygate is the gateway's own"}},
		{"a package named as a rule", []string{"a.rego", sound, "b.rego", "package ostiary.deny\nx if true\n"}, []string{"b.rego:1:1: a package can't be named as the rule deny"}},
		{"no default", []string{"a.rego", "package ostiary\nallow if input.user.name == \"x\"\n"}, []string{"a canary request gets no answer: allow is undefined; write default allow := false"}},
		{"allow is no boolean", []string{"a.rego", "package ostiary\nallow := \"yes\"\n"}, []string{"allow must be true or false; write default"}},
		{"a failing rule", []string{"a.rego", sound + "allow if to_number(input.user.name) == 1\n"}, []string{"a.rego:4:10: a canary request fails here: to_number: "}},
		{"the network", []string{"a.rego", sound + "allow if http.send({\"method\": \"get\", \"url\": \"http://x\"}).status_code == 200\n"},
			[]string{"a.rego:4:10: undefined function http.send; rules decide from input and data alone"}},
		{"a failing test", []string{"a.rego", sound, "a_test.rego", "package ostiary_test\n\nimport data.ostiary\n\ntest_x if ostiary.allow\n"},
			[]string{"a_test.rego:5:1: test data.ostiary_test.test_x does not pass"}},
		{"a test put off", []string{"a.rego", sound, "a_test.rego", "package ostiary_test\n\ntodo_test_x if true\n"}, []string{"a_test.rego:3:1: test data.ostiary_test.todo_test_x does not pass"}},
		{"no rules", []string{"data.json", "{}"}, []string{"there is no .rego file"}},
		{"an empty file", []string{"a.rego", "\n"}, []string{"a.rego:1:1: empty module"}},
		{"data that is no JSON", []string{"a.rego", sound, "data.json", "{\n  \"a\": 1,\n  \"b\" 2\n}"}, []string{"data.json:3:7: is not JSON: "}},
		{"data with a key twice", []string{"a.rego", sound, "data.json", "{\"a\": 1,\n\"a\": 2}"}, []string{"data.json:2:4: is not JSON: a key stands twice"}},
		{"data that is no YAML", []string{"a.rego", sound, "data.yaml", "a: 1\nb: [1\n"}, []string{"data.yaml:"}},
		{"data that is a list", []string{"a.rego", sound, "data.json", "[]"}, []string{"data.json:1:1: must hold an object"}},
		{"two files for one value", []string{"a.rego", sound, "a.json", `{"x":{"y":1}}`, "b.yaml", "x: {y: 2}\n"}, []string{"b.yaml:1:1: gives data.x.y a value, and so does another file"}},
		{"data over a rule", []string{"a.rego", sound, "ostiary/data.json", `{"allow":true}`}, []string{"a.rego:"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := refused(t, tt.files...)
			if len(got) != len(tt.want) {
				t.Fatalf("got %d lines, want %d:\n%s", len(got), len(tt.want), strings.Join(got, "\n"))
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("got  %s\nwant %s…", got[i], want)
				}
			}
		})
	}
}

// TestRulesCantReachOutside goes through everything that answers differently
// from one time or place to the next.
func TestRulesCantReachOutside(t *testing.T) {
	for name, call := range map[string]string{
		"http.send":              `http.send({"method": "get", "url": "http://localhost/"})`,
		"net.lookup_ip_addr":     `net.lookup_ip_addr("localhost")`,
		"time.now_ns":            `time.now_ns()`,
		"rand.intn":              `rand.intn("x", 3)`,
		"uuid.rfc4122":           `uuid.rfc4122("x")`,
		"opa.runtime":            `opa.runtime()`,
		"rego.parse_module":      `rego.parse_module("a", "package a")`,
		"trace":                  `trace("x")`,
		"io.jwt.encode_sign_raw": `io.jwt.encode_sign_raw("{}", "{}", "{}")`,
		"io.jwt.decode_verify":   `io.jwt.decode_verify("x", {})`,
		"json.match_schema":      `json.match_schema({}, {"$ref": "http://localhost/"})`,
		"json.verify_schema":     `json.verify_schema({"$ref": "http://localhost/"})`,
		"crypto.x509.parse_and_verify_certificates": `crypto.x509.parse_and_verify_certificates("x")`,
		"providers.aws.sign_req":                    `providers.aws.sign_req({}, {}, 1)`,
	} {
		t.Run(name, func(t *testing.T) {
			got := refused(t, "a.rego", sound+"allow if "+call+"\n")
			if !strings.Contains(got[0], "undefined function "+name+"; rules decide from input and data alone") {
				t.Errorf("got %s", got[0])
			}
		})
	}
	for _, b := range capabilities().Builtins {
		if b.Nondeterministic {
			t.Errorf("%s is left", b.Name)
		}
	}
}

func TestDataStandsWhereItsFolderSays(t *testing.T) {
	e, err := Load(directory(t,
		"policy.rego", sound+"allow if { data.teams.github[_] == \"engineering\"; data.limit == 3; data.deep.er.flag }\n",
		"data.json", `{"limit":3}`,
		"teams/github.yaml", "github: [engineering]\n",
		"deep/er/x.yml", "flag: true\n",
		".hidden/data.json", `not JSON`,
		".data.json.swp.json", `not JSON`,
		"README.md", "not a policy",
	), patient())
	if err != nil {
		t.Fatal(err)
	}
	if d, err := e.Decide(t.Context(), request()); err != nil || !d.Allow {
		t.Errorf("%+v, %v", d, err)
	}
	if e.Files() != 4 {
		t.Errorf("%d files, want 4", e.Files())
	}
}

func TestFilesMayBeLinks(t *testing.T) {
	real := directory(t, "real.rego", sound)
	dir := t.TempDir()
	// As Kubernetes mounts a ConfigMap.
	for name, to := range map[string]string{"..data": real, "policy.rego": filepath.Join("..data", "real.rego")} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	e, err := Load(dir, patient())
	if err != nil || e.Files() != 1 {
		t.Fatal(e, err)
	}
}

func TestADirectoryIsBounded(t *testing.T) {
	dir := directory(t, "policy.rego", sound)
	padding := func(n int) string { return "#" + strings.Repeat("x", n-2) + "\n" }
	write(t, filepath.Join(dir, "pad.yaml"), "a: 1\n"+padding(MaxBytes-len(sound)-5))
	if _, err := readSources(dir); len(err) > 0 {
		t.Errorf("with just all bytes: %v", err)
	}
	write(t, filepath.Join(dir, "pad.yaml"), "a: 1\n"+padding(MaxBytes-len(sound)-4))
	if _, err := readSources(dir); len(err) != 1 || !strings.Contains(err[0].Text, "more than 16 MiB") {
		t.Errorf("with a byte more: %v", err)
	}
	dir = t.TempDir()
	for i := range MaxFiles {
		write(t, filepath.Join(dir, "f"+strings.Repeat("0", 4)+string(rune('a'+i/40))+string(rune('a'+i%40))+".json"), "{}")
	}
	if s, err := readSources(dir); len(err) > 0 || len(s.files) != MaxFiles {
		t.Errorf("with just all files: %v", err)
	}
	write(t, filepath.Join(dir, "more.json"), "{}")
	if _, err := readSources(dir); len(err) != 1 || !strings.Contains(err[0].Text, "more than 1024 files") {
		t.Errorf("with a file more: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "nowhere"), Options{}); err == nil || !strings.Contains(err.Error(), "nowhere: no such file or directory; check --policies") {
		t.Errorf("got %v", err)
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name, rules, want string
	}{
		{"none", `allow if { "x" in input.user.groups; input.arguments.any.thing == 1; input.counters.calls < 3; input.target.annotations.readOnlyHint }`, ""},
		{"the whole input", `allow if object.get(input, ["user", "name"], "") == "x"`, "reads all of input"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := engine(t, tt.rules, patient()).Warnings()
			if (len(got) > 0) != (tt.want != "") || len(got) > 1 || len(got) == 1 && !strings.Contains(got[0].String(), tt.want) {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestARuleThatMisreadsTheInputIsRefused: it would never hold, and a deny that
// never holds allows.
func TestARuleThatMisreadsTheInputIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, rules, want string }{
		{"a misspelt field", `deny contains "x" if not "x" in input.user.group`,
			"policy.rego:5:33: input.user.group is no field of the input document; did you mean input.user.groups? there is amr, auth_time, groups, id, name"},
		{"letters swapped", `deny contains "x" if input.user.gruops`, "did you mean input.user.groups?"},
		{"a misspelt group", `allow if input.usr.name == "x"`, "policy.rego:5:10: input.usr.name is no field of the input document; did you mean input.user?"},
		{"nothing like it", `allow if input.user.shoesize == 1`, "input.user.shoesize is no field of the input document; there is amr"},
		{"by another name", `allow if { u := input.user; u.gruops }`, "there is amr, auth_time, groups"},
		{"a part of no object", `allow if input.user.name.first == "x"`, "input.user.name.first is no field"},
		{"the wrong type", `allow if input.time.hour == "20"`, "policy.rego:5:10: match error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(directory(t, "policy.rego", "package ostiary\n\ndefault allow := false\n\n"+tt.rules), patient())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestEveryFieldOfTheInputMayBeRead: no path of the schema is taken for a
// mistake, in rules that a company might write.
func TestEveryFieldOfTheInputMayBeRead(t *testing.T) {
	var rules strings.Builder
	for i, l := range leaves() {
		fmt.Fprintf(&rules, "reasons contains \"%d\" if input.%s\n", i, l.path)
	}
	rules.WriteString(`reasons contains "below" if { input.arguments.a.b[0].c; input.responses.q1.content.sure; input.counters["x"] > 1; some l in input.target.labels; l == "x" }`)
	engine(t, rules.String(), patient())
}

func TestRevisionNamesTheFiles(t *testing.T) {
	revision := func(files ...string) string {
		e, err := Load(directory(t, files...), patient())
		if err != nil {
			t.Fatal(err)
		}
		return e.Revision()
	}
	first := revision("a.rego", sound, "data.json", `{"a":1}`)
	if again := revision("a.rego", sound, "data.json", `{"a":1}`); again != first {
		t.Errorf("%s and %s for the same files", first, again)
	}
	seen := []string{first}
	for _, other := range []string{revision("a.rego", sound+"\n", "data.json", `{"a":1}`), revision("a.rego", sound, "data.json", `{"a":2}`), revision("a.rego", sound)} {
		if slices.Contains(seen, other) {
			t.Errorf("%s again", other)
		}
		seen = append(seen, other)
	}
}
