package audit

import (
	"sync"
	"sync/atomic"

	"github.com/ostiary/ostiary/policy"
)

// kind of a record, as far as the log cares.
type kind uint8

const (
	decisionKind kind = iota
	outcomeKind
	eventKind
	lifecycleKind
)

func kindOf(r *Record) kind {
	if r.Failures != nil { // whoever makes them must not use up the reserve
		return lifecycleKind
	}
	switch r.Kind {
	case "outcome":
		return outcomeKind
	case "event":
		return eventKind
	case "lifecycle":
		return lifecycleKind
	}
	return decisionKind
}

// entry is a record on its way to the disk.
type entry struct {
	body     []byte // its line from "kind" on
	buf      *[]byte
	kind     kind
	note     bool   // nobody waits; kept until it is written
	own      bool   // made by the log itself: not counted against Options.Notes
	decision string // decision id
	opens    bool   // a decision that needs an outcome
	reported int    // lost notes that it reports

	state atomic.Int32 // pending → durable, or withdrawn by its Append
	seq   uint64
	err   error
}

const (
	pending int32 = iota
	durable
	withdrawn
)

// bodies are reused; a rare long one is left to the collector.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

const keptBody = 64 << 10

func (l *Log) entry(r *Record) *entry {
	if r.Time.IsZero() {
		r.Time = l.Now()
	}
	buf := bodies.Get().(*[]byte)
	v := l.veiled(r)
	*buf = appendBody((*buf)[:0], &v.r)
	v.free()
	return &entry{
		body: *buf, buf: buf, kind: kindOf(r), decision: r.DecisionID,
		opens: awaitsOutcome(r),
	}
}

// free gives the body of an entry back that nobody looks at any more.
func free(e *entry) {
	if cap(*e.buf) <= keptBody {
		bodies.Put(e.buf)
	}
	e.body, e.buf = nil, nil
}

// awaitsOutcome says whether r is a decision after which something runs: not
// a denial, not a list, not one that already tells its outcome.
func awaitsOutcome(r *Record) bool {
	return r.Kind == "decision" && r.DecisionID != "" && r.Outcome == "" && r.Shown == nil &&
		(r.Decision == nil || r.Decision.Allow)
}

// own makes an entry of the log itself.
func (l *Log) own(r *Record) *entry {
	e := l.entry(r)
	e.note, e.own = true, true
	return e
}

// outcome makes the outcome record of a decision that nobody else will close.
func (l *Log) outcome(decision, outcome, reason, detail string) *entry {
	return l.own(&Record{Kind: "outcome", DecisionID: decision, Outcome: outcome, Reason: reason, Detail: detail})
}

func (l *Log) event(name, reason, detail string) *entry {
	return l.own(&Record{Kind: "event", Event: name, Reason: reason, Detail: detail})
}

// shortened keeps of a record over MaxRecord who it was about and how it ended.
func shortened(r *Record) *Record {
	const most = 1 << 10
	cut := func(s string) string { return s[:min(len(s), most)] }
	return &Record{
		Kind: cut(r.Kind), DecisionID: cut(r.DecisionID), RequestID: cut(r.RequestID), Time: r.Time,
		Event: cut(r.Event), RequestedBy: cut(r.RequestedBy),
		User:     policy.User{ID: cut(r.User.ID), Name: cut(r.User.Name), AuthTime: r.User.AuthTime},
		Client:   policy.Client{ID: cut(r.Client.ID), Kind: cut(r.Client.Kind)},
		Source:   policy.Source{IP: cut(r.Source.IP), Proxied: r.Source.Proxied, TLS: r.Source.TLS},
		Upstream: cut(r.Upstream), Outcome: cut(r.Outcome), Code: r.Code,
		Reason: cut(r.Reason), Detail: "shortened: the record was over its size limit",
	}
}
