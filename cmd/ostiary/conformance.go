package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/ostiary/ostiary/conformance"
)

func conformanceOfficialVerb() verb {
	return verb{
		name: "conformance official", short: "run the public MCP conformance suite, direct and through the gateway",
		long: "Starts this program in front of the suite's own fixture. Needs Node 22 and, the first\n" +
			"time, the npm registry. Exit code 1 if a required scenario fails. --crossed runs each\n" +
			"revision through the upstream of the other era and fails on any difference to what is\n" +
			"written down to pass and to fail there.",
		examples: []string{
			"ostiary conformance official",
			"ostiary conformance official --repeat 3 --format json",
			"ostiary conformance official --crossed",
			"ostiary conformance official --auth",
			"ostiary conformance official --gateway 'http://localhost:8080/mcp/{upstream}'",
		},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			var o conformance.OfficialOptions
			fs.IntVar(&o.Repeat, "repeat", 1, "run everything `N` times and ask for the same result each time")
			fs.BoolVar(&o.Merged, "merged", false, "through /mcp with an empty prefix instead of /mcp/{upstream}")
			fs.BoolVar(&o.Crossed, "crossed", false, "each revision through the upstream of the other era")
			save := fs.String("save", "", "with --crossed: write the result into `DIR` as the new baselines")
			fs.StringVar(&o.Bearer, "bearer", "", "`TOKEN` to send to a running gateway (default $"+tokenVariable+")")
			fs.BoolVar(&o.SignIn, "auth", false, "start it with sign-in: run the suite's authorization checks, and everything else with a token")
			fs.StringVar(&o.Gateway, "gateway", "", "`URL` of a running gateway, with {upstream} in it; default: start one")
			fs.StringVar(&o.Legacy, "legacy", "", "`URL` of a running legacy fixture; default: start one")
			fs.StringVar(&o.Modern, "modern", "", "`URL` of a running modern fixture; default: start one")
			fs.StringVar(&o.Cache, "cache", "", "`DIR` to install the suite in; default: the user's cache")
			format := formatFlag(fs, "table")
			return func(ctx context.Context, args []string) error {
				if err := noWords("conformance official", args); err != nil {
					return err
				}
				if o.Repeat < 1 {
					return usagef("conformance official: --repeat is at least 1")
				}
				if *save != "" && !o.Crossed {
					return usagef("conformance official: --save goes with --crossed")
				}
				if o.Crossed && o.Merged {
					return usagef("conformance official: --crossed and --merged don't go together")
				}
				if o.Crossed && o.SignIn {
					return usagef("conformance official: --crossed and --auth don't go together")
				}
				if o.Gateway == "" {
					self, err := os.Executable()
					if err != nil {
						return err
					}
					o.Program = self
				}
				if o.Gateway != "" && o.SignIn {
					return usagef("conformance official: --auth is for a gateway that it starts; for a running one give --bearer")
				}
				if token, ok := io.Getenv(tokenVariable); ok && o.Gateway != "" && o.Bearer == "" {
					o.Bearer = token
				}
				o.Log = io.Err
				report, err := conformance.Official(ctx, o)
				if err != nil {
					return err
				}
				if format.json() {
					err = writeJSON(io.Out, report)
				} else {
					err = report.WriteTable(io.Out)
				}
				if err == nil && o.Crossed {
					return compareCrossed(report, *save, io)
				}
				if err == nil && !report.OK() {
					err = errors.New("conformance official: a required scenario failed; the table says which")
				}
				return err
			}
		},
	}
}

// compareCrossed holds a crossed run against its baselines, or makes it them.
func compareCrossed(report conformance.Report, save string, io stdio) error {
	if save != "" {
		return report.SaveBaselines(save)
	}
	all, err := report.Differences()
	if err != nil {
		return err
	}
	if err := conformance.WriteDifferences(io.Err, all); err != nil {
		return err
	}
	if len(all) > 0 {
		return fmt.Errorf("conformance official: %s to the baselines; where they are right, run it with --save conformance in the source tree and write the reasons", plural(len(all), "difference"))
	}
	return nil
}
