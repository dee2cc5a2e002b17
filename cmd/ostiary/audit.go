package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ostiary/ostiary/store/audit"
)

func auditQueryVerb() verb {
	return verb{
		name: "audit query", short: "print audit records, oldest first",
		long: "All given conditions must hold. --format json prints one record a line. Also works\n" +
			"beside a running server. --since and --until take a moment (2026-01-31T15:04:05Z,\n2026-01-31) or an age (90m, 24h).",
		examples: []string{"ostiary audit query --since 1h", "ostiary audit query --decision deny --format json", "ostiary audit query --tool create_issue --user local"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "data")
			format := formatFlag(fs, "table")
			var f audit.Filter
			fs.StringVar(&f.User, "user", "", "only of the user with this id or `NAME`")
			fs.StringVar(&f.Client, "client", "", "only through the client with this `ID`")
			fs.StringVar(&f.Tool, "tool", "", "only about the target with this `NAME`, the upstream's own")
			fs.StringVar(&f.Upstream, "upstream", "", "only about the upstream with this `NAME`")
			fs.StringVar(&f.Decision, "decision", "", "only decided `allow|deny`")
			fs.StringVar(&f.Text, "text", "", "only records that contain this `TEXT`, in any case")
			fs.Func("since", "only at or after this `TIME`", func(s string) (err error) { f.Since, err = moment(s, time.Now()); return })
			fs.Func("until", "only before this `TIME`", func(s string) (err error) { f.Until, err = moment(s, time.Now()); return })
			return func(ctx context.Context, args []string) error {
				if err := noWords("audit query", args); err != nil {
					return err
				}
				if f.Decision != "" && f.Decision != "allow" && f.Decision != "deny" {
					return usagef("audit query: --decision is allow or deny, not %q", f.Decision)
				}
				c, err := load()
				if err != nil {
					return err
				}
				return auditQuery(ctx, c.Data, &f, format, io)
			}
		},
	}
}

// moment reads a point in time or an age before now.
func moment(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, errors.New("want 2026-01-31T15:04:05Z, 2026-01-31 or an age such as 24h")
}

// wanted says whether f selects r.
func wanted(f *audit.Filter, r *audit.Record) bool {
	return f.Match(r) && (f.Text == "" || bytes.Contains(bytes.ToLower(r.Line), bytes.ToLower([]byte(f.Text))))
}

// cell is what agents and upstreams name as it stands in a table: it neither
// drives the terminal nor widens the column for all rows.
func cell(s string) string { return dash(clipped(printable(s), cellLetters)) }

const cellLetters = 60

// inTime says whether t lies in the time that f asks for.
func inTime(f *audit.Filter, t time.Time) bool {
	return (f.Since.IsZero() || !t.Before(f.Since)) && (f.Until.IsZero() || t.Before(f.Until))
}

// auditQuery prints what matches while it reads. A record that can't be read
// is said on stderr and makes the query fail, after all others were printed.
func auditQuery(ctx context.Context, dir string, f *audit.Filter, format *format, io stdio) error {
	if err := dataExists(dir); err != nil {
		return err
	}
	t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
	if !format.json() {
		fmt.Fprintln(t, "SEQ\tTIME\tKIND\tUSER\tCLIENT\tMETHOD\tUPSTREAM\tTARGET\tRESULT")
	}
	bad := 0
	awaited := map[string]bool{} // decisions shown whose outcome is yet to come
	for r, err := range audit.Read(dir) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			complain(io.Err, fmt.Errorf("audit log in %s: %w", dir, err))
			bad++
			continue
		}
		// An outcome names its decision only: it is shown with it.
		follows := r.Kind == "outcome" && awaited[r.DecisionID]
		if !inTime(f, r.Time) || !follows && !wanted(f, r) {
			continue
		}
		switch {
		case follows:
			delete(awaited, r.DecisionID)
		case r.Kind == "decision":
			awaited[r.DecisionID] = true
		}
		if format.json() {
			if _, err := fmt.Fprintf(io.Out, "%s\n", r.Line); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Seq, r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), cell(r.Kind),
			cell(or(r.User.Name, r.User.ID)), cell(r.Client.ID), cell(or(r.Event, r.Request.Method)), cell(r.Upstream), cell(r.Target.Name), cell(resultWords(r)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return errSilent
	}
	return nil
}

// resultWords is what came of a record's request, in few words.
func resultWords(r *audit.Record) string {
	var words []string
	switch {
	case r.Decision != nil && r.Decision.Allow:
		words = append(words, "allow")
	case r.Decision != nil:
		words = append(words, "deny")
	}
	if r.Outcome != "" {
		words = append(words, r.Outcome)
	}
	if r.Code != 0 {
		words = append(words, fmt.Sprint(r.Code))
	}
	if r.Shown != nil {
		words = append(words, fmt.Sprintf("%d of %d shown", r.Shown.Count, r.Shown.Of))
	}
	if r.Reason != "" {
		words = append(words, r.Reason)
	}
	return strings.Join(words, " ")
}

func auditVerifyVerb() verb {
	return verb{
		name: "audit verify", short: "check the hash chain of the audit log",
		long:     "Also works beside a running server. Keep the printed head elsewhere: a log that was cut\nshort verifies, but ends with another head.",
		examples: []string{"ostiary audit verify", "ostiary audit verify --data /var/lib/ostiary --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "data")
			format := formatFlag(fs, "text")
			return func(_ context.Context, args []string) error {
				if err := noWords("audit verify", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				if err := dataExists(c.Data); err != nil {
					return err
				}
				report, bad := audit.Verify(c.Data)
				if format.json() {
					err = writeJSON(io.Out, report)
				} else {
					_, err = fmt.Fprintf(io.Out, "%d records, %d to %d, in %s; head %s\n", report.Records, report.First, report.Last, plural(report.Segments, "segment"), report.Head)
				}
				if bad != nil {
					return fmt.Errorf("%w; what stands before it is sound, what follows is not proven", bad)
				}
				return err
			}
		},
	}
}

// dataExists keeps a mistyped --data from looking like an empty log.
func dataExists(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no data directory %s; check --data", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, audit.Folder)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no audit log in %s; check --data", dir)
	}
	return nil
}
