package audit

import (
	"bytes"
	"iter"
	"time"
)

// Filter selects records. A zero field selects all; the others must all match,
// exactly unless said otherwise.
type Filter struct {
	Since, Until time.Time // Since ≤ timestamp < Until
	Kind         string
	User         string // id or name
	Client       string // id
	Upstream     string
	Tool         string // the target's own name
	Decision     string // "allow" or "deny"
	DecisionID   string
	Outcome      string
	Text         string // anywhere in the line, letter case ignored
}

// Match says whether f selects r, Text aside.
func (f *Filter) Match(r *Record) bool {
	switch {
	case !f.Since.IsZero() && r.Time.Before(f.Since),
		!f.Until.IsZero() && !r.Time.Before(f.Until),
		f.Kind != "" && f.Kind != r.Kind,
		f.User != "" && f.User != r.User.ID && f.User != r.User.Name,
		f.Client != "" && f.Client != r.Client.ID,
		f.Upstream != "" && f.Upstream != r.Upstream,
		f.Tool != "" && f.Tool != r.Target.Name,
		f.DecisionID != "" && f.DecisionID != r.DecisionID,
		f.Outcome != "" && f.Outcome != r.Outcome:
		return false
	}
	return f.Decision == "" || r.Decision != nil && f.Decision == word(r.Decision.Allow)
}

func word(allow bool) string {
	if allow {
		return "allow"
	}
	return "deny"
}

// Query yields the records that f selects, in order. Errors are those of Read.
func Query(dir string, f Filter) iter.Seq2[*Record, error] {
	text := bytes.ToLower([]byte(f.Text))
	kind := appendString([]byte(`"kind":`), f.Kind)
	return func(yield func(*Record, error) bool) {
		for line, err := range readLines(dir) {
			if err == nil && f.Kind != "" && !bytes.Contains(line.text, kind) {
				continue // reading a line as JSON is what a query costs
			}
			if err == nil && len(text) > 0 && !bytes.Contains(bytes.ToLower(line.text), text) {
				continue
			}
			var r *Record
			if err == nil {
				r, err = decode(line)
			}
			if err == nil && !f.Match(r) {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
