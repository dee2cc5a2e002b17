package rego

import (
	"cmp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// reads is what of the input document some rules can read: leaves by path,
// and where the whole document is read.
type reads struct {
	leaves map[string]bool
	whole  []*ast.Location // of a bare `input`, which reads everything
}

// readsOf finds what the rules at roots, and all rules that they can reach,
// read. It is an upper bound by syntax alone: what a rule mentions it reads,
// whether it is evaluated or not, and a path that becomes dynamic, or an
// alias of it, reads everything below. Answers are remembered under these
// paths, so one too many costs time and one too few would be a wrong answer.
func readsOf(c *ast.Compiler, all []leaf, roots ...ast.Ref) reads {
	r := reads{leaves: map[string]bool{}}
	seen := map[*ast.Rule]bool{}
	var visit func(*ast.Rule)
	visit = func(rule *ast.Rule) {
		for ; rule != nil; rule = rule.Else {
			if seen[rule] {
				return
			}
			seen[rule] = true
			r.collect(all, rule)
			for next := range c.Graph.Dependencies(rule) {
				visit(next.(*ast.Rule))
			}
		}
	}
	for _, root := range roots {
		for _, rule := range c.GetRules(root) {
			visit(rule)
		}
	}
	slices.SortFunc(r.whole, func(a, b *ast.Location) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col))
	})
	r.whole = slices.CompactFunc(r.whole, func(a, b *ast.Location) bool { return a.File == b.File && a.Row == b.Row })
	return r
}

// collect adds what one rule mentions, its else branches aside.
func (r *reads) collect(all []leaf, rule *ast.Rule) {
	at := rule.Location
	var visitor *ast.GenericVisitor
	visitor = ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Rule:
			return x != rule // an else branch is a rule of its own
		case *ast.Expr:
			if x.Location != nil {
				at = x.Location
			}
		case *ast.Term:
			if x.Location != nil && x.Location.File != "" {
				at = x.Location
			}
		case ast.Var:
			if x.Equal(ast.InputRootDocument.Value) {
				r.add(all, nil, at)
			}
		case ast.Ref:
			if x[0].Equal(ast.InputRootDocument) {
				r.add(all, x, at)
			} else {
				visitor.Walk(x[0])
			}
			for _, t := range x[1:] {
				visitor.Walk(t)
			}
			return true
		}
		return false
	})
	visitor.Walk(rule)
}

// add notes a mention of ref, which begins with input; nil is input alone.
func (r *reads) add(all []leaf, ref ast.Ref, at *ast.Location) {
	var names []string
	for _, t := range ref[min(1, len(ref)):] {
		name, ok := t.Value.(ast.String)
		if !ok {
			break
		}
		names = append(names, string(name))
	}
	if len(names) == 0 {
		r.whole = append(r.whole, at)
	}
	path := strings.Join(names, ".")
	for _, l := range all {
		// input.user reads all of user; input.target.annotations.x reads that leaf.
		if path == "" || l.path == path || strings.HasPrefix(l.path, path+".") || strings.HasPrefix(path, l.path+".") {
			r.leaves[l.path] = true
		}
	}
}

// any tells whether one of the leaves at or below the paths is read.
func (r *reads) any(paths ...string) bool {
	for path := range r.leaves {
		if under(path, paths) {
			return true
		}
	}
	return false
}

// of are the leaves that are read, without those that are unknown.
func (r *reads) of(all []leaf, unknown []string) []leaf {
	var some []leaf
	for _, l := range all {
		if r.leaves[l.path] && !under(l.path, unknown) {
			some = append(some, l)
		}
	}
	return some
}

func under(path string, parents []string) bool {
	return slices.ContainsFunc(parents, func(p string) bool { return path == p || strings.HasPrefix(path, p+".") })
}
