package catalogs

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// file is one catalog file while it is read. Problems and warnings go to lists
// that all files share.
type file struct {
	name     string // as the operator would type it
	problems *Problems
	warnings *[]Problem
}

func (f *file) problemAt(line, column int, key, text, fix string) {
	*f.problems = append(*f.problems, Problem{Position{f.name, line, column}, key, text, fix})
}

// value is one node and the path of keys that leads to it.
type value struct {
	*file
	node *yaml.Node
	path string
}

func (v value) position() Position { return Position{v.name, v.node.Line, v.node.Column} }

func (v value) problem(text, fix string) {
	v.problemAt(v.node.Line, v.node.Column, v.path, text, fix)
}

// warn says what is worth knowing, but no reason to refuse the file.
func (v value) warn(text, fix string) {
	*v.warnings = append(*v.warnings, Problem{v.position(), v.path, text, fix})
}

// wants reports a value of the wrong type. It names the type that was found,
// never the value: where a number was meant there may stand a secret.
func (v value) wants(what, fix string) {
	text := "must be " + what + ", but is " + v.kind()
	if v.path == "" {
		text = "the file " + text
	}
	v.problem(text, fix)
}

func (v value) kind() string {
	switch v.node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch v.node.ShortTag() {
	case "!!null":
		return "empty"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}

func (v value) null() bool {
	return v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!null"
}

// plain refuses what would make a file mean something else than it shows:
// aliases repeat a value from afar, tags change how one is read.
func (v value) plain() bool {
	switch {
	case v.node.Kind == yaml.AliasNode:
		v.problem("aliases are not read here", "write the value out; if it begins with *, put it in quotes")
		return false
	case v.node.Style&yaml.TaggedStyle != 0:
		v.problem("tags are not read here", "drop the !tag; if the value begins with !, put it in quotes")
		return false
	case v.node.Anchor != "":
		v.problem("anchors are not read here", "drop the &name; if the value begins with &, put it in quotes")
		return false
	}
	return true
}

// text is a value that YAML itself takes for text.
func (v value) text() (string, bool) {
	if !v.plain() {
		return "", false
	}
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!str" {
		fix := "put it in quotes"
		switch {
		case v.null():
			fix = "give it a value or drop the key"
		case v.node.Kind != yaml.ScalarNode:
			fix = "write one value"
		}
		v.wants("text", fix)
		return "", false
	}
	return v.node.Value, true
}

// literal is any single value as it is written: a port number in an
// environment or a command needs no quotes.
func (v value) literal() (string, bool) {
	if !v.plain() {
		return "", false
	}
	if v.node.Kind != yaml.ScalarNode {
		v.wants("text", "write one value")
		return "", false
	}
	if v.null() {
		v.problem("is empty", `give it a value, or "" if that is meant`)
		return "", false
	}
	return v.node.Value, true
}

func (v value) boolean() (b, ok bool) {
	if !v.plain() {
		return false, false
	}
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!bool" {
		v.wants("true or false", "write true or false, without quotes")
		return false, false
	}
	return strings.EqualFold(v.node.Value, "true"), true
}

func (v value) list(each func(value)) {
	if !v.plain() {
		return
	}
	if v.node.Kind != yaml.SequenceNode {
		v.wants("a list", "write a list: [one, two]")
		return
	}
	for i, n := range v.node.Content {
		each(value{v.file, n, fmt.Sprintf("%s[%d]", v.path, i)})
	}
}

// mapping visits each key once; a key that comes again is a problem that names
// both places.
func (v value) mapping(each func(key string, k, val value)) {
	if !v.plain() {
		return
	}
	if v.node.Kind != yaml.MappingNode {
		v.wants("a mapping", "write key: value lines under it")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		k, n := v.node.Content[i], v.node.Content[i+1]
		at := value{v.file, k, v.path}
		if !at.plain() {
			continue
		}
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge" {
			at.problem("keys must be plain words", "write key: value lines")
			continue
		}
		at.path = join(v.path, show(k.Value))
		if first, again := seen[k.Value]; again {
			at.problem(fmt.Sprintf("is given twice; the first is on line %d", first), "keep one of them")
			continue
		}
		seen[k.Value] = k.Line
		each(k.Value, at, value{v.file, n, at.path})
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// show makes a key fit to print: short, on one line, and without characters
// that a terminal would obey.
func show(key string) string {
	if key == "" {
		return `""`
	}
	short := []rune(key)
	if len(short) > 64 {
		short = append(short[:63:63], '…')
	}
	for _, r := range short {
		if !unicode.IsGraphic(r) {
			return strconv.QuoteToASCII(string(short))
		}
	}
	return string(short)
}
