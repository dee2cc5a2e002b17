package federation

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ostiary/ostiary/gateway/wire"
)

// maxEndpointURL bounds the URL that an endpoint event may name, in bytes.
const maxEndpointURL = 4 << 10

// errNoEndpoint: the GET that opens HTTP+SSE brought no endpoint event.
var errNoEndpoint = errors.New("no HTTP+SSE stream")

// sseHTTP is an upstream over the transport of MCP 2024-11-05: one GET stream
// for all that the server says, whose first event names the URL that takes
// POSTs. The stream is the session. When it breaks, what is under way has an
// unknown outcome and the connection is of no more use: the next one is
// another session.
type sseHTTP struct {
	*endpoint
	*demux
	d     dialConfig
	meta  metaWriter
	self  atomic.Pointer[peer]
	ids   atomic.Uint64
	level *leveler
	post  *url.URL

	life  context.Context // of the stream
	clock *deadline       // ends life; running until the session is open
	out   chan []byte     // answers and notifications that wait to be sent
	work  sync.WaitGroup

	leaving sync.Once
	gone    chan struct{} // closed when no new call is of use
}

func (s *sseHTTP) peer() *peer           { return s.self.Load() }
func (s *sseHTTP) done() <-chan struct{} { return s.gone }

// dialSSE opens the stream and, over it, the session. An answer to the GET that
// opens no stream of this transport is errNoEndpoint.
func dialSSE(ctx context.Context, e *endpoint, d *dialConfig) (connection, error) {
	s := &sseHTTP{
		endpoint: e, d: *d, meta: newMetaWriter(wire.Legacy, d.Version), level: newLeveler(),
		out: make(chan []byte, queueLength), gone: make(chan struct{}),
	}
	s.demux = newDemux(d, e.limit, s.tell, s.stray)
	s.life, s.clock = withDeadline(ctx, ownTimeout)
	body, events, err := s.open()
	if err != nil {
		s.clock.stop()
		return nil, err
	}
	s.work.Go(func() { s.read(events, body) })
	s.work.Go(s.write)
	if f := s.greet(); f != nil {
		s.hangUp()
		return nil, f
	}
	// From now on the stream is as long-lived as the connection.
	s.clock.pause()
	if !s.clock.detach() || s.life.Err() != nil {
		s.hangUp()
		return nil, lost(s.life, s.name, false, s.life.Err())
	}
	return s, nil
}

// open makes the GET and reads the endpoint event, which MUST come first (MCP
// 2024-11-05, Transports, HTTP with SSE).
func (s *sseHTTP) open() (io.ReadCloser, *wire.EventReader, error) {
	var x exchange
	h := http.Header{"Accept": acceptEvents, "Cache-Control": {"no-cache"}}
	resp, err := s.send(s.life, &x, http.MethodGet, h, nil)
	if err != nil {
		return nil, nil, lost(s.life, s.name, false, err)
	}
	if resp.StatusCode != http.StatusOK || mediaType(resp.Header) != "text/event-stream" {
		resp.Body.Close()
		return nil, nil, errors.Join(errNoEndpoint, s.refused(resp))
	}
	events := wire.NewEventReader(resp.Body, s.limit)
	ev, err := events.Next()
	switch {
	case err != nil || ev.Name != "endpoint":
		resp.Body.Close()
		return nil, nil, errors.Join(errNoEndpoint, fail(s.name, ErrUnavailable, "its event stream does not begin with an endpoint event"))
	case s.life.Err() != nil:
		resp.Body.Close()
		return nil, nil, lost(s.life, s.name, false, s.life.Err())
	}
	if s.post, err = postURL(s.url, string(ev.Data)); err != nil {
		resp.Body.Close()
		return nil, nil, fail(s.name, ErrBadAnswer, "endpoint event: %v", err)
	}
	return resp.Body, events, nil
}

// postURL is the URL that an endpoint event names. It must have the origin of
// the entry's own: anything else would send the upstream's credential, and
// whatever agents ask for, where the operator did not say.
func postURL(base *url.URL, named string) (*url.URL, error) {
	if len(named) > maxEndpointURL {
		return nil, errors.New("its URL is too long")
	}
	u, err := base.Parse(named)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	if u.Scheme != base.Scheme || !strings.EqualFold(u.Hostname(), base.Hostname()) || portOf(u) != portOf(base) || u.User != nil {
		return nil, errors.New("its URL has another origin than the entry's url; it is not used")
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// greet opens the session over the stream and says that we are ready.
func (s *sseHTTP) greet() *Failure {
	m, f := s.exchange(s.life, &waiter{id: s.nextID()}, methodInitialize, s.meta.initializeParams(s.d.Capabilities), nil)
	if f != nil {
		return f
	}
	p, f := initialized(s.name, m)
	if f != nil {
		return f
	}
	s.self.Store(p)
	var x exchange
	return s.deliver(s.life, &x, wire.AppendNotification(nil, "notifications/initialized", nil))
}

func (s *sseHTTP) nextID() []byte { return number(s.ids.Add(1)) }

// do posts c and waits for its answer on the stream.
func (s *sseHTTP) do(ctx context.Context, c *Call) (*Answer, error) {
	ctx, clock := withDeadline(ctx, s.d.timeout(c))
	defer clock.stop()
	if c.Agent.LogLevel != "" && s.peer().has("logging", "") {
		s.level.raise(ctx, c.Agent.LogLevel, func(params []byte) *Failure {
			_, f := s.request(ctx, methodSetLevel, params)
			return f
		})
	}
	i := newInflight(ctx, c, clock, s.nextID())
	if c.Notify != nil {
		i.mail = make(chan *wire.Message, mailLength)
	}
	s.hub.enter(i)
	defer i.finish()
	defer s.hub.leave(i.id)
	m, f := s.exchange(ctx, &waiter{id: i.id, lenient: isList(c.Method)}, c.Method, s.meta.params(c, i.token()), i)
	if f != nil {
		return nil, f
	}
	return &Answer{Result: m.Result, Error: m.Error, Era: wire.Legacy}, nil
}

// request is a request of the gateway's own.
func (s *sseHTTP) request(ctx context.Context, method string, params []byte) (*wire.Message, *Failure) {
	ctx, clock := withDeadline(ctx, ownTimeout)
	defer clock.stop()
	m, f := s.exchange(ctx, &waiter{id: s.nextID()}, method, params, nil)
	if f == nil && m.Error != nil {
		f = fail(s.name, errRefused, "%s: error %d", method, m.Error.Code)
	}
	return m, f
}

// listen: several listeners share the one stream, and each gets what it asked
// for out of everything.
func (s *sseHTTP) listen(ctx context.Context, filter listenFilter, ready func(), events func(string, []byte)) error {
	tap, fresh := s.hub.join(filter)
	subscribes := s.peer().has("resources", "subscribe")
	defer func() {
		for _, uri := range s.hub.part(tap) {
			if subscribes {
				s.tell(wire.AppendRequest(nil, s.nextID(), methodUnsubscribe, uriParams(uri)))
			}
		}
	}()
	for _, uri := range fresh {
		if !subscribes {
			break
		}
		if _, f := s.request(ctx, methodSubscribe, uriParams(uri)); f != nil && f.Kind != errRefused {
			return f
		}
	}
	ready()
	tap.run(ctx, s.gone, events)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.loss(false)
}

// abandon marks the connection as of no more use. Calls under way go on.
func (s *sseHTTP) abandon() { s.leaving.Do(func() { close(s.gone) }) }

// hangUp ends the stream and what is under way on it.
func (s *sseHTTP) hangUp() {
	s.end(nil, "the connection was closed")
	s.clock.stop()
	s.work.Wait()
}

// close ends the session, which in this transport is to close its stream.
func (s *sseHTTP) close(context.Context) error {
	s.hangUp()
	s.endpoint.close()
	return nil
}
