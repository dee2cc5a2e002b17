package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/oauth2"

	"github.com/ostiary/ostiary/store"
)

// Refresh asks the provider whether it still knows u, and keeps the groups it
// names now. Without a refresh token of the provider's, the person must have
// signed in within MaxAge. While the provider can't be reached its last word
// counts as long: an outage there is not one here.
//
// Errors: ErrUnknownPerson, ErrUnavailable, ErrDisabled or the store's. Calls
// for one person share one request: providers rotate their refresh tokens.
func (o *OIDC) Refresh(ctx context.Context, u *store.User) (*store.User, error) {
	v, err, _ := o.renewing.Do(u.ID(), func() (any, error) {
		return o.refresh(context.WithoutCancel(ctx), u.ID())
	})
	if err != nil {
		return nil, err
	}
	shared := *v.(*store.User) // every caller has a copy of its own
	return &shared, nil
}

func (o *OIDC) refresh(ctx context.Context, id string) (*store.User, error) {
	// Read anew: the caller's copy may hold a token that was rotated since.
	u, err := o.Users.User(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrUnknownPerson
	} else if err != nil {
		return nil, fmt.Errorf("look up the account: %w", err)
	}
	if u.Disabled {
		return nil, ErrDisabled
	}
	fresh := o.now().Sub(u.Vouched) < o.maxAge()
	if u.ProviderRefresh == "" {
		if fresh {
			return u, nil
		}
		return nil, fmt.Errorf("%w: the last sign-in is too long ago", ErrUnknownPerson)
	}
	said, token, err := o.ask(ctx, u)
	switch {
	case errors.Is(err, ErrUnavailable) && fresh:
		return u, nil
	case err != nil:
		return nil, err
	}
	return o.Users.UpdateUser(ctx, id, func(u *store.User) error {
		if u.Disabled {
			return ErrDisabled
		}
		if said != nil {
			said.apply(u)
		}
		u.Vouched = o.now()
		u.ProviderRefresh = cmp.Or(token, u.ProviderRefresh)
		return nil
	})
}

// ask redeems the provider's refresh token (OpenID Connect Core 12).
func (o *OIDC) ask(ctx context.Context, u *store.User) (*claims, string, error) {
	p, err := o.provider(ctx)
	if err != nil {
		return nil, "", err
	}
	token, err := p.config("").TokenSource(o.client(ctx), &oauth2.Token{RefreshToken: u.ProviderRefresh}).Token()
	if r := (*oauth2.RetrieveError)(nil); errors.As(err, &r) && r.ErrorCode == "invalid_grant" && r.Response.StatusCode < http.StatusInternalServerError {
		return nil, "", fmt.Errorf("%w: it refused the refresh", ErrUnknownPerson)
	} else if err != nil {
		if err := o.exchangeError(err); errors.Is(err, ErrUnavailable) {
			return nil, "", err
		}
		// invalid_client and its like: our own settings, not the person.
		return nil, "", fmt.Errorf("%w: it refuses this gateway as its client", ErrUnavailable)
	}
	said, err := o.renewed(ctx, p, u, token)
	if errors.Is(err, ErrRefused) {
		return nil, "", fmt.Errorf("%w: %w", ErrUnknownPerson, err)
	}
	return said, token.RefreshToken, err
}

// renewed reads what came with the new tokens: an ID token, which 12.2 makes
// optional, or userinfo. nil = the provider redeemed the token and has nothing
// to add; that too is its word for the person.
func (o *OIDC) renewed(ctx context.Context, p *provider, u *store.User, token *oauth2.Token) (*claims, error) {
	if raw, _ := token.Extra("id_token").(string); raw != "" {
		id, err := o.verify(ctx, p, raw)
		if err != nil {
			return nil, err
		}
		if id.Subject != u.Subject {
			return nil, refused("the new ID token is about somebody else")
		}
		return o.claims(ctx, p, id, token)
	}
	if p.UserInfoEndpoint() == "" {
		return nil, nil
	}
	c := &claims{}
	info, err := p.UserInfo(o.client(ctx), oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, fmt.Errorf("%w: its userinfo endpoint does not answer", ErrUnavailable)
	}
	if info.Subject != u.Subject {
		return nil, refused("userinfo is about somebody else")
	}
	if err := o.read(info.Claims, c); err != nil {
		return nil, refused("userinfo can't be read")
	}
	c.Subject = u.Subject
	return c, nil
}
