package main

import (
	"context"
	"log/slog"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// recordSettings are the words of the table about what stands in records.
func recordSettings() []setting {
	return []setting{
		{key: "audit.redact.pointers", node: readPointers, set: fileOnly},
		{key: "audit.redact.keys", arg: "LIST", list: true, set: redaction(wordList(func(c *config) *[]string { return &c.Redaction.Keys }))},
		{key: "audit.redact.off", arg: "LIST", list: true, set: redaction(wordList(func(c *config) *[]string { return &c.Redaction.Off }))},
		{key: "audit.quota.requests", arg: "N", set: measured(parseCount, func(c *config) *int { return &c.Limits.Requests })},
		{key: "audit.quota.refused", arg: "N", set: measured(parseCount, func(c *config) *int { return &c.Limits.Refused })},
	}
}

// redaction checks what set made of the words.
func redaction(set func(*config, string) error) func(*config, string) error {
	return func(c *config, v string) error {
		if err := set(c, v); err != nil {
			return err
		}
		_, err := audit.NewRedactor(c.Redaction, nil)
		return err
	}
}

// readPointers reads a list of JSON pointers, each a text or a mapping with
// path, upstream and tool.
func readPointers(r *fileReader, n *yaml.Node) {
	const key = "audit.redact.pointers"
	if n.Kind != yaml.SequenceNode {
		r.problem(n, "%s: want a list", key)
		return
	}
	for _, item := range n.Content {
		var p audit.Pointer
		if item.Kind == yaml.ScalarNode {
			p.Path = item.Value
		} else {
			r.each(key, item, func(name, value *yaml.Node) {
				field := map[string]*string{"path": &p.Path, "upstream": &p.Upstream, "tool": &p.Tool}[name.Value]
				if field == nil || value.Kind != yaml.ScalarNode {
					r.problem(name, "%s: write path, upstream and tool, each a text", key)
					return
				}
				*field = value.Value
			})
		}
		r.config.Redaction.Pointers = append(r.config.Redaction.Pointers, p)
		if _, err := audit.NewRedactor(r.config.Redaction, nil); err != nil {
			r.problem(item, "%s: %w", key, err)
			return
		}
	}
}

// markUse separates the hashes of redacted values from others of the store.
const markUse = "audit redaction"

func newRedactor(c *config, s *store.Store) (*audit.Redactor, error) {
	return audit.NewRedactor(c.Redaction, func(b []byte) []byte { return s.Mark(markUse, b) })
}

// discreet has the log redact, and keep sealed what rules read; d may be nil.
func discreet(c *config, s *store.Store, d policy.Decider, log *slog.Logger) func(*audit.Options) error {
	return func(o *audit.Options) (err error) {
		o.Vault = s
		if r, ok := d.(policy.Reader); ok {
			o.Reads = r.DependsOn
		}
		o.Removed = func(through time.Time) {
			if through.IsZero() {
				return
			}
			if _, err := s.DestroyDays(context.Background(), through); err != nil {
				log.Error("keys of days whose records are gone were not destroyed; tried again with the next", "error", err)
			}
		}
		o.Redact, err = newRedactor(c, s)
		return err
	}
}
