package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
)

// catalogTestTime bounds one `catalog test`, whatever the upstreams do.
const catalogTestTime = 30 * time.Second

func catalogTestVerb() verb {
	return verb{
		name: "catalog test", args: "[NAME...]", short: "connect to the enabled upstreams and say what they offer",
		long:     fmt.Sprintf("Named upstreams are tried even when they are not enabled. Ends after %v at most;\nexit code 1 if any upstream could not be reached.", catalogTestTime),
		examples: []string{"ostiary catalog test", "ostiary catalog test github --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "catalogs", "data")
			format := formatFlag(fs, "table")
			return func(ctx context.Context, names []string) error {
				c, err := load()
				if err != nil {
					return err
				}
				catalog, err := catalogs.Load(c.Catalogs, catalogOptions(c, io))
				if err != nil {
					return catalogRefused(c.Catalogs, err)
				}
				if catalog, err = only(catalog, names); err != nil {
					return err
				}
				results, err := tryUpstreams(ctx, c, catalog, catalogTestTime)
				if err != nil {
					return err
				}
				return showTried(results, format, io)
			}
		},
	}
}

// only is the catalog reduced to these upstreams, enabled; all that are
// enabled when names is empty.
func only(c *catalogs.Catalog, names []string) (*catalogs.Catalog, error) {
	part := *c
	part.Upstreams = nil
	var known []string
	for _, u := range c.Upstreams {
		known = append(known, u.Name)
		if len(names) == 0 && u.Enabled || slices.Contains(names, u.Name) {
			on := *u
			on.Enabled = true
			part.Upstreams = append(part.Upstreams, &on)
		}
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, usagef("no upstream %q%s; `ostiary catalog list` shows them", n, didYouMean(n, known))
		}
	}
	return &part, nil
}

// tried is how one upstream did.
type tried struct {
	federation.Status
	Took int64 `json:"took_ms"` // until it was ready or given up
}

// tryUpstreams connects to every enabled upstream of catalog without a store
// and waits until each was tried, at most limit.
func tryUpstreams(ctx context.Context, c *config, catalog *catalogs.Catalog, limit time.Duration) ([]tried, error) {
	start := time.Now()
	fed, err := openFederation(ctx, c, catalog, limit)
	if err != nil {
		return nil, err
	}
	var results []tried
	for _, s := range fed.Status() {
		if s.State == "disabled" {
			continue
		}
		took := time.Since(start)
		if s.Since.After(start) {
			took = s.Since.Sub(start)
		}
		results = append(results, tried{s, took.Milliseconds()})
	}
	return results, closeFederation(ctx, fed)
}

// openFederation makes a federation of its own, without a store, and waits
// until every upstream was tried.
func openFederation(ctx context.Context, c *config, catalog *catalogs.Catalog, limit time.Duration) (*federation.Federation, error) {
	fed := newFederation(c, nil, slog.New(slog.DiscardHandler))
	if err := fed.Apply(ctx, catalog); err != nil {
		return nil, errors.Join(fmt.Errorf("catalog: %w", err), closeFederation(ctx, fed))
	}
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	fed.Settle(wait)
	return fed, nil
}

func closeFederation(ctx context.Context, fed *federation.Federation) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), upstreamGrace)
	defer cancel()
	return fed.Close(end)
}

func showTried(results []tried, format *format, io stdio) error {
	failed := 0
	for _, r := range results {
		if r.State != "ready" {
			failed++
		}
	}
	if format.json() {
		if results == nil {
			results = []tried{}
		}
		if err := writeJSON(io.Out, results); err != nil {
			return err
		}
	} else if len(results) == 0 {
		fmt.Fprintln(io.Out, "no upstream is enabled")
	} else {
		t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "NAME\tSTATE\tERA\tVERSION\tTOOLS\tPROMPTS\tRESOURCES\tTEMPLATES\tLEFT OUT\tTOOK")
		for _, r := range results {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d ms\n", r.Name, r.State, dash(r.Era), dash(r.Version),
				r.Tools, r.Prompts, r.Resources, r.Templates, len(r.LeftOut), r.Took)
		}
		t.Flush()
		for _, r := range results {
			if r.Detail != "" {
				fmt.Fprintf(io.Out, "%s: %s\n", r.Name, r.Detail)
			}
			for _, l := range r.LeftOut {
				fmt.Fprintf(io.Out, "%s: left out %s %s: %s\n", r.Name, l.Kind, printable(l.Name), printable(l.Reason))
			}
			for _, n := range r.Notes {
				fmt.Fprintf(io.Out, "%s: %s %s %s: %s\n", r.Name, n.Note, n.Kind, printable(n.Name), printable(n.Text))
			}
		}
	}
	if failed > 0 {
		complain(io.Err, fmt.Errorf("%d of %s could not be reached; the reasons stand above", failed, plural(len(results), "upstream")))
		return errSilent
	}
	return nil
}

func dash(s string) string { return or(s, "-") }

// printable keeps what an upstream or agent says from steering the terminal:
// controls, and what reorders or hides text, become spaces.
func printable(s string) string { return strings.Map(harmless, s) }

// printableText is printable for text of several lines.
func printableText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return harmless(r)
	}, s)
}

func harmless(r rune) rune {
	if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
		return ' '
	}
	return r
}

// clipped is s, cut to n letters.
func clipped(s string, n int) string {
	if letters := []rune(s); len(letters) > n {
		return string(letters[:n-1]) + "…"
	}
	return s
}
