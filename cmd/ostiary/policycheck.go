package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/policy/rego"
)

// policyArgs reads the configuration and the one word that a policy verb takes.
func policyArgs(name string, load func() (*config, error), args []string) (*config, string, error) {
	if len(args) > 1 {
		return nil, "", usagef("%s: unexpected %q; it takes one directory", name, args[1])
	}
	c, err := load()
	if err != nil {
		return nil, "", err
	}
	if len(args) == 1 {
		c.Policies = args[0]
	}
	dir := policyDir(c)
	if dir == "" {
		return nil, "", fmt.Errorf("%s: there is no %s; name a directory", name, defaultPolicies)
	}
	return c, dir, nil
}

func policyCheckVerb() verb {
	return verb{
		name: "policy check", args: "[DIR]", short: "say what is wrong with the rules, and what they read",
		long: "Does what `serve` does before it takes rules: compiles them strictly, holds every path of\n" +
			"input against the schema (`ostiary policy schema`), runs their test_ rules and a canary request.",
		examples: []string{"ostiary policy check", "ostiary policy check /etc/ostiary/policies --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "policies")
			format := formatFlag(fs, "text")
			return func(_ context.Context, args []string) error {
				c, dir, err := policyArgs("policy check", load, args)
				if err != nil {
					return err
				}
				return policyCheck(c, dir, format, io)
			}
		},
	}
}

func policyCheck(c *config, dir string, format *format, io stdio) error {
	e, err := rego.Load(dir, policyOptions(c))
	var problems rego.Problems
	if err != nil && !errors.As(err, &problems) {
		return fmt.Errorf("policies %s: %w; check --policies", dir, err)
	}
	report := struct {
		OK        bool          `json:"ok"`
		Problems  rego.Problems `json:"problems"`
		Warnings  rego.Problems `json:"warnings"`
		Files     int           `json:"files"`
		Tests     int           `json:"tests"`
		Revision  string        `json:"revision,omitempty"`
		Reads     []string      `json:"reads"`     // paths of input that decisions depend on
		ReadsTime bool          `json:"readsTime"` // lists change with the time alone
	}{OK: err == nil, Problems: append(rego.Problems{}, problems...), Warnings: rego.Problems{}, Reads: []string{}}
	if err == nil {
		report.Warnings = append(report.Warnings, e.Warnings()...)
		report.Files, report.Tests, report.Revision = e.Files(), e.Tested(), e.Revision()
		report.Reads, report.ReadsTime = e.Reads(), e.ReadsTime()
	}
	if format.json() {
		if err := writeJSON(io.Out, report); err != nil {
			return err
		}
	} else {
		for _, p := range report.Problems {
			fmt.Fprintln(io.Out, printable(p.String()))
		}
		for _, w := range report.Warnings {
			fmt.Fprintf(io.Out, "warning: %s\n", printable(w.String()))
		}
		if report.OK {
			fmt.Fprintf(io.Out, "%s: %s, %s passed\n", dir, plural(report.Files, "file"), plural(report.Tests, "test"))
			fmt.Fprintf(io.Out, "decisions depend on %s\n", or(strings.Join(report.Reads, ", "), "nothing"))
			if report.ReadsTime {
				fmt.Fprintln(io.Out, "lists change with the time")
			}
		}
	}
	if err != nil {
		complain(io.Err, fmt.Errorf("policies %s: %s; nothing of it would be served", dir, plural(len(problems), "problem")))
		return errSilent
	}
	return nil
}

func policySchemaVerb() verb {
	return verb{
		name: "policy schema", short: "print the JSON Schema of the input document that rules read",
		long:     "Editors and `opa check --schema` take it; `ostiary policy check` holds rules against it by itself.",
		examples: []string{"ostiary policy schema > schemas/input.json"},
		define: func(_ *flag.FlagSet, io stdio) func(context.Context, []string) error {
			return func(_ context.Context, args []string) error {
				if err := noWords("policy schema", args); err != nil {
					return err
				}
				_, err := io.Out.Write(policy.InputSchema)
				return err
			}
		},
	}
}
