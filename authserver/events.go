package authserver

import (
	"context"
	"errors"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// Events of the authorization server in the log.
const (
	eventIssued       = "token.issued"
	eventRefreshed    = "token.refreshed"
	eventRevokedToken = "token.revoked"
	eventRefreshReuse = "token.reuse"
	eventCodeReuse    = "code.reuse"
	eventForeign      = "token.foreign"
	eventGrantRevoked = "grant.revoked"
)

// Reasons of a revocation, as the store keeps them.
const (
	reasonRefreshReuse = "refresh_reuse"
	reasonCodeReuse    = "code_reuse"
	reasonClient       = "client_asked"
)

// event is a record about g. It never holds a token, code or secret.
func (s *Server) event(name string, g *store.Grant, source, detail string) *audit.Record {
	r := &audit.Record{Format: audit.Format, Kind: "event", Event: name, Time: s.Now(), RequestedBy: source, Detail: detail}
	if g != nil {
		r.User = policy.User{ID: g.User, Name: g.Name, Groups: g.Groups, AMR: g.AMR}
		r.Client = policy.Client{ID: g.Client, RedirectHost: g.RedirectHost}
		r.Grant = policy.Grant{Scopes: g.Scopes, Resource: g.Resource}
		if !g.AuthTime.IsZero() {
			r.User.AuthTime = g.AuthTime.Unix()
		}
		if !g.ConsentedAt.IsZero() {
			r.Grant.ConsentedAt = g.ConsentedAt.Unix()
		}
	}
	return r
}

// record writes an event and waits until it is durable.
func (s *Server) record(ctx context.Context, name string, g *store.Grant, source, detail string) error {
	return s.Audit.Append(ctx, s.event(name, g, source, detail))
}

// note writes an event that nothing waits for.
func (s *Server) note(_ context.Context, name string, g *store.Grant, detail string) {
	s.Audit.Note(s.event(name, g, "", detail))
}

// revoke ends g everywhere. That it ends comes before that it is recorded: a
// log that can't be written must not keep a stolen token alive.
func (s *Server) revoke(ctx context.Context, g *store.Grant, event, reason string) error {
	err := s.Store.RevokeGrant(ctx, g.ID, reason)
	if errors.Is(err, store.ErrNotFound) {
		err = nil // it has run out
	}
	s.index.end(g.ID)
	if err == nil {
		s.note(ctx, event, g, reason)
	}
	return err
}
