package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

const guarded = `package ostiary

default allow := false

allow if {
	input.user.name == "local"
	input.upstream == "up"
}

deny contains "too long" if count(input.arguments.text) > data.most

deny contains "not there" if {
	some bad in ["/etc", "/root"]
	startswith(input.arguments.text, bad)
}
`

// judged is a site whose log has calls of up's echo with these texts, of which
// the first is allowed, decided by guarded. It still serves.
func judged(t *testing.T, texts ...string) (s *site, dir string) {
	t.Helper()
	s, dir, _ = judgedUntil(t, texts...)
	return s, dir
}

// judgedUntil is judged with what ends the server.
func judgedUntil(t *testing.T, texts ...string) (s *site, dir string, stop func() int) {
	t.Helper()
	upstream := httptest.NewServer(newEcho(1))
	t.Cleanup(upstream.Close)
	s = newSite(t)
	s.declare(t, "upstreams:\n  up:\n    url: "+upstream.URL+"\n    labels: [words]\n")
	dir = rules(t, "p.rego", guarded, "data.json", `{"most": 5}`)
	g := s.serve(t, "--policies", dir)
	call := func(text string) bool {
		code, _, _ := ostiary(t, "tools", "call", "up__echo", "text="+text, "--url", g.url)
		return code == exitDone
	}
	eventually(t, "a call that is allowed", func() bool { return call(texts[0]) })
	for _, text := range texts[1:] {
		call(text)
	}
	return s, dir, g.stop
}

// decisions are the calls on record, in their order.
func (s *site) decisions(t *testing.T) (all []*audit.Record) {
	t.Helper()
	for r, err := range audit.Query(s.data, audit.Filter{Kind: "decision", Tool: "echo"}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestPolicyExplainSaysWhyARecordWasDecided(t *testing.T) {
	s, dir := judged(t, "hi", "/etc/passwd")
	all := s.decisions(t)
	if len(all) != 2 {
		t.Fatalf("%d decisions, want 2", len(all))
	}
	file := filepath.Join(dir, "p.rego")
	code, out, errs := ostiary(t, "policy", "explain", all[1].DecisionID, "--data", s.data, "--policies", dir)
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, errs)
	}
	for _, want := range []string{
		": local, tools/call, up/echo\n",
		"then: deny: not there; too long\n",
		"these policies, " + dir + ", decided it (revision " + all[1].Decision.Revision + ")\n",
		"true   deny contains \"too long\"\n               in  " + file + ":10\n             gave  \"too long\"\n             read  input.arguments.text = \"/etc/passwd\"\n             read  data.most = 5\n",
		"true   deny contains \"not there\"\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	_, out, _ = ostiary(t, "policy", "explain", all[0].DecisionID, "--data", s.data, "--policies", dir)
	if want := "false  deny contains \"not there\"\n       stopped at  startswith(input.arguments.text, bad)\n             with  bad = \"/root\"\n            tried  2 times, the last of them shown\n               in  " + file + ":14\n             read  input.arguments.text = \"hi\"\n"; !strings.Contains(out, want) {
		t.Errorf("no %q in\n%s", want, out)
	}

	// The number of the outcome does as well, and another policy is said to be one.
	if err := os.WriteFile(filepath.Join(dir, "data.json"), []byte(`{"most": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the outcome", func() bool {
		code, out, errs = ostiary(t, "policy", "explain", fmt.Sprint(all[0].Seq+1), "--data", s.data, "--policies", dir)
		return code == exitDone
	})
	for _, want := range []string{"then: allow\n", "now:  deny: too long\n", "NOT the policies of then", all[0].Decision.Revision} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s%s", want, out, errs)
		}
	}
	code, out, _ = ostiary(t, "policy", "explain", fmt.Sprint(all[0].Seq), "--data", s.data, "--policies", dir, "--format", "json")
	var x explained
	if err := json.Unmarshal([]byte(out), &x); err != nil || code != exitDone || x.Same || x.Decision.Allow || !x.Then.Allow || len(x.Rules) != 4 || x.Input.User.Name != "local" {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
}

// TestPolicyVerbsOpenWhatIsSealed: a redacted argument that rules read is opened
// for the operator, by the server or without one, and that is on record.
func TestPolicyVerbsOpenWhatIsSealed(t *testing.T) {
	const secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzZWNyZXQifQ.c2lnbmF0dXJlc2lnbmF0dXJl"
	s, dir, stop := judgedUntil(t, "hi", secret)
	r := s.decisions(t)[1]
	if strings.Contains(string(r.Line), secret) || r.Sealed == nil {
		t.Fatalf("the argument is not sealed: %s", r.Line)
	}
	opened := func() (n int) {
		for r, err := range audit.Query(s.data, audit.Filter{Kind: "event"}) {
			if err == nil && r.Event == "audit.opened" {
				n++
			}
		}
		return n
	}
	for i, how := range []string{"beside a server", "without one"} {
		if i == 1 {
			stop()
		}
		code, out, errs := ostiary(t, "policy", "explain", r.DecisionID, "--data", s.data, "--policies", dir)
		if code != exitDone || !strings.Contains(out, "read  input.arguments.text = \""+secret+"\"") || !strings.Contains(out, "gave  \"too long\"") {
			t.Errorf("%s: exit %d, %s%s", how, code, out, errs)
		}
		changes, sum := replays(t, exitDone, "--data", s.data, "--policies", dir, "--tool", "echo")
		if len(changes) > 0 || sum.Same != 2 {
			t.Errorf("%s: %+v, %+v", how, sum, changes)
		}
		eventually(t, how+", records of what was opened", func() bool { return opened() == 2*(i+1) })
	}
}

func TestPolicyExplainSaysWhatItCannotExplain(t *testing.T) {
	dir := rules(t, "p.rego", guarded, "data.json", `{"most": 5}`)
	decision := func() *audit.Record {
		r := decided(&policy.Request{Upstream: "up", User: policy.User{Name: "local"}, Time: policy.At(time.Now())}, &policy.Decision{Revision: "then"})
		r.DecisionID = "d1"
		return r
	}
	list, early, large, schema := decision(), decision(), decision(), decision()
	list.Shown, list.DecisionID = &audit.Shown{}, "list"
	early.Decision.Revision, early.Reason, early.DecisionID = "", "ambiguous_json", "early"
	large.Arguments, large.DecisionID = &audit.Payload{Digest: "00", Size: 100_000, Preview: "{"}, "large"
	schema.Reason, schema.DecisionID = "schema", "schema"
	data := logOf(t, list, early, large, schema, &audit.Record{Kind: "event", Event: "e"})
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{}, exitUsage, "want one SEQ|DECISION_ID"},
		{[]string{"999999"}, exitFailed, "no such record in the audit log: 999999"},
		{[]string{"abcdef"}, exitFailed, "no decision abcdef"},
		{[]string{"5"}, exitFailed, "record 5 is no decision but of kind event"},
		{[]string{"list"}, exitFailed, "is a list"},
		{[]string{"early"}, exitFailed, "was refused before policy was asked: ambiguous_json"},
		{[]string{"schema"}, exitFailed, "was refused before policy was asked: schema"},
		{[]string{"large"}, exitFailed, "record 3 does not hold arguments, which the rules read"},
		{[]string{"large", "--policies", "nowhere"}, exitFailed, "no such file"},
	} {
		args := append([]string{"policy", "explain", "--data", data, "--policies", dir}, c.args...)
		if code, _, errs := ostiary(t, args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d, %q; want %d and %q", c.args, code, errs, c.code, c.want)
		}
	}
	// What no rule reads may be missing.
	plain := rules(t, "p.rego", "package ostiary\n\ndefault allow := false\n\nallow if input.user.name == \"local\"\n")
	if code, out, errs := ostiary(t, "policy", "explain", "large", "--data", data, "--policies", plain); code != exitDone || !strings.Contains(out, "now:  allow") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
}

// decided is the record that the gateway makes of a request and a decision.
func decided(req *policy.Request, d *policy.Decision) *audit.Record {
	r := &audit.Record{
		Kind: "decision", Time: time.Unix(req.Time.Unix, 0), Outcome: "ok", Input: audit.InputOf(req),
		User: req.User, Client: req.Client, Grant: req.Grant, Agent: req.Agent, Source: req.Source, Request: req.Request,
		Upstream: req.Upstream, Target: req.Target, Decision: d, Revisions: audit.Revisions{Policy: d.Revision},
	}
	if req.Arguments != nil {
		r.Arguments = &audit.Payload{Value: req.Arguments, Size: len(req.Arguments)}
	}
	if req.Responses != nil {
		r.Responses = &audit.Payload{Value: req.Responses, Size: len(req.Responses)}
	}
	return r
}

// logOf writes records to a data directory of their own.
func logOf(t testing.TB, records ...*audit.Record) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := audit.Open(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		l.Note(r)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}
