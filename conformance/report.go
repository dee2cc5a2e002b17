package conformance

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is the result of an official run: every scenario of both revisions,
// direct and through the gateway, in the suite's order.
type Report struct {
	Rows []Row `json:"rows"`
}

// Row is one scenario.
type Row struct {
	Revision string    `json:"revision"`
	Scenario string    `json:"scenario"`
	Weight   Weight    `json:"weight"`
	Direct   []Outcome `json:"direct,omitempty"` // one for each run; nil = not run directly
	Through  []Outcome `json:"through"`
}

// Weight says whether a scenario counts, and who says so.
type Weight string

const (
	Required Weight = "required" // by the revision's frozen list
	Extra    Weight = "extra"    // by us alone
	Unscored Weight = "not scored"
)

// counts tells whether a failure of the scenario is a failure of the run.
func (row Row) counts() bool { return row.Weight != Unscored }

// add merges one run of one revision.
func (r *Report) add(rev revision, scored []string, direct, through map[string]Outcome) {
	names := slices.Concat(scored, rev.extra)
	var others []string
	for _, run := range []map[string]Outcome{direct, through} {
		for name := range run {
			if !slices.Contains(names, name) && !slices.Contains(others, name) {
				others = append(others, name)
			}
		}
	}
	slices.Sort(others)
	weight := func(name string) Weight {
		switch {
		case slices.Contains(scored, name):
			return Required
		case slices.Contains(rev.extra, name):
			return Extra
		}
		return Unscored
	}
	for _, name := range slices.Concat(names, others) {
		i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Revision == rev.name && row.Scenario == name })
		if i < 0 {
			i = len(r.Rows)
			r.Rows = append(r.Rows, Row{Revision: rev.name, Scenario: name, Weight: weight(name)})
		}
		// A scenario that left no result has the zero Outcome, which is not OK.
		if direct != nil {
			r.Rows[i].Direct = append(r.Rows[i].Direct, direct[name])
		}
		r.Rows[i].Through = append(r.Rows[i].Through, through[name])
	}
}

// OK tells whether every scenario that counts passed in every run, both ways.
// A fixture that fails directly makes the whole comparison worthless.
func (r Report) OK() bool {
	return len(r.Rows) > 0 && !slices.ContainsFunc(r.Rows, func(row Row) bool {
		return row.counts() && (good(row.Through) < len(row.Through) || good(row.Direct) < len(row.Direct))
	})
}

// Score is the one-line result of a revision: 37/37 required scenarios, and
// +3/3 of ours.
func (r Report) Score(revision string) string {
	s := r.score(revision, func(row Row) []Outcome { return row.Through }) + " through the gateway"
	if direct := r.score(revision, func(row Row) []Outcome { return row.Direct }); direct != "" {
		s = direct + " direct, " + s
	}
	return s
}

// score counts one side; "" when it was not run.
func (r Report) score(revision string, side func(Row) []Outcome) string {
	passed, total := map[Weight]int{}, map[Weight]int{}
	for _, row := range r.Rows {
		runs := side(row)
		if row.Revision != revision || runs == nil {
			continue
		}
		total[row.Weight]++
		if good(runs) == len(runs) {
			passed[row.Weight]++
		}
	}
	switch {
	case total[Required]+total[Extra] == 0:
		return ""
	case total[Required] == 0:
		return fmt.Sprintf("%d/%d", passed[Extra], total[Extra])
	case total[Extra] == 0:
		return fmt.Sprintf("%d/%d", passed[Required], total[Required])
	}
	return fmt.Sprintf("%d/%d+%d/%d", passed[Required], total[Required], passed[Extra], total[Extra])
}

// WriteTable prints the comparison: one line for each scenario, then what
// failed in the suite's own words, then the scores.
func (r Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REVISION\tSCENARIO\tDIRECT\tTHROUGH THE GATEWAY\t")
	for _, row := range r.Rows {
		note := ""
		if row.Weight != Required {
			note = string(row.Weight)
		}
		if !row.counts() && good(row.Direct) > good(row.Through) {
			note += "; worse than direct"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", row.Revision, row.Scenario, cell(row.Direct), cell(row.Through), note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, row := range r.Rows {
		worse := good(row.Through) < len(row.Through) && good(row.Direct) == len(row.Direct)
		if !row.counts() && !worse {
			continue
		}
		for _, side := range []struct {
			name string
			runs []Outcome
		}{{"direct", row.Direct}, {"through the gateway", row.Through}} {
			for _, text := range failures(side.runs) {
				fmt.Fprintf(w, "\n%s %s, %s:\n  %s\n", row.Revision, row.Scenario, side.name, text)
			}
		}
	}
	fmt.Fprintln(w)
	for _, rev := range append(slices.Clone(revisions), taskSet, authorizationSet) {
		if !slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Revision == rev.name }) {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", rev.name, r.Score(rev.name)); err != nil {
			return err
		}
	}
	return nil
}

// cell is one field of the table: checks of one run, or how many runs of many.
func cell(runs []Outcome) string {
	switch {
	case runs == nil:
		return "-"
	case len(runs) == 1 && runs[0].Passed+runs[0].Failed == 0:
		return "DID NOT RUN"
	case len(runs) == 1 && runs[0].OK():
		return fmt.Sprintf("ok %d", runs[0].Passed)
	case len(runs) == 1:
		return fmt.Sprintf("FAIL %d of %d", runs[0].Failed, runs[0].Failed+runs[0].Passed)
	case good(runs) == len(runs):
		return fmt.Sprintf("ok, %d runs", len(runs))
	}
	return fmt.Sprintf("FAIL in %d of %d runs", len(runs)-good(runs), len(runs))
}

// failures are the distinct failing checks of all runs.
func failures(runs []Outcome) []string {
	var all []string
	for _, o := range runs {
		if !o.OK() && len(o.Failures) == 0 {
			all = append(all, "no check passed: the scenario was skipped or left no result")
		}
		all = append(all, o.Failures...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for i, s := range all {
		all[i] = strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ")
	}
	return all
}

func good(runs []Outcome) int {
	n := 0
	for _, o := range runs {
		if o.OK() {
			n++
		}
	}
	return n
}
