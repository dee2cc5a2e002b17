package catalogs

import (
	"slices"
	"strings"
)

// A server.json of the MCP Registry (schemas 2025-07-09 to 2025-12-11; the
// earlier ones write snake_case) declares one server and several ways to reach
// it. Read is the first that fits: a remote of type streamable-http, then one
// of type sse, then a package that runs over stdio. What the publisher leaves
// to the user is a variable: an environment variable by its own name, anything
// else as UPSTREAM_NAME, so that no such file can ask for a variable that
// happens to be set. What is optional and has no default is left out.

// isRegistry says whether a file with these keys is a server.json, or what a
// registry's API answers: one under server, or a list of such.
func isRegistry(at map[string]value) bool {
	if _, ok := at["mcpServers"]; ok {
		return false
	}
	if v, ok := at["servers"]; ok {
		return v.kind() == "a list"
	}
	for _, key := range []string{"packages", "remotes"} {
		if v, ok := at[key]; ok && v.kind() == "a list" {
			return true
		}
	}
	v, ok := at["server"]
	return ok && v.kind() == "a mapping"
}

// readRegistry reads it. A file that offers nothing declares nothing.
func readRegistry(root value, at map[string]value, how manner) (es []*entry, declared bool) {
	one := func(v value) {
		if e := readServer(v, how); e != nil {
			es, declared = append(es, e), true
		}
	}
	if list, ok := at["servers"]; ok {
		list.list(func(item value) {
			if item.kind() == "a mapping" {
				item.mapping(func(key string, _, val value) {
					if key == "server" {
						item = val
					}
				})
			}
			one(item)
		})
	} else if inner, ok := at["server"]; ok {
		one(inner)
	} else {
		one(root)
	}
	return es, declared
}

// members are the values of a mapping by their keys, which are camelCase
// whatever the schema's age. A key that is not among known is a warning.
func (v value) members(known ...string) map[string]value {
	at := map[string]value{}
	v.mapping(func(key string, k, val value) {
		name := camel(key)
		if !slices.Contains(known, name) {
			k.warn("is not read here", "say it in a .yaml file if it matters")
			return
		}
		if !val.null() {
			at[name] = val
		}
	})
	return at
}

// camel writes snake_case as camelCase. _meta stays.
func camel(key string) string {
	parts := strings.Split(key, "_")
	if parts[0] == "" {
		return key
	}
	for i, p := range parts[1:] {
		if p != "" {
			parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}

// offers are the elements of a list under a key; none when there is no list.
func offers(v value, ok bool) (all []value) {
	if ok {
		v.list(func(item value) { all = append(all, item) })
	}
	return all
}

// word is the text under a key, or "".
func word(at map[string]value, key string) string {
	if v, ok := at[key]; ok {
		s, _ := v.text()
		return s
	}
	return ""
}

func readServer(v value, how manner) *entry {
	at := v.members("$schema", "name", "title", "description", "version", "versionDetail", "status", "repository",
		"websiteUrl", "icons", "packages", "remotes", "_meta")
	place, ok := at["name"]
	if !ok {
		place = v
	}
	own := word(at, "name")
	if own == "" && how.name == "" {
		v.problem("has no name", `write "name": "com.example/server"`)
		return nil
	}
	if how.name == "" {
		how.name = shortName(own)
	}
	e := newEntry(how.name, place)
	e.how, e.at = how, map[string]value{}
	if title := word(at, "title"); titled(title) {
		e.Title = title
	}
	if status := word(at, "status"); status != "" && status != "active" {
		at["status"].warn("is "+show(status), "ask its makers what replaces it")
	}
	packages, hasPackages := at["packages"]
	remotes, hasRemotes := at["remotes"]
	if e.takeRemote(offers(remotes, hasRemotes)) || e.takePackage(offers(packages, hasPackages)) {
		return e
	}
	v.warn("offers nothing that can be reached from here, so nothing of it is read",
		"needed is a remote of type streamable-http or sse, or a package of type "+strings.Join(runnable, ", ")+" that runs over stdio")
	return nil
}

// shortName is what we call a server of the registry: com.example/weather is
// weather, com.example/mcp is example-mcp.
func shortName(own string) string {
	space, name, ok := strings.Cut(own, "/")
	if !ok {
		return slug(own)
	}
	if short := slug(name); short != "server" && short != "mcp-server" && !slices.Contains(reserved, short) {
		return short
	}
	return slug(space[strings.LastIndexByte(space, '.')+1:] + "-" + name)
}

// takeRemote makes the entry one of the first remote that fits.
func (e *entry) takeRemote(remotes []value) bool {
	type remote struct {
		kind string
		at   map[string]value
	}
	var all []remote
	for _, v := range remotes {
		at := v.members("type", "transportType", "url", "headers", "variables")
		kind := word(at, "type")
		if kind == "" {
			kind = word(at, "transportType")
		}
		all = append(all, remote{kind, at})
	}
	for _, kind := range []string{"streamable-http", "sse"} {
		i := slices.IndexFunc(all, func(r remote) bool { return r.kind == kind && r.at["url"].node != nil })
		if i < 0 {
			continue
		}
		at := all[i].at
		link, variables := at["url"], inputsOf(at["variables"])
		e.Transport, e.at["url"] = transports[kind], link
		if raw, ok := e.fill(link, variables); ok {
			e.written(link, raw, func(s string) { e.URL = s })
		}
		if headers, ok := at["headers"]; ok {
			e.takeHeaders(headers)
		}
		return true
	}
	return false
}

// takeHeaders takes the one header that must be sent.
func (e *entry) takeHeaders(v value) {
	for _, h := range offers(v, true) {
		in := readInput(h, true)
		name := word(in.at, "name")
		raw, ok := e.standing(in, variable(e.Name+"_"+name))
		switch {
		case !ok:
			h.warn("is a header that need not be sent: it is left out", "declare the server in a .yaml file to send it")
		case e.Auth.Type == AuthHeader && e.how.importing:
			h.warn("is not carried over: one header is sent", "ask the upstream's makers how to do without it")
			e.lost = true
		case e.Auth.Type == AuthHeader:
			h.problem("is a second header that must be sent", "one can be: declare the server in a .yaml file, with the one that carries the credential")
		default:
			e.Auth.Type, e.Auth.Header = AuthHeader, name
			e.at["auth"], e.auth = v, map[string]value{"type": h, "header": h, "value": h, "prefix": h}
			e.written(h, raw, func(s string) { e.Auth.Value = Secret(s) })
		}
	}
}
