package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/policy/rego"
	"github.com/ostiary/ostiary/store/audit"
)

// replays runs the verb and gives its changes and its sum.
func replays(t *testing.T, wantCode int, args ...string) (changes []replayed, sum replaySum) {
	t.Helper()
	code, out, errs := ostiary(t, append([]string{"policy", "replay", "--format", "json"}, args...)...)
	if code != wantCode {
		t.Fatalf("exit %d, want %d: %s", code, wantCode, errs)
	}
	for line := range strings.Lines(out) {
		var last struct{ Sum *replaySum }
		if json.Unmarshal([]byte(line), &last); last.Sum != nil {
			sum = *last.Sum
			continue
		}
		var r replayed
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		changes = append(changes, r)
	}
	return changes, sum
}

func TestPolicyReplayPrintsWhatWouldChange(t *testing.T) {
	const before = "package ostiary\n\ndefault allow := false\n\nallow if input.upstream == \"up\"\n\ndeny contains \"old\" if input.arguments.n == 3\n"
	const after = `package ostiary

default allow := false

allow if input.upstream == "up"

deny contains "small" if input.arguments.n < 2

obligations contains {"type": "rate", "class": "heavy"} if input.arguments.n == 4

reasons contains "why not" if input.arguments.n == 5

deny contains "failing" if { input.upstream == "up"; to_number(input.user.name) == 7 }
`
	e, err := rego.Load(rules(t, "p.rego", before), rego.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var records []*audit.Record
	for n, user := range []string{"1", "1", "1", "1", "1", "1", "notanumber"} {
		req := &policy.Request{Version: 1, Upstream: "up", User: policy.User{Name: user}, Arguments: fmt.Appendf(nil, `{"n":%d}`, n), Time: policy.At(time.Now())}
		d, err := e.Decide(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, decided(req, &d))
	}
	hidden := *records[2]
	hidden.Arguments = &audit.Payload{Digest: "00", Size: 9}
	late := *records[2]
	late.Decision, late.Reason = &policy.Decision{Revision: "r"}, policy.FailedTimeout
	list := *records[2]
	list.Shown = &audit.Shown{}
	early := *records[2]
	early.Decision = &policy.Decision{}
	data := logOf(t, append(records, &hidden, &late, &list, &early, &audit.Record{Kind: "event"})...)
	dir := rules(t, "p.rego", after)

	changes, sum := replays(t, exitDone, "--data", data, "--policies", dir)
	want := []string{"1 allow→deny", "2 allow→deny", "4 deny→allow", "5 obligations", "6 reasons", "7 allow→deny", "8 undecidable", "9 undecidable"}
	var got []string
	for _, c := range changes {
		got = append(got, fmt.Sprint(c.Seq, " ", c.Change))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if !strings.Contains(changes[5].Why, "policy_error") || !strings.Contains(changes[6].Why, "does not hold arguments") || !strings.Contains(changes[7].Why, "policy_timeout") {
		t.Errorf("%+v", changes[5:])
	}
	sum.Seconds, sum.Revision = 0, ""
	if s := (replaySum{Decisions: 9, Same: 1, AllowToDeny: 3, DenyToAllow: 1, Obligations: 1, Reasons: 1, Undecidable: 2, Lists: 1, NotAsked: 1, Policies: dir}); sum != s {
		t.Errorf("got  %+v\nwant %+v", sum, s)
	}

	if _, sum := replays(t, exitDone, "--data", data, "--policies", dir, "--decision", "deny"); sum.Decisions != 2 {
		t.Errorf("only denials: %+v", sum)
	}
	replays(t, exitFailed, "--data", data, "--policies", dir, "--fail-on-change")
	code, out, _ := ostiary(t, "policy", "replay", "--data", data, "--policies", dir)
	if code != exitDone || !strings.Contains(out, "9 decisions judged by "+dir+": 1 same, 3 allow→deny, 1 deny→allow, 1 with other obligations, 1 with other reasons, 2 undecidable\nleft out: 1 list, and 1 request refused before policy was asked\n") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, _, errs := ostiary(t, "policy", "replay", "--data", data, "--policies", dir, "--decision", "maybe"); code != exitUsage || !strings.Contains(errs, "--decision is allow or deny") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// TestReplayUnderTheSamePoliciesChangesNothing: over the policies of the library
// and requests of all sorts, what is judged again from the record is judged the
// same.
func TestReplayUnderTheSamePoliciesChangesNothing(t *testing.T) {
	names, err := filepath.Glob("../../policy/rego/library/*")
	if err != nil || len(names) < 5 {
		t.Fatal(names, err)
	}
	zone, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		t.Fatal(err)
	}
	g := rand.New(rand.NewPCG(3, 4))
	pick := func(words ...string) string { return words[g.IntN(len(words))] }
	for _, name := range names {
		dir := t.TempDir()
		add := func(name string) {
			if err := os.CopyFS(filepath.Join(dir, filepath.Base(name)), os.DirFS(name)); err != nil {
				t.Fatal(err)
			}
		}
		add(name)
		e, err := rego.Load(dir, rego.Options{Timeout: 10 * time.Second})
		if err != nil { // it only denies, and needs one that allows
			add("../../policy/rego/library/everyone")
			e, err = rego.Load(dir, rego.Options{Timeout: 10 * time.Second})
		}
		if err != nil {
			t.Fatal(err)
		}
		var records []*audit.Record
		for range 60 {
			at := time.Date(2026, 3, 1+g.IntN(14), g.IntN(24), g.IntN(60), 0, 0, zone)
			req := &policy.Request{
				Version: policy.Version, Upstream: pick("github", "files", "tickets", "db"),
				Request:  policy.Act{Method: pick("tools/call", "resources/read"), Kind: "tool", Era: pick("modern", "legacy"), Endpoint: "/mcp"},
				Target:   policy.Target{Kind: "tool", Name: pick("list_repos", "get_issue", "write_file", "query", "pay"), Labels: []string{pick("read", "write", "admin")}, Trusted: g.IntN(2) == 0, Digest: pick("00", "11")},
				User:     policy.User{ID: "local:ann", Name: "ann", Groups: []string{pick("engineering", "support", "finance")}, AuthTime: at.Unix() - int64(g.IntN(9000)), AMR: []string{"pwd"}},
				Client:   policy.Client{ID: pick("cli", "web"), Kind: pick("static", "dynamic"), RedirectHost: "app.example"},
				Grant:    policy.Grant{Scopes: []string{pick("mcp", "write")}, Resource: "https://gateway.example/mcp"},
				Agent:    policy.Agent{Name: pick("a", "b"), Version: "1"},
				Source:   policy.Source{IP: pick("10.1.2.3", "192.0.2.9", "2001:db8::1"), TLS: g.IntN(2) == 0},
				Counters: map[string]int64{"heavy": g.Int64N(20)},
				Time:     policy.At(at),
			}
			if g.IntN(2) == 0 {
				req.Target.Annotations = json.RawMessage(pick(`{"readOnlyHint":true}`, `{"destructiveHint":true}`))
			}
			if g.IntN(4) > 0 {
				req.Arguments = json.RawMessage(pick(`{"path":"/srv/data/a"}`, `{"path":"/etc/passwd"}`, `{"sql":"select 1"}`, `{"sql":"drop table x"}`, `{"amount":12.50}`, `{"amount":90071992547409930}`))
			}
			d, err := e.Decide(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, decided(req, &d))
		}
		changes, sum := replays(t, exitDone, "--data", logOf(t, records...), "--policies", dir, "--fail-on-change")
		if len(changes) > 0 || sum.Same != len(records) {
			t.Errorf("%s: %+v, %+v", name, sum, changes)
		}
	}
}
