package rego

import (
	"context"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	opa "github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/ostiary/ostiary/policy"
)

// Engine judges by the files of one moment. It is immutable but for what it
// remembers, and safe for concurrent use. It implements policy.Decider.
type Engine struct {
	o        Options
	revision string
	files    int
	compiler *ast.Compiler
	store    storage.Store // never written after Load
	leaves   []leaf
	slots    chan struct{}

	answer opa.PreparedEvalQuery // of Decide
	listed opa.PreparedEvalQuery // of Visible, where rules read nothing unknown
	// What Visible asks where they do. allow and stepUp: is there any way;
	// denied: is there no way around.
	allow, stepUp, denied opa.PreparedPartialQuery
	obliges               bool // there are obligations, so stepUp means something

	decides reads  // of all that Decide evaluates
	lists   reads  // of all that Visible evaluates
	decided []leaf // the document of Decide: what it reads. The rest would be half of its cost
	listing [2]listing

	warnings  Problems
	tested    int
	decisions *memory[policy.Decision] // allowing ones
	listings  *memory[bool]
	keys      keys // of decisions
	listKeys  keys // of listings
	clocks    []leaf
}

var _ policy.Decider = (*Engine)(nil)

// listing is how Visible judges requests of a known era (0), and of none (1).
type listing struct {
	document []leaf
	unknown  []*ast.Term // nil where rules read nothing unknown: evaluation is exact
}

// keys are the leaves that a remembered answer depends on, in two parts: one
// for the scope, one for the target. nil scope and target mean nothing is read.
type keys struct {
	scope, target []leaf
	usable        bool // the values repeat often enough to be worth remembering
}

// fleeting are leaves whose values hardly ever come back.
var fleeting = []string{"arguments", "responses", "counters", "time.unix", "time.rfc3339"}

// unknownListed are the parts of the input that a listing can't know. listing is
// one of them for what it judges is the later act: a rule that holds in a list
// alone must not hide what can be called.
var unknownListed = []string{"listing", "arguments", "responses", "counters", "source"}

// eraPath is unknown in a listing made for agents of both eras.
const eraPath = "request.era"

func keysOf(all []leaf, r reads, unknown []string) keys {
	k := keys{usable: !r.any(fleeting...)}
	for _, l := range r.of(all, unknown) {
		if l.target {
			k.target = append(k.target, l)
		} else {
			k.scope = append(k.scope, l)
		}
	}
	return k
}

func appendKey(b []byte, leaves []leaf, r *policy.Request) []byte {
	for i := range leaves {
		b = leaves[i].append(b, r)
	}
	return b
}

// options of a query over the engine's rules and data.
func (e *Engine) options(query string) []func(*opa.Rego) {
	return []func(*opa.Rego){
		opa.Query(query), opa.Compiler(e.compiler), opa.Store(e.store), opa.StrictBuiltinErrors(true),
		// OPA's own values, not JSON made from them and then thrown away.
		opa.GenerateJSON(func(t *ast.Term, _ *opa.EvalContext) (any, error) { return t.Value, nil }),
	}
}

// prepare compiles the queries and finds out what they read.
func (e *Engine) prepare(ctx context.Context, has map[string]bool) error {
	var err error
	for query, prepared := range map[string]*opa.PreparedEvalQuery{answerQuery: &e.answer, listedQuery: &e.listed} {
		if *prepared, err = opa.New(e.options(query)...).PrepareForEval(ctx); err != nil {
			return err
		}
	}
	for query, prepared := range map[string]*opa.PreparedPartialQuery{allowQuery: &e.allow, stepUpQuery: &e.stepUp, deniedQuery: &e.denied} {
		// Not strict here: an error on a path that a call need not take would
		// hide a tool that can be called. Where a call meets it, it is denied.
		r := opa.New(append(e.options(query), opa.StrictBuiltinErrors(false))...)
		if *prepared, err = r.PrepareForPartial(ctx); err != nil {
			return err
		}
	}
	e.obliges = has["obligations"]
	e.decides = readsOf(e.compiler, e.leaves, ast.MustParseRef(answerQuery))
	e.lists = readsOf(e.compiler, e.leaves, ast.MustParseRef(listedQuery))
	e.keys = keysOf(e.leaves, e.decides, nil)
	e.listKeys = keysOf(e.leaves, e.lists, unknownListed)
	e.decided = e.decides.of(e.leaves, nil)
	for i, unknown := range [][]string{unknownListed, append(slices.Clone(unknownListed), eraPath)} {
		e.listing[i].document = e.lists.of(e.leaves, unknown)
		if e.lists.any(unknown...) {
			for _, path := range unknown {
				e.listing[i].unknown = append(e.listing[i].unknown, ast.NewTerm(ast.MustParseRef("input."+path)))
			}
		}
	}
	for _, l := range e.leaves {
		if l.group == "time" && e.lists.leaves[l.path] {
			e.clocks = append(e.clocks, l)
		}
	}
	return nil
}

// Revision names the files by a digest. Where lists depend on the time, the
// values of input.time that their rules read follow it, "….hour=14": another
// hour is another revision, and lists are made anew.
func (e *Engine) Revision() string {
	if len(e.clocks) == 0 {
		return e.revision
	}
	r := policy.Request{Time: policy.At(e.o.Now())}
	var b strings.Builder
	b.WriteString(e.revision)
	for _, l := range e.clocks {
		t, _ := l.term(&r) // no leaf of input.time can fail
		b.WriteString("." + string(l.key.Value.(ast.String)) + "=" + strings.Trim(t.String(), `"`))
	}
	return b.String()
}

// Warnings are worth saying, not worth refusing.
func (e *Engine) Warnings() Problems { return e.warnings }

// Files is how many files the engine was made from.
func (e *Engine) Files() int { return e.files }

// Tested is how many test_ rules passed.
func (e *Engine) Tested() int { return e.tested }

// ReadsTime tells whether a list may change with the time alone.
func (e *Engine) ReadsTime() bool { return len(e.clocks) > 0 }

// DependsOn tells whether decisions depend on path or something below it. With
// Obliges it implements policy.Reader.
func (e *Engine) DependsOn(path string) bool { return e.decides.any(path) }

// Obliges tells whether rules may oblige to something.
func (e *Engine) Obliges() bool { return e.obliges }

// Reads are the paths of the input document that decisions depend on, in the
// order of the schema.
func (e *Engine) Reads() []string {
	paths := []string{}
	for _, l := range e.leaves {
		if e.decides.leaves[l.path] {
			paths = append(paths, l.path)
		}
	}
	return paths
}
