package gateway

import (
	"bytes"
	"context"
	"net/http"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

// agentOf is the agent that a token stands for, for this principal at this
// endpoint; nil when there is none.
func (g *Gateway) agentOf(p *identity.Principal, endpoint, token string) *sseAgent {
	if len(token) > sessionToken {
		return nil
	}
	id, err := g.Sealer.Unseal(ssePurpose, token, sessionBound(p, endpoint))
	if err != nil {
		return nil
	}
	g.agents.mu.Lock()
	defer g.agents.mu.Unlock()
	return g.agents.m[string(id)]
}

// postSSE takes what an agent over HTTP+SSE POSTs: 202, and the responses
// arrive on its stream.
func (g *Gateway) postSSE(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint, token string, body []byte) {
	x := g.newExchange(r, p, endpoint, nil)
	x.accept = accepts{json: true, sse: true}
	a := g.agentOf(p, endpoint, token)
	if a == nil || !a.enter() {
		x.answerHTTP(w, refuse(http.StatusNotFound, codeInvalidRequest, "unknown_session", "no such stream; open one with GET"))
		return
	}
	defer a.work.Done()
	messages, err := a.parse(bytes.Clone(body)) // what is asked for outlives this POST
	if err != nil {
		x.refuseParse(w, err)
		return
	}
	x.m = messages[0]
	if f := x.mayTake(r, messages); f != nil {
		x.answerHTTP(w, f)
		return
	}
	if x.m.Method == "initialize" && x.m.Kind == wire.Request {
		if !a.greet() {
			x.answerHTTP(w, refuse(http.StatusBadRequest, codeInvalidRequest, "session", "this stream has its session; open another one to initialize again"))
			return
		}
		a.work.Go(func() { a.initialize(x) })
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if f := a.openSession(r.Context(), x); f != nil {
		x.answerHTTP(w, f)
		return
	}
	x.takeAll(r, messages, func(y *exchange) {
		y.reply = newReply(nil, nil, replyOptions{json: true, sse: true, to: a})
		a.work.Go(y.begin(a.ctx))
	})
	w.WriteHeader(http.StatusAccepted)
}

// parse is the strict parse of a POST: of one message or, up to MCP 2025-03-26,
// a batch.
func (a *sseAgent) parse(body []byte) ([]*wire.Message, error) {
	a.mu.Lock()
	batches := a.session != nil && a.session.version <= wire.Version20250326
	a.mu.Unlock()
	if batches && wire.IsBatch(body) {
		return wire.ParseBatch(body, a.g.parse)
	}
	m, err := wire.Parse(body, a.g.parse)
	return []*wire.Message{m}, err
}

// greet is true for the first initialize of a stream.
func (a *sseAgent) greet() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !a.greeted
	a.greeted = true
	return first
}

// initialize opens the agent's session, and lets the answer go when it is open.
func (a *sseAgent) initialize(x *exchange) {
	var answer held
	head := headOnly{}
	x.reply = newReply(nil, nil, replyOptions{json: true, to: &answer})
	x.initialize(a.ctx, head)
	x.reply.close()
	token := http.Header(head).Get("Mcp-Session-Id")
	s, err := a.g.sessions.open(a.ctx, x.p, x.endpoint, token)
	a.mu.Lock()
	if err == nil {
		a.session, a.token = s, token
		close(a.opened)
	} else {
		a.greeted = false // it was refused; the agent may try again
	}
	a.mu.Unlock()
	a.finish(answer.response)
}

// openSession finds the agent's session for x.
func (a *sseAgent) openSession(ctx context.Context, x *exchange) *refusal {
	a.mu.Lock()
	token := a.token
	a.mu.Unlock()
	if token == "" {
		return refuse(http.StatusBadRequest, codeInvalidRequest, "no_session", "send initialize first")
	}
	r := &http.Request{Header: http.Header{"Mcp-Session-Id": {token}}}
	return x.openSession(r.WithContext(ctx))
}

// held is an outbox that holds the response back.
type held struct{ response []byte }

func (h *held) send([]byte) error      { return errNoStream }
func (h *held) finish(response []byte) { h.response = response }

// headOnly is a ResponseWriter of which the header alone is of interest.
type headOnly http.Header

func (h headOnly) Header() http.Header         { return http.Header(h) }
func (h headOnly) Write(p []byte) (int, error) { return len(p), nil }
func (h headOnly) WriteHeader(int)             {}
