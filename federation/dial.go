package federation

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway/wire"
)

// dialConfig says whom to connect to, as whom, and with what.
type dialConfig struct {
	Upstream     *catalogs.Upstream
	Credential   credential.Credential
	Capabilities []byte    // raw ClientCapabilities declared at initialize (legacy); nil = {}
	Era          *wire.Era // known era (cached); nil = probe
	Version      string    // of the gateway, for clientInfo
	Logger       *slog.Logger
	Now          func() time.Time
	Confined     []string // what a stdio upstream must not read
	Fixed        []string // what it must not change
	Shim         string   // Config.Shim
	means        []string // of confinement, in this order; nil = all

	// Elicited takes the params of a notifications/elicitation/complete that
	// comes when no call under way is about it (legacy). It does not block for
	// long. nil = such ones are dropped.
	Elicited func(params []byte)
}

// dial makes one live connection. Errors are *Failure; nothing is left behind
// by one that failed. The connection outlives ctx, and ends with close alone,
// also after done.
//
// The era is found out by server/discover, never by anything that could have
// an effect. A known era saves the question, and is doubted
// as soon as it doesn't work.
func dial(ctx context.Context, d dialConfig) (connection, error) {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	u := d.Upstream
	var mask *credential.Mask
	if hide := d.Credential.Mask; hide != nil {
		mask = hide()
		if tell := d.Elicited; tell != nil {
			d.Elicited = func(params []byte) { tell(hide().JSON(params)) }
		}
	}
	var c connection
	var err error
	switch {
	case len(u.Command) > 0:
		c, err = dialStdio(ctx, &d)
	default:
		c, err = dialHTTP(ctx, &d)
	}
	if err != nil {
		return nil, masked(mask, failed(ctx, u.Name, err))
	}
	return behindWall(c, &d), nil
}

func dialHTTP(ctx context.Context, d *dialConfig) (connection, error) {
	e, err := newEndpoint(d)
	if err != nil {
		return nil, err
	}
	type step func(context.Context, *endpoint, *dialConfig) (connection, error)
	steps := []step{dialModernHTTP, dialOlder}
	switch {
	case d.Upstream.Transport == catalogs.SSE:
		steps = []step{dialSSE}
	case d.Era != nil && *d.Era == wire.Legacy:
		steps[0], steps[1] = steps[1], steps[0]
	}
	var first error
	for _, step := range steps {
		c, err := step(ctx, e, d)
		if err == nil {
			return c, nil
		}
		if first == nil || errors.Is(first, errLegacy) {
			first = err
		}
		if !errors.Is(err, errLegacy) && !errors.Is(err, errNotLegacy) {
			break
		}
	}
	e.close()
	return nil, first
}

// dialOlder opens a session of the legacy era: over Streamable HTTP or, where
// the POST of initialize shows that there is none, over HTTP+SSE (MCP
// 2025-11-25, Transports, Backwards Compatibility).
func dialOlder(ctx context.Context, e *endpoint, d *dialConfig) (connection, error) {
	c, err := dialLegacyHTTP(ctx, e, d)
	if d.Upstream.Transport != catalogs.Auto || !errors.Is(err, errNotStreamable) {
		return c, err
	}
	older, sseErr := dialSSE(ctx, e, d)
	if errors.Is(sseErr, errNoEndpoint) {
		return nil, err
	}
	return older, sseErr
}

// failed makes a *Failure of any error of a dial.
func failed(ctx context.Context, upstream string, err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return notExecuted(f)
	}
	if ctx.Err() != nil {
		return fail(upstream, ErrCancelled, "while connecting")
	}
	return fail(upstream, ErrUnavailable, "%v", err)
}
