package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ostiary/ostiary/federation"
)

// changes is a set of lists that may have changed.
type changes uint8

const (
	toolsChanged changes = 1 << iota
	promptsChanged
	resourcesChanged

	anyChanged = toolsChanged | promptsChanged | resourcesChanged
)

// changeMethods are the notifications, by bit of changes.
var changeMethods = [...]string{
	"notifications/tools/list_changed",
	"notifications/prompts/list_changed",
	"notifications/resources/list_changed",
}

const (
	// changeNames bounds the upstreams that are remembered for one change.
	changeNames = 8

	// changeInterval is the least time between two notifications to one
	// listener that the same list changed: an upstream that flaps does not make
	// its agents list in a loop.
	changeInterval = time.Second

	// flushInterval is the least time between two batches of other messages.
	flushInterval = 100 * time.Millisecond

	// queueBytes bounds what waits for one slow listener beside list changes;
	// the oldest go first.
	queueBytes = 64 << 10
)

// errClosing ends the streams of a gateway that closes.
var errClosing = errors.New("the gateway is closing")

// hub tells the agents that listen what changed. changed never waits for any
// of them: it only marks what is pending, and each listener's own goroutine
// sends it.
type hub struct {
	streams quota // open streams by principal
	limit   int   // of one principal

	mu        sync.RWMutex
	listeners map[*listener]struct{}
	closing   chan struct{}
	once      sync.Once
}

func newHub(g *Gateway) *hub {
	return &hub{limit: g.Limits.Streams, listeners: make(map[*listener]struct{}), closing: make(chan struct{})}
}

// enter counts a stream of a principal; false when it has too many. Each
// enter that succeeds needs a leave.
func (h *hub) enter(key string) bool { return h.streams.enter(key, h.limit) }

func (h *hub) leave(key string) { h.streams.leave(key) }

// register adds l: from now on, changes are pending for it.
func (h *hub) register(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners[l] = struct{}{}
}

func (h *hub) unregister(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
}

// changed marks lists of an upstream as changed for all who listen to it.
func (h *hub) changed(upstream string, c changes) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for l := range h.listeners {
		if l.endpoint == federation.Merged || l.endpoint == upstream {
			l.mark(c&l.wants, upstream)
		}
	}
}

// changedForAll marks all lists as changed, for everybody: what policy shows
// may be other now, and who sees nothing of an upstream any more must hear it.
func (h *hub) changedForAll() {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for l := range h.listeners {
		l.markAll()
	}
}

// closeAll ends every serve with errClosing, now and later.
func (h *hub) closeAll() { h.once.Do(func() { close(h.closing) }) }

// listener is one who listens: a modern subscriptions/listen stream, or a
// legacy session through whichever GET stream it has.
type listener struct {
	endpoint string // federation.Merged hears all upstreams
	wants    changes

	// sees, when set, says whether the listener may know that lists of an
	// upstream changed. It runs on the goroutine of serve and may ask the
	// decider.
	sees func(upstream string) bool

	mu      sync.Mutex
	pending [len(changeMethods)]pendingChange
	queue   [][]byte
	queued  int // bytes in queue
	flushed time.Time
	wakes   []chan struct{} // of the goroutines that serve; only the last one sends
}

// pendingChange is a list that changed and a listener that was not yet told.
type pendingChange struct {
	set       bool
	upstreams []string // whose; nil when they are more than changeNames
	sent      time.Time
}

func (l *listener) markAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.pending {
		if l.wants&(1<<i) != 0 {
			l.pending[i].set, l.pending[i].upstreams = true, nil // nil: whatever sees says
			l.signal()
		}
	}
}

func (l *listener) mark(c changes, upstream string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.pending {
		p := &l.pending[i]
		switch {
		case c&(1<<i) == 0:
			continue
		case !p.set:
			p.set, p.upstreams = true, []string{upstream}
		case p.upstreams == nil || slices.Contains(p.upstreams, upstream):
		case len(p.upstreams) < changeNames:
			p.upstreams = append(p.upstreams, upstream)
		default:
			p.upstreams = nil
		}
		l.signal()
	}
}

// post queues a complete message, unless an equal one waits already. It never
// blocks.
func (l *listener) post(message []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.queue {
		if string(q) == string(message) {
			return
		}
	}
	l.queue = append(l.queue, message)
	l.queued += len(message)
	for l.queued > queueBytes {
		l.queued -= len(l.queue[0])
		l.queue[0] = nil
		l.queue = l.queue[1:]
	}
	l.signal()
}

// signal needs mu.
func (l *listener) signal() {
	if n := len(l.wakes); n > 0 {
		select {
		case l.wakes[n-1] <- struct{}{}:
		default:
		}
	}
}

// claim makes the caller the one who sends; what is pending is its to send.
func (l *listener) claim() (wake chan struct{}) {
	wake = make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakes = append(l.wakes, wake)
	l.signal()
	return wake
}

// yield gives the listener back to who sent before.
func (l *listener) yield(wake chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.wakes, wake); i >= 0 {
		l.wakes = slices.Delete(l.wakes, i, i+1)
	}
	l.signal()
}

// change is a list_changed notification that is due.
type change struct {
	method    string
	upstreams []string
}

// due takes what is to be sent now. wait is how long until more is due, or
// negative. Nothing is due to a goroutine that another one has replaced.
func (l *listener) due(wake chan struct{}, now time.Time) (changed []change, messages [][]byte, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait = -1
	if n := len(l.wakes); n == 0 || l.wakes[n-1] != wake {
		return nil, nil, wait
	}
	later := func(last time.Time, interval time.Duration) bool {
		d := interval - now.Sub(last)
		if d <= 0 {
			return false
		}
		if wait < 0 || d < wait {
			wait = d
		}
		return true
	}
	for i := range l.pending {
		if p := &l.pending[i]; p.set && !later(p.sent, changeInterval) {
			changed = append(changed, change{changeMethods[i], p.upstreams})
			*p = pendingChange{sent: now}
		}
	}
	if len(l.queue) > 0 && !later(l.flushed, flushInterval) {
		messages, l.queue, l.queued, l.flushed = l.queue, nil, 0, now
	}
	return changed, messages, wait
}

// outlet is the stream that a listener is served on. Its functions are called
// from one goroutine and may block for as long as the agent is slow.
type outlet struct {
	changed   func(method string) error  // a list changed
	send      func(message []byte) error // a posted message
	beat      func() error               // keep-alive; nil = the stream has its own
	keepAlive time.Duration
	ended     <-chan struct{} // the stream ended elsewhere; nil = it does not
	part      func()          // lets changed through for a principal that no longer stands
}

// farewell tells an agent whose principal no longer stands that its lists
// changed: groups may be other ones, and whoever comes back lists anew.
func (o outlet) farewell(wants changes) {
	o.part()
	for i, method := range changeMethods {
		if wants&(1<<i) != 0 && o.changed(method) != nil {
			return
		}
	}
}

// serve sends l's pending messages to o until ctx or the stream ends (nil), the
// gateway closes (errClosing) or a send fails. Where ctx ends with its principal,
// that lists changed is the last word. A later serve of the same
// listener takes over until it ends; the earlier one then only keeps its stream
// alive.
func (h *hub) serve(ctx context.Context, l *listener, o outlet) error {
	wake := l.claim()
	defer l.yield(wake)
	var beat <-chan time.Time
	if o.beat != nil && o.keepAlive > 0 {
		t := time.NewTicker(o.keepAlive)
		defer t.Stop()
		beat = t.C
	}
	var more <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errEnded) {
				o.farewell(l.wants)
			}
			return nil
		case <-o.ended:
			return nil
		case <-h.closing:
			return errClosing
		case <-beat:
			if err := o.beat(); err != nil {
				return err
			}
			continue
		case <-wake:
		case <-more:
		}
		changed, messages, wait := l.due(wake, time.Now())
		for _, c := range changed {
			if l.sees != nil && c.upstreams != nil && !slices.ContainsFunc(c.upstreams, l.sees) {
				continue
			}
			if err := o.changed(c.method); err != nil {
				return err
			}
		}
		for _, m := range messages {
			if err := o.send(m); err != nil {
				return err
			}
		}
		if more = nil; wait >= 0 {
			more = time.After(wait)
		}
	}
}
