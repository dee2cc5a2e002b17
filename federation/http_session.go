package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// ownTimeout bounds a request of the gateway's own.
const ownTimeout = 15 * time.Second

// errRefused: the upstream answered a request of the gateway's own with an
// error. It is answering, then.
var errRefused = errors.New("refused by the upstream")

// dialLegacyHTTP opens a session.
func dialLegacyHTTP(ctx context.Context, e *endpoint, d *dialConfig) (connection, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	l := &legacyHTTP{
		endpoint: e, d: *d, meta: newMetaWriter(wire.Legacy, d.Version), hub: newHub(d.Capabilities).of(d),
		life: life, end: end, renewing: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	s, f, why := l.initialize(ctx)
	if f != nil {
		end()
		return nil, errors.Join(why, f)
	}
	l.session = s
	if len(l.hub.may) > 0 {
		// Many servers put their questions on the GET stream, and lose them
		// when it isn't open.
		select {
		case <-l.openStream().settled:
		case <-time.After(streamPatience):
		case <-ctx.Done():
		}
	}
	return l, nil
}

// errNotStreamable marks the failure of an initialize whose HTTP status says
// that the endpoint may be one of HTTP+SSE.
var errNotStreamable = fmt.Errorf("%w over Streamable HTTP", errNotLegacy)

// initialize opens a session and says that we are ready. why is errNotLegacy
// where the upstream answered, but not like one of the legacy era, or
// errNotStreamable.
func (l *legacyHTTP) initialize(ctx context.Context) (s *session, f *Failure, why error) {
	inner, clock := withDeadline(ctx, ownTimeout)
	id := number(l.ids.Add(1))
	q := query{id: id, on: func(*wire.Message) {}}
	var r reply
	r, f = l.ask(inner, &q, postHeader(), wire.AppendRequest(nil, id, methodInitialize, l.meta.initializeParams(l.d.Capabilities)))
	l.settle(r.tail, clock)
	if r.status >= 400 && r.status < 500 {
		why = errNotLegacy
	}
	if r.status == http.StatusBadRequest || r.status == http.StatusNotFound || r.status == http.StatusMethodNotAllowed {
		why = errNotStreamable
	}
	if f != nil {
		if why == errNotStreamable {
			f.Kind = ErrUnavailable
			f.Detail += " to initialize: no Streamable HTTP here"
		}
		return nil, f, why
	}
	p, f := initialized(l.name, r.msg)
	if f != nil {
		return nil, f, cmp.Or(why, errNotLegacy)
	}
	s = &session{id: r.header.Get("Mcp-Session-Id"), log: newLeveler()}
	if !validSession(s.id) {
		return nil, fail(l.name, ErrBadAnswer, "initialize: an unusable session id"), nil
	}
	if l.self == nil {
		l.self = p
	} else if l.self.Version != p.Version {
		return nil, fail(l.name, ErrUnavailable, "it changed its protocol revision"), nil
	}
	return s, l.tell(ctx, s, wire.AppendNotification(nil, "notifications/initialized", nil)), nil
}

// validSession: MCP 2025-11-25, Session Management: a session id MUST only
// contain visible ASCII characters.
func validSession(id string) bool {
	if len(id) > maxSessionID {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool { return r < 0x21 || r > 0x7e })
}

// renew replaces a session that the upstream lost. Callers that lost the same
// one share one renewal. When it fails, the connection is of no more use.
func (l *legacyHTTP) renew(ctx context.Context, old *session) *Failure {
	select {
	case l.renewing <- struct{}{}:
		defer func() { <-l.renewing }()
	case <-ctx.Done():
		return lost(ctx, l.name, false, ctx.Err())
	}
	if l.current() != old {
		return nil
	}
	s, f, _ := l.initialize(ctx)
	if f != nil {
		if ctx.Err() == nil {
			l.abandon()
		}
		return notExecuted(f)
	}
	l.mu.Lock()
	l.session = s
	l.mu.Unlock()
	l.d.Logger.Info("upstream lost its session; opened another", slog.String("upstream", l.name))
	if l.self.has("resources", "subscribe") {
		for _, uri := range l.hub.subscribed() {
			l.request(ctx, s, methodSubscribe, uriParams(uri))
		}
	}
	l.hub.missed()
	return nil
}

// speaksOfSession: see unknownSession.
func speaksOfSession(e *wire.Error) bool {
	return e != nil && strings.Contains(strings.ToLower(e.Message), "session")
}

func uriParams(uri string) []byte {
	return append(wire.AppendString([]byte(`{"uri":`), uri), '}')
}

// cancelled is the notification that a request is not waited for any more.
func cancelled(id []byte, why error) []byte {
	reason := "cancelled by the client"
	if errors.Is(why, ErrTimeout) {
		reason = "timed out"
	}
	params := append([]byte(`{"requestId":`), id...)
	params = append(wire.AppendString(append(params, `,"reason":`...), reason), '}')
	return wire.AppendNotification(nil, methodCancelled, params)
}

// discard reads a little of what is not wanted, so that the connection can be
// used again.
func discard(r io.Reader) { io.CopyN(io.Discard, r, lingerBytes) }
