package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/ostiary/ostiary/store/audit"
)

// hostile is what an agent or an upstream may call something: it drives a
// terminal, reorders or hides text, and is very long.
const hostile = "a\x1b[2J\u009b31m\u202eb\u200b\ttab\nline"

func recorded(t *testing.T, records ...*audit.Record) (dir string) {
	t.Helper()
	dir = t.TempDir()
	log, err := audit.Open(dir, audit.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := log.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAnAuditTableDrivesNoTerminalAndStaysNarrow(t *testing.T) {
	r := &audit.Record{Kind: "decision", DecisionID: "d", Time: time.Now(), Outcome: hostile, Reason: hostile}
	r.User.Name, r.Client.ID, r.Request.Method, r.Upstream = hostile, hostile, hostile, hostile
	r.Target.Name = hostile + strings.Repeat("n", 60_000)
	code, out, errs := ostiary(t, "audit", "query", "--data", recorded(t, r))
	if code != exitDone {
		t.Fatalf("exit %d, %s", code, errs)
	}
	if strings.ContainsFunc(strings.ReplaceAll(out, "\n", ""), func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
		t.Errorf("%q", out)
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 2 || len(lines[0]) > 1000 || len(lines[1]) > 1000 {
		t.Errorf("%d lines, the first has %d bytes", len(lines), len(lines[0]))
	}
}

func TestAnAuditQueryPrintsTheVeryLinesOfTheLog(t *testing.T) {
	r := &audit.Record{Kind: "decision", DecisionID: "d", Time: time.Now(), Arguments: &audit.Payload{Value: json.RawMessage(`{"n":1.00e+2,"s":"<&>\u202e"}`), Digest: "x", Size: 1}}
	r.Target.Name = hostile
	dir := recorded(t, r)
	_, out, _ := ostiary(t, "audit", "query", "--data", dir, "--format", "json")
	file, err := os.ReadFile(filepath.Join(dir, "audit", "segment-00000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if out == "" || !strings.HasSuffix(string(file), "\n"+out) {
		t.Errorf("printed %q of %q", out, file)
	}
}

// A mistyped --data that exists must not look like a log that verifies.
func TestADirectoryWithoutALogIsNoEmptyLog(t *testing.T) {
	for _, verb := range []string{"query", "verify"} {
		code, out, errs := ostiary(t, "audit", verb, "--data", t.TempDir())
		if code != exitFailed || out != "" || !strings.Contains(errs, "no audit log in ") || !strings.Contains(errs, "check --data") {
			t.Errorf("%s: exit %d, %q, %q", verb, code, out, errs)
		}
	}
}

// Security catalogue A-022.
func TestComplaintsDriveNoTerminal(t *testing.T) {
	var b strings.Builder
	complain(&b, errSaid(hostile))
	if strings.ContainsAny(b.String(), "\x1b\u009b\u202e") || strings.Count(b.String(), "ostiary: ") != 2 {
		t.Errorf("%q", b.String())
	}
}

type errSaid string

func (e errSaid) Error() string { return string(e) }

func TestAToolsTextDrivesNoTerminal(t *testing.T) {
	c := &console{}
	result, err := json.Marshal(map[string]any{"content": []any{map[string]string{"type": "text", "text": hostile}}})
	if err != nil {
		t.Fatal(err)
	}
	f := &format{value: "text", words: []string{"text", "json"}}
	if err := showResult("x", result, f, stdio{Out: &c.out, Err: &c.err}); err != nil {
		t.Fatal(err)
	}
	if got := c.out.String(); got != "a [2J 31m b \ttab\nline\n" {
		t.Errorf("%q", got)
	}
}
