package client

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ostiary/ostiary/store"
)

const (
	// MaxKeySet bounds a JWK Set behind jwks_uri in bytes.
	MaxKeySet = 64 << 10

	maxKeys = 20   // of a JWK Set
	minRSA  = 2048 // bits; RFC 7518 3.3
)

// publicKeys reads what we use of a JWK Set (RFC 7517 5): public signature keys. A key without "use" becomes one for signatures. A
// symmetric or private key is refused: whoever publishes one has a leak.
func publicKeys(raw []byte) (*jose.JSONWebKeySet, error) {
	o, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(o["keys"], &entries); err != nil {
		return nil, errors.New("no JWK Set: it needs a list \"keys\"")
	}
	if len(entries) > maxKeys {
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	set := &jose.JSONWebKeySet{}
	for i, entry := range entries {
		members, err := parseObject(entry)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		if members["d"] != nil || members["k"] != nil { // RFC 7518 6.2.2, 6.3.2, 6.4.1
			return nil, fmt.Errorf("key %d is a secret one; publish public keys only", i)
		}
		var key jose.JSONWebKey
		if err := json.Unmarshal(entry, &key); err != nil {
			continue // RFC 7517 5: keys of unknown kinds are ignored
		}
		if !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		if k, ok := key.Key.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
			return nil, fmt.Errorf("key %d: RSA keys need %d bits", i, minRSA)
		}
		key.Use = "sig"
		// A certificate adds nothing that we check, and a URL in it may be fetched by nobody.
		key.Certificates, key.CertificatesURL = nil, nil
		key.CertificateThumbprintSHA1, key.CertificateThumbprintSHA256 = nil, nil
		set.Keys = append(set.Keys, key)
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("no usable public signature key")
	}
	return set, nil
}

// cleanKeys is publicKeys written anew, to be kept and shown.
func cleanKeys(raw []byte) ([]byte, error) {
	set, err := publicKeys(raw)
	if err != nil {
		return nil, err
	}
	return json.Marshal(set)
}

// Keys are the public keys that c signs its assertions with: its own, or those
// at its jwks_uri. When none of the latter has the id keyID, they are fetched
// again, at most once a minute. The caller must not change them.
//
// Errors: store.ErrNotFound when there are none that can be used; ErrUnavailable
// when that can't be known now.
func (r *Registry) Keys(ctx context.Context, c *store.Client, keyID string) (*jose.JSONWebKeySet, error) {
	r.setup()
	switch {
	case c.KeysURI != "" && c.Kind == Static:
		return r.keySet(ctx, &r.trusted, c.KeysURI, keyID, true)
	case c.KeysURI != "":
		known, err := r.known(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		return r.keySet(ctx, &r.fetches, c.KeysURI, keyID, known != nil)
	}
	set, err := publicKeys(c.Keys)
	if err != nil {
		return nil, fmt.Errorf("keys of client %.200q: %w: %w", c.ID, err, store.ErrNotFound)
	}
	return set, nil
}

// OperatorKeys is Keys for a JWK Set that the operator named, which may lie in a
// private network.
func (r *Registry) OperatorKeys(ctx context.Context, uri, keyID string) (*jose.JSONWebKeySet, error) {
	r.setup()
	return r.keySet(ctx, &r.trusted, uri, keyID, true)
}

// CheckKeysURI says why the operator can't name uri for OperatorKeys.
func (r *Registry) CheckKeysURI(uri string) error {
	r.setup()
	return r.trusted.checkURL(uri)
}

// keySet is the JWK Set at uri. The keys of a stranger and of one who is known
// are remembered apart, so that no flood of the former pushes out the latter.
func (r *Registry) keySet(ctx context.Context, f *fetcher, uri, keyID string, known bool) (*jose.JSONWebKeySet, error) {
	keys := &r.keys
	if known {
		keys = &r.knownKeys
	}
	get := func(anew bool) (*jose.JSONWebKeySet, error) {
		// What strangers may not reach they don't find in the cache either.
		return keys.get(ctx, fmt.Sprint(f.trust, " ", uri), r.Now, anew, func(ctx context.Context) (*jose.JSONWebKeySet, time.Duration, error) {
			body, fresh, err := f.get(ctx, uri, MaxKeySet, known)
			if err != nil {
				return nil, 0, err
			}
			set, err := publicKeys(body)
			if err != nil {
				err = fmt.Errorf("%w: %w", errRefused, err)
			}
			return set, r.Documents.keep(fresh), err
		})
	}
	set, err := get(false)
	if err == nil && keyID != "" && len(set.Key(keyID)) == 0 {
		set, err = get(true)
	}
	switch {
	case err == nil:
		return set, nil
	case errors.Is(err, errRefused):
		return nil, fmt.Errorf("keys at %.200q: %w: %w", uri, err, store.ErrNotFound)
	}
	return nil, fmt.Errorf("keys at %.200q: %w: %w", uri, err, ErrUnavailable)
}
