package authserver

import (
	"context"
	"slices"
	"strings"

	"github.com/ostiary/ostiary/store"
)

// clientCredentials serves a client that acts for itself (RFC 6749 4.4). It
// gets no refresh token (4.4.3).
func (s *Server) clientCredentials(ctx context.Context, t *tokenRequest) (*tokenAnswer, error) {
	// RFC 6749 4.4: confidential clients only, whatever a record says.
	if t.Client.AuthMethod == "none" {
		return nil, errUnauthorize
	}
	scopes, oerr := s.askedScopes(t.Form.Get("scope"))
	if oerr != nil {
		return nil, oerr
	}
	for _, scope := range scopes {
		if scope != scopeMCP && !slices.Contains(t.Client.Scopes, scope) {
			return nil, errScope
		}
	}
	g := store.Grant{Client: t.Client.ID, Resource: t.Resource, Scopes: scopes}
	if g.Resource == "" {
		g.Resource = s.Issuer + mergedPath
	}
	answer, err := s.mint(ctx, g, s.AccessTTL, t.Source)
	if err == nil {
		s.used(ctx, t.Client.ID)
	}
	return answer, err
}

// used tells the registry that a client is in use.
func (s *Server) used(ctx context.Context, id string) {
	if id == ClientCLI {
		return
	}
	if err := s.Clients.Used(context.WithoutCancel(ctx), id); err != nil {
		s.Logger.WarnContext(ctx, "the use of a client was not noted", "client", strings.ToValidUTF8(id, ""), "err", err)
	}
}
