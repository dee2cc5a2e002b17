package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/authserver/client"
)

const wholeSignIn = `
trustedProxies: [10.0.0.0/8, 192.0.2.1, "fd00::/8"]
scopes: {files.read: read your files, "git:push": push to repositories}
oauth:
  accessTTL: 5m
  refreshTTL: 240h
  registration: false
  privateSchemes: [cursor, com.example.app]
  clientDocuments:
    enabled: false
    pinned: {"https://claude.example/client.json": ./claude.json}
    hosts: [claude.example, "*.example.org"]
  clients:
    - id: nightly
      name: Nightly reports
      secret: ${NIGHTLY}
      grantTypes: [client_credentials]
      scopes: [mcp, files.read]
    - {id: desk, redirectUris: ["http://127.0.0.1/cb"]}
  enterprise:
    - {issuer: https://idp.example, jwksUri: https://idp.example/keys, clients: [nightly]}
oidc:
  issuer: https://login.example.com
  clientId: ostiary
  clientSecret: file:SECRETFILE
  groupsClaim: roles
  scopes: [groups]
  maxAge: 30m
`

func TestSignInIsConfiguredByTheFile(t *testing.T) {
	secret := strings.Repeat("s", minSecret)
	path := write(t, "secret", "of-the-provider\n")
	file := write(t, "ostiary.yaml", strings.Replace(wholeSignIn, "SECRETFILE", path, 1))
	c, err := loadConfig(file, nil, environ("NIGHTLY", secret, "OSTIARY_OAUTH_ACCESS_TTL", "7m"))
	if err != nil {
		t.Fatal(err)
	}
	var proxies []string
	for _, p := range c.TrustedProxies {
		proxies = append(proxies, p.String())
	}
	for _, x := range []struct{ what, got, want string }{
		{"proxies", strings.Join(proxies, " "), "10.0.0.0/8 192.0.2.1/32 fd00::/8"},
		{"words", c.Scopes["git:push"], "push to repositories"},
		{"schemes", strings.Join(c.PrivateSchemes, " "), "cursor com.example.app"},
		{"pinned", c.PinnedDocuments["https://claude.example/client.json"], "./claude.json"},
		{"hosts", strings.Join(c.DocumentHosts, " "), "claude.example *.example.org"},
		{"enterprise", c.Enterprise[0].Issuer + c.Enterprise[0].JWKSURI + c.Enterprise[0].Clients[0], "https://idp.examplehttps://idp.example/keysnightly"},
		{"issuer", c.Issuer, "https://login.example.com"},
		{"provider's secret", c.ClientSecret, "of-the-provider"},
		{"claim", c.GroupsClaim, "roles"},
		{"extra scopes", strings.Join(c.ExtraScopes, " "), "groups"},
		{"first client", c.Clients[0].ID + c.Clients[0].Name + strings.Join(c.Clients[0].Scopes, " "), "nightlyNightly reportsmcp files.read"},
		{"second client", c.Clients[1].ID + c.Clients[1].RedirectURIs[0], "deskhttp://127.0.0.1/cb"},
	} {
		if x.got != x.want {
			t.Errorf("%s: %q, want %q", x.what, x.got, x.want)
		}
	}
	if c.AccessTTL != 7*time.Minute || c.RefreshTTL != 240*time.Hour || c.MaxAge != 30*time.Minute || c.Registration || c.Documents {
		t.Errorf("%+v", c.signIn)
	}
	if !bytes.Equal(c.Clients[0].SecretHash, client.SecretHash(secret)) {
		t.Error("the secret is not kept as its hash")
	}
	if !slices.Contains(c.SecretFiles, path) {
		t.Error("an upstream could read the secret's file")
	}
}

func TestWhatIsWrongWithSignInSaysWhere(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key of oauth", "oauth:\n  acessTTL: 5m\n", `:2:3: oauth.acessTTL: unknown key, did you mean "oauth.accessTTL"?`},
		{"unknown key of documents", "oauth:\n  clientDocuments: {host: [a]}\n", `:2:21: oauth.clientDocuments.host: unknown key`},
		{"unknown key of a client", "oauth:\n  clients:\n    - id: a\n      redirectUri: x\n", `:4:7: oauth.clients[0].redirectUri: unknown key, did you mean "redirectUris"?`},
		{"key of a client twice", "oauth:\n  clients:\n    - id: a\n      id: b\n", ":4:7: oauth.clients[0].id: written twice"},
		{"client without id", "oauth:\n  clients:\n    - {id: a}\n    - {name: b}\n", ":4:7: oauth.clients[1].id: is missing"},
		{"clients as keys", "oauth:\n  clients: {a: b}\n", ":2:12: oauth.clients: want a list"},
		{"a client as text", "oauth:\n  clients: [a]\n", ":2:13: oauth.clients[0]: want keys with values"},
		{"enterprise without keys", "oauth:\n  enterprise: [{issuer: https://idp.example}]\n", ":2:16: oauth.enterprise[0].jwksUri: is missing"},
		{"redirects as text", "oauth:\n  clients: [{id: a, redirectUris: b}]\n", ":2:35: oauth.clients[0].redirectUris: want a list"},
		{"short secret", "oauth:\n  clients: [{id: a, secret: canary-secret}]\n", ":2:29: oauth.clients[0].secret: is shorter than 32 characters"},
		{"secret of no variable", "oauth:\n  clients: [{id: a, secret: \"${NONE}\"}]\n", "oauth.clients[0].secret: the variable NONE is not set"},
		{"secret of no file", "oidc: {issuer: https://a.example, clientId: a, clientSecret: \"file:/no/such\"}\n", ":1:62: oidc.clientSecret: secret file:"},
		{"missing keys file", "oauth:\n  clients: [{id: a, jwksFile: /no/such}]\n", ":2:31: oauth.clients[0].jwksFile:"},
		{"scopes as a list", "scopes: [a]\n", ":1:9: scopes: want keys with values"},
		{"scope without words", "scopes:\n  a:\n", "scopes.a: want a text"},
		{"no network", "trustedProxies: [proxy.example.com]\n", `:1:18: trustedProxies: "proxy.example.com" is not a network`},
		{"bits behind the length", "trustedProxies: [10.1.0.0/8]\n", `"10.1.0.0/8" has bits set behind its length; write 10.0.0.0/8`},
		{"provider without client", "oidc: {issuer: https://a.example}\n", "oidc: issuer and clientId are needed"},
		{"client without provider", "oidc: {clientId: a}\n", "oidc: issuer and clientId are needed"},
		{"provider of no URL", "oidc: {issuer: a.example, clientId: a}\n", `"a.example" is not the URL of an identity provider`},
		{"no duration", "oauth: {refreshTTL: for ever}\n", `:1:21: oauth.refreshTTL: "for ever" is not a duration`},
		{"no switch", "oauth: {registration: maybe}\n", `:1:23: oauth.registration: "maybe" is neither true nor false`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadConfig(write(t, "ostiary.yaml", c.text), nil, environ())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v\nwant %s", err, c.want)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	_, err := loadConfig("", nil, environ("OSTIARY_SCOPES", "a=b", "OSTIARY_OAUTH_CLIENTS", "x"))
	if err == nil || strings.Count(err.Error(), "write it in ostiary.yaml") != 2 {
		t.Errorf("variables for shapes: %v", err)
	}
}

func TestASecretIsAtLeastThirtyTwoCharacters(t *testing.T) {
	for n, want := range map[int]bool{minSecret - 1: false, minSecret: true} {
		file := write(t, "ostiary.yaml", "oauth: {clients: [{id: a, secret: "+strings.Repeat("x", n)+"}]}\n")
		if _, err := loadConfig(file, nil, environ()); (err == nil) != want {
			t.Errorf("%d characters: %v", n, err)
		}
	}
}
