package authserver

import (
	"context"
	"errors"
	"net/http"

	"github.com/ostiary/ostiary/store"
)

// serveRevoke is the revocation endpoint (RFC 7009). A refresh token ends its
// grant with all its tokens, an access token only itself. An unknown token and
// another client's are answered like one that was revoked: 200, nothing told.
func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	form, oerr := s.form(w, r)
	if oerr != nil {
		writeError(w, oerr)
		return
	}
	c, oerr := s.authenticate(r, form)
	if oerr != nil {
		writeError(w, oerr)
		return
	}
	token := form.Get("token")
	if token == "" {
		writeError(w, refuse("invalid_request", "token is missing"))
		return
	}
	if err := s.revokeToken(r.Context(), c, token); err != nil {
		writeError(w, s.oauthError(r.Context(), err))
		return
	}
	noStore(w.Header())
	w.WriteHeader(http.StatusOK)
}

func (s *Server) revokeToken(ctx context.Context, c *store.Client, token string) error {
	t, g, err := s.Store.Token(ctx, hashToken(token))
	if errors.Is(err, store.ErrNotFound) || err == nil && g.Client != c.ID {
		return nil
	} else if err != nil {
		return err
	}
	if t.Kind == tokenRefresh {
		return s.revoke(ctx, g, eventGrantRevoked, reasonClient)
	}
	if err := s.Store.DeleteToken(ctx, t.Hash); err != nil {
		return err
	}
	h, err := rawHash(t.Hash)
	if err != nil {
		return err
	}
	s.index.remove(h)
	s.note(ctx, eventRevokedToken, g, reasonClient)
	return nil
}
