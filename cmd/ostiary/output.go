package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
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
func writeJSON(w io.Writer, v any) error { return encodeJSON(w, v, "  ") }

// writeLine writes v as one line.
func writeLine(w io.Writer, v any) error { return encodeJSON(w, v, "") }

// encodeJSON escapes what could drive a terminal, too: agents and upstreams
// name things, and package json leaves C1 and bidirectional controls bare. All
// of them stand in strings.
func encodeJSON(w io.Writer, v any, indent string) error {
	var text, out bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return err
	}
	for _, r := range text.String() {
		if r == '\n' || harmless(r) == r {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	_, err := w.Write(out.Bytes())
	return err
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
