package login

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/ostiary/ostiary/store"
)

// OIDC signs people in at the company's OpenID Connect provider, and asks it
// later whether it still knows them. It is keyed by issuer and subject: names
// and addresses can be given to somebody else.
//
// Its methods are safe for concurrent use.
type OIDC struct {
	Issuer       string // as in the provider's own metadata
	ClientID     string
	ClientSecret string        // "" = a public client
	Title        string        // on the sign-in button; "" = the issuer's host
	GroupsClaim  string        // "" = "groups"
	Scopes       []string      // besides openid, profile, email and offline_access where it is offered
	MaxAge       time.Duration // how long the provider's word counts when it can't be asked; 0 = 1 h
	Dev          bool          // allow plain http on loopback

	Users  Users
	Now    func() time.Time  // nil = time.Now
	Logger *slog.Logger      // nil = none
	Base   http.RoundTripper // nil = http.DefaultTransport, with its proxy settings

	mu       sync.Mutex
	found    *provider
	finding  singleflight.Group
	renewing singleflight.Group
}

const (
	defaultMaxAge   = time.Hour
	pendingLife     = 10 * time.Minute
	maxProviderText = 200 // bytes of a provider's words that are repeated
	clockSkew       = 30 * time.Second
)

// Pending is a sign-in that has begun. Whoever holds it keeps it secret, gives
// it back once, to the browser that began, and only until it expires.
type Pending struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"` // PKCE
	Redirect string    `json:"redirect"`
	Expires  time.Time `json:"expires"`
	// Since is the earliest sign-in there that will do; zero = any.
	Since time.Time `json:"since,omitzero"`
}

// Ask is how a sign-in at the provider must be (OpenID Connect Core 3.1.2.1).
type Ask struct {
	Prompt string // the parameter prompt; "" = none
	// MaxAge is how long ago the person may have signed in there: 0 = they must
	// do it now; nil = it doesn't matter. What the provider says is checked.
	MaxAge *time.Duration
}

// Place is what people call the provider.
func (o *OIDC) Place() string {
	if o.Title != "" {
		return o.Title
	}
	if u, err := url.Parse(o.Issuer); err == nil && u.Host != "" {
		return u.Host
	}
	return o.Issuer
}

// Begin makes the address at the provider to which the browser goes, and what
// Finish needs when it comes back to redirect. Errors wrap ErrUnavailable.
func (o *OIDC) Begin(ctx context.Context, redirect string, ask Ask) (string, Pending, error) {
	p, err := o.provider(ctx)
	if err != nil {
		return "", Pending{}, err
	}
	pending := Pending{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Redirect: redirect, Expires: o.now().Add(pendingLife),
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(pending.Nonce), oauth2.S256ChallengeOption(pending.Verifier)}
	if ask.Prompt != "" {
		options = append(options, oauth2.SetAuthURLParam("prompt", ask.Prompt))
	}
	if ask.MaxAge != nil {
		pending.Since = o.now().Add(-*ask.MaxAge - clockSkew)
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.Itoa(int(*ask.MaxAge/time.Second))))
	} else if p.takesClaims {
		// When the person signed in is policy input: with max_age providers MUST
		// say it, otherwise they do where they are asked (5.5).
		options = append(options, oauth2.SetAuthURLParam("claims", `{"id_token":{"auth_time":{"essential":true}}}`))
	}
	return p.config(redirect).AuthCodeURL(pending.State, options...), pending, nil
}

// Finish takes the provider's answer, the query of the redirect, and returns
// the person, kept in the store, with how and when they signed in there.
// Errors wrap ErrRefused, ErrTooOld, ErrDisabled or ErrUnavailable, or are the
// store's.
func (o *OIDC) Finish(ctx context.Context, pending Pending, query url.Values) (*store.User, *SignIn, error) {
	p, err := o.provider(ctx)
	if err != nil {
		return nil, nil, err
	}
	if !o.now().Before(pending.Expires) {
		return nil, nil, refused("it came too late")
	}
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(query[name]) > 1 {
			return nil, nil, refused("parameter %s came twice", name)
		}
	}
	if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(pending.State)) != 1 {
		return nil, nil, refused("its state is not ours")
	}
	// RFC 9207 2.4: an answer of another server must not be taken for this
	// one's (mix-up). Where the provider says it sends iss, it must be there.
	if iss := query.Get("iss"); iss != o.Issuer && (iss != "" || p.sendsIss) {
		return nil, nil, refused("it names another issuer")
	}
	if code := query.Get("error"); code != "" {
		return nil, nil, refused("the provider says %s", plain(code))
	}
	if query.Get("code") == "" {
		return nil, nil, refused("it has no code")
	}
	token, err := p.config(pending.Redirect).Exchange(o.client(ctx), query.Get("code"), oauth2.VerifierOption(pending.Verifier))
	if err != nil {
		return nil, nil, o.exchangeError(err)
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, nil, refused("the provider sent no ID token; is scope openid allowed there?")
	}
	id, err := o.verify(ctx, p, raw)
	if err != nil {
		return nil, nil, err
	}
	// OpenID Connect Core 3.1.3.7, 11.
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(pending.Nonce)) != 1 {
		return nil, nil, refused("the ID token has another nonce")
	}
	said, err := o.claims(ctx, p, id, token)
	if err != nil {
		return nil, nil, err
	}
	// 3.1.3.7 12: a provider may ignore what it was asked, so its word counts.
	if !pending.Since.IsZero() && time.Unix(said.AuthTime, 0).Before(pending.Since) {
		return nil, nil, ErrTooOld
	}
	u, err := o.keep(ctx, said, token.RefreshToken)
	if err != nil {
		return nil, nil, err
	}
	return u, &SignIn{AMR: said.AMR, At: said.at(o.now())}, nil
}

// SignIn is how and when a person signed in at the provider.
type SignIn struct {
	AMR []string
	At  time.Time
}

// keep writes what the provider said into the store.
func (o *OIDC) keep(ctx context.Context, said *claims, refresh string) (*store.User, error) {
	now := o.now()
	fresh := store.User{Issuer: o.Issuer, Subject: said.Subject, Created: now}
	for range 2 { // the account may be made, or deleted, in between
		u, err := o.Users.UpdateUser(ctx, fresh.ID(), func(u *store.User) error {
			if u.Disabled {
				return ErrDisabled
			}
			said.apply(u)
			u.Vouched, u.LastSignIn = now, now
			u.ProviderRefresh = cmp.Or(refresh, u.ProviderRefresh)
			return nil
		})
		if !errors.Is(err, store.ErrNotFound) {
			return u, err
		}
		if err := o.Users.CreateUser(ctx, fresh); err != nil && !errors.Is(err, store.ErrExists) {
			return nil, fmt.Errorf("keep the account: %w", err)
		}
	}
	return nil, store.ErrNotFound
}

// verify checks an ID token: signature, issuer, audience and expiry are
// go-oidc's, OpenID Connect Core 3.1.3.7 4 and 5 (azp) are ours.
func (o *OIDC) verify(ctx context.Context, p *provider, raw string) (*oidc.IDToken, error) {
	id, err := p.Verifier(&oidc.Config{ClientID: o.ClientID, Now: o.now}).Verify(o.client(ctx), raw)
	if err != nil {
		return nil, refused("the ID token: %s", plain(err.Error()))
	}
	var c struct {
		AZP string `json:"azp"`
	}
	if err := id.Claims(&c); err != nil {
		return nil, refused("the ID token can't be read")
	}
	if c.AZP != o.ClientID && (c.AZP != "" || len(id.Audience) > 1) {
		return nil, refused("the ID token was issued to another client")
	}
	if id.Subject == "" || len(id.Subject) > 255 {
		return nil, refused("the ID token has no usable sub")
	}
	return id, nil
}

// exchangeError tells "no" from "not now".
func (o *OIDC) exchangeError(err error) error {
	if r := (*oauth2.RetrieveError)(nil); errors.As(err, &r) {
		if r.Response.StatusCode >= 500 || r.Response.StatusCode == http.StatusTooManyRequests {
			return fmt.Errorf("%w: its token endpoint answers %d", ErrUnavailable, r.Response.StatusCode)
		}
		return refused("the token endpoint answers %d %s", r.Response.StatusCode, plain(r.ErrorCode))
	}
	// The rest of the text may hold the address with its parameters.
	o.log().Warn("the identity provider's token endpoint can't be reached", "issuer", o.Issuer, "error", safeError(err))
	return fmt.Errorf("%w: its token endpoint does not answer", ErrUnavailable)
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// plain cuts foreign text and takes out what is not printable ASCII.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), maxProviderText)]
}

// safeError is a transport error without the address it names.
func safeError(err error) string {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	return plain(err.Error())
}

func (o *OIDC) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

func (o *OIDC) log() *slog.Logger {
	if o.Logger != nil {
		return o.Logger
	}
	return slog.New(slog.DiscardHandler)
}

func (o *OIDC) maxAge() time.Duration { return cmp.Or(o.MaxAge, defaultMaxAge) }
