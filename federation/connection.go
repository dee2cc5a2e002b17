package federation

import (
	"context"

	"github.com/ostiary/ostiary/gateway/wire"
)

// connection is one live connection to one upstream: a pooled modern endpoint,
// a legacy HTTP session, or a stdio process of either era. Implementations are
// safe for concurrent use; how many exist and who shares them is the pool's
// business (sharing.go), not theirs.
type connection interface {
	// peer is what the upstream said of itself when the connection was made.
	peer() *peer

	// do sends c and waits for its answer. It honours ctx (cancel closes the
	// response stream in the modern era over HTTP, and sends
	// notifications/cancelled otherwise). Errors are *Failure. It never
	// repeats a request that may have run.
	do(ctx context.Context, c *Call) (*Answer, error)

	// listen delivers the upstream's own notifications (list_changed,
	// resources/updated, logging outside a call) until ctx ends or the
	// connection is lost. Modern: subscriptions/listen with the filter;
	// legacy: the GET stream or stdio's stream, with resources/subscribe for
	// filter.URIs, unsubscribed at the end. ready is called once, when
	// notifications are flowing; events come from one goroutine, in order. A
	// listed kind whose notification has nil params may have changed: the
	// stream had a gap. The error is ctx's own, a *Failure, or
	// errNoNotifications where there is no sense in asking again.
	listen(ctx context.Context, filter listenFilter, ready func(), events func(method string, params []byte)) error

	// done is closed when the connection is of no more use. It is still to be
	// closed then.
	done() <-chan struct{}

	// close ends it in good order (DELETE, close stdin → TERM → KILL), with
	// what is still under way on it, and returns when nothing of it is left.
	// When ctx ends, what is left goes without further courtesy.
	close(ctx context.Context) error
}

// listenFilter says which notifications a listener wants.
type listenFilter struct {
	Tools, Prompts, Resources bool     // list_changed
	URIs                      []string // resources/updated of these, the upstream's own URIs
	Tasks                     []string // the state of these, by the upstream's own ids
}

// peer is what an upstream says of itself. Immutable.
type peer struct {
	Era          wire.Era
	Version      string // negotiated protocol revision
	Capabilities []byte // raw ServerCapabilities
	ServerInfo   []byte // raw Implementation; nil when absent. Never trusted.
	Instructions string
}
