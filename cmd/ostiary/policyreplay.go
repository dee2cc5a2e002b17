package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/policy/rego"
	"github.com/ostiary/ostiary/store/audit"
)

// Ways in which a decision would change.
const (
	changeNone        = "same"
	changeDeny        = "allow→deny"
	changeAllow       = "deny→allow"
	changeObligations = "obligations"
	changeReasons     = "reasons"
	undecidable       = "undecidable"
)

// replayed is one past decision that would change, or can't be judged.
type replayed struct {
	Seq        uint64           `json:"seq"`
	DecisionID string           `json:"decision_id"`
	Time       time.Time        `json:"timestamp"`
	User       string           `json:"user"`
	Method     string           `json:"method"`
	Upstream   string           `json:"upstream"`
	Target     string           `json:"target"`
	Change     string           `json:"change"`
	Then       *policy.Decision `json:"then"`
	Now        *policy.Decision `json:"now,omitempty"`
	Why        string           `json:"why,omitempty"` // why it is undecidable, or why the rules fail
}

// replaySum is what a replay came to.
type replaySum struct {
	Decisions   int     `json:"decisions"` // judged again, or undecidable
	Same        int     `json:"same"`
	AllowToDeny int     `json:"allow_to_deny"`
	DenyToAllow int     `json:"deny_to_allow"`
	Obligations int     `json:"obligations_differ"`
	Reasons     int     `json:"reasons_differ"`
	Undecidable int     `json:"undecidable"`
	Lists       int     `json:"lists"`      // undecidable: what there was to list is not on record
	NotAsked    int     `json:"not_asked"`  // refused before policy was asked
	Unreadable  int     `json:"unreadable"` // lines that are no records
	Policies    string  `json:"policies"`
	Revision    string  `json:"revision"`
	Seconds     float64 `json:"seconds"`
}

func (s *replaySum) changes() int {
	return s.AllowToDeny + s.DenyToAllow + s.Obligations + s.Reasons
}

func (s *replaySum) add(change string) {
	s.Decisions++
	switch change {
	case changeNone:
		s.Same++
	case changeDeny:
		s.AllowToDeny++
	case changeAllow:
		s.DenyToAllow++
	case changeObligations:
		s.Obligations++
	case changeReasons:
		s.Reasons++
	case undecidable:
		s.Undecidable++
	}
}

func policyReplayVerb() verb {
	v := verb{
		name: "policy replay", short: "judge past decisions by other policies, and print what would change",
		long: "Each decision on record is made again by the rules of --policies, with the input of then,\n" +
			"its time included. Works beside a running server. What the record does not hold and the\n" +
			"rules read makes it undecidable; lists are, since a record does not say what there was to\n" +
			"list. Conditions are those of `ostiary audit query`. --format json prints one change a line,\n" +
			"then the sum. Exit code 0 whatever changes, unless --fail-on-change is given.",
		examples: []string{
			"ostiary policy replay --policies ./policies-new --since 168h",
			"ostiary policy replay --policies ./policies-new --decision deny --user alice --format json",
		},
	}
	v.define = func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
		load := configFlags(fs, io, "data", "policies")
		format := formatFlag(fs, "table")
		f, check := filterFlags(fs)
		fail := fs.Bool("fail-on-change", false, "exit with 1 when a decision would change or is undecidable")
		return func(ctx context.Context, args []string) error {
			if err := noWords(v.name, args); err != nil {
				return err
			}
			if err := check(v.name); err != nil {
				return err
			}
			c, err := load()
			if err != nil {
				return err
			}
			sum, err := policyReplay(ctx, c, f, format, io)
			if err == nil && *fail && sum.changes()+sum.Undecidable > 0 {
				return errSilent
			}
			return err
		}
	}
	return v
}

func policyReplay(ctx context.Context, c *config, f *audit.Filter, format *format, io stdio) (*replaySum, error) {
	if err := dataExists(c.Data); err != nil {
		return nil, err
	}
	dir := policyDir(c)
	if dir == "" {
		return nil, fmt.Errorf("policy replay: there is no %s; name a directory with --policies", defaultPolicies)
	}
	o := policyOptions(c)
	o.Denials, o.Timeout = true, max(o.Timeout, replayPatience) // a busy machine must change nothing
	e, err := rego.Load(dir, o)
	if err != nil {
		return nil, policiesRefused(dir, err)
	}
	out := newReplayOutput(format, io)
	door := newUnsealer(ctx, c, io, "policy replay by "+dir)
	sum := &replaySum{Policies: dir}
	began := time.Now()
	f.Kind = "decision"
	for r, err := range audit.Query(c.Data, *f) {
		switch {
		case ctx.Err() != nil:
			return nil, errors.Join(ctx.Err(), door.Close())
		case err != nil:
			complain(io.Err, fmt.Errorf("audit log in %s: %w", c.Data, err))
			sum.Unreadable++
			continue
		case !wasAsked(r):
			sum.NotAsked++
			continue
		case r.Shown != nil:
			sum.Lists++
			continue
		}
		change, now, why, err := judgeAgain(ctx, e, r, door)
		if err != nil {
			return nil, errors.Join(err, door.Close())
		}
		if sum.add(change); change == changeNone {
			continue
		}
		if err := out.line(&replayed{
			Seq: r.Seq, DecisionID: r.DecisionID, Time: r.Time, User: or(r.User.Name, r.User.ID), Method: r.Request.Method,
			Upstream: r.Upstream, Target: r.Target.Name, Change: change, Then: r.Decision, Now: now, Why: why,
		}); err != nil {
			return nil, errors.Join(err, door.Close())
		}
	}
	sum.Seconds = time.Since(began).Seconds()
	sum.Revision, _, _ = strings.Cut(e.Revision(), ".") // of the files, whatever the hour
	return sum, errors.Join(out.end(sum), door.Close())
}

// replayPatience is how long one decision may take that nobody waits for.
const replayPatience = 10 * time.Second

// judgeAgain judges what r was about by e, and compares. An error is of ctx, or
// of the door.
func judgeAgain(ctx context.Context, e *rego.Engine, r *audit.Record, door audit.Opener) (change string, now *policy.Decision, why string, err error) {
	if lacked[r.Reason] {
		return undecidable, nil, "no decision was made then: " + r.Reason, nil
	}
	// What no rule reads need not be opened.
	doc, unknown, err := audit.Asked(r, nil)
	if r.Sealed != nil && len(matters(unknown, e)) > 0 {
		doc, unknown, err = audit.Asked(r, door)
	}
	if err != nil {
		return undecidable, nil, err.Error(), nil
	}
	if missing := matters(unknown, e); len(missing) > 0 {
		return undecidable, nil, "the record does not hold " + strings.Join(missing, ", "), nil
	}
	d, err := e.Decide(ctx, &doc)
	if ctx.Err() != nil {
		return "", nil, "", ctx.Err()
	}
	var f *policy.Failure
	if errors.As(err, &f) {
		if why = err.Error(); lacked[f.Code] {
			return undecidable, nil, why, nil
		}
	}
	return howDiffer(r.Decision, &d), &d, why, nil
}

// lacked are reasons of a denial that say nothing about the rules: the machine
// lacked time, or the engine failed.
var lacked = map[string]bool{policy.FailedTimeout: true, policy.FailedBusy: true, policy.FailedPanic: true, "decision_failed": true}

// howDiffer says in which way two decisions differ.
func howDiffer(then, now *policy.Decision) string {
	switch {
	case then.Allow && !now.Allow:
		return changeDeny
	case !then.Allow && now.Allow:
		return changeAllow
	case !slices.EqualFunc(then.Obligations, now.Obligations, func(a, b json.RawMessage) bool { return string(a) == string(b) }):
		return changeObligations
	case !slices.Equal(then.Reasons, now.Reasons):
		return changeReasons
	}
	return changeNone
}

// replayOutput prints changes while they are found. A table is laid out by
// screens, since there may be a million.
type replayOutput struct {
	format *format
	io     stdio
	table  *tabwriter.Writer
	lines  int
}

const replayScreen = 100

func newReplayOutput(format *format, io stdio) *replayOutput {
	return &replayOutput{format: format, io: io, table: tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)}
}

func (o *replayOutput) line(r *replayed) error {
	if o.format.json() {
		return writeLine(o.io.Out, r)
	}
	if o.lines%replayScreen == 0 {
		if err := o.table.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(o.table, "SEQ\tTIME\tUSER\tMETHOD\tUPSTREAM\tTARGET\tCHANGE\tWHY")
	}
	o.lines++
	fmt.Fprintf(o.table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Seq, r.Time.UTC().Format(time.DateTime), cell(r.User), cell(r.Method),
		cell(r.Upstream), cell(r.Target), r.Change, clipped(printable(r.words()), 2*cellLetters))
	return nil
}

// words say what the change is about.
func (r *replayed) words() string {
	switch {
	case r.Why != "":
		return r.Why
	case r.Change == changeObligations:
		return fmt.Sprintf("%s, was %s", r.Now.Obligations, r.Then.Obligations)
	case r.Change == changeAllow && len(r.Then.Reasons) > 0:
		return "was: " + strings.Join(r.Then.Reasons, "; ")
	default:
		return strings.Join(r.Now.Reasons, "; ")
	}
}

func (o *replayOutput) end(s *replaySum) error {
	if o.format.json() {
		return writeLine(o.io.Out, map[string]*replaySum{"sum": s})
	}
	if err := o.table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(o.io.Out, "%s judged by %s: %d same, %d allow→deny, %d deny→allow, %d with other obligations, %d with other reasons, %d undecidable\n",
		plural(s.Decisions, "decision"), s.Policies, s.Same, s.AllowToDeny, s.DenyToAllow, s.Obligations, s.Reasons, s.Undecidable)
	if err == nil && s.Lists+s.NotAsked > 0 {
		_, err = fmt.Fprintf(o.io.Out, "left out: %s, and %s refused before policy was asked\n", plural(s.Lists, "list"), plural(s.NotAsked, "request"))
	}
	if err == nil {
		_, err = fmt.Fprintf(o.io.Out, "revision %s; %.1f s, %.0f decisions a second\n", s.Revision, s.Seconds, float64(s.Decisions)/max(s.Seconds, 1e-9))
	}
	return err
}
