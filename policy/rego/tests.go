package rego

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"
)

// TestResult is how one test_ rule ended.
type TestResult struct {
	File     string  `json:"file"`
	Line     int     `json:"line"`
	Name     string  `json:"name"`    // data.ostiary_test.test_x
	Outcome  string  `json:"outcome"` // pass, fail or error
	Detail   string  `json:"detail,omitempty"`
	Output   string  `json:"output,omitempty"` // of print
	Millis   float64 `json:"ms"`
	location *ast.Location
}

// FileCoverage is how much of one file the tests ran.
type FileCoverage struct {
	File    string   `json:"file"`
	Percent float64  `json:"percent"`
	Missed  []string `json:"missed"` // lines, as "12" or "12-14"
}

// TestReport is what the test_ rules of a directory found.
type TestReport struct {
	Tests    []TestResult   `json:"tests"`
	Passed   int            `json:"passed"`
	Failed   int            `json:"failed"`
	Coverage []FileCoverage `json:"coverage,omitempty"` // without the files that hold tests
	Percent  float64        `json:"percent,omitempty"`  // of all lines in Coverage
}

// Test runs the test_ rules in dir. Its error is of type Problems: what can't
// be compiled can't be tested.
func Test(ctx context.Context, dir string, coverage bool) (*TestReport, error) {
	s, ps := readSources(dir)
	if len(ps) > 0 {
		return nil, ps
	}
	p, ps := s.parse()
	if len(ps) > 0 {
		return nil, ps
	}
	report, ps := p.test(ctx, coverage)
	if len(ps) > 0 {
		return nil, ps
	}
	return report, nil
}

// test compiles the files once more, for tests: with print, and with the
// engine's strictness about built-in functions.
func (p *parsed) test(ctx context.Context, coverage bool) (*TestReport, Problems) {
	ctx, cancel := context.WithTimeout(ctx, testsTime)
	defer cancel()
	compiler := ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true).WithEnablePrintStatements(true).SetErrorLimit(0)
	runner := tester.NewRunner().SetCompiler(compiler).SetStore(p.store).SetModules(maps.Clone(p.modules)).
		SetTimeout(testTime).RaiseBuiltinErrors(true).CapturePrintOutput(true)
	var covered *cover.Cover
	if coverage {
		covered = cover.New()
		runner = runner.SetCoverageQueryTracer(covered).SetCoverageRuns(nil).SetParallel(1)
	}
	txn, err := p.store.NewTransaction(ctx)
	if err != nil {
		return nil, problemsOf(err)
	}
	defer p.store.Abort(ctx, txn)
	results, err := runner.RunTests(ctx, txn)
	if err != nil {
		return nil, problemsOf(err)
	}
	report := &TestReport{Tests: []TestResult{}}
	for r := range results {
		report.add(r)
	}
	if ctx.Err() != nil {
		return nil, Problems{{Text: fmt.Sprintf("the tests took longer than %s", testsTime), Fix: "make them smaller"}}
	}
	slices.SortFunc(report.Tests, func(a, b TestResult) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	if covered != nil {
		report.cover(covered.Report(p.modules), p.modules)
	}
	return report, nil
}

func (t *TestReport) add(r *tester.Result) {
	result := TestResult{
		File: r.Location.File, Line: r.Location.Row, Name: r.Package + "." + r.Name, Outcome: "pass",
		Output: string(r.Output), Millis: float64(r.Duration.Round(time.Microsecond).Microseconds()) / 1000, location: r.Location,
	}
	switch {
	case r.Error != nil:
		result.Outcome, result.Detail = "error", r.Error.Error()
	case r.Skip:
		// A test that is put off is a test that does not pass.
		result.Outcome, result.Detail = "fail", "todo_ tests count as failed"
	case r.Fail:
		result.Outcome = "fail"
		if r.FailedAt != nil {
			result.Detail = "at " + strings.TrimSpace(string(r.FailedAt.Location.Text))
		}
	}
	if result.Outcome == "pass" {
		t.Passed++
	} else {
		t.Failed++
	}
	t.Tests = append(t.Tests, result)
}

// problems are the tests that did not pass.
func (t *TestReport) problems() Problems {
	var ps Problems
	for _, r := range t.Tests {
		if r.Outcome != "pass" {
			ps = append(ps, problemAt(r.location, strings.TrimSpace("test "+r.Name+" does not pass: "+r.Detail), "mend the rule or the test; `ostiary policy test` shows more"))
		}
	}
	return ps
}

// cover takes OPA's coverage over, for files without tests.
func (t *TestReport) cover(report cover.Report, modules map[string]*ast.Module) {
	lines, missed := 0, 0
	for _, name := range slices.Sorted(maps.Keys(report.Files)) {
		f := report.Files[name]
		if holdsTests(modules[name]) {
			continue
		}
		c := FileCoverage{File: name, Percent: f.Coverage, Missed: []string{}}
		for _, r := range f.NotCovered {
			span := fmt.Sprint(r.Start.Row)
			if r.End.Row > r.Start.Row {
				span += fmt.Sprintf("-%d", r.End.Row)
			}
			c.Missed = append(c.Missed, span)
		}
		c.Missed = slices.Compact(c.Missed) // a default has two ranges on its line
		lines += f.CoveredLines + f.NotCoveredLines
		missed += f.NotCoveredLines
		t.Coverage = append(t.Coverage, c)
	}
	if lines > 0 {
		t.Percent = 100 * float64(lines-missed) / float64(lines)
	}
}

func holdsTests(m *ast.Module) bool {
	return m == nil || slices.ContainsFunc(m.Rules, func(r *ast.Rule) bool {
		return strings.HasPrefix(r.Head.Ref()[0].String(), tester.TestPrefix)
	})
}
