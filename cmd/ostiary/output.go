package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// format is the value of --format: one of two words, the first the default.
type format struct {
	value string
	words []string
}

// formatFlag declares --format json|plain, where plain is the verb's form for
// people ("text" or "table") and the default.
func formatFlag(fs *flag.FlagSet, plain string) *format {
	f := &format{value: plain, words: []string{plain, "json"}}
	fs.Var(f, "format", "print as `"+plain+"|json`")
	return f
}

func (f *format) String() string { return f.value }

func (f *format) Set(s string) error {
	if !slices.Contains(f.words, s) {
		return fmt.Errorf("want %s", strings.Join(f.words, " or "))
	}
	f.value = s
	return nil
}

func (f *format) json() bool { return f.value == "json" }

// writeJSON writes v as one indented document.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeLine writes v as one line.
func writeLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// noWords refuses words after a verb that takes none.
func noWords(verb string, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef("%s: unexpected %q; it takes flags only", verb, args[0])
}

// plural is "1 tool", "2 tools".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
