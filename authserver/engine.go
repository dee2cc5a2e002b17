package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/pkce"

	"github.com/ostiary/ostiary/store"
)

// Prefixes by which secret scanners, and people, know our tokens.
const (
	prefixAccess  = "ost_at_"
	prefixRefresh = "ost_rt_"
	prefixCode    = "ost_ac_"
)

// newEngine makes the flow engine: fosite with the code and refresh flows and
// PKCE, nothing else. No implicit flow, no passwords (RFC 9700 2.1.2, 2.4), no
// OpenID handlers, no assertion grant: fosite's would grant whatever audience
// the assertion names.
//
// What it must not decide is not left to it: parameters, clients, redirect
// URIs and their authentication are the shell's, single use is the store's.
func (s *Server) newEngine() fosite.OAuth2Provider {
	config := &fosite.Config{
		AccessTokenLifespan:      s.AccessTTL,
		RefreshTokenLifespan:     -1, // the grant's absolute end is the store's
		AuthorizeCodeLifespan:    s.CodeTTL,
		RefreshTokenScopes:       []string{}, // not nil, which would mean offline_access
		EnforcePKCE:              true,
		MinParameterEntropy:      -1, // state is the client's business beside PKCE
		ScopeStrategy:            fosite.ExactScopeStrategy,
		AudienceMatchingStrategy: fosite.ExactAudienceMatchingStrategy,
		RedirectSecureChecker:    func(context.Context, *url.URL) bool { return true }, // matched by the shell, exactly
		ClientAuthenticationStrategy: func(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
			return flowOf(ctx).client, nil // authenticated by the shell
		},
	}
	storage := adapter{}
	code := &oauth2.AuthorizeExplicitGrantHandler{
		AccessTokenStrategy: strategy{}, RefreshTokenStrategy: strategy{}, AuthorizeCodeStrategy: strategy{},
		CoreStorage: storage, TokenRevocationStorage: storage, Config: config,
	}
	proof := &pkce.Handler{AuthorizeCodeStrategy: strategy{}, Storage: storage, Config: config}
	config.AuthorizeEndpointHandlers = fosite.AuthorizeEndpointHandlers{code, proof}
	config.TokenEndpointHandlers = fosite.TokenEndpointHandlers{
		code, proof,
		&oauth2.RefreshTokenGrantHandler{
			AccessTokenStrategy: strategy{}, RefreshTokenStrategy: strategy{}, TokenRevocationStorage: storage, Config: config,
		},
	}
	return &fosite.Fosite{Store: storage, Config: config}
}

// strategy makes tokens of 256 random bits. They carry nothing and are looked
// up by hash, so there is no key that could be stolen or would have to rotate.
type strategy struct{}

var _ oauth2.CoreStrategy = strategy{}

func newToken(prefix string) (token, hash string) {
	var b [32]byte
	rand.Read(b[:])
	token = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return token, hashToken(token)
}

// hashToken is the name under which the store keeps a token: nothing on disk
// can be used as one.
func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// newID is a random id of a grant or a pushed request.
func newID() string {
	return rand.Text()
}

func (strategy) AccessTokenSignature(_ context.Context, t string) string   { return hashToken(t) }
func (strategy) RefreshTokenSignature(_ context.Context, t string) string  { return hashToken(t) }
func (strategy) AuthorizeCodeSignature(_ context.Context, t string) string { return hashToken(t) }

func (strategy) GenerateAccessToken(context.Context, fosite.Requester) (string, string, error) {
	token, hash := newToken(prefixAccess)
	return token, hash, nil
}

func (strategy) GenerateRefreshToken(context.Context, fosite.Requester) (string, string, error) {
	token, hash := newToken(prefixRefresh)
	return token, hash, nil
}

func (strategy) GenerateAuthorizeCode(context.Context, fosite.Requester) (string, string, error) {
	token, hash := newToken(prefixCode)
	return token, hash, nil
}

// Whether a token is valid is what the store says of its hash, expiry included.
func (strategy) ValidateAccessToken(context.Context, fosite.Requester, string) error   { return nil }
func (strategy) ValidateRefreshToken(context.Context, fosite.Requester, string) error  { return nil }
func (strategy) ValidateAuthorizeCode(context.Context, fosite.Requester, string) error { return nil }

// session is what the engine insists on having. Expiry is the store's.
type session struct{}

func (session) SetExpiresAt(fosite.TokenType, time.Time) {}
func (session) GetExpiresAt(fosite.TokenType) time.Time  { return time.Time{} }
func (session) GetUsername() string                      { return "" }
func (session) GetSubject() string                       { return "" }
func (s session) Clone() fosite.Session                  { return s }

// clientView is a client as the engine sees it in one request: what the shell
// has checked already is all that it may ask.
type clientView struct {
	*store.Client
	redirect, resource string
	scopes             []string
}

var (
	_ fosite.Client             = (*clientView)(nil)
	_ fosite.ResponseModeClient = (*clientView)(nil)
)

func (s *Server) view(c *store.Client, redirect, resource string, scopes []string) *clientView {
	return &clientView{c, redirect, resource, scopes}
}

func (c *clientView) GetID() string                      { return c.ID }
func (c *clientView) GetHashedSecret() []byte            { return nil }
func (c *clientView) GetRedirectURIs() []string          { return []string{c.redirect} }
func (c *clientView) GetGrantTypes() fosite.Arguments    { return c.GrantTypes }
func (c *clientView) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }
func (c *clientView) GetScopes() fosite.Arguments        { return c.scopes }
func (c *clientView) IsPublic() bool                     { return c.AuthMethod == "none" }
func (c *clientView) GetAudience() fosite.Arguments      { return fosite.Arguments{c.resource} }

// GetResponseModes lets a client ask explicitly for what it gets anyway.
func (c *clientView) GetResponseModes() []fosite.ResponseModeType {
	return []fosite.ResponseModeType{fosite.ResponseModeQuery}
}

// mayRefresh says whether c gets refresh tokens, whatever scopes it asked for:
// agents often leave offline_access out.
func mayRefresh(c *store.Client) bool { return slices.Contains(c.GrantTypes, grantRefresh) }
