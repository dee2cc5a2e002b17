package cases

import (
	"bytes"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
)

//go:embed wire/*.txtar
var files embed.FS

// Case is one file: a rule and the steps that try to break it.
type Case struct {
	Name    string // of the file, without .txtar
	Comment string // the rule and its source
	Session string // version of the legacy session to open; "" = none
	Steps   []Step
}

// Step is one thing sent and what must come of it.
type Step struct {
	Name   string
	Raw    bool   // Text is the bytes of a connection
	Text   string // before macros
	Expect [][]string
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

// Parse reads one case. Errors name the case and the section.
func Parse(name string, text []byte) (Case, error) {
	c := Case{Name: name}
	marks := sectionLine.FindAllSubmatchIndex(text, -1)
	if len(marks) == 0 {
		return c, fmt.Errorf("case %s: no section; the form is in the package comment", name)
	}
	c.Comment = strings.TrimSpace(string(text[:marks[0][0]]))
	for i, m := range marks {
		title := string(text[m[2]:m[3]])
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		body := string(text[m[1]:end])
		kind, rest, _ := strings.Cut(title, " ")
		switch kind {
		case "session":
			c.Session = rest
		case "request", "raw":
			if rest == "" {
				return c, fmt.Errorf("case %s: a %s without a name", name, kind)
			}
			c.Steps = append(c.Steps, Step{Name: rest, Raw: kind == "raw", Text: body})
		case "expect":
			if len(c.Steps) == 0 || c.Steps[len(c.Steps)-1].Expect != nil {
				return c, fmt.Errorf("case %s: expect does not follow a request", name)
			}
			alternatives := [][]string{{}}
			for line := range strings.Lines(body) {
				switch line = strings.TrimSpace(line); {
				case line == "" || strings.HasPrefix(line, "#"):
				case line == "or":
					alternatives = append(alternatives, []string{})
				default:
					last := len(alternatives) - 1
					alternatives[last] = append(alternatives[last], line)
				}
			}
			c.Steps[len(c.Steps)-1].Expect = alternatives
		default:
			return c, fmt.Errorf("case %s: unknown section %q", name, title)
		}
	}
	for _, s := range c.Steps {
		if s.Expect == nil {
			return c, fmt.Errorf("case %s: %s expects nothing", name, s.Name)
		}
		for _, alternative := range s.Expect {
			for _, line := range alternative {
				if word, _, _ := strings.Cut(line, " "); matchers[word] == nil {
					return c, fmt.Errorf("case %s: %s: unknown expectation %q", name, s.Name, line)
				}
			}
		}
	}
	return c, nil
}

const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

var macro = regexp.MustCompile(`%\{(x|repeat|list) (.*?)\}%|%\{(x|repeat|list) ([^{}]*)\}`)

// expand replaces variables and macros. A macro whose text holds braces ends
// in }%.
func expand(text string, vars map[string]string) ([]byte, error) {
	pairs := []string{"$META", meta}
	for name, value := range vars {
		pairs = append(pairs, "$"+name, value)
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	var bad error
	out := macro.ReplaceAllFunc([]byte(text), func(found []byte) []byte {
		m := macro.FindSubmatch(found)
		kind, arg := string(m[1])+string(m[3]), string(m[2])+string(m[4])
		if kind == "x" {
			b, err := hex.DecodeString(strings.ReplaceAll(arg, " ", ""))
			if err != nil {
				bad = fmt.Errorf("%s: %w", found, err)
			}
			return b
		}
		count, what, _ := strings.Cut(arg, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			bad = fmt.Errorf("%s: %w", found, err)
			return nil
		}
		if kind == "repeat" {
			return bytes.Repeat([]byte(what), n)
		}
		var b bytes.Buffer
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.ReplaceAll(what, "%", strconv.Itoa(i)))
		}
		return b.Bytes()
	})
	return out, bad
}
