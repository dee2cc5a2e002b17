package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// Kinds of clients, as store.Client.Kind has them.
const (
	Static   = "static"
	Dynamic  = "dynamic"
	Document = "document"
)

// ErrUnavailable: the client may well exist, but what it publishes can't be had
// now. Try again later; unlike store.ErrNotFound it is no reason for a client to
// register anew.
var ErrUnavailable = errors.New("the client can't be looked up now")

// Store keeps clients: the four verbs of store.Store that a Registry needs.
type Store interface {
	CreateClient(ctx context.Context, c store.Client, max int) error
	Client(ctx context.Context, id string) (*store.Client, error)
	UpdateClient(ctx context.Context, id string, change func(*store.Client) error) (*store.Client, error)
	PutClient(ctx context.Context, c store.Client) error
}

// Registry finds clients and registers new ones. Set the exported fields, call
// Check, then use it; it is safe for concurrent use from then on, and the fields
// don't change any more. Without Registration.Enabled and Documents.Enabled only
// the operator's clients exist.
type Registry struct {
	Store  Store
	Static []store.Client // the operator's, from the configuration

	Registration Registration
	Documents    Documents

	// PrivateSchemes may stand in redirect URIs besides https and loopback http:
	// "cursor", "com.example.app".
	PrivateSchemes []string

	// Dev allows documents and keys on loopback addresses, over plain http too.
	// For tests, on loopback listeners alone.
	Dev bool

	// Source is the address that a request comes from, for rate limits; it knows
	// the trusted proxies. nil = the peer's.
	Source func(*http.Request) netip.Addr

	Now    func() time.Time // nil = time.Now
	Logger *slog.Logger     // nil = none
	Audit  audit.Sink       // nil = none

	limits  limiter
	fetches fetcher      // of what strangers name
	trusted fetcher      // of what the operator names
	warned  atomic.Int64 // Unix seconds of the last warning about an unreadable document
	pins    pins
	once    sync.Once

	// What was fetched for strangers, and for those who are known.
	docs, knownDocs cache[*store.Client]
	keys, knownKeys cache[*jose.JSONWebKeySet]
}

// Check says what is wrong with the fields, so that a server refuses to start on
// them. It reads the pinned documents.
func (r *Registry) Check() error {
	r.setup()
	var errs []error
	for _, s := range r.PrivateSchemes {
		errs = append(errs, checkScheme(s))
	}
	seen := map[string]bool{}
	for i, c := range r.Static {
		if seen[c.ID] {
			errs = append(errs, fmt.Errorf("client %q stands there twice", c.ID))
		}
		seen[c.ID] = true
		if err := r.checkStatic(&r.Static[i]); err != nil {
			errs = append(errs, fmt.Errorf("client %.100q: %w", c.ID, err))
		}
	}
	return errors.Join(append(errs, r.Documents.checkAllow(), r.checkPinned())...)
}

// setup gives unset fields their defaults, once.
func (r *Registry) setup() {
	r.once.Do(func() {
		if r.Now == nil {
			r.Now = time.Now
		}
		if r.Logger == nil {
			r.Logger = slog.New(slog.DiscardHandler)
		}
		if r.Source == nil {
			r.Source = peer
		}
		r.Registration.defaults()
		r.Documents.defaults()
		r.limits = limiter{burst: r.Registration.Burst, every: r.Registration.Every, max: maxSources}
		t := stranger
		if r.Dev {
			t = strangerHere
		}
		r.fetches, r.trusted = newFetcher(t), newFetcher(operator)
		r.docs, r.knownDocs = newCache[*store.Client](maxCached), newCache[*store.Client](maxCached)
		r.keys, r.knownKeys = newCache[*jose.JSONWebKeySet](maxCached), newCache[*jose.JSONWebKeySet](maxCached)
	})
}

// Client finds the client of this id: the operator's, then one that describes
// itself at its https URL, then a registered one. The result is the caller's
// own. It may wait for a document to be fetched, so never call it inside a store
// verb.
//
// Errors: store.ErrNotFound when there is no such client or what it says of
// itself is not acceptable; ErrUnavailable when that can't be known now; errors
// of the store.
func (r *Registry) Client(ctx context.Context, id string) (*store.Client, error) {
	return r.find(ctx, id, false)
}

// Standing is Client for a request that goes on from what a person allowed
// before, such as a refresh. A client that describes itself, and has a record,
// does not wait for its document: what was last read of it counts while it is
// read anew, and for two days when it can't be.
func (r *Registry) Standing(ctx context.Context, id string) (*store.Client, error) {
	return r.find(ctx, id, true)
}

func (r *Registry) find(ctx context.Context, id string, standing bool) (*store.Client, error) {
	r.setup()
	if c := r.static(id); c != nil {
		return c, nil
	}
	if id == "" || len(id) > MaxURI {
		return nil, fmt.Errorf("client id of %d bytes: %w", len(id), store.ErrNotFound)
	}
	if strings.HasPrefix(id, "https://") || strings.HasPrefix(id, "http://") {
		return r.document(ctx, id, standing)
	}
	c, err := r.Store.Client(ctx, id)
	if err != nil {
		return nil, err
	}
	// The operator may have taken a scheme off the list since.
	c.RedirectURIs = slices.DeleteFunc(c.RedirectURIs, func(uri string) bool {
		return checkRedirect(uri, r.PrivateSchemes) != nil
	})
	return c, nil
}

// Used tells that a client was used: a code of its was redeemed or a token
// refreshed. An unused registration becomes a lasting one then, and a document's
// client gets a record, so that lists and consents can name it. Call it after
// the fact; an error changes nothing for the client's present request.
func (r *Registry) Used(ctx context.Context, id string) error {
	r.setup()
	if r.static(id) != nil {
		return nil
	}
	now := r.Now()
	known, err := r.Store.Client(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	recent := err == nil && now.Sub(known.LastUsed) < usedEvery
	if err == nil && known.Kind != Document {
		if recent {
			return nil
		}
		_, err = r.Store.UpdateClient(ctx, id, func(c *store.Client) error {
			if c.LastUsed = now; c.Kind == Dynamic {
				c.Expires = now.Add(r.Registration.UsedTTL)
			}
			return nil
		})
		return err
	}
	c, err := r.Standing(ctx, id)
	if err != nil || c.Kind != Document || recent && known.Digest == c.Digest && c.Fetched.Sub(known.Fetched) < usedEvery {
		return err
	}
	c.Created, c.LastUsed, c.Expires = now, now, now.Add(r.Registration.UsedTTL)
	if known != nil {
		c.Created = known.Created
	}
	return r.Store.PutClient(ctx, *c)
}

// usedEvery bounds how often a use is written down.
const usedEvery = time.Hour

// static finds an operator's client of the configuration.
func (r *Registry) static(id string) *store.Client {
	i := slices.IndexFunc(r.Static, func(c store.Client) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return clone(&r.Static[i])
}

// checkStatic gives an operator's client its defaults and says what is wrong.
func (r *Registry) checkStatic(c *store.Client) (err error) {
	c.Kind, c.Verified, c.Name = Static, true, CleanName(c.Name)
	if c.Name == "" {
		c.Name = c.ID
	}
	if c.AuthMethod == "" {
		c.AuthMethod = authNone
		if len(c.SecretHash) > 0 {
			c.AuthMethod = authBasic
		}
	}
	if c.GrantTypes == nil {
		c.GrantTypes = []string{authorizationCode, refreshToken}
	}
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case c.ID == "" || len(c.ID) > maxWord || strings.ContainsFunc(c.ID, func(r rune) bool { return r <= ' ' || r > '~' }):
		add("its id must be 1 to %d printable ASCII characters without spaces", maxWord)
	case strings.HasPrefix(c.ID, "https://") || strings.HasPrefix(c.ID, "http://"):
		add("an id that is a URL names a client id metadata document; pin it under oauth.clientDocuments")
	}
	for _, uri := range c.RedirectURIs {
		if err := checkRedirect(uri, r.PrivateSchemes); err != nil {
			add("redirect URI %.100q: %w", uri, err)
		}
	}
	for _, g := range c.GrantTypes {
		if !slices.Contains([]string{authorizationCode, refreshToken, clientCredentials, jwtBearer}, g) {
			add("grant type %.100q is not served here", g)
		}
	}
	if c.Keys != nil {
		if c.Keys, err = cleanKeys(c.Keys); err != nil {
			add("keys: %w", err)
		}
	}
	if c.KeysURI != "" {
		if err := r.trusted.checkURL(c.KeysURI); err != nil {
			add("keys URI: %w", err)
		}
	}
	own := slices.Contains(c.GrantTypes, clientCredentials) || slices.Contains(c.GrantTypes, jwtBearer)
	switch c.AuthMethod {
	case authNone:
		if own {
			add("a client without a secret or keys can't act without a person's sign-in; give it one or drop the grant type")
		}
	case authBasic, authPost:
		if len(c.SecretHash) == 0 {
			add("%s needs a secret", c.AuthMethod)
		}
	case authPrivateKey:
		if (c.Keys == nil) == (c.KeysURI == "") {
			add("private_key_jwt needs keys: either a JWK Set or its URI")
		}
	default:
		add("authentication method %.40q is not one of none, client_secret_basic, client_secret_post, private_key_jwt", c.AuthMethod)
	}
	if slices.Contains(c.GrantTypes, authorizationCode) && len(c.RedirectURIs) == 0 {
		add("it needs redirect URIs, or the grant type client_credentials alone")
	}
	return errors.Join(errs...)
}

func clone(c *store.Client) *store.Client {
	d := *c
	d.RedirectURIs = slices.Clone(c.RedirectURIs)
	d.GrantTypes = slices.Clone(c.GrantTypes)
	d.Scopes = slices.Clone(c.Scopes)
	d.SecretHash = slices.Clone(c.SecretHash)
	d.Keys = slices.Clone(c.Keys)
	return &d
}
