package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/ostiary/ostiary/authserver"
	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// newAccounts composes the authorization server over an open store. upstreams
// may be nil: then consent pages, of which there are none without a server,
// name no upstream.
func newAccounts(ctx context.Context, c *config, st *store.Store, sink audit.Sink, flood *audit.Flood, log *slog.Logger, upstreams func() []authserver.Resource) (*authserver.Server, error) {
	log = log.With("part", "authserver")
	issuer, local := c.issuer()
	dev := c.Dev && loopback(c.Listen)
	registry := &client.Registry{
		Store:          st,
		Static:         slices.Clone(c.Clients),
		Registration:   client.Registration{Enabled: c.Registration},
		Documents:      client.Documents{Enabled: c.Documents, Pinned: c.PinnedDocuments, Allow: c.DocumentHosts},
		PrivateSchemes: c.PrivateSchemes,
		Dev:            dev,
		Source: func(r *http.Request) netip.Addr {
			a, _ := netip.ParseAddr(policy.SourceOf(r, c.TrustedProxies).IP) // the zero Addr is a source, too
			return a
		},
		Logger: log,
		Audit:  sink,
	}
	if err := registry.Check(); err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	var provider *login.OIDC
	if c.Issuer != "" {
		provider = &login.OIDC{
			Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, Title: c.Title,
			GroupsClaim: c.GroupsClaim, Scopes: c.ExtraScopes, MaxAge: c.MaxAge, Dev: dev, Users: st, Logger: log,
		}
	}
	return authserver.New(ctx, authserver.Config{
		Issuer: issuer, Store: st, Audit: sink, Flood: flood, Logger: log,
		Scopes: c.Scopes, AccessTTL: c.AccessTTL, RefreshTTL: c.RefreshTTL,
		Clients: registry, Local: &login.Local{Users: st}, OIDC: provider,
		Upstreams: upstreams, Loopback: local, TrustedProxies: c.TrustedProxies,
		Enterprise: c.Enterprise,
	})
}

// base is the public base URL as far as it is known without a listener.
func (c *config) base() string {
	scheme := "http://"
	if c.CertFile != "" {
		scheme = "https://"
	}
	return cmp.Or(strings.TrimSuffix(c.PublicURL, "/"), scheme+c.Listen)
}

// issuer is the base URL that tokens are issued under, and whether it is plain
// http on loopback. Under noAuth nobody signs in, so a publicUrl that could not
// be signed in at is no reason to refuse.
func (c *config) issuer() (base string, local bool) {
	base = c.base()
	if c.NoAuth && checkPublic(base) != nil {
		base = "http://" + c.Listen
	}
	u, err := url.Parse(base)
	return base, err == nil && u.Scheme == "http" && loopbackHost(u)
}

// checkPublic refuses a base URL that passwords and tokens would travel to in
// clear text.
func checkPublic(base string) error {
	u, err := url.Parse(base)
	if err == nil && u.Scheme == "http" && !loopbackHost(u) {
		return fmt.Errorf("publicUrl %s: passwords and tokens would travel in clear text; it must be https, or a loopback address", base)
	}
	return err
}

func loopbackHost(u *url.URL) bool { return loopback(u.Hostname()+":0") || u.Hostname() == "::1" }

// resources are the enabled upstreams in the words of the consent page.
func resources(f *federation.Federation) func() []authserver.Resource {
	return func() []authserver.Resource {
		var all []authserver.Resource
		for _, u := range f.Snapshot().Upstreams() {
			all = append(all, authserver.Resource{Name: u.Config.Name, Title: cmp.Or(u.Config.Title, u.Config.Name)})
		}
		return all
	}
}
