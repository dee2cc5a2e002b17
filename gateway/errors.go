package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// JSON-RPC error codes of the specification.
const (
	codeParse           = -32700
	codeInvalidRequest  = -32600
	codeMethodNotFound  = -32601
	codeInvalidParams   = -32602
	codeInternal        = -32603
	codeResourceMissing = -32002 // legacy only; MCP 2026-07-28 forbids it
	codeURLElicitation  = -32042 // legacy only; MCP 2026-07-28 forbids it
	codeHeaderMismatch  = -32020 // SEP-2243
	codeMissingCap      = -32021 // SEP-2575
	codeUnsupportedVers = -32022 // SEP-2575
	codeReservedLast    = -32099 // -32020 down to here are the specification's to define (MCP 2026-07-28)
)

// JSON-RPC error codes of our own. JSON-RPC 2.0 section 5.1 reserves
// -32768..-32000; ours stay outside. The README has the same table.
const (
	CodeDenied      = -31001 // listed, but this request may not run; the message has the public reasons
	CodeUnavailable = -31002 // the upstream can't be reached; the request did not run
	CodeTimeout     = -31003 // the upstream did not answer in time; the outcome is unknown
	CodeUnknown     = -31004 // the connection was lost on the way; the outcome is unknown
	CodeBadAnswer   = -31005 // the upstream's answer can't be used
	CodeUnrecorded  = -31006 // the audit log can't take records; the request did not run
	CodeBusy        = -31007 // a limit is reached; the request did not run
	CodeAskFailed   = -31008 // the upstream wanted input that this agent can't give
)

// refusal is an answer that is not a result: what goes to the agent and what
// goes into the record.
type refusal struct {
	status    int // HTTP
	code      int64
	text      string // for the agent
	data      []byte // raw; nil = none
	outcome   string // word in the record
	reason    string // machine word in the record
	detail    string // for the operator
	retry     time.Duration
	class     string      // of rates, for the record
	unfit     bool        // the arguments do not fit their schema: policy did not say what of them is to be hidden
	challenge string      // WWW-Authenticate
	raw       *wire.Error // an upstream's own error, passed on as it is
}

func (r *refusal) Error() string { return r.text }

func (r *refusal) rpc() *wire.Error {
	if r.raw != nil {
		return r.raw
	}
	return &wire.Error{Code: r.code, Message: r.text, Data: r.data}
}

// noStore: what an agent gets depends on who it is.
var noStore = http.Header{"Cache-Control": {"no-store"}}

// headers of the answer.
func (r *refusal) headers() http.Header {
	if r.retry <= 0 && r.challenge == "" {
		return noStore
	}
	h := noStore.Clone()
	if r.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((r.retry+time.Second-1)/time.Second)))
	}
	if r.challenge != "" {
		h.Set("WWW-Authenticate", r.challenge)
	}
	return h
}

func refuse(status int, code int64, reason, text string) *refusal {
	return &refusal{status: status, code: code, text: text, outcome: "refused", reason: reason}
}

// fromFailure is the one place where a failed upstream becomes an answer. The
// upstream's own words stay with the operator (promise 1).
func fromFailure(err error) *refusal {
	r := &refusal{status: http.StatusOK, code: codeInternal, outcome: "error", reason: "internal", text: "internal error"}
	name := ""
	var f *federation.Failure
	if errors.As(err, &f) {
		name, r.detail, r.retry = f.Upstream, f.Detail, f.RetryAfter
	} else {
		r.detail = err.Error()
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, federation.ErrCancelled):
		r.outcome, r.reason, r.text = "cancelled", "cancelled", "request cancelled"
	case errors.Is(err, federation.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		r.code, r.outcome, r.reason = CodeTimeout, "timeout", "upstream_timeout"
		r.text = "upstream " + name + " did not answer in time; it is not known whether the request ran"
	case errors.Is(err, federation.ErrUnknownOutcome):
		r.code, r.outcome, r.reason = CodeUnknown, "unknown", "connection_lost"
		r.text = "the connection to upstream " + name + " was lost; it is not known whether the request ran"
	case errors.Is(err, federation.ErrBusy):
		r.code, r.outcome, r.reason = CodeBusy, "unavailable", "upstream_busy"
		r.text = "upstream " + name + " is at its limit of concurrent requests; the request did not run, try again"
	case errors.Is(err, federation.ErrTooLarge):
		r.code, r.outcome, r.reason = CodeBadAnswer, "unknown", "answer_too_large"
		r.text = "the answer of upstream " + name + " is larger than allowed (limits.response)"
	case errors.Is(err, federation.ErrBadAnswer):
		r.code, r.outcome, r.reason = CodeBadAnswer, "unknown", "bad_answer"
		r.text = "the answer of upstream " + name + " can't be used"
	case errors.Is(err, federation.ErrUnavailable), errors.Is(err, federation.ErrUnknownUpstream):
		r.code, r.outcome, r.reason = CodeUnavailable, "unavailable", "upstream_unavailable"
		r.text = "upstream " + name + " is not available now; the request did not run"
	}
	return r
}

// badAnswer is an upstream's answer that breaks the protocol.
func badAnswer(upstream, detail string) *refusal {
	return fromFailure(&federation.Failure{Upstream: upstream, Kind: federation.ErrBadAnswer, Detail: detail})
}

// unrecorded is the answer when the decision can't be made durable: nothing
// ran (promise 3).
func unrecorded(err error) *refusal {
	return &refusal{
		status: http.StatusServiceUnavailable, code: CodeUnrecorded, retry: 2 * time.Second,
		outcome: "not_executed", reason: "unrecorded", detail: err.Error(),
		text: "the audit log can't take records now; the request did not run, try again",
	}
}

// unknown is unknownTarget for what t would have been.
func (x *exchange) unknown(t *target) *refusal {
	if t.task != nil {
		return unknownTask()
	}
	return x.unknownTarget(t.kind, t.exposed)
}

// unknownTarget answers for what does not exist and for what this principal
// may not see, with the same bytes (promise 2, hidden = unknown).
func (x *exchange) unknownTarget(kind, name string) *refusal {
	r := &refusal{status: http.StatusOK, code: codeInvalidParams, outcome: "not_found", reason: "unknown_" + kind}
	switch kind {
	case "resource":
		r.text = "Resource not found"
		r.data = append(wire.AppendString([]byte(`{"uri":`), name), '}')
		if x.era == wire.Legacy {
			r.code = codeResourceMissing
		}
	default:
		r.text = "Unknown " + kind + ": " + name
	}
	return r
}
