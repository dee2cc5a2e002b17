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
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.problem(n, "%s: want keys with values", strings.TrimSuffix(or(prefix, "the file"), "."))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		key := prefix + name.Value
		if seen[key] {
			r.problem(name, "%s: written twice; keep one", key)
			continue
		}
		seen[key] = true
		r.entry(key, name, value)
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
	if n.Kind != yaml.SequenceNode {
		r.problem(n, "%s: want a list", s.key)
		return
	}
	var items []string
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode {
			r.problem(item, "%s: want one value", s.key)
			return
		}
		if err := s.set(defaults(), item.Value); err != nil {
			r.problem(item, "%s: %w", s.key, err)
			return
		}
		items = append(items, item.Value)
	}
	if len(items) > 0 {
		if err := s.set(r.config, strings.Join(items, ",")); err != nil {
			r.problem(n, "%s: %w", s.key, err)
		}
	}
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
