package federation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// Limits of a stdio connection.
const (
	queueLength = 64               // messages that wait to be written
	writeLimit  = 30 * time.Second // for a process to take one message
	mailLength  = 256              // notifications that wait for one call's goroutine
)

// stdio is an upstream that is a process of ours, of either era. One
// goroutine reads, one writes; answers come in any order.
type stdio struct {
	d     dialConfig
	p     *process
	log   *stderrLog // of what comes on stdout and is no message
	hub   *hub
	limit int
	ids   atomic.Uint64
	level *leveler

	// Set while connecting, before anybody else can see the connection.
	patience time.Duration // discoverPatience
	meta     metaWriter
	self     atomic.Pointer[peer]

	out  chan *outgoing
	work sync.WaitGroup

	mu      sync.Mutex
	waiting map[string]*waiter // by our request id
	reason  error              // why it is gone: ErrTooLarge or unspecific
	detail  string

	closing sync.Once
	gone    chan struct{}
	silent  chan struct{} // closed when nothing more is written
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

// outgoing is one message on its way to the process.
type outgoing struct {
	body  []byte
	state atomic.Int32
}

const (
	queued int32 = iota
	written
	withdrawn
)

// sent says whether the process may have the message. It withdraws one that
// it certainly has not.
func (o *outgoing) sent() bool {
	return !o.state.CompareAndSwap(queued, withdrawn) && o.state.Load() == written
}

func (s *stdio) peer() *peer           { return s.self.Load() }
func (s *stdio) done() <-chan struct{} { return s.gone }

// startStdio starts the process and its reader and writer.
func startStdio(d *dialConfig) (*stdio, error) {
	p, err := start(d)
	if err != nil {
		return nil, err
	}
	s := &stdio{
		d: *d, p: p, patience: discoverPatience, hub: newHub(d.Capabilities).of(d.Upstream), limit: d.Upstream.Limits.Response, level: newLeveler(),
		out: make(chan *outgoing, queueLength), waiting: make(map[string]*waiter), gone: make(chan struct{}), silent: make(chan struct{}),
	}
	_, secrets := environment(d)
	s.log = newStderrLog(d, secrets)
	if s.limit <= 0 {
		s.limit = defaultResponse
	}
	s.work.Go(s.read)
	s.work.Go(s.write)
	return s, nil
}

func (s *stdio) name() string { return s.d.Upstream.Name }

// do sends c and waits for its answer, on the caller's goroutine.
func (s *stdio) do(ctx context.Context, c *Call) (*Answer, error) {
	ctx, clock := withDeadline(ctx, s.d.timeout(c))
	defer clock.stop()
	legacy := s.peer().Era == wire.Legacy
	if legacy && c.Agent.LogLevel != "" && s.peer().has("logging", "") {
		s.level.raise(ctx, c.Agent.LogLevel, func(params []byte) *Failure {
			_, f := s.request(ctx, methodSetLevel, params)
			return f
		})
	}
	id := s.nextID()
	i := newInflight(ctx, c, clock, id)
	if c.Notify != nil {
		i.mail = make(chan *wire.Message, mailLength)
	}
	s.hub.enter(i)
	defer i.finish()
	defer s.hub.leave(i)
	params := s.meta.params(c, i.token())
	m, f := s.exchange(ctx, &waiter{id: id, lenient: isList(c.Method)}, c.Method, params, i)
	if f != nil {
		return nil, f
	}
	return &Answer{Result: m.Result, Error: m.Error, Era: s.peer().Era}, nil
}

func (s *stdio) nextID() []byte { return number(s.ids.Add(1)) }

// request is a request of the gateway's own.
func (s *stdio) request(ctx context.Context, method string, params []byte) (*wire.Message, *Failure) {
	ctx, clock := withDeadline(ctx, ownTimeout)
	defer clock.stop()
	m, f := s.exchange(ctx, &waiter{id: s.nextID()}, method, params, nil)
	if f == nil && m.Error != nil {
		f = fail(s.name(), errRefused, "%s: error %d", method, m.Error.Code)
	}
	return m, f
}

// exchange sends a request and waits for the answer to it. i is the call that
// it belongs to, nil for the gateway's own.
func (s *stdio) exchange(ctx context.Context, w *waiter, method string, params []byte, i *inflight) (*wire.Message, *Failure) {
	o := s.begin(w, wire.AppendRequest(make([]byte, 0, len(params)+64), w.id, method, params))
	defer s.forget(w)
	select {
	case s.out <- o:
	case <-ctx.Done():
		return nil, lost(ctx, s.name(), false, ctx.Err())
	case <-s.gone:
		return nil, s.loss(false)
	}
	var mail chan *wire.Message
	if i != nil {
		mail = i.mail
	}
	for {
		select {
		case m := <-mail:
			i.notify(m)
		case a := <-w.answer:
			// The reader puts notifications into the mail before it hands
			// out the answer that they precede.
			for len(mail) > 0 {
				i.notify(<-mail)
			}
			return a.msg, a.f
		case <-ctx.Done():
			f := lost(ctx, s.name(), o.sent(), ctx.Err())
			if o.sent() && method != methodInitialize { // which MUST NOT be cancelled
				s.tell(cancelled(w.id, f.Kind))
			}
			return nil, f
		case <-s.gone:
			select {
			case a := <-w.answer:
				return a.msg, a.f
			default:
				return nil, s.loss(o.sent())
			}
		}
	}
}

// begin registers who waits for the answer, before it can come.
func (s *stdio) begin(w *waiter, body []byte) *outgoing {
	w.answer = make(chan answered, 1)
	s.mu.Lock()
	s.waiting[string(w.id)] = w
	s.mu.Unlock()
	return &outgoing{body: body}
}

func (s *stdio) forget(w *waiter) {
	s.mu.Lock()
	delete(s.waiting, string(w.id))
	s.mu.Unlock()
}

// take is the waiter for an id, which waits no longer.
func (s *stdio) take(id []byte) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[string(id)]
	delete(s.waiting, string(id))
	return w
}

// tell queues a message that has no answer. A process that doesn't take what
// it is sent loses it: neither the reader nor a caller waits for that.
func (s *stdio) tell(body []byte) {
	select {
	case s.out <- &outgoing{body: body}:
	default:
		s.d.Logger.Debug("upstream does not read its input; a message to it was dropped", slog.String("upstream", s.name()))
	}
}

// write sends what is queued, one message a line, and at the end what is
// left, which may be a last word about a call that nobody waits for.
func (s *stdio) write() {
	defer close(s.silent)
	for {
		select {
		case o := <-s.out:
			if !s.writeOne(o) {
				return
			}
		case <-s.gone:
			for {
				select {
				case o := <-s.out:
					if !s.writeOne(o) {
						return
					}
				default:
					return
				}
			}
		}
	}
}

func (s *stdio) writeOne(o *outgoing) bool {
	if !o.state.CompareAndSwap(queued, written) {
		return true
	}
	s.p.stdin.SetWriteDeadline(time.Now().Add(writeLimit))
	if _, err := s.p.stdin.Write(oneLine(o.body)); err != nil {
		if errors.Is(err, syscall.EPIPE) {
			s.ended() // nobody reads: it has exited or is about to, and how says more
		} else {
			s.end(nil, "it does not take its input")
		}
		return false
	}
	return true
}

// read hands out what the process sends, to the end.
func (s *stdio) read() {
	defer s.p.stdout.Close()
	lines := newLineReader(s.p.stdout, s.limit)
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, ErrTooLarge):
			s.end(ErrTooLarge, fmt.Sprintf("over %d bytes in one line", s.limit))
			return
		case err != nil:
			s.ended()
			return
		case len(bytes.TrimSpace(line)) == 0:
			continue
		}
		s.receive(line)
	}
}

// receive takes one line.
func (s *stdio) receive(line []byte) {
	lim := wire.Limits{Bytes: s.limit}
	m, err := wire.ParseAnswer(line, lim, false)
	if err != nil {
		s.receiveFaulty(line, lim, err)
		return
	}
	switch {
	case m.Kind == wire.Response:
		s.respond(m.ID, answered{msg: m})
	case s.peer() != nil && s.peer().Era == wire.Modern:
		s.modernNotice(m)
	default:
		s.legacyNotice(m)
	}
}

// respond hands an answer to whom it may concern. One that nobody waits for
// is late, or a lie.
func (s *stdio) respond(id []byte, a answered) {
	if w := s.take(id); w != nil {
		w.answer <- a
	}
}

// receiveFaulty takes a line that failed the strict parse: a list with a
// malformed item, a bad answer, or a program that prints to stdout what it
// should print to stderr.
func (s *stdio) receiveFaulty(line []byte, lim wire.Limits, err error) {
	p, ok := errors.AsType[*wire.ParseError](err)
	if !ok || p.ID == nil {
		s.log.put("upstream wrote something else than a message to stdout", string(line[:min(len(line), maxStderrLine)]))
		return
	}
	w := s.take(p.ID)
	if w == nil {
		return
	}
	if w.lenient {
		if m, err := wire.ParseAnswer(line, lim, true); err == nil && m.Kind == wire.Response {
			w.answer <- answered{msg: m}
			return
		}
	}
	w.answer <- answered{f: fail(s.name(), ErrBadAnswer, "%s", p.Reason)}
}

// legacyNotice takes a notification or request of a legacy upstream.
func (s *stdio) legacyNotice(m *wire.Message) {
	owner := s.hub.owner(m)
	switch {
	case m.Kind == wire.Request:
		s.hub.request(owner, m, s.tell)
	case m.Method == methodCancelled:
		s.hub.withdrawn(m)
	case owner != nil:
		s.mail(owner, m)
	default:
		s.hub.publish(m)
	}
}

// mail gives a notification to its call's goroutine. One agent that is slow
// to take them loses some; the process's other calls don't wait for it.
func (s *stdio) mail(i *inflight, m *wire.Message) {
	if i.mail == nil {
		return
	}
	select {
	case i.mail <- m:
	default:
		s.d.Logger.Debug("notification dropped: its reader is slow", slog.String("upstream", s.name()))
	}
}

// end marks the connection as of no more use, and why.
func (s *stdio) end(reason error, detail string) {
	s.closing.Do(func() {
		s.mu.Lock()
		calls := 0
		for _, w := range s.waiting {
			if w.stream == nil {
				calls++
			}
		}
		if calls > 1 {
			reason = nil // whose answer it was can't be told
		}
		s.reason, s.detail = reason, detail
		s.mu.Unlock()
		close(s.gone)
	})
}

// ended is end for a process that closed its stdout or stdin, normally by
// exiting.
func (s *stdio) ended() {
	select {
	case <-s.p.exited:
		s.end(nil, "the process ended ("+s.p.status+")")
	case <-time.After(leftoverTime):
		s.end(nil, "the process closed its input or output")
	case <-s.gone:
	}
}

// loss is the failure of a request that the end of the connection overtook.
func (s *stdio) loss(sent bool) *Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !sent:
		return fail(s.name(), ErrUnavailable, "%s", s.detail)
	case s.reason != nil:
		return fail(s.name(), s.reason, "%s", s.detail)
	}
	return fail(s.name(), ErrUnknownOutcome, "%s", s.detail)
}

// close ends the process in good order.
func (s *stdio) close(ctx context.Context) error {
	s.end(nil, "the connection was closed")
	select {
	case <-s.silent:
	case <-time.After(leftoverTime):
	case <-ctx.Done():
	}
	s.p.stop(ctx)
	s.work.Wait()
	return nil
}
