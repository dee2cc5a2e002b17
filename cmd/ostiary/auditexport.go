package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/ostiary/ostiary/store/audit"
)

func auditExportVerb() verb {
	return verb{
		name: "audit export", short: "print the audit log for other tools",
		long: "jsonl prints the records as they stand in the log, one a line (json is the same). ocsf prints\n" +
			"events of OCSF " + audit.OCSFVersion + ", one a line: a decision and its outcome become one API Activity (6003),\n" +
			"sign-ins are Authentication (3002), and what OCSF has no word for is under unmapped.\n" +
			"Conditions are those of audit query. Also works beside a running server.",
		examples: []string{"ostiary audit export --format ocsf --since 24h", "ostiary audit export --since 2026-01-01 --until 2026-02-01 > january.jsonl"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "data")
			format := &format{value: "jsonl", words: []string{"jsonl", "json", "ocsf"}}
			fs.Var(format, "format", "print as `jsonl|ocsf`")
			f, check := recordFlags(fs)
			return func(ctx context.Context, args []string) error {
				if err := errors.Join(noWords("audit export", args), check("audit export")); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				return auditExport(ctx, c.Data, f, format.value == "ocsf", io)
			}
		},
	}
}

// auditExport prints what matches while it reads. A record that can't be read is
// said on stderr and makes the export fail, after all others were printed.
func auditExport(ctx context.Context, dir string, f *audit.Filter, ocsf bool, io stdio) error {
	if err := dataExists(dir); err != nil {
		return err
	}
	out := bufio.NewWriter(io.Out)
	s := newSelector(f, func(r *audit.Record) error {
		_, err := fmt.Fprintf(out, "%s\n", r.Line)
		return err
	})
	event := func(r, outcome *audit.Record) error {
		if !s.pair(r, outcome) || s.filter.Kind != "" && s.filter.Kind != r.Kind {
			return nil
		}
		line, err := audit.OCSF(r, outcome)
		if err == nil {
			_, err = fmt.Fprintf(out, "%s\n", line)
		}
		return err
	}
	add := s.add
	if ocsf {
		add = func(r *audit.Record) error { return s.joiner.Add(r, event) }
	}
	bad := 0
	for r, err := range audit.Read(dir) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			complain(io.Err, fmt.Errorf("audit log in %s: %w", dir, err))
			bad++
			continue
		}
		if err := add(r); err != nil {
			return err
		}
	}
	if ocsf {
		if err := s.joiner.Flush(event); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return errSilent
	}
	return nil
}
