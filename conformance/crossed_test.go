package conformance

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestACrossedRunGoesThroughTheOtherEra(t *testing.T) {
	tl := roles(t, "  - right-era\n")
	report, err := official(t.Context(), OfficialOptions{Program: os.Args[0], Crossed: true, Log: io.Discard}, tl)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		if row.Direct != nil {
			t.Errorf("%s %s ran directly", row.Revision, row.Scenario)
		}
		if row.Scenario == "right-era" && good(row.Through) > 0 {
			t.Errorf("%s met the fixture of its own era", row.Revision)
		}
	}
}

func TestEveryDifferenceToABaselineIsFound(t *testing.T) {
	pass, fail := Outcome{Passed: 1}, Outcome{Failed: 1}
	row := func(scenario string, runs ...Outcome) Row {
		return Row{Revision: "2025-11-25", Scenario: scenario, Weight: Required, Through: runs}
	}
	want := map[string]expected{"good": {Pass: true}, "bad": {Reason: "no counterpart"}}
	for rule, tt := range map[string]struct {
		rows []Row
		want string // "" = none
	}{
		"as written down":              {[]Row{row("good", pass, pass), row("bad", fail, fail)}, ""},
		"a failure":                    {[]Row{row("good", fail), row("bad", fail)}, "good: it should pass and failed in 1 of 1"},
		"a flake":                      {[]Row{row("good", pass, fail), row("bad", fail)}, "good: it should pass and failed in 1 of 2"},
		"an unexpected pass":           {[]Row{row("good", pass), row("bad", pass)}, "bad: it should fail (no counterpart) and passed"},
		"a new scenario":               {[]Row{row("good", pass), row("bad", fail), row("new", pass)}, "new: it is not in crossed-2025-11-25.json"},
		"a scenario that did not run":  {[]Row{row("good", pass)}, "bad: it is in crossed-2025-11-25.json and did not run"},
		"a scenario that never counts": {[]Row{row("good", pass), row("bad", fail), {Revision: "2025-11-25", Scenario: "other", Weight: Unscored}}, ""},
	} {
		got := Report{Rows: tt.rows}.against("2025-11-25", want)
		var text strings.Builder
		if err := WriteDifferences(&text, got); err != nil {
			t.Fatal(err)
		}
		if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(text.String(), tt.want)) {
			t.Errorf("%s: %s, want …%s…", rule, &text, tt.want)
		}
	}
}

func TestABaselineGivesAReasonForEveryFailure(t *testing.T) {
	for _, rev := range revisions {
		want, err := baseline(rev.name)
		if err != nil {
			t.Fatal(err)
		}
		passing := 0
		for scenario, e := range want {
			if e.Pass {
				passing++
			}
			if e.Pass != (e.Reason == "") || strings.Contains(e.Reason, "\n") {
				t.Errorf("%s: %s: pass %t, reason %q", baselineName(rev.name), scenario, e.Pass, e.Reason)
			}
		}
		if passing == 0 {
			t.Errorf("%s expects nothing to pass", baselineName(rev.name))
		}
	}
}

func TestSavedBaselinesAreWhatTheRunCameTo(t *testing.T) {
	var report Report
	for _, rev := range revisions {
		want, err := baseline(rev.name)
		if err != nil {
			t.Fatal(err)
		}
		for scenario, e := range want {
			o := Outcome{Failed: 1}
			if e.Pass {
				o = Outcome{Passed: 1}
			}
			report.Rows = append(report.Rows, Row{Revision: rev.name, Scenario: scenario, Weight: Required, Through: []Outcome{o}})
		}
	}
	if all, err := report.Differences(); err != nil || len(all) > 0 {
		t.Fatalf("%v, %v", all, err)
	}
	dir := t.TempDir()
	if err := report.SaveBaselines(dir); err != nil {
		t.Fatal(err)
	}
	for _, rev := range revisions {
		saved, err := os.ReadFile(filepath.Join(dir, baselineName(rev.name)))
		if err != nil {
			t.Fatal(err)
		}
		committed, err := os.ReadFile(baselineName(rev.name))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(saved, committed) {
			t.Error(fmt.Sprint(baselineName(rev.name), " would change although nothing did"))
		}
	}
}
