package federation

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// modernHTTP is an upstream of the modern era over Streamable HTTP: stateless,
// so that one serves any number of calls, each one POST.
type modernHTTP struct {
	*endpoint
	d    dialConfig
	meta metaWriter
	self *peer
	ids  *atomic.Uint64

	closing sync.Once
	gone    chan struct{}
}

func (m *modernHTTP) peer() *peer           { return m.self }
func (m *modernHTTP) done() <-chan struct{} { return m.gone }

// do is one POST; the call is cancelled by closing its response stream.
func (m *modernHTTP) do(ctx context.Context, c *Call) (*Answer, error) {
	ctx, clock := withDeadline(ctx, m.d.timeout(c))
	id := number(m.ids.Add(1))
	i := newInflight(ctx, c, clock, id)
	params := m.meta.params(c, i.token())
	h, err := modernHeader(c.Method, params, c.Item)
	if err != nil {
		clock.stop()
		return nil, fail(m.name, ErrUnavailable, "params are not an object")
	}
	q := query{id: id, lenient: isList(c.Method), on: func(msg *wire.Message) { m.notice(i, msg) }}
	r, f := m.ask(ctx, &q, h, wire.AppendRequest(make([]byte, 0, len(params)+64), id, c.Method, params))
	m.settle(r.tail, clock)
	if f != nil {
		return nil, f
	}
	return &Answer{Result: r.msg.Result, Error: r.msg.Error, Era: wire.Modern}, nil
}

// notice handles what comes on a call's stream before its response. A request
// there is against the protocol (MCP 2026-07-28, Streamable HTTP: servers MUST
// NOT send requests) and goes nowhere.
func (m *modernHTTP) notice(i *inflight, msg *wire.Message) {
	if msg.Kind == wire.Request {
		m.d.Logger.Debug("upstream sent a request on a response stream; dropped", slog.String("upstream", m.name))
		return
	}
	i.notify(msg)
}

// modernHeader are the headers that mirror a request's body.
func modernHeader(method string, params []byte, item *Item) (http.Header, error) {
	o, err := wire.Fields(params)
	if err != nil {
		return nil, err
	}
	h := postHeader()
	wire.SetStandardHeaders(h, wire.LatestModern, method, o)
	if item != nil && len(item.ParamHeaders) > 0 {
		arguments, _ := o.Get("arguments")
		wire.SetParamHeaders(h, item.ParamHeaders, arguments)
	}
	return h, nil
}

// listen is one subscriptions/listen stream.
func (m *modernHTTP) listen(ctx context.Context, filter listenFilter, ready func(), events func(string, []byte)) error {
	// The clock runs until the acknowledgement; then the stream may be silent
	// for as long as it likes.
	inner, clock := withDeadline(ctx, m.d.timeout(&Call{}))
	defer clock.stop()
	id := number(m.ids.Add(1))
	params := m.meta.own(`"notifications":` + string(filter.params()))
	h, err := modernHeader(methodListen, params, nil)
	if err != nil {
		return err
	}
	acknowledged := false
	q := query{id: id, on: func(msg *wire.Message) {
		switch {
		case msg.Kind != wire.Notification:
		case msg.Method == methodAcknowledged && !acknowledged:
			acknowledged = true
			clock.pause()
			ready()
		case acknowledged && filter.wants(msg):
			events(msg.Method, withoutSubscription(msg.Params))
		}
	}}
	r, f := m.stream(inner, &q, h, wire.AppendRequest(nil, id, methodListen, params))
	if r.tail != nil {
		r.tail.Close()
	}
	return listenEnd(ctx, m.name, r.msg, f)
}

// stream is ask for a stream that has no end and so no bound as a whole.
func (m *modernHTTP) stream(ctx context.Context, q *query, h http.Header, body []byte) (reply, *Failure) {
	q.endless = true
	return m.ask(ctx, q, h, body)
}

// listenEnd says why a listen stream ended.
func listenEnd(ctx context.Context, upstream string, m *wire.Message, f *Failure) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case f != nil:
		return f
	case m.Error != nil && m.Error.Code == wire.CodeMethodNotFound:
		return errNoNotifications
	case m.Error != nil:
		return fail(upstream, ErrUnavailable, "subscriptions/listen: error %d", m.Error.Code)
	}
	return fail(upstream, ErrUnavailable, "the upstream ended the notification stream")
}

func (m *modernHTTP) close(context.Context) error {
	m.closing.Do(func() {
		close(m.gone)
		m.endpoint.close()
	})
	return nil
}

// dialModernHTTP asks the endpoint who it is (server/discover, which has no
// side effects). errLegacy means that it does not speak the modern era.
func dialModernHTTP(ctx context.Context, e *endpoint, d *dialConfig) (connection, error) {
	m := &modernHTTP{endpoint: e, d: *d, meta: newMetaWriter(wire.Modern, d.Version), ids: new(atomic.Uint64), gone: make(chan struct{})}
	ctx, clock := withDeadline(ctx, probeTimeout)
	id := number(m.ids.Add(1))
	params := m.meta.own("")
	h, err := modernHeader(methodDiscover, params, nil)
	if err != nil {
		clock.stop()
		return nil, err
	}
	q := query{id: id, on: func(*wire.Message) {}}
	r, f := e.ask(ctx, &q, h, wire.AppendRequest(nil, id, methodDiscover, params))
	e.settle(r.tail, clock)
	if f != nil {
		return nil, undecided(r.status, f)
	}
	m.self, err = discovered(e.name, r.msg, r.status)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// undecided maps a probe that got no JSON-RPC answer. Only what may come from
// a server of the legacy era that stumbles over the unknown method leads on to
// initialize; what speaks of the way there or of the credential does not.
func undecided(status int, f *Failure) error {
	switch {
	case status >= 200 && status < 300, status == 0 && errors.Is(f, ErrTimeout):
		return errLegacy
	case status >= 400 && status < 500 && status != http.StatusUnauthorized && status != http.StatusForbidden && status != http.StatusTooManyRequests:
		return errLegacy
	case status == http.StatusInternalServerError || status == http.StatusNotImplemented:
		return errLegacy
	}
	return f
}

// probeTimeout bounds one attempt to find out an HTTP upstream's era.
const probeTimeout = 15 * time.Second
