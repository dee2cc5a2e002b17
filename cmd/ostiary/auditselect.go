package main

import (
	"bytes"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ostiary/ostiary/store/audit"
)

// recordFlags declares the conditions of the verbs that print records: those
// of filterFlags, and what is about single records.
func recordFlags(fs *flag.FlagSet) (f *audit.Filter, check func(verb string) error) {
	f, common := filterFlags(fs)
	fs.StringVar(&f.DecisionID, "decision-id", "", "only of the request that was decided under this `ID`")
	fs.StringVar(&f.Outcome, "outcome", "", "only of requests that ended in this `WORD`: ok, denied, tool_error, timeout, unknown, ...")
	fs.StringVar(&f.Kind, "kind", "", "only records of this `KIND`: "+strings.Join(recordKinds, ", "))
	return f, func(verb string) error {
		if f.Kind != "" && !slices.Contains(recordKinds, f.Kind) {
			return usagef("%s: --kind is one of %s, not %q", verb, strings.Join(recordKinds, ", "), f.Kind)
		}
		return common(verb)
	}
}

var recordKinds = []string{"decision", "outcome", "event", "lifecycle"}

// selector picks the records that conditions ask for. An outcome names its
// decision only: conditions on who and what are those of the decision.
type selector struct {
	filter audit.Filter
	show   func(*audit.Record) error

	awaited map[string]bool // decisions that match, whose outcome is yet to come
	joiner  audit.Joiner
}

func newSelector(f *audit.Filter, show func(*audit.Record) error) *selector {
	return &selector{filter: *f, show: show, awaited: map[string]bool{}}
}

// add takes the next record of the log and shows what that makes known. Where an
// outcome is asked for, a decision is shown once it is there.
func (s *selector) add(r *audit.Record) error {
	if s.filter.Outcome != "" {
		return s.joiner.Add(r, s.joined)
	}
	f := s.filter
	f.Kind = ""
	follows := r.Kind == "outcome" && s.awaited[r.DecisionID]
	if !inTime(&f, r.Time) || !follows && !wanted(&f, r) {
		return nil
	}
	switch {
	case follows:
		delete(s.awaited, r.DecisionID)
	case r.Kind == "decision" && r.Outcome == "" && r.Shown == nil: // others have no outcome to come
		s.awaited[r.DecisionID] = true
	}
	return s.shown(r)
}

func (s *selector) shown(r *audit.Record) error {
	if s.filter.Kind != "" && s.filter.Kind != r.Kind {
		return nil
	}
	return s.show(r)
}

// joined shows a record and its outcome, if both together match.
func (s *selector) joined(r, outcome *audit.Record) error {
	if !s.pair(r, outcome) {
		return nil
	}
	if err := s.shown(r); err != nil || outcome == nil {
		return err
	}
	return s.shown(outcome)
}

// pair says whether a record and its outcome together match, kind aside.
func (s *selector) pair(r, outcome *audit.Record) bool {
	f := s.filter
	f.Kind, f.Outcome, f.Text = "", "", ""
	end := r
	if outcome != nil {
		end = outcome
	}
	return f.Match(r) && (s.filter.Outcome == "" || end.Outcome == s.filter.Outcome) &&
		(containsText(r, s.filter.Text) || containsText(end, s.filter.Text))
}

func containsText(r *audit.Record, text string) bool {
	return text == "" || bytes.Contains(bytes.ToLower(r.Line), bytes.ToLower([]byte(text)))
}

// wanted says whether f selects r.
func wanted(f *audit.Filter, r *audit.Record) bool { return f.Match(r) && containsText(r, f.Text) }

// inTime says whether t lies in the time that f asks for.
func inTime(f *audit.Filter, t time.Time) bool {
	return (f.Since.IsZero() || !t.Before(f.Since)) && (f.Until.IsZero() || t.Before(f.Until))
}

// recordColumns are the heads of recordRow.
const recordColumns = "SEQ\tTIME\tKIND\tUSER\tCLIENT\tMETHOD\tUPSTREAM\tTARGET\tRESULT"

// recordRow is a record as a row of a table, tab-separated.
func recordRow(r *audit.Record) string {
	return fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", r.Seq, r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), cell(r.Kind),
		cell(or(r.User.Name, r.User.ID)), cell(r.Client.ID), cell(or(r.Event, r.Request.Method)), cell(r.Upstream), cell(r.Target.Name), cell(resultWords(r)))
}
