package catalogs

import (
	"net/url"
	"slices"
	"strings"
)

// clientFields are the keys of auth for client_credentials.
var clientFields = []field[entry]{
	{"clientId", func(e *entry, v value) { e.refer(v, false, func(s string) { e.Auth.Client.ID = s }) }},
	{"clientSecret", func(e *entry, v value) { e.refer(v, false, func(s string) { e.Auth.Client.Secret = Secret(s) }) }},
	{"clientAuth", (*entry).readClientAuth},
	{"privateKey", func(e *entry, v value) { e.refer(v, false, func(s string) { e.Auth.Client.Key = Secret(s) }) }},
	{"issuer", func(e *entry, v value) { e.refer(v, false, func(s string) { e.Auth.Client.Issuer = s }) }},
	{"tokenUrl", func(e *entry, v value) { e.refer(v, false, func(s string) { e.Auth.Client.TokenURL = s }) }},
	{"scopes", (*entry).readScopes},
}

func (e *entry) readClientAuth(v value) {
	switch s, ok := v.text(); {
	case !ok:
	case s == ClientBasic || s == ClientPost:
		e.Auth.Client.How = s
	default:
		v.problem("must be basic or post", "basic is the default; a client with a privateKey needs neither")
	}
}

func (e *entry) readScopes(v value) {
	v.list(func(item value) {
		s, ok := item.text()
		switch {
		case !ok:
		case !scope(s):
			item.problem("cannot be a scope", "write one scope an item, without spaces, quotes and backslashes")
		case !slices.Contains(e.Auth.Client.Scopes, s):
			e.Auth.Client.Scopes = append(e.Auth.Client.Scopes, s)
		}
	})
}

// scope: RFC 6749 3.3, scope-token.
func scope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// checkClient judges the keys of client_credentials together.
func (e *entry) checkClient(expanded bool) {
	at, c := e.at["auth"], &e.Auth.Client
	has := func(key string) bool { _, ok := e.auth[key]; return ok }
	if !has("clientId") {
		at.problem("does not say which client the gateway is", "add the clientId that the authorization server gave")
	}
	switch {
	case has("clientSecret") == has("privateKey"):
		at.problem("needs either a clientSecret or a privateKey", `add clientSecret: "${NAME}", or privateKey: file:PATH`)
	case has("clientAuth") && has("privateKey"):
		e.auth["clientAuth"].problem("has no meaning with a privateKey", "drop it")
	}
	if c.How == "" && has("clientSecret") {
		c.How = ClientBasic
	}
	// The secret is for the server that the operator registered with, not for
	// whichever one the upstream names.
	if !has("issuer") && !has("tokenUrl") {
		at.problem("does not say which authorization server knows the client", "add its issuer, or the tokenUrl itself")
	}
	if !expanded {
		return
	}
	for key, s := range map[string]string{"clientId": c.ID, "clientSecret": c.Secret.Reveal(), "privateKey": c.Key.Reveal()} {
		if has(key) && s == "" {
			e.auth[key].problem("is empty", "set the variable or fill the file")
		}
	}
	for key, s := range map[string]string{"issuer": c.Issuer, "tokenUrl": c.TokenURL} {
		if has(key) && !authorizationServer(s) {
			e.auth[key].problem("is not the https URL of an authorization server", "write one such as https://login.example.com; plain http is for loopback addresses alone")
		}
	}
}

// authorizationServer: RFC 8414 2 and RFC 6749 3.2: https, no fragment.
func authorizationServer(s string) bool {
	u, err := url.Parse(s)
	return err == nil && host(u) && u.Fragment == "" && u.User == nil &&
		(u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()))
}
