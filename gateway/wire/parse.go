package wire

import (
	"fmt"
	"strconv"
)

// MaxMethod is the most bytes that a method name may have.
const MaxMethod = 256

// Parse is the one strict parse of a message that an agent sent
// (promise 5). Whatever two parsers could read differently is refused, not
// interpreted. The error is a *ParseError. The Message aliases raw, which must
// not change afterwards.
func Parse(raw []byte, lim Limits) (*Message, error) {
	lim = lim.orDefault()
	if err := check(raw, lim); err != nil {
		return nil, err
	}
	e, err := openEnvelope(raw, lim)
	if err != nil {
		return nil, err
	}
	m, err := e.finish(lim, true)
	if err != nil {
		return nil, err.withID(raw, lim)
	}
	return m, nil
}

// Check makes the strict checks on one JSON value of any kind: size, nesting,
// syntax, duplicate names, UTF-8, numbers, keys. The error is a *ParseError.
func Check(raw []byte, lim Limits) error {
	if err := check(raw, lim.orDefault()); err != nil {
		return err
	}
	return nil
}

func check(raw []byte, lim Limits) *ParseError {
	if err := checkSize(raw, lim); err != nil {
		return err
	}
	return validate(raw, inspect(raw, lim), lim)
}

func checkSize(raw []byte, lim Limits) *ParseError {
	if len(raw) > lim.Bytes {
		return refuse(ReasonTooLarge, fmt.Sprintf("it has more than %d bytes", lim.Bytes))
	}
	return nil
}

// methodName is the text of a method.
func methodName(quoted []byte) (string, bool) {
	text, ok := Unquote(quoted)
	return text, ok && text != "" && len(text) <= MaxMethod
}

// parseError reads a response's error object (JSON-RPC 2.0 section 5.1).
func parseError(raw []byte) (*Error, *ParseError) {
	o, err := Fields(raw)
	if err != nil {
		return nil, refuse(ReasonError, `"error" is not an object`)
	}
	if err := firstVariant(o, errorMembers, `"error"`); err != nil {
		return nil, err
	}
	e := &Error{Raw: raw}
	code, _ := o.Get("code")
	if e.Code, err = strconv.ParseInt(string(code), 10, 64); err != nil {
		return nil, refuse(ReasonError, `"error" has no integer "code"`)
	}
	var ok bool
	if e.Message, ok = o.String("message"); !ok {
		return nil, refuse(ReasonError, `"error" has no string "message"`)
	}
	e.Data, _ = o.Get("data")
	return e, nil
}

// ProgressToken is params._meta.progressToken as written, a string or a number;
// nil when there is none.
func (m *Message) ProgressToken() []byte {
	token, _ := m.Meta.Get("progressToken")
	if len(token) == 0 || token[0] != '"' && token[0] != '-' && (token[0] < '0' || token[0] > '9') {
		return nil
	}
	return token
}
