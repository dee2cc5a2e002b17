package federation

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// Limits of a legacy session.
const (
	maxSessionID  = 1024 // bytes; ours, the specification names none
	farewellLimit = 5 * time.Second
)

// legacyHTTP is an upstream of the legacy era over Streamable HTTP: a session,
// its calls, each one POST, and the GET stream for what belongs to no call.
type legacyHTTP struct {
	*endpoint
	d    dialConfig
	meta metaWriter
	self *peer
	ids  atomic.Uint64
	hub  *hub

	life context.Context // ends with the connection
	end  context.CancelFunc
	work sync.WaitGroup // what runs beside the calls

	renewing chan struct{} // one at a time
	mu       sync.Mutex
	session  *session
	stream   *eventStream // nil until somebody needs it
	closing  sync.Once
	gone     chan struct{}
}

// session is one session of the upstream; a renewed one is another.
type session struct {
	id string // "" = the upstream keeps none

	log *leveler
}

func (l *legacyHTTP) peer() *peer           { return l.self }
func (l *legacyHTTP) done() <-chan struct{} { return l.gone }

func (l *legacyHTTP) current() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

// header are the headers of every request within s.
func (l *legacyHTTP) header(h http.Header, s *session) http.Header {
	if l.self.Version >= wire.Version20250618 { // older revisions don't have it
		h["Mcp-Protocol-Version"] = []string{l.self.Version}
	}
	if s.id != "" {
		h["Mcp-Session-Id"] = []string{s.id}
	}
	return h
}

// do is one POST. A session that the upstream no longer knows is renewed and
// the call made again, once: 404 says that it was not executed (MCP
// 2025-11-25, Streamable HTTP, Session Management).
func (l *legacyHTTP) do(ctx context.Context, c *Call) (*Answer, error) {
	ctx, clock := withDeadline(ctx, l.d.timeout(c))
	var tail reply
	defer func() { l.settle(tail.tail, clock) }()
	for again := false; ; again = true {
		s := l.current()
		if c.Agent.LogLevel != "" && l.self.has("logging", "") {
			s.log.raise(ctx, c.Agent.LogLevel, func(params []byte) *Failure {
				_, f := l.request(ctx, s, methodSetLevel, params)
				return f
			})
		}
		i := newInflight(ctx, c, clock, number(l.ids.Add(1)))
		var f *Failure
		tail, f = l.attempt(ctx, s, i)
		switch {
		case f == nil:
			return &Answer{Result: tail.msg.Result, Error: tail.msg.Error, Era: wire.Legacy}, nil
		case !errors.Is(f, errSessionGone):
			return nil, f
		case again:
			l.abandon()
			f := fail(l.name, ErrUnavailable, "it refused a session that it had just opened")
			f.final = true
			return nil, f
		}
		if f := l.renew(ctx, s); f != nil {
			return nil, f
		}
	}
}

// errSessionGone marks, inside this file's methods, a request that was not
// executed because the session is unknown.
var errSessionGone = errors.New("session unknown to the upstream")

// attempt makes the call in s.
func (l *legacyHTTP) attempt(ctx context.Context, s *session, i *inflight) (reply, *Failure) {
	l.hub.enter(i)
	defer i.finish()
	defer l.hub.leave(i.id)
	params := l.meta.params(i.c, i.token())
	body := wire.AppendRequest(make([]byte, 0, len(params)+64), i.id, i.c.Method, params)
	q := query{id: i.id, lenient: isList(i.c.Method), on: func(m *wire.Message) { l.handle(ctx, i, m) }, resume: l.resumer(s)}
	r, f := l.within(ctx, s, &q, body)
	if f != nil && ctx.Err() != nil && q.x.sent(ctx) {
		l.tellCancelled(s, i.id, f.Kind)
	}
	return r, f
}

// within is ask within a session.
func (l *legacyHTTP) within(ctx context.Context, s *session, q *query, body []byte) (reply, *Failure) {
	r, f := l.ask(ctx, q, l.header(postHeader(), s), body)
	if unknownSession(s, q, r) {
		return reply{}, &Failure{Upstream: l.name, Kind: errSessionGone}
	}
	return r, f
}

// unknownSession says whether an answer means that the session is gone. 404 is
// the specified way, unless it is a JSON-RPC answer to this very request; 400
// with an anonymous error that speaks of the session is what the TypeScript
// SDK's examples, and so many servers, do.
func unknownSession(s *session, q *query, r reply) bool {
	if s.id == "" {
		return false
	}
	mine := r.msg != nil && string(r.msg.ID) == string(q.id)
	switch r.status {
	case http.StatusNotFound:
		return !mine
	case http.StatusBadRequest:
		return r.msg != nil && !mine && speaksOfSession(r.msg.Error)
	}
	return false
}

// handle takes what comes on a call's own stream before its response.
func (l *legacyHTTP) handle(ctx context.Context, i *inflight, m *wire.Message) {
	switch {
	case m.Kind == wire.Request:
		l.hub.request(i, m, l.post)
	case m.Method == methodCancelled:
		l.hub.withdrawn(m)
	case m.Method == methodProgress || m.Method == methodLog || m.Method == methodElicited && i.elicited(m):
		i.notify(m)
	default:
		l.hub.publish(m) // servers without a GET stream send list_changed here
	}
}

// post sends a response or a notification; nothing comes back for it, and
// nobody can be told when it fails.
func (l *legacyHTTP) post(body []byte) {
	ctx, cancel := context.WithTimeout(l.life, farewellLimit)
	defer cancel()
	if f := l.tell(ctx, l.current(), body); f != nil {
		l.d.Logger.Debug("could not answer upstream", slog.String("upstream", l.name), slog.Any("error", f))
	}
}

// tell posts a message that has no answer.
func (l *legacyHTTP) tell(ctx context.Context, s *session, body []byte) *Failure {
	var x exchange
	resp, err := l.send(ctx, &x, http.MethodPost, l.header(postHeader(), s), body)
	if err != nil {
		return lost(ctx, l.name, x.sent(ctx), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return l.refused(resp)
	}
	discard(resp.Body)
	return nil
}

// tellCancelled tells the upstream, beside the caller's path, that a call is
// not waited for any more. Closing its stream alone does not say so (MCP
// 2025-11-25, Streamable HTTP, Sending Messages).
func (l *legacyHTTP) tellCancelled(s *session, id []byte, why error) {
	l.beside(func() {
		ctx, cancel := context.WithTimeout(l.life, farewellLimit)
		defer cancel()
		l.tell(ctx, s, cancelled(id, why))
	})
}

// beside runs f beside the calls, unless the connection is closed.
func (l *legacyHTTP) beside(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life.Err() == nil {
		l.work.Go(f)
	}
}

// request is a request of the gateway's own within a session.
func (l *legacyHTTP) request(ctx context.Context, s *session, method string, params []byte) (*wire.Message, *Failure) {
	ctx, clock := withDeadline(ctx, ownTimeout)
	id := number(l.ids.Add(1))
	q := query{id: id, on: func(m *wire.Message) { l.aside(m) }}
	r, f := l.within(ctx, s, &q, wire.AppendRequest(nil, id, method, params))
	l.settle(r.tail, clock)
	if f == nil && r.msg.Error != nil {
		f = fail(l.name, errRefused, "%s: error %d", method, r.msg.Error.Code)
	}
	return r.msg, f
}

// aside takes a message that comes outside of any call's own stream.
func (l *legacyHTTP) aside(m *wire.Message) {
	owner := l.hub.owner(m)
	switch {
	case m.Kind == wire.Request:
		l.hub.request(owner, m, l.post)
	case m.Kind != wire.Notification:
	case m.Method == methodCancelled:
		l.hub.withdrawn(m)
	case owner != nil && owner.notify(m):
	default:
		l.hub.publish(m)
	}
}

// listen follows the session's GET stream. An upstream that has none sends no
// notifications, which is no failure.
func (l *legacyHTTP) listen(ctx context.Context, filter listenFilter, ready func(), events func(string, []byte)) error {
	tap, fresh := l.hub.join(filter)
	defer func() { l.unsubscribe(l.hub.part(tap)) }()
	select {
	case <-l.openStream().settled:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.gone:
		return fail(l.name, ErrUnavailable, "the connection was closed")
	}
	if err := l.subscribe(ctx, fresh); err != nil {
		return err
	}
	ready()
	tap.run(ctx, l.gone, events)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fail(l.name, ErrUnavailable, "the connection was closed")
}

func (l *legacyHTTP) subscribe(ctx context.Context, uris []string) error {
	if !l.self.has("resources", "subscribe") {
		return nil
	}
	for _, uri := range uris {
		_, f := l.request(ctx, l.current(), methodSubscribe, uriParams(uri))
		if f != nil && f.Kind == errSessionGone {
			if f = l.renew(ctx, l.current()); f == nil { // which subscribes to all that is wanted
				return nil
			}
		}
		if f != nil && f.Kind != errRefused {
			return f
		}
	}
	return nil
}

func (l *legacyHTTP) unsubscribe(uris []string) {
	if len(uris) == 0 || !l.self.has("resources", "subscribe") {
		return
	}
	l.beside(func() {
		ctx, cancel := context.WithTimeout(l.life, farewellLimit)
		defer cancel()
		for _, uri := range uris {
			l.request(ctx, l.current(), methodUnsubscribe, uriParams(uri))
		}
	})
}

// abandon marks the connection as of no more use. Calls under way go on.
func (l *legacyHTTP) abandon() {
	l.mu.Lock()
	l.end()
	l.mu.Unlock()
	l.closing.Do(func() { close(l.gone) })
}

// close ends the session (MCP 2025-11-25, Session Management: clients SHOULD
// send DELETE) and then every connection.
func (l *legacyHTTP) close(ctx context.Context) error {
	alive := l.life.Err() == nil
	l.abandon()
	var err error
	if s := l.current(); alive && s != nil && s.id != "" {
		err = l.delete(ctx, s)
	}
	l.endpoint.close()
	l.work.Wait()
	return err
}

func (l *legacyHTTP) delete(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, farewellLimit)
	defer cancel()
	var x exchange
	resp, err := l.send(ctx, &x, http.MethodDelete, l.header(make(http.Header, 8), s), nil)
	if err != nil {
		return lost(ctx, l.name, true, err)
	}
	return resp.Body.Close() // 405: it does not let clients end sessions
}
