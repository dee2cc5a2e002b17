package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/ostiary/ostiary/store/audit"
)

func toolsDiffVerb() verb {
	return verb{
		name: "tools diff", args: "[NAME]", short: "show how definitions of tools, prompts and resources changed",
		long: "Reads the audit log, also beside a running server; only changes that a server saw are\n" +
			"there. NAME is a tool, by its merged or its own name, or an upstream. --since takes a\nmoment (2026-01-31T15:04:05Z, 2026-01-31) or an age (90m, 24h). Exit code 0 also when\nnothing changed.",
		examples: []string{"ostiary tools diff", "ostiary tools diff github__create_issue --since 24h", "ostiary tools diff github --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "data")
			format := formatFlag(fs, "text")
			var since time.Time
			fs.Func("since", "only at or after this `TIME`", func(s string) (err error) { since, err = moment(s, time.Now()); return })
			return func(ctx context.Context, args []string) error {
				name := ""
				switch len(args) {
				case 0:
				case 1:
					name = args[0]
				default:
					return usagef("tools diff: one NAME at most, not %d", len(args))
				}
				c, err := load()
				if err != nil {
					return err
				}
				return toolsDiff(ctx, c.Data, name, since, format, io)
			}
		},
	}
}

// changedDefinition is one change as JSON.
type changedDefinition struct {
	Seq      uint64    `json:"seq"` // of the audit record
	Time     time.Time `json:"timestamp"`
	Upstream string    `json:"upstream"`
	Kind     string    `json:"kind,omitempty"`
	Name     string    `json:"name,omitempty"`         // the upstream's own
	Exposed  string    `json:"exposed_name,omitempty"` // in the merged namespace
	Before   string    `json:"digest_before,omitempty"`
	After    string    `json:"digest_after,omitempty"`
	Changes  []string  `json:"changes,omitempty"` // "JSON pointer: before → after"
	Note     string    `json:"note,omitempty"`    // stands for changes that are not recorded one by one
}

func toolsDiff(ctx context.Context, dir, name string, since time.Time, format *format, io stdio) error {
	if err := dataExists(dir); err != nil {
		return err
	}
	found := []changedDefinition{}
	bad := 0
	for r, err := range audit.Query(dir, audit.Filter{Kind: "event", Since: since}) {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			complain(io.Err, fmt.Errorf("audit log in %s: %w", dir, err))
			bad++
		case r.Event == eventDefinition:
			c := changeOf(r)
			if name == "" || name == c.Upstream || name == c.Name || name == c.Exposed {
				found = append(found, c)
			}
		}
	}
	if format.json() {
		if err := writeJSON(io.Out, found); err != nil {
			return err
		}
	} else {
		showChanges(found, name, io)
	}
	if bad > 0 {
		return errSilent
	}
	return nil
}

func changeOf(r *audit.Record) changedDefinition {
	c := changedDefinition{Seq: r.Seq, Time: r.Time, Upstream: r.Upstream, Kind: r.Target.Kind, Name: r.Target.Name}
	if r.Reason == reasonMany {
		c.Note = r.Detail
		return c
	}
	c.Exposed, c.Before, c.After, c.Changes = readDrift(r.Detail)
	return c
}

func showChanges(found []changedDefinition, name string, io stdio) {
	if len(found) == 0 {
		what := "no definition changed"
		if name != "" {
			what = "no definition of " + printable(name) + " changed"
		}
		fmt.Fprintln(io.Out, what+", as far as the audit log knows")
	}
	for n, c := range found {
		if n > 0 {
			fmt.Fprintln(io.Out)
		}
		at := c.Time.UTC().Format(time.RFC3339)
		if c.Note != "" {
			fmt.Fprintf(io.Out, "%s  upstream %s\n  %s\n", at, c.Upstream, printable(c.Note))
			continue
		}
		fmt.Fprintf(io.Out, "%s  %s %s of upstream %s\n", at, c.Kind, printable(c.Name), c.Upstream)
		fmt.Fprintf(io.Out, "  digest: %.12s → %.12s\n", c.Before, c.After)
		for _, change := range c.Changes {
			fmt.Fprintf(io.Out, "  %s\n", printable(change))
		}
	}
}
