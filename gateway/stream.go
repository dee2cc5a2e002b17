package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

var (
	errGone        = errors.New("the agent is not connected")
	errStreamEnded = errors.New("the stream has ended")
)

// An agent that reads slower than this loses its connection, not the gateway
// its memory.
const (
	writeTimeout = 30 * time.Second
	writeRate    = 64 << 10 // bytes a second, beyond that time
)

func writeDeadline(n int) time.Time {
	return time.Now().Add(writeTimeout + time.Duration(n/writeRate)*time.Second)
}

// sink is one open HTTP response that events are written to. It is guarded by
// the mutex of the stream that it serves.
type sink struct {
	ctx  context.Context // of the HTTP request: done when the agent hung up
	w    http.ResponseWriter
	rc   *http.ResponseController
	done chan struct{} // closed when the stream ended, or goes on elsewhere

	parting bool // may still say farewell to a principal that no longer stands
}

// openSink answers r with an event stream.
func openSink(w http.ResponseWriter, r *http.Request) *sink {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // MCP 2026-07-28, Streamable HTTP: SHOULD, or nginx holds events back
	w.WriteHeader(http.StatusOK)
	return &sink{ctx: r.Context(), w: w, rc: http.NewResponseController(w), done: make(chan struct{})}
}

// write sends b and flushes it.
func (k *sink) write(b []byte) error {
	if k.ctx.Err() != nil && !(k.parting && errors.Is(context.Cause(k.ctx), errEnded)) {
		return errGone
	}
	// Not every ResponseWriter has deadlines; without one, a slow agent is
	// bounded by the server's own timeouts.
	_ = k.rc.SetWriteDeadline(writeDeadline(len(b)))
	_, err := k.w.Write(b)
	if err == nil {
		err = k.rc.Flush()
	}
	// On HTTP/2 a deadline that passes resets even a quiet stream.
	_ = k.rc.SetWriteDeadline(time.Time{})
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return errGone
	}
	return nil
}

// stream is a sequence of events to one agent: on the response of a POST or
// of a GET. In the legacy era it belongs to a session, its events carry ids
// and are kept for a while, and it can go on over another connection. Safe
// for concurrent use; the order of events is the order of send.
type stream struct {
	name string  // unique in its session; "" in the modern era
	kind string  // of its events, for agents that don't know the default; "" = not said
	box  *replay // where events are kept; nil in the modern era
	get  bool    // a GET stream, which ends with its session only

	mu    sync.Mutex
	sink  *sink // nil while the agent is away
	last  uint64
	ended bool

	// Guarded by box.mu.
	lost uint64    // events up to here can't be replayed any more
	kept int       // events in the box
	away time.Time // since when nobody reads it, or when it ended; zero while it is open
}

// attach lets events go to k. prime first sends an event with an id and no
// data, from which the agent can resume (MCP 2025-11-25, Streamable HTTP;
// clients of earlier revisions fail on empty data).
func (st *stream) attach(k *sink, prime bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.sink = k
	var head []byte
	if prime {
		head = wire.AppendPriming(head, st.name+"-0", 0)
	}
	st.check(k.write(head)) // flushes the headers, too
}

// send writes one complete JSON-RPC message. final ends the stream. In the
// legacy era an agent that is away is no error: the message is kept.
func (st *stream) send(message []byte, final bool) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ended {
		return errStreamEnded
	}
	st.last++
	var id string
	if st.box != nil {
		id = st.name + "-" + strconv.FormatUint(st.last, 10)
	}
	frame := make([]byte, 0, len(message)+len(id)+32)
	if st.kind != "" {
		frame = append(append(append(frame, "event: "...), st.kind...), '\n')
	}
	frame = wire.AppendEvent(frame, id, message)
	if st.box != nil {
		st.box.keep(st, st.last, frame)
	}
	err := errGone
	if st.sink != nil {
		err = st.sink.write(frame)
		st.check(err)
	}
	if final {
		st.finish()
	}
	if st.box != nil {
		return nil
	}
	return err
}

// part lets the stream say that lists changed to a principal that no longer
// stands, before it ends.
func (st *stream) part() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.sink != nil {
		st.sink.parting = true
	}
}

// end closes the stream without a further event.
func (st *stream) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.finish()
}

// finish needs mu.
func (st *stream) finish() {
	if st.ended {
		return
	}
	st.ended = true
	st.release()
	if st.box != nil {
		st.box.leave(st, true)
	}
}

// check drops a sink whose agent is gone. It needs mu.
func (st *stream) check(err error) {
	if err != nil && st.sink != nil {
		st.release()
		if st.box != nil {
			st.box.leave(st, false)
		}
	}
}

// release needs mu.
func (st *stream) release() {
	if st.sink != nil {
		close(st.sink.done)
		st.sink = nil
	}
}

// raw writes b, a comment or a field outside any event, if the stream still
// goes to k.
func (st *stream) raw(k *sink, b string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.sink != k {
		return errGone
	}
	err := k.write([]byte(b))
	st.check(err)
	return err
}

// detach says that k's connection ends.
func (st *stream) detach(k *sink) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.sink == k {
		st.check(errGone)
	}
}

// open reports whether an agent reads the stream now.
func (st *stream) open() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.sink != nil && st.sink.ctx.Err() == nil
}

// resume sends what followed event n, then lets the stream go on to a new
// sink made by open, in place of any other. It fails before open is called
// when something that followed is no longer kept.
func (st *stream) resume(n uint64, open func() *sink) (*sink, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	frames, ok := st.box.since(st, n)
	if !ok || n > st.last {
		return nil, errStreamEnded
	}
	st.release() // each message goes to exactly one connection
	k := open()
	st.sink = k
	st.box.join(st)
	err := k.write(nil) // the headers, also when nothing was missed
	for _, f := range frames {
		if err == nil {
			err = k.write(f)
		}
	}
	st.check(err)
	if st.ended {
		st.release()
		st.box.leave(st, true)
	}
	return k, nil
}
