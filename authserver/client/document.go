package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ostiary/ostiary/store"
)

const (
	// MaxDocument bounds a client id metadata document in bytes.
	MaxDocument = 5 << 10
	// MinFresh and MaxFresh bound how long a document or a key set is kept,
	// whatever its Cache-Control says.
	MinFresh = 5 * time.Minute
	MaxFresh = 24 * time.Hour
)

// Documents are clients whose id is the https URL of a document (client id
// metadata document; MCP 2026-07-28 Authorization). Where a person is to be
// asked, a document that can't be had when what we remember of it has expired is
// refused, not served stale: it may have been withdrawn. A client that was let
// in before keeps what it has for two days meanwhile (Registry.Standing).
type Documents struct {
	Enabled bool // fetch them
	// Pinned documents are the operator's: URL → file. They are read at start and
	// when they change, never fetched, also while Enabled is false.
	Pinned map[string]string
	// Allow lists the host names that documents are fetched from: "claude.ai", or
	// "*.example.org" for every name below example.org; empty = all.
	Allow []string
	// MinFresh and MaxFresh; 0 = the package's.
	MinFresh, MaxFresh time.Duration
}

func (d *Documents) defaults() {
	set(&d.MinFresh, MinFresh)
	set(&d.MaxFresh, MaxFresh)
}

// Accepted says whether any client can come with a document, for the metadata
// client_id_metadata_document_supported.
func (d *Documents) Accepted() bool { return d.Enabled || len(d.Pinned) > 0 }

// document finds the client whose id is the URL id; standing = as Standing does.
func (r *Registry) document(ctx context.Context, id string, standing bool) (*store.Client, error) {
	if err := r.documentURL(id); err != nil {
		return nil, fmt.Errorf("client id: %w: %w", err, store.ErrNotFound)
	}
	if c, ok := r.pinned(id); c != nil {
		return clone(c), nil
	} else if ok {
		return nil, fmt.Errorf("the pinned document of client %.200q was never usable: %w", id, store.ErrNotFound)
	}
	switch {
	case !r.Documents.Enabled:
		return nil, fmt.Errorf("client documents are off on this server: %w", store.ErrNotFound)
	case !r.Documents.allows(id):
		return nil, fmt.Errorf("the host of client %.200q may not bring documents to this server: %w", id, store.ErrNotFound)
	}
	known, err := r.known(ctx, id)
	if err != nil {
		return nil, err
	}
	load := func(ctx context.Context) (*store.Client, time.Duration, error) {
		body, fresh, err := r.fetches.get(ctx, id, MaxDocument, known != nil)
		if err != nil {
			r.warnUnread(id, err)
			return nil, 0, err
		}
		c, err := r.readDocument(id, body)
		if err == nil {
			c.Fetched = r.Now()
		}
		return c, r.Documents.keep(fresh), err
	}
	var c *store.Client
	switch {
	case known == nil:
		c, err = r.docs.get(ctx, id, r.Now, false, load)
	case standing:
		if !known.Fetched.IsZero() {
			r.knownDocs.seed(id, known, known.Fetched, r.Now())
		}
		c, err = r.knownDocs.standing(ctx, id, r.Now, load)
	default:
		c, err = r.knownDocs.get(ctx, id, r.Now, false, load)
	}
	switch {
	case err == nil:
		return clone(c), nil
	case errors.Is(err, errRefused):
		return nil, fmt.Errorf("document of client %.200q: %w: %w", id, err, store.ErrNotFound)
	}
	return nil, fmt.Errorf("document of client %.200q: %w: %w", id, err, ErrUnavailable)
}

// known is the record of a client that describes itself, which it has since a
// person let it in; nil = a stranger's.
func (r *Registry) known(ctx context.Context, id string) (*store.Client, error) {
	c, err := r.Store.Client(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && c.Kind != Document {
		return nil, nil
	}
	return c, err
}

// warnUnread tells the operator that a document can't be had: on a network
// without a way out it is the first thing that people run into. Anybody can
// name addresses that don't answer, so it speaks once a while.
func (r *Registry) warnUnread(id string, err error) {
	now := r.Now().Unix()
	last := r.warned.Load()
	if now-last < int64(warnEvery/time.Second) || !r.warned.CompareAndSwap(last, now) {
		return
	}
	r.Logger.Warn("the document of a client can't be read; where this server has no way out, keep a copy of it and name it under oauth.clientDocuments.pinned, or switch client documents off",
		"client", fmt.Sprintf("%.200q", id), "error", err)
}

// warnEvery is how often unreadable documents are spoken of.
const warnEvery = 10 * time.Second

func (d *Documents) keep(fresh time.Duration) time.Duration {
	return min(max(fresh, d.MinFresh), d.MaxFresh)
}

// documentURL says why id can't be the URL of a document. Ids are compared as
// strings, so each has one spelling: lower-case scheme and host, no default
// port, no dot segments (client id metadata document 2; RFC 3986 6.2.1).
func (r *Registry) documentURL(id string) error {
	if err := r.fetches.checkURL(id); err != nil {
		return err
	}
	u, err := webURL(id)
	switch {
	case err != nil:
		return err
	case u.Host != strings.ToLower(u.Host) || strings.HasSuffix(u.Hostname(), "."):
		return errors.New("write the host name in lower case, without a dot at its end")
	case u.Port() == defaultPorts[u.Scheme] && u.Port() != "":
		return errors.New("write it without the port, which is the default one")
	case u.Path == "" || u.Path == "/":
		return errors.New("it needs a path")
	}
	return nil
}

// allows says whether the document at id may be fetched.
func (d *Documents) allows(id string) bool {
	u, err := webURL(id)
	return err == nil && (len(d.Allow) == 0 || slices.ContainsFunc(d.Allow, func(host string) bool {
		if below, ok := strings.CutPrefix(host, "*"); ok {
			return strings.HasSuffix(u.Hostname(), strings.ToLower(below))
		}
		return u.Hostname() == strings.ToLower(host)
	}))
}

// checkAllow says what is wrong with the list.
func (d *Documents) checkAllow() error {
	for _, host := range d.Allow {
		if name := strings.TrimPrefix(host, "*."); !hostForm.MatchString(name) || strings.ContainsRune(name, ':') {
			return fmt.Errorf("host %.100q of client documents: write a host name, or *. and one", host)
		}
	}
	return nil
}

// readDocument makes a client of the document at id.
func (r *Registry) readDocument(id string, body []byte) (*store.Client, error) {
	o, err := parseObject(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	// MCP 2026-07-28: client_id MUST equal the URL exactly.
	said, err := o.text("client_id", MaxURI)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	case said != id:
		return nil, fmt.Errorf("%w: its client_id is not its URL", errRefused)
	case o["client_secret"] != nil || o["client_secret_expires_at"] != nil:
		return nil, fmt.Errorf("%w: a public document holds a client secret", errRefused)
	}
	c, err := rules{
		privateSchemes: r.PrivateSchemes,
		grants:         []string{authorizationCode, refreshToken, jwtBearer},
		auth:           []string{authNone, authPrivateKey}, // a secret shared with nobody is none
		defaultAuth:    authNone,
		keysURI:        true,
	}.read(o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRefused, err)
	}
	if c.Name == "" {
		return nil, fmt.Errorf("%w: client_name is missing", errRefused)
	}
	if c.KeysURI != "" {
		if err := r.fetches.checkURL(c.KeysURI); err != nil {
			return nil, fmt.Errorf("%w: jwks_uri: %w", errRefused, err)
		}
	}
	if c.AuthMethod == authNone {
		c.GrantTypes = slices.DeleteFunc(c.GrantTypes, func(g string) bool { return g == jwtBearer })
	}
	c.ID, c.Kind, c.Digest = id, Document, digest(c)
	return c, nil
}

// digest covers what a consent stands on: where codes go, how the client proves
// itself, what it may do, what it is called. When it changes, people are asked
// again.
func digest(c *store.Client) string {
	text, _ := json.Marshal([]any{c.Name, c.RedirectURIs, c.AuthMethod, string(c.Keys), c.KeysURI, c.GrantTypes})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
