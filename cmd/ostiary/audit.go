package main

import (
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
			"beside a running server. --since and --until take a moment (2026-01-31T15:04:05Z,\n2026-01-31) or an age (90m, 24h). An outcome belongs to its decision: conditions on who and\nwhat are those of the decision; with --outcome, a request is printed once it has ended.",
		examples: []string{"ostiary audit query --since 1h", "ostiary audit query --decision deny --format json", "ostiary audit query --tool create_issue --user local"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "data")
			format := formatFlag(fs, "table")
			f, check := recordFlags(fs)
			return func(ctx context.Context, args []string) error {
				if err := noWords("audit query", args); err != nil {
					return err
				}
				if err := check("audit query"); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				return auditQuery(ctx, c.Data, f, format, io)
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

// cell is what agents and upstreams name as it stands in a table: it neither
// drives the terminal nor widens the column for all rows.
func cell(s string) string { return dash(clipped(printable(s), cellLetters)) }

const cellLetters = 60

// auditQuery prints what matches while it reads. A record that can't be read
// is said on stderr and makes the query fail, after all others were printed.
func auditQuery(ctx context.Context, dir string, f *audit.Filter, format *format, io stdio) error {
	if err := dataExists(dir); err != nil {
		return err
	}
	t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
	show := func(r *audit.Record) error {
		_, err := fmt.Fprintln(t, recordRow(r))
		return err
	}
	if format.json() {
		show = func(r *audit.Record) error {
			_, err := fmt.Fprintf(io.Out, "%s\n", r.Line)
			return err
		}
	} else {
		fmt.Fprintln(t, recordColumns)
	}
	bad := 0
	s := newSelector(f, show)
	for r, err := range audit.Read(dir) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			complain(io.Err, fmt.Errorf("audit log in %s: %w", dir, err))
			bad++
			continue
		}
		if err := s.add(r); err != nil {
			return err
		}
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
