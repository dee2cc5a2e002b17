package gateway

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

// serveBatch serves a POSTed array of messages, and reports false where this
// request can have none: only MCP 2025-03-26 has batches ("implementations MUST
// support receiving JSON-RPC batches"), and only inside a session of it. Each
// request of a batch has its own decision, record and outcome, and none waits
// for another.
func (g *Gateway) serveBatch(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint string, accept accepts, body []byte) bool {
	era, _, err := wire.EraOf(r.Header, nil)
	if err != nil || era != wire.Legacy || r.Header.Get("Mcp-Session-Id") == "" {
		return false
	}
	x := g.newExchange(r, p, endpoint, nil)
	x.accept = accept
	if f := x.openSession(r); f != nil {
		x.answerHTTP(w, f)
		return true
	}
	if x.version != wire.Version20250326 {
		return false
	}
	messages, err := wire.ParseBatch(body, g.parse)
	if err != nil {
		x.refuseParse(w, err)
		return true
	}
	if f := x.mayTake(r, messages); f != nil {
		x.answerHTTP(w, f)
		return true
	}
	b := &batch{}
	for _, m := range messages {
		if m.Kind == wire.Request {
			b.left++
		}
	}
	if b.left == 0 {
		x.takeAll(r, messages, nil)
		w.WriteHeader(http.StatusAccepted)
		return true
	}
	b.reply = newReply(w, r, replyOptions{json: accept.json, sse: accept.sse, session: x.session, keepAlive: g.Limits.KeepAlive})
	defer b.reply.close()
	var work sync.WaitGroup
	// As for a request alone, a lost connection is no cancellation.
	ctx, cancel := untilEnded(context.WithoutCancel(r.Context()), p.Ended)
	defer cancel()
	x.takeAll(r, messages, func(y *exchange) {
		y.reply = newReply(nil, nil, replyOptions{json: accept.json, sse: accept.sse, to: b})
		work.Go(y.begin(ctx))
	})
	work.Wait()
	return true
}

// mayTake refuses the messages of a session that can't be served now, or are
// of a revision that has no sessions.
func (x *exchange) mayTake(r *http.Request, messages []*wire.Message) *refusal {
	if !x.endpointExists() {
		return refuse(http.StatusNotFound, codeMethodNotFound, "unknown_endpoint", "no such endpoint")
	}
	for i, m := range messages {
		if era, _, err := wire.EraOf(r.Header, m); err != nil || era != wire.Legacy {
			return refuse(http.StatusBadRequest, codeInvalidRequest, "era", fmt.Sprintf("message %d is of a protocol revision without sessions: POST it alone", i+1))
		}
	}
	return nil
}

// takeAll takes messages of x's session in their order: responses and
// notifications at once, and each request as an exchange of its own, which is
// handed to start.
func (x *exchange) takeAll(r *http.Request, messages []*wire.Message, start func(*exchange)) {
	for _, m := range messages {
		y := x.g.newExchange(r, x.p, x.endpoint, m)
		y.accept, y.session, y.version, y.caps, y.agent, y.level = x.accept, x.session, x.version, x.caps, x.agent, x.level
		switch m.Kind {
		case wire.Response:
			x.session.answer(m)
		case wire.Notification:
			y.legacyNotification()
		default:
			start(y)
		}
	}
}

// begin admits a request whose reply goes to an outbox, and returns what runs
// it: from now on the agent can cancel it.
func (x *exchange) begin(ctx context.Context) (run func()) {
	refused := func(f *refusal) func() {
		x.answer(nil, f)
		return x.reply.close
	}
	if f := x.overQuota(); f != nil {
		return refused(f)
	}
	// The POST that brought it is counted, too.
	if !x.g.quota.enter(x.p.Key(), x.g.Limits.Calls+1) {
		return refused(refuse(http.StatusTooManyRequests, CodeBusy, "calls", "too many requests of yours are in flight (limits.calls)"))
	}
	ctx, cancel := context.WithCancel(ctx)
	release, ok := x.session.register(x.m.ID, cancel)
	if !ok {
		cancel()
		x.g.quota.leave(x.p.Key())
		return refused(refuse(http.StatusBadRequest, codeInvalidRequest, "duplicate_id", "a request with this id is still in flight in this session"))
	}
	return func() {
		defer x.g.quota.leave(x.p.Key())
		defer x.reply.close()
		defer release()
		defer cancel()
		defer x.rescue() // one message must not end all others
		x.runLegacy(ctx)
	}
}

// batch is the one answer to the requests of a batch: an array of their
// responses or, where something comes before the last of them, a stream.
type batch struct {
	reply *reply // to the POST

	mu    sync.Mutex
	left  int
	ready [][]byte // responses that were not sent yet
}

func (b *batch) send(message []byte) error { return b.reply.send(message) }

func (b *batch) finish(response []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(response) > 0 {
		b.ready = append(b.ready, response)
	}
	switch b.left--; {
	case b.left == 0:
		b.reply.finishAll(b.ready)
	case b.reply.streamed():
		for _, r := range b.ready {
			_ = b.reply.send(r) // who hung up gets nothing more, or resumes
		}
		b.ready = nil
	}
}
