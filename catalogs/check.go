package catalogs

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	userForm = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.-]{0,63}|[0-9]{1,10})$`)
)

func (e *entry) checkName() {
	switch {
	case len(e.Name) > MaxName:
		e.name.problem("is a name of more than 32 characters", "shorten it: it is part of every tool's name")
	case !nameForm.MatchString(e.Name):
		e.name.problem("may hold a-z, 0-9 and - alone, and neither begin nor end with -", "choose a name such as my-server")
	case slices.Contains(reserved, e.Name):
		e.name.problem("is reserved for the gateway itself", "choose another name")
	}
}

// httpOnly and stdioOnly are keys that mean something for one way of reaching
// an upstream alone.
var (
	httpOnly  = []string{"proxy", "caFile"}
	stdioOnly = []string{"env", "dir", "user", "confine"}
)

// check judges an entry as a whole. resolved says that all values are at
// hand; in a disabled entry, or one with a missing variable, only those that
// read nothing are looked into.
func (e *entry) check(s *sources, resolved bool) {
	link, hasURL := e.at["url"]
	command, hasCommand := e.at["command"]
	switch {
	case hasURL && hasCommand:
		command.problem(fmt.Sprintf("stands beside url (line %d)", link.node.Line), "keep one: url for a remote server, command for a local process")
	case !hasURL && !hasCommand && e.at != nil:
		e.name.problem("has neither url nor command", "give it a url for a remote server, or a command for a local process")
	case hasURL:
		e.checkURL(resolved)
		e.alone(stdioOnly, "command")
	case hasCommand:
		e.checkCommand(command, resolved)
		e.alone(httpOnly, "url")
	}
	e.checkTransport(hasURL, hasCommand)
	e.checkAuth(resolved && e.Enabled)
	if kind, ok := e.auth["type"]; ok && hasCommand && !hasURL && (e.Auth.Type == AuthHeader || e.Auth.Type == AuthMTLS) {
		kind.problem("needs a url: a local process has no connection to carry it", "hand the secret over in env")
	}
	if v, ok := e.ready("user", resolved); ok && !userForm.MatchString(e.User) {
		v.problem("cannot be the name of an account", "write a user name or number")
	}
	if v, ok := e.ready("proxy", resolved); ok {
		e.checkProxy(v)
	}
	if resolved && e.Enabled {
		e.place(s)
	}
}

// alone reports keys that have no meaning in this kind of entry.
func (e *entry) alone(keys []string, needed string) {
	for _, key := range keys {
		if v, ok := e.at[key]; ok {
			v.problem("has a meaning only beside "+needed, "drop it")
		}
	}
}

// ready gives the value of a key when its meaning is at hand: it was well
// formed, and it is expanded or reads nothing.
func (e *entry) ready(key string, resolved bool) (value, bool) {
	v, ok := e.at[key]
	if !ok {
		return v, false
	}
	i := slices.IndexFunc(e.values, func(r reference) bool { return r.node == v.node })
	if i < 0 {
		return v, false
	}
	if resolved && e.Enabled {
		return v, true
	}
	t, f := parseTemplate(e.values[i].raw, e.values[i].path)
	return v, f == nil && t.fixed()
}

// checkURL never repeats the URL: its query may hold a key.
func (e *entry) checkURL(resolved bool) {
	v, ok := e.ready("url", resolved)
	if !ok {
		return
	}
	u, err := url.Parse(e.URL)
	switch {
	case err != nil || e.URL == "":
		v.problem("is not a URL", "write one such as https://mcp.example.com/mcp")
	case u.Scheme != "http" && u.Scheme != "https":
		v.problem("must begin with https:// or http://", "write one such as https://mcp.example.com/mcp")
	case !host(u):
		v.problem("names no host", "write one such as https://mcp.example.com/mcp")
	case u.User != nil:
		v.problem("holds a user or password", "move it to auth: {type: header, ...}: URLs end up in logs")
	case u.Fragment != "" || strings.HasSuffix(e.URL, "#"):
		v.problem("has a fragment, which no server ever sees", "drop # and what follows")
	}
}

// host reports whether a URL names a host, and a port that can be one.
func host(u *url.URL) bool {
	if u.Opaque != "" || u.Hostname() == "" || strings.ContainsAny(u.Hostname(), " \t") {
		return false
	}
	if p := u.Port(); p != "" {
		n, err := strconv.Atoi(p)
		return err == nil && n > 0 && n < 1<<16
	}
	return true
}

func (e *entry) checkCommand(v value, resolved bool) {
	if e.Command == nil && v.kind() != "a list" {
		return // said already
	}
	switch {
	case len(e.Command) == 0:
		v.problem("names no program", `write a list, such as [npx, -y, "@scope/server"]`)
	case resolved && e.Enabled && strings.TrimSpace(e.Command[0]) == "":
		v.problem("names no program: its first element is empty", "put the program first")
	}
}

func (e *entry) checkTransport(hasURL, hasCommand bool) {
	v := e.at["transport"]
	switch {
	case hasURL && !hasCommand && e.Transport == Stdio:
		v.problem("is stdio, but the entry has a url", "write auto, streamable-http or sse, or give a command instead of the url")
	case hasCommand && !hasURL && (e.Transport == StreamableHTTP || e.Transport == SSE):
		v.problem("is "+string(e.Transport)+", but the entry has a command", "drop it, or give a url instead of the command")
	case hasCommand:
		e.Transport = Stdio
	case e.Transport == "":
		e.Transport = Auto
	}
}

func (e *entry) checkProxy(v value) {
	u, err := url.Parse(e.Proxy)
	if err != nil || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) || !host(u) ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		v.problem("is not the URL of a proxy", "write one such as http://proxy.example.com:3128")
	}
}

// place makes paths absolute and looks into the CA file.
func (e *entry) place(s *sources) {
	if e.Dir != "" {
		e.Dir = absolute(s.dir, e.Dir)
	}
	ca := ""
	if v, ok := e.at["caFile"]; ok && e.URL != "" {
		e.CAFile = absolute(s.dir, e.CAFile)
		e.Reads = append(e.Reads, "file:"+e.CAFile)
		if f := s.forbidden(e.CAFile); f != nil {
			v.problem(f.text, f.fix)
			return
		}
		content, err := s.read(e.CAFile, MaxCAFile)
		if err != nil {
			f := fileFault(err, "1 MiB")
			v.problem(f.text, f.fix)
			return
		}
		if !x509.NewCertPool().AppendCertsFromPEM(content) {
			v.problem("names a file without a certificate", "name a PEM file with -----BEGIN CERTIFICATE-----")
			return
		}
		ca = string(content)
		s.note(v.path, ca)
	}
	e.Digest = digest(&e.Upstream, ca)
}

// warnings are worth saying, not worth refusing.
func (e *entry) warnings() (ps []Problem) {
	if !e.Enabled || e.Auth.Type == AuthNone {
		return nil
	}
	warn := func(v value, text, fix string) { ps = append(ps, Problem{v.position(), v.path, text, fix}) }
	if u, err := url.Parse(e.URL); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		warn(e.at["url"], "is plain http, so its credential would cross the network unprotected and is not sent", "use https")
	}
	switch {
	case slices.Contains(openKinds, e.Auth.Type):
		warn(e.auth["type"], "can't be used yet, so the upstream stays unavailable",
			"use "+AuthHeader+" or "+AuthClientCredentials+", or set enabled: false")
	case e.Auth.Type == AuthHeader && e.URL != "" && len(e.Auth.Value) < MinSecret:
		warn(e.auth["value"], "has fewer than 8 characters, so answers that hold it are not masked", "use a longer one")
	}
	return ps
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
