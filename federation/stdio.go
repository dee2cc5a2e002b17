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
	*demux
	d     dialConfig
	p     *process
	log   *stderrLog // of what comes on stdout and is no message
	ids   atomic.Uint64
	level *leveler

	// Set while connecting, before anybody else can see the connection.
	patience time.Duration // discoverPatience
	meta     metaWriter
	self     atomic.Pointer[peer]

	out    chan *outgoing
	work   sync.WaitGroup
	silent chan struct{} // closed when nothing more is written
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
func (s *stdio) done() <-chan struct{} { return s.over }

// startStdio starts the process and its reader and writer.
func startStdio(d *dialConfig) (*stdio, error) {
	p, err := start(d)
	if err != nil {
		return nil, err
	}
	s := &stdio{
		d: *d, p: p, patience: discoverPatience, level: newLeveler(),
		out: make(chan *outgoing, queueLength), silent: make(chan struct{}),
	}
	_, secrets := environment(d)
	s.log = newStderrLog(d, secrets)
	limit := d.Upstream.Limits.Response
	if limit <= 0 {
		limit = defaultResponse
	}
	s.demux = newDemux(d, limit, s.tell, s.misprint)
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
	defer s.hub.leave(id)
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
	s.expect(w)
	defer s.take(w.id)
	o := &outgoing{body: wire.AppendRequest(make([]byte, 0, len(params)+64), w.id, method, params)}
	select {
	case s.out <- o:
	case <-ctx.Done():
		return nil, lost(ctx, s.name(), false, ctx.Err())
	case <-s.over:
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
		case <-s.over:
			select {
			case a := <-w.answer:
				return a.msg, a.f
			default:
				return nil, s.loss(o.sent())
			}
		}
	}
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
		case <-s.over:
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
	lines := newLineReader(s.p.stdout, s.largest)
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, ErrTooLarge):
			s.end(ErrTooLarge, fmt.Sprintf("over %d bytes in one line", s.largest))
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
	switch m := s.sort(line); {
	case m == nil:
	case s.peer() != nil && s.peer().Era == wire.Modern:
		s.modernNotice(m)
	default:
		s.notice(m)
	}
}

// misprint takes a line of a program that prints to stdout what it should
// print to stderr.
func (s *stdio) misprint(line []byte, _ error) {
	s.log.put("upstream wrote something else than a message to stdout", string(line[:min(len(line), maxStderrLine)]))
}

// ended is end for a process that closed its stdout or stdin, normally by
// exiting.
func (s *stdio) ended() {
	select {
	case <-s.p.exited:
		s.end(nil, "the process ended ("+s.p.status+")")
	case <-time.After(leftoverTime):
		s.end(nil, "the process closed its input or output")
	case <-s.over:
	}
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
