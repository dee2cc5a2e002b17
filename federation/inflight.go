package federation

import (
	"context"
	"slices"
	"sync"

	"github.com/ostiary/ostiary/gateway/wire"
)

// maxQuestions bounds the unanswered questions of an upstream in one call.
const maxQuestions = 8

// inflight is one call under way, as the connection's readers see it.
type inflight struct {
	c     *Call
	ctx   context.Context // of the call
	clock *deadline
	id    []byte // our request id, and the progress token that we gave

	// mail holds notifications until the calling goroutine takes them, on
	// connections where one reader serves many calls; nil elsewhere.
	mail chan *wire.Message

	turn chan struct{} // how many questions reach the agent at once

	mu     sync.Mutex // also keeps notifications in order and before the answer
	over   bool
	asked  map[string]context.CancelFunc // questions by the upstream's own id
	pages  []string                      // elicitationIds among them, the latest maxQuestions
	asking sync.WaitGroup
}

func newInflight(ctx context.Context, c *Call, clock *deadline, id []byte) *inflight {
	return &inflight{c: c, ctx: ctx, clock: clock, id: id}
}

// token is the progress token to give to the upstream; nil for none.
func (i *inflight) token() []byte {
	if i.c.ProgressToken == nil || i.c.Notify == nil {
		return nil
	}
	return i.id
}

// notify delivers a notification that belongs to this call, if the agent
// wants it, and drops it otherwise. It reports whether the call was not over.
func (i *inflight) notify(m *wire.Message) bool {
	if i.c.Notify == nil {
		return true
	}
	params := m.Params.Raw
	switch m.Method {
	case methodProgress:
		if i.c.ProgressToken == nil {
			return true
		}
		var ok bool
		if params, ok = withToken(m.Params, i.id, i.c.ProgressToken); !ok {
			return true
		}
	case methodLog:
		if !wantsLog(i.c, m.Params) {
			return true
		}
	case methodElicited: // the modern era has no such notification
		if i.c.Agent.Era != wire.Legacy {
			return true
		}
	default:
		return true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.over {
		i.c.Notify(m.Method, params)
	}
	return !i.over
}

// elicited reports whether m is about a page that this call sent the agent to.
func (i *inflight) elicited(m *wire.Message) bool {
	id, ok := m.Params.String("elicitationId")
	i.mu.Lock()
	defer i.mu.Unlock()
	return ok && slices.Contains(i.pages, id)
}

// question puts a request of the upstream to the agent. send takes the
// JSON-RPC response and is called exactly once, unless the call ends first.
func (i *inflight) question(m *wire.Message, send func(body []byte)) {
	i.mu.Lock()
	key := string(m.ID)
	_, twice := i.asked[key]
	switch {
	case i.c.Ask == nil:
		i.mu.Unlock()
		send(unanswerable(m))
		return
	case i.over, twice, len(i.asked) >= maxQuestions:
		i.mu.Unlock()
		send(wire.AppendError(nil, m.ID, &wire.Error{Code: wire.CodeInvalidRequest, Message: "Too many requests in one call"}))
		return
	}
	if i.asked == nil {
		i.asked = make(map[string]context.CancelFunc)
		// A legacy agent gets one request after the other; a modern one gets its
		// input requests together, in one result (MCP 2026-07-28, MRTR).
		together := 1
		if i.c.Agent.Era == wire.Modern {
			together = maxQuestions
		}
		i.turn = make(chan struct{}, together)
	}
	if id, ok := m.Params.String("elicitationId"); ok && m.Method == "elicitation/create" {
		i.pages = append(i.pages, id)
		i.pages = i.pages[max(0, len(i.pages)-maxQuestions):]
	}
	ctx, cancel := context.WithCancel(i.ctx)
	i.asked[key] = cancel
	i.clock.pause()
	defer i.mu.Unlock() // finish must see the question before it waits
	i.asking.Go(func() {
		defer i.clock.resume()
		defer i.forget(key)
		select {
		case i.turn <- struct{}{}:
			defer func() { <-i.turn }()
		case <-ctx.Done():
			return
		}
		result, rpcErr, err := i.c.Ask(ctx, m.Method, m.Params.Raw)
		switch {
		case ctx.Err() != nil:
			// The call ended or the upstream took its question back.
		case err != nil:
			send(wire.AppendError(nil, m.ID, &wire.Error{Code: wire.CodeInternal, Message: "The client did not answer"}))
		case rpcErr != nil:
			send(wire.AppendError(nil, m.ID, rpcErr))
		default:
			send(wire.AppendResult(nil, m.ID, result))
		}
	})
}

// forget ends a question: it was answered, or the upstream took it back.
func (i *inflight) forget(id string) {
	i.mu.Lock()
	cancel := i.asked[id]
	delete(i.asked, id)
	i.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// finish ends the call: nothing of it reaches the agent afterwards.
func (i *inflight) finish() {
	i.mu.Lock()
	i.over = true
	for _, cancel := range i.asked {
		cancel()
	}
	i.mu.Unlock()
	i.asking.Wait()
}

// unanswerable is the answer to a request for which nobody is there.
func unanswerable(m *wire.Message) []byte {
	return wire.AppendError(nil, m.ID, &wire.Error{Code: wire.CodeMethodNotFound, Message: "Method not found"})
}

// unattributable is the answer to a request outside of any call of ours
// (SEP-2260: the receiver MUST NOT serve it).
func unattributable(m *wire.Message) []byte {
	return wire.AppendError(nil, m.ID, &wire.Error{Code: wire.CodeInvalidParams, Message: "Not associated with a request of the client"})
}

// questions are the methods that an upstream may ask for, and the client
// capability that each needs.
var questions = map[string]string{
	"elicitation/create":     "elicitation",
	"sampling/createMessage": "sampling",
	"roots/list":             "roots",
}

// declared says which questions a connection that declared these client
// capabilities may be asked (case A-077: no others reach the agent).
func declared(capabilities []byte) map[string]bool {
	may := make(map[string]bool)
	if o, err := wire.Fields(capabilities); err == nil {
		for method, capability := range questions {
			if _, ok := o.Get(capability); ok {
				may[method] = true
			}
		}
	}
	return may
}
