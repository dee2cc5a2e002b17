package federation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	// streamFactor bounds one call's event stream as a whole, notifications
	// included, in multiples of the limit of one answer.
	streamFactor = 4
	// lingerTime is how long the end of an answered stream is waited for, off
	// the caller's path, so that its connection can be used again.
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 16 << 10
)

// Header values that never change; shared, never written to.
var (
	acceptBoth   = []string{"application/json, text/event-stream"}
	acceptEvents = []string{"text/event-stream"}
	contentJSON  = []string{"application/json"}
)

// postHeader is the header that every POST begins with.
func postHeader() http.Header {
	h := make(http.Header, 12)
	h["Accept"] = acceptBoth
	h["Content-Type"] = contentJSON
	return h
}

// reply is what came back for one POST.
type reply struct {
	msg    *wire.Message // the response to our request
	status int           // of HTTP; 0 when there was none
	header http.Header
	tail   io.ReadCloser // an answered event stream that has not ended yet
}

// resumer reopens a broken event stream after the event with this id; wait is
// what the stream asked for. nil, nil means that it can't be.
type resumer func(ctx context.Context, lastID string, wait time.Duration) (io.ReadCloser, error)

// query is one request and what to do with what comes back besides its
// response.
type query struct {
	id      []byte
	lenient bool                // faults inside the result pass (wire.ParseAnswer)
	on      func(*wire.Message) // every other message of the stream, in order, on the asking goroutine
	resume  resumer             // nil = a broken stream stays broken
	endless bool                // the stream is not bounded as a whole
	x       exchange
}

// ask sends the request in body and waits for its response. The body of an
// answer that is not ours to understand is never read into an error.
func (e *endpoint) ask(ctx context.Context, q *query, h http.Header, body []byte) (reply, *Failure) {
	resp, err := e.send(ctx, &q.x, http.MethodPost, h, body)
	if err != nil {
		return reply{}, lost(ctx, e.name, q.x.sent(ctx), err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header}
	kind := mediaType(resp.Header)
	switch {
	case resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity":
		resp.Body.Close()
		return r, fail(e.name, ErrBadAnswer, "HTTP %d with a content encoding that was not asked for", r.status)
	case kind == "text/event-stream" && r.status < 300:
		var f *Failure
		r.msg, r.tail, f = e.follow(ctx, resp.Body, q)
		return r, f
	case kind == "application/json" && answers(r.status):
		defer resp.Body.Close()
		raw, err := e.readAll(resp)
		if errors.Is(err, ErrTooLarge) {
			return r, fail(e.name, ErrTooLarge, "over %d bytes", e.limit)
		}
		if err != nil {
			return r, lost(ctx, e.name, true, err)
		}
		var f *Failure
		if r.msg, f = e.response(raw, q, r.status >= 400); f != nil && r.status >= 300 {
			f = e.refused(resp)
		}
		return r, f
	}
	resp.Body.Close()
	return r, e.refused(resp)
}

// answers says whether a status may carry a JSON-RPC answer. 401 and 403
// speak of the gateway's own credential and are never the agent's business.
func answers(status int) bool {
	return status >= 200 && status < 300 || status >= 400 && status != http.StatusUnauthorized &&
		status != http.StatusForbidden && status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable
}

func mediaType(h http.Header) string {
	t, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// readAll reads a body up to the endpoint's limit.
func (e *endpoint) readAll(resp *http.Response) ([]byte, error) {
	if resp.ContentLength > int64(e.limit) {
		return nil, ErrTooLarge
	}
	size := 4 << 10
	if n := int(resp.ContentLength); n >= 0 {
		size = min(n, 1<<20) // what is announced is not believed beyond this
	}
	buf := make([]byte, 0, size+1)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := resp.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > e.limit:
			return nil, ErrTooLarge
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		}
	}
}

func (e *endpoint) parse(raw []byte, lenient bool) (*wire.Message, error) {
	return wire.ParseAnswer(raw, wire.Limits{Bytes: e.limit}, lenient)
}

// response parses raw as the response to q. An error
// response may come without an id where HTTP itself already said that it is
// one (MCP 2026-07-28, Streamable HTTP).
func (e *endpoint) response(raw []byte, q *query, failed bool) (*wire.Message, *Failure) {
	m, err := e.parse(raw, q.lenient)
	if err != nil {
		return nil, fail(e.name, ErrBadAnswer, "%s", parseReason(err))
	}
	if m.Kind != wire.Response {
		return nil, fail(e.name, ErrBadAnswer, "not a response")
	}
	if bytes.Equal(m.ID, q.id) || failed && m.Error != nil && anonymous(m) {
		return m, nil
	}
	return nil, fail(e.name, ErrBadAnswer, "a response to another request")
}

func anonymous(m *wire.Message) bool { return m.ID == nil || string(m.ID) == "null" }

// parseReason is why a message was refused, in words that hold nothing of it.
func parseReason(err error) string {
	if p, ok := errors.AsType[*wire.ParseError](err); ok {
		return p.Reason
	}
	return "not a JSON-RPC message"
}

// isList says whether a method's answer is a list of items, where one
// malformed item must not cost the others.
func isList(method string) bool { return strings.HasSuffix(method, "/list") }

// follow reads an event stream until the response to q.
func (e *endpoint) follow(ctx context.Context, body io.ReadCloser, q *query) (*wire.Message, io.ReadCloser, *Failure) {
	budget := int64(e.limit) * streamFactor
	if q.endless {
		budget = math.MaxInt64
	}
	var lastID string
	var wait time.Duration
	for {
		in := &metered{r: body, left: &budget}
		events := wire.NewEventReader(in, e.limit)
		m, f, err := e.events(events, q, &lastID, &wait)
		if f == nil && err == nil {
			return m, body, nil
		}
		body.Close()
		if f != nil {
			return nil, nil, f
		}
		if ctx.Err() != nil || q.resume == nil || lastID == "" {
			return nil, nil, lost(ctx, e.name, true, errors.New("the stream ended before the answer"))
		}
		if body, err = q.resume(ctx, lastID, wait); err != nil || body == nil {
			return nil, nil, lost(ctx, e.name, true, errors.New("the stream ended before the answer and could not be resumed"))
		}
	}
}

// events hands the messages of one stretch of stream to on until the response
// to q. err is the end of the stream.
func (e *endpoint) events(r *wire.EventReader, q *query, lastID *string, wait *time.Duration) (*wire.Message, *Failure, error) {
	for {
		ev, err := r.Next()
		if errors.Is(err, wire.ErrEventTooLarge) || errors.Is(err, ErrTooLarge) {
			return nil, fail(e.name, ErrTooLarge, "an event over %d bytes, or a stream over %d times that", e.limit, streamFactor), nil
		}
		if err != nil {
			return nil, nil, err
		}
		if ev.ID != "" {
			*lastID = ev.ID
		}
		if ev.Retry > 0 {
			*wait = time.Duration(ev.Retry) * time.Millisecond
		}
		if len(ev.Data) == 0 || ev.Name != "" && ev.Name != "message" {
			continue
		}
		m, err := e.parse(ev.Data, q.lenient)
		switch {
		case err != nil:
			return nil, fail(e.name, ErrBadAnswer, "%s", parseReason(err)), nil
		case m.Kind != wire.Response:
			q.on(m)
		case bytes.Equal(m.ID, q.id):
			return m, nil, nil
		default:
			return nil, fail(e.name, ErrBadAnswer, "a response to another request"), nil
		}
	}
}

// metered stops a stream that is over its budget.
type metered struct {
	r    io.Reader
	left *int64
}

func (m *metered) Read(p []byte) (int, error) {
	if *m.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := m.r.Read(p[:min(int64(len(p)), *m.left)])
	*m.left -= int64(n)
	return n, err
}

// settle ends a call that has its answer. The rest of an event stream is read
// away in the background: an upstream that ends it soon, as it should, gets
// its connection used again.
func (e *endpoint) settle(tail io.ReadCloser, d *deadline) {
	if tail == nil {
		d.stop()
		return
	}
	d.linger(lingerTime)
	read := e.bg.start(func() {
		defer d.stop()
		defer tail.Close()
		io.CopyN(io.Discard, tail, lingerBytes)
	})
	if !read { // closing: nobody will use the connection again
		tail.Close()
		d.stop()
	}
}

// background is work that a close waits for: none is started after it began
// to. The zero value is ready.
type background struct {
	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
}

// start runs f in a goroutine; false when the end has begun.
func (b *background) start(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.work.Go(f)
	return true
}

// end waits for what was started.
func (b *background) end() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.work.Wait()
}
