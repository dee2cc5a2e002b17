package cases

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// script is what an upstream does to the requests of one step, instead of
// what it should. The words are in the package comment.
type script struct {
	method  string        // of the requests that it answers
	times   int           // how many of them; 0 = all
	slowly  int           // bytes of the request's body to read every tick; 0 = at once
	changed int           // list_changed notifications sent when the step begins
	every   time.Duration // between two of them
	acts    []act
	vars    map[string]string // what its texts may name
}

// act is one line of a script.
type act struct {
	word, text string
	wait       time.Duration // before each time
	forever    bool          // until the gateway hangs up
}

// tick is the pace of slow reading.
const tick = 10 * time.Millisecond

// parseScript reads the text of an upstream section; nil = the upstream
// behaves. line is the section's.
func parseScript(text string, line int, era string) (*script, error) {
	s := &script{method: "tools/call", vars: map[string]string{"COMPLETE": "", "PAGE": ""}}
	if era == modern {
		s.vars["COMPLETE"] = `"resultType":"complete",`
		s.vars["PAGE"] = `"resultType":"complete","ttlMs":60000,"cacheScope":"public",`
	}
	s.vars["OK"] = `{` + s.vars["COMPLETE"] + `"content":[{"type":"text","text":"fine"}]}`
	some := false
	for l := range strings.Lines(text) {
		line++
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		some = true
		if err := s.read(l); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
	if !some {
		return nil, nil
	}
	return s, nil
}

// read takes one line.
func (s *script) read(line string) (err error) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "on":
		s.method = rest
		return nil
	case "times":
		s.times, err = strconv.Atoi(rest)
		return err
	case "slowly":
		s.slowly, err = strconv.Atoi(rest)
		return err
	case "changed":
		count, every, _ := strings.Cut(rest, " every ")
		if s.changed, err = strconv.Atoi(count); err == nil && every != "" {
			s.every, err = time.ParseDuration(every)
		}
		return err
	}
	var a act
	for word == "forever" || word == "after" {
		if word == "forever" {
			a.forever = true
		} else {
			var pause string
			pause, rest, _ = strings.Cut(rest, " ")
			if a.wait, err = time.ParseDuration(pause); err != nil {
				return err
			}
		}
		word, rest, _ = strings.Cut(rest, " ")
	}
	if !plays[word] {
		return fmt.Errorf("an upstream can't %q", line)
	}
	if _, err := expand(rest, s.vars); err != nil {
		return err
	}
	a.word, a.text = word, rest
	s.acts = append(s.acts, a)
	return nil
}
