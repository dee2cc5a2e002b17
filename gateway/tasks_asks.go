package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// taskAskWait is how long a question is waited for that a task of MCP
// 2025-11-25 says it has.
const taskAskWait = time.Second

// taskAsks are the open questions of tasks at 2025-11-25 upstreams, which ask
// them on the stream of a tasks/result. Such a request is kept open here for
// as long as the agent comes back for the task. It does not survive a restart;
// the next tasks/get opens another. Safe for concurrent use.
type taskAsks struct {
	g       *Gateway
	ctx     context.Context // ends with the gateway
	close   context.CancelFunc
	held    quota // by principal
	running sync.WaitGroup

	mu    sync.Mutex
	tasks map[string]*taskAsk
}

func newTaskAsks(ctx context.Context, g *Gateway) *taskAsks {
	ctx, cancel := context.WithCancel(ctx)
	return &taskAsks{g: g, ctx: ctx, close: cancel, tasks: make(map[string]*taskAsk)}
}

// taskAsk is one task that asks.
type taskAsk struct {
	mu      sync.Mutex
	open    []*question
	asked   bool          // something was asked since it began
	changed chan struct{} // closed and made anew with each question
	idle    *time.Timer
}

// open gives the open questions of a task as inputRequests; nil when it has
// none. The first one waits until the upstream has asked.
func (a *taskAsks) open(ctx context.Context, x *exchange, t *target, ref *taskRef) ([]byte, *refusal) {
	k, f := a.of(x, t, ref)
	if f != nil {
		return nil, f
	}
	k.mu.Lock()
	asked, changed := k.asked, k.changed
	k.mu.Unlock()
	if !asked {
		quiet(ctx, changed, taskAskWait)
		quiet(ctx, nil, gatherTime) // for more than one at once
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle.Reset(a.g.Limits.Parked)
	if len(k.open) == 0 {
		return nil, nil
	}
	b := []byte{'{'}
	for i, q := range k.open {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendInput(append(wire.AppendString(b, q.key), ':'), q.method, q.params)
	}
	return append(b, '}'), nil
}

// of is the task's entry; when there is none, the request for its result
// begins.
func (a *taskAsks) of(x *exchange, t *target, ref *taskRef) (*taskAsk, *refusal) {
	owner := x.p.Key()
	key := owner + "\x00" + ref.upstream + "\x00" + ref.id
	a.mu.Lock()
	defer a.mu.Unlock()
	if k := a.tasks[key]; k != nil {
		return k, nil
	}
	if a.ctx.Err() != nil || !a.held.enter(owner, a.g.Limits.ParkedCalls) {
		return nil, &refusal{
			status: http.StatusOK, code: CodeBusy, outcome: "unavailable", reason: "parked",
			text: "too many calls of yours wait for an answer (limits.parkedCalls)",
		}
	}
	ctx, cancel := untilEnded(a.ctx, x.p.Ended)
	k := &taskAsk{changed: make(chan struct{})}
	k.idle = time.AfterFunc(a.g.Limits.Parked, cancel)
	a.tasks[key] = k
	c := x.taskCall(t, ref, "tasks/result", "")
	// The request goes on without x: nothing of the agent's body stays in it.
	c.Meta, c.Agent.Capabilities = nil, bytes.Clone(c.Agent.Capabilities)
	c.Agent.Era = wire.Modern // who asks several things at once gets them shown together
	c.Ask = k.ask
	p := x.p
	a.running.Go(func() {
		defer cancel()
		defer k.idle.Stop()
		a.g.Federation.Call(ctx, p, c) // its result is asked for again where it is wanted
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.tasks, key)
		a.held.leave(owner)
	})
	return k, nil
}

// ask holds a question open until it is answered or taken back.
func (k *taskAsk) ask(ctx context.Context, method string, params []byte) ([]byte, *wire.Error, error) {
	if o, err := wire.Fields(withoutElicitationID(method, params)); err == nil {
		params = related(o, "")
	}
	q := &question{key: rand.Text()[:16], method: method, params: params, answer: make(chan response, 1)}
	k.mu.Lock()
	k.open, k.asked = append(k.open, q), true
	close(k.changed)
	k.changed = make(chan struct{})
	k.mu.Unlock()
	select {
	case r := <-q.answer:
		return r.result, r.err, nil
	case <-ctx.Done():
		k.mu.Lock()
		defer k.mu.Unlock()
		k.open = slices.DeleteFunc(k.open, func(o *question) bool { return o == q })
		return nil, nil, context.Cause(ctx)
	}
}

// answer hands responses to the questions that are open; others are ignored
// (SEP-2663).
func (a *taskAsks) answer(ctx context.Context, x *exchange, t *target, ref *taskRef, responses []byte) *refusal {
	given, f := readResponses(responses)
	if f != nil {
		return f
	}
	a.mu.Lock()
	k := a.tasks[x.p.Key()+"\x00"+ref.upstream+"\x00"+ref.id]
	a.mu.Unlock()
	if k == nil { // nothing is open: whether the task is there the upstream knows
		_, f := x.askTask(ctx, t, ref, "tasks/get", "")
		return f
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle.Reset(a.g.Limits.Parked)
	for _, q := range k.open {
		if raw, ok := given.Get(q.key); ok && !wellAnswered(q.method, raw) {
			return refuse(http.StatusOK, codeInvalidParams, "input_response", "params.inputResponses."+q.key+" is not an answer to "+q.method)
		}
	}
	k.open = slices.DeleteFunc(k.open, func(q *question) bool {
		raw, ok := given.Get(q.key)
		if ok {
			q.answer <- response{result: bytes.Clone(raw)}
		}
		return ok
	})
	return nil
}
