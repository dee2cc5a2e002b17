package authserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/store"
)

// EnterpriseIssuer is an identity provider that decides which of its people may
// use this server with which client (MCP ext-auth, enterprise-managed
// authorization): it signs that into an assertion, the ID-JAG
// (draft-ietf-oauth-identity-assertion-authz-grant), and no consent is asked.
type EnterpriseIssuer struct {
	Issuer      string   // its issuer URL, as in the assertion's iss
	JWKSURI     string   // where its keys are; may lie in a private network
	GroupsClaim string   // lists the person's groups; "" = "groups". A missing one means none
	Clients     []string // ids of the clients that may come with its assertions; empty = all
}

const (
	typeIDJAG     = "oauth-id-jag+jwt"
	classIDJAG    = "id-jag"
	maxIDJAGLife  = time.Hour
	maxSubject    = 255 // bytes; OpenID Connect Core 2
	maxGroups     = 1000
	maxGroupBytes = 256
	maxAMR        = 16
	defaultGroups = "groups"
)

// idjagAlgorithms is what may sign an ID-JAG; nothing symmetric, never none
// (RFC 8725 3.1).
var idjagAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA}

// checkEnterprise says what is wrong with the enterprise's issuers.
func checkEnterprise(issuers []EnterpriseIssuer, clients *client.Registry) error {
	seen := map[string]bool{}
	for _, e := range issuers {
		if seen[e.Issuer] {
			return fmt.Errorf("enterprise issuer %q stands there twice", e.Issuer)
		}
		seen[e.Issuer] = true
		if err := clients.CheckKeysURI(e.Issuer); err != nil {
			return fmt.Errorf("enterprise issuer %q: %w", e.Issuer, err)
		}
		if err := clients.CheckKeysURI(e.JWKSURI); err != nil {
			return fmt.Errorf("enterprise issuer %q: the URI of its keys: %w", e.Issuer, err)
		}
	}
	return nil
}

// checkIssuers refuses issuers whose people could not be told apart: a user id
// is issuer, colon, subject, and a subject may hold colons.
func checkIssuers(issuers []string) error {
	for _, a := range issuers {
		for _, b := range issuers {
			if strings.HasPrefix(b, a+":") {
				return fmt.Errorf("issuers %q and %q can't both be trusted: a person of one could have the id of a person of the other", a, b)
			}
		}
	}
	return nil
}

// enterpriseGrant serves jwt-bearer (RFC 7523) for an ID-JAG. There is no
// refresh token: whether the person may still come in is the provider's to say,
// each time. The engine's own handler would take any audience that the
// assertion names, so it is not registered.
func (s *Server) enterpriseGrant(ctx context.Context, t *tokenRequest) (*tokenAnswer, error) {
	// Who presents the assertion must be who it was made for, provably.
	if t.Client.AuthMethod == "none" {
		return nil, errUnauthorize
	}
	text := t.Form.Get("assertion")
	if text == "" {
		return nil, refuse("invalid_request", "assertion is missing")
	}
	c, err := s.openIDJAG(ctx, t, text)
	if err != nil {
		return nil, err
	}
	g := store.Grant{
		User: c.issuer + ":" + c.subject, Client: t.Client.ID,
		AuthTime: c.authTime, AMR: c.amr, Groups: c.groups, Name: c.shown(),
	}
	if g.Resource, err = s.idjagResource(t.Resource, c.resources); err != nil {
		return nil, err
	}
	if g.Scopes = s.idjagScopes(t.Form.Get("scope"), c.scopes); len(g.Scopes) == 0 {
		return nil, errScope
	}
	// Last, and only of what was verified: the assertion is spent.
	first, err := s.Store.InsertIfAbsent(ctx, classIDJAG, c.issuer+"\x00"+c.id, c.expires.Add(clockSkew))
	switch {
	case err != nil:
		return nil, err
	case !first:
		return nil, s.refuseIDJAG(ctx, t, "it was used before")
	}
	if err := s.vouched(ctx, c); err != nil {
		return nil, err
	}
	answer, err := s.mint(ctx, g, s.AccessTTL, t.Source)
	if err == nil {
		s.used(ctx, t.Client.ID)
	}
	return answer, err
}

// openIDJAG verifies an assertion and everything in it that does not depend on
// the rest of the request.
func (s *Server) openIDJAG(ctx context.Context, t *tokenRequest, text string) (*idjagClaims, error) {
	jws, err := jose.ParseSignedCompact(text, idjagAlgorithms)
	if err != nil {
		return nil, s.refuseIDJAG(ctx, t, "it is no JWT signed with RS256, ES256 or EdDSA")
	}
	head := jws.Signatures[0].Header
	// Any other JWT of the provider, an ID token above all, is no ID-JAG
	// (RFC 8725 3.11).
	if kind, _ := head.ExtraHeaders[jose.HeaderType].(string); !strings.EqualFold(strings.TrimPrefix(kind, "application/"), typeIDJAG) {
		return nil, s.refuseIDJAG(ctx, t, "its typ is not "+typeIDJAG)
	}
	claimed, err := readIDJAG(jws.UnsafePayloadWithoutVerification(), "")
	if err != nil {
		return nil, s.refuseIDJAG(ctx, t, err.Error())
	}
	i := slices.IndexFunc(s.Enterprise, func(e EnterpriseIssuer) bool { return e.Issuer == claimed.issuer })
	if i < 0 {
		return nil, s.refuseIDJAG(ctx, t, "its issuer is not one of oauth.enterprise")
	}
	issuer := s.Enterprise[i]
	keys, err := s.Clients.OperatorKeys(ctx, issuer.JWKSURI, head.KeyID)
	if err != nil {
		return nil, err
	}
	payload, ok := verifiedBy(keys, jws)
	if !ok {
		return nil, s.refuseIDJAG(ctx, t, "none of the issuer's keys signed it")
	}
	c, err := readIDJAG(payload, issuer.GroupsClaim)
	if err != nil {
		return nil, s.refuseIDJAG(ctx, t, err.Error())
	}
	if reason := s.wrongIDJAG(c, issuer, t.Client.ID); reason != "" {
		return nil, s.refuseIDJAG(ctx, t, reason)
	}
	return c, nil
}

// wrongIDJAG says what is wrong with verified claims, "" = nothing.
func (s *Server) wrongIDJAG(c *idjagClaims, issuer EnterpriseIssuer, clientID string) string {
	now := s.Now()
	switch {
	case c.client != clientID:
		return "its client_id is not the client that presents it"
	case len(issuer.Clients) > 0 && !slices.Contains(issuer.Clients, clientID):
		return "the issuer may not vouch for this client"
	case len(c.audience) != 1 || !slices.Contains(s.bases(), c.audience[0]):
		// One that names others too could be theirs to replay.
		return "its aud is not the issuer of this server, alone"
	case c.subject == "" || len(c.subject) > maxSubject:
		return "its sub is missing or too long"
	case c.id == "" || len(c.id) > maxSubject:
		return "its jti is missing or too long"
	case c.expires.IsZero() || c.issued.IsZero():
		return "its exp or iat is missing or no time"
	case !now.Before(c.expires.Add(clockSkew)):
		return "it has expired"
	case c.issued.After(now.Add(clockSkew)) || c.notBefore.After(now.Add(clockSkew)):
		return "it is not valid yet"
	case c.expires.Sub(c.issued) > maxIDJAGLife:
		return "it is valid for more than an hour"
	case c.bound:
		return "it is bound to a key, which is not supported here"
	}
	return ""
}

// vouched takes over what the provider says of the person now, so that their
// earlier tokens follow, and the operator can see and disable them. A disabled
// one is refused.
func (s *Server) vouched(ctx context.Context, c *idjagClaims) error {
	id, now := c.issuer+":"+c.subject, s.Now()
	update := func() error {
		_, err := s.Store.UpdateUser(ctx, id, func(u *store.User) error {
			if u.Disabled {
				return errGrant
			}
			u.Name, u.Groups, u.LastSignIn = cmp.Or(c.name, u.Name), c.groups, now
			return nil
		})
		return err
	}
	err := update()
	if errors.Is(err, store.ErrNotFound) {
		err = s.Store.CreateUser(ctx, store.User{Issuer: c.issuer, Subject: c.subject, Name: c.shown(), Groups: c.groups, Created: now, LastSignIn: now})
		if errors.Is(err, store.ErrExists) { // another assertion was faster
			err = update()
		}
	}
	if err == nil {
		s.Changed(id) // now, whether or not a token follows
	}
	return err
}

// refuseIDJAG answers as for any bad grant; what is wrong is for the operator.
func (s *Server) refuseIDJAG(ctx context.Context, t *tokenRequest, reason string) error {
	s.Logger.InfoContext(ctx, "an enterprise's assertion was refused", "client", t.Client.ID, "source", t.Source, "reason", reason)
	return errGrant
}
