package wire

import "errors"

// Era tells the two families of MCP revisions apart.
type Era uint8

const (
	Legacy Era = iota // 2025-11-25 and earlier: initialize, sessions
	Modern            // 2026-07-28 and later: stateless, per-request _meta
)

func (e Era) String() string {
	if e == Modern {
		return "modern"
	}
	return "legacy"
}

// Kind is what a JSON-RPC message is.
type Kind uint8

const (
	Request Kind = iota + 1
	Notification
	Response
)

// Limits bound one parse. A zero field means its default (DefaultLimits).
type Limits struct {
	Bytes    int // whole message
	Depth    int // nesting of arrays and objects
	Digits   int // digits in one number
	Exponent int // absolute value of a number's exponent
	ID       int // bytes of a request id, as written
	Batch    int // messages of one batch
}

// DefaultLimits are those of promise 5.
var DefaultLimits = Limits{Bytes: 4 << 20, Depth: 64, Digits: 64, Exponent: 400, ID: 1024, Batch: 64}

// Message is one JSON-RPC message after the strict parse. Every raw field
// aliases Raw; nothing was interpreted, unescaped or rounded. A Message is
// read-only and safe to share.
type Message struct {
	Raw    []byte
	Kind   Kind
	ID     []byte // the id as written, quotes included; nil in a notification
	Method string
	Params Object // of a request or notification; Raw is nil when absent
	Meta   Object // params._meta; Raw is nil when absent
	Result []byte // of a response
	Error  *Error // of a response
}

// Error is a JSON-RPC error object.
type Error struct {
	Code    int64
	Message string
	Data    []byte // raw JSON; nil when absent
	Raw     []byte // the whole object as received; nil when made here
}

func (e *Error) Error() string { return e.Message }

// ParseError says why a message was refused. Nothing of a refused message is
// ever acted on.
type ParseError struct {
	Code   int64  // JSON-RPC: -32700 not JSON, -32600 not a request we accept
	Reason string // for the record: one of the Reason… words
	Text   string // for the agent: what and where, never a value of the message
	ID     []byte // the request's id where it could be told; else nil
}

func (e *ParseError) Error() string { return e.Text }

// ErrNotObject: Fields was given something that is not a JSON object.
var ErrNotObject = errors.New("not a JSON object")
