package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rules writes a policy directory, given as names and contents in turn.
func rules(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const engineers = `package ostiary

default allow := false

allow if {
	"engineering" in input.user.groups
	input.upstream == "github"
}

deny contains "no writes at night" if {
	"write" in input.target.labels
	input.time.hour >= 20
}
`

const engineersTest = `package ostiary_test

import data.ostiary

test_engineers if ostiary.allow with input as {"user": {"groups": ["engineering"]}, "upstream": "github"}
`

func TestPolicyCheckSaysWhatIsWrongAndWhatIsRead(t *testing.T) {
	dir := rules(t, "p.rego", engineers, "p_test.rego", engineersTest)
	code, out, errs := ostiary(t, "policy", "check", dir)
	if code != exitDone || errs != "" || out != dir+": 2 files, 1 test passed\ndecisions depend on upstream, target.labels, user.groups, time.hour\nlists change with the time\n" {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	broken := rules(t, "p.rego", engineers+"\ndeny if input.user.name == \"x\"\n")
	code, out, errs = ostiary(t, "policy", "check", "--policies", broken)
	if code != exitFailed || out != filepath.Join(broken, "p.rego")+":15:1: deny must be a set; write deny contains \"reason\" if { … }\n" || !strings.Contains(errs, "1 problem; nothing of it would be served") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	misspelt := rules(t, "p.rego", strings.Replace(engineers, "user.groups", "user.group", 1))
	if code, out, _ = ostiary(t, "policy", "check", misspelt); code != exitFailed || out != filepath.Join(misspelt, "p.rego")+":6:19: input.user.group is no field of the input document; did you mean input.user.groups? there is amr, auth_time, groups, id, name\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	code, out, _ = ostiary(t, "policy", "check", rules(t, "p.rego", engineers+"\ndeny contains \"x\" if object.get(input, [\"user\", \"name\"], \"\") == \"x\"\n"), "--format", "json")
	var report struct {
		OK       bool
		Problems []struct{ Text string }
		Warnings []struct {
			Line int
			Text string
		}
		Reads []string
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitDone || !report.OK || len(report.Warnings) != 1 || report.Warnings[0].Line != 15 || !strings.Contains(report.Warnings[0].Text, "reads all of input") {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
}

func TestPolicySchemaPrintsTheSchemaOfTheInput(t *testing.T) {
	code, out, _ := ostiary(t, "policy", "schema")
	var schema struct{ Properties map[string]any }
	if err := json.Unmarshal([]byte(out), &schema); code != exitDone || err != nil || schema.Properties["counters"] == nil {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
}

func TestPolicyTestFailsWithTheTests(t *testing.T) {
	dir := rules(t, "p.rego", engineers, "p_test.rego", engineersTest)
	code, out, _ := ostiary(t, "policy", "test", dir, "--coverage")
	if code != exitDone || !strings.Contains(out, "pass  data.ostiary_test.test_engineers") || !strings.Contains(out, "p.rego: ") || !strings.Contains(out, "without lines 3, 10, 11, 12") || !strings.Contains(out, "1 passed, 0 failed") {
		t.Errorf("exit %d, %s", code, out)
	}
	dir = rules(t, "p.rego", engineers, "p_test.rego", engineersTest+"\ntest_nobody if {\n\tprint(\"looked\")\n\tostiary.allow with input as {}\n}\n")
	code, out, _ = ostiary(t, "policy", "test", dir)
	if code != exitFailed || !strings.Contains(out, "fail  data.ostiary_test.test_nobody") || !strings.Contains(out, "looked") || !strings.Contains(out, "1 passed, 1 failed") {
		t.Errorf("exit %d, %s", code, out)
	}
	code, _, errs := ostiary(t, "policy", "check", dir)
	if code != exitFailed || !strings.Contains(errs, "1 problem") {
		t.Errorf("check: exit %d, %s", code, errs)
	}
}

func TestPolicyEvalDecidesOneRequest(t *testing.T) {
	dir := rules(t, "p.rego", engineers+"\ndeny contains \"too long\" if count(input.arguments.title) > 5\n\nobligations contains {\"type\": \"rate\", \"class\": \"heavy\"} if input.source.ip == \"192.0.2.1\"\n")
	document, err := os.ReadFile("../../policy/testdata/call.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		in   string
		want string
	}{
		{"allowed", []string{"--group", "staff", "--group", "engineering", "--tool", "github/x"}, "", "decision  allow\nlisted    yes\n"},
		{"another group", []string{"--group", "staff", "--tool", "github/x"}, "", "decision  deny\nlisted    no\n"},
		{"arguments", []string{"--group", "engineering", "--tool", "github/x", "--args", `{"title":"too long a title"}`}, "", "decision  deny\nreason    too long\nlisted    yes\n"},
		{"label and time", []string{"--group", "engineering", "--tool", "github/x", "--label", "write", "--at", "2026-03-02T21:00:00Z"}, "", "decision  deny\nreason    no writes at night\nlisted    no\n"},
		{"source", []string{"--group", "engineering", "--tool", "github/x", "--source", "192.0.2.1"}, "", "decision    allow\nobligation  {\"class\":\"heavy\",\"type\":\"rate\"}\nlisted      yes\n"},
		{"a document", []string{"--input", "-"}, string(document), "decision  deny\nreason    too long\nlisted    yes\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &console{in: tt.in, env: map[string]string{"OSTIARY_POLICY_TIME_ZONE": "UTC", "OSTIARY_POLICY_TIMEOUT": "10s"}}
			code := c.run(t.Context(), append([]string{"policy", "eval", dir}, noonUnlessSaid(tt.args)...)...)
			if code != exitDone || c.out.String() != tt.want {
				t.Errorf("exit %d, %q, %s", code, c.out.String(), c.err.String())
			}
		})
	}
	code, out, _ := ostiary(t, "policy", "eval", dir, "--group", "engineering", "--tool", "github/x", "--at", "2026-03-02T12:00:00Z", "--format", "json")
	var report struct {
		Allow, Listed bool
		Reasons       []string
		Revision      string
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitDone || !report.Allow || !report.Listed || report.Reasons == nil || report.Revision == "" {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
}

func TestPolicyEvalExplains(t *testing.T) {
	dir := rules(t, "p.rego", engineers)
	code, out, errs := ostiary(t, "policy", "eval", dir, "--group", "staff", "--tool", "github/x", "--explain", "--at", "2026-03-02T12:00:00Z")
	want := "false  allow\n       stopped at  \"engineering\" in input.user.groups\n               in  " + filepath.Join(dir, "p.rego") + ":6\n             read  input.user.groups = [\"staff\"]\n"
	if code != exitDone || !strings.Contains(out, want) {
		t.Errorf("exit %d, %s%s; want %s", code, out, errs, want)
	}
}

// noonUnlessSaid adds a time by day to flags without one.
func noonUnlessSaid(args []string) []string {
	for _, a := range args {
		if a == "--at" || a == "--input" {
			return args
		}
	}
	return append(args, "--at", "2026-03-02T12:00:00Z")
}

func TestPolicyEvalSaysWhenTheRulesFail(t *testing.T) {
	dir := rules(t, "p.rego", "package ostiary\n\ndefault allow := false\n\nallow if { input.user.name == \"ann\"; to_number(input.target.name) == 1 }\n")
	code, out, errs := ostiary(t, "policy", "eval", dir, "--user", "ann", "--tool", "a/x")
	if code != exitFailed || !strings.Contains(out, "decision  deny") || !strings.Contains(errs, "policy_error: "+filepath.Join(dir, "p.rego")+":5:38: eval_builtin_error") {
		t.Errorf("exit %d, %s, %s", code, out, errs)
	}
}

func TestPolicyVerbsRefuseWhatCannotBeMeant(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"policy"}, exitUsage, "policy: needs one of check, test, eval, explain, replay, schema"},
		{[]string{"policy", "check", "a", "b"}, exitUsage, `unexpected "b"`},
		{[]string{"policy", "check"}, exitFailed, "there is no ./policies; name a directory"},
		{[]string{"policy", "check", "nowhere"}, exitFailed, "1 problem"},
		{[]string{"policy", "test", "nowhere"}, exitFailed, "nowhere: no such file or directory"},
		{[]string{"policy", "eval"}, exitUsage, "which request?"},
		{[]string{"policy", "eval", "--tool", "x"}, exitFailed, "there is no ./policies"},
		{[]string{"policy", "eval", ".", "--tool", "x"}, exitUsage, "is not UPSTREAM/NAME"},
		{[]string{"policy", "eval", ".", "--tool", "x/y", "--args", "[]"}, exitUsage, "--args is not a JSON object"},
		{[]string{"policy", "eval", ".", "--tool", "x/y", "--at", "noon"}, exitUsage, "is not a time"},
		{[]string{"policy", "eval", ".", "--tool", "x/y", "--input", "-"}, exitUsage, "leave the other flags out"},
		{[]string{"policy", "eval", ".", "--input", "nofile"}, exitFailed, "check --input"},
		{[]string{"serve", "--no-auth", "--listen", "127.0.0.1:0", "--policies", "nowhere"}, exitFailed, "no such file or directory"},
	} {
		code, _, errs := ostiary(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, code, errs, c.code, c.want)
		}
	}
	for in, want := range map[string]string{`{"user":{"nmae":"x"}}`: "unknown field", `{} {}`: "more than one document", `nothing`: "not an input document"} {
		c := &console{in: in}
		if code := c.run(t.Context(), "policy", "eval", ".", "--input", "-"); code != exitFailed || !strings.Contains(c.err.String(), want) {
			t.Errorf("%s: exit %d, %s", in, code, c.err.String())
		}
	}
	c := &console{env: map[string]string{"OSTIARY_POLICY_TIME_ZONE": "Mars/Olympus"}}
	if code := c.run(t.Context(), "policy", "check", "."); code != exitFailed || !strings.Contains(c.err.String(), "is not a time zone") {
		t.Errorf("exit %d, %s", code, c.err.String())
	}
}

// TestServeDecidesByThePoliciesAndFollowsThem: who may see and call the tool
// changes with the file, a broken file changes nothing and is said.
func TestServeDecidesByThePoliciesAndFollowsThem(t *testing.T) {
	upstream := httptest.NewServer(newEcho(1))
	defer upstream.Close()
	s := newSite(t)
	s.declare(t, "upstreams:\n  up:\n    url: "+upstream.URL+"\n")
	open := "package ostiary\n\ndefault allow := false\n\nallow if input.user.name == \"local\"\n"
	dir := rules(t, "p.rego", open)
	g := s.serve(t, "--policies", dir)
	if !strings.Contains(g.err.String(), "1 file of "+dir) {
		t.Errorf("the policies are not announced: %s", g.err.String())
	}
	calls := func() bool {
		code, _, _ := ostiary(t, "tools", "call", "up__echo", "text=hi", "--url", g.url)
		return code == exitDone
	}
	eventually(t, "a call that is allowed", calls)

	put := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "p.rego"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(open + "deny if true\n")
	eventually(t, "the problem in readyz", func() bool {
		code, body := get(t, g.base+"/readyz")
		return code == http.StatusOK && strings.Contains(body, "the last good policies decide")
	})
	if !calls() || !strings.Contains(g.err.String(), "p.rego:6:1: deny must be a set") {
		t.Error("after a broken file")
	}
	put(strings.Replace(open, "local", "nobody", 1))
	eventually(t, "a call that is denied", func() bool { return !calls() })
	if _, body := get(t, g.base+"/readyz"); !strings.Contains(body, `"policies":"ok"`) {
		t.Error(body)
	}
	g.stop()
	code, out, errs := ostiary(t, "audit", "query", "--data", s.data, "--format", "json")
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, errs)
	}
	for _, event := range []string{"policy.refused", "policy.reload"} {
		if !strings.Contains(out, `"event":"`+event+`"`) {
			t.Errorf("no record of %s in %s", event, out)
		}
	}
}
