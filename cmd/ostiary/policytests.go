package main

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"github.com/ostiary/ostiary/policy/rego"
)

func policyTestVerb() verb {
	v := verb{
		name: "policy test", args: "[DIR]", short: "run the test_ rules of the policies",
		long:     "Exit code 1 when one of them does not pass: then `serve` would not take the rules either.",
		examples: []string{"ostiary policy test", "ostiary policy test ./policies --coverage"},
	}
	v.define = func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
		load := configFlags(fs, io, "policies")
		format := formatFlag(fs, "text")
		coverage := fs.Bool("coverage", false, "also tell which lines no test ran")
		return func(ctx context.Context, args []string) error {
			_, dir, err := policyArgs(v.name, load, args)
			if err != nil {
				return err
			}
			report, err := rego.Test(ctx, dir, *coverage)
			if err != nil {
				return policiesRefused(dir, err)
			}
			return showTests(report, *coverage, format, io)
		}
	}
	return v
}

func showTests(report *rego.TestReport, coverage bool, format *format, io stdio) error {
	if format.json() {
		if err := writeJSON(io.Out, report); err != nil {
			return err
		}
	} else {
		for _, r := range report.Tests {
			fmt.Fprintf(io.Out, "%-5s %s (%.1f ms)\n", r.Outcome, r.Name, r.Millis)
			if r.Detail != "" {
				fmt.Fprintf(io.Out, "      %s:%d: %s\n", r.File, r.Line, printable(r.Detail))
			}
			for line := range strings.Lines(r.Output) {
				fmt.Fprintf(io.Out, "      %s\n", printable(strings.TrimSuffix(line, "\n")))
			}
		}
		for _, c := range report.Coverage {
			missed := ""
			if len(c.Missed) > 0 {
				missed = ", without lines " + strings.Join(c.Missed, ", ")
			}
			fmt.Fprintf(io.Out, "%s: %.0f %%%s\n", c.File, c.Percent, missed)
		}
		fmt.Fprintf(io.Out, "%d passed, %d failed", report.Passed, report.Failed)
		if coverage {
			fmt.Fprintf(io.Out, ", %.0f %% of the lines", report.Percent)
		}
		fmt.Fprintln(io.Out)
	}
	if report.Failed > 0 {
		return errSilent
	}
	return nil
}
