package authserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/store"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// maxAssertionLife bounds how long a used assertion must be remembered.
	maxAssertionLife = time.Hour
	clockSkew        = 30 * time.Second
	classAssertion   = "client assertion"
)

// assertionAlgorithms sign client assertions. None is symmetric: a public key
// must never pass for a secret (RFC 8725 3.1).
var assertionAlgorithms = []string{"ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}

// credentials is how a client presents itself in one request.
type credentials struct {
	id, secret, assertion string
	basic                 bool
}

// authenticate finds the client of a request and checks that it is who it says
// (RFC 6749 2.3, 3.2.1). Whatever is wrong, the answer is the same.
func (s *Server) authenticate(r *http.Request, form url.Values) (*store.Client, *oauthError) {
	got, oerr := presented(r, form)
	if oerr != nil {
		return nil, oerr
	}
	c, err := s.standingClient(r.Context(), got.id)
	if errors.Is(err, store.ErrNotFound) {
		// Same work as for a client that exists (no oracle by timing).
		c, err = s.nobody.read(s.Store)
	}
	if err != nil {
		return nil, s.oauthError(r.Context(), err)
	}
	ok := false
	switch c.AuthMethod {
	case "none":
		ok = got.secret == "" && got.assertion == ""
	case "client_secret_basic", "client_secret_post":
		// Either way of sending it is as good; what counts is the secret.
		sum := sha256.Sum256([]byte(got.secret))
		ok = subtle.ConstantTimeCompare(sum[:], c.SecretHash) == 1 && got.secret != "" && got.assertion == ""
	case "private_key_jwt":
		if got.assertion != "" && got.secret == "" {
			ok, err = s.assertionHolds(r.Context(), c, got.assertion)
		}
	}
	if err != nil {
		return nil, s.oauthError(r.Context(), err)
	}
	if !ok {
		e := invalidClient()
		e.basic = got.basic
		return nil, e
	}
	return c, nil
}

// nobody stands in for a client that there is not: sealed like the record of
// one, so that reading it takes as long.
type nobody string

const purposeNobody = "nobody"

func newNobody(s *store.Store) (nobody, error) {
	// As long as what agents register.
	plain, err := json.Marshal(store.Client{
		ID: "ost_dc_" + strings.Repeat("x", 22), Kind: client.Dynamic, Name: "An agent of somebody's",
		RedirectURIs: []string{"http://127.0.0.1/callback"}, AuthMethod: "client_secret_basic", SecretHash: make([]byte, sha256.Size),
		GrantTypes: []string{grantCode, grantRefresh},
	})
	return nobody(s.Seal(purposeNobody, plain, nil)), err
}

func (n nobody) read(s *store.Store) (*store.Client, error) {
	plain, err := s.Unseal(purposeNobody, string(n), nil)
	if err != nil {
		return nil, err
	}
	c := &store.Client{}
	if err := json.Unmarshal(plain, c); err != nil {
		return nil, err
	}
	c.SecretHash = nil // no secret fits
	return c, nil
}

// presented reads how the client authenticates. RFC 6749 2.3: it MUST NOT use
// more than one method in a request.
func presented(r *http.Request, form url.Values) (credentials, *oauthError) {
	got := credentials{id: form.Get("client_id"), secret: form.Get("client_secret"), assertion: form.Get("client_assertion")}
	two := refuse("invalid_request", "more than one way of client authentication")
	switch headers := r.Header.Values("Authorization"); {
	case len(headers) > 1:
		return got, two
	case len(headers) == 1:
		id, secret, ok := r.BasicAuth()
		if !ok {
			e := invalidClient()
			e.basic = true
			return got, e
		}
		// RFC 6749 2.3.1: both are form-encoded inside.
		id, ierr := url.QueryUnescape(id)
		secret, serr := url.QueryUnescape(secret)
		if ierr != nil || serr != nil || got.secret != "" || got.assertion != "" || got.id != "" && got.id != id {
			return got, two
		}
		got.id, got.secret, got.basic = id, secret, true
	}
	if form.Has("client_assertion_type") && form.Get("client_assertion_type") != assertionType {
		return got, refuse("invalid_request", "client_assertion_type is not supported")
	}
	if got.assertion != "" {
		if got.secret != "" {
			return got, two
		}
		if !form.Has("client_assertion_type") {
			return got, refuse("invalid_request", "client_assertion_type is missing")
		}
		if got.id == "" { // RFC 7521 4.2: client_id may be left out
			got.id = claimedSubject(got.assertion)
		}
	}
	if got.id == "" {
		return got, invalidClient()
	}
	return got, nil
}

// assertion holds the claims of a client assertion (RFC 7523 3).
type assertion struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Expires   float64  `json:"exp"`
	NotBefore float64  `json:"nbf"`
	IssuedAt  float64  `json:"iat"`
	ID        string   `json:"jti"`
}

// audience is one string or a list of them (RFC 7519 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	var many []string
	err := json.Unmarshal(b, &many)
	*a = many
	return err
}

func signatureAlgorithms() []jose.SignatureAlgorithm {
	algs := make([]jose.SignatureAlgorithm, len(assertionAlgorithms))
	for i, a := range assertionAlgorithms {
		algs[i] = jose.SignatureAlgorithm(a)
	}
	return algs
}

// claimedSubject is who an assertion says it is of, before it is checked.
func claimedSubject(text string) string {
	jws, err := jose.ParseSignedCompact(text, signatureAlgorithms())
	if err != nil {
		return ""
	}
	var a assertion
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &a) != nil {
		return ""
	}
	return a.Subject
}

// assertionHolds checks a client assertion: signed by a key of c, made for this
// server, valid now, never seen before (RFC 7523 3).
func (s *Server) assertionHolds(ctx context.Context, c *store.Client, text string) (bool, error) {
	jws, err := jose.ParseSignedCompact(text, signatureAlgorithms())
	if err != nil {
		return false, nil
	}
	keys, err := s.Clients.Keys(ctx, c, jws.Signatures[0].Header.KeyID)
	if err != nil {
		return false, err
	}
	payload, ok := verifiedBy(keys, jws)
	if !ok {
		return false, nil
	}
	var a assertion
	if json.Unmarshal(payload, &a) != nil {
		return false, nil
	}
	now := s.Now()
	expires := time.Unix(int64(min(a.Expires, 1<<40)), 0)
	switch {
	case a.Issuer != c.ID, a.Subject != c.ID, a.ID == "", len(a.ID) > 512:
		return false, nil
	case !now.Before(expires.Add(clockSkew)), expires.Sub(now) > maxAssertionLife:
		return false, nil
	case a.NotBefore > float64(now.Add(clockSkew).Unix()), a.IssuedAt > float64(now.Add(clockSkew).Unix()):
		return false, nil
	case !slices.ContainsFunc(a.Audience, s.means):
		return false, nil
	}
	// Only now: what was not verified must not fill the store.
	return s.Store.InsertIfAbsent(ctx, classAssertion, c.ID+"\x00"+a.ID, expires.Add(clockSkew))
}

// means says whether an audience means this server: its issuer, or the
// endpoint that was called.
func (s *Server) means(aud string) bool {
	for _, base := range s.bases() {
		if rest, ok := strings.CutPrefix(aud, base); ok {
			switch rest {
			case "", "/oauth/token", "/oauth/revoke", "/oauth/par":
				return true
			}
		}
	}
	return false
}

// verifiedBy returns the payload when one of the keys signed it. A key that
// names its algorithm serves no other (RFC 7517 4.4).
func verifiedBy(keys *jose.JSONWebKeySet, jws *jose.JSONWebSignature) ([]byte, bool) {
	head := jws.Signatures[0].Header
	for _, key := range keys.Keys {
		if head.KeyID != "" && key.KeyID != head.KeyID || key.Algorithm != "" && key.Algorithm != head.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}
