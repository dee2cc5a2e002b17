package main

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/ostiary/ostiary/authserver"
	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/store"
)

// minSecret is what a secret of a client must have, in characters: it is
// compared by a fast hash, so it must be beyond guessing (RFC 6749 10.10).
const minSecret = 32

// readers read the keys of one element of a list into a T.
type readers[T any] map[string]func(r *fileReader, v *T, key string, n *yaml.Node)

// elements reads a list whose elements have keys, of which required must be
// there.
func elements[T any](r *fileReader, key string, n *yaml.Node, keys readers[T], required ...string) []T {
	if n.Kind != yaml.SequenceNode {
		r.problem(n, "%s: want a list", key)
		return nil
	}
	var all []T
	known := slices.Sorted(maps.Keys(keys))
	for i, element := range n.Content {
		var v T
		missing := slices.Clone(required)
		at := fmt.Sprintf("%s[%d]", key, i)
		r.each(at, element, func(name, value *yaml.Node) {
			read, ok := keys[name.Value]
			if !ok {
				r.problem(name, "%s.%s: unknown key%s", at, name.Value, didYouMean(name.Value, known))
				return
			}
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == name.Value })
			read(r, &v, at+"."+name.Value, value)
		})
		if element.Kind == yaml.MappingNode && len(missing) > 0 {
			r.problem(element, "%s.%s: is missing", at, missing[0])
		}
		all = append(all, v)
	}
	return all
}

// oneText reads one value into a field.
func oneText[T any](field func(*T) *string) func(*fileReader, *T, string, *yaml.Node) {
	return func(r *fileReader, v *T, key string, n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Value == "" {
			r.problem(n, "%s: want one value", key)
			return
		}
		*field(v) = n.Value
	}
}

// manyTexts reads a list of values into a field.
func manyTexts[T any](field func(*T) *[]string) func(*fileReader, *T, string, *yaml.Node) {
	return func(r *fileReader, v *T, key string, n *yaml.Node) { *field(v) = r.items(key, n) }
}

var clientKeys = readers[store.Client]{
	"id":           oneText(func(c *store.Client) *string { return &c.ID }),
	"name":         oneText(func(c *store.Client) *string { return &c.Name }),
	"authMethod":   oneText(func(c *store.Client) *string { return &c.AuthMethod }),
	"jwksUri":      oneText(func(c *store.Client) *string { return &c.KeysURI }),
	"redirectUris": manyTexts(func(c *store.Client) *[]string { return &c.RedirectURIs }),
	"grantTypes":   manyTexts(func(c *store.Client) *[]string { return &c.GrantTypes }),
	"scopes":       manyTexts(func(c *store.Client) *[]string { return &c.Scopes }),
	"secret": func(r *fileReader, c *store.Client, key string, n *yaml.Node) {
		secret, err := r.config.secret(n.Value)
		if err == nil && len(secret) < minSecret {
			err = fmt.Errorf("is shorter than %d characters; make one with `openssl rand -base64 32`", minSecret)
		}
		if err != nil {
			r.problem(n, "%s: %w", key, err)
			return
		}
		c.SecretHash = client.SecretHash(secret)
	},
	"jwksFile": func(r *fileReader, c *store.Client, key string, n *yaml.Node) {
		raw, err := os.ReadFile(n.Value)
		if err != nil {
			r.problem(n, "%s: %w", key, err)
			return
		}
		c.Keys = raw
	},
}

func readClients(r *fileReader, n *yaml.Node) {
	r.config.Clients = elements(r, "oauth.clients", n, clientKeys, "id")
}

var enterpriseKeys = readers[authserver.EnterpriseIssuer]{
	"issuer":      oneText(func(e *authserver.EnterpriseIssuer) *string { return &e.Issuer }),
	"jwksUri":     oneText(func(e *authserver.EnterpriseIssuer) *string { return &e.JWKSURI }),
	"groupsClaim": oneText(func(e *authserver.EnterpriseIssuer) *string { return &e.GroupsClaim }),
	"clients":     manyTexts(func(e *authserver.EnterpriseIssuer) *[]string { return &e.Clients }),
}

func readEnterprise(r *fileReader, n *yaml.Node) {
	r.config.Enterprise = elements(r, "oauth.enterprise", n, enterpriseKeys, "issuer", "jwksUri")
}
