package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/ostiary/ostiary/authserver"
	"github.com/ostiary/ostiary/store"
)

// signIn is the part of the configuration that says who may come in, and how.
type signIn struct {
	TrustedProxies []netip.Prefix
	Scopes         map[string]string // words for the consent page, by scope

	AccessTTL       time.Duration // 0 = the default
	RefreshTTL      time.Duration
	Registration    bool
	Clients         []store.Client
	PrivateSchemes  []string
	Documents       bool
	PinnedDocuments map[string]string // file by URL
	DocumentHosts   []string
	Enterprise      []authserver.EnterpriseIssuer

	Issuer       string // of the company's identity provider; "" = none
	ClientID     string
	ClientSecret string
	Title        string
	GroupsClaim  string
	ExtraScopes  []string
	MaxAge       time.Duration
}

// signInSettings are the words of the table that are about signing in.
func signInSettings() []setting {
	return []setting{
		{key: "trustedProxies", arg: "LIST", list: true, set: setProxies},
		{key: "scopes", node: readScopes, set: fileOnly},
		{key: "oauth.accessTTL", arg: "TIME", set: measured(parseDuration, func(c *config) *time.Duration { return &c.AccessTTL })},
		{key: "oauth.refreshTTL", arg: "TIME", set: measured(parseDuration, func(c *config) *time.Duration { return &c.RefreshTTL })},
		{key: "oauth.registration", set: toggle(func(c *config) *bool { return &c.Registration })},
		{key: "oauth.clients", node: readClients, set: fileOnly},
		{key: "oauth.privateSchemes", arg: "LIST", list: true, set: wordList(func(c *config) *[]string { return &c.PrivateSchemes })},
		{key: "oauth.clientDocuments.enabled", set: toggle(func(c *config) *bool { return &c.Documents })},
		{key: "oauth.clientDocuments.pinned", node: readPinned, set: fileOnly},
		{key: "oauth.clientDocuments.hosts", arg: "LIST", list: true, set: wordList(func(c *config) *[]string { return &c.DocumentHosts })},
		{key: "oauth.enterprise", node: readEnterprise, set: fileOnly},
		{key: "oidc.issuer", arg: "URL", set: text(func(c *config) *string { return &c.Issuer }, checkIssuer)},
		{key: "oidc.clientId", arg: "ID", set: text(func(c *config) *string { return &c.ClientID }, notEmpty)},
		{key: "oidc.clientSecret", arg: "SECRET", set: setSecret(func(c *config) *string { return &c.ClientSecret })},
		{key: "oidc.title", arg: "TEXT", set: text(func(c *config) *string { return &c.Title }, notEmpty)},
		{key: "oidc.groupsClaim", arg: "NAME", set: text(func(c *config) *string { return &c.GroupsClaim }, notEmpty)},
		{key: "oidc.scopes", arg: "LIST", list: true, set: wordList(func(c *config) *[]string { return &c.ExtraScopes })},
		{key: "oidc.maxAge", arg: "TIME", set: measured(parseDuration, func(c *config) *time.Duration { return &c.MaxAge })},
	}
}

// check says which keys are missing beside others.
func (s *signIn) check() error {
	if (s.Issuer == "") != (s.ClientID == "") || s.Issuer == "" && (s.ClientSecret != "" || s.GroupsClaim != "" || s.MaxAge != 0 || s.Title != "" || s.ExtraScopes != nil) {
		return errors.New("oidc: issuer and clientId are needed, and the rest goes with them; set both or remove oidc")
	}
	return nil
}

// fileOnly refuses a variable for what has more shape than a line of text.
func fileOnly(*config, string) error {
	return errors.New("has a shape that a variable can't have; write it in ostiary.yaml")
}

// wordList takes a list of words, comma-separated.
func wordList(field func(*config) *[]string) func(*config, string) error {
	return func(c *config, v string) error {
		list := strings.Split(v, ",")
		for i := range list {
			if list[i] = strings.TrimSpace(list[i]); list[i] == "" {
				return errors.New("has an empty element")
			}
		}
		*field(c) = list
		return nil
	}
}

// setProxies takes networks and addresses, comma-separated.
func setProxies(c *config, v string) error {
	var proxies []netip.Prefix
	for word := range strings.SplitSeq(v, ",") {
		word = strings.TrimSpace(word)
		p, err := netip.ParsePrefix(word)
		if a, e := netip.ParseAddr(word); e == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil:
			return fmt.Errorf("%q is not a network; write 10.0.0.0/8 or the address of one proxy", word)
		case p != p.Masked():
			return fmt.Errorf("%q has bits set behind its length; write %s", word, p.Masked())
		}
		proxies = append(proxies, p)
	}
	c.TrustedProxies = proxies
	return nil
}

func checkIssuer(v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is not the URL of an identity provider; write it as its own metadata does, for example https://login.example.com", v)
	}
	return nil
}

// setSecret takes a secret, ${VARIABLE} that holds it or file:PATH. Its errors
// never show the value.
func setSecret(field func(*config) *string) func(*config, string) error {
	return func(c *config, v string) (err error) {
		*field(c), err = c.secret(v)
		return err
	}
}

// secret is what v stands for.
func (c *config) secret(v string) (string, error) {
	if path, ok := strings.CutPrefix(v, "file:"); ok {
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("secret file: %w", err)
		}
		c.SecretFiles = append(c.SecretFiles, path)
		v = strings.TrimSpace(string(raw))
	} else if name, ok := strings.CutPrefix(v, "${"); ok && strings.HasSuffix(name, "}") {
		name = strings.TrimSuffix(name, "}")
		value, set := "", false
		if c.getenv != nil {
			value, set = c.getenv(name)
		}
		if !set {
			return "", fmt.Errorf("the variable %s is not set", name)
		}
		v = value
	}
	if v == "" {
		return "", errors.New("is empty; write the secret, ${VARIABLE} or file:PATH")
	}
	return v, nil
}

// readScopes reads words by scope.
func readScopes(r *fileReader, n *yaml.Node) {
	r.config.Scopes = r.pairs("scopes", n)
}

// readPinned reads files by URL.
func readPinned(r *fileReader, n *yaml.Node) {
	r.config.PinnedDocuments = r.pairs("oauth.clientDocuments.pinned", n)
}

// pairs reads a mapping of words to text.
func (r *fileReader) pairs(key string, n *yaml.Node) map[string]string {
	all := map[string]string{}
	r.each(key, n, func(name, value *yaml.Node) {
		if value.Kind != yaml.ScalarNode || value.Value == "" {
			r.problem(value, "%s.%s: want a text", key, name.Value)
			return
		}
		all[name.Value] = value.Value
	})
	return all
}
