package authserver

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ostiary/ostiary/authserver/client"
)

// idjagClaims is what an ID-JAG says, with the names exactly as written.
type idjagClaims struct {
	issuer, subject, client, id, name string
	audience, resources, amr          []string
	scopes                            []string // nil = none were named
	groups                            []string
	expires, issued, notBefore        time.Time
	authTime                          time.Time
	bound                             bool // to a key that its bearer would have to prove
}

// readIDJAG reads the claims; groups is the name of the one that lists groups.
func readIDJAG(payload []byte, groups string) (*idjagClaims, error) {
	var m map[string]json.RawMessage // encoding/json would take Sub for sub
	if err := json.Unmarshal(payload, &m); err != nil {
		return nil, errors.New("its claims are no JSON object")
	}
	var c idjagClaims
	var scope *string
	for name, into := range map[string]any{
		"iss": &c.issuer, "sub": &c.subject, "client_id": &c.client, "jti": &c.id, "name": &c.name,
		"aud": (*audience)(&c.audience), "resource": (*audience)(&c.resources), "amr": &c.amr, "scope": &scope,
	} {
		if raw, ok := m[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return nil, fmt.Errorf("its %s has another form than it must", name)
			}
		}
	}
	for name, into := range map[string]*time.Time{"exp": &c.expires, "iat": &c.issued, "nbf": &c.notBefore, "auth_time": &c.authTime} {
		raw, ok := m[name]
		if !ok {
			continue
		}
		var seconds float64
		if err := json.Unmarshal(raw, &seconds); err != nil || seconds < 1 || seconds > math.MaxInt32*10 {
			return nil, fmt.Errorf("its %s is no time", name)
		}
		*into = time.Unix(int64(seconds), 0)
	}
	if scope != nil {
		c.scopes = strings.Fields(*scope)
		if c.scopes == nil {
			c.scopes = []string{}
		}
	}
	if groups == "" {
		groups = defaultGroups
	}
	var list audience // one string or a list
	if raw, ok := m[groups]; ok && json.Unmarshal(raw, &list) != nil {
		return nil, errors.New("its claim of groups lists no strings")
	}
	if len(list) > maxGroups || len(c.amr) > maxAMR || slices.ContainsFunc(list, func(g string) bool { return len(g) > maxGroupBytes }) {
		return nil, errors.New("its lists are too long")
	}
	slices.Sort(list)
	c.groups = slices.Compact([]string(list))
	c.bound = m["cnf"] != nil
	c.name = client.CleanName(c.name)
	return &c, nil
}

// idjagResource is the one resource of the token: that which was asked for, or
// which the assertion names. Where both do, they must agree (RFC 8707 2.2).
func (s *Server) idjagResource(asked string, named []string) (string, error) {
	if len(named) == 0 {
		if asked == "" {
			asked = s.Issuer + mergedPath
		}
		return asked, nil
	}
	for _, n := range named {
		canonical := s.resource(n)
		if canonical != "" && (canonical == asked || asked == "" && len(named) == 1) {
			return canonical, nil
		}
	}
	return "", errTarget
}

// idjagScopes are the scopes that were asked for (with none: "mcp"), that the
// provider allows, and that exist here. A provider that names no scope allows
// "mcp" alone: nobody consented to more.
func (s *Server) idjagScopes(asked string, allowed []string) []string {
	if allowed == nil {
		allowed = []string{scopeMCP}
	}
	known := s.scopes()
	var scopes []string
	for _, scope := range append(strings.Fields(asked), scopeMCP) {
		// There is no refresh token, so nothing is offline.
		if scope != scopeOffline && slices.Contains(allowed, scope) && slices.Contains(known, scope) {
			scopes = append(scopes, scope)
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// shown is the person's name, or what stands for one.
func (c *idjagClaims) shown() string { return cmp.Or(c.name, client.CleanName(c.subject), "?") }
