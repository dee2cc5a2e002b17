package catalogs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// parse turns the content of one file into its root node. A file without a
// document gives nil. What is wrong is added to the problems of f, always with
// a line; then the node is nil and ok is false.
func (f *file) parse(content []byte) (root *yaml.Node, ok bool) {
	// The library finds these two as well, but cannot say on which line.
	if line, column, bad := unreadable(content); bad != nil {
		f.problemAt(line, column, "", bad.text, bad.fix)
		return nil, false
	}
	loader, err := yaml.NewLoader(bytes.NewReader(content))
	if err != nil {
		f.problemAt(1, 1, "", "the YAML reader did not start", "report this as a bug")
		return nil, false
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return nil, true
	case err != nil:
		f.syntax(err)
		return nil, false
	}
	switch err := loader.Load(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		f.syntax(err)
		return nil, false
	default:
		f.problemAt(next.Line, next.Column, "", "a second YAML document starts here",
			"put all upstreams under one upstreams key, or into a file of their own")
		return nil, false
	}
	if len(doc.Content) != 1 {
		return nil, true
	}
	return doc.Content[0], true
}

// syntax reports what the YAML library did not like. Its texts are fixed
// sentences, save the one that quotes an alias, which may be a secret that
// begins with an asterisk.
func (f *file) syntax(err error) {
	line, column, text := 1, 1, "this is not "+f.language()
	var one *yaml.LoadError
	var many *yaml.LoadErrors
	if errors.As(err, &many) && len(many.Errors) > 0 {
		one = many.Errors[0]
	} else {
		errors.As(err, &one)
	}
	if one != nil {
		line, column = max(one.Mark.Line, 1), max(one.Mark.Column, 1)
		switch {
		case strings.Contains(one.Message, "anchor"):
			text = "a value that begins with * is an alias in YAML, and nothing here has that name"
		case one.Message != "":
			text = "this is not " + f.language() + ": " + one.Message
			if one.ContextMsg != "" && one.ContextMark.Line > 0 && one.ContextMark.Line != line {
				text += fmt.Sprintf(" (%s that starts on line %d)", one.ContextMsg, one.ContextMark.Line)
			}
		}
	}
	f.problemAt(line, column, "", text, "check indentation, quotes and brackets around this line")
}

// unreadable finds the first byte that is no text.
func unreadable(content []byte) (line, column int, bad *fault) {
	line, column = 1, 1
	for i := 0; i < len(content); {
		r, size := utf8.DecodeRune(content[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return line, column, &fault{"this is not valid UTF-8", "save the file as UTF-8 text"}
		case r == '\n':
			line, column = line+1, 0
		case r < ' ' && r != '\t' && r != '\r', r == 0x7f, r >= 0x80 && r < 0xa0 && r != 0x85:
			return line, column, &fault{"there is a control character here", "remove it, or write it as an escape in double quotes"}
		}
		i += size
		column++
	}
	return 0, 0, nil
}

func (f *file) language() string {
	if strings.HasSuffix(f.name, ".yaml") || strings.HasSuffix(f.name, ".yml") {
		return "YAML"
	}
	return "JSON"
}
