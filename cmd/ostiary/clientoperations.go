package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/gateway/admin"
	"github.com/ostiary/ostiary/store"
)

// clientWish is a client that an operator registers.
type clientWish struct {
	ID                string
	Name              string
	RedirectURIs      []string
	Secret            bool   // make one
	Keys              []byte // a JWK Set
	ClientCredentials bool   // it may act for itself
	Scopes            []string
}

// madeClient is the answer: the secret is shown this once and kept as a hash.
type madeClient struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret,omitempty"`
}

// shownClient is a client as verbs show it.
type shownClient struct {
	ID           string    `json:"id"`
	Kind         string    `json:"kind"`
	Name         string    `json:"name"`
	Verified     bool      `json:"verified"` // the name is the operator's word
	RedirectURIs []string  `json:"redirect_uris"`
	AuthMethod   string    `json:"auth_method"`
	GrantTypes   []string  `json:"grant_types"`
	Scopes       []string  `json:"scopes,omitempty"`
	Configured   bool      `json:"configured"` // stands in ostiary.yaml
	Created      time.Time `json:"created,omitzero"`
	LastUsed     time.Time `json:"last_used,omitzero"`
	Expires      time.Time `json:"expires,omitzero"`
}

func (o *office) clientOperations() map[string]admin.Operation {
	return map[string]admin.Operation{
		"client.add":  operation(o.addClient),
		"client.list": operation(o.listClients),
		"client.revoke": operation(func(ctx context.Context, id string) (nothing, error) {
			err := o.accounts.RevokeClient(ctx, id)
			if errors.Is(err, store.ErrNotFound) {
				err = fmt.Errorf("no client %s; `ostiary client list` shows those that there are", id)
			}
			return nothing{}, err
		}),
	}
}

func (o *office) addClient(ctx context.Context, w clientWish) (madeClient, error) {
	if w.ID == "" {
		w.ID = strings.ToLower(rand.Text())
	}
	if o.configured(w.ID) {
		return madeClient{}, usagef("client add: %s stands in ostiary.yaml already", w.ID)
	}
	made := madeClient{ID: w.ID}
	c := store.Client{ID: w.ID, Name: w.Name, RedirectURIs: w.RedirectURIs, Keys: w.Keys, Scopes: w.Scopes, Created: time.Now()}
	if len(w.RedirectURIs) > 0 {
		c.GrantTypes = append(c.GrantTypes, "authorization_code", "refresh_token")
	}
	if w.ClientCredentials {
		c.GrantTypes = append(c.GrantTypes, "client_credentials")
	}
	switch {
	case w.Secret && len(w.Keys) > 0:
		return madeClient{}, usagef("client add: a client proves itself by a secret or by keys, not both")
	case w.Secret:
		made.Secret = "ost_cs_" + rand.Text() + rand.Text()
		c.SecretHash = client.SecretHash(made.Secret)
	case len(w.Keys) > 0:
		c.AuthMethod = "private_key_jwt"
	}
	c, err := checkedClient(c, o.config.PrivateSchemes)
	if err != nil {
		return madeClient{}, usagef("client add: %v", err)
	}
	if err := o.store.CreateClient(ctx, c, 0); errors.Is(err, store.ErrExists) {
		return madeClient{}, fmt.Errorf("client %s: %w; `ostiary client revoke` removes it", w.ID, err)
	} else if err != nil {
		return madeClient{}, err
	}
	return made, o.record(ctx, "client.created", c.ID)
}

func (o *office) configured(id string) bool {
	return slices.ContainsFunc(o.config.Clients, func(c store.Client) bool { return c.ID == id })
}

func (o *office) listClients(ctx context.Context, _ nothing) ([]shownClient, error) {
	kept, err := o.store.Clients(ctx)
	if err != nil {
		return nil, err
	}
	shown := []shownClient{}
	for _, c := range o.accounts.Clients.Static {
		shown = append(shown, showClient(&c, true))
	}
	for _, c := range kept {
		shown = append(shown, showClient(&c, false))
	}
	return shown, nil
}

func showClient(c *store.Client, configured bool) shownClient {
	return shownClient{
		ID: c.ID, Kind: c.Kind, Name: c.Name, Verified: c.Verified, RedirectURIs: append([]string{}, c.RedirectURIs...),
		AuthMethod: c.AuthMethod, GrantTypes: append([]string{}, c.GrantTypes...), Scopes: c.Scopes, Configured: configured,
		Created: c.Created, LastUsed: c.LastUsed, Expires: c.Expires,
	}
}
