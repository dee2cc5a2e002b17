package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ostiary/ostiary/gateway"
	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	bridgeCalls = 256              // requests in flight; the gateway's own limits are the finer ones
	bridgeTell  = 30 * time.Second // for a message without an answer
	bridgeGrace = time.Second      // for requests in flight when stdin ends
	bridgeBye   = 2 * time.Second  // to end the session
)

// bridge carries newline-delimited JSON-RPC of either era between stdin and
// stdout and an endpoint over Streamable HTTP. It forwards what it reads as it
// is: the gateway is the one that parses, judges and records. stdout carries
// nothing but messages.
type bridge struct {
	url   string
	token string // bearer; "" = none
	http  *http.Client
	in    io.Reader
	out   io.Writer
	log   *slog.Logger
	limit int // bytes of one line of stdin

	broken  context.CancelCauseFunc // ends all: nobody reads stdout
	writing sync.Mutex
	work    sync.WaitGroup // requests in flight and the session's stream

	mu      sync.Mutex
	session *bridgeSession                // nil until a legacy initialize was answered
	calls   map[string]*bridged           // requests in flight, by id as written
	headers map[string][]wire.ParamHeader // by tool, once they were asked for
}

// bridged is one line of stdin on its way. m is nil for what only the gateway
// can make sense of: a batch, or a message that it will refuse.
type bridged struct {
	line    []byte
	m       *wire.Message
	version string // of a modern message; "" = legacy
	cancel  context.CancelFunc

	mu        sync.Mutex
	withdrawn bool // the agent waits no longer
}

// id is that of a request, nil for anything else.
func (c *bridged) id() []byte {
	if c.m == nil || c.m.Kind != wire.Request {
		return nil
	}
	return c.m.ID
}

func (c *bridged) withdraw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.withdrawn = true
}

func (c *bridged) wanted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.withdrawn
}

// run serves until stdin or ctx ends, and then ends the session.
func (b *bridge) run(ctx context.Context) error {
	ctx, b.broken = context.WithCancelCause(ctx)
	defer b.broken(nil)
	lines := make(chan []byte)
	go func() { // it may block in a read for as long as the process lives
		defer close(lines)
		if err := b.read(ctx, lines); err != nil {
			b.log.Error("reading stdin", "error", err)
		}
	}()
	for more := true; more; {
		select {
		case line, ok := <-lines:
			if more = ok; ok {
				b.take(ctx, line)
			}
		case <-ctx.Done():
			more = false
		}
	}
	b.finish(ctx)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// read hands out the lines of stdin. One that is too long is answered and left
// out.
func (b *bridge) read(ctx context.Context, lines chan<- []byte) error {
	in := bufio.NewReaderSize(b.in, 64<<10)
	for {
		var line []byte
		size := 0
		for {
			chunk, err := in.ReadSlice('\n')
			if size += len(chunk); size <= b.limit+1 {
				line = append(line, chunk...)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				if err == io.EOF {
					return nil // a last line without an end was cut
				}
				return err
			}
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if size > b.limit+1 {
			b.fail(nil, wire.CodeInvalidRequest, fmt.Sprintf("a line of more than %d bytes (limits.body)", b.limit))
			continue
		}
		select {
		case lines <- line:
		case <-ctx.Done():
			return nil
		}
	}
}

// take starts what a line asks for. Messages without an answer are delivered
// before the next line is looked at, so that they keep their order.
func (b *bridge) take(ctx context.Context, line []byte) {
	c := &bridged{line: line}
	if m, err := wire.Parse(line, wire.Limits{Bytes: b.limit}); err == nil {
		c.m = m
		if era, version, _ := wire.EraOf(nil, m); era == wire.Modern {
			c.version = version
		}
	}
	switch {
	case c.m == nil:
		b.begin(ctx, c)
	case c.m.Kind != wire.Request:
		if c.m.Method == "notifications/cancelled" && b.cancelled(c.m) {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, bridgeTell)
		defer cancel()
		b.exchange(ctx, c)
	case c.m.Method == "initialize" && c.version == "":
		b.exchange(ctx, c) // what follows needs its session
	default:
		b.begin(ctx, c)
	}
}

// cancelled takes back a request. It is true when that is all there is to do:
// over HTTP, a modern request is cancelled by closing its response stream (MCP
// 2026-07-28, Cancellation).
func (b *bridge) cancelled(m *wire.Message) bool {
	id, _ := m.Params.Get("requestId")
	b.mu.Lock()
	c, session := b.calls[string(id)], b.session
	b.mu.Unlock()
	if c == nil {
		return session == nil // nothing to take back, and nobody to tell
	}
	c.withdraw()
	if c.version != "" {
		c.cancel()
	}
	return c.version != ""
}

// begin runs a request beside the reading of stdin.
func (b *bridge) begin(ctx context.Context, c *bridged) {
	key := string(c.id())
	if c.m == nil {
		key = fmt.Sprintf("line %p", c)
	}
	b.mu.Lock()
	_, twice := b.calls[key]
	full := len(b.calls) >= bridgeCalls
	if !twice && !full {
		ctx, c.cancel = context.WithCancel(ctx)
		b.calls[key] = c
	}
	b.mu.Unlock()
	switch {
	case twice:
		b.fail(c.id(), wire.CodeInvalidRequest, "a request with this id is still in flight")
		return
	case full:
		b.fail(c.id(), gateway.CodeBusy, "too many requests are in flight; this one did not run")
		return
	}
	b.work.Go(func() {
		defer func() {
			c.cancel()
			b.mu.Lock()
			delete(b.calls, key)
			b.mu.Unlock()
		}()
		b.exchange(ctx, c)
	})
}

// finish lets requests in flight end, for a moment if stdin ended, and then
// ends them and the session.
func (b *bridge) finish(ctx context.Context) {
	b.mu.Lock()
	s := b.session
	for _, c := range b.calls {
		if c.m != nil && c.m.Method == "subscriptions/listen" { // has no end of its own
			c.withdraw()
		}
		if !c.wanted() {
			c.cancel()
		}
	}
	b.mu.Unlock()
	if s != nil {
		s.end()
	}
	done := make(chan struct{})
	go func() { b.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(bridgeGrace):
	}
	b.broken(nil)
	if s != nil {
		b.delete(s)
	}
	<-done
}

// write puts one message on stdout: line ends stand only between the tokens of
// JSON, where a space is as good.
func (b *bridge) write(message []byte) {
	line := append(make([]byte, 0, len(message)+1), message...)
	for i, c := range line {
		if c == '\n' || c == '\r' {
			line[i] = ' '
		}
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	if _, err := b.out.Write(append(line, '\n')); err != nil {
		b.broken(fmt.Errorf("writing stdout: %w", err))
	}
}

// fail answers a request with an error of the bridge's own.
func (b *bridge) fail(id []byte, code int64, text string) {
	b.write(wire.AppendError(nil, id, &wire.Error{Code: code, Message: text}))
}
