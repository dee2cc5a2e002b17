package federation

import (
	"errors"
	"log/slog"
	"sync"

	"github.com/ostiary/ostiary/gateway/wire"
)

// demux is a connection on which one reader gets everything that an upstream
// says, whichever call it is about: a process's stdout, the stream of HTTP+SSE.
// It knows who waits for an answer, and why nothing more comes. Its methods are
// safe for concurrent use, but for sort, which is the reader's.
type demux struct {
	upstream string // its name
	logger   *slog.Logger
	largest  int // bytes of one message
	hub      *hub
	tell     func(body []byte)           // sends what has no answer; does not block
	noise    func(raw []byte, err error) // takes what is no message

	mu      sync.Mutex
	closed  bool               // nothing more is sent
	waiting map[string]*waiter // by our request id
	reason  error              // why it is over: ErrTooLarge or unspecific
	detail  string
	ending  sync.Once
	over    chan struct{} // closed when nothing more is answered
}

func newDemux(d *dialConfig, largest int, tell func([]byte), noise func([]byte, error)) *demux {
	return &demux{
		upstream: d.Upstream.Name, logger: d.Logger, largest: largest, hub: newHub(d.Capabilities).of(d), tell: tell, noise: noise,
		waiting: make(map[string]*waiter), over: make(chan struct{}),
	}
}

// waiter is one request of ours that has no answer yet.
type waiter struct {
	id      []byte
	lenient bool
	answer  chan answered
	stream  func(*wire.Message) // of a modern listen: its notifications
}

// answered is a response, or why there is no usable one.
type answered struct {
	msg *wire.Message
	f   *Failure
}

// expect registers who waits for the answer, before it can come.
func (x *demux) expect(w *waiter) {
	w.answer = make(chan answered, 1)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waiting[string(w.id)] = w
}

// take is the waiter for an id, which waits no longer: what comes from now on is
// not its call's any more.
func (x *demux) take(id []byte) *waiter {
	x.mu.Lock()
	w := x.waiting[string(id)]
	delete(x.waiting, string(id))
	x.mu.Unlock()
	if w != nil {
		x.hub.leave(id)
	}
	return w
}

// sort hands an answer to whom it may concern; one that nobody waits for is
// late, or a lie. Every other message is the caller's to hand out; nil = it was
// an answer, or none.
func (x *demux) sort(raw []byte) *wire.Message {
	m, err := x.parse(raw, false)
	switch {
	case err != nil:
		x.faulty(raw, err)
	case m.Kind == wire.Response:
		if w := x.take(m.ID); w != nil {
			w.answer <- answered{msg: m}
		}
	default:
		return m
	}
	return nil
}

func (x *demux) parse(raw []byte, lenient bool) (*wire.Message, error) {
	return wire.ParseAnswer(raw, wire.Limits{Bytes: x.largest}, lenient)
}

// faulty takes what failed the strict parse: a list with a malformed item, a
// bad answer, or something else than a message.
func (x *demux) faulty(raw []byte, err error) {
	p, ok := errors.AsType[*wire.ParseError](err)
	if !ok || p.ID == nil {
		x.noise(raw, err)
		return
	}
	w := x.take(p.ID)
	if w == nil {
		return
	}
	if w.lenient {
		if m, err := x.parse(raw, true); err == nil && m.Kind == wire.Response {
			w.answer <- answered{msg: m}
			return
		}
	}
	w.answer <- answered{f: fail(x.upstream, ErrBadAnswer, "%s", p.Reason)}
}

// notice takes a notification or request of a legacy upstream.
func (x *demux) notice(m *wire.Message) {
	owner := x.hub.owner(m)
	switch {
	case m.Kind == wire.Request:
		x.hub.request(owner, m, x.tell)
	case m.Method == methodCancelled:
		x.hub.withdrawn(m)
	case owner != nil:
		x.mail(owner, m)
	default:
		x.hub.publish(m)
	}
}

// mail gives a notification to its call's goroutine. An agent that is slow to
// take them loses some; the connection's other calls don't wait for it.
func (x *demux) mail(i *inflight, m *wire.Message) {
	if i.mail == nil {
		return
	}
	select {
	case i.mail <- m:
	default:
		x.logger.Debug("notification dropped: its reader is slow", slog.String("upstream", x.upstream))
	}
}

// end marks the connection as over, and why.
func (x *demux) end(reason error, detail string) {
	x.ending.Do(func() {
		x.mu.Lock()
		calls := 0
		for _, w := range x.waiting {
			if w.stream == nil {
				calls++
			}
		}
		if calls > 1 {
			reason = nil // whose answer it was can't be told
		}
		x.reason, x.detail, x.closed = reason, detail, true
		x.mu.Unlock()
		close(x.over)
	})
}

// loss is the failure of a request that the end of the connection overtook.
func (x *demux) loss(sent bool) *Failure {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case !sent:
		return fail(x.upstream, ErrUnavailable, "%s", x.detail)
	case x.reason != nil:
		return fail(x.upstream, x.reason, "%s", x.detail)
	}
	return fail(x.upstream, ErrUnknownOutcome, "%s", x.detail)
}
