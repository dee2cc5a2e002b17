package rego

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/ostiary/ostiary/policy"
)

// Load makes an engine from the files in dir and the folders below it: it
// compiles strictly, reads no field that the input document does not have, passes the policy's own test_ rules, and gives a canary
// request a boolean. An error is of type Problems and names all that was
// found; then nothing of it should serve.
func Load(dir string, o Options) (*Engine, error) {
	s, ps := readSources(dir)
	if len(ps) > 0 {
		return nil, ps
	}
	e, ps := load(s, o)
	if len(ps) > 0 {
		return nil, ps
	}
	return e, nil
}

func load(s *sources, o Options) (*Engine, Problems) {
	ctx := context.Background()
	e, p, ps := assemble(s, o)
	if len(ps) > 0 {
		return nil, ps
	}
	if ps := p.misread(); len(ps) > 0 {
		return nil, ps
	}
	if err := e.canary(ctx); err != nil {
		return nil, problemsOf(err)
	}
	report, ps := p.test(ctx, false)
	if len(ps) > 0 {
		return nil, ps
	}
	if ps := report.problems(); len(ps) > 0 {
		return nil, ps
	}
	e.tested = len(report.Tests)
	e.warnings = append(e.wasteful(), p.doubtfulObligations(e.o.Classes)...).sorted()
	return e, nil
}

// assemble makes an engine that was not tried yet.
func assemble(s *sources, o Options) (*Engine, *parsed, Problems) {
	p, ps := s.parse()
	if len(ps) > 0 {
		return nil, nil, ps
	}
	e := &Engine{o: o.withDefaults(), revision: s.digest, files: len(s.files), store: p.store, leaves: leaves()}
	if e.compiler, ps = p.compile(nil); len(ps) > 0 {
		return nil, nil, ps
	}
	if err := e.prepare(context.Background(), p.has); err != nil {
		return nil, nil, problemsOf(err)
	}
	e.slots = make(chan struct{}, e.o.Concurrency)
	e.decisions, e.listings = newMemory[policy.Decision](e.o.Remember), newMemory[bool](e.o.Remember)
	return e, p, nil
}

// parsed are the files, read and merged, before they are compiled.
type parsed struct {
	modules map[string]*ast.Module
	store   storage.Store
	has     map[string]bool // the agreed rules that there are
	obliges []*ast.Term     // what rules put into obligations, as it is written
}

func (s *sources) parse() (*parsed, Problems) {
	modules, ps := s.modules()
	data, more := s.data()
	ps = append(ps, more...)
	has, more := shape(modules)
	if len(ps) == 0 { // what is missing may stand in what can't be read
		ps = more
	}
	if len(ps) > 0 {
		return nil, ps.sorted()
	}
	// The data is ours alone: no copy on the way in or out.
	store := inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false))
	return &parsed{modules: modules, store: store, has: has, obliges: obligationTerms(modules)}, nil
}

// compile compiles rules and gate; with schemas it also holds every path of
// the input against them.
func (p *parsed) compile(schemas *ast.SchemaSet) (*ast.Compiler, Problems) {
	ctx := context.Background()
	c := ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true).SetErrorLimit(0)
	if schemas != nil {
		c = c.WithSchemas(schemas)
	}
	txn, err := p.store.NewTransaction(ctx)
	if err != nil {
		return nil, problemsOf(err)
	}
	defer p.store.Abort(ctx, txn)
	// A rule and a data file can't both give one path a value.
	c = c.WithPathConflictsCheck(storage.NonEmpty(ctx, p.store, txn))
	modules := maps.Clone(p.modules)
	if modules[gateFile], err = gate(p.has); err != nil {
		return nil, problemsOf(err)
	}
	if c.Compile(modules); c.Failed() {
		return nil, problemsOf(c.Errors)
	}
	return c, nil
}

// misread are paths that the input document does not have, and values of
// another type than it gives. Such a rule never holds: a misspelt deny would
// never deny, and nobody would be told.
func (p *parsed) misread() Problems {
	var schema any
	if err := json.Unmarshal(policy.InputSchema, &schema); err != nil {
		return Problems{{Text: "the input schema can't be read: " + err.Error()}}
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, schema)
	_, ps := p.compile(set)
	return ps
}

// wasteful are rules that read all of the input.
func (e *Engine) wasteful() Problems {
	var ps Problems
	for _, at := range e.decides.whole {
		ps = append(ps, problemAt(at, "reads all of input: no decision can be remembered, and lists may show what can't be called",
			"name the path, such as input.user.groups"))
	}
	return ps.sorted()
}
