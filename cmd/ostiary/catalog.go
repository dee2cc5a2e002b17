package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ostiary/ostiary/catalogs"
)

// problemLine is a catalogs.Problem as JSON.
type problemLine struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Key    string `json:"key,omitempty"`
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"`
}

func problemLines(ps []catalogs.Problem) []problemLine {
	lines := make([]problemLine, len(ps))
	for i, p := range ps {
		lines[i] = problemLine{p.File, p.Line, p.Column, p.Key, p.Text, p.Fix}
	}
	return lines
}

func catalogCheckVerb() verb {
	return verb{
		name: "catalog check", short: "say what is wrong with the catalog files, and what they read",
		examples: []string{"ostiary catalog check", "ostiary catalog check --catalogs /etc/ostiary/catalogs --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "catalogs", "data")
			format := formatFlag(fs, "text")
			return func(_ context.Context, args []string) error {
				if err := noWords("catalog check", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				return catalogCheck(c, format, io)
			}
		},
	}
}

// reading is one entry and the names of variables and files that it reads.
type reading struct {
	Upstream string   `json:"upstream"`
	File     string   `json:"file"`
	Names    []string `json:"names"`
}

func catalogCheck(c *config, format *format, io stdio) error {
	catalog, err := catalogs.Load(c.Catalogs, catalogOptions(c, io))
	var problems catalogs.Problems
	if err != nil && !errors.As(err, &problems) {
		return fmt.Errorf("catalog %s: %w; check --catalogs", c.Catalogs, err)
	}
	report := struct {
		OK        bool          `json:"ok"`
		Problems  []problemLine `json:"problems"`
		Warnings  []problemLine `json:"warnings"`
		Upstreams int           `json:"upstreams"`
		Enabled   int           `json:"enabled"`
		Revision  string        `json:"revision,omitempty"`
		Reads     []reading     `json:"reads"`
	}{OK: err == nil, Problems: problemLines(problems), Warnings: []problemLine{}, Reads: []reading{}}
	if err == nil {
		report.Warnings = problemLines(catalog.Warnings)
		report.Upstreams, report.Enabled, report.Revision = len(catalog.Upstreams), enabled(catalog), catalog.Revision
		for _, u := range catalog.Upstreams {
			if len(u.Reads) > 0 {
				report.Reads = append(report.Reads, reading{u.Name, u.Source.File, u.Reads})
			}
		}
	}
	if format.json() {
		if err := writeJSON(io.Out, report); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(io.Out, p)
		}
		if err == nil {
			for _, w := range catalog.Warnings {
				fmt.Fprintf(io.Out, "warning: %s\n", w)
			}
			fmt.Fprintf(io.Out, "%s: %s, %d enabled\n", c.Catalogs, plural(report.Upstreams, "upstream"), report.Enabled)
			for _, r := range report.Reads {
				fmt.Fprintf(io.Out, "%s reads %s (%s)\n", r.Upstream, strings.Join(r.Names, ", "), r.File)
			}
		}
	}
	if err != nil {
		complain(io.Err, fmt.Errorf("catalog %s: %s; nothing of it would be served", c.Catalogs, plural(len(problems), "problem")))
		return errSilent
	}
	return nil
}

func catalogListVerb() verb {
	return verb{
		name: "catalog list", short: "list the declared upstreams",
		examples: []string{"ostiary catalog list", "ostiary catalog list --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "catalogs", "data")
			format := formatFlag(fs, "table")
			return func(_ context.Context, args []string) error {
				if err := noWords("catalog list", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				catalog, err := catalogs.Load(c.Catalogs, catalogOptions(c, io))
				if err != nil {
					return catalogRefused(c.Catalogs, err)
				}
				return catalogList(catalog, format, io)
			}
		},
	}
}

// declared is one row of `catalog list`.
type declared struct {
	Name      string   `json:"name"`
	Title     string   `json:"title,omitempty"`
	Enabled   bool     `json:"enabled"`
	Transport string   `json:"transport"`
	Where     string   `json:"where"` // URL without query, or the program
	Prefix    string   `json:"prefix"`
	Labels    []string `json:"labels"`
	Available *bool    `json:"available,omitempty"` // of stdio: is the program installed
	Source    string   `json:"source"`
}

func declare(u *catalogs.Upstream) declared {
	d := declared{
		Name: u.Name, Title: u.Title, Enabled: u.Enabled, Transport: string(u.Transport), Where: whereOf(u),
		Prefix: u.Prefix, Labels: append([]string{}, u.Labels...), Source: u.Source.String(),
	}
	if len(u.Command) > 0 {
		_, err := exec.LookPath(u.Command[0])
		there := err == nil
		d.Available = &there
	}
	return d
}

// whereOf is where an upstream lives. Query and user part of a URL stay out,
// and so do arguments of an entry that reads variables or files: what they
// expand to may be secret.
func whereOf(u *catalogs.Upstream) string {
	switch {
	case len(u.Command) > 0 && len(u.Reads) > 0:
		return u.Command[0] + " …"
	case len(u.Command) > 0:
		return strings.Join(u.Command, " ")
	}
	where, err := url.Parse(u.URL)
	if err != nil {
		return "(not a URL)"
	}
	where.User, where.RawQuery, where.Fragment = nil, "", ""
	return where.String()
}

func catalogList(catalog *catalogs.Catalog, format *format, io stdio) error {
	rows := make([]declared, 0, len(catalog.Upstreams))
	for _, u := range catalog.Upstreams {
		rows = append(rows, declare(u))
	}
	slices.SortFunc(rows, func(a, b declared) int { return cmp.Compare(a.Name, b.Name) })
	if format.json() {
		return writeJSON(io.Out, rows)
	}
	t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tENABLED\tTRANSPORT\tWHERE\tPREFIX\tLABELS")
	for _, r := range rows {
		where := r.Where
		if r.Available != nil && !*r.Available {
			where += " (not installed)"
		}
		fmt.Fprintf(t, "%s\t%v\t%s\t%s\t%q\t%s\n", r.Name, r.Enabled, r.Transport, where, r.Prefix, strings.Join(r.Labels, ","))
	}
	return t.Flush()
}
