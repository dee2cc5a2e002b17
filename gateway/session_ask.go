package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

var (
	errCannotAsk = errors.New("the agent has no stream on which it could be asked")
	errNoAnswer  = errors.New("the agent did not answer in time")
	errAsksBusy  = errors.New("too many questions wait for this agent")
)

// asksWaiting bounds the questions that wait for one session's agent.
const asksWaiting = 64

// response is what the agent answered: a result or an error.
type response struct {
	result []byte
	err    *wire.Error
}

// ask sends a request to the agent and waits for the response that it POSTs:
// for as long as ctx lives and at most Limits.Parked. It goes on the stream
// of the call that it belongs to (SEP-2260), or on the GET stream when that
// call's agent accepts none: errCannotAsk when there is neither.
//
// The id is ours and random: an answer counts only in the session that was
// asked, once.
func (s *session) ask(ctx context.Context, rp *reply, method string, params []byte) (result []byte, rpcErr *wire.Error, err error) {
	id := `"` + rand.Text() + `"`
	answer := make(chan response, 1)
	if err := s.expect(id, answer); err != nil {
		return nil, nil, err
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.asks, id)
	}()
	send, err := s.route(rp, wire.AppendRequest(nil, []byte(id), method, params))
	if err != nil {
		return nil, nil, err
	}
	timer := time.NewTimer(s.home.g.Limits.Parked)
	defer timer.Stop()
	select {
	case r := <-answer:
		return r.result, r.err, nil
	case <-s.done:
		return nil, nil, errSessionEnded
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = errNoAnswer
	}
	// MCP 2025-11-25, Cancellation: the one who asked says that it no longer
	// waits, or the person would answer a question that nobody reads.
	cancelled := wire.AppendNotification(nil, "notifications/cancelled", []byte(`{"requestId":`+id+`}`))
	_ = send(cancelled)
	return nil, nil, err
}

// expect lets an answer to id be delivered.
func (s *session) expect(id string, answer chan response) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return errSessionEnded
	}
	if len(s.asks) >= asksWaiting {
		return errAsksBusy
	}
	if s.asks == nil {
		s.asks = make(map[string]chan response)
	}
	s.asks[id] = answer
	return nil
}

// route sends message where the agent can be asked, and returns what sends
// more to the same place.
func (s *session) route(rp *reply, message []byte) (send func([]byte) error, err error) {
	if rp != nil {
		if err := rp.send(message); !errors.Is(err, errNoStream) {
			return rp.send, err
		}
	}
	st := s.newest()
	if st == nil {
		return nil, errCannotAsk
	}
	send = func(b []byte) error { return st.send(b, false) }
	return send, send(message)
}

// newest is the newest GET stream that an agent reads; nil when there is none.
func (s *session) newest() *stream {
	s.mu.Lock()
	gets := slices.Clone(s.gets)
	s.mu.Unlock() // a stream may be busy with a slow agent
	for _, st := range slices.Backward(gets) {
		if st.open() {
			return st
		}
	}
	return nil
}

// answer takes a response that the agent POSTed. It reports whether somebody
// waits for it in this session.
func (s *session) answer(m *wire.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting, ok := s.asks[string(m.ID)]
	if !ok {
		return false
	}
	delete(s.asks, string(m.ID))
	// m ends with its request; what waits goes on.
	r := response{result: bytes.Clone(m.Result)}
	if m.Error != nil {
		r.err = &wire.Error{
			Code: m.Error.Code, Message: m.Error.Message,
			Data: bytes.Clone(m.Error.Data), Raw: bytes.Clone(m.Error.Raw),
		}
	}
	waiting <- r
	return true
}
