package federation

import (
	"bytes"
	"context"
	"sync"

	"github.com/ostiary/ostiary/gateway/wire"
)

// maxPending bounds what waits for a listener that is slow to take it.
const maxPending = 256

// hub knows who waits for what on a connection that carries many exchanges at
// once: a stdio process, a legacy session's GET stream.
type hub struct {
	may    map[string]bool // questions that may reach an agent (declared)
	shared bool            // several principals' calls meet here

	// elicited takes a notifications/elicitation/complete about an elicitation
	// of no call under way; nil = nobody does.
	elicited func(params []byte)

	mu        sync.Mutex
	calls     map[string]*inflight // by our request id
	listeners map[*tap]struct{}
	interest  map[string]int // subscribed URIs, counted
}

func newHub(capabilities []byte) *hub {
	return &hub{
		may:       declared(capabilities),
		calls:     make(map[string]*inflight),
		listeners: make(map[*tap]struct{}),
		interest:  make(map[string]int),
	}
}

// of makes h the hub of d's connection. On one that is shared, a message that
// does not name its call belongs to nobody, even while there is but one call:
// it may be a late word about another principal's.
func (h *hub) of(d *dialConfig) *hub {
	h.shared, h.elicited = d.Upstream.Shared, d.Elicited
	return h
}

func (h *hub) enter(i *inflight) {
	h.mu.Lock()
	h.calls[string(i.id)] = i
	h.mu.Unlock()
}

func (h *hub) leave(id []byte) {
	h.mu.Lock()
	delete(h.calls, string(id))
	h.mu.Unlock()
}

func (h *hub) find(id []byte) *inflight {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls[string(id)]
}

// only is the one call under way that ok accepts, and nil when there are
// none or several: what can't be attributed goes to nobody.
func (h *hub) only(ok func(*inflight) bool) *inflight {
	h.mu.Lock()
	defer h.mu.Unlock()
	var one *inflight
	for _, i := range h.calls {
		if ok(i) {
			if one != nil {
				return nil
			}
			one = i
		}
	}
	return one
}

// owner is the call that a message outside of any call's own stream belongs
// to; nil where that can't be told.
func (h *hub) owner(m *wire.Message) *inflight {
	switch {
	case h.shared && (m.Kind == wire.Request || m.Method != methodProgress):
		return nil
	case m.Kind == wire.Request:
		task := relatedTask(m)
		return h.only(func(i *inflight) bool { return i.c.Ask != nil && (task == "" || i.c.task() == task) })
	case m.Method == methodProgress:
		token, _ := m.Params.Get(metaProgress)
		return h.find(token)
	case m.Method == methodLog:
		return h.only(func(i *inflight) bool { return wantsLogs(i.c) })
	case m.Method == methodElicited:
		return h.only(func(i *inflight) bool { return i.elicited(m) })
	}
	return nil
}

// request serves a request of the upstream's own that belongs to i (nil =
// nobody); send takes the response.
func (h *hub) request(i *inflight, m *wire.Message, send func([]byte)) {
	switch {
	case m.Method == "ping":
		send(wire.AppendResult(nil, m.ID, []byte("{}")))
	case !h.may[m.Method]:
		send(unanswerable(m))
	case i == nil:
		send(unattributable(m))
	default:
		i.question(m, send)
	}
}

// withdrawn is a notifications/cancelled of the upstream: it takes a question
// back, whichever call it was put to.
func (h *hub) withdrawn(m *wire.Message) {
	id, ok := m.Params.Get("requestId")
	if !ok {
		return
	}
	h.mu.Lock()
	calls := make([]*inflight, 0, len(h.calls))
	for _, i := range h.calls {
		calls = append(calls, i)
	}
	h.mu.Unlock()
	for _, i := range calls {
		i.forget(string(id))
	}
}

// publish hands a notification that belongs to no call to whoever wants it: the
// end of an elicitation to its watchers, everything else to the listeners.
func (h *hub) publish(m *wire.Message) {
	if m.Method == methodElicited {
		if h.elicited != nil {
			h.elicited(m.Params.Raw)
		}
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		if m.Method == methodLog && !h.shared || l.filter.wants(m) {
			l.put(m.Method, m.Params.Raw)
		}
	}
}

// missed tells every listener that anything it watches may have changed: the
// stream had a gap.
func (h *hub) missed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		for _, k := range l.filter.kinds() {
			l.put(k, nil)
		}
	}
}

// join adds a listener and says which URIs nobody was subscribed to before.
func (h *hub) join(f listenFilter) (l *tap, fresh []string) {
	l = &tap{filter: f, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners[l] = struct{}{}
	for _, uri := range f.URIs {
		if h.interest[uri]++; h.interest[uri] == 1 {
			fresh = append(fresh, uri)
		}
	}
	return l, fresh
}

// part removes a listener and says which URIs nobody wants any more.
func (h *hub) part(l *tap) (stale []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
	for _, uri := range l.filter.URIs {
		if h.interest[uri]--; h.interest[uri] <= 0 {
			delete(h.interest, uri)
			stale = append(stale, uri)
		}
	}
	return stale
}

// subscribed are the URIs that somebody wants.
func (h *hub) subscribed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	uris := make([]string, 0, len(h.interest))
	for uri := range h.interest {
		uris = append(uris, uri)
	}
	return uris
}

// tap is one listen call on a hub. Its own goroutine takes from it, so
// that a slow one holds up nobody: what repeats is kept once, and log messages
// over the bound are dropped.
type tap struct {
	filter listenFilter
	wake   chan struct{}

	mu      sync.Mutex
	pending []notification
}

type notification struct {
	method string
	params []byte
}

// hasSubject says whether two notifications of a method may be about different
// things.
func hasSubject(method string) bool {
	return method == methodUpdated || method == MethodTask || method == MethodTaskStatus
}

func (l *tap) put(method string, params []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.pending {
		if p := &l.pending[n]; p.method == method && method != methodLog && (!hasSubject(method) || bytes.Equal(p.params, params)) {
			p.params = params
			return
		}
	}
	if len(l.pending) >= maxPending {
		return
	}
	l.pending = append(l.pending, notification{method, params})
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run delivers until ctx ends or gone is closed.
func (l *tap) run(ctx context.Context, gone <-chan struct{}, events func(string, []byte)) {
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		case <-gone:
			return
		}
		l.mu.Lock()
		pending := l.pending
		l.pending = nil
		l.mu.Unlock()
		for _, e := range pending {
			events(e.method, e.params)
		}
	}
}
