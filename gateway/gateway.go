package gateway

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

// Verifier says who sends a request. It is the one place where an inbound
// token is read. Implementations are safe for concurrent use.
type Verifier interface {
	// Verify returns the principal, or an error: the request is answered 401, or
	// as the error says if it is a Challenge. Streams and calls of the principal
	// end when its Ended is closed.
	Verify(ctx context.Context, r *http.Request) (*identity.Principal, error)
}

// Sealer makes tokens that only this installation opens: sessions, cursors,
// request states. purpose separates uses; bound is authenticated, not stored.
type Sealer interface {
	Seal(purpose string, plain, bound []byte) string
	Unseal(purpose, token string, bound []byte) ([]byte, error)
}

// Once remembers keys until they expire: DELETEd sessions.
type Once interface {
	InsertIfAbsent(ctx context.Context, class, key string, expires time.Time) (bool, error)
	Present(ctx context.Context, class, key string) (bool, error)
}

// Limits of the outer door. A zero field means its default.
type Limits struct {
	Body        int           // bytes of one request body: 4 MiB
	Page        int           // items of one list page: 1000
	Record      int           // bytes of arguments kept in clear in a record: 64 KiB
	Parked      time.Duration // a call waiting for its agent's answer: 5 min
	ParkedCalls int           // calls of one principal that asked their agent something: 32
	Session     time.Duration // live state of a legacy session without use: 24 h
	SessionLife time.Duration // a legacy session in all: 7 days
	State       time.Duration // life of a requestState: 15 min
	Streams     int           // open streams of one principal: 256
	Calls       int           // calls in flight of one principal: 256
	Replay      int           // bytes kept per session for resumption: 1 MiB
	KeepAlive   time.Duration // between comments on a quiet stream: 15 s
	Arguments   int           // bytes of arguments that schemas and masks have to read: 256 KiB
	Requests    int           // requests of one principal on record in a minute: without limit
	Refused     int           // messages of one principal on record in a minute that were not judged: 600
}

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	l.Body = cmp.Or(l.Body, wire.DefaultLimits.Bytes)
	l.Page = cmp.Or(l.Page, 1000)
	l.Record = cmp.Or(l.Record, 64<<10)
	l.Parked = cmp.Or(l.Parked, 5*time.Minute)
	l.ParkedCalls = cmp.Or(l.ParkedCalls, 32)
	l.Session = cmp.Or(l.Session, 24*time.Hour)
	l.SessionLife = cmp.Or(l.SessionLife, 7*24*time.Hour)
	l.State = cmp.Or(l.State, 15*time.Minute)
	l.Streams = cmp.Or(l.Streams, 256)
	l.Calls = cmp.Or(l.Calls, 256)
	l.Replay = cmp.Or(l.Replay, 1<<20)
	l.Refused = cmp.Or(l.Refused, 600)
	l.KeepAlive = cmp.Or(l.KeepAlive, 15*time.Second)
	l.Arguments = cmp.Or(l.Arguments, 256<<10)
	return l
}

// Config is what a Gateway needs.
type Config struct {
	Federation     *federation.Federation
	Verifier       Verifier
	Decider        policy.Decider
	Audit          audit.Sink
	Sealer         Sealer
	Once           Once
	Logger         *slog.Logger
	Now            func() time.Time
	Limits         Limits
	Hosts          []string       // Host values served besides loopback names
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-* headers count
	AllowedOrigins []string       // exact origins, beside loopback and the gateway's own
	Flood          *audit.Flood   // counts requests of nobody known, by source; nil = one of the gateway's own
	LegacySSE      bool           // also serve agents of MCP 2024-11-05 over HTTP+SSE
	Rates          []Rate         // classes of budgets, for obligations of type rate

	// StepUp is the WWW-Authenticate header of a 403 that asks for all the scopes
	// needed, of which the grant lacks those missing; "" when nobody could grant
	// them. nil = never: where there is no sign-in.
	StepUp  func(r *http.Request, needed, missing []string) string
	Version string
}

// Gateway is the outer door: an http.Handler for /mcp and /mcp/{upstream}.
type Gateway struct {
	Config
	parse      wire.Limits
	serverInfo []byte // raw Implementation
	serverMeta []byte // raw _meta of a modern result of our own

	sessions *sessions
	agents   sseAgents
	parks    *parks
	taskAsks *taskAsks

	taskTable taskTable
	hub       *hub
	views     views
	rates     *rates
	schemas   schemas
	quota     quota
	records   recordQuota
	running   sync.WaitGroup
	stop      context.CancelFunc
	unwatch   func()
	unelicit  func()
}

// New makes a Gateway. Close ends what it starts.
func New(c Config) (*Gateway, error) {
	if c.Federation == nil || c.Verifier == nil || c.Decider == nil || c.Audit == nil || c.Sealer == nil || c.Once == nil {
		return nil, errors.New("gateway: Federation, Verifier, Decider, Audit, Sealer and Once are needed")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Limits = c.Limits.withDefaults()
	if c.Flood == nil {
		c.Flood = &audit.Flood{Sink: c.Audit, Now: c.Now}
	}
	g := &Gateway{Config: c, parse: wire.DefaultLimits}
	g.parse.Bytes = c.Limits.Body
	g.serverInfo = wire.AppendString([]byte(`{"name":"ostiary","title":"Ostiary","version":`), c.Version)
	g.serverInfo = append(g.serverInfo, '}')
	g.serverMeta = append([]byte(`{"`+wire.MetaServerInfo+`":`), g.serverInfo...)
	g.serverMeta = append(g.serverMeta, '}')
	var err error
	if g.rates, err = newRates(c.Rates); err != nil {
		return nil, err
	}
	g.schemas.unread = func(i *federation.Item, patterns []string) {
		g.Logger.Warn("patterns of a schema are not checked here: RE2 can't say them; rules and the upstream have to", "upstream", i.Upstream.Name, "tool", i.Name, "patterns", len(patterns), "first", clip(patterns[0], 200))
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.hub = newHub(g)
	g.sessions = newSessions(ctx, g)
	g.parks = newParks(ctx, g)
	g.taskAsks = newTaskAsks(ctx, g)
	g.unwatch = c.Federation.Watch(g.changed)
	g.unelicit = c.Federation.WatchElicited(g.sessions.elicitations.completed)
	g.running.Go(g.followPolicy)
	return g, nil
}

// Close ends all streams in good order; calls in flight may finish until ctx
// ends, those that wait for their agent's answer are cancelled.
func (g *Gateway) Close(ctx context.Context) error {
	g.unwatch()
	g.unelicit()
	g.hub.closeAll()
	g.parks.close()
	g.taskAsks.close()
	defer g.Flood.Flush()
	defer g.stop()
	defer g.sessions.closeAll()
	done := make(chan struct{})
	go func() { g.running.Wait(); g.parks.running.Wait(); g.taskAsks.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
