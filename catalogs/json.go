package catalogs

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
)

// jsonFields are the keys of a server in the mcpServers shape of Claude
// Desktop, Claude Code and Cursor, and in the servers shape of VS Code, with
// the words that Windsurf and Gemini CLI have for url. command and args are
// read together, afterwards, and so is httpUrl.
var jsonFields = []field[entry]{
	{"command", func(*entry, value) {}},
	{"args", func(*entry, value) {}},
	{"env", (*entry).readEnv},
	{"cwd", func(e *entry, v value) { e.refer(v, true, func(s string) { e.Dir = s }) }},
	{"url", func(e *entry, v value) { e.refer(v, false, func(s string) { e.URL = s }) }},
	{"serverUrl", func(e *entry, v value) { e.refer(v, false, func(s string) { e.URL = s }) }},
	{"httpUrl", func(*entry, value) {}},
	{"type", (*entry).readTransport},
	{"transport", (*entry).readTransport},
	{"headers", (*entry).readHeaders},
	{"disabled", func(e *entry, v value) {
		if b, ok := v.boolean(); ok {
			e.Enabled = !b
		}
	}},
	{"enabled", func(e *entry, v value) { setBool(&e.Enabled, v) }},
}

// elsewhere says of keys of other tools that are not read here where their
// meaning has its place.
var elsewhere = map[string]string{
	"alwaysAllow":      "what may be called is for the policy to say",
	"authProviderType": "declare it in a .yaml file, with auth: {type: oauth}",
	"autoApprove":      "what may be called is for the policy to say",
	"disabledTools":    "what may be called is for the policy to say",
	"envFile":          "name its variables under env, as ${NAME}",
	"excludeTools":     "what may be called is for the policy to say",
	"includeTools":     "what may be called is for the policy to say",
	"oauth":            "declare it in a .yaml file, with auth: {type: oauth}",
	"timeout":          "declare it in a .yaml file, with limits: {timeout: 60s}",
	"tools":            "what may be called is for the policy to say",
	"trust":            "what may be called is for the policy to say",
}

// renamed are keys of jsonFields that have another name in our format.
var renamed = [][2]string{{"cwd", "dir"}, {"serverUrl", "url"}, {"httpUrl", "url"}, {"type", "transport"}, {"headers", "auth"}}

// jsonEntries reads a file of another tool as it is. What such a file says
// beyond the servers is that tool's business: it is a warning, not a problem.
func (f *file) jsonEntries(content []byte) (es []*entry, declared bool) {
	root, ok := f.parse(yamlFromJSON(content))
	if !ok {
		return nil, false
	}
	before := len(*f.warnings)
	if root != nil && !(value{f, root, ""}).null() {
		es, declared = readForeign(value{f, root, ""}, manner{})
	}
	if !declared && len(*f.warnings) == before {
		*f.warnings = append(*f.warnings, Problem{Position: Position{File: f.name, Line: 1},
			Text: "has no mcpServers, servers, packages or remotes, so nothing of it is read", Fix: "remove it from the directory, or declare its servers in a .yaml file"})
	}
	return es, declared
}

func readJSONEntry(name string, k, v value, how manner) *entry {
	e := newEntry(slug(name), k)
	e.Prefix, e.foreign, e.how, e.words = e.Name, true, how, how.words
	if e.Name != name && titled(name) {
		e.Title = name
	}
	before := len(*v.problems)
	e.at = readSome(v, e, jsonFields, func(key string, k value) {
		fix, ok := elsewhere[key]
		if !ok {
			fix = "say it in a .yaml file if it matters"
		}
		k.warn("is not read here", fix)
	})
	if c, ok := e.at["command"]; ok && !c.null() {
		e.addArgument(c)
		if args, ok := e.at["args"]; ok && !args.null() {
			args.list(e.addArgument)
		}
	} else if args, ok := e.at["args"]; ok {
		args.problem("has a meaning only beside command", "add the command, or drop it")
	}
	for _, r := range renamed {
		if v, ok := e.at[r[0]]; ok {
			e.at[r[1]] = v
		}
	}
	// Gemini CLI: httpUrl is Streamable HTTP, and comes before url.
	if v, ok := e.at["httpUrl"]; ok && !v.null() {
		e.refer(v, false, func(s string) { e.URL = s })
		if e.Transport == "" {
			e.Transport = StreamableHTTP
		}
	}
	if len(e.at) == 0 && len(*v.problems) > before {
		e.at = nil
	}
	return e
}

// titled says that a text can be a title.
func titled(s string) bool {
	return s != "" && len([]rune(s)) <= MaxTitle && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) })
}

// readHeaders takes the one header that carries the credential.
func (e *entry) readHeaders(v value) {
	type header struct {
		name   string
		k, val value
	}
	var all []header
	before := len(*v.problems)
	v.mapping(func(name string, k, val value) { all = append(all, header{name, k, val}) })
	if len(all) == 0 {
		return
	}
	chosen := 0
	if len(all) > 1 && e.how.importing {
		chosen = max(slices.IndexFunc(all, func(h header) bool { return secretWord(h.name) }), 0)
		for i, h := range all {
			if i != chosen {
				h.k.warn("is not carried over: one header is sent, the one with the credential", "ask the upstream's makers how to do without it")
				e.lost = true
			}
		}
	} else if len(all) > 1 && len(*v.problems) == before {
		v.problem("has more than one header", "keep the one that carries the credential")
	}
	h := all[chosen]
	e.Auth.Type, e.Auth.Header = AuthHeader, h.name
	// The value is whole: an empty prefix, as if it were written there.
	e.auth = map[string]value{"type": h.k, "header": h.k, "value": h.val, "prefix": h.val}
	e.refer(h.val, false, func(s string) { e.Auth.Value = Secret(s) })
}

// slug turns any name into one of ours.
func slug(name string) string {
	parts := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	s := strings.Join(parts, "-")
	return strings.TrimRight(s[:min(len(s), MaxName)], "-")
}

// yamlFromJSON makes the few places where JSON is not YAML into YAML, keeping
// lines and columns: tabs between tokens, comments (VS Code writes them) and
// surrogate pairs.
func yamlFromJSON(content []byte) []byte {
	out := slices.Clone(content)
	blank := func(from, to int) {
		for i := from; i < to && i < len(out); i++ {
			if out[i] != '\n' && out[i] != '\r' {
				out[i] = ' '
			}
		}
	}
	pairs := false
	for i := 0; i < len(out); i++ {
		switch {
		case out[i] == '"':
			for i++; i < len(out) && out[i] != '"'; i++ {
				if out[i] == '\\' {
					pairs = pairs || i+1 < len(out) && out[i+1] == 'u'
					i++
				}
			}
		case out[i] == '\t':
			out[i] = ' '
		case bytes.HasPrefix(out[i:], []byte("//")):
			end := i + max(bytes.IndexByte(out[i:], '\n'), 0)
			if end == i {
				end = len(out)
			}
			blank(i, end)
		case bytes.HasPrefix(out[i:], []byte("/*")):
			end := len(out)
			if n := bytes.Index(out[i+2:], []byte("*/")); n >= 0 {
				end = i + n + 4
			}
			blank(i, end)
		}
	}
	if pairs {
		out = joinPairs(out)
	}
	return out
}

// joinPairs turns \ud83d\ude00 into \U0001f600, RFC 8259 7.
func joinPairs(in []byte) []byte {
	var out []byte
	for i := 0; i < len(in); i++ {
		if in[i] != '\\' || i+1 >= len(in) {
			out = append(out, in[i])
			continue
		}
		if r := utf16.DecodeRune(escape(in[i:]), escape(in[min(i+6, len(in)):])); r != unicode.ReplacementChar {
			out = fmt.Appendf(out, `\U%08x`, r)
			i += 11
			continue
		}
		out = append(out, in[i], in[i+1])
		i++
	}
	return out
}

// escape is the code unit of a \uXXXX at the start of b, or 0.
func escape(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}
