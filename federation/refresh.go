package federation

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Limits of listing in the background.
const (
	openAtOnce  = 32                     // upstreams being connected at the same time
	openSlow    = time.Second            // after which one no longer counts among them
	openTimeout = 30 * time.Second       // to connect, probe and initialize
	debounce    = 200 * time.Millisecond // between two listings after list_changed
	retryFirst  = time.Second            // to the first attempt after a failure
	retryLast   = time.Minute            // between attempts, at most
	pollFloor   = 30 * time.Second       // between polls, whatever ttlMs says
	pollLegacy  = 5 * time.Minute        // between polls of an upstream that names no ttl
	pollCeiling = time.Hour              // between polls, whatever ttlMs says
)

// fullCapabilities are declared by the listing connection, so that a server
// which hides tools by capability lists them all. Nobody is there to answer:
// what it asks gets an error.
var fullCapabilities = []byte(`{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{"listChanged":true}}`)

var errLost = errors.New("connection lost")

// run keeps the upstream's lists fresh for as long as its entry is there.
func (u *upstream) run() {
	var pause backoff
	for u.ctx.Err() == nil {
		err := u.attend(&pause)
		u.flow.set(flowNone)
		u.ledger.settle(err)
		if u.ctx.Err() != nil {
			return
		}
		u.health.set(u.f.config.Now(), "unavailable", detail(err))
		u.tryOnce.Do(func() { close(u.tried) })
		u.f.config.Logger.Warn("upstream unavailable", "upstream", u.name, "error", err)
		wait := time.NewTimer(pause.next())
		select {
		case <-u.ctx.Done():
		case <-wait.C:
		case <-u.wake:
		}
		wait.Stop()
	}
}

// attend connects, lists, and follows the upstream's changes until the
// connection is lost.
func (u *upstream) attend(pause *backoff) error {
	began := time.Now()
	conn, err := u.openListing()
	if err != nil {
		return err
	}
	defer u.hangUp(conn)

	l := u.newListener(conn)
	defer l.stop()
	l.start() // before listing, so that no change falls between the two

	failed, err := u.list(u.ctx, conn, allKinds, announced{})
	if err != nil && failed == allKinds {
		return err
	}
	pause.reset()
	u.health.set(u.f.config.Now(), "ready", detail(err))
	u.health.reached(time.Since(began))
	u.tryOnce.Do(func() { close(u.tried) })
	if err != nil {
		u.ledger.note(failed)
		l.retryLater()
	}
	l.schedulePoll()
	return u.follow(conn, l)
}

// follow lists anew when there is reason to, until the connection is lost.
func (u *upstream) follow(conn connection, l *listener) error {
	var last time.Time
	for {
		select {
		case <-u.ctx.Done():
			return nil
		case <-conn.done():
			return errLost
		case err := <-l.ended:
			// Streams are cut by proxies too: whether the upstream is well, a
			// listing tells.
			if err != nil && breaks(err) {
				if failed, err := u.list(u.ctx, conn, allKinds, announced{}); failed == allKinds {
					return err
				}
			}
			l.again(err)
		case <-l.relisten.C:
			l.start()
		case <-l.poll.C:
			if !u.flow.is(flowing) {
				if failed, err := u.list(u.ctx, conn, allKinds, announced{}); failed == allKinds {
					return err
				}
			}
			l.schedulePoll()
		case <-l.retry.C:
			u.ledger.signal()
		case <-u.ledger.dirty:
			// The first at once, then at most one per debounce.
			if err := sleep(u.ctx, debounce-time.Since(last)); err != nil {
				return nil
			}
			last = time.Now()
			what, waiters := u.ledger.take()
			failed, err := u.list(u.ctx, conn, what, announced(what))
			for _, w := range waiters {
				w <- err
			}
			if failed == what && outOfReach(err) {
				return err
			}
			if err != nil {
				u.f.config.Logger.Warn("upstream list not refreshed", "upstream", u.name, "error", err)
				u.health.set(u.f.config.Now(), "ready", detail(err))
				u.ledger.note(failed)
				l.retryLater()
				continue
			}
			l.retryPause.reset()
			u.health.set(u.f.config.Now(), "ready", "")
		}
	}
}

// outOfReach: the upstream did not get the request, or went away over it. A
// slow answer or a bad one is no reason to connect anew.
func outOfReach(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome)
}

// openListing opens the gateway's own connection.
func (u *upstream) openListing() (connection, error) {
	leave, err := u.f.opening.enter(u.ctx, openSlow)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(u.ctx, openTimeout)
	defer cancel()
	c, err := u.credential(ctx, nil)
	if err != nil {
		return nil, err
	}
	return u.open(ctx, c, fullCapabilities, nil)
}

// refresh lists kind k anew and waits for it.
func (u *upstream) refresh(ctx context.Context, k Kind) error {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !u.health.isReady() {
		return &Failure{Upstream: u.name, Kind: ErrUnavailable}
	}
	select {
	case err := <-u.ledger.demand(k):
		return err
	case <-u.ctx.Done():
		return &Failure{Upstream: u.name, Kind: ErrUnavailable}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gate bounds how many connect at once. One that is slow leaves it early: a
// hanging upstream must not keep the others out.
type gate chan struct{}

func (g gate) enter(ctx context.Context, slow time.Duration) (leave func(), err error) {
	select {
	case g <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	once := make(chan struct{}, 1)
	once <- struct{}{}
	out := func() {
		select {
		case <-once:
			<-g
		default:
		}
	}
	timer := time.AfterFunc(slow, out)
	return func() { timer.Stop(); out() }, nil
}

// backoff doubles from retryFirst to retryLast, with jitter, so that upstreams
// which went down together are not asked together.
type backoff struct{ wait time.Duration }

func (b *backoff) next() time.Duration {
	b.wait = min(max(2*b.wait, retryFirst), retryLast)
	return b.wait/2 + rand.N(b.wait/2+1)
}

func (b *backoff) reset() { b.wait = 0 }

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
