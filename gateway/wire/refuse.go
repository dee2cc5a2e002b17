package wire

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// The words of ParseError.Reason.
const (
	ReasonSyntax    = "syntax"         // not JSON
	ReasonBOM       = "bom"            // a byte order mark before the message
	ReasonUTF8      = "utf8"           // invalid UTF-8 or a lone surrogate
	ReasonTooLarge  = "too_large"      // over Limits.Bytes
	ReasonDepth     = "too_deep"       // over Limits.Depth
	ReasonNumber    = "number"         // over Limits.Digits or Limits.Exponent
	ReasonNUL       = "nul_key"        // U+0000 in an object key
	ReasonAmbiguous = "ambiguous_json" // a duplicate name, or a case variant of a protocol member
	ReasonBatch     = "batch"          // an array of messages
	ReasonEnvelope  = "envelope"       // not a JSON-RPC 2.0 message
	ReasonID        = "id"             // not a string or integer, or over Limits.ID
	ReasonMethod    = "method"         // missing, not a string, empty or too long
	ReasonParams    = "params"         // params or params._meta is not an object
	ReasonError     = "error"          // a response's error without integer code and string message
)

// refuse makes the ParseError of a reason, with the JSON-RPC code that goes
// with it: what is not JSON is -32700, what we do not accept is -32600.
func refuse(reason, text string) *ParseError {
	code := CodeInvalidRequest
	switch reason {
	case ReasonSyntax, ReasonBOM, ReasonUTF8: // RFC 8259 8.1: JSON is UTF-8, without a BOM
		code = CodeParse
	}
	return &ParseError{Code: code, Reason: reason, Text: "message refused: " + text}
}

// withID adds the id of the refused message, where it can be told.
func (e *ParseError) withID(raw []byte, lim Limits) *ParseError {
	e.ID = tellID(raw, lim)
	return e
}

// validate is the second, exact pass: RFC 8259 syntax, and the unique names and
// UTF-8 of RFC 7493. flaw is what inspect found.
func validate(raw []byte, flaw *ParseError, lim Limits) *ParseError {
	switch {
	case flaw != nil && flaw.Reason == ReasonDepth:
		return flaw.withID(raw, lim)
	case !jsontext.Value(raw).IsValid():
		return diagnose(raw, lim)
	case flaw != nil:
		return flaw.withID(raw, lim)
	}
	return nil
}

// loose lets through what diagnose tells apart.
var loose = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// diagnose says why raw did not validate. The places it names are offsets:
// names and values of a message don't belong in an error text.
func diagnose(raw []byte, lim Limits) *ParseError {
	if len(bytes.TrimSpace(raw)) == 0 {
		return refuse(ReasonSyntax, "it is empty")
	}
	if bytes.HasPrefix(raw, []byte("\xef\xbb\xbf")) {
		return refuse(ReasonBOM, "it starts with a byte order mark: send plain UTF-8")
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(raw))
	_, err := decoder.ReadValue()
	if err == nil {
		return refuse(ReasonSyntax, fmt.Sprintf("more text follows the message, at byte %d: send one message at a time", decoder.InputOffset()))
	}
	offset := decoder.InputOffset()
	if where := (*jsontext.SyntacticError)(nil); errors.As(err, &where) {
		offset = where.ByteOffset
	}
	switch {
	case !jsontext.Value(raw).IsValid(loose...):
		return refuse(ReasonSyntax, fmt.Sprintf("it is not JSON, at byte %d", offset))
	case errors.Is(err, jsontext.ErrDuplicateName):
		return refuse(ReasonAmbiguous, fmt.Sprintf("a name occurs twice in one object, at byte %d: send it once", offset)).withID(raw, lim)
	default:
		return refuse(ReasonUTF8, fmt.Sprintf("it is not valid UTF-8, or holds half a surrogate pair, at byte %d", offset)).withID(raw, lim)
	}
}

// tellID is the id of a message that is refused for something else: MCP wants
// errors to carry it. It is nil unless the envelope holds exactly one id, in
// that spelling, of a kind and length that we accept.
func tellID(raw []byte, lim Limits) []byte {
	var buf [8]Member
	members, ok := index(buf[:0], raw)
	if !ok {
		return nil
	}
	var id []byte
	for _, m := range members {
		switch {
		case variantOf(envelopeMembers, m.Key) == "id":
			return nil
		case m.Key == "id" && id != nil:
			return nil
		case m.Key == "id":
			id = raw[m.Start:m.End:m.End]
		}
	}
	if !validID(id, lim) || !jsontext.Value(id).IsValid() {
		return nil
	}
	return id
}

// validID reports whether id is a string or an integer as written, within its
// length (MCP, Requests: the ID MUST be a string or integer, and not null).
func validID(id []byte, lim Limits) bool {
	if len(id) == 0 || len(id) > lim.ID {
		return false
	}
	return id[0] == '"' || isInteger(id)
}

// isInteger reports whether a JSON value is a number without fraction and
// exponent.
func isInteger(raw []byte) bool {
	if len(raw) == 0 || !(raw[0] == '-' || '0' <= raw[0] && raw[0] <= '9') {
		return false
	}
	return !bytes.ContainsAny(raw, ".eE")
}
