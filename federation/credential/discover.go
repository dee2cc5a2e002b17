package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/ostiary/ostiary/catalogs"
)

// maxMetadata bounds a metadata document, in bytes (case A-064).
const maxMetadata = 64 << 10

// Outbound makes the client for an address of u's entry: written is the URL that
// the operator wrote, and permission for its host. The client follows no
// redirects and dials no private address but that one.
type Outbound func(u *catalogs.Upstream, written string) (*http.Client, error)

// way is how tokens for an entry are got.
type way struct {
	token    string   // endpoint
	audience string   // of a client assertion
	resource string   // RFC 8707
	scopes   []string // nil = none asked for
}

// find looks the way up: the operator's own token endpoint, or the one in the
// metadata of the issuer that the operator named. The upstream is asked for
// which resource and scopes tokens are to be, and may not name another issuer
// (MCP 2026-07-28, Authorization; RFC 9728 7.6: the secret goes where the client
// is registered). Everything found has the origin of something the operator wrote.
func (g *grant) find(ctx context.Context) (*way, error) {
	c := &g.u.Auth.Client
	w := &way{token: c.TokenURL, audience: c.TokenURL, resource: resourceOf(g.at), scopes: c.Scopes}
	if c.Issuer == "" {
		return w, nil
	}
	w.audience = c.Issuer
	if w.token == "" {
		var err error
		if w.token, err = g.tokenEndpoint(ctx, c.Issuer); err != nil {
			return nil, err
		}
	}
	return w, g.ask(ctx, w)
}

// tokenEndpoint reads the issuer's metadata: RFC 8414 3.1, then OpenID Connect
// with the path inserted and appended (MCP 2026-07-28, Authorization Server
// Metadata Discovery).
func (g *grant) tokenEndpoint(ctx context.Context, issuer string) (string, error) {
	at, err := url.Parse(issuer)
	if err != nil {
		return "", errors.New("issuer is not a URL")
	}
	path := strings.TrimSuffix(at.EscapedPath(), "/")
	for _, p := range slices.Compact([]string{
		"/.well-known/oauth-authorization-server" + path, "/.well-known/openid-configuration" + path, path + "/.well-known/openid-configuration",
	}) {
		var m struct {
			Issuer string `json:"issuer"`
			Token  string `json:"token_endpoint"`
		}
		if found, err := getJSON(ctx, g.server, at.Scheme+"://"+at.Host+p, &m); err != nil {
			return "", fmt.Errorf("metadata of the issuer %s: %w", at.Host, err)
		} else if !found {
			continue
		}
		// RFC 8414 3.3: MUST be identical, or the document not be used.
		if m.Issuer != issuer {
			return "", fmt.Errorf("the metadata at %s is another issuer's; correct issuer", at.Host)
		}
		token, err := url.Parse(m.Token)
		if err != nil || m.Token == "" || !sameOrigin(token, at) {
			return "", fmt.Errorf("the metadata of %s names a token endpoint of another origin, or none; write the right one as tokenUrl", at.Host)
		}
		return m.Token, nil
	}
	return "", fmt.Errorf("the issuer %s has no metadata; write tokenUrl", at.Host)
}

// ask has the upstream's own metadata (RFC 9728) confirm the issuer and name the
// resource and, where the entry doesn't, the scopes. An upstream without any is
// taken at the operator's word.
func (g *grant) ask(ctx context.Context, w *way) error {
	challenge, err := g.challenge(ctx)
	if err != nil {
		return err
	}
	path := strings.TrimSuffix(g.at.EscapedPath(), "/")
	root := g.at.Scheme + "://" + g.at.Host
	places := []string{root + "/.well-known/oauth-protected-resource" + path, root + "/.well-known/oauth-protected-resource"}
	if named, err := url.Parse(challenge["resource_metadata"]); err == nil && sameOrigin(named, g.at) && named.User == nil {
		places = slices.Insert(places, 0, named.String())
	}
	for _, place := range places {
		var m struct {
			Resource string   `json:"resource"`
			Issuers  []string `json:"authorization_servers"`
			Scopes   []string `json:"scopes_supported"`
		}
		if found, err := getJSON(ctx, g.home, place, &m); err != nil {
			return fmt.Errorf("the upstream's resource metadata: %w", err)
		} else if !found {
			continue
		}
		// RFC 9728 3.3: a document about another resource MUST NOT be used.
		if !covers(m.Resource, g.at) {
			return errors.New("the upstream's metadata is about another resource than the entry's url; correct url")
		}
		if !slices.Contains(m.Issuers, g.u.Auth.Client.Issuer) {
			return errors.New("the upstream doesn't take tokens of the entry's issuer; register the client where it does, and correct issuer")
		}
		w.resource = m.Resource
		if w.scopes == nil {
			w.scopes = m.Scopes
		}
		break
	}
	if s := strings.Fields(challenge["scope"]); g.u.Auth.Client.Scopes == nil && len(s) > 0 {
		w.scopes = s // MCP 2026-07-28, Scope Selection: the challenge comes first
	}
	return nil
}

var challengeParam = regexp.MustCompile(`([A-Za-z_]+)="([^"\\]*)"`)

// challenge are the parameters of the 401 that the upstream gives to a request
// without a credential (RFC 6750 3).
func (g *grant) challenge(ctx context.Context) (map[string]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.at.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/event-stream")
	resp, err := g.home.Do(r)
	if err != nil {
		return nil, unreached(err)
	}
	resp.Body.Close()
	params := map[string]string{}
	if resp.StatusCode == http.StatusUnauthorized {
		for _, p := range challengeParam.FindAllStringSubmatch(strings.Join(resp.Header.Values("WWW-Authenticate"), ", "), -1) {
			params[p[1]] = p[2]
		}
	}
	return params, nil
}

// getJSON reads a metadata document. found is false where there is none.
func getJSON(ctx context.Context, client *http.Client, at string, to any) (found bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Accept", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return false, unreached(err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return false, errors.New("a redirect, which is not followed")
	case resp.StatusCode >= 500:
		return false, fmt.Errorf("HTTP %d", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return false, nil
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata+1))
	switch {
	case err != nil:
		return false, errors.New("it broke off")
	case len(raw) > maxMetadata:
		return false, fmt.Errorf("over %d bytes", maxMetadata)
	case json.Unmarshal(raw, to) != nil:
		return false, errors.New("no JSON")
	}
	return true, nil
}

// unreached is err without the URL, which may hold a secret.
func unreached(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// resourceOf is the canonical URI of an upstream (MCP 2026-07-28, Canonical
// Server URI).
func resourceOf(at *url.URL) string {
	return strings.ToLower(at.Scheme) + "://" + strings.ToLower(at.Host) + strings.TrimSuffix(at.EscapedPath(), "/")
}

// covers: a resource is the upstream's url or a parent of it.
func covers(resource string, at *url.URL) bool {
	r, err := url.Parse(resource)
	if err != nil || !sameOrigin(r, at) {
		return false
	}
	parent, path := strings.TrimSuffix(r.EscapedPath(), "/"), strings.TrimSuffix(at.EscapedPath(), "/")
	return path == parent || strings.HasPrefix(path, parent+"/")
}
