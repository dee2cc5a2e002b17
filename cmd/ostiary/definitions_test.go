package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/store/audit"
)

// notes is a sink that keeps what it is told.
type notes struct {
	all []*audit.Record
	err error
}

func (n *notes) Append(_ context.Context, r *audit.Record) error {
	n.Note(r)
	return nil
}
func (n *notes) Note(r *audit.Record) { n.all = append(n.all, r) }
func (n *notes) Err() error           { return n.err }

func drifts(n int, upstream string, at time.Time) []federation.Drift {
	all := make([]federation.Drift, n)
	for i := range all {
		all[i] = federation.Drift{
			Upstream: upstream, Name: fmt.Sprintf("t%d", i), Exposed: fmt.Sprintf("up__t%d", i), At: at,
			Before: []byte(`{"description":"a"}`), After: []byte(`{"description":"b"}`), DigestBefore: "1", DigestAfter: "2",
		}
	}
	return all
}

func TestAnUpstreamThatChangesAllTheTimeDoesNotFillTheLog(t *testing.T) {
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	sink := &notes{}
	d := &definitions{sink: sink, log: slog.New(slog.DiscardHandler)}
	d.drifted(drifts(driftsAnHour, "up", start))
	if len(sink.all) != driftsAnHour || sink.all[driftsAnHour-1].Reason != "" {
		t.Fatalf("%d records", len(sink.all))
	}
	d.drifted(drifts(3, "up", start.Add(time.Minute)))
	if len(sink.all) != driftsAnHour+1 || sink.all[driftsAnHour].Reason != reasonMany || !strings.Contains(sink.all[driftsAnHour].Detail, "3 more") {
		t.Errorf("%d records, the last %+v", len(sink.all), sink.all[len(sink.all)-1])
	}
	d.drifted(drifts(1, "up", start.Add(59*time.Minute)))
	d.drifted(drifts(1, "other", start.Add(59*time.Minute)))
	d.drifted(drifts(1, "up", start.Add(time.Hour)))
	if got := sink.all[driftsAnHour+1:]; len(got) != 2 || got[0].Upstream != "other" || got[1].Upstream != "up" || got[1].Reason != "" {
		t.Errorf("later: %+v", got)
	}

	sink.all = nil
	for n := range itemsAnHour + 2 {
		d.counted(federation.Inventory{Upstream: "up", AddedCount: 1, At: start.Add(time.Duration(n) * time.Second)})
	}
	if len(sink.all) != itemsAnHour+1 || sink.all[itemsAnHour].Reason != reasonMany || sink.all[itemsAnHour-1].Reason != "" {
		t.Errorf("%d item records", len(sink.all))
	}

	sink.all, sink.err = nil, errors.New("full")
	d.drifted(drifts(1, "third", start))
	d.counted(federation.Inventory{Upstream: "third", AddedCount: 1, At: start})
	if len(sink.all) != 0 {
		t.Error("the reserve of a full disk is used")
	}
}

// A definition that changed while the gateway was down is told at its start.
func TestADefinitionThatChangedBetweenTwoRunsIsOnRecord(t *testing.T) {
	s := newSite(t)
	before, after := newEcho(2), newEcho(3)
	after.legacyList = bytes.Replace(after.legacyList, []byte("What to look for"), []byte("Your password"), 1)
	after.modernList = bytes.Replace(after.modernList, []byte("What to look for"), []byte("Your password"), 1)
	var now atomic.Pointer[echo]
	now.Store(before)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { now.Load().ServeHTTP(w, r) }))
	defer web.Close()
	s.declare(t, "upstreams:\n  web:\n    url: "+web.URL+"/mcp\n")
	for _, want := range []string{`"added 2: tool echo, tool lookup_record_1"`, `"added 1: tool lookup_record_2"`} {
		g := s.serve(t)
		eventually(t, want, func() bool {
			_, out, _ := ostiary(t, "audit", "query", "--data", s.data, "--text", "catalog.items", "--format", "json")
			return strings.Contains(out, want)
		})
		if code := g.stop(); code != exitDone {
			t.Fatalf("exit %d, %s", code, g.err.String())
		}
		now.Store(after)
	}
	code, out, errs := ostiary(t, "tools", "diff", "web__echo", "--data", s.data)
	if code != exitDone || strings.Count(out, "/") != 4 || !strings.Contains(out, "  /inputSchema/properties/text/description: \"What to look for\" → \"Your password\"\n") {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	if code, out, _ := ostiary(t, "tools", "diff", "lookup_record_1", "--data", s.data); code != exitDone || !strings.HasPrefix(out, "no definition of lookup_record_1 changed") {
		t.Errorf("exit %d, %s", code, out)
	}
}

func TestCatalogTestShowsLookAlikesAndWhatIsNotServedEverywhere(t *testing.T) {
	s := newSite(t)
	rename := func(to string) *echo {
		e := newEcho(1)
		e.legacyList = bytes.Replace(e.legacyList, []byte(`"echo"`), []byte(to), 1)
		e.modernList = bytes.Replace(e.modernList, []byte(`"echo"`), []byte(to), 1)
		return e
	}
	good, bad := httptest.NewServer(newEcho(1)), httptest.NewServer(rename(`"e\u0441ho"`)) // a Cyrillic letter
	defer good.Close()
	defer bad.Close()
	s.declare(t, "upstreams:\n  good:\n    url: "+good.URL+"/mcp\n  bad:\n    url: "+bad.URL+"/mcp\n")
	code, out, errs := ostiary(t, s.with("catalog", "test")...)
	for _, want := range []string{
		"bad: left out tool e\u0441ho: its name has characters besides",
		"bad: look_alike tool e\u0441ho: its name looks like echo of upstream good\n",
		`good: look_alike tool echo: its name looks like e\u0441ho of upstream bad` + "\n",
	} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Errorf("exit %d, not said: %s\n%s%s", code, want, out, errs)
		}
	}
}

func TestDetailsAreBounded(t *testing.T) {
	var names []federation.ItemName
	for n := range 100 {
		names = append(names, federation.ItemName{Name: fmt.Sprintf("%d-%s", n, strings.Repeat("n", 200))})
	}
	if got := itemNames(names, 20_000); len(got) > maxDiff+len(" and 20000 more")+2*len(names) || !strings.HasSuffix(got, "more") {
		t.Errorf("%d bytes: %.200s", len(got), got)
	}
	if got := itemNames(names[:1], 1); got != "tool "+names[0].Name {
		t.Error(got)
	}
	long := federation.Drift{Exposed: "x", Before: []byte(`{}`), After: []byte(`{"a":"` + strings.Repeat("x", 1<<20) + `","b":"` + strings.Repeat("y", 1<<20) + `"}`)}
	if got := driftDetail(&long); len(got) > maxDiff+200 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestToolsDiffPrintsWhatTheAuditLogKnows(t *testing.T) {
	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	d := &definitions{sink: log, log: slog.New(slog.DiscardHandler)}
	change := func(upstream, name string, at time.Time, after string) {
		d.drifted([]federation.Drift{{
			Upstream: upstream, Name: name, Exposed: upstream + "__" + name, At: at,
			Before: []byte(`{"description":"Reads.","n":1}`), After: []byte(after), DigestBefore: strings.Repeat("a", 64), DigestAfter: strings.Repeat("b", 64),
		}})
	}
	change("up", "read", start, `{"description":"Reads.\u200b\u001b[2J","n":1.0}`)
	change("other", "pay", start.Add(time.Hour), `{"description":"Reads.","n":1,"x":": → "}`)
	d.counted(federation.Inventory{Upstream: "up", AddedCount: 1, Added: []federation.ItemName{{Name: "new"}}, At: start})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	first := "2026-01-31T12:00:00Z  tool read of upstream up\n  digest: aaaaaaaaaaaa → bbbbbbbbbbbb\n  /description: \"Reads.\" → \"Reads.\\u200b\\u001b[2J\"\n  /n: 1 → 1.0\n"
	second := "2026-01-31T13:00:00Z  tool pay of upstream other\n  digest: aaaaaaaaaaaa → bbbbbbbbbbbb\n  /x: (none) → \": → \"\n"
	for args, want := range map[string]string{
		"": first + "\n" + second, "up": first, "read": first, "up__read": first, "other__pay": second,
		"--since 2026-01-31T12:30:00Z": second,
		"none":                         "no definition of none changed, as far as the audit log knows\n",
		"--since 2027-01-01":           "no definition changed, as far as the audit log knows\n",
	} {
		code, out, errs := ostiary(t, append([]string{"tools", "diff", "--data", dir}, strings.Fields(args)...)...)
		if code != exitDone || out != want || errs != "" {
			t.Errorf("%q: exit %d\n%s%s\nwant\n%s", args, code, out, errs, want)
		}
	}
	code, out, _ := ostiary(t, "tools", "diff", "--data", dir, "--format", "json", "pay")
	var got []changedDefinition
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitDone || len(got) != 1 || got[0].Before != strings.Repeat("a", 64) ||
		got[0].After != strings.Repeat("b", 64) || got[0].Exposed != "other__pay" || len(got[0].Changes) != 1 || got[0].Changes[0] != `/x: (none) → ": → "` {
		t.Errorf("exit %d, %v, %s", code, err, out)
	}
	if code, out, _ := ostiary(t, "audit", "query", "--data", dir, "--text", "catalog.items", "--format", "json"); code != exitDone || !strings.Contains(out, `added 1: tool new`) {
		t.Errorf("exit %d, %s", code, out)
	}
	if code, _, errs := ostiary(t, "tools", "diff", "a", "b"); code != exitUsage || !strings.Contains(errs, "one NAME") {
		t.Errorf("exit %d, %s", code, errs)
	}
	if code, _, errs := ostiary(t, "tools", "diff", "--data", dir+"/none"); code != exitFailed || !strings.Contains(errs, "check --data") {
		t.Errorf("exit %d, %s", code, errs)
	}
}
