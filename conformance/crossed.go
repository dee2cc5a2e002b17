package conformance

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Each revision's set, run through the upstream of the other era, can't pass
// as a whole: the fixture there was written for the other revision, and some
// things have no counterpart. What passes and what doesn't is written down in
// these files, with the reason, and any difference is a failure, a scenario
// that passes against expectation included.
//
//go:embed crossed-*.json
var baselines embed.FS

// expected is one scenario of a baseline.
type expected struct {
	Pass   bool   `json:"pass"`
	Reason string `json:"reason,omitempty"` // why it fails, in one line
}

// baselineName is the file of a revision.
func baselineName(revision string) string { return "crossed-" + revision + ".json" }

// baseline is what is expected of a revision's scenarios.
func baseline(revision string) (map[string]expected, error) {
	b, err := baselines.ReadFile(baselineName(revision))
	if err != nil {
		return nil, err
	}
	want := map[string]expected{}
	if err := json.Unmarshal(b, &want); err != nil {
		return nil, fmt.Errorf("%s: %w", baselineName(revision), err)
	}
	return want, nil
}

// Difference is a scenario that did not end as its baseline says.
type Difference struct {
	Revision string `json:"revision"`
	Scenario string `json:"scenario"`
	Problem  string `json:"problem"`
}

// Differences holds a crossed run against the committed baselines.
func (r Report) Differences() ([]Difference, error) {
	var all []Difference
	for _, rev := range revisions {
		want, err := baseline(rev.name)
		if err != nil {
			return nil, err
		}
		all = append(all, r.against(rev.name, want)...)
	}
	return all, nil
}

// against compares one revision's rows. Of several runs, each counts.
func (r Report) against(revision string, want map[string]expected) []Difference {
	var all []Difference
	differ := func(scenario, format string, a ...any) {
		all = append(all, Difference{revision, scenario, fmt.Sprintf(format, a...)})
	}
	ran := map[string]bool{}
	for _, row := range r.Rows {
		if row.Revision != revision || !row.counts() {
			continue
		}
		ran[row.Scenario] = true
		w, known := want[row.Scenario]
		passed := good(row.Through)
		switch {
		case !known:
			differ(row.Scenario, "it is not in %s", baselineName(revision))
		case w.Pass && passed < len(row.Through):
			differ(row.Scenario, "it should pass and failed in %d of %d runs", len(row.Through)-passed, len(row.Through))
		case !w.Pass && passed > 0:
			differ(row.Scenario, "it should fail (%s) and passed in %d of %d runs", w.Reason, passed, len(row.Through))
		}
	}
	for _, scenario := range slices.Sorted(maps.Keys(want)) {
		if !ran[scenario] {
			differ(scenario, "it is in %s and did not run", baselineName(revision))
		}
	}
	return all
}

// WriteDifferences prints one line for each.
func WriteDifferences(w io.Writer, all []Difference) error {
	for _, d := range all {
		if _, err := fmt.Fprintf(w, "%s %s: %s\n", d.Revision, d.Scenario, d.Problem); err != nil {
			return err
		}
	}
	return nil
}

// SaveBaselines writes what a crossed run came to into a folder, as the new
// baselines. Reasons of scenarios that failed before stay; a new one has none,
// which a test refuses until somebody wrote it.
func (r Report) SaveBaselines(dir string) error {
	var errs []error
	for _, rev := range revisions {
		was, err := baseline(rev.name)
		if err != nil {
			return err
		}
		now := map[string]expected{}
		for _, row := range r.Rows {
			if row.Revision != rev.name || !row.counts() {
				continue
			}
			e := expected{Pass: good(row.Through) == len(row.Through)}
			if !e.Pass {
				e.Reason = was[row.Scenario].Reason
			}
			now[row.Scenario] = e
		}
		b, err := json.MarshalIndent(now, "", "  ")
		if err != nil {
			return err
		}
		errs = append(errs, os.WriteFile(filepath.Join(dir, baselineName(rev.name)), append(b, '\n'), 0o644))
	}
	return errors.Join(errs...)
}

// crossed is the upstream of the other era.
func crossed(upstream string) string {
	if upstream == legacy {
		return modern
	}
	return legacy
}
