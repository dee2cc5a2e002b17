package audit

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/ostiary/ostiary/policy"
)

// Format is the version of the record format.
const Format = 1

// Record is one line of the log. Field names follow OPA's decision log where
// it has one (decision_id, req_id, trace_id, span_id, timestamp, input,
// requested_by, metrics). Unused fields are left out of the line.
type Record struct {
	Format     int       `json:"format"`
	Seq        uint64    `json:"seq"`                   // given by the log, gapless, 1 first
	Prev       string    `json:"prev,omitempty"`        // given by the log: SHA-256 of the line before, hex
	Kind       string    `json:"kind"`                  // "decision", "outcome", "lifecycle", "event"
	DecisionID string    `json:"decision_id,omitempty"` // joins an outcome to its decision
	RequestID  string    `json:"req_id,omitempty"`
	TraceID    string    `json:"trace_id,omitempty"` // W3C trace context
	SpanID     string    `json:"span_id,omitempty"`
	Time       time.Time `json:"timestamp"`
	Event      string    `json:"event,omitempty"` // of kind event: "catalog.reload", "session.deleted", …

	RequestedBy string        `json:"requested_by,omitempty"` // peer address
	User        policy.User   `json:"user,omitzero"`
	Client      policy.Client `json:"client,omitzero"`
	Grant       policy.Grant  `json:"grant,omitzero"`
	Agent       policy.Agent  `json:"agent,omitzero"`
	Source      policy.Source `json:"source,omitzero"`
	Request     policy.Act    `json:"request,omitzero"`
	Upstream    string        `json:"upstream,omitempty"`
	Target      policy.Target `json:"target,omitzero"`

	Arguments *Payload         `json:"arguments,omitempty"`
	Responses *Payload         `json:"responses,omitempty"`
	Input     *Input           `json:"input,omitempty"` // the rest of what policy was asked
	Decision  *policy.Decision `json:"decision,omitempty"`
	Shown     *Shown           `json:"shown,omitempty"` // of a list
	Revisions Revisions        `json:"revisions,omitzero"`

	// What the line doesn't show as policy saw it: the leaves of the input
	// document, sorted, and those of them that rules read, sealed. Given by the log.
	Withheld []string `json:"withheld,omitempty"`
	Sealed   *Sealed  `json:"sealed,omitempty"`

	Outcome    string   `json:"outcome,omitempty"`    // "ok", "tool_error", "error", "denied", "not_found", "unavailable", "timeout", "unknown", "cancelled", "input_required", "not_executed"
	Code       int64    `json:"code,omitempty"`       // JSON-RPC code answered
	Reason     string   `json:"reason,omitempty"`     // machine word, e.g. "ambiguous_json"
	Result     *Payload `json:"result,omitempty"`     // digest and size only
	Credential string   `json:"credential,omitempty"` // id of the gateway's own that the upstream was called with; never its value
	Metrics    *Metrics `json:"metrics,omitempty"`
	Detail     string   `json:"detail,omitempty"` // for the operator; never a secret

	Failures *Failures `json:"failures,omitempty"` // of a summary

	// Saw is the target that policy saw, where Target was shortened. It is not
	// part of the line.
	Saw *policy.Target `json:"-"`

	// Line is the line that the record was read from, byte for byte what the
	// chain proves; nil for one that was not read. It can be shown anywhere:
	// what could drive a terminal stands escaped in it.
	Line []byte `json:"-"`
}

// Payload is a JSON value in a record: in clear up to a limit, above it a
// digest and a preview of its leading bytes. Of what a line shows redacted the
// digest is keyed: a plain one would tell a short secret to whoever tries all.
type Payload struct {
	Value    json.RawMessage `json:"value,omitempty"`
	Digest   string          `json:"sha256,omitempty"`      // of the bytes as sent, hex
	Keyed    string          `json:"hmac_sha256,omitempty"` // instead of Digest (Redactor.Keyed)
	Size     int             `json:"size"`                  // bytes as sent
	Preview  string          `json:"preview,omitempty"`
	Redacted int             `json:"redacted,omitempty"` // values replaced, at least, in what is shown

	sent, saw []byte // whole: what Value or Preview shows, and what policy saw
	limit     int    // bytes of Value
}

// Shown says what a list showed.
type Shown struct {
	Count  int    `json:"count"`
	Of     int    `json:"of"`     // before filtering
	Digest string `json:"sha256"` // of the names, newline-separated, in order
}

// Revisions name the state a decision was made in.
type Revisions struct {
	Policy     string `json:"policy,omitempty"`
	Data       string `json:"data,omitempty"`
	Catalog    string `json:"catalog,omitempty"`
	Definition string `json:"definition,omitempty"` // digest of the target's definition
}

// Metrics are durations in microseconds.
type Metrics struct {
	Total    int64 `json:"total_us"`
	Decide   int64 `json:"decide_us"`
	Record   int64 `json:"record_us"`
	Upstream int64 `json:"upstream_us"`
}

// Sink takes records. Implementations are safe for concurrent use.
type Sink interface {
	// Append returns nil once r is durable. After any error the caller must
	// treat r as not recorded and refuse what it was about to do.
	Append(ctx context.Context, r *Record) error

	// Note queues r without waiting. A failed Note makes later Appends fail
	// with ErrUnavailable until the log is well again.
	Note(r *Record)

	// Err is nil while the log is well.
	Err() error
}

// ErrUnavailable: the log can't take records now; nothing may run.
var ErrUnavailable = errors.New("audit log unavailable")
