package rego

import (
	"context"
	"encoding/json"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
)

// lookup finds the values that rules read.
type lookup struct {
	doc      ast.Value
	store    storage.Store
	compiler *ast.Compiler
}

// reads are the paths of input and of data files that one rule mentions, its
// else branches aside, in the order of the text, and their values.
func (l *lookup) reads(ctx context.Context, rule *ast.Rule) []Reading {
	all := []Reading{}
	seen := map[string]bool{}
	note := func(ref ast.Ref) {
		path := ref.GroundPrefix()
		name := path.String()
		if seen[name] {
			return
		}
		seen[name] = true
		v, ok := l.value(ctx, path)
		switch {
		case !ok: // another rule: it has a block of its own
		case v == nil:
			all = append(all, Reading{Path: name})
		default:
			all = append(all, reading(name, v))
		}
	}
	var visitor *ast.GenericVisitor
	visitor = ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Rule:
			return x != rule
		case ast.Var:
			if x.Equal(ast.InputRootDocument.Value) {
				note(ast.InputRootRef)
			}
		case ast.Ref:
			if x.HasPrefix(ast.InputRootRef) || x.HasPrefix(ast.DefaultRootRef) {
				note(x)
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
	return all
}

// value is what path has, nil where it is undefined. ok is false for a path of
// rules.
func (l *lookup) value(ctx context.Context, path ast.Ref) (v ast.Value, ok bool) {
	if path.HasPrefix(ast.InputRootRef) {
		v, err := l.doc.Find(path[1:])
		if err != nil {
			return nil, true
		}
		return v, true
	}
	if len(l.compiler.GetRules(path)) > 0 {
		return nil, false
	}
	at, err := storage.NewPathForRef(path)
	if err != nil {
		return nil, false
	}
	raw, err := storage.ReadOne(ctx, l.store, at)
	if err != nil {
		return nil, true
	}
	v, err = ast.InterfaceToValue(raw)
	return v, err == nil
}

// reading is a value as JSON, within bounds.
func reading(path string, v ast.Value) Reading {
	plain, err := ast.JSON(v)
	if err != nil {
		return Reading{Path: path}
	}
	text, err := json.Marshal(plain)
	switch {
	case err != nil:
		return Reading{Path: path}
	case len(text) > MaxReading:
		return Reading{Path: path, Size: len(text)}
	}
	return Reading{Path: path, Value: text}
}
