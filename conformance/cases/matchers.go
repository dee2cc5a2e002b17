package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

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
	"asked": func(o *outcome, arg string) string {
		method, want, _ := strings.Cut(arg, " ")
		if !o.hitsOK {
			return ""
		}
		return inRange(method+" requests at the upstream", o.counts[method], want)
	},
	"count": func(o *outcome, arg string) string {
		path, want, _ := strings.Cut(arg, " ")
		var items []json.RawMessage
		if err := json.Unmarshal([]byte(dig(o.message(), path)), &items); err != nil {
			return path + " is not an array"
		}
		return inRange("elements of "+path, len(items), want)
	},
	"events": func(o *outcome, arg string) string {
		method, want, _ := strings.Cut(arg, " ")
		n := 0
		for line := range bytes.Lines(o.body) {
			if data, ok := bytes.CutPrefix(line, []byte("data:")); ok && dig(data, "method") == strconv.Quote(method) {
				n++
			}
		}
		return inRange(method+" notifications", n, want)
	},
	"reply": func(o *outcome, arg string) string {
		if !o.hitsOK || slices.ContainsFunc(o.replies, func(h Hit) bool { return bytes.Contains(h.Body, []byte(arg)) }) {
			return ""
		}
		return fmt.Sprintf("none of %d replies to the upstream holds %s", len(o.replies), arg)
	},
	"replies": func(o *outcome, arg string) string {
		if !o.hitsOK {
			return ""
		}
		return inRange("replies to the upstream", len(o.replies), arg)
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
		want, err := Record([]byte(arg))
		if err != nil {
			return "the expected record is not JSON: " + arg
		}
		for _, r := range o.records {
			if holds(r, want) {
				return ""
			}
		}
		return fmt.Sprintf("no record of %d holds %s", len(o.records), arg)
	},
	"records": func(o *outcome, arg string) string {
		if !o.audited {
			return ""
		}
		return inRange("recorded attempts", o.attempts, arg)
	},
}
