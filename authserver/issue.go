package authserver

import (
	"context"
	"time"

	"github.com/ostiary/ostiary/store"
)

// issueCode makes the code that leads to g and keeps it.
func (s *Server) issueCode(ctx context.Context, a *authorization, g store.Grant) (string, error) {
	request, err := s.engineAuthorize(ctx, a)
	if err != nil {
		return "", err
	}
	for _, scope := range g.Scopes {
		request.GrantScope(scope)
	}
	request.GrantAudience(g.Resource)
	f := &flow{server: s, client: s.view(a.Client, a.RedirectURI, a.Resource, a.Scopes), code: &store.Code{
		Grant: g, Expires: s.Now().Add(s.CodeTTL),
		// RFC 6749 4.1.3: redirect_uri at the token endpoint must be the same,
		// if it was sent at all.
		RedirectURI: a.Query.Get("redirect_uri"),
	}}
	response, err := s.engine.NewAuthorizeResponse(withFlow(ctx, f), request, session{})
	if err != nil {
		return "", err
	}
	if err := s.Store.PutCode(ctx, *f.code); err != nil {
		return "", err
	}
	return response.GetCode(), nil
}

// mint makes an access token for a grant of its own that no code led to: of a
// client that acts for itself, of an enterprise's identity provider, of the
// operator. It is durable, recorded and valid when mint returns.
func (s *Server) mint(ctx context.Context, g store.Grant, ttl time.Duration, source string) (*tokenAnswer, error) {
	now := s.Now()
	if g.ID == "" {
		g.ID = newID()
	}
	g.Created, g.Expires = now, now.Add(ttl)
	token, hash := newToken(prefixAccess)
	tokens := []store.Token{{Hash: hash, Kind: tokenAccess, Grant: g.ID, Scopes: g.Scopes, Issued: now, Expires: g.Expires}}
	if err := s.Store.PutGrant(ctx, g, tokens...); err != nil {
		return nil, err
	}
	if err := s.issued(ctx, &g, tokens, eventIssued, source); err != nil {
		return nil, err
	}
	return &tokenAnswer{Access: token, Scopes: g.Scopes, Lifetime: ttl}, nil
}

// issued records tokens that the store has and makes them valid. What can't be
// recorded is taken back: nothing works that the log doesn't know of.
func (s *Server) issued(ctx context.Context, g *store.Grant, tokens []store.Token, event, source string) error {
	// The store has spoken; a client that hangs up now must not undo half of it.
	ctx = context.WithoutCancel(ctx)
	if err := s.record(ctx, event, g, source, ""); err != nil {
		return s.takeBack(ctx, g, err)
	}
	f, ok, err := s.facts(ctx, g)
	if err == nil && !ok {
		err = errGrant // its client went away meanwhile
	}
	if err == nil {
		err = s.index.add(f, *g, tokens, event == eventRefreshed)
	}
	if err != nil {
		return s.takeBack(ctx, g, err)
	}
	// A revocation may have come between the store's yes and the index: whoever
	// comes second sees the other.
	return s.recheck(ctx, tokens[0].Hash)
}

func (s *Server) takeBack(ctx context.Context, g *store.Grant, err error) error {
	if rerr := s.Store.RevokeGrant(ctx, g.ID, "its record could not be written"); rerr != nil {
		s.Logger.ErrorContext(ctx, "a grant could not be taken back", "grant", g.ID, "err", rerr)
	}
	s.index.end(g.ID)
	return err
}
