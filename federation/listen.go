package federation

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// which is a set of kinds.
type which [kinds]bool

var allKinds = which{true, true, true, true}

// announced are the kinds whose lists the upstream said have changed: their
// watchers are told, even if the lists turn out the same: a
// server may know of a change that its list does not show.
type announced which

// changesOf is what a list_changed notification announces.
func changesOf(method string) (w which, ok bool) {
	switch method {
	case "notifications/tools/list_changed":
		w[Tool] = true
	case "notifications/prompts/list_changed":
		w[Prompt] = true
	case "notifications/resources/list_changed":
		w[Resource], w[Template] = true, true
	default:
		return w, false
	}
	return w, true
}

// ledger notes which lists are to be read anew, and who waits for that.
type ledger struct {
	dirty chan struct{} // holds one token while something is noted

	mu      sync.Mutex
	noted   which
	waiters []chan error
}

func (l *ledger) note(w which) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, wanted := range w {
		l.noted[k] = l.noted[k] || wanted
	}
}

func (l *ledger) signal() {
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

// demand is note for one who waits for the listing's outcome.
func (l *ledger) demand(k Kind) <-chan error {
	w := make(chan error, 1)
	l.mu.Lock()
	l.noted[k] = true
	l.waiters = append(l.waiters, w)
	l.mu.Unlock()
	l.signal()
	return w
}

func (l *ledger) take() (which, []chan error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	noted, waiters := l.noted, l.waiters
	l.noted, l.waiters = which{}, nil
	return noted, waiters
}

// settle drops everything: the connection is gone, and the next one starts
// with all lists.
func (l *ledger) settle(err error) {
	if err == nil {
		err = errLost
	}
	_, waiters := l.take()
	for _, w := range waiters {
		w <- err
	}
}

// listener keeps a notification stream open on the listing connection, and
// knows when to poll where there is none.
type listener struct {
	u      *upstream
	conn   connection
	filter listenFilter
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	ended  chan error

	started time.Time // of the last stream

	relisten, poll, retry   *time.Timer
	listenPause, retryPause backoff
}

func (u *upstream) newListener(conn connection) *listener {
	ctx, cancel := context.WithCancel(u.ctx)
	never := func() *time.Timer { t := time.NewTimer(pollCeiling); t.Stop(); return t }
	l := &listener{
		u: u, conn: conn, filter: changeFilter(conn.peer()), ctx: ctx, cancel: cancel, ended: make(chan error, 1),
		relisten: never(), poll: never(), retry: never(),
	}
	return l
}

// changeFilter asks for the change notifications that the upstream declares.
func changeFilter(p *peer) listenFilter {
	return listenFilter{
		Tools:     p.has("tools", "listChanged"),
		Prompts:   p.has("prompts", "listChanged"),
		Resources: p.has("resources", "listChanged"),
	}
}

func (l *listener) start() {
	if !l.filter.Tools && !l.filter.Prompts && !l.filter.Resources {
		l.u.flow.set(flowNone)
		return
	}
	l.u.flow.set(flowOpening)
	l.started = time.Now()
	l.work.Go(func() {
		l.ended <- l.conn.listen(l.ctx, l.filter, l.flowing, func(method string, _ []byte) {
			if w, ok := changesOf(method); ok {
				l.u.ledger.note(w)
				l.u.ledger.signal()
			}
		})
	})
}

// flowing: from now on no change goes unnoticed. What changed while a stream
// was away is found by one more listing.
func (l *listener) flowing() {
	if l.listenPause.wait > 0 {
		l.u.ledger.note(allKinds)
		l.u.ledger.signal()
	}
	l.u.flow.set(flowing)
}

// again plans the next stream after one that ended while the connection lives;
// until then, polling stands in.
func (l *listener) again(err error) {
	l.u.flow.set(flowNone)
	l.schedulePoll()
	if errors.Is(err, errNoNotifications) {
		return
	}
	if time.Since(l.started) > retryLast {
		l.listenPause.reset()
	}
	l.relisten.Reset(l.listenPause.next())
}

func (l *listener) retryLater() { l.retry.Reset(l.retryPause.next()) }

// schedulePoll plans the next listing of an upstream that sends no change
// notifications: by its own ttlMs in the modern era.
func (l *listener) schedulePoll() {
	if l.u.flow.is(flowing) {
		l.poll.Stop()
		return
	}
	every := pollLegacy
	if ttl, said := l.u.health.lifetime(); said && l.conn.peer().Era == wire.Modern {
		every = min(max(ttl, pollFloor), pollCeiling)
	}
	l.poll.Reset(every)
}

func (l *listener) stop() {
	l.cancel()
	for _, t := range []*time.Timer{l.relisten, l.poll, l.retry} {
		t.Stop()
	}
	l.work.Wait()
}
