package gateway

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// errNoStream: the agent accepts no event stream, so nothing but the result
// can reach it on this request.
var errNoStream = errors.New("the agent does not accept text/event-stream")

const keepAliveComment = ": keep-alive\n\n"

// replyOptions say how the answer to one POST may look.
type replyOptions struct {
	json, sse bool          // what the agent accepts
	session   *session      // legacy: streams are the session's, and resumable; nil in the modern era
	keepAlive time.Duration // until a quiet call turns into a stream, and between comments; 0 = never
	to        outbox        // nil = the HTTP answer is this reply's own
}

// outbox takes what a reply has to say that has no HTTP answer to itself: one
// of a batch, or one to an agent over HTTP+SSE.
type outbox interface {
	send(message []byte) error // before the response; errors as those of reply.send
	finish(response []byte)    // called once; empty = there is none
}

// reply is where the answer to one POSTed request goes: one JSON document
// when nothing precedes the result, else an event stream that the result
// ends. Safe for concurrent use; every reply needs finish or close before its
// handler returns.
type reply struct {
	w    http.ResponseWriter
	r    *http.Request
	opts replyOptions

	mu     sync.Mutex
	timer  *time.Timer
	stream *stream // nil while nothing was sent
	sink   *sink
	done   bool
}

// newReply answers r, the request as net/http gave it: its context says
// whether the agent is still there.
func newReply(w http.ResponseWriter, r *http.Request, opts replyOptions) *reply {
	rp := &reply{w: w, r: r, opts: opts}
	if opts.sse && opts.keepAlive > 0 {
		rp.mu.Lock()
		rp.timer = time.AfterFunc(opts.keepAlive, rp.beat)
		rp.mu.Unlock()
	}
	return rp
}

// beat keeps a quiet connection alive: proxies cut those that say nothing.
func (rp *reply) beat() {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if rp.done || rp.r.Context().Err() != nil { // answered, or nobody is there to be kept
		return
	}
	rp.open()
	if rp.stream.raw(rp.sink, keepAliveComment) == nil {
		rp.timer.Reset(rp.opts.keepAlive)
	}
}

// open turns the reply into an event stream. It needs mu.
func (rp *reply) open() {
	if rp.stream != nil {
		return
	}
	rp.sink = openSink(rp.w, rp.r)
	if s := rp.opts.session; s != nil {
		rp.stream = s.replay.open(false)
		rp.stream.attach(rp.sink, s.primes())
		return
	}
	rp.stream = &stream{}
	rp.stream.attach(rp.sink, false)
}

// notify sends a notification that belongs to the request, before its result.
// It is dropped when the agent accepts no stream, or the result was sent.
func (rp *reply) notify(method string, params []byte) {
	if rp.opts.sse {
		_ = rp.send(wire.AppendNotification(make([]byte, 0, len(method)+len(params)+64), method, params))
	}
}

// send sends one complete JSON-RPC message before the result: errNoStream
// when the agent accepts no stream, errStreamEnded after the result, errGone
// when a modern agent hung up. A legacy one gets it when it resumes.
func (rp *reply) send(message []byte) error {
	if !rp.opts.sse {
		return errNoStream
	}
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if rp.done {
		return errStreamEnded
	}
	if rp.opts.to != nil {
		return rp.opts.to.send(message)
	}
	rp.open()
	return rp.stream.send(message, false)
}

// part is that of the stream, if the reply is one.
func (rp *reply) part() {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if rp.stream != nil {
		rp.stream.part()
	}
}

// streamed reports whether the reply is an event stream already, so that
// status and headers of finish can't be sent any more.
func (rp *reply) streamed() bool {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	return rp.stream != nil
}

// jsonType is shared by all answers; net/http only reads it.
var jsonType = []string{"application/json"}

// finish sends the response: with status and header as application/json when
// nothing was sent before, else as the stream's last event. A nil message is
// an empty body. Only the first finish counts.
func (rp *reply) finish(status int, message []byte, header http.Header) {
	if message == nil {
		rp.finishParts(status, header)
		return
	}
	rp.finishParts(status, header, message)
}

// finishParts is finish for a message in pieces: a large prepared list is
// written from where it lies.
func (rp *reply) finishParts(status int, header http.Header, parts ...[]byte) {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if rp.done {
		return
	}
	rp.stop()
	if rp.opts.to != nil {
		rp.opts.to.finish(bytes.Join(parts, nil))
		return
	}
	// Errors are JSON for everybody: HTTP clients read their status first.
	if rp.stream == nil && status == http.StatusOK && !rp.opts.json && rp.opts.sse && len(parts) > 0 {
		maps.Copy(rp.w.Header(), header)
		rp.open()
	}
	if rp.stream != nil {
		if len(parts) == 0 {
			rp.stream.end()
		} else {
			_ = rp.stream.send(bytes.Join(parts, nil), true) // who hung up gets nothing more, or resumes
		}
		return
	}
	rp.document(status, header, parts...)
}

// finishAll is finish for the responses of a batch: one array, or the last
// events of the stream.
func (rp *reply) finishAll(responses [][]byte) {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if rp.done || len(responses) == 0 {
		return // close does the rest
	}
	rp.stop()
	if rp.stream == nil && rp.opts.json {
		rp.document(http.StatusOK, noStore, []byte{'['}, bytes.Join(responses, []byte{','}), []byte{']'})
		return
	}
	rp.open()
	for _, r := range responses {
		_ = rp.stream.send(r, false) // who hung up gets nothing more, or resumes
	}
	rp.stream.end()
}

// document answers with one JSON document in pieces. It needs mu.
func (rp *reply) document(status int, header http.Header, parts ...[]byte) {
	h := rp.w.Header()
	maps.Copy(h, header)
	if len(parts) == 0 {
		rp.w.WriteHeader(status)
		return
	}
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(size)}
	rp.w.WriteHeader(status)
	if size > writeRate { // a small one fits into the socket's buffer
		_ = http.NewResponseController(rp.w).SetWriteDeadline(writeDeadline(size))
	}
	for _, p := range parts {
		if _, err := rp.w.Write(p); err != nil {
			return // the agent is gone
		}
	}
}

// close ends the reply without a response, as after a cancellation, of which
// MCP 2026-07-28 says that nothing more is sent. Where nothing was sent at all,
// that is a stream without events: clients read the Content-Type of an answer
// first. After finish it does nothing.
func (rp *reply) close() {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	if rp.done {
		return
	}
	rp.stop()
	switch {
	case rp.opts.to != nil:
		rp.opts.to.finish(nil)
	case rp.stream != nil:
		rp.stream.end()
	case rp.opts.sse:
		openSink(rp.w, rp.r) // without a priming event: there is nothing to come back for
	}
}

// stop needs mu.
func (rp *reply) stop() {
	rp.done = true
	if rp.timer != nil {
		rp.timer.Stop()
	}
}
