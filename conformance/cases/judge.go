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
	hits    []Hit            // since the step began; nil recorder = nothing known
	hitsOK  bool             // hits are known
	records []map[string]any // since the step began
	audited bool             // records are known
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

// matchers judge one line of an expectation; "" is right.
var matchers = map[string]func(o *outcome, arg string) string{
	"status": func(o *outcome, arg string) string {
		return oneOf("status", strconv.Itoa(o.status), arg)
	},
	"code": func(o *outcome, arg string) string {
		return oneOf("error code", dig(o.message(), "error.code"), arg)
	},
	"id": func(o *outcome, arg string) string {
		if arg == "absent" {
			arg = ""
		}
		if got := dig(o.message(), "id"); got != arg {
			return fmt.Sprintf("id is %s, want %s", orAbsent(got), orAbsent(arg))
		}
		return ""
	},
	"json": func(o *outcome, arg string) string {
		path, want, _ := strings.Cut(arg, " ")
		if got := dig(o.message(), path); got != want {
			return fmt.Sprintf("%s is %s, want %s", path, orAbsent(got), want)
		}
		return ""
	},
	"header": func(o *outcome, arg string) string {
		if name, ok := strings.CutSuffix(arg, " absent"); ok {
			if got := o.header.Values(name); len(got) > 0 {
				return fmt.Sprintf("header %s is %q, want none", name, got)
			}
			return ""
		}
		name, want, _ := strings.Cut(arg, ": ")
		if got := o.header.Values(name); !slices.Equal(got, []string{want}) {
			return fmt.Sprintf("header %s is %q, want %q", name, got, want)
		}
		return ""
	},
	"contains": func(o *outcome, arg string) string {
		if !strings.Contains(o.head+"\n"+string(o.body), arg) {
			return "the answer lacks " + strconv.Quote(arg)
		}
		return ""
	},
	"lacks": func(o *outcome, arg string) string {
		if strings.Contains(o.head+"\n"+string(o.body), arg) {
			return "the answer contains " + strconv.Quote(arg)
		}
		return ""
	},
	"closed": func(o *outcome, _ string) string {
		if !o.closed {
			return "the connection stays open"
		}
		return ""
	},
	"answers": func(o *outcome, arg string) string {
		return oneOf("answers on the connection", strconv.Itoa(o.answers), arg)
	},
	"hits": func(o *outcome, arg string) string {
		if !o.hitsOK {
			return ""
		}
		return oneOf("requests at the upstream", strconv.Itoa(len(o.hits)), arg)
	},
	"sent": func(o *outcome, arg string) string {
		if o.hitsOK && !o.reached(arg) {
			return "nothing with " + strconv.Quote(arg) + " reached the upstream: " + o.bodies()
		}
		return ""
	},
	"unsent": func(o *outcome, arg string) string {
		if o.hitsOK && o.reached(arg) {
			return strconv.Quote(arg) + " reached the upstream"
		}
		return ""
	},
	"record": func(o *outcome, arg string) string {
		if !o.audited {
			return ""
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(arg), &want); err != nil {
			return "the expected record is not JSON: " + arg
		}
		for _, r := range o.records {
			if holds(r, want) {
				return ""
			}
		}
		return fmt.Sprintf("no record of %d holds %s", len(o.records), arg)
	},
}

// judge holds an outcome against a step's expectations: no problems if any
// alternative has none.
func judge(o *outcome, alternatives [][]string) []string {
	var fewest []string
	for i, lines := range alternatives {
		var problems []string
		for _, line := range lines {
			word, arg, _ := strings.Cut(line, " ")
			if p := matchers[word](o, arg); p != "" {
				problems = append(problems, p)
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
