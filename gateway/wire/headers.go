package wire

import (
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/mcp"
)

// HeaderError: a header that mirrors the body is missing, malformed or says
// something else than the body (MCP 2026-07-28, Streamable HTTP, Server
// Validation): 400 with CodeHeaderMismatch.
type HeaderError struct {
	Header string
	Text   string // for the agent; names the header, never a value
}

func (e *HeaderError) Error() string { return e.Text }

func mismatch(header, what string) *HeaderError {
	return &HeaderError{Header: header, Text: "Header mismatch: " + header + " " + what}
}

// CheckStandardHeaders checks the headers that mirror a modern request's body:
// MCP-Protocol-Version against version, Mcp-Method, and Mcp-Name where the
// method has a target. The error is a *HeaderError. What the body itself lacks
// is not judged here, unless a header claims it.
//
// Of a notification only the version is required: the revision does not define
// its other headers, so they are compared where they are sent.
func CheckStandardHeaders(h http.Header, m *Message, version string) error {
	if err := checkHeader(h, mcp.HeaderProtocolVersion, version, true, false); err != nil {
		return err
	}
	if err := checkHeader(h, mcp.HeaderMethod, m.Method, m.Kind == Request, false); err != nil {
		return err
	}
	member := targetMember(m.Method)
	if member == "" {
		return nil
	}
	target, ok := m.Params.String(member)
	if !ok {
		if _, sent := h[mcp.HeaderName]; sent {
			return mismatch(mcp.HeaderName, "is sent, but the body has no string params."+member)
		}
		return nil
	}
	return asError(checkHeader(h, mcp.HeaderName, target, m.Kind == Request, true))
}

// asError keeps a nil *HeaderError from becoming a non-nil error.
func asError(e *HeaderError) error {
	if e == nil {
		return nil
	}
	return e
}

// SetStandardHeaders sets the headers that mirror a modern request's body; it
// does nothing for a legacy version but to name it.
func SetStandardHeaders(h http.Header, version, method string, params Object) {
	h.Set(mcp.HeaderProtocolVersion, version)
	if eraOf(version) != Modern {
		return
	}
	h.Set(mcp.HeaderMethod, method)
	if member := targetMember(method); member != "" {
		if target, ok := params.String(member); ok {
			h.Set(mcp.HeaderName, encodeHeader(target))
		}
	}
}

// targetMember is the member of params that Mcp-Name mirrors, or "".
func targetMember(method string) string {
	switch method {
	case "tools/call", "prompts/get":
		return "name"
	case "resources/read":
		return "uri"
	case "tasks/get", "tasks/update", "tasks/cancel": // Tasks extension, SEP-2663
		return "taskId"
	}
	return ""
}

// checkHeader compares the one value of a header with what the body says.
func checkHeader(h http.Header, name, want string, required, encoded bool) *HeaderError {
	value, ok, err := single(h, name)
	switch {
	case err != nil:
		return err.(*HeaderError)
	case !ok && required:
		return mismatch(name, "is missing: send what the body says")
	case !ok:
		return nil
	}
	if encoded {
		if value, ok = decodeHeader(value); !ok {
			return mismatch(name, "is not valid Base64 of UTF-8 text")
		}
	}
	if value != want {
		return mismatch(name, "does not match the body")
	}
	return nil
}

// single is the one value of a header, without outer whitespace. Two values are
// an error, also where they are equal: readers differ in which one they take.
func single(h http.Header, name string) (value string, ok bool, err error) {
	values := h.Values(name)
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
		value = strings.Trim(values[0], " \t")
		if !headerText(value) {
			return "", true, mismatch(name, "contains invalid characters")
		}
		return value, true, nil
	}
	return "", true, mismatch(name, "is sent more than once")
}

// headerText reports whether value is made of what RFC 9110 5.5 and MCP's Value
// Encoding allow: visible ASCII, space and tab.
func headerText(value string) bool {
	for i := 0; i < len(value); i++ {
		if b := value[i]; (b < ' ' || b > '~') && b != '\t' {
			return false
		}
	}
	return true
}

// The marks of a Base64 value (SEP-2243, Value Encoding; case-sensitive).
const (
	base64Prefix = "=?base64?"
	base64Suffix = "?="
)

// encodeHeader makes a header value of a text.
func encodeHeader(text string) string {
	value, _ := mcp.EncodeHeaderValue(text) // false is for other types than string
	return value
}

// decodeHeader is the text of a header value. A value that lacks either mark is
// literal. mcp.DecodeHeaderValue is not strict enough: it skips line ends in
// the Base64 and takes any bytes for text.
func decodeHeader(value string) (string, bool) {
	encoded, ok := strings.CutPrefix(value, base64Prefix)
	if !ok {
		return value, true
	}
	if encoded, ok = strings.CutSuffix(encoded, base64Suffix); !ok {
		return value, true
	}
	text, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") || !utf8.Valid(text) {
		return "", false
	}
	return string(text), true
}
