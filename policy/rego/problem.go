package rego

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Problem is one thing that is wrong with the files, and where.
type Problem struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"`
}

func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.File != "" && p.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	b.WriteString(p.Text)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// Problems are all that are wrong, by file and line. As an error it is one
// line for each.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sorted by position, each once.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(ps)
}

// problemAt is a problem at a place in a module.
func problemAt(at *ast.Location, text, fix string) Problem {
	if at == nil || at.File == "" || at.File == gateFile {
		return Problem{Text: text, Fix: fix}
	}
	return Problem{File: at.File, Line: max(at.Row, 1), Column: max(at.Col, 1), Text: text, Fix: fix}
}

// problemsOf puts an error of OPA into our words.
func problemsOf(err error) Problems {
	var ps Problems
	var many ast.Errors
	var single *ast.Error
	var failed *topdown.Error
	switch {
	case errors.As(err, &ps):
		return ps
	case errors.As(err, &many):
		for _, e := range many {
			ps = append(ps, problemOf(e))
		}
		return ps.sorted()
	case errors.As(err, &single):
		return Problems{problemOf(single)}
	case errors.As(err, &failed):
		return Problems{problemAt(failed.Location, failed.Message, "")}
	}
	return Problems{{Text: err.Error()}}
}

func problemOf(e *ast.Error) Problem {
	switch {
	case e.Location == nil || e.Location.File != gateFile:
		return problemAt(e.Location, wordsOf(e), fixOf(e))
	// What the gate takes for granted about types.
	case strings.HasPrefix(e.Message, "undefined ref"):
		return Problem{Text: "obligations must contain objects with a type", Fix: `write obligations contains {"type": "rate", "class": "heavy"} if { … }`}
	default:
		return Problem{Text: "allow must be true or false", Fix: "write default allow := false and allow if { … }"}
	}
}

var undefinedFunction = regexp.MustCompile(`^undefined function (\S+)$`)

func wordsOf(e *ast.Error) string {
	path := ""
	if d, ok := e.Details.(*ast.RefErrInvalidDetail); ok {
		path = d.Ref.String()
	} else if of, ok := strings.CutPrefix(e.Message, "undefined ref: "); ok { // below what is no object
		path, _, _ = strings.Cut(of, "\n")
	}
	if strings.HasPrefix(path, "input.") {
		return path + " is no field of the input document"
	}
	return strings.ReplaceAll(e.Message, "\n", " ")
}

func fixOf(e *ast.Error) string {
	if m := undefinedFunction.FindStringSubmatch(e.Message); m != nil && isBuiltin(m[1]) {
		return "rules decide from input and data alone: no network, clock, random numbers or environment; input.time is the time"
	}
	d, ok := e.Details.(*ast.RefErrInvalidDetail)
	if !ok || len(d.OneOf) == 0 {
		return ""
	}
	var names []string
	for _, v := range d.OneOf {
		if s, ok := v.(ast.String); ok {
			names = append(names, string(s))
		}
	}
	fix := "there is " + strings.Join(names, ", ")
	if word, ok := misspelt(d); ok {
		if best := nearest(word, names); best != "" {
			return fmt.Sprintf("did you mean %s? %s", d.Ref[:d.Pos].Append(ast.StringTerm(best)), fix)
		}
	}
	return fix
}

// misspelt is the part of a path that is not there.
func misspelt(d *ast.RefErrInvalidDetail) (string, bool) {
	if d.Pos < 1 || d.Pos >= len(d.Ref) {
		return "", false
	}
	word, ok := d.Ref[d.Pos].Value.(ast.String)
	return string(word), ok
}

func isBuiltin(name string) bool { return ast.BuiltinMap[name] != nil }

// lineOf finds a line number in an error of a YAML parser.
var yamlLine = regexp.MustCompile(`line (\d+)`)

func lineOf(err error) int {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 1
}

// position is the line and column of an offset, both from 1.
func position(text []byte, offset int64) (line, column int) {
	before := string(text[:min(int(offset), len(text))])
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')
}
