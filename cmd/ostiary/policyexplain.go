package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/policy/rego"
	"github.com/ostiary/ostiary/store/audit"
)

func policyExplainVerb() verb {
	v := verb{
		name: "policy explain", args: "SEQ|DECISION_ID", short: "say why a recorded request was decided as it was",
		long: "Makes the input document of the decision again from its record and shows each rule: whether\n" +
			"it held, the expression that it stopped at, and the values that it read, some of which may be\n" +
			"secret. Values that the record holds sealed are opened, which is recorded. The rules are those\n" +
			"that are there now; when the decision was made under others, that is said: name a directory\n" +
			"with the former ones by --policies. Exit code 1 when the record does not hold what rules read.",
		examples: []string{
			"ostiary policy explain 4711",
			"ostiary policy explain 9f1b6c2055d04f0f8a4e2f3b9c6d7e10 --format json",
			"ostiary policy explain 4711 --policies /backup/monday/policies",
		},
	}
	v.define = func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
		load := configFlags(fs, io, "data", "policies")
		format := formatFlag(fs, "text")
		return func(ctx context.Context, args []string) error {
			which, err := oneName(v.name, "SEQ|DECISION_ID", args)
			if err != nil {
				return err
			}
			c, err := load()
			if err != nil {
				return err
			}
			r, err := findDecision(c.Data, which)
			if err != nil {
				return err
			}
			return policyExplain(ctx, c, r, format, io)
		}
	}
	return v
}

// findDecision finds the decision that a number or an id names; the number of
// its outcome does as well.
func findDecision(dir, which string) (*audit.Record, error) {
	if err := dataExists(dir); err != nil {
		return nil, err
	}
	id := which
	if seq, err := strconv.ParseUint(which, 10, 64); err == nil {
		r, err := audit.Find(dir, seq)
		switch {
		case errors.Is(err, audit.ErrNoRecord):
			return nil, fmt.Errorf("%w; `ostiary audit query` shows their numbers", err)
		case err != nil:
			return nil, err
		case r.Kind == "decision":
			return r, nil
		case r.DecisionID == "":
			return nil, fmt.Errorf("record %d is no decision but of kind %s; `ostiary audit query --decision allow` or deny shows decisions", seq, r.Kind)
		}
		id = r.DecisionID
	}
	for r, err := range audit.Query(dir, audit.Filter{Kind: "decision", DecisionID: id, Text: id}) {
		if err != nil {
			return nil, fmt.Errorf("audit log in %s: %w", dir, err)
		}
		return r, nil
	}
	return nil, fmt.Errorf("no decision %s in the audit log; `ostiary audit query` shows what there is", id)
}

// explained is a decision, then and now, and why.
type explained struct {
	Seq        uint64           `json:"seq"`
	DecisionID string           `json:"decision_id"`
	Then       *policy.Decision `json:"then"`
	Reason     string           `json:"reason,omitempty"` // what else refused the request
	Policies   string           `json:"policies"`         // the directory that explains
	Same       bool             `json:"same"`             // it is what decided then
	Missing    []string         `json:"missing"`          // what of the input the record does not hold
	Input      *policy.Request  `json:"input"`

	*rego.Explanation
}

func policyExplain(ctx context.Context, c *config, r *audit.Record, format *format, io stdio) error {
	switch {
	case !wasAsked(r):
		return fmt.Errorf("record %d was refused before policy was asked: %s", r.Seq, or(r.Reason, r.Outcome))
	case r.Shown != nil:
		return fmt.Errorf("record %d is a list, which no single decision made: `ostiary policy eval` tells of one target whether it is listed", r.Seq)
	}
	dir := policyDir(c)
	if dir == "" {
		return fmt.Errorf("record %d was decided by policies of revision %s; there is no %s to explain it, name a directory with --policies", r.Seq, r.Decision.Revision, defaultPolicies)
	}
	e, err := rego.Load(dir, policyOptions(c))
	if err != nil {
		return policiesRefused(dir, err)
	}
	door := newUnsealer(ctx, c, io, fmt.Sprintf("policy explain of record %d", r.Seq))
	doc, unknown, err := audit.Asked(r, door)
	if err = errors.Join(err, door.Close()); err != nil {
		return err
	}
	x := explained{Seq: r.Seq, DecisionID: r.DecisionID, Then: r.Decision, Reason: r.Reason, Policies: dir, Missing: matters(unknown, e), Input: &doc}
	if x.Explanation, err = e.Explain(ctx, &doc); err != nil {
		return err
	}
	x.Same = x.Decision.Revision == r.Decision.Revision
	if format.json() {
		err = writeJSON(io.Out, x)
	} else {
		err = showExplained(&x, r, io)
	}
	if err == nil && len(x.Missing) > 0 {
		complain(io.Err, fmt.Errorf("record %d does not hold %s, which the rules read: why it was decided so can't be told", r.Seq, strings.Join(x.Missing, ", ")))
		return errSilent
	}
	return err
}

// wasAsked tells whether policy was asked for the decision r: what can't be
// read, is over a limit or does not fit the tool's schema is refused before.
func wasAsked(r *audit.Record) bool {
	return r.Decision != nil && r.Decision.Revision != "" && r.Reason != "schema" && r.Reason != "schema_unusable"
}

// matters are the unknown leaves that the rules of e read.
func matters(unknown []string, e *rego.Engine) []string {
	return slices.DeleteFunc(append([]string{}, unknown...), func(path string) bool { return !e.DependsOn(path) })
}

func showExplained(x *explained, r *audit.Record, io stdio) error {
	var b strings.Builder
	line := lineTo(&b)
	line("record %d, %s: %s, %s, %s/%s", x.Seq, x.Input.Time.RFC3339, or(r.User.Name, r.User.ID), r.Request.Method, r.Upstream, r.Target.Name)
	but := x.Reason
	if but == "denied" { // which says no more than the decision
		but = ""
	}
	line("then: %s", decisionWords(x.Then, but))
	if x.Same {
		line("these policies, %s, decided it (revision %s)", x.Policies, x.Then.Revision)
	} else {
		line("now:  %s", decisionWords(&x.Decision, x.Failure))
		line("NOT the policies of then: %s has revision %s, it was decided under %s.", x.Policies, x.Decision.Revision, x.Then.Revision)
		line("What follows explains the decision now; --policies DIR explains by others.")
	}
	for _, path := range x.Missing {
		line("UNDECIDABLE: the record does not hold %s, which rules read; below it is undefined", path)
	}
	showRules(x.Rules, &b, line)
	_, err := fmt.Fprint(io.Out, b.String())
	return err
}

// lineTo writes lines that can't drive a terminal.
func lineTo(b *strings.Builder) func(format string, a ...any) {
	return func(format string, a ...any) {
		b.WriteString(strings.TrimRight(printable(fmt.Sprintf(format, a...)), " ") + "\n")
	}
}

// showRules writes a block for each rule that was looked at.
func showRules(rules []rego.RuleTrace, b *strings.Builder, line func(format string, a ...any)) {
	for _, t := range rules {
		if t.Outcome == rego.RuleNotReached {
			continue
		}
		b.WriteByte('\n')
		line("%-5s  %s", t.Outcome, t.Head)
		if f := t.Failed; f != nil {
			line("       stopped at  %s", strings.Join(strings.Fields(f.Expression), " "))
			for _, w := range f.With {
				line("             with  %s = %s", w.Path, readingWords(w))
			}
			if f.Tries > 1 {
				line("            tried  %d times, the last of them shown", f.Tries)
			}
			if f.Error != "" {
				line("            error  %s", f.Error)
			}
			line("               in  %s:%d", t.File, f.Line)
		} else {
			line("               in  %s:%d", t.File, t.Line)
		}
		for _, v := range t.Gave {
			line("             gave  %s", clipped(string(v), readingLetters))
		}
		for _, read := range t.Reads {
			line("             read  %s = %s", read.Path, readingWords(read))
		}
	}
}

// readingLetters keeps a value on a line or two; --format json shows more.
const readingLetters = 160

func readingWords(r rego.Reading) string {
	switch {
	case r.Size > 0:
		return fmt.Sprintf("(%s)", sizeWords(int64(r.Size)))
	case r.Value == nil:
		return "(undefined)"
	}
	return clipped(string(r.Value), readingLetters)
}

// decisionWords are a decision, and what else was against it, in one line.
func decisionWords(d *policy.Decision, but string) string {
	words := decisionWord(d.Allow)
	if len(d.Reasons) > 0 {
		words += ": " + strings.Join(d.Reasons, "; ")
	}
	for _, o := range d.Obligations {
		words += ", obligation " + string(o)
	}
	if but != "" {
		words += " (" + but + ")"
	}
	return words
}
