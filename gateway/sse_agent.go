package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	sseSession = "session"     // member of the query of the URL that an agent POSTs to
	ssePurpose = "sse-session" // of Sealer
)

// sseAgent is an agent of MCP 2024-11-05 over HTTP+SSE: one GET stream, which
// takes all that it is told, and a URL to POST to. It lives as long as its
// stream, and what it asked for ends with it: nothing could be delivered any
// more.
type sseAgent struct {
	g      *Gateway
	id     string
	stream *stream
	ctx    context.Context // ends with the stream
	opened chan struct{}   // closed when initialize was answered

	mu      sync.Mutex
	greeted bool // an initialize was taken
	ended   bool // takes no more messages
	session *session
	token   string         // of session
	work    sync.WaitGroup // messages being served
}

// sseAgents are those connected, by id.
type sseAgents struct {
	mu sync.Mutex
	m  map[string]*sseAgent
}

// asksForSSE reports whether a GET wants a stream of MCP 2024-11-05: no session
// is named, and the event stream is asked for in so many words.
func (g *Gateway) asksForSSE(r *http.Request) bool {
	era, _, err := wire.EraOf(r.Header, nil)
	return g.LegacySSE && r.Header.Get("Mcp-Session-Id") == "" && err == nil && era == wire.Legacy &&
		strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept"), ",")), "text/event-stream")
}

// serveSSE is the stream of one agent, whose first event names the URL for its
// POSTs (MCP 2024-11-05, Transports, HTTP with SSE). The token in that URL is
// sealed to the principal: on each POST the bearer counts, as everywhere.
func (g *Gateway) serveSSE(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint string) {
	x := g.newExchange(r, p, endpoint, nil)
	if !x.endpointExists() {
		x.answerHTTP(w, refuse(http.StatusNotFound, codeMethodNotFound, "unknown_endpoint", "no such endpoint"))
		return
	}
	if !g.hub.enter(p.Key()) {
		f := refuse(http.StatusTooManyRequests, CodeBusy, "streams", "too many streams of yours are open (limits.streams)")
		f.retry = time.Second
		x.answerHTTP(w, f)
		return
	}
	defer g.hub.leave(p.Key())
	g.running.Add(1)
	defer g.running.Done()
	ctx, cancel := context.WithCancel(r.Context())
	a := &sseAgent{g: g, id: rand.Text(), stream: &stream{kind: "message"}, ctx: ctx, opened: make(chan struct{})}
	defer a.stream.end()
	defer a.end(cancel)
	g.agents.add(a)
	token := g.Sealer.Seal(ssePurpose, []byte(a.id), sessionBound(p, endpoint))
	k := openSink(w, r)
	a.stream.attach(k, false)
	if a.stream.raw(k, "event: endpoint\ndata: "+endpointPath(endpoint)+"?"+sseSession+"="+token+"\n\n") == nil {
		a.serve(k, cancel)
	}
}

// serve sends what belongs to no request until the agent hangs up, its session
// ends or the gateway closes; then requests in flight may finish.
func (a *sseAgent) serve(k *sink, hangUp context.CancelFunc) {
	beat := time.NewTicker(a.g.Limits.KeepAlive)
	defer beat.Stop()
	for waiting := true; waiting; {
		select {
		case <-a.opened:
			waiting = false
		case <-beat.C:
			_ = a.stream.raw(k, keepAliveComment) // an agent that is gone closes k.done
		case <-a.ctx.Done():
			return
		case <-k.done:
			return
		case <-a.g.hub.closing:
			return
		}
	}
	s := a.session
	l := s.listens()
	if l == nil || !s.addGET(a.stream) {
		return
	}
	defer s.removeGET(a.stream)
	go func() {
		select {
		case <-s.done:
			hangUp()
		case <-a.ctx.Done():
		}
	}()
	err := a.g.hub.serve(a.ctx, l, outlet{
		beat:      func() error { return a.stream.raw(k, keepAliveComment) },
		keepAlive: a.g.Limits.KeepAlive,
		ended:     k.done,
		send:      a.send,
		part:      a.stream.part,
		changed:   func(method string) error { return a.send(wire.AppendNotification(nil, method, nil)) },
	})
	if errors.Is(err, errClosing) {
		a.close()
		finished := make(chan struct{})
		go func() { a.work.Wait(); close(finished) }()
		select {
		case <-finished:
		case <-a.ctx.Done():
		}
	}
}

// send and finish make the agent the outbox of its requests.
func (a *sseAgent) send(message []byte) error { return a.stream.send(message, false) }

func (a *sseAgent) finish(response []byte) {
	if len(response) > 0 {
		_ = a.send(response) // who hung up gets nothing more
	}
}

// enter counts a POST in; false when the agent takes no more. Each enter that
// succeeds needs a work.Done.
func (a *sseAgent) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.work.Add(1)
	}
	return !a.ended
}

// close lets no more messages in.
func (a *sseAgent) close() {
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
}

// end cancels what the agent asked for, waits for that, and ends its session,
// which nobody else can have: its token never left the gateway.
func (a *sseAgent) end(cancel context.CancelFunc) {
	a.g.agents.remove(a)
	a.close()
	cancel()
	a.work.Wait()
	if s := a.session; s != nil {
		a.g.sessions.drop(s.owner, s.id)
	}
}

func (h *sseAgents) add(a *sseAgent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.m == nil {
		h.m = make(map[string]*sseAgent)
	}
	h.m[a.id] = a
}

func (h *sseAgents) remove(a *sseAgent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.m, a.id)
}
