package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// annotation is the schema keyword of SEP-2243.
const annotation = "x-mcp-header"

// ErrParamHeader: a tool's schema annotates in a way that the specification
// forbids. A client MUST leave that tool out, and it alone.
var ErrParamHeader = errors.New("invalid " + annotation)

// ParamHeaders reads the x-mcp-header annotations of a tool's raw inputSchema
// (validated before), in the order of the schema. An error wraps
// ErrParamHeader: the name is empty, not a token, or taken ignoring case; the
// property's type is not string, integer or boolean (null beside it is fine);
// or the way to it does not consist of "properties" keys alone (MCP 2026-07-28,
// Streamable HTTP, Schema Extension).
func ParamHeaders(inputSchema []byte) ([]ParamHeader, error) {
	// The one keyword, unless it is written with escapes, shows that there is
	// nothing to find.
	if !bytes.Contains(inputSchema, []byte(annotation)) && !bytes.Contains(inputSchema, []byte(`\u`)) {
		return nil, nil
	}
	a := annotations{taken: map[string]bool{}}
	if err := a.schema(inputSchema, nil, true); err != nil {
		return nil, err
	}
	return a.found, nil
}

// annotations collects them over one walk of a schema.
type annotations struct {
	found []ParamHeader
	taken map[string]bool // lower-cased names
}

// schema walks one schema (or an array of them). reachable says that only
// "properties" keys led here; path is then the chain of property names.
func (a *annotations) schema(raw []byte, path []string, reachable bool) error {
	if elements, err := Elements(raw); err == nil {
		for _, e := range elements {
			if err := a.schema(e, path, false); err != nil {
				return err
			}
		}
		return nil
	}
	o, err := Fields(raw)
	if err != nil {
		return nil // true, false, or a keyword's plain value
	}
	for _, m := range o.Members {
		value := raw[m.Start:m.End]
		switch m.Key {
		case annotation:
			err = a.add(o, value, path, reachable)
		case "properties":
			err = a.properties(value, path, reachable)
		case "patternProperties", "dependentSchemas", "$defs", "definitions":
			err = a.properties(value, path, false)
		case "default", "const", "enum", "examples":
			// data, not schemas
		default:
			err = a.schema(value, path, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// properties walks a map from names to schemas: its keys are not keywords.
func (a *annotations) properties(raw []byte, path []string, reachable bool) error {
	o, err := Fields(raw)
	if err != nil {
		return nil
	}
	for _, m := range o.Members {
		deeper := append(path[:len(path):len(path)], m.Key)
		if err := a.schema(raw[m.Start:m.End], deeper, reachable); err != nil {
			return err
		}
	}
	return nil
}

func (a *annotations) add(property Object, value []byte, path []string, reachable bool) error {
	if !reachable || len(path) == 0 {
		return fmt.Errorf("%w: it stands where no chain of \"properties\" leads", ErrParamHeader)
	}
	where := strings.Join(path, ".")
	name, ok := Unquote(value)
	if !ok || !isToken(name) {
		return fmt.Errorf("%w on %q: it is not a header token", ErrParamHeader, where)
	}
	typ, ok := headerType(property)
	if !ok {
		return fmt.Errorf("%w on %q: the type is not string, integer or boolean", ErrParamHeader, where)
	}
	lower := strings.ToLower(name)
	if a.taken[lower] {
		return fmt.Errorf("%w on %q: another parameter has the same header", ErrParamHeader, where)
	}
	a.taken[lower] = true
	a.found = append(a.found, ParamHeader{Name: name, Path: path, Type: typ})
	return nil
}

// headerType is the property's type, where it may be mirrored. In a list of
// types, null is allowed beside others: a null argument has no header.
func headerType(property Object) (string, bool) {
	raw, ok := property.Get("type")
	if !ok {
		return "", false
	}
	names, err := Elements(raw)
	if err != nil {
		typ, _ := Unquote(raw)
		return typ, mirrored(typ)
	}
	first := ""
	for _, n := range names {
		typ, _ := Unquote(n)
		if typ == "null" {
			continue
		}
		if !mirrored(typ) {
			return "", false
		}
		if first == "" {
			first = typ
		}
	}
	return first, first != ""
}

func mirrored(typ string) bool { return typ == "string" || typ == "integer" || typ == "boolean" }

// isToken reports whether s is a token of RFC 9110 5.6.2.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		b := s[i]
		alphanumeric := '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
		if !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(b)) {
			return false
		}
	}
	return s != ""
}
