package authserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ostiary/ostiary/store"
)

// Events of what an operator does.
const (
	eventUserCreated   = "user.created"
	eventUserUpdated   = "user.updated"
	eventUserDisabled  = "user.disabled"
	eventUserEnabled   = "user.enabled"
	eventUserDeleted   = "user.deleted"
	eventClientRevoked = "client.revoked"
	eventConsentEnded  = "consent.withdrawn"
	reasonOperator     = "operator"
)

// DefaultTokenTTL is how long a token that an operator issues lasts.
const DefaultTokenTTL = time.Hour

// MaxTokenTTL is the longest life of such a token.
const MaxTokenTTL = 366 * 24 * time.Hour

// TokenRequest is an operator's wish for a token.
type TokenRequest struct {
	User     string        // store.User.ID
	Client   string        // "" = the built-in client
	Resource string        // "" = {issuer}/mcp
	Scopes   []string      // mcp is always among them
	TTL      time.Duration // 0 = DefaultTokenTTL
}

// IssueToken makes an access token for a person without asking them. Errors
// say what to change; store.ErrNotFound when the user or client is not there.
func (s *Server) IssueToken(ctx context.Context, t TokenRequest) (bearer string, grant store.Grant, err error) {
	u, err := s.Store.User(ctx, t.User)
	if err != nil {
		return "", grant, fmt.Errorf("user %q: %w; add them with `ostiary user add`", t.User, err)
	}
	if u.Disabled {
		return "", grant, fmt.Errorf("user %q is disabled; enable them first", t.User)
	}
	c, err := s.client(ctx, cmp.Or(t.Client, ClientCLI))
	if err != nil {
		return "", grant, fmt.Errorf("client %q: %w; `ostiary client list` shows those that there are", t.Client, err)
	}
	resource := s.Issuer + mergedPath
	if t.Resource != "" {
		if resource = s.resource(t.Resource); resource == "" {
			return "", grant, fmt.Errorf("resource %q: must be %s/mcp or %[2]s/mcp/ and the name of an upstream", t.Resource, s.Issuer)
		}
	}
	ttl := cmp.Or(t.TTL, DefaultTokenTTL)
	if ttl < time.Second || ttl > MaxTokenTTL {
		return "", grant, fmt.Errorf("ttl %s: must be between a second and %s", ttl, MaxTokenTTL)
	}
	scopes := append(slices.Clone(t.Scopes), scopeMCP)
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	known := s.scopes()
	for _, scope := range scopes {
		if !slices.Contains(known, scope) {
			return "", grant, fmt.Errorf("scope %q is not declared; add it under scopes in the configuration", scope)
		}
	}
	g := store.Grant{ID: newID(), User: u.ID(), Client: c.ID, Resource: resource, Scopes: scopes}
	answer, err := s.mint(ctx, g, ttl, "operator")
	if err != nil {
		return "", grant, fmt.Errorf("issue a token: %w", err)
	}
	_, kept, err := s.Store.Token(ctx, hashToken(answer.Access))
	if err != nil {
		return "", grant, fmt.Errorf("issue a token: %w", err)
	}
	return answer.Access, *kept, nil
}

// RevokeGrant ends one grant: its tokens work no more, open streams included.
func (s *Server) RevokeGrant(ctx context.Context, id string) error {
	all, err := s.Store.Grants(ctx, func(g *store.Grant) bool { return g.ID == id })
	if err != nil {
		return err
	}
	if len(all) == 0 { // it may still be a code
		if err := s.Store.RevokeGrant(ctx, id, reasonOperator); err != nil {
			return err
		}
		all = []store.Grant{{ID: id}}
	}
	return s.revoke(ctx, &all[0], eventGrantRevoked, reasonOperator)
}

// RevokeClient forgets a client, its consents and its grants. It has to
// register again, and people are asked again. A client of the configuration
// stays, without its grants and consents.
func (s *Server) RevokeClient(ctx context.Context, id string) error {
	_, known, err := s.knownClient(ctx, id)
	if err != nil {
		return err
	}
	err = s.Store.DeleteClient(ctx, id)
	if errors.Is(err, store.ErrNotFound) && known {
		err = errors.Join(
			s.endGrants(ctx, reasonOperator, func(g *store.Grant) bool { return g.Client == id }),
			s.forgetConsents(ctx, func(c *store.Consent) bool { return c.Client == id }))
	}
	if err != nil {
		return err
	}
	s.index.endWhere(func(g *store.Grant) bool { return g.Client == id })
	return s.record(ctx, eventClientRevoked, &store.Grant{Client: id}, "operator", "")
}

func (s *Server) forgetConsents(ctx context.Context, match func(*store.Consent) bool) error {
	all, err := s.Store.Consents(ctx, "")
	for i := range all {
		if err == nil && match(&all[i]) {
			err = s.Store.DeleteConsent(ctx, all[i].ID)
		}
	}
	return err
}

// WithdrawConsent forgets a consent and ends the grants that stand on it.
func (s *Server) WithdrawConsent(ctx context.Context, c *store.Consent) error {
	if err := s.Store.DeleteConsent(ctx, c.ID); err != nil {
		return err
	}
	s.index.endWhere(func(g *store.Grant) bool { return g.Consent == c.ID })
	g := &store.Grant{User: c.User, Client: c.Client, RedirectHost: c.RedirectHost, Resource: c.Resource, Scopes: c.Scopes, ConsentedAt: c.At}
	return s.record(ctx, eventConsentEnded, g, "", "")
}

// CreateUser adds a person.
func (s *Server) CreateUser(ctx context.Context, u store.User) error {
	if u.Created.IsZero() {
		u.Created = s.Now()
	}
	if err := s.Store.CreateUser(ctx, u); err != nil {
		return err
	}
	return s.userEvent(ctx, eventUserCreated, &u)
}

// UpdateUser changes a person's record. Groups that changed count at once:
// the tokens live on, streams that were opened before end.
func (s *Server) UpdateUser(ctx context.Context, id string, change func(*store.User) error) (*store.User, error) {
	u, err := s.Store.UpdateUser(ctx, id, change)
	if err != nil {
		return nil, err
	}
	s.Changed(id)
	return u, s.userEvent(ctx, eventUserUpdated, u)
}

// DisableUser keeps a person out: no sign-in, no session, no token.
func (s *Server) DisableUser(ctx context.Context, id string) error {
	u, err := s.Store.UpdateUser(ctx, id, func(u *store.User) error { u.Disabled = true; return nil })
	if err != nil {
		return err
	}
	s.Changed(id)
	if err := errors.Join(s.Store.DeleteSessions(ctx, id), s.SignOutEverywhere(ctx, id)); err != nil {
		return err
	}
	return s.userEvent(ctx, eventUserDisabled, u)
}

// SignOutEverywhere ends all grants of a person. Consents stay.
func (s *Server) SignOutEverywhere(ctx context.Context, user string) error {
	return s.endGrants(ctx, reasonOperator, func(g *store.Grant) bool { return g.User == user })
}

// EnableUser lets a person sign in again. Nothing that was revoked comes back.
func (s *Server) EnableUser(ctx context.Context, id string) error {
	u, err := s.Store.UpdateUser(ctx, id, func(u *store.User) error { u.Disabled = false; return nil })
	if err != nil {
		return err
	}
	s.Changed(id)
	return s.userEvent(ctx, eventUserEnabled, u)
}

// DeleteUser forgets a person with everything that is theirs.
func (s *Server) DeleteUser(ctx context.Context, id string) error {
	u, err := s.Store.User(ctx, id)
	if err != nil {
		return err
	}
	if err := s.Store.DeleteUser(ctx, id); err != nil {
		return err
	}
	s.index.endWhere(func(g *store.Grant) bool { return g.User == id })
	return s.userEvent(ctx, eventUserDeleted, u)
}

func (s *Server) userEvent(ctx context.Context, name string, u *store.User) error {
	return s.record(ctx, name, &store.Grant{User: u.ID(), Name: u.Name, Groups: u.Groups}, "operator", "")
}
