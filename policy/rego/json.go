package rego

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// maxDepth bounds nesting, as the strict parse before the engine does.
const maxDepth = 64

// errJSON are the ways in which JSON can mean two things. Texts never show
// the JSON itself.
var (
	errUTF8      = errors.New("not UTF-8")
	errDuplicate = errors.New("a key stands twice in one object")
	errDeep      = fmt.Errorf("nested deeper than %d", maxDepth)
	errTrailing  = errors.New("more than one value")
)

// inputError says which field of the input can't be read.
type inputError struct {
	path string
	err  error
}

func (e inputError) Error() string { return "input." + e.path + " can't be read: " + e.err.Error() }

func (e inputError) Unwrap() error { return e.err }

// parseJSON reads JSON straight into OPA's values. Numbers keep their text, so
// that none is rounded, and a duplicate key is an error: what policy judges
// must be what is sent (promise 5), whoever parsed before.
func parseJSON(text []byte) (ast.Value, error) {
	v, _, err := parseJSONAt(text)
	return v, err
}

// parseJSONAt also gives the offset at which an error was noticed.
func parseJSONAt(text []byte) (ast.Value, int64, error) {
	if !utf8.Valid(text) {
		return nil, 0, errUTF8
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	t, err := nextValue(d, 0)
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errTrailing
		}
	}
	if err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, syntax.Offset, err
		}
		return nil, d.InputOffset(), err
	}
	return t.Value, 0, nil
}

func nextValue(d *json.Decoder, depth int) (*ast.Term, error) {
	token, err := d.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		if depth == maxDepth {
			return nil, errDeep
		}
		if v == '{' {
			return object(d, depth+1)
		}
		return array(d, depth+1)
	case string:
		return ast.StringTerm(v), nil
	case json.Number:
		return ast.NumberTerm(v), nil
	case bool:
		return ast.InternedTerm(v), nil
	default:
		return ast.InternedNullTerm, nil
	}
}

func object(d *json.Decoder, depth int) (*ast.Term, error) {
	o := ast.NewObject()
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		key := ast.StringTerm(name.(string)) // the decoder lets nothing else stand here
		if o.Get(key) != nil {
			return nil, errDuplicate
		}
		value, err := nextValue(d, depth)
		if err != nil {
			return nil, err
		}
		o.Insert(key, value)
	}
	_, err := d.Token()
	return ast.NewTerm(o), err
}

func array(d *json.Decoder, depth int) (*ast.Term, error) {
	var terms []*ast.Term
	for d.More() {
		value, err := nextValue(d, depth)
		if err != nil {
			return nil, err
		}
		terms = append(terms, value)
	}
	_, err := d.Token()
	return ast.ArrayTerm(terms...), err
}
