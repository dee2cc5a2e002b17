package cases

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

//go:embed wire/*.txtar
var files embed.FS

// folder is where the built-in cases stand in the tree, for messages.
const folder = "conformance/cases/wire/"

// Case is one file: a rule and the steps that try to break it.
type Case struct {
	Name    string // of the file, without .txtar
	Comment string // the rule and its source
	Session string // version of the legacy session to open; "" = none
	Steps   []Step

	allowed map[string][]string // canary → places where it may stand
	secrets []string            // canaries, in the order of their appearance
}

// Step is one thing sent and what must come of it.
type Step struct {
	Name   string
	Line   int    // of its section in the file
	Raw    bool   // Text is the bytes of a connection
	Text   string // before macros
	Expect [][]Line

	upstream string  // that a call goes to; "" = not a call section
	script   *script // what that upstream does meanwhile; nil = it behaves
}

// Line is one expectation and where it stands.
type Line struct {
	Number int
	Text   string
}

// All reads the built-in cases, in the order of their names.
func All() ([]Case, error) {
	names, err := fs.Glob(files, "wire/*.txtar")
	if err != nil {
		return nil, err
	}
	var all []Case
	for _, name := range names {
		b, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		c, err := Parse(strings.TrimSuffix(path.Base(name), ".txtar"), b)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

var sectionLine = regexp.MustCompile(`(?m)^-- (.+) --\n`)

// section is one part of a case file.
type section struct {
	kind, rest, body string
	line             int // of its title
}

func sections(text []byte) (comment string, all []section) {
	marks := sectionLine.FindAllSubmatchIndex(text, -1)
	if len(marks) == 0 {
		return string(text), nil
	}
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		kind, rest, _ := strings.Cut(string(text[m[2]:m[3]]), " ")
		all = append(all, section{kind, rest, string(text[m[1]:end]), 1 + bytes.Count(text[:m[0]], []byte("\n"))})
	}
	return strings.TrimSpace(string(text[:marks[0][0]])), all
}

// Parse reads one case. Errors name the case, the line and the section.
func Parse(name string, text []byte) (Case, error) {
	c := Case{Name: name, allowed: map[string][]string{}}
	var all []section
	if c.Comment, all = sections(text); len(all) == 0 {
		return c, fmt.Errorf("case %s: no section; the form is in the package comment", name)
	}
	for _, found := range canary.FindAllString(string(text), -1) {
		if !slices.Contains(c.secrets, found) {
			c.secrets = append(c.secrets, found)
		}
	}
	var pending []Step // of one section: a call is one step for each upstream
	var upstreams []string
	var scripts []*script
	for _, s := range all {
		bad := func(format string, a ...any) (Case, error) {
			return c, fmt.Errorf("case %s, line %d: %s", name, s.line, fmt.Sprintf(format, a...))
		}
		switch s.kind {
		case "session":
			c.Session = s.rest
		case "allow":
			words := strings.Fields(s.rest)
			if len(words) < 2 || !canary.MatchString(words[0]) {
				return bad("want: allow CANARY PLACE...")
			}
			c.allowed[words[0]] = words[1:]
		case "upstream":
			upstreams, scripts = strings.Fields(s.rest), nil
			for _, u := range upstreams {
				if !slices.Contains(names(), u) {
					return bad("no upstream %q; there are %s", u, strings.Join(names(), ", "))
				}
				script, err := parseScript(s.body, s.line, eraOf(u))
				if err != nil {
					return bad("%v", err)
				}
				scripts = append(scripts, script)
			}
		case "request", "raw", "call":
			if s.rest == "" {
				return bad("a %s without a name", s.kind)
			}
			if pending != nil {
				return bad("%s expects nothing", pending[0].Name)
			}
			if s.kind != "call" {
				pending = []Step{{Name: s.rest, Line: s.line, Raw: s.kind == "raw", Text: s.body}}
				break
			}
			if len(upstreams) == 0 {
				return bad("a call without an upstream section before it")
			}
			for i, u := range upstreams {
				pending = append(pending, Step{Name: s.rest + " (" + u + ")", Line: s.line, Text: s.body, upstream: u, script: scripts[i]})
			}
			upstreams = nil
		case "expect":
			if pending == nil {
				return bad("expect does not follow a request")
			}
			expect, err := expectations(s)
			if err != nil {
				return bad("%v", err)
			}
			for _, step := range pending {
				step.Expect = expect
				c.Steps = append(c.Steps, step)
			}
			pending = nil
		default:
			return bad("unknown section %q", strings.TrimSpace(s.kind+" "+s.rest))
		}
	}
	if pending != nil {
		return c, fmt.Errorf("case %s: %s expects nothing", name, pending[0].Name)
	}
	return c, nil
}

// expectations reads an expect section: alternatives of lines.
func expectations(s section) ([][]Line, error) {
	alternatives := [][]Line{{}}
	number := s.line
	for line := range strings.Lines(s.body) {
		number++
		switch line = strings.TrimSpace(line); {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case line == "or":
			alternatives = append(alternatives, []Line{})
			continue
		}
		if word, _, _ := strings.Cut(line, " "); matchers[word] == nil {
			return nil, fmt.Errorf("unknown expectation %q", line)
		}
		last := len(alternatives) - 1
		alternatives[last] = append(alternatives[last], Line{number, line})
	}
	return alternatives, nil
}
