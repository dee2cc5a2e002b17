package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

// exchange is one request on its way: filled in as it goes, recorded from
// here. It lives in one goroutine, but for notify, which the call's own
// goroutine uses.
type exchange struct {
	g        *Gateway
	p        *identity.Principal
	endpoint string
	m        *wire.Message
	header   http.Header   // of the request, for checks against the body only
	http     *http.Request // for a challenge; nil where there is nobody to be challenged
	source   policy.Source
	peer     string

	era     wire.Era
	version string
	accept  accepts
	agent   policy.Agent
	caps    []byte // the agent's capabilities, reduced to what we relay
	level   string // log level wanted
	session *session
	reply   *reply
	stands  bool // it became a stream, and is counted as one

	progress *rising // nil = as the upstream sends it

	tasks   bool     // the agent declares the Tasks extension
	tasking *tasking // of a request that has to do with tasks

	snap *federation.Snapshot

	id      string // decision id
	judged  bool   // a decision record was written, or tried
	trace   string
	span    string
	start   time.Time
	metrics audit.Metrics

	credential string // id of the one that the upstream was called with
}

func (g *Gateway) newExchange(r *http.Request, p *identity.Principal, endpoint string, m *wire.Message) *exchange {
	x := &exchange{
		g: g, p: p, endpoint: endpoint, m: m, header: r.Header, http: r,
		peer: r.RemoteAddr, start: g.Now(), snap: g.Federation.Snapshot(),
	}
	x.source = policy.SourceOf(r, g.TrustedProxies)
	x.id = newID()
	var parent string
	if m != nil {
		parent, _ = m.Meta.String("traceparent") // SEP-414: the body's own wins
	}
	if parent == "" {
		parent = r.Header.Get("Traceparent")
	}
	x.trace, x.span = traceOf(parent)
	return x
}

// newID is a decision id: 128 random bits.
func newID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// traceOf reads a W3C traceparent (version 00); ok or nothing.
func traceOf(parent string) (trace, span string) {
	if len(parent) != 55 || parent[:3] != "00-" || parent[35] != '-' || parent[52] != '-' {
		return "", ""
	}
	trace, span = parent[3:35], parent[36:52]
	if strings.Trim(trace+span, "0123456789abcdef") != "" {
		return "", ""
	}
	return trace, span
}

// endpointPath is the endpoint in the words of policy and record.
func endpointPath(endpoint string) string {
	if endpoint == federation.Merged {
		return "/mcp"
	}
	return "/mcp/" + endpoint
}

// target is what a request wants to touch, before anything was decided.
type target struct {
	method   string // the method that policy judges
	kind     string // "tool", "prompt", "resource", "template", "upstream"
	exposed  string // as the agent named it
	name     string // the upstream's own name or URI
	upstream *catalogs.Upstream
	item     *federation.Item

	// known is whether the target would be listed to this principal now. What
	// is not known answers as what does not exist, after the same work.
	known bool

	arguments []byte
	masked    []byte // arguments for upstream and record; nil = as they are
	masks     *masks // of the result; nil = none
	responses []byte
	task      *taskRef // of a request about a task

	// check runs after the decision and before the record: what needs the
	// target, such as Mcp-Param-* headers.
	check func() *refusal
}

// judge decides on t and records the decision durably. When it returns nil
// the act may run; else the refusal is the answer, and is recorded.
func (x *exchange) judge(ctx context.Context, t *target) *refusal {
	x.judged = true
	began := x.g.Now()
	t.masked, t.masks = nil, t.task.masksOf()
	req := x.request(t)
	var d policy.Decision
	// Schema first, policy second.
	reads := x.g.dependsOn("arguments", false)
	var f *refusal
	if reads {
		f = x.unfitArguments(t)
	}
	if f != nil {
		d.Revision = x.g.Decider.Revision()
	} else {
		var err error
		d, err = x.g.Decider.Decide(ctx, &req)
		if !reads && x.g.dependsOn("arguments", false) { // since a moment ago: a reload
			f = x.unfitArguments(t)
		}
		if f == nil {
			f = x.verdict(t, &d, err)
		}
	}
	if f != nil && f.unfit {
		x.hideAll(t)
	}
	decided := x.g.Now()
	x.metrics.Decide = decided.Sub(began).Microseconds()
	rec := x.record("decision", &req)
	rec.Decision = &d
	rec.Saw = &req.Target
	rec.Arguments = x.payload(t.arguments, t.passed())
	rec.Responses = x.payload(t.responses, t.responses)
	if t.task != nil {
		t.task.about(rec, x.m.Method)
	}
	rec.Revisions = audit.Revisions{Policy: d.Revision, Catalog: x.snap.Revision(), Definition: req.Target.Digest}
	if f != nil {
		rec.Outcome, rec.Code, rec.Reason = f.outcome, f.code, f.reason
		if f.class != "" {
			rec.Detail = "class " + f.class
		}
	}
	err := x.g.Audit.Append(ctx, rec)
	x.metrics.Record = x.g.Now().Sub(decided).Microseconds()
	if err != nil {
		if ctx.Err() != nil {
			return fromFailure(context.Canceled)
		}
		x.g.unwell("decision not recorded", err, x.id)
		return unrecorded(err)
	}
	return f
}

// failureWord is the record's word for why policy could not decide.
func failureWord(err error) string {
	if f, ok := errors.AsType[*policy.Failure](err); ok {
		return f.Code
	}
	return "decision_failed"
}

// request is the input document for t.
func (x *exchange) request(t *target) policy.Request {
	req := x.g.subject(x.p)
	req.Request = policy.Act{Method: t.method, Kind: t.kind, Era: x.era.String(), Endpoint: endpointPath(x.endpoint)}
	req.Agent, req.Source, req.Time = x.agent, x.source, policy.At(x.start)
	req.Arguments, req.Responses = t.arguments, t.responses
	if len(x.g.rates.names) > 0 && x.g.dependsOn("counters", true) {
		req.Counters = x.g.rates.counters(x.whoOf(t), x.start)
	}
	if t.item != nil {
		req.Target = targetOf(t.item)
	} else {
		req.Target = policy.Target{Kind: t.kind, Labels: []string{}}
	}
	req.Target.Kind = t.kind
	if t.name != "" {
		req.Target.Name = t.name
	} else if t.item == nil {
		req.Target.Name = t.exposed
	}
	if t.upstream != nil {
		req.Upstream = t.upstream.Name
		if t.item == nil {
			req.Target.Labels = t.upstream.Labels
		}
	}
	return req
}

// subject is the part of an input document that the verified token gives.
func (g *Gateway) subject(p *identity.Principal) policy.Request {
	req := policy.Request{
		Version: policy.Version,
		User:    policy.User{ID: p.ID(), Name: p.Name, Groups: nonNil(p.Groups), AMR: nonNil(p.AMR)},
		Client:  policy.Client{ID: p.Client.ID, Kind: p.Client.Kind, VerifiedName: p.Client.VerifiedName, RedirectHost: p.Client.RedirectHost},
		Grant:   policy.Grant{Scopes: nonNil(p.Grant.Scopes), Resource: p.Grant.Resource},
	}
	if !p.AuthTime.IsZero() {
		req.User.AuthTime = p.AuthTime.Unix()
	}
	if !p.Grant.ConsentedAt.IsZero() {
		req.Grant.ConsentedAt = p.Grant.ConsentedAt.Unix()
	}
	return req
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// targetOf is the policy's view of an item. The published input document must
// not change when upstreams or libraries do, so this is the one conversion.
func targetOf(i *federation.Item) policy.Target {
	return policy.Target{
		Kind: i.Kind.String(), Name: i.Name, Labels: nonNil(i.Labels), Annotations: i.Annotations,
		Trusted: i.Upstream.TrustAnnotations, Visibility: i.Visibility, Digest: i.Digest,
	}
}

// record starts a record of this exchange.
func (x *exchange) record(kind string, req *policy.Request) *audit.Record {
	return &audit.Record{
		Format: audit.Format, Kind: kind, DecisionID: x.id, TraceID: x.trace, SpanID: x.span,
		Time: x.start, RequestedBy: x.peer,
		User: req.User, Client: req.Client, Grant: req.Grant, Agent: req.Agent, Source: req.Source,
		Request: req.Request, Upstream: req.Upstream, Target: recorded(req.Target),
		Input: audit.InputOf(req),
	}
}

// outcome records how a judged request ended. It is not awaited: a failed
// outcome record still delivers the answer (promise 3).
func (x *exchange) outcome(word string, code int64, reason string, result []byte) {
	now := x.g.Now()
	x.metrics.Total = now.Sub(x.start).Microseconds()
	rec := &audit.Record{
		Format: audit.Format, Kind: "outcome", DecisionID: x.id, TraceID: x.trace, SpanID: x.span, Time: now,
		Outcome: word, Code: code, Reason: reason, Metrics: &x.metrics, Credential: x.credential,
	}
	if result != nil {
		sum := sha256.Sum256(result)
		rec.Result = &audit.Payload{Digest: hex.EncodeToString(sum[:]), Size: len(result)}
	}
	x.g.Audit.Note(rec)
}

// used remembers by which credential of the gateway's an upstream was called.
func (x *exchange) used(a *federation.Answer, err error) {
	var f *federation.Failure
	switch {
	case errors.As(err, &f):
		x.credential = f.Credential
	case a != nil:
		x.credential = a.Credential
	}
}

// failed records a judged request that ended in a refusal, with the
// operator's words in the log.
func (x *exchange) failed(f *refusal) {
	x.outcome(f.outcome, f.code, f.reason, nil)
	if f.detail != "" {
		x.g.Logger.Warn("request failed", "decision_id", x.id, "outcome", f.outcome, "detail", f.detail)
	}
}

// noteRefused records a message that was refused before it was judged, and
// returns the answer: f, or another one when too much was refused already.
func (x *exchange) noteRefused(f *refusal) *refusal {
	if x.judged {
		return f
	}
	if over := x.quota(overRefused, x.g.Limits.Refused); over != nil && f.outcome != "cancelled" {
		return over
	}
	x.judged = true
	req := x.g.subject(x.p)
	req.Agent, req.Source = x.agent, x.source
	req.Request = policy.Act{Era: x.era.String(), Endpoint: endpointPath(x.endpoint), Kind: "message"}
	if x.m != nil {
		req.Request.Method = x.m.Method
	}
	rec := x.record("decision", &req)
	rec.Decision = &policy.Decision{}
	rec.Outcome, rec.Code, rec.Reason = f.outcome, f.code, f.reason
	x.g.Audit.Note(rec)
	return f
}

// lifecycle records a request that touches nothing, without waiting.
func (x *exchange) lifecycle() {
	req := x.g.subject(x.p)
	req.Agent, req.Source = x.agent, x.source
	req.Request = policy.Act{Method: x.m.Method, Kind: "lifecycle", Era: x.era.String(), Endpoint: endpointPath(x.endpoint)}
	x.g.Audit.Note(x.record("lifecycle", &req))
}

// perform judges t, runs act, and records the outcome. act returns the raw
// result.
func (x *exchange) perform(ctx context.Context, t *target, act func(context.Context) ([]byte, *refusal)) ([]byte, *refusal) {
	if f := x.judge(ctx, t); f != nil {
		return nil, f
	}
	began := x.g.Now()
	result, f := act(ctx)
	x.metrics.Upstream = x.g.Now().Sub(began).Microseconds()
	if f != nil {
		x.failed(f)
		return nil, f
	}
	x.outcome(wordOf(result), 0, "", result)
	return result, nil
}

// wordOf says in one word how a result ended: a tool may fail in its own way.
func wordOf(result []byte) string {
	o, err := wire.Fields(result)
	if err != nil {
		return "ok"
	}
	if v, ok := o.Get("isError"); ok && string(v) == "true" {
		return "tool_error"
	}
	if t, ok := o.String("resultType"); ok && t == "input_required" {
		return "input_required"
	}
	return "ok"
}
