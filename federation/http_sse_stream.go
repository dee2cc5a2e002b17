package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/ostiary/ostiary/gateway/wire"
)

// exchange posts a request and waits for the answer to it. i is the call that
// it belongs to, nil for the gateway's own.
func (s *sseHTTP) exchange(ctx context.Context, w *waiter, method string, params []byte, i *inflight) (*wire.Message, *Failure) {
	w.answer = make(chan answered, 1)
	s.mu.Lock()
	s.waiting[string(w.id)] = w
	s.mu.Unlock()
	defer s.take(w.id)
	p := s.launch(ctx, wire.AppendRequest(make([]byte, 0, len(params)+64), w.id, method, params))
	defer p.leave()
	var mail chan *wire.Message
	if i != nil {
		mail = i.mail
	}
	posted := p.done
	for {
		select {
		case m := <-mail:
			i.notify(m)
		case a := <-w.answer:
			// The reader puts notifications into the mail before it hands out
			// the answer that they precede.
			for len(mail) > 0 {
				i.notify(<-mail)
			}
			return a.msg, a.f
		case <-posted:
			if posted = nil; p.f != nil && ctx.Err() == nil {
				return nil, p.f
			}
		case <-ctx.Done():
			sent := p.sent()
			f := lost(ctx, s.name, sent, ctx.Err())
			if sent && method != methodInitialize { // which MUST NOT be cancelled
				s.tell(cancelled(w.id, f.Kind))
			}
			return nil, f
		case <-s.over:
			select {
			case a := <-w.answer:
				return a.msg, a.f
			default:
			}
			sent := p.sent()
			if ctx.Err() != nil {
				return nil, lost(ctx, s.name, sent, ctx.Err())
			}
			return nil, s.loss(sent)
		}
	}
}

// take is the waiter for an id, which waits no longer.
func (s *sseHTTP) take(id []byte) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[string(id)]
	delete(s.waiting, string(id))
	return w
}

// read hands out what comes on the stream, to its end.
func (s *sseHTTP) read(events *wire.EventReader, body io.Closer) {
	defer body.Close()
	for {
		ev, err := events.Next()
		switch {
		case errors.Is(err, wire.ErrEventTooLarge):
			s.end(ErrTooLarge, fmt.Sprintf("an event over %d bytes", s.limit))
			return
		case err != nil:
			s.end(nil, "the event stream ended")
			return
		case len(ev.Data) > 0 && (ev.Name == "" || ev.Name == "message"):
			s.receive(ev.Data)
		}
	}
}

// receive takes one message. An answer that nobody waits for is late, or a lie.
func (s *sseHTTP) receive(raw []byte) {
	m, err := s.parse(raw, false)
	if err != nil {
		s.receiveFaulty(raw, err)
		return
	}
	if m.Kind == wire.Response {
		if w := s.take(m.ID); w != nil {
			w.answer <- answered{msg: m}
		}
		return
	}
	owner := s.hub.owner(m)
	switch {
	case m.Kind == wire.Request:
		s.hub.request(owner, m, s.tell)
	case m.Method == methodCancelled:
		s.hub.withdrawn(m)
	case owner == nil:
		s.hub.publish(m)
	case owner.mail != nil:
		// An agent that is slow to take its notifications loses some; the
		// session's other calls don't wait for it.
		select {
		case owner.mail <- m:
		default:
			s.d.Logger.Debug("notification dropped: its reader is slow", slog.String("upstream", s.name))
		}
	}
}

// receiveFaulty takes a message that failed the strict parse: a list with a
// malformed item, or a bad answer.
func (s *sseHTTP) receiveFaulty(raw []byte, err error) {
	p, ok := errors.AsType[*wire.ParseError](err)
	if !ok || p.ID == nil {
		s.d.Logger.Debug("upstream sent something else than a message", slog.String("upstream", s.name), slog.String("reason", parseReason(err)))
		return
	}
	w := s.take(p.ID)
	if w == nil {
		return
	}
	if w.lenient {
		if m, err := s.parse(raw, true); err == nil && m.Kind == wire.Response {
			w.answer <- answered{msg: m}
			return
		}
	}
	w.answer <- answered{f: fail(s.name, ErrBadAnswer, "%s", p.Reason)}
}

// end marks the stream as over, and why.
func (s *sseHTTP) end(reason error, detail string) {
	s.ending.Do(func() {
		s.mu.Lock()
		if len(s.waiting) > 1 {
			reason = nil // whose answer it was can't be told
		}
		s.reason, s.detail, s.closed = reason, detail, true
		s.mu.Unlock()
		close(s.over)
		s.abandon()
	})
}

// loss is the failure of a request that the end of the stream overtook.
func (s *sseHTTP) loss(sent bool) *Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !sent:
		return fail(s.name, ErrUnavailable, "%s", s.detail)
	case s.reason != nil:
		return fail(s.name, s.reason, "%s", s.detail)
	}
	return fail(s.name, ErrUnknownOutcome, "%s", s.detail)
}
