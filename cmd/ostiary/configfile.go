package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v4"
)

// readConfigFile lays ostiary.yaml over c and returns every problem, each with
// file, line and column. Unknown keys are problems.
func readConfigFile(file string, c *config) []error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return []error{fmt.Errorf("config: %w; check --config", err)}
	}
	r := fileReader{file: file, config: c, table: map[string]setting{}}
	for _, s := range settings() {
		r.table[s.key] = s
		r.keys = append(r.keys, s.key)
	}
	var doc, second yaml.Node
	documents, err := yaml.NewLoader(bytes.NewReader(raw))
	if err == nil {
		err = documents.Load(&doc)
	}
	switch {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		return nil // nothing but comments
	case err != nil:
		return []error{fmt.Errorf("%s: not YAML: %w", file, err)}
	}
	if err := documents.Load(&second); !errors.Is(err, io.EOF) {
		return []error{fmt.Errorf("%s: want one document; remove what follows ---", file)}
	}
	r.mapping("", doc.Content[0])
	return r.problems
}

type fileReader struct {
	file     string
	config   *config
	table    map[string]setting
	keys     []string
	problems []error
}

func (r *fileReader) problem(n *yaml.Node, format string, a ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s:%d:%d: %w", r.file, n.Line, n.Column, fmt.Errorf(format, a...)))
}

// mapping reads the keys below prefix.
func (r *fileReader) mapping(prefix string, n *yaml.Node) {
	r.each(strings.TrimSuffix(prefix, "."), n, func(name, value *yaml.Node) { r.entry(prefix+name.Value, name, value) })
}

// each hands the pairs of a mapping to read; where names it, "" is the file.
func (r *fileReader) each(where string, n *yaml.Node, read func(name, value *yaml.Node)) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.problem(n, "%s: want keys with values", or(where, "the file"))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if seen[name.Value] {
			r.problem(name, "%s: written twice; keep one", strings.TrimPrefix(where+"."+name.Value, "."))
			continue
		}
		seen[name.Value] = true
		read(name, value)
	}
}

func (r *fileReader) entry(key string, name, value *yaml.Node) {
	s, known := r.table[key]
	switch {
	case !known && r.group(key):
		r.mapping(key+".", value)
	case !known:
		r.problem(name, "%s: unknown key%s", key, didYouMean(key, r.keys))
	case errors.Is(s.set(defaults(), ""), errNotBuilt):
		r.problem(name, "%s: %w; remove the key", key, errNotBuilt)
	case s.node != nil:
		s.node(r, value)
	case s.list:
		r.list(s, value)
	case value.Kind != yaml.ScalarNode:
		r.problem(value, "%s: want one value", key)
	default:
		if err := s.set(r.config, value.Value); err != nil {
			r.problem(value, "%s: %w", key, err)
		}
	}
}

func (r *fileReader) list(s setting, n *yaml.Node) {
	problems := len(r.problems)
	items := r.items(s.key, n)
	for i, item := range items {
		if err := s.set(defaults(), item); err != nil {
			r.problem(n.Content[i], "%s: %w", s.key, err)
			return
		}
	}
	if len(items) > 0 && len(r.problems) == problems {
		if err := s.set(r.config, strings.Join(items, ",")); err != nil {
			r.problem(n, "%s: %w", s.key, err)
		}
	}
}

// items reads a list of values; nil when it is none.
func (r *fileReader) items(key string, n *yaml.Node) []string {
	if n.Kind != yaml.SequenceNode {
		r.problem(n, "%s: want a list", key)
		return nil
	}
	var items []string
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode {
			r.problem(item, "%s: want one value", key)
			return nil
		}
		items = append(items, item.Value)
	}
	return items
}

// group says whether keys exist below key.
func (r *fileReader) group(key string) bool {
	for _, k := range r.keys {
		if strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return false
}

// or is s, or other when s is empty.
func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
