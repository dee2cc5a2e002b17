package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// outcome is all that is known after a step.
type outcome struct {
	*answer
	seen         // since the step began
	hitsOK  bool // seen is known
	sent    int  // requests
	trouble []string

	audited  bool // what follows is known
	attempts int
	records  []map[string]any // of the attempts, outcomes behind decisions
}

// message is the JSON of the answer: the body, or the last data of a stream.
func (o *outcome) message() []byte {
	if !strings.HasPrefix(o.header.Get("Content-Type"), "text/event-stream") {
		return o.body
	}
	var last []byte
	for line := range bytes.Lines(o.body) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok && len(bytes.TrimSpace(data)) > 0 {
			last = bytes.TrimSpace(data)
		}
	}
	return last
}

// judge holds an outcome against a step's expectations: no problems if any
// alternative has none. Where an alternative says nothing about the number of
// records, there must be one decision for each request sent.
func judge(o *outcome, alternatives [][]Line) []Line {
	var fewest []Line
	for i, lines := range alternatives {
		var problems []Line
		counted := !o.audited
		for _, line := range lines {
			word, arg, _ := strings.Cut(line.Text, " ")
			counted = counted || word == "records"
			if p := matchers[word](o, arg); p != "" {
				problems = append(problems, Line{line.Number, p})
			}
		}
		if !counted && len(lines) > 0 {
			if p := o.recorded(); p != "" {
				problems = append(problems, Line{lines[0].Number, p})
			}
		}
		if len(problems) == 0 {
			return nil
		}
		if i == 0 || len(problems) < len(fewest) {
			fewest = problems
		}
	}
	return fewest
}

func (o *outcome) reached(text string) bool {
	return slices.ContainsFunc(o.hits, func(h Hit) bool { return bytes.Contains(h.Body, []byte(text)) })
}

func (o *outcome) bodies() string {
	var all []string
	for _, h := range o.hits {
		all = append(all, string(h.Body[:min(len(h.Body), 300)]))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func oneOf(what, got, list string) string {
	if slices.Contains(strings.Fields(list), got) {
		return ""
	}
	return fmt.Sprintf("%s is %s, want %s", what, orAbsent(got), strings.Join(strings.Fields(list), " or "))
}

// inRange judges a number: "3" or "1-3".
func inRange(what string, got int, want string) string {
	low, high, _ := strings.Cut(want, "-")
	from, err := strconv.Atoi(low)
	to := from
	if err == nil && high != "" {
		to, err = strconv.Atoi(high)
	}
	switch {
	case err != nil:
		return strconv.Quote(want) + " is neither a number nor a range"
	case got < from || got > to:
		return fmt.Sprintf("%s are %d, want %s", what, got, want)
	}
	return ""
}

func orAbsent(s string) string {
	if s == "" {
		return "absent"
	}
	return s
}

// dig is the compact JSON text at a dotted path, numbers as written; "" when
// there is none.
func dig(doc []byte, path string) string {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var at any
	if err := d.Decode(&at); err != nil {
		return ""
	}
	for key := range strings.SplitSeq(path, ".") {
		switch v := at.(type) {
		case map[string]any:
			next, ok := v[key]
			if !ok {
				return ""
			}
			at = next
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(v) {
				return ""
			}
			at = v[i]
		default:
			return ""
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(at); err != nil {
		return ""
	}
	return strings.TrimSpace(b.String())
}

// holds tells whether a record has all members of want, nested ones too.
func holds(record, want map[string]any) bool {
	for key, w := range want {
		r, ok := record[key]
		if !ok {
			return false
		}
		if wm, isMap := w.(map[string]any); isMap {
			if rm, ok := r.(map[string]any); !ok || !holds(rm, wm) {
				return false
			}
		} else if !reflect.DeepEqual(r, w) {
			return false
		}
	}
	return true
}
