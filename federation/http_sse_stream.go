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
	s.expect(w)
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
			if m := s.sort(ev.Data); m != nil {
				s.notice(m)
			}
		}
	}
}

// stray takes what the upstream sent that is no message.
func (s *sseHTTP) stray(_ []byte, err error) {
	s.d.Logger.Debug("upstream sent something else than a message", slog.String("upstream", s.name), slog.String("reason", parseReason(err)))
}

// end marks the stream as over, and why.
func (s *sseHTTP) end(reason error, detail string) {
	s.demux.end(reason, detail)
	s.abandon()
}
