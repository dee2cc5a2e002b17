package authserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ory/fosite"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// Resource is an upstream in the words of the consent page.
type Resource struct {
	Name  string // as in /mcp/{name}
	Title string
}

// Config is what a Server needs. A zero duration means its default.
type Config struct {
	Issuer string // the public base URL: scheme and host, no path, no slash at its end
	Store  *store.Store
	Audit  audit.Sink
	Flood  *audit.Flood // counts what nobody known does in vain; nil = one of the server's own
	Logger *slog.Logger
	Now    func() time.Time // nil = time.Now

	Scopes     map[string]string // declared scopes: name to words for the consent page; "mcp" is built in
	AccessTTL  time.Duration     // of an access token: 10 min
	RefreshTTL time.Duration     // of a grant with all its refresh tokens, absolute: 30 days
	CodeTTL    time.Duration     // of an authorization code: 60 s

	Clients   *client.Registry
	Local     *login.Local      // nil = no local accounts
	OIDC      *login.OIDC       // nil = no identity provider
	Upstreams func() []Resource // the enabled upstreams

	// Enterprise are the identity providers that may let people in without a
	// consent (enterprise-managed authorization).
	Enterprise []EnterpriseIssuer

	// Loopback says that this is plain http on a loopback listener: cookies do
	// without __Host-, and localhost, 127.0.0.1 and [::1] are one resource whose
	// issuer and metadata follow the name that was used.
	Loopback       bool
	TrustedProxies []netip.Prefix // may say where a request came from
}

// Server is the authorization server. Its methods are safe for concurrent use.
type Server struct {
	Config
	issuer   *url.URL
	engine   fosite.OAuth2Provider
	grants   map[string]grantFunc // by grant_type
	index    *index
	races    races
	touch    touches
	nobody   nobody
	cross    *http.CrossOriginProtection
	passkeys *login.Passkeys // nil = this address can have none
	begins   begins

	pushes   begins
	changing sync.Mutex // held while Changed carries a user from the store to the index

	stop context.CancelFunc
	work sync.WaitGroup
}

// New makes a Server and reads the live tokens from the store. Close ends what
// it starts.
func New(ctx context.Context, c Config) (*Server, error) {
	if c.Store == nil || c.Audit == nil || c.Clients == nil {
		return nil, errors.New("authserver: Store, Audit and Clients are needed")
	}
	issuer, err := url.Parse(c.Issuer)
	if err != nil || issuer.Host == "" || issuer.Path != "" || issuer.RawQuery != "" || issuer.Fragment != "" || issuer.User != nil {
		return nil, fmt.Errorf("authserver: publicUrl %q: must be a scheme and a host, without a path", c.Issuer)
	}
	// RFC 8414 2: an issuer is an https URL. Loopback is the one exception.
	if issuer.Scheme != "https" && !(issuer.Scheme == "http" && c.Loopback) {
		return nil, fmt.Errorf("authserver: publicUrl %q: must be https unless it is on loopback", c.Issuer)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Flood == nil {
		c.Flood = &audit.Flood{Sink: c.Audit, Now: c.Now}
	}
	if c.Upstreams == nil {
		c.Upstreams = func() []Resource { return nil }
	}
	c.AccessTTL = cmp.Or(c.AccessTTL, 10*time.Minute)
	c.RefreshTTL = cmp.Or(c.RefreshTTL, 30*24*time.Hour)
	c.CodeTTL = cmp.Or(c.CodeTTL, time.Minute)
	for name := range c.Scopes {
		if !scopeName(name) || name == scopeOffline {
			return nil, fmt.Errorf("authserver: scopes: %q can't be the name of a scope; use letters, digits and :._-", name)
		}
	}

	s := &Server{Config: c, issuer: issuer, cross: http.NewCrossOriginProtection()}
	s.engine = s.newEngine()
	s.grants = map[string]grantFunc{
		grantCode:              s.engineGrant,
		grantRefresh:           s.engineGrant,
		grantClientCredentials: s.clientCredentials,
	}
	if len(c.Enterprise) > 0 {
		if err := checkEnterprise(c.Enterprise, c.Clients); err != nil {
			return nil, fmt.Errorf("authserver: %w", err)
		}
		s.grants[grantJWTBearer] = s.enterpriseGrant
	}
	var issuers []string
	for _, e := range c.Enterprise {
		issuers = append(issuers, e.Issuer)
	}
	if c.OIDC != nil {
		issuers = append(issuers, c.OIDC.Issuer)
	}
	if err := checkIssuers(issuers); err != nil {
		return nil, fmt.Errorf("authserver: %w", err)
	}
	s.passkeys = login.NewPasskeys(c.Issuer, c.Local, c.Store)
	if s.nobody, err = newNobody(c.Store); err != nil {
		return nil, fmt.Errorf("authserver: %w", err)
	}
	s.index = newIndex(c.Now)
	if err := s.fill(ctx); err != nil {
		return nil, fmt.Errorf("read the live tokens: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.work.Go(func() { s.sweep(run) })
	return s, nil
}

// Close writes the last uses that are still to be written and ends every
// stream that stands on a token.
func (s *Server) Close() error {
	s.stop()
	s.work.Wait()
	s.Flood.Flush()
	s.index.close()
	return s.flushTouches(context.Background())
}

// Routes adds every endpoint to mux.
func (s *Server) Routes(mux *http.ServeMux) {
	for path, h := range map[string]http.HandlerFunc{
		"/.well-known/oauth-protected-resource":   s.serveResourceMetadata,
		"/.well-known/oauth-protected-resource/":  s.serveResourceMetadata,
		"/.well-known/oauth-authorization-server": s.serveMetadata,
		"/.well-known/openid-configuration":       s.serveMetadata,
		// RFC 8414 3.1 puts the path of an issuer behind the well-known name.
		// Agents of MCP 2025-03-26 take the endpoint for the issuer.
		"/.well-known/oauth-authorization-server/": s.serveMetadata,
		"/.well-known/openid-configuration/":       s.serveMetadata,
		"/mcp/.well-known/openid-configuration":    s.serveMetadata,

		"/oauth/authorize": s.serveAuthorize,
		"/oauth/token":     s.crossOrigin(s.counted("oauth.token", s.serveToken)),
		"/oauth/revoke":    s.crossOrigin(s.counted("oauth.revoke", s.serveRevoke)),
		"/oauth/par":       s.crossOrigin(s.counted("oauth.par", s.servePush)),

		"/login":           s.serveLogin,
		"/login/callback":  s.serveLoginCallback,
		"/login/passkey":   s.servePasskeyAsk,
		"/logout":          s.serveLogout,
		"/consent":         s.serveConsent,
		"/account":         s.serveAccount,
		"/account/":        s.serveAccount,
		"/account/passkey": s.servePasskeyAccount,
		"/setup":           s.serveSetup,
	} {
		mux.HandleFunc(path, h)
	}
	if s.Clients.Registration.Enabled {
		mux.HandleFunc("/oauth/register", s.crossOrigin(s.counted("oauth.register", s.Clients.ServeHTTP)))
	}
	s.assets(mux)
}

// scopeName says whether name can be a scope (RFC 6749 3.3, and no character
// that needs quoting anywhere).
func scopeName(name string) bool {
	return name != "" && len(name) <= maxScopeName && strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(":._-/", r))
	}) < 0
}
