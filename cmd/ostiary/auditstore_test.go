package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

// signedLog makes a data directory with a signed log of several segments, and
// copies of its checkpoints and its key elsewhere.
func signedLog(t *testing.T) (dir, outside, key string) {
	t.Helper()
	dir, elsewhere := t.TempDir(), t.TempDir()
	outside, key = filepath.Join(elsewhere, "checkpoints"), filepath.Join(elsewhere, "key")
	signer, err := audit.OpenSigner(dir)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(dir, audit.Options{Reserve: -1, SegmentSize: 1500, Signer: signer, CheckpointEvery: time.Millisecond, Outside: []audit.Outside{audit.FilePlace{Path: outside}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 24 {
		if err := log.Append(t.Context(), &audit.Record{Kind: "event", Event: fmt.Sprint("e", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := ostiary(t, "audit", "key", "--data", dir)
	if code != exitDone || strings.Count(out, "\n") != 1 {
		t.Fatalf("audit key: exit %d, %q, %s", code, out, errs)
	}
	if err := os.WriteFile(key, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, outside, key
}

func segmentLines(t *testing.T, dir string, n int, change func([]string) []string) {
	t.Helper()
	path := filepath.Join(dir, "audit", fmt.Sprintf("segment-%08d.jsonl", n))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := change(strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n"))
	text := strings.TrimSuffix(strings.Join(lines, ""), "\n") + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Security catalogue A-107.
func TestAuditVerifyFindsTampering(t *testing.T) {
	last := func(dir string) int {
		list, _ := filepath.Glob(filepath.Join(dir, "audit", "segment-*.jsonl"))
		return len(list)
	}
	remove := func(t *testing.T, paths ...string) {
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		always bool // also without what is kept elsewhere
		want   string
	}{
		"edited": {func(t *testing.T, dir string) {
			segmentLines(t, dir, 1, func(l []string) []string { l[2] = strings.Replace(l[2], `"e1"`, `"x1"`, 1); return l })
		}, true, "record"},
		"deleted": {func(t *testing.T, dir string) {
			segmentLines(t, dir, 1, func(l []string) []string { return slices.Delete(l, 2, 3) })
		}, true, "follows record"},
		"reordered": {func(t *testing.T, dir string) {
			segmentLines(t, dir, 1, func(l []string) []string { l[1], l[2] = l[2], l[1]; return l })
		}, true, "follows record"},
		"duplicated": {func(t *testing.T, dir string) {
			segmentLines(t, dir, 1, func(l []string) []string { return slices.Insert(l, 2, l[1]) })
		}, true, "follows record"},
		"tail cut": {func(t *testing.T, dir string) {
			segmentLines(t, dir, last(dir), func(l []string) []string { return l[:len(l)-1] })
		}, true, "cut off"},
		"tail cut with its checkpoints": {func(t *testing.T, dir string) {
			n := fmt.Sprintf("audit/segment-%08d", last(dir))
			remove(t, filepath.Join(dir, n+".jsonl"), filepath.Join(dir, n+".checkpoints"))
		}, false, "cut off"},
		"spliced": {func(t *testing.T, dir string) {
			other, _, _ := signedLog(t)
			name := filepath.Join("audit", "segment-00000002.jsonl")
			b, err := os.ReadFile(filepath.Join(other, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, true, "segment"},
		"beginning cut": {func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "audit", "segment-00000001.jsonl")) }, true, "no checkpoint says"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, outside, key := signedLog(t)
			if code, out, errs := ostiary(t, "audit", "verify", "--data", dir, "--checkpoint", outside, "--key", key); code != exitDone || strings.Contains(out, "not proven") {
				t.Fatalf("before: exit %d, %s%s", code, out, errs)
			}
			c.change(t, dir)
			code, _, errs := ostiary(t, "audit", "verify", "--data", dir, "--checkpoint", outside, "--key", key)
			if code != exitFailed || !strings.Contains(errs, c.want) {
				t.Errorf("exit %d, %s", code, errs)
			}
			code, out, _ := ostiary(t, "audit", "verify", "--data", dir)
			if found := code == exitFailed; found != c.always {
				t.Errorf("with what lies beside the log: exit %d", code)
			}
			if !c.always && !strings.Contains(out, "not proven: no checkpoint from elsewhere") {
				t.Errorf("what can't be found is not said: %s", out)
			}
		})
	}
}

func TestAuditVerifySaysWhatItWasGivenInJSON(t *testing.T) {
	dir, outside, key := signedLog(t)
	text, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	_, out, errs := ostiary(t, "audit", "verify", "--data", dir, "--checkpoint", outside, "--key", strings.TrimSpace(string(text)), "--format", "json")
	var r audit.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Records != 24 || r.Signed != 24 || r.Outside != 24 || !r.Pinned || r.Key+"\n" != string(text) {
		t.Errorf("%v %s %s", err, out, errs)
	}
	_, _, otherKey := signedLog(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--key", otherKey}, exitFailed, "not signed by a trusted key"},
		{[]string{"--key", filepath.Join(dir, audit.SignerFile)}, exitUsage, "private key"},
		{[]string{"--key", "nothing"}, exitUsage, "audit key"},
		{[]string{"--checkpoint", key}, exitUsage, "holds no checkpoint"},
		{[]string{"--checkpoint", "nothing"}, exitUsage, "nothing"},
	} {
		code, out, errs := ostiary(t, append([]string{"audit", "verify", "--data", dir}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.want) || strings.Contains(out+errs, "PRIVATE+KEY") {
			t.Errorf("%v: exit %d, %s", c.args, code, errs)
		}
	}
	// A copy of the log's folder alone is enough.
	copied := t.TempDir()
	if err := os.CopyFS(filepath.Join(copied, "audit"), os.DirFS(filepath.Join(dir, "audit"))); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := ostiary(t, "audit", "verify", "--data", copied, "--key", key); code != exitDone {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// calls makes a log of three requests: one that ran, one denied, one unfinished.
func calls(t *testing.T) (dir string) {
	return recorded(t,
		&audit.Record{Kind: "decision", DecisionID: "one", User: policy.User{ID: "local:ann", Name: "ann"}, Upstream: "up", Target: policy.Target{Name: "echo", Kind: "tool"}, Request: policy.Act{Method: "tools/call"}, Decision: &policy.Decision{Allow: true}},
		&audit.Record{Kind: "decision", DecisionID: "two", User: policy.User{ID: "local:bob", Name: "bob"}, Upstream: "up", Target: policy.Target{Name: "echo"}, Request: policy.Act{Method: "tools/call"}, Decision: &policy.Decision{}},
		&audit.Record{Kind: "outcome", DecisionID: "two", Outcome: "denied"},
		&audit.Record{Kind: "event", Event: "signin.failed"},
		&audit.Record{Kind: "outcome", DecisionID: "one", Outcome: "ok", Detail: "Needle"},
		&audit.Record{Kind: "decision", DecisionID: "three", User: policy.User{Name: "ann"}, Decision: &policy.Decision{Allow: true}},
	)
}

// seqs are the sequence numbers of the lines printed.
func seqs(t *testing.T, out string) string {
	t.Helper()
	var list []string
	for line := range strings.Lines(out) {
		var r audit.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		list = append(list, fmt.Sprint(r.Seq))
	}
	return strings.Join(list, " ")
}

func TestRecordsAreSelectedWithTheirOutcomes(t *testing.T) {
	dir := calls(t)
	for _, c := range []struct{ args, want string }{
		{"", "1 2 3 4 5 6"},
		{"--kind decision", "1 2 6"},
		{"--kind outcome --user ann", "5"},
		{"--kind event", "4"},
		{"--decision-id one", "1 5"},
		{"--outcome ok", "1 5"},
		{"--outcome ok --user bob", ""},
		{"--outcome denied --user bob", "2 3"},
		{"--outcome ok --kind decision", "1"},
		{"--outcome ok --text needle", "1 5"},
		{"--outcome timeout", ""},
	} {
		for _, verb := range []string{"query", "export"} {
			code, out, errs := ostiary(t, append([]string{"audit", verb, "--data", dir, "--format", "json"}, strings.Fields(c.args)...)...)
			if got := seqs(t, out); code != exitDone || got != c.want {
				t.Errorf("%s %s: exit %d, %s, want %s; %s", verb, c.args, code, got, c.want, errs)
			}
		}
	}
	if code, _, errs := ostiary(t, "audit", "query", "--data", dir, "--kind", "decisions"); code != exitUsage || !strings.Contains(errs, "--kind is one of decision") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

func TestAuditExportWritesOneOCSFEventForEachRequest(t *testing.T) {
	dir := calls(t)
	for args, want := range map[string]string{
		"": "600399/2 300201/2 600399/1 600399/0", "--user ann": "600399/1 600399/0", "--outcome ok": "600399/1", "--kind event": "300201/2", "--text needle": "600399/1",
	} {
		code, out, errs := ostiary(t, append([]string{"audit", "export", "--data", dir, "--format", "ocsf"}, strings.Fields(args)...)...)
		var got []string
		for line := range strings.Lines(out) {
			var e struct {
				Type   int `json:"type_uid"`
				Status int `json:"status_id"`
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d/%d", e.Type, e.Status))
		}
		if s := strings.Join(got, " "); code != exitDone || s != want {
			t.Errorf("%q: exit %d, %s, want %s; %s", args, code, s, want, errs)
		}
	}
}

func TestAuditTailFollowsUntilItIsEnded(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Options{Reserve: -1, SegmentSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, format := range []string{"json", "table"} {
		ctx, stop := context.WithCancel(t.Context())
		c := &console{}
		code := make(chan int)
		go func() {
			code <- c.run(ctx, "audit", "tail", "--data", dir, "--since", "1h", "--user", "ann", "--format", format)
		}()
		for i := range 40 {
			id := fmt.Sprint(format, i)
			log.Note(&audit.Record{Kind: "decision", DecisionID: id, User: policy.User{Name: "ann"}, Decision: &policy.Decision{Allow: true}, Upstream: id})
			log.Note(&audit.Record{Kind: "decision", DecisionID: "not", User: policy.User{Name: "bob"}, Decision: &policy.Decision{Allow: true}, Upstream: "not"})
			log.Note(&audit.Record{Kind: "outcome", DecisionID: id, Outcome: "ok", Detail: "end"})
		}
		eventually(t, "the last is shown", func() bool { return strings.Contains(c.out.String(), format+"39") })
		stop()
		if got := <-code; got != exitDone || c.err.String() != "" {
			t.Errorf("exit %d, %s", got, c.err.String())
		}
		out := c.out.String()
		if strings.Contains(out, "not") || strings.Count(out, format+"7") < 1 || format == "table" && (!strings.HasPrefix(out, "SEQ ") || strings.Contains(out, "\t")) {
			t.Errorf("%s", out)
		}
	}
	if code, _, errs := ostiary(t, "audit", "tail", "--data", filepath.Join(dir, "none")); code != exitFailed || !strings.Contains(errs, "check --data") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

func TestReadinessSaysThatCheckpointsFail(t *testing.T) {
	s := newSite(t)
	h := openTestHouse(t, s)
	r := &readiness{audit: h.audit, store: h.store, status: h.federation.Status, signs: illSigns{}}
	w := bytes.Buffer{}
	code := readyz(t, r, &w)
	if code != 200 || !strings.Contains(w.String(), `"checkpoints":"failing`) {
		t.Errorf("%d %s", code, w.String())
	}
	w.Reset()
	r.signs = h.audit
	if code := readyz(t, r, &w); code != 200 || !strings.Contains(w.String(), `"checkpoints":"ok"`) {
		t.Errorf("%d %s", code, w.String())
	}
}

// illSigns is a log whose checkpoints go nowhere.
type illSigns struct{}

func (illSigns) CheckpointErr() error { return audit.ErrUnavailable }

func readyz(t *testing.T, r *readiness, body *bytes.Buffer) int {
	t.Helper()
	client := http.Client{Transport: inMemory{r}}
	response, err := client.Get("http://localhost/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}
