package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// noMoreAsks is what an upstream hears that asks while the gateway closes.
var noMoreAsks = &wire.Error{Code: codeInternal, Message: "the gateway is closing"}

// parks are the calls of modern agents that a legacy upstream has asked
// something in the middle of. Such a call lives on while its agent is not
// connected: the agent was told input_required, and comes back with the
// answers in a new request (MCP 2026-07-28, MRTR). They live in memory: none
// survives a restart. Safe for concurrent use.
type parks struct {
	g       *Gateway
	ctx     context.Context // ends with the gateway
	held    quota           // calls that asked something, by principal
	running sync.WaitGroup  // the calls themselves

	mu     sync.Mutex
	calls  map[string]*parkedCall // from their first question to their end
	closed bool
}

// newParks makes the parks of g; ctx ends what is left of them.
func newParks(ctx context.Context, g *Gateway) *parks {
	return &parks{g: g, ctx: ctx, calls: make(map[string]*parkedCall)}
}

// find is the call with this id; nil when it ended.
func (p *parks) find(id string) *parkedCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[id]
}

// admit counts a call in that asks its agent something for the first time.
func (p *parks) admit(c *parkedCall) *wire.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return noMoreAsks
	case p.calls[c.id] != nil:
		return nil
	case !p.held.enter(c.owner, p.g.Limits.ParkedCalls):
		return &wire.Error{Code: codeInternal, Message: "too many calls of this user wait for an answer (limits.parkedCalls)"}
	}
	p.calls[c.id] = c
	return nil
}

func (p *parks) remove(c *parkedCall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls[c.id] == c {
		delete(p.calls, c.id)
		p.held.leave(c.owner)
	}
}

// close cancels every parked call and lets none be parked any more. A call
// whose agent is connected may finish, but not ask.
func (p *parks) close() {
	p.mu.Lock()
	p.closed = true
	all := slices.Collect(maps.Values(p.calls))
	p.mu.Unlock()
	for _, c := range all {
		c.close()
	}
}

// parkedCall is one call of a modern agent at a legacy upstream, which runs in
// its own goroutine and outlives the request that began it. At most one
// request of the agent waits for it at a time. Safe for concurrent use.
type parkedCall struct {
	parks  *parks
	id     string
	owner  string // identity.Principal.Key
	cancel context.CancelCauseFunc

	asked  chan struct{} // holds a token when a question is open
	done   chan struct{} // closed when answer and err are set
	answer *federation.Answer
	err    error

	mu       sync.Mutex
	at       *seat // nil while the call is parked
	open     []*question
	keys     int    // questions so far
	round    uint64 // how often it was parked; the handle of another round is void
	ended    bool
	timer    *time.Timer
	progress rising
}

// seat is the request that waits for a call: what of it the call may use from
// its own goroutine. Nothing in it aliases the request's body.
type seat struct {
	reply *reply
	token []byte // its progress token, raw; nil = no progress wanted
	level string // its log level; "" = no messages wanted
}

// question is a request of the upstream that waits for its answer.
type question struct {
	key    string // in inputRequests
	method string
	params []byte
	answer chan response // capacity 1
}

// start makes the call for who and lets s wait for it. ctx gives values, not its
// end.
func (p *parks) start(ctx context.Context, who *identity.Principal, s *seat, call func(ctx context.Context, c *parkedCall) (*federation.Answer, error)) *parkedCall {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	c := &parkedCall{
		parks: p, id: rand.Text(), owner: who.Key(), cancel: cancel, at: s,
		asked: make(chan struct{}, 1), done: make(chan struct{}),
	}
	stands, free := untilEnded(p.ctx, who.Ended)
	stop := context.AfterFunc(stands, func() { c.end(context.Canceled) })
	p.running.Go(func() {
		defer free()
		defer stop()
		defer close(c.done)
		c.answer, c.err = call(ctx, c)
	})
	return c
}

// ask puts a request of the upstream to the agent and waits for as long as
// ctx lives. A non-nil wire.Error says why the agent was not asked.
func (c *parkedCall) ask(ctx context.Context, method string, params []byte) ([]byte, *wire.Error, error) {
	q := &question{method: method, params: params, answer: make(chan response, 1)}
	if e := c.add(q); e != nil {
		return nil, e, nil
	}
	select {
	case r := <-q.answer:
		return r.result, r.err, nil
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open = slices.DeleteFunc(c.open, func(o *question) bool { return o == q })
		return nil, nil, context.Cause(ctx)
	}
}

func (c *parkedCall) add(q *question) *wire.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return noMoreAsks
	}
	if e := c.parks.admit(c); e != nil {
		return e
	}
	c.keys++
	q.key = "q" + strconv.Itoa(c.keys)
	c.open = append(c.open, q)
	c.signal()
	return nil
}

// signal says that a question is open. It needs mu.
func (c *parkedCall) signal() {
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

// park lets the request that waits go, with the open questions as its answer;
// nil when none is open any more. The call waits limits.parked for a retry.
func (c *parkedCall) park() (requests []byte, round uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || len(c.open) == 0 {
		return nil, 0
	}
	requests = []byte{'{'}
	for i, q := range c.open {
		if i > 0 {
			requests = append(requests, ',')
		}
		requests = append(wire.AppendString(requests, q.key), ':')
		requests = appendInput(requests, q.method, q.params)
	}
	c.at = nil
	c.round++
	round = c.round
	c.timer = time.AfterFunc(c.parks.g.Limits.Parked, func() { c.expire(round) })
	return append(requests, '}'), round
}

// resume lets s wait for the call in place of the request that was told to
// come back, and delivers its answers. What it leaves unanswered stays open;
// what nobody asked is ignored (MCP 2026-07-28, MRTR).
func (c *parkedCall) resume(s *seat, round uint64, responses []byte) *refusal {
	given, f := readResponses(responses)
	if f != nil {
		return f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.at != nil || c.round != round {
		return badState()
	}
	for _, q := range c.open {
		if raw, ok := given.Get(q.key); ok && !wellAnswered(q.method, raw) {
			return refuse(http.StatusOK, codeInvalidParams, "input_response", "params.inputResponses."+q.key+" is not an answer to "+q.method)
		}
	}
	c.timer.Stop()
	c.at = s
	c.open = slices.DeleteFunc(c.open, func(q *question) bool {
		raw, ok := given.Get(q.key)
		if ok {
			q.answer <- response{result: bytes.Clone(raw)}
		}
		return ok
	})
	if len(c.open) > 0 {
		c.signal()
	}
	return nil
}

// waitsFor tells whether the call is parked, and this round of it would be taken
// up. None waits for nothing.
func (c *parkedCall) waitsFor(round uint64) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ended && c.at == nil && c.round == round
}

// expire ends a call whose agent did not come back.
func (c *parkedCall) expire(round uint64) {
	c.mu.Lock()
	due := c.at == nil && c.round == round
	c.ended = c.ended || due // no retry gets in between
	c.mu.Unlock()
	if due {
		c.end(errNoAnswer)
	}
}

// end cancels the call, unless it is over, and forgets it.
func (c *parkedCall) end(cause error) {
	c.mu.Lock()
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.cancel(cause)
	c.parks.remove(c)
}

// close ends the call if it is parked, or else the questions that its agent
// was not told yet.
func (c *parkedCall) close() {
	c.mu.Lock()
	parked := c.at == nil
	c.ended = c.ended || parked
	if !parked {
		for _, q := range c.open {
			q.answer <- response{err: noMoreAsks}
		}
		c.open = nil
	}
	c.mu.Unlock()
	if parked {
		c.end(context.Canceled)
	}
}

// notify passes a notification on to the request that waits now. While there
// is none it is dropped.
func (c *parkedCall) notify(method string, params []byte) {
	c.mu.Lock()
	s := c.at
	rises := method != "notifications/progress" || c.progress.rises(params)
	c.mu.Unlock()
	if s == nil || !rises {
		return
	}
	switch method {
	case "notifications/progress":
		o, err := wire.Fields(params)
		if err != nil || s.token == nil {
			return
		}
		s.reply.notify(method, wire.NewPatch(o).Set("progressToken", s.token).Bytes())
	case "notifications/message":
		if wantsLog(s.level, params) {
			s.reply.notify(method, params)
		}
	}
}

// appendInput appends an InputRequest.
func appendInput(dst []byte, method string, params []byte) []byte {
	dst = wire.AppendString(append(dst, `{"method":`...), method)
	if len(params) > 0 {
		dst = append(append(dst, `,"params":`...), params...)
	}
	return append(dst, '}')
}

// readResponses reads params.inputResponses; absent ones are none.
func readResponses(raw []byte) (wire.Object, *refusal) {
	o, err := wire.Fields(raw)
	if raw != nil && err != nil {
		return wire.Object{}, refuse(http.StatusOK, codeInvalidParams, "input_response", "params.inputResponses must be an object")
	}
	return o, nil
}

// wellAnswered reports whether raw has the form of an answer to method.
func wellAnswered(method string, raw []byte) bool {
	o, err := wire.Fields(raw)
	if err != nil {
		return false
	}
	switch method {
	case "elicitation/create":
		action, _ := o.String("action")
		if content, ok := o.Get("content"); ok && content[0] != '{' {
			return false
		}
		return action == "accept" || action == "decline" || action == "cancel"
	case "sampling/createMessage":
		_, ok := o.Get("content")
		return ok
	case "roots/list":
		roots, ok := o.Get("roots")
		return ok && roots[0] == '['
	}
	return true
}
