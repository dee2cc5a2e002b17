package authserver

import (
	"context"
	"errors"
	"slices"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/store"
)

// stillKnown says whether the person behind a refresh or a new connection may
// have it: nil, errGrant when they may not, errBusy when the identity provider
// can't be asked. What the provider says anew holds from here on.
func (s *Server) stillKnown(ctx context.Context, u *store.User) error {
	switch {
	case u.Disabled:
		return errGrant
	case u.Issuer == login.LocalIssuer && s.Local != nil:
		return nil
	case s.OIDC == nil || u.Issuer != s.OIDC.Issuer:
		return errGrant // who vouched for them is not configured any more
	}
	now, err := s.OIDC.Refresh(ctx, u)
	switch {
	case err == nil:
		if now.Name != u.Name || !slices.Equal(now.Groups, u.Groups) {
			s.Changed(u.ID())
		}
		return nil
	case errors.Is(err, login.ErrUnavailable):
		s.Logger.WarnContext(ctx, "the identity provider can't be asked about a person", "user", u.ID(), "err", err)
		return errBusy
	case errors.Is(err, login.ErrUnknownPerson), errors.Is(err, login.ErrDisabled), errors.Is(err, store.ErrNotFound):
		s.Audit.Note(s.personEvent(eventUnknownPerson, u, nil, "", err.Error()))
		// Their browsers must not open what their agents no longer may.
		s.unlessGone(ctx, "sessions can't be ended", s.Store.DeleteSessions(ctx, u.ID()))
		return errGrant
	}
	return err
}
