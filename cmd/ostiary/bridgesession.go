package main

import (
	"context"
	"net/http"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// bridgePause is how long to wait before a session's stream is opened again.
const bridgePause = time.Second

// bridgeSession is the legacy session of the agent on stdin.
type bridgeSession struct {
	id      string // "" = the endpoint keeps none
	version string // as negotiated
	ctx     context.Context
	end     context.CancelFunc // ends its GET stream
}

// sign adds what names the session. A nil session has nothing to say.
func (s *bridgeSession) sign(h http.Header) {
	if s == nil {
		return
	}
	if s.id != "" {
		h.Set("Mcp-Session-Id", s.id)
	}
	if s.version >= wire.Version20250618 { // older revisions don't have it
		h.Set("Mcp-Protocol-Version", s.version)
	}
}

// open makes the session that an answer to initialize stands for, in place of
// an earlier one, and follows its stream. An answer that is an error opens
// none.
func (b *bridge) open(id string, answer []byte) {
	m, err := wire.ParseAnswer(answer, wire.Limits{Bytes: maxAnswer}, true)
	if err != nil || m.Error != nil {
		return
	}
	s := &bridgeSession{id: id}
	if result, err := wire.Fields(m.Result); err == nil {
		s.version, _ = result.String("protocolVersion")
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	b.mu.Lock()
	old := b.session
	b.session = s
	b.mu.Unlock()
	b.work.Go(func() { b.follow(s) })
	if old != nil {
		old.end()
		b.delete(old)
	}
}

// follow keeps the session's GET stream open and writes what comes on it.
func (b *bridge) follow(s *bridgeSession) {
	last, pause := "", bridgePause
	for s.ctx.Err() == nil {
		h := http.Header{"Accept": {"text/event-stream"}}
		s.sign(h)
		if last != "" {
			h.Set("Last-Event-ID", last)
		}
		resp, err := b.send(s.ctx, http.MethodGet, h, nil)
		if err == nil {
			switch {
			case resp.StatusCode == http.StatusOK:
				last, pause = b.stream(resp, last, pause)
			case resp.StatusCode == http.StatusNotFound && last != "":
				last = "" // what was missed is no longer kept; the session may be well
			case resp.StatusCode >= 400 && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
				// No such stream, or no such session, which the agent learns
				// with its next request.
				resp.Body.Close()
				return
			}
			resp.Body.Close()
		}
		select {
		case <-s.ctx.Done():
		case <-time.After(pause):
		}
	}
}

// stream writes one stretch of the stream, and gives the id of its last event
// and the pause that it asked for.
func (b *bridge) stream(resp *http.Response, last string, pause time.Duration) (string, time.Duration) {
	events := wire.NewEventReader(resp.Body, maxAnswer)
	for {
		e, err := events.Next()
		if err != nil {
			return last, pause
		}
		if e.ID != "" {
			last = e.ID
		}
		if e.Retry > 0 {
			pause = min(time.Duration(e.Retry)*time.Millisecond, time.Minute)
		}
		if len(e.Data) > 0 {
			b.write(e.Data)
		}
	}
}

// delete ends the session at the gateway, with all that it has in flight.
func (b *bridge) delete(s *bridgeSession) {
	if s.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), bridgeBye)
	defer cancel()
	h := make(http.Header)
	s.sign(h)
	resp, err := b.send(ctx, http.MethodDelete, h, nil)
	if err != nil {
		b.log.Debug("the session was not ended; it expires", "error", err)
		return
	}
	resp.Body.Close()
}
