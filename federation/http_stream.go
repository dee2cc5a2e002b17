package federation

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// Limits of event streams that break.
const (
	streamPatience = 2 * time.Second // that a new connection waits for its GET stream
	resumeFirst    = 250 * time.Millisecond
	resumeLongest  = 30 * time.Second
	resumeTries    = 5           // in a row that a call's stream is given up after
	retryLongest   = time.Minute // what an upstream may ask us to wait
	steadyAfter    = 10 * time.Second
)

// errNoStream: the upstream has no GET stream.
var errNoStream = errors.New("no notification stream")

// eventStream is the GET stream of a legacy session, reopened for as long as
// the connection lives.
type eventStream struct {
	settled chan struct{} // closed when it is first open, or known not to exist
	known   bool          // settled is closed

	session *session // that lastID belongs to
	lastID  string
	wait    time.Duration // asked for by the upstream
	pause   time.Duration // of ours, growing while it fails
	opened  bool          // it was open before: what came in between was missed
}

// openStream starts the GET stream, once.
func (l *legacyHTTP) openStream() *eventStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream == nil {
		st := &eventStream{settled: make(chan struct{})}
		l.stream = st
		if l.life.Err() == nil {
			l.work.Go(func() { l.keepOpen(st) })
		}
	}
	return l.stream
}

// keepOpen keeps the stream open until the connection ends or the upstream says
// that there is none.
func (l *legacyHTTP) keepOpen(st *eventStream) {
	defer st.settle()
	for {
		began := time.Now()
		err := l.readStream(st)
		switch {
		case l.life.Err() != nil:
			return
		case errors.Is(err, errNoStream):
			l.d.Logger.Debug("upstream has no notification stream", slog.String("upstream", l.name))
			return
		case errors.Is(err, errSessionGone):
			ctx, cancel := context.WithTimeout(l.life, ownTimeout)
			f := l.renew(ctx, st.session)
			cancel()
			if f != nil {
				l.abandon()
				return
			}
		}
		if time.Since(began) > steadyAfter {
			st.pause = 0
		}
		if !rest(l.life, st.delay()) {
			return
		}
	}
}

func (st *eventStream) settle() {
	if !st.known {
		st.known = true
		close(st.settled)
	}
}

// delay is how long to wait before the stream is opened again: at least what
// the upstream asked for, and longer each time that it fails at once.
func (st *eventStream) delay() time.Duration {
	st.pause = min(max(2*st.pause, resumeFirst), resumeLongest)
	jittered := st.pause/2 + time.Duration(rand.Float64()*float64(st.pause)/2)
	return max(jittered, min(st.wait, retryLongest))
}

// readStream opens the stream and reads it to its end.
func (l *legacyHTTP) readStream(st *eventStream) error {
	s := l.current()
	if s != st.session {
		st.session, st.lastID = s, ""
	}
	body, err := l.get(l.life, s, st.lastID)
	if err != nil {
		return err
	}
	defer body.Close()
	st.settle()
	if st.opened && st.lastID == "" {
		l.hub.missed()
	}
	st.opened = true
	events := wire.NewEventReader(body, l.limit)
	for {
		ev, err := events.Next()
		if err != nil {
			return err
		}
		st.pause = 0
		if ev.ID != "" {
			st.lastID = ev.ID
		}
		if ev.Retry > 0 {
			st.wait = time.Duration(ev.Retry) * time.Millisecond
		}
		if len(ev.Data) == 0 || ev.Name != "" && ev.Name != "message" {
			continue
		}
		if m, err := l.parse(ev.Data, false); err == nil {
			l.aside(m)
		}
	}
}

// get opens an event stream: the session's own, or, after lastID, the one that
// the event belonged to.
func (l *legacyHTTP) get(ctx context.Context, s *session, lastID string) (io.ReadCloser, error) {
	h := l.header(make(http.Header, 8), s)
	h["Accept"] = acceptEvents
	if lastID != "" {
		h["Last-Event-Id"] = []string{lastID}
	}
	var x exchange
	resp, err := l.send(ctx, &x, http.MethodGet, h, nil)
	if err != nil {
		return nil, err
	}
	switch kind := mediaType(resp.Header); {
	case resp.StatusCode == http.StatusOK && kind == "text/event-stream":
		return resp.Body, nil
	case resp.StatusCode == http.StatusNotFound && s.id != "":
		err = errSessionGone
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusConflict:
		// 409: the SDKs' servers allow one GET stream at a time, and may not
		// have noticed yet that the last one broke.
		err = l.refused(resp)
	default:
		err = errNoStream
	}
	resp.Body.Close()
	return nil, err
}

// resumer takes up a call's broken stream where it broke (MCP 2025-11-25,
// Streamable HTTP, Resumability): a server may even close it on purpose and
// be polled. The call's own deadline ends it.
func (l *legacyHTTP) resumer(s *session) resumer {
	pause := time.Duration(0)
	return func(ctx context.Context, lastID string, wait time.Duration) (io.ReadCloser, error) {
		for try := 0; ; try++ {
			pause = min(max(2*pause, resumeFirst), resumeLongest)
			delay := pause
			if wait > 0 {
				delay = min(wait, retryLongest)
			}
			if !rest(ctx, delay) {
				return nil, context.Cause(ctx)
			}
			body, err := l.get(ctx, s, lastID)
			if err == nil || errors.Is(err, errNoStream) || errors.Is(err, errSessionGone) || try >= resumeTries {
				return body, err
			}
		}
	}
}

// rest waits; false means that ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
