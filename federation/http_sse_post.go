package federation

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// posting is one POST on its way, beside the wait for its answer: that comes on
// the stream, and may be there first.
type posting struct {
	x      exchange
	ctx    context.Context
	stop   context.CancelCauseFunc
	detach func() bool
	done   chan struct{}
	f      *Failure // valid once done is closed; nil = taken
}

// sent ends the POST and says whether the upstream may have the message.
func (p *posting) sent() bool {
	p.stop(nil)
	<-p.done
	return p.x.sent(p.ctx)
}

// leave gives a POST whose message is answered a little time to end well, so
// that its connection can be used again.
func (p *posting) leave() {
	p.detach()
	time.AfterFunc(lingerTime, func() { p.stop(nil) })
}

func (s *sseHTTP) launch(ctx context.Context, body []byte) *posting {
	p := &posting{done: make(chan struct{})}
	p.ctx, p.stop = context.WithCancelCause(s.life)
	p.detach = context.AfterFunc(ctx, func() { p.stop(context.Cause(ctx)) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		p.f = fail(s.name, ErrUnavailable, "%s", s.detail)
		close(p.done)
		return p
	}
	s.work.Go(func() {
		defer close(p.done)
		p.f = s.deliver(p.ctx, &p.x, body)
	})
	return p
}

// deliver is one POST. What the upstream says besides the status is not looked
// at: its messages come on the stream.
func (s *sseHTTP) deliver(ctx context.Context, x *exchange, body []byte) *Failure {
	h := postHeader()
	if p := s.peer(); p != nil && p.Version >= wire.Version20250618 { // older revisions don't have it
		h["Mcp-Protocol-Version"] = []string{p.Version}
	}
	resp, err := s.sendTo(ctx, x, http.MethodPost, s.post, h, body)
	if err != nil {
		return lost(ctx, s.name, x.sent(ctx), err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone:
		// What SDKs' servers answer to a session that they no longer know. It
		// was not executed; a new connection may take it.
		s.abandon()
	}
	if resp.StatusCode >= 300 {
		return s.refused(resp)
	}
	discard(resp.Body)
	return nil
}

// tell queues a message that has no answer of interest. An upstream that does
// not take what it is sent loses it: neither the reader nor a caller waits.
func (s *sseHTTP) tell(body []byte) {
	select {
	case s.out <- body:
	default:
		s.d.Logger.Debug("upstream does not take its messages; one was dropped", slog.String("upstream", s.name))
	}
}

// write posts what is queued, in order.
func (s *sseHTTP) write() {
	for {
		select {
		case body := <-s.out:
			ctx, cancel := context.WithTimeout(s.life, farewellLimit)
			var x exchange
			if f := s.deliver(ctx, &x, body); f != nil {
				s.d.Logger.Debug("could not answer upstream", slog.String("upstream", s.name), slog.Any("error", f))
			}
			cancel()
		case <-s.over:
			return
		}
	}
}
