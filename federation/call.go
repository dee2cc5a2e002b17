package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// Call is one request to one upstream, made of parameters alone. It has no
// field for a header, a token or an inbound request, and must never get one
// (promise 1).
type Call struct {
	Upstream string
	Method   string // tools/call, prompts/get, resources/read, completion/complete
	Params   []byte // raw object in the upstream's own names and URIs, without _meta; never nil
	Meta     []byte // raw object: what of the agent's _meta travels (allow-list); nil = nothing
	Item     *Item  // the target, where there is one: gives Mcp-Param-* and the timeout

	ProgressToken []byte // the agent's own, raw; nil = no progress wanted
	Agent         Agent

	// Notify delivers a notification that belongs to this call, in order, from
	// one goroutine, always before Call returns. params is raw, with the
	// agent's own progress token put back. nil = drop them.
	Notify func(method string, params []byte)

	// Ask delivers a request of the upstream's own (elicitation/create,
	// sampling/createMessage, roots/list) to the agent and waits for its
	// answer, for as long as ctx lives. nil = the agent can't be asked; the
	// upstream is told so.
	Ask func(ctx context.Context, method string, params []byte) (result []byte, rpcErr *wire.Error, err error)
}

// Agent is what the upstream may know of who asks.
type Agent struct {
	Era          wire.Era
	Version      string // protocol revision
	Capabilities []byte // raw ClientCapabilities, already reduced to what the gateway relays; nil = {}
	LogLevel     string // "" = no log messages wanted
	Session      string // opaque name of the agent's own session; "" in the modern era
}

// Answer is what the upstream answered: exactly one of Result and Error.
type Answer struct {
	Result []byte // raw, as received, strictly checked
	Error  *wire.Error
	Era    wire.Era // of the upstream: how Result is to be read

	Credential string // id of the one that the call was made with; "" = none
}

// Failures of the upstream itself, as opposed to answers of it.
var (
	ErrUnknownUpstream = errors.New("no such upstream")
	ErrUnavailable     = errors.New("upstream unavailable") // the request was not executed
	ErrTimeout         = errors.New("upstream timed out")   // outcome unknown
	ErrUnknownOutcome  = errors.New("connection lost, outcome unknown")
	ErrBadAnswer       = errors.New("unusable answer from upstream")
	ErrTooLarge        = errors.New("upstream answer too large")
	ErrBusy            = errors.New("upstream at its concurrency limit") // not executed
	ErrCancelled       = errors.New("cancelled")
)

// Failure is the error type of Federation's methods.
type Failure struct {
	Upstream   string
	Kind       error         // one of the sentinels above
	RetryAfter time.Duration // 0 unknown
	Detail     string        // for the operator's log, never for the agent; no secrets
	Credential string        // as in Answer; "" also where it came to no use

	final bool // the request was made twice already: no new connection may take it
}

func (f *Failure) Error() string {
	s := fmt.Sprintf("upstream %s: %v", f.Upstream, f.Kind)
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

func (f *Failure) Unwrap() error { return f.Kind }
