package catalogs

import (
	"maps"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// authFields are the keys of auth that have a meaning today. The kinds whose
// keys are not fixed yet keep theirs in Extra.
var authFields = []field[entry]{
	{"type", (*entry).readAuthType},
	{"account", (*entry).readAccount},
	{"header", func(e *entry, v value) {
		if s, ok := v.text(); ok {
			e.Auth.Header = s
		}
	}},
	{"value", func(e *entry, v value) { e.refer(v, false, func(s string) { e.Auth.Value = Secret(s) }) }},
	{"prefix", func(e *entry, v value) { e.refer(v, false, func(s string) { e.Auth.Prefix = s }) }},
}

// authKeys are the keys of authFields that each kind reads, besides type.
var authKeys = map[string][]string{
	AuthNone:              nil,
	AuthHeader:            {"header", "value", "prefix"},
	AuthOAuth:             {"account"},
	AuthClientCredentials: keysOf(clientFields),
	AuthTokenExchange:     nil,
	AuthIDJAG:             nil,
	AuthMTLS:              nil,
}

// openKinds keep further keys in Extra.
var openKinds = []string{AuthOAuth, AuthTokenExchange, AuthIDJAG, AuthMTLS}

func (e *entry) readAuth(v value) {
	e.Auth.Type = ""
	if v.node.Kind == yaml.ScalarNode && v.plain() {
		v.wants("a mapping", "write auth: {type: "+AuthHeader+", ...}, or drop it when none is needed")
		return
	}
	kind := authKind(v.node)
	fields := authFields
	if allowed, known := authKeys[kind]; known {
		fields = slices.DeleteFunc(slices.Clone(authFields), func(f field[entry]) bool {
			return f.key != "type" && !slices.Contains(allowed, f.key)
		})
		if kind == AuthClientCredentials {
			fields = append(fields, clientFields...)
		}
	}
	e.auth = map[string]value{}
	v.mapping(func(key string, k, val value) {
		i := slices.IndexFunc(fields, func(f field[entry]) bool { return f.key == key })
		switch {
		case val.null():
			val.problem("has no value", "give it one, or drop the key")
			e.auth[key] = val
		case i >= 0:
			e.auth[key] = val
			fields[i].read(e, val)
		case slices.Contains(keysOf(authFields), key):
			k.problem("has no meaning for this type", "drop it, or correct auth.type; "+kind+" reads: "+strings.Join(keysOf(fields), ", "))
		case slices.Contains(openKinds, kind):
			e.keep(key, val)
		default:
			k.problem("is not a key that is known here", suggest(key, keysOf(fields)))
		}
	})
	if _, ok := e.auth["type"]; !ok && v.node.Kind == yaml.MappingNode {
		v.problem("does not say its type", "add type: "+strings.Join(slices.Sorted(maps.Keys(authKeys)), " | "))
	}
}

// authKind looks ahead: the other keys depend on it, wherever it stands.
func authKind(n *yaml.Node) string {
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "type" {
				return n.Content[i+1].Value
			}
		}
	}
	return ""
}

func (e *entry) readAuthType(v value) {
	s, ok := v.text()
	if !ok {
		return
	}
	if _, ok := authKeys[s]; !ok {
		v.problem("is not a kind of credential that is known here", "write one of "+strings.Join(slices.Sorted(maps.Keys(authKeys)), ", "))
		return
	}
	e.Auth.Type = s
	switch s {
	case AuthOAuth:
		e.Auth.Account = AccountUser
	}
}

func (e *entry) readAccount(v value) {
	switch s, ok := v.text(); {
	case !ok:
	case s == AccountUser || s == AccountShared:
		e.Auth.Account = s
	default:
		v.problem("must be user or shared", "user lets each user link an account; shared is one that an operator links")
	}
}

// keep stores a key whose meaning is not fixed yet. Each text in it is
// expanded like any other value, and kept as a Secret.
func (e *entry) keep(key string, v value) {
	if e.Auth.Extra == nil {
		e.Auth.Extra = map[string]any{}
	}
	e.extra(v, 1, func(x any) { e.Auth.Extra[key] = x })
}

func (e *entry) extra(v value, depth int, set func(any)) {
	if depth > MaxDepth {
		v.problem("is nested too deep", "flatten it: sixteen levels are read")
		return
	}
	if !v.plain() {
		return
	}
	switch v.node.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		set(m)
		v.mapping(func(key string, _, val value) {
			e.extra(val, depth+1, func(x any) { m[key] = x })
		})
	case yaml.SequenceNode:
		l := make([]any, len(v.node.Content))
		set(l)
		i := 0
		v.list(func(item value) {
			at := i
			i++
			e.extra(item, depth+1, func(x any) { l[at] = x })
		})
	default:
		switch v.node.ShortTag() {
		case "!!bool":
			set(strings.EqualFold(v.node.Value, "true"))
		case "!!null":
			v.problem("has no value", "give it one, or drop the key")
		default:
			if s, ok := v.literal(); ok {
				e.add(v, s, false, func(s string) { set(Secret(s)) })
			}
		}
	}
}

// RFC 9110 5.1: a field name is a token.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// owned are headers that the gateway or its HTTP library sets itself.
var owned = []string{
	"Accept", "Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Host",
	"Keep-Alive", "Last-Event-Id", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// checkAuth judges auth as a whole, after expansion.
func (e *entry) checkAuth(expanded bool) {
	if e.Auth.Type == AuthClientCredentials {
		e.checkClient(expanded)
	}
	if e.Auth.Type != AuthHeader {
		return
	}
	at := e.at["auth"]
	named, hasName := e.auth["header"]
	canonical := textproto.CanonicalMIMEHeaderKey(e.Auth.Header)
	switch {
	case !hasName:
		e.Auth.Header, canonical = "Authorization", "Authorization"
	case !headerName.MatchString(e.Auth.Header):
		named.problem("cannot be the name of a header", "write one such as X-Api-Key")
	case slices.Contains(owned, canonical) || strings.HasPrefix(canonical, "Mcp-"):
		named.problem("is a header that the gateway sets itself", "use Authorization or a header of the upstream's own")
	}
	bearer := canonical == "Authorization"
	if prefix, ok := e.auth["prefix"]; !ok && bearer {
		e.Auth.Prefix = "Bearer "
	} else if ok && expanded {
		if !headerText(e.Auth.Prefix) {
			prefix.problem("holds characters that no header may carry", "write one line of plain text")
		}
		// RFC 9110 11.4: a scheme and its credentials have a space between.
		if bearer && headerName.MatchString(e.Auth.Prefix) {
			e.Auth.Prefix += " "
		}
	}
	val, ok := e.auth["value"]
	switch {
	case !ok:
		at.problem("has no value to send", `add value: "${NAME}" or value: file:PATH`)
	case expanded && e.Auth.Value == "" && val.node.ShortTag() == "!!str":
		val.problem("is empty", "an empty credential is none; set the variable or fill the file, or use type: none")
	case expanded && !headerText(e.Auth.Value.Reveal()):
		val.problem("holds characters that no header may carry", "check the variable or file for line breaks inside")
	}
}

// headerText reports whether s can be (part of) a field value, RFC 9110 5.5.
func headerText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
