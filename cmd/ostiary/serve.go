package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/store/audit"
)

const (
	headerTimeout  = 5 * time.Second // for the head of a request
	maxHeaderBytes = 64 << 10
	idleTimeout    = 2 * time.Minute  // of a kept-alive connection between requests
	drainGrace     = 30 * time.Second // for calls in flight at shutdown
	catalogPoll    = time.Second / 2  // how often the files are looked at
)

func serveVerb() verb {
	return verb{
		name: "serve", short: "run the gateway",
		long: "Each flag is also a key of ostiary.yaml (publicUrl) and a variable (OSTIARY_PUBLIC_URL);\n" +
			"flag beats variable beats file beats default. Keys without a flag: allowedOrigins,\n" +
			"trustedProxies (networks whose X-Forwarded-* headers count), tls{certFile, keyFile},\n" +
			"masterKey, audit{deadline, segmentSize, checkpoint{every 60s, file, syslog (local or\n" +
			"udp://HOST:514), webhook, header, secret}, retention{age 90d, size 10GiB},\n" +
			"redact{pointers[/arguments/NAME or {path, upstream, tool}], keys, off}, quota{requests,\n" +
			"refused 600}},\n" +
			"policy{timeZone, timeout},\n" +
			"limits{body, page, arguments, record, parked, parkedCalls, session, state, streams, calls,\n" +
			"replay, keepAlive} and legacySse (true: serve agents of MCP 2024-11-05 over HTTP+SSE, too).\n\n" +
			"Agents and people sign in, unless --no-auth: scopes{NAME: words}, oauth{accessTTL 10m,\n" +
			"refreshTTL 720h, registration true, privateSchemes, clientDocuments{enabled true, hosts,\n" +
			"pinned{URL: FILE}}, clients[{id, name, redirectUris, secret, jwksFile, jwksUri, authMethod,\n" +
			"grantTypes, scopes}], enterprise[{issuer, jwksUri, groupsClaim, clients}]}, oidc{issuer,\n" +
			"clientId, clientSecret, title, groupsClaim groups, scopes, maxAge 1h}. A secret is\n" +
			"${VARIABLE} or file:PATH rather than itself. On an address that other machines reach, TLS\n" +
			"or trustedProxies is needed, and an https publicUrl.\n\n" +
			"--stdio is for agents that start their servers themselves. It shows the gateway the\n" +
			"bearer in OSTIARY_TOKEN, if set. stdout carries the protocol alone; the log is on stderr.",
		examples: []string{
			"ostiary serve",
			"ostiary serve --no-auth",
			"ostiary serve --no-auth --listen 127.0.0.1:0 --catalogs ./catalogs --data ./data",
			"ostiary serve --config /etc/ostiary/ostiary.yaml --log-format json",
			"ostiary serve --stdio --url http://127.0.0.1:8080/mcp/github",
		},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "listen", "public-url", "data", "catalogs", "policies",
				"metrics-listen", "log-format", "no-auth", "stdio", "dev")
			url := fs.String("url", "", "with --stdio: endpoint `URL` of a running gateway (default http://ADDR/mcp)")
			return func(ctx context.Context, args []string) error {
				if err := noWords("serve", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				switch {
				case c.Stdio:
					return serveStdio(ctx, c, io, *url)
				case *url != "":
					return usagef("serve: --url goes with --stdio; --listen is the address to serve on")
				}
				return serve(ctx, c, io)
			}
		},
	}
}

// serve runs until ctx ends, then closes in good order.
func serve(ctx context.Context, c *config, io stdio) error {
	if err := mayServe(c); err != nil {
		return err
	}
	log := newLogger(c.LogFormat, io)
	if err := federation.HideMemory(); err != nil {
		return fmt.Errorf("serve: can't hide its memory from other processes: %w", err)
	}
	catalog, err := catalogs.Load(c.Catalogs, catalogOptions(c, io))
	if err != nil {
		return catalogRefused(c.Catalogs, err)
	}
	ln, err := listen(c)
	if err != nil {
		return err
	}
	defer ln.Close()
	c.PublicURL = cmp.Or(strings.TrimSuffix(c.PublicURL, "/"), baseURL(c, ln.Addr()))

	h, err := buildHouse(ctx, c, catalog, log)
	if err != nil {
		return err
	}
	ready := &readiness{audit: h.audit, store: h.store, status: h.federation.Status, signs: h.audit}
	if err := h.audit.Append(ctx, &audit.Record{Kind: "event", Event: "server.start", Time: time.Now(), Revisions: audit.Revisions{Policy: h.decider.Revision(), Catalog: catalog.Revision}}); err != nil {
		return errors.Join(fmt.Errorf("the start can't be recorded: %w; free space in %s or mend its permissions", err, c.Data), h.close(ctx))
	}
	if err := h.openAdmin(c, log); err != nil {
		return errors.Join(err, h.close(ctx))
	}

	server := &http.Server{
		Handler:           h.routes(c, ready),
		ReadHeaderTimeout: headerTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		IdleTimeout:       idleTimeout, // no WriteTimeout: streams are long
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	var work sync.WaitGroup
	watch, stopWatching := context.WithCancel(ctx)
	work.Go(func() { h.followCatalog(watch, c, io, catalog.Revision, ready, log) })
	work.Go(func() { h.followPolicies(watch, ready, log) })

	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	h.warnOfPolicies(log)
	h.announce(ctx, c, catalog, log, io)

	select {
	case err = <-served:
		err = fmt.Errorf("serving %s: %w", c.PublicURL, err)
	case <-ctx.Done():
		log.Info("stopping", "grace", drainGrace.String())
	}
	ready.close()
	h.audit.Note(&audit.Record{Kind: "event", Event: "server.stop", Time: time.Now()})
	stopWatching()
	work.Wait()
	return errors.Join(err, h.drain(server))
}

// drain stops taking requests, lets those in flight finish and closes the parts.
func (h *house) drain(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainGrace)
	defer cancel()
	var shut sync.WaitGroup
	// Together: Shutdown waits for streams, and closing the gateway ends them.
	shut.Go(func() {
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	})
	err := h.close(ctx)
	shut.Wait()
	return err
}

// mayServe refuses what would be less safe than it looks.
func mayServe(c *config) error {
	here := loopback(c.Listen)
	switch {
	case c.NoAuth && !here:
		return fmt.Errorf("serve: --no-auth on %s would let anyone who reaches it use every enabled upstream; listen on a loopback address such as 127.0.0.1:8080", c.Listen)
	case c.Dev && !here:
		return fmt.Errorf("serve: --dev loosens checks, and %s can be reached from other machines; listen on a loopback address such as 127.0.0.1:8080", c.Listen)
	case c.NoAuth:
		return nil
	case !here && !c.guarded():
		return fmt.Errorf("serve: passwords and tokens would reach %s in clear text; set tls.certFile and tls.keyFile, or name the proxies that end TLS in front of it in trustedProxies, or listen on a loopback address", c.Listen)
	case !here && c.PublicURL == "":
		return fmt.Errorf("serve: what agents call %s by is not known; set --public-url to the https URL that leads here", c.Listen)
	}
	if err := checkPublic(c.base()); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// guarded says whether nothing reaches the listener in clear text over a
// network, as far as the operator says.
func (c *config) guarded() bool { return c.CertFile != "" || len(c.TrustedProxies) > 0 }

func catalogOptions(c *config, io stdio) catalogs.Options {
	return catalogs.Options{Getenv: io.Getenv, DataDir: c.Data}
}

// catalogRefused names every problem, one a line.
func catalogRefused(dir string, err error) error {
	return fmt.Errorf("%w\ncatalog %s refused; mend the above, `ostiary catalog check --catalogs %s` shows it again", err, dir, dir)
}

func listen(c *config) (net.Listener, error) {
	ln, err := net.Listen("tcp", c.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("serve: %s is in use by another program; choose another with --listen, or `ostiary doctor` says whether it is this gateway", c.Listen)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("serve: not allowed to listen on %s; choose a port above 1023", c.Listen)
	case err != nil:
		return nil, fmt.Errorf("serve: can't listen on %s: %w; choose an address of this machine with --listen", c.Listen, err)
	}
	// The name may have resolved to more than it said.
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() && (c.NoAuth || !c.guarded()) {
		ln.Close()
		return nil, fmt.Errorf("serve: %s is not a loopback address, which --no-auth needs, and so does serving without TLS or a declared proxy", ln.Addr())
	}
	if c.CertFile == "" {
		return ln, nil
	}
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("serve: tls: %w; check tls.certFile and tls.keyFile", err)
	}
	return tls.NewListener(ln, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	}), nil
}

func baseURL(c *config, a net.Addr) string {
	if c.CertFile != "" {
		return "https://" + a.String()
	}
	return "http://" + a.String()
}

// followCatalog applies each good change of the files and keeps the last good
// catalog over a bad one, until ctx ends.
func (h *house) followCatalog(ctx context.Context, c *config, io stdio, revision string, ready *readiness, log *slog.Logger) {
	options := catalogOptions(c, io)
	options.Revision = revision
	catalogs.Watch(ctx, c.Catalogs, options, catalogPoll, func(next *catalogs.Catalog, err error) {
		if err == nil && next.Revision != revision {
			err = h.federation.Apply(ctx, next)
			if err == nil {
				revision = next.Revision
				log.Info("catalog reloaded", "revision", revision, "upstreams", enabled(next))
				h.audit.Note(&audit.Record{Kind: "event", Event: "catalog.reload", Time: time.Now(), Revisions: audit.Revisions{Catalog: revision}})
			}
		}
		if err == nil {
			ready.setCatalog("")
			return
		}
		lines := strings.Split(err.Error(), "\n")
		for _, line := range lines {
			log.Error("catalog refused, the last good one serves", "problem", line)
		}
		ready.setCatalog(catalogProblem(len(lines)))
		h.audit.Note(&audit.Record{Kind: "event", Event: "catalog.refused", Time: time.Now(), Revisions: audit.Revisions{Catalog: revision}, Detail: err.Error()})
	})
}

// announce says what is served, once the address is open.
func (h *house) announce(ctx context.Context, c *config, catalog *catalogs.Catalog, log *slog.Logger, io stdio) {
	policy, signIn := h.policyWords(c), h.signInWords(ctx, c)
	for _, w := range catalog.Warnings {
		log.Warn("catalog", "warning", w.String())
	}
	url := c.PublicURL + "/mcp"
	if c.LogFormat == "json" {
		log.Info("serving", "url", url, "upstreams", enabled(catalog), "declared", len(catalog.Upstreams),
			"policy", policy, "sign_in", signIn, "data", c.Data, "dev", c.Dev)
		h.inviteFirstUser(ctx, c, log, io)
		return
	}
	fmt.Fprintf(io.Err, "ostiary: serving %s\n", url)
	fmt.Fprintf(io.Err, "  upstreams  %d enabled of %d declared in %s\n", enabled(catalog), len(catalog.Upstreams), c.Catalogs)
	fmt.Fprintf(io.Err, "  sign-in    %s\n", signIn)
	fmt.Fprintf(io.Err, "  policy     %s\n", policy)
	fmt.Fprintf(io.Err, "  data       %s\n", c.Data)
	if c.Dev {
		fmt.Fprint(io.Err, "  dev        checks are loosened: client documents and identity providers on this machine may use plain http; never for real use\n")
	}
	fmt.Fprintf(io.Err, "  connect    %s\n", connectCommands(url)[0].Command)
	h.inviteFirstUser(ctx, c, log, io)
}

func enabled(c *catalogs.Catalog) int {
	n := 0
	for _, u := range c.Upstreams {
		if u.Enabled {
			n++
		}
	}
	return n
}

// newLogger logs on stderr in the form asked for.
func newLogger(format string, io stdio) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(io.Err, nil))
	}
	return slog.New(slog.NewTextHandler(io.Err, nil))
}
