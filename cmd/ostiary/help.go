package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// help prints the table of verbs, or the usage of those that begin with args.
func help(args []string, io stdio) error {
	if len(args) == 0 {
		overview(io.Out)
		return nil
	}
	name := strings.Join(args, " ")
	found := false
	whole := slices.ContainsFunc(verbs(), func(v verb) bool { return v.name == name })
	for _, v := range verbs() {
		if v.name == name || !whole && strings.HasPrefix(v.name, name+" ") {
			if found {
				fmt.Fprintln(io.Out)
			}
			usage(io.Out, v)
			found = true
		}
	}
	if found {
		return nil
	}
	_, _, err := findVerb(args)
	return err
}

func overview(w io.Writer) {
	fmt.Fprint(w, "Ostiary is an MCP server made of other MCP servers: one door for agents,\nevery request decided and recorded.\n\nUsage: ostiary VERB [flags]\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, v := range verbs() {
		fmt.Fprintf(t, "  %s\t%s\n", v.name, v.short)
	}
	t.Flush()
	fmt.Fprint(w, "\n`ostiary help VERB` or `ostiary VERB --help` shows the flags of one.\nExit codes: 0 done, 1 failed, 2 wrong usage.\n")
}

func usage(w io.Writer, v verb) {
	fs := flag.NewFlagSet(v.name, flag.ContinueOnError)
	v.define(fs, stdio{Getenv: func(string) (string, bool) { return "", false }})
	fmt.Fprintln(w, strings.TrimRight("Usage: ostiary "+v.name+" [flags] "+v.args, " "))
	fmt.Fprintf(w, "\n%s%s.\n", strings.ToUpper(v.short[:1]), v.short[1:])
	if v.long != "" {
		fmt.Fprintf(w, "\n%s\n", v.long)
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	first := true
	fs.VisitAll(func(f *flag.Flag) {
		value, words := flag.UnquoteUsage(f)
		if words == hiddenFlag {
			return
		}
		if first {
			fmt.Fprint(t, "\nFlags:\n")
			first = false
		}
		name := "--" + f.Name
		if value != "" {
			name += " " + value
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			words += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(t, "  %s\t%s\n", name, words)
	})
	t.Flush()
	if len(v.examples) > 0 {
		fmt.Fprint(w, "\nExamples:\n")
		for _, e := range v.examples {
			fmt.Fprintf(w, "  %s\n", e)
		}
	}
}

// hiddenFlag is the usage text of a flag that is understood but not listed.
const hiddenFlag = "hidden"

// flagError says what package flag found wrong, in our words.
func flagError(fs *flag.FlagSet, err error) string {
	_, name, unknown := strings.Cut(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err.Error()
	}
	var names []string
	fs.VisitAll(func(f *flag.Flag) {
		if f.Usage != hiddenFlag {
			names = append(names, "--"+f.Name)
		}
	})
	name = "--" + strings.TrimPrefix(name, "-")
	return "no flag " + name + didYouMean(name, names)
}

// didYouMean is ", did you mean X?" for the nearest of known, or nothing when
// none is near.
func didYouMean(word string, known []string) string {
	best, at := "", 3
	if len(word) <= 3 {
		at = 2
	}
	for _, k := range known {
		if d := distance(word, k); d < at || d == at && best == "" {
			best, at = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}

// distance is the Damerau-Levenshtein distance (adjacent letters may swap),
// in letters, without regard to case.
func distance(a, b string) int {
	s, t := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	before := make([]int, len(t)+1)
	last := make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range s {
		row := make([]int, len(t)+1)
		row[0] = i + 1
		for j := range t {
			cost := 1
			if s[i] == t[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(t)]
}
