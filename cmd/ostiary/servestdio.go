package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/store/audit"
)

// tokenVariable holds the bearer that `serve --stdio` shows the gateway (MCP,
// Authorization: implementations over stdio take credentials from the
// environment).
const tokenVariable = "OSTIARY_TOKEN"

// serveStdio is `serve --stdio`: MCP on stdin and stdout, for agents that start
// their servers themselves. It is a bridge to the gateway at endpoint, by
// default the one that runs on c.Listen; with --no-auth and no gateway there,
// the whole gateway runs in this process, without listening.
func serveStdio(ctx context.Context, c *config, io stdio, endpoint string) error {
	log := newLogger(c.LogFormat, io)
	if endpoint == "" {
		base := "http://" + c.Listen
		if c.CertFile != "" {
			base = "https://" + c.Listen
		}
		switch {
		case ourServer(ctx, base):
			endpoint = base + "/mcp"
		case c.NoAuth:
			return serveAlone(ctx, c, io, log)
		default:
			return fmt.Errorf("serve --stdio: no gateway answers at %s; start one with `ostiary serve`, name another with --url, or add --no-auth to run one in this process", base)
		}
	}
	token, err := bearer(endpoint, io)
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = bridgeCalls
	defer transport.CloseIdleConnections()
	// A redirect would carry the bearer and the agent's arguments elsewhere.
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	log.Info("bridging stdin and stdout", "url", endpoint)
	return newBridge(c, io, log, endpoint, token, client).run(ctx)
}

// bearer checks an endpoint's URL and gives the token to show there, "" for
// none. A token does not travel in clear text beyond this machine.
func bearer(endpoint string, io stdio) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return "", usagef("--url %q is not an http or https URL of an endpoint; write http://127.0.0.1:8080/mcp", endpoint)
	}
	token, _ := io.Getenv(tokenVariable)
	if token = strings.TrimSpace(token); token != "" {
		err = tokenMayTravel(endpoint)
	}
	return token, err
}

// tokenMayTravel refuses an endpoint to which a token would go in clear text,
// beyond this machine.
func tokenMayTravel(endpoint string) error {
	if u, err := url.Parse(endpoint); err != nil || u.Scheme != "https" && !loopback(net.JoinHostPort(u.Hostname(), "0")) {
		return usagef("--url %s: %s would travel in clear text; use https", endpoint, tokenVariable)
	}
	return nil
}

// serveAlone runs the gateway in this process for the one agent on stdin.
func serveAlone(ctx context.Context, c *config, io stdio, log *slog.Logger) error {
	if err := mayServe(c); err != nil {
		return err
	}
	catalog, err := catalogs.Load(c.Catalogs, catalogOptions(c, io))
	if err != nil {
		return catalogRefused(c.Catalogs, err)
	}
	h, err := buildHouse(ctx, c, catalog, log)
	if err != nil {
		return err
	}
	if err := h.audit.Append(ctx, &audit.Record{Kind: "event", Event: "server.start", Time: time.Now(), Revisions: audit.Revisions{Policy: h.decider.Revision(), Catalog: catalog.Revision}}); err != nil {
		return errors.Join(fmt.Errorf("the start can't be recorded: %w; free space in %s or mend its permissions", err, c.Data), h.close(ctx))
	}
	if err := h.openAdmin(c, log); err != nil {
		return errors.Join(err, h.close(ctx))
	}
	for _, w := range catalog.Warnings {
		log.Warn("catalog", "warning", w.String())
	}
	var work sync.WaitGroup
	watch, stopWatching := context.WithCancel(ctx)
	ready := &readiness{audit: h.audit, store: h.store, status: h.federation.Status, signs: h.audit}
	work.Go(func() { h.followCatalog(watch, c, io, catalog.Revision, ready, log) })
	work.Go(func() { h.followPolicies(watch, ready, log) })
	h.warnOfPolicies(log)
	log.Info("serving stdin and stdout", "upstreams", enabled(catalog), "declared", len(catalog.Upstreams), "policy", h.policyWords(c), "data", c.Data)

	client := &http.Client{Transport: inMemory{h.gateway}}
	err = newBridge(c, io, log, "http://localhost/mcp", "", client).run(ctx)
	h.audit.Note(&audit.Record{Kind: "event", Event: "server.stop", Time: time.Now()})
	stopWatching()
	work.Wait()
	end, cancel := context.WithTimeout(context.Background(), drainGrace)
	defer cancel()
	return errors.Join(err, h.close(end))
}

func newBridge(c *config, io stdio, log *slog.Logger, endpoint, token string, client *http.Client) *bridge {
	b := &bridge{
		url: endpoint, token: token, http: client, in: io.In, out: io.Out, log: log, limit: c.Limits.Body,
		calls: make(map[string]*bridged), headers: make(map[string][]wire.ParamHeader),
	}
	if b.limit == 0 {
		b.limit = wire.DefaultLimits.Bytes
	}
	return b
}
