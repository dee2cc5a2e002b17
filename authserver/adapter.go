package authserver

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/pkce"
	"github.com/ory/fosite/storage"

	"github.com/ostiary/ostiary/store"
)

// repeatGrace is how long after a rotation the same client may repeat the old
// refresh token without losing its family, while the successor is unused: an
// answer got lost, or two of its processes refreshed at once.
const repeatGrace = 10 * time.Second

// flow is one request on its way through the engine: who asks, what was read
// for it, and what it wants written. The engine's storage calls fill it in; one
// store verb at its end does all of it or nothing, so no lock is held while the
// engine works, and of any number of concurrent flows at most one succeeds.
type flow struct {
	server *Server
	client *clientView

	verifier string // PKCE, as sent
	raced    bool   // another redemption of the same code was under way

	// Of the authorization endpoint.
	code *store.Code

	// Of the token endpoint.
	spend  string // hash of the code or refresh token
	grant  *store.Grant
	scopes []string // of the new access token
	tokens []store.Token
	reused string // why the family was revoked, "" = it was not
}

type flowKey struct{}

func withFlow(ctx context.Context, f *flow) context.Context {
	return context.WithValue(ctx, flowKey{}, f)
}

func flowOf(ctx context.Context) *flow {
	f, _ := ctx.Value(flowKey{}).(*flow)
	return f
}

// adapter is the storage of the engine, over the flow in the context. It never
// hands out anything shared: the engine writes into what it gets.
type adapter struct{}

var (
	_ fosite.Storage                = adapter{}
	_ oauth2.CoreStorage            = adapter{}
	_ oauth2.TokenRevocationStorage = adapter{}
	_ pkce.PKCERequestStorage       = adapter{}
	_ storage.Transactional         = adapter{}
)

// GetClient is the client that the shell found.
func (adapter) GetClient(ctx context.Context, _ string) (fosite.Client, error) {
	return flowOf(ctx).client, nil
}

// Assertions are checked by the shell; the engine never sees one.
func (adapter) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrJTIKnown }
func (adapter) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}

// request is what the engine works with, made anew each time from what was
// kept: no client, session or Go type is ever stored.
func (f *flow) request(id, resource string, scopes []string, form url.Values) *fosite.Request {
	r := fosite.NewRequest()
	r.ID, r.Client, r.Session, r.Form = id, f.client, session{}, form
	r.RequestedScope, r.GrantedScope = scopes, scopes
	r.RequestedAudience, r.GrantedAudience = fosite.Arguments{resource}, fosite.Arguments{resource}
	return r
}

func (adapter) CreateAuthorizeCodeSession(ctx context.Context, hash string, _ fosite.Requester) error {
	flowOf(ctx).code.Hash = hash
	return nil
}

func (adapter) CreatePKCERequestSession(ctx context.Context, _ string, r fosite.Requester) error {
	flowOf(ctx).code.Challenge = r.GetRequestForm().Get("code_challenge")
	return nil
}

// GetAuthorizeCodeSession finds the grant that a code stands for. RFC 6749
// 4.1.2: a code that was used before ends what it led to. Only its owner can
// do that: anybody else who holds a spent code just learns that it is none.
func (adapter) GetAuthorizeCodeSession(ctx context.Context, hash string, _ fosite.Session) (fosite.Requester, error) {
	f := flowOf(ctx)
	if f.code == nil || f.code.Hash != hash {
		c, err := f.server.Store.Code(ctx, hash)
		if errors.Is(err, store.ErrNotFound) {
			return nil, fosite.ErrNotFound
		} else if err != nil {
			return nil, err
		}
		f.code, f.spend = c, hash
	}
	c := f.code
	if c.Grant.Client != f.client.ID {
		f.server.note(ctx, eventForeign, &c.Grant, "an authorization code came from a client that it was not made for")
		return nil, fosite.ErrNotFound
	}
	f.grant, f.scopes = &c.Grant, c.Grant.Scopes
	f.client.scopes, f.client.resource = c.Grant.Scopes, c.Grant.Resource
	r := f.request(c.Grant.ID, c.Grant.Resource, c.Grant.Scopes, url.Values{
		"redirect_uri": {c.RedirectURI}, "code_challenge": {c.Challenge}, "code_challenge_method": {"S256"},
	})
	switch {
	case !c.Grant.Revoked.IsZero():
		return nil, fosite.ErrNotFound
	case c.Used.IsZero():
		return r, nil
	case f.raced:
		// Two of the client's requests met; the loser is refused, the winner
		// keeps what it got.
		return nil, fosite.ErrNotFound
	case !f.proves(c.Challenge):
		// A public client is whoever says so, and spent codes stand in browser
		// histories: without the verifier nobody ends the owner's grant.
		f.server.note(ctx, eventForeign, &c.Grant, "a spent authorization code came without its verifier")
		return nil, fosite.ErrNotFound
	default:
		f.reused = reasonCodeReuse
		return r, fosite.ErrInvalidatedAuthorizeCode
	}
}

// proves says whether the request holds the verifier of challenge (RFC 7636 4.6).
func (f *flow) proves(challenge string) bool {
	sum := sha256.Sum256([]byte(f.verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:]) == challenge
}

// InvalidateAuthorizeCodeSession: see Commit.
func (adapter) InvalidateAuthorizeCodeSession(context.Context, string) error { return nil }

// GetPKCERequestSession: the challenge is part of the code.
func (adapter) GetPKCERequestSession(ctx context.Context, hash string, _ fosite.Session) (fosite.Requester, error) {
	f := flowOf(ctx)
	if f.code == nil || f.code.Hash != hash {
		return nil, fosite.ErrNotFound
	}
	return f.request(f.code.Grant.ID, f.code.Grant.Resource, f.code.Grant.Scopes, url.Values{
		"code_challenge": {f.code.Challenge}, "code_challenge_method": {"S256"},
	}), nil
}

// DeletePKCERequestSession keeps it: the engine deletes before it compares, and
// a wrong guess must not spoil the code for its owner.
func (adapter) DeletePKCERequestSession(context.Context, string) error { return nil }

// GetRefreshTokenSession finds the grant of a refresh token. RFC 9700 4.14.2:
// one that was rotated before ends its family, unless the client that it
// belongs to merely repeats itself.
func (adapter) GetRefreshTokenSession(ctx context.Context, hash string, _ fosite.Session) (fosite.Requester, error) {
	f := flowOf(ctx)
	s := f.server
	t, g, err := s.Store.Token(ctx, hash)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fosite.ErrNotFound
	} else if err != nil {
		return nil, err
	}
	now := s.Now()
	switch {
	case t.Kind != tokenRefresh:
		return nil, fosite.ErrNotFound
	case g.Client != f.client.ID:
		s.note(ctx, eventForeign, g, "a refresh token came from a client that it was not made for")
		return nil, fosite.ErrNotFound
	case !g.Revoked.IsZero():
		return nil, fosite.ErrNotFound
	case !t.Rotated.IsZero():
		f.grant = g
		if now.Sub(t.Rotated) < repeatGrace && s.unused(ctx, t.Next) {
			return nil, fosite.ErrNotFound
		}
		f.reused = reasonRefreshReuse
		return f.request(g.ID, g.Resource, t.Scopes, nil), fosite.ErrInactiveToken
	case !now.Before(t.Expires):
		return nil, fosite.ErrNotFound
	}
	f.grant, f.spend, f.scopes = g, hash, t.Scopes
	// A scope that the operator took away since is gone at the next refresh.
	f.client.scopes, f.client.resource = s.scopes(), g.Resource
	return f.request(g.ID, g.Resource, t.Scopes, nil), nil
}

// unused says whether the refresh token with this hash was not exchanged yet.
func (s *Server) unused(ctx context.Context, hash string) bool {
	t, _, err := s.Store.Token(ctx, hash)
	return err == nil && t.Rotated.IsZero()
}

// RotateRefreshToken: see Commit.
func (adapter) RotateRefreshToken(context.Context, string, string) error { return nil }

func (adapter) CreateAccessTokenSession(ctx context.Context, hash string, _ fosite.Requester) error {
	f := flowOf(ctx)
	now := f.server.Now()
	f.tokens = append(f.tokens, store.Token{
		Hash: hash, Kind: tokenAccess, Grant: f.grant.ID, Scopes: f.scopes, Issued: now, Expires: f.server.accessEnd(f.grant, f.server.AccessTTL),
	})
	return nil
}

func (adapter) CreateRefreshTokenSession(ctx context.Context, hash, _ string, _ fosite.Requester) error {
	f := flowOf(ctx)
	f.tokens = append(f.tokens, store.Token{
		// RFC 6749 6: a new refresh token has the scope of the one before. Its
		// end is the grant's: no rotation moves it.
		Hash: hash, Kind: tokenRefresh, Grant: f.grant.ID, Scopes: f.grant.Scopes, Issued: f.server.Now(), Expires: f.grant.Expires,
	})
	return nil
}

// RevokeRefreshToken is how the engine ends a family.
func (adapter) RevokeRefreshToken(ctx context.Context, id string) error {
	f := flowOf(ctx)
	event := eventRefreshReuse
	if f.reused == reasonCodeReuse {
		event = eventCodeReuse
	}
	return f.server.revoke(ctx, f.grant, event, f.reused)
}

// RevokeAccessToken: a grant ends as a whole.
func (adapter) RevokeAccessToken(context.Context, string) error         { return nil }
func (adapter) DeleteRefreshTokenSession(context.Context, string) error { return nil }
func (adapter) DeleteAccessTokenSession(context.Context, string) error  { return nil }

// GetAccessTokenSession: access tokens are checked by Verify alone.
func (adapter) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}

// BeginTX begins nothing: the flow is the transaction.
func (adapter) BeginTX(ctx context.Context) (context.Context, error) { return ctx, nil }

// Rollback forgets what the flow wanted written.
func (adapter) Rollback(ctx context.Context) error {
	flowOf(ctx).tokens = nil
	return nil
}

// Commit does what the flow collected, in one verb that compares and sets.
func (adapter) Commit(ctx context.Context) (err error) {
	f := flowOf(ctx)
	switch {
	case f.reused != "":
		return nil // revoked already
	case f.code != nil:
		_, err = f.server.Store.ConsumeCode(ctx, f.spend, f.tokens...)
	default:
		_, err = f.server.Store.RotateRefresh(ctx, f.spend, f.tokens...)
	}
	return err
}
