package login

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/ostiary/ostiary/store"
)

const (
	maxGroups    = 1000 // of one person
	maxGroupName = 256  // bytes
	maxName      = 128  // bytes, of a person's name
)

// claims are what the provider says about a person.
type claims struct {
	Subject           string   `json:"sub"`
	Name              string   `json:"name"`
	PreferredUsername string   `json:"preferred_username"`
	Email             string   `json:"email"`
	AMR               []string `json:"amr"`
	AuthTime          int64    `json:"auth_time"`

	verified bool
	groups   []string
	named    bool // the groups claim was there
}

// claims reads the ID token and, where it leaves the name or the groups out,
// the userinfo endpoint: many providers keep ID tokens small.
func (o *OIDC) claims(ctx context.Context, p *provider, id *oidc.IDToken, token *oauth2.Token) (*claims, error) {
	c := &claims{}
	if err := o.read(id.Claims, c); err != nil {
		return nil, refused("the ID token can't be read")
	}
	if p.UserInfoEndpoint() != "" && token.AccessToken != "" && (!c.named || c.Name == "" && c.PreferredUsername == "") {
		info, err := p.UserInfo(o.client(ctx), oauth2.StaticTokenSource(token))
		if err != nil {
			// Not a text of ours: it may repeat what the endpoint answered.
			return nil, fmt.Errorf("%w: its userinfo endpoint does not answer", ErrUnavailable)
		}
		// OpenID Connect Core 5.3.2: the sub MUST be that of the ID token.
		if info.Subject != id.Subject {
			return nil, refused("userinfo is about somebody else")
		}
		amr, at := c.AMR, c.AuthTime
		if err := o.read(info.Claims, c); err != nil {
			return nil, refused("userinfo can't be read")
		}
		c.AMR, c.AuthTime = amr, at // only the ID token can say that
	}
	c.Subject = id.Subject
	if !c.named {
		o.log().Warn("the identity provider names no groups; the person is in none",
			"issuer", o.Issuer, "subject", c.Subject, "claim", o.groupsClaim())
	}
	return c, nil
}

// read adds the claims of one document to c.
func (o *OIDC) read(from func(any) error, c *claims) error {
	if err := from(c); err != nil {
		return err
	}
	var all map[string]json.RawMessage
	if err := from(&all); err != nil {
		return err
	}
	if v := string(all["email_verified"]); v == "true" || v == `"true"` {
		c.verified = true
	}
	raw, ok := all[o.groupsClaim()]
	if !ok || string(raw) == "null" {
		return nil
	}
	var one string
	var many []string
	if json.Unmarshal(raw, &one) == nil {
		many = strings.Fields(one)
	} else if err := json.Unmarshal(raw, &many); err != nil {
		// A claim that can't be read grants nothing.
		o.log().Warn("the groups claim is neither a list of strings nor a string", "issuer", o.Issuer, "claim", o.groupsClaim())
		return nil
	}
	c.named, c.groups = true, many
	return nil
}

func (o *OIDC) groupsClaim() string { return cmp.Or(o.GroupsClaim, "groups") }

// apply writes the person's name and groups. Names and groups are bounded, so
// that a provider can't make every request carry a megabyte.
func (c *claims) apply(u *store.User) {
	email := ""
	if c.verified {
		email = c.Email
	}
	u.Name = cut(cmp.Or(c.Name, c.PreferredUsername, email, c.Subject), maxName)
	groups := slices.DeleteFunc(slices.Clone(c.groups), func(g string) bool { return g == "" || len(g) > maxGroupName })
	slices.Sort(groups)
	groups = slices.Compact(groups)
	u.Groups = groups[:min(len(groups), maxGroups)]
}

// at is when the person signed in: the provider's word if it makes sense. One
// that says nothing vouches for them at this moment.
func (c *claims) at(now time.Time) time.Time {
	if t := time.Unix(c.AuthTime, 0); c.AuthTime > 0 && t.Before(now) {
		return t
	}
	return now
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}
