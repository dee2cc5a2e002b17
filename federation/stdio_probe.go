package federation

import (
	"context"
	"errors"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// Limits of starting a process.
const (
	startLimit = 60 * time.Second // programs that fetch themselves first are slow
	// discoverPatience is how long server/discover may go unanswered until
	// initialize is tried beside it: some servers of the legacy era ignore
	// what comes before it.
	discoverPatience = 5 * time.Second
)

// dialStdio starts the process and finds out its era. A
// process that ends itself over server/discover is started once more, for
// initialize.
func dialStdio(ctx context.Context, d *dialConfig) (connection, error) {
	ctx, clock := withDeadline(ctx, startLimit)
	defer clock.stop()
	discover := d.Era == nil || *d.Era == wire.Modern
	s, err := connectStdio(ctx, d, discover)
	if errors.Is(err, errLegacy) && ctx.Err() == nil {
		s, err = connectStdio(ctx, d, false)
	}
	if errors.Is(err, errNotLegacy) && !discover && ctx.Err() == nil {
		s, err = connectStdio(ctx, d, true)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// connectStdio is one try with one process. errLegacy: it did not survive
// server/discover. errNotLegacy: it refused initialize.
func connectStdio(ctx context.Context, d *dialConfig, discover bool) (*stdio, error) {
	s, err := startStdio(d)
	if err != nil {
		return nil, err
	}
	if err = s.negotiate(ctx, discover); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// negotiate finds out the era and, in the legacy one, opens the session.
func (s *stdio) negotiate(ctx context.Context, discover bool) error {
	var question <-chan answered
	if discover {
		w := newMetaWriter(wire.Modern, s.d.Version)
		question = s.try(ctx, methodDiscover, w.own(""))
		patience := time.NewTimer(s.patience)
		defer patience.Stop()
		select {
		case a := <-question:
			if a.f != nil && errors.Is(a.f, ErrUnavailable) || a.f != nil && errors.Is(a.f, ErrUnknownOutcome) {
				return errors.Join(errLegacy, a.f)
			}
			if done, err := s.modern(a); done {
				return err
			}
			question = nil
		case <-patience.C:
		}
	}
	w := newMetaWriter(wire.Legacy, s.d.Version)
	greeting := s.try(ctx, methodInitialize, w.initializeParams(s.d.Capabilities))
	for {
		select {
		case a := <-question:
			// It was only slow to start. Its own word decides.
			if done, err := s.modern(a); done {
				return err
			}
			question = nil
		case a := <-greeting:
			return s.legacy(a, w)
		}
	}
}

// modern settles for the modern era if the answer to server/discover says so.
// done tells that initialize is not to be tried.
func (s *stdio) modern(a answered) (done bool, err error) {
	if a.f != nil {
		return a.f.Kind == ErrCancelled || a.f.Kind == ErrTimeout, a.f
	}
	p, err := discovered(s.name(), a.msg, 0)
	if errors.Is(err, errLegacy) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	s.meta = newMetaWriter(wire.Modern, s.d.Version)
	s.self.Store(p)
	return true, nil
}

// legacy settles for the legacy era if the answer to initialize says so.
func (s *stdio) legacy(a answered, w metaWriter) error {
	if a.f != nil {
		return a.f
	}
	p, f := initialized(s.name(), a.msg)
	if f != nil {
		return errors.Join(errNotLegacy, f)
	}
	s.meta = w
	s.self.Store(p)
	s.tell(wire.AppendNotification(nil, "notifications/initialized", nil))
	return nil
}

// try sends a request and gives its answer to a channel.
func (s *stdio) try(ctx context.Context, method string, params []byte) <-chan answered {
	w := &waiter{id: s.nextID()}
	out := make(chan answered, 1)
	s.work.Go(func() {
		m, f := s.exchange(ctx, w, method, params, nil)
		out <- answered{m, f}
	})
	return out
}
