package wire

import (
	"net/http"
	"strconv"

	"github.com/mark3labs/mcp-go/mcp"
)

// ParamHeader is one parameter of a tool that an x-mcp-header annotation
// mirrors into a header.
type ParamHeader struct {
	Name string   // of the annotation: the header is Mcp-Param-{Name}
	Path []string // names of nested properties, from the arguments' root
	Type string   // string, integer or boolean; the first where the schema names several
}

// Header is the header's full name.
func (p ParamHeader) Header() string { return mcp.HeaderParamPrefix + p.Name }

// CheckParamHeaders checks the Mcp-Param-* headers of a modern tools/call
// against its arguments (raw object, nil when absent): a header is there exactly
// where a value is that is not null, and both are equal; integers are compared
// as numbers. Headers that no spec names are ignored. The error is a
// *HeaderError.
func CheckParamHeaders(h http.Header, specs []ParamHeader, arguments []byte) error {
	for _, spec := range specs {
		header := spec.Header()
		value, sent, err := single(h, header)
		if err != nil {
			return err
		}
		argument := spec.argument(arguments)
		switch {
		case argument == nil && !sent:
			continue
		case argument == nil:
			return mismatch(header, "is sent, but its argument is absent or null")
		case !sent:
			return mismatch(header, "is missing: send what the argument says")
		}
		text, ok := decodeHeader(value)
		if !ok {
			return mismatch(header, "is not valid Base64 of UTF-8 text")
		}
		if !equalArgument(text, argument) {
			return mismatch(header, "does not match its argument")
		}
	}
	return nil
}

// SetParamHeaders sets the Mcp-Param-* headers of a tools/call to a modern
// upstream. An argument that no header can carry (another type than the schema
// allows, an integer beyond 2^53-1) gets none: the upstream says what is wrong
// with it.
func SetParamHeaders(h http.Header, specs []ParamHeader, arguments []byte) {
	for _, spec := range specs {
		argument := spec.argument(arguments)
		if argument == nil {
			continue
		}
		if text, ok := headerValue(argument); ok {
			h.Set(spec.Header(), encodeHeader(text))
		}
	}
}

// argument is the raw value at the parameter's path; nil when it is absent or
// null.
func (p ParamHeader) argument(arguments []byte) []byte {
	value := arguments
	for _, key := range p.Path {
		o, err := Fields(value)
		if err != nil {
			return nil
		}
		var ok bool
		if value, ok = o.Get(key); !ok {
			return nil
		}
	}
	if string(value) == "null" {
		return nil
	}
	return value
}

// headerValue is the text that mirrors an argument (SEP-2243, type conversion).
func headerValue(argument []byte) (string, bool) {
	switch argument[0] {
	case '"':
		return Unquote(argument)
	case 't', 'f':
		return string(argument), true
	}
	n, ok := safeInteger(string(argument))
	return strconv.FormatInt(n, 10), ok
}

// equalArgument compares the text of a header with a raw argument. "Servers
// SHOULD compare the header value and the body value numerically".
func equalArgument(text string, argument []byte) bool {
	switch argument[0] {
	case '"', 't', 'f':
		want, ok := headerValue(argument)
		return ok && text == want
	}
	want, ok := safeInteger(string(argument))
	if !ok {
		return false
	}
	got, ok := safeInteger(text)
	return ok && got == want
}
