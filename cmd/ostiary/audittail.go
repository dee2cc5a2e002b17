package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/ostiary/ostiary/store/audit"
)

func auditTailVerb() verb {
	return verb{
		name: "audit tail", short: "print audit records as they are written",
		long: "Begins with the next record, or with --since in the past; ends on ctrl-c. It reads the files,\n" +
			"and needs no server. Conditions are those of audit query; with --outcome, a request is shown\n" +
			"when it has ended.",
		examples: []string{"ostiary audit tail", "ostiary audit tail --decision deny --format json", "ostiary audit tail --since 10m --user alice"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "data")
			format := formatFlag(fs, "table")
			f, check := recordFlags(fs)
			return func(ctx context.Context, args []string) error {
				if err := errors.Join(noWords("audit tail", args), check("audit tail")); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				return auditTail(ctx, c.Data, f, format, io)
			}
		},
	}
}

// auditTail prints until ctx ends, which is how it is meant to end.
func auditTail(ctx context.Context, dir string, f *audit.Filter, format *format, io stdio) error {
	if err := dataExists(dir); err != nil {
		return err
	}
	// Rows come one by one: the columns can't wait for the widest cell.
	row := func(tabbed string) error {
		var b strings.Builder
		for i, cell := range strings.Split(tabbed, "\t") {
			fmt.Fprintf(&b, "%-*s  ", tailWidths[i], cell)
		}
		_, err := fmt.Fprintln(io.Out, strings.TrimRight(b.String(), " "))
		return err
	}
	show := func(r *audit.Record) error { return row(recordRow(r)) }
	if format.json() {
		show = func(r *audit.Record) error {
			_, err := fmt.Fprintf(io.Out, "%s\n", r.Line)
			return err
		}
	} else if err := row(recordColumns); err != nil {
		return err
	}
	s, bad := newSelector(f, show), 0
	for r, err := range audit.Follow(ctx, dir, !f.Since.IsZero()) {
		if err != nil {
			complain(io.Err, fmt.Errorf("audit log in %s: %w", dir, err))
			bad++
			continue
		}
		if err := s.add(r); err != nil {
			return err
		}
	}
	if bad > 0 {
		return errSilent
	}
	return nil
}

// tailWidths are those of recordColumns.
var tailWidths = [...]int{7, 24, 9, 12, 12, 16, 12, 20, 1}
