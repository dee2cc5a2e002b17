package federation

import (
	"context"

	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

// wall is a connection through which the gateway's own credentials don't come
// back (promise 1): whatever an upstream says passes here before anything else
// of the gateway sees it, be it for an agent, a record, a log or a snapshot.
type wall struct {
	connection
	mask func() *credential.Mask
	self *peer
}

// behindWall is c with what d's credential has to hide hidden.
func behindWall(c connection, d *dialConfig) connection {
	if d.Credential.Mask == nil {
		return c
	}
	w := &wall{connection: c, mask: d.Credential.Mask}
	m, p := w.mask(), *c.peer()
	p.Capabilities, p.ServerInfo, p.Instructions = m.JSON(p.Capabilities), m.JSON(p.ServerInfo), m.Text(p.Instructions)
	w.self = &p
	return w
}

// behind is the connection behind a wall.
func behind(c connection) connection {
	if w, ok := c.(*wall); ok {
		return w.connection
	}
	return c
}

func (w *wall) peer() *peer { return w.self }

// do masks the answer, and everything that the upstream says on the way to it.
func (w *wall) do(ctx context.Context, c *Call) (*Answer, error) {
	inner := *c
	if c.Notify != nil {
		inner.Notify = func(method string, params []byte) { c.Notify(method, w.mask().JSON(params)) }
	}
	if c.Ask != nil {
		inner.Ask = func(ctx context.Context, method string, params []byte) ([]byte, *wire.Error, error) {
			return c.Ask(ctx, method, w.mask().JSON(params))
		}
	}
	a, err := w.connection.do(ctx, &inner)
	m := w.mask()
	if err != nil {
		return a, masked(m, err)
	}
	out := *a
	out.Result = m.JSON(a.Result)
	if a.Error != nil {
		out.Error = &wire.Error{
			Code: a.Error.Code, Message: m.Text(a.Error.Message), Data: m.JSON(a.Error.Data), Raw: m.JSON(a.Error.Raw),
		}
	}
	return &out, nil
}

func (w *wall) listen(ctx context.Context, filter listenFilter, ready func(), events func(method string, params []byte)) error {
	err := w.connection.listen(ctx, filter, ready, func(method string, params []byte) {
		events(method, w.mask().JSON(params))
	})
	return masked(w.mask(), err)
}

// masked hides what a failure may have taken from the upstream's words, such as
// a header line that is none.
func masked(m *credential.Mask, err error) error {
	f, ok := err.(*Failure)
	if !ok || m == nil {
		return err
	}
	out := *f
	out.Detail = m.Text(f.Detail)
	return &out
}
