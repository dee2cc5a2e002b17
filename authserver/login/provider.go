package login

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	providerTimeout = 10 * time.Second
	maxProviderBody = 1 << 20 // bytes of one answer
)

// provider is what discovery found.
type provider struct {
	*oidc.Provider
	settings    oauth2.Config
	sendsIss    bool
	takesClaims bool // it reads the claims parameter
}

func (p *provider) config(redirect string) *oauth2.Config {
	c := p.settings
	c.RedirectURL = redirect
	return &c
}

// provider discovers once, and again while that fails: a provider that is down
// when the gateway starts is no reason not to start.
func (o *OIDC) provider(ctx context.Context) (*provider, error) {
	o.mu.Lock()
	found := o.found
	o.mu.Unlock()
	if found != nil {
		return found, nil
	}
	// One discovery for all who wait, which none of them can cancel for the
	// others; the client's timeout bounds it.
	v, err, _ := o.finding.Do("", func() (any, error) { return o.discover(context.WithoutCancel(ctx)) })
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.found = v.(*provider)
	return o.found, nil
}

// discover is OpenID Connect Discovery 4.
func (o *OIDC) discover(ctx context.Context) (*provider, error) {
	if err := o.secure("issuer", o.Issuer); err != nil {
		return nil, err
	}
	p, err := oidc.NewProvider(o.client(ctx), o.Issuer)
	if err != nil {
		o.log().Warn("discovery at the identity provider failed", "issuer", o.Issuer, "error", safeError(err))
		return nil, fmt.Errorf("%w: discovery at %s failed", ErrUnavailable, o.Issuer)
	}
	var doc struct {
		Authorization string   `json:"authorization_endpoint"`
		Token         string   `json:"token_endpoint"`
		UserInfo      string   `json:"userinfo_endpoint"`
		JWKS          string   `json:"jwks_uri"`
		Scopes        []string `json:"scopes_supported"`
		Methods       []string `json:"token_endpoint_auth_methods_supported"`
		Iss           bool     `json:"authorization_response_iss_parameter_supported"`
		TakesClaims   bool     `json:"claims_parameter_supported"`
	}
	if err := p.Claims(&doc); err != nil {
		return nil, fmt.Errorf("%w: its metadata can't be read", ErrUnavailable)
	}
	for name, address := range map[string]string{
		"authorization_endpoint": doc.Authorization, "token_endpoint": doc.Token, "jwks_uri": doc.JWKS, "userinfo_endpoint": doc.UserInfo,
	} {
		if address == "" && name == "userinfo_endpoint" {
			continue
		}
		if err := o.secure(name, address); err != nil {
			return nil, err
		}
	}
	endpoint := p.Endpoint()
	// Chosen, not probed: a probe would spend the code on the first try.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if o.ClientSecret == "" || len(doc.Methods) > 0 && !slices.Contains(doc.Methods, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	scopes := []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail}
	if slices.Contains(doc.Scopes, oidc.ScopeOfflineAccess) {
		scopes = append(scopes, oidc.ScopeOfflineAccess)
	}
	for _, scope := range o.Scopes {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return &provider{Provider: p, sendsIss: doc.Iss, takesClaims: doc.TakesClaims, settings: oauth2.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret, Endpoint: endpoint, Scopes: scopes,
	}}, nil
}

// secure refuses an address over which the client's secret or a person's
// tokens would travel in clear. Plain http is for tests, on loopback.
func (o *OIDC) secure(name, address string) error {
	u, err := url.Parse(address)
	if err == nil && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && o.Dev && loopback(u.Hostname())) {
		return nil
	}
	return fmt.Errorf("%w: its %s %q is not an https URL", ErrUnavailable, name, plain(address))
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// client puts the HTTP client into ctx where go-oidc and oauth2 look for it.
func (o *OIDC) client(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, &http.Client{
		Transport: limited{o.Base},
		Timeout:   providerTimeout,
		// The client's secret and people's tokens go nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
}

// limited cuts every answer off at maxProviderBody.
type limited struct{ base http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	base := l.base
	if base == nil {
		base = http.DefaultTransport
	}
	res, err := base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxProviderBody), res.Body}
	return res, nil
}
