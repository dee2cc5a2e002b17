package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/ostiary/ostiary/authserver"
	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/federation/credential"
	"github.com/ostiary/ostiary/gateway"
	"github.com/ostiary/ostiary/gateway/admin"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/policy/rego"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// house is the composed program: who is built from what, in one place.
type house struct {
	store      *store.Store
	audit      *audit.Log
	flood      *audit.Flood // of all doors: one summary for each source
	federation *federation.Federation
	gateway    *gateway.Gateway
	accounts   *authserver.Server
	admin      *admin.Server
	decider    policy.Decider
	policies   *rego.Live // decider, if it has files; nil for the default policy
}

// buildHouse opens the data directory and composes the parts over it. What was
// opened is closed again when a later part fails.
func buildHouse(ctx context.Context, c *config, catalog *catalogs.Catalog, log *slog.Logger) (_ *house, err error) {
	h := &house{}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close(ctx))
		}
	}()
	if h.decider, h.policies, err = openPolicies(c); err != nil {
		return nil, err
	}
	if h.store, err = store.Open(c.Data, store.Options{MasterKey: c.MasterKey}); err != nil {
		return nil, storeRefused(c, err)
	}
	if h.audit, err = openAudit(c, log, discreet(c, h.store, h.decider, log)); err != nil {
		return nil, err
	}
	h.federation = newFederation(c, h.store, log, (&definitions{sink: h.audit, log: log}).listen)
	if err = h.federation.Apply(ctx, catalog); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	h.flood = &audit.Flood{Sink: h.audit}
	if h.accounts, err = newAccounts(ctx, c, h.store, h.audit, h.flood, log, resources(h.federation)); err != nil {
		return nil, err
	}
	var verifier gateway.Verifier = h.accounts
	if c.NoAuth {
		verifier = noAuth{}
	}
	h.gateway, err = gateway.New(gateway.Config{
		Federation:     h.federation,
		Verifier:       verifier,
		Decider:        h.decider,
		Audit:          h.audit,
		Flood:          h.flood,
		Sealer:         h.store,
		Once:           h.store,
		Logger:         log.With("part", "gateway"),
		Now:            clock(c),
		Limits:         c.gatewayLimits(),
		Rates:          c.Rates,
		StepUp:         stepUp(c, h.accounts),
		Hosts:          publicHosts(c.PublicURL),
		TrustedProxies: c.TrustedProxies,
		AllowedOrigins: c.AllowedOrigins,
		LegacySSE:      c.LegacySSE,
		Version:        thisBuild().Version,
	})
	return h, err
}

// newFederation makes the inner door; snapshots may be nil: nothing is kept.
func newFederation(c *config, snapshots federation.SnapshotStore, log *slog.Logger, options ...func(*federation.Config)) *federation.Federation {
	config := federation.Config{
		Logger:      log.With("part", "federation"),
		Now:         time.Now,
		Credentials: &credential.Keeper{Outbound: federation.Outbound},
		Snapshots:   snapshots,
		Version:     thisBuild().Version,
	}
	for _, set := range append(options, confinement(c)) {
		set(&config)
	}
	return federation.New(config)
}

// openAdmin lets the operator's verbs in, over the socket in the data directory.
func (h *house) openAdmin(c *config, log *slog.Logger) (err error) {
	o := &office{config: c, store: h.store, audit: h.audit, accounts: h.accounts}
	h.admin, err = admin.Listen(c.Data, o.operations(), log.With("part", "admin"))
	return err
}

// routes are all endpoints there are.
func (h *house) routes(c *config, ready *readiness) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/mcp", h.gateway)
	mux.Handle("/mcp/", h.gateway) // and /mcp/{upstream}
	if !c.NoAuth {
		h.accounts.Routes(mux)
	}
	mux.HandleFunc("GET /healthz", healthz)
	mux.Handle("GET /readyz", ready)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.flood.Add(policy.SourceOf(r, c.TrustedProxies).IP, "path")
		notFound(w, r)
	})
	return withBodyTimeout(mux, bodyTimeout)
}

// close ends the parts from the outside in: the operator's socket and streams
// first, then upstreams and accounts, then the log that recorded them, then the
// store.
func (h *house) close(ctx context.Context) error {
	var errs []error
	if h.admin != nil {
		errs = append(errs, closing("admin socket", h.admin.Close(ctx)))
	}
	if h.gateway != nil {
		errs = append(errs, closing("calls in flight", h.gateway.Close(ctx)))
	}
	if h.federation != nil {
		// Processes get their own time: a caller that used up ctx must not
		// leave any behind.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), upstreamGrace)
		errs = append(errs, closing("upstreams", h.federation.Close(end)))
		cancel()
	}
	if h.accounts != nil { // after the gateway: it ends principals, who may have streams
		errs = append(errs, closing("accounts", h.accounts.Close()))
	}
	if h.flood != nil {
		h.flood.Close()
	}
	if h.audit != nil {
		errs = append(errs, closing("audit log", h.audit.Close()))
	}
	if h.store != nil {
		errs = append(errs, closing("store", h.store.Close()))
	}
	return errors.Join(errs...)
}

// closing says what could not be closed; nil stays nil.
func closing(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("closing %s: %w", what, err)
}

// upstreamGrace is how long upstreams may take to end in good order.
const upstreamGrace = 10 * time.Second

func publicHosts(base string) []string {
	if u, err := url.Parse(base); err == nil && u.Host != "" {
		return []string{u.Host}
	}
	return nil
}
