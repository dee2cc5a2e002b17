package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/ostiary/ostiary/store"
)

// Grant types by their registered names (RFC 7591 2, RFC 7523).
const (
	authorizationCode = "authorization_code"
	refreshToken      = "refresh_token"
	clientCredentials = "client_credentials"
	jwtBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// Token endpoint authentication methods (RFC 7591 2).
const (
	authNone       = "none"
	authBasic      = "client_secret_basic"
	authPost       = "client_secret_post"
	authPrivateKey = "private_key_jwt"
)

const (
	// MaxName bounds the client name in characters; a longer one is cut.
	MaxName = 100
	// maxText bounds the members that we read as sent, in bytes. A longer name is
	// no name.
	maxText = 16 << 10
	// maxWords bounds lists of names such as grant_types.
	maxWords = 32
	maxWord  = 200
)

// metadataError says which of the two errors of RFC 7591 3.2.2 it is.
type metadataError struct {
	code string
	err  error
}

func (e *metadataError) Error() string { return e.err.Error() }
func (e *metadataError) Unwrap() error { return e.err }

const (
	invalidRedirect = "invalid_redirect_uri"
	invalidMetadata = "invalid_client_metadata"
)

func refuse(code, format string, args ...any) error {
	return &metadataError{code, fmt.Errorf(format, args...)}
}

// rules are what differs between a registration and a document.
type rules struct {
	privateSchemes []string
	grants         []string // of these grant types, those that are asked for are kept
	auth           []string // methods that may be asked for
	defaultAuth    string   // where none is
	keysURI        bool     // jwks_uri is taken
}

// read makes a client of the members that mean something to us. Others are
// ignored and not kept (RFC 7591 2: MUST ignore what is not understood).
func (ru rules) read(o object) (*store.Client, error) {
	c := &store.Client{}
	for _, step := range []func(object, *store.Client) error{ru.redirects, ru.grantTypes, ru.authentication, ru.words} {
		if err := step(o, c); err != nil {
			var known *metadataError
			if errors.As(err, &known) {
				return nil, err
			}
			return nil, &metadataError{invalidMetadata, err}
		}
	}
	return c, nil
}

// redirects reads redirect_uris and application_type (OpenID Connect Dynamic
// Client Registration 2; MCP 2026-07-28 asks clients to send the latter).
func (ru rules) redirects(o object, c *store.Client) (err error) {
	c.RedirectURIs, err = o.texts("redirect_uris", MaxRedirectURIs)
	switch {
	case err != nil:
		return &metadataError{invalidRedirect, err}
	case len(c.RedirectURIs) == 0:
		return refuse(invalidRedirect, "redirect_uris is missing or empty")
	}
	local := false
	for i, uri := range c.RedirectURIs {
		if err := checkRedirect(uri, ru.privateSchemes); err != nil {
			return refuse(invalidRedirect, "redirect_uris[%d]: %w", i, err)
		}
		local = local || Loopback(uri) || PrivateScheme(uri)
	}
	if c.Application, err = o.text("application_type", maxWord); err != nil {
		return err
	}
	switch {
	case c.Application == "" && local, c.Application == "native":
		c.Application = "native"
	case c.Application == "":
		c.Application = "web"
	case c.Application != "web":
		return fmt.Errorf("application_type %.40q: only native and web are known", c.Application)
	case local:
		return refuse(invalidRedirect, "a web application has no redirect URIs on the user's machine; register it with application_type native")
	}
	return nil
}

// grantTypes reads grant_types and response_types. What we don't serve is left
// out rather than refused (RFC 7591 2.1: the server may replace values): VS Code
// asks for the device grant too.
func (ru rules) grantTypes(o object, c *store.Client) error {
	asked, err := o.texts("grant_types", maxWords)
	if err != nil {
		return err
	}
	if asked == nil {
		asked = []string{authorizationCode} // RFC 7591 2: the default
	}
	for _, g := range ru.grants {
		if slices.Contains(asked, g) {
			c.GrantTypes = append(c.GrantTypes, g)
		}
	}
	if !slices.Contains(c.GrantTypes, authorizationCode) {
		return errors.New("grant_types must hold authorization_code; other clients are set up by the operator")
	}
	responses, err := o.texts("response_types", maxWords)
	if err != nil {
		return err
	}
	if responses != nil && !slices.Contains(responses, "code") {
		return errors.New("response_types must hold code")
	}
	return nil
}

func (ru rules) authentication(o object, c *store.Client) (err error) {
	if c.AuthMethod, err = o.text("token_endpoint_auth_method", maxWord); err != nil {
		return err
	}
	if c.AuthMethod == "" {
		c.AuthMethod = ru.defaultAuth
	}
	if !slices.Contains(ru.auth, c.AuthMethod) {
		return fmt.Errorf("token_endpoint_auth_method %.40q: only %s", c.AuthMethod, strings.Join(ru.auth, ", "))
	}
	if c.KeysURI, err = o.text("jwks_uri", MaxURI); err != nil {
		return err
	}
	switch {
	case c.KeysURI != "" && !ru.keysURI:
		return errors.New("jwks_uri is not taken here; send the keys as jwks")
	case c.KeysURI != "":
		if _, err := webURL(c.KeysURI); err != nil {
			return fmt.Errorf("jwks_uri: %w", err)
		}
	}
	if raw, ok := o["jwks"]; ok && string(raw) != "null" {
		if c.Keys, err = cleanKeys(raw); err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
	}
	if c.AuthMethod == authPrivateKey && (c.Keys == nil) == (c.KeysURI == "") {
		return errors.New("private_key_jwt needs keys: either jwks or jwks_uri")
	}
	return nil
}

// words reads what people see. Pictures are never fetched nor shown.
func (ru rules) words(o object, c *store.Client) (err error) {
	name, err := o.text("client_name", maxText)
	if err != nil {
		return err
	}
	c.Name = CleanName(name)
	if c.Software, err = o.text("software_id", maxWord); err != nil {
		return err
	}
	c.Software = CleanName(c.Software)
	for _, member := range []string{"client_uri", "logo_uri", "policy_uri", "tos_uri"} {
		uri, err := o.text(member, MaxURI)
		if err != nil {
			return err
		}
		if uri == "" {
			continue
		}
		if _, err := webURL(uri); err != nil {
			return fmt.Errorf("%s: %w", member, err)
		}
		if member == "client_uri" {
			c.URI = uri
		}
	}
	return nil
}

// CleanName makes a self-asserted name fit for one line of a page or a
// terminal: control, format (bidirectional overrides, zero-width) and private
// characters removed, white space one space each, cut after MaxName characters.
// It does not escape HTML.
func CleanName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || unicode.In(r, unicode.C):
			return -1
		}
		return r
	}, name)
	runes := []rune(strings.Join(strings.Fields(name), " "))
	return strings.TrimSpace(string(runes[:min(len(runes), MaxName)]))
}
