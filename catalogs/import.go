package catalogs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// Imported is another tool's file in our words.
type Imported struct {
	YAML      []byte     // a catalog file
	Upstreams []string   // the names of its entries, in the order of the file
	Variables []Variable // what it reads: what must be set first, then by name
	Warnings  []Problem  // what could not be carried over, placed in the source
}

// Variable is an environment variable that an imported catalog reads.
type Variable struct {
	Name     string
	Keys     []string // where it is read, e.g. upstreams.github.env.GITHUB_TOKEN
	Hidden   bool     // its value stood in the source, written out
	Optional bool     // it need not be set: there is a default
	Words    string   // what the server's makers say of it, on one line; may be ""
}

// ErrUnnamed: the source is one server without a name of its own, or a name was
// given for several.
var ErrUnnamed = errors.New("a name goes with exactly one server")

// Import writes a file of another tool as a catalog file of ours. Beyond the
// shapes that Load takes from *.json it takes pieces of them, as people copy
// them from web pages: a map of servers, one server (which needs a name), and
// either without the braces around. Secrets that are written out in the source
// become references to variables; their values are not in the result.
//
// source names the file in problems; name, if not "", is that of the one server
// in it. The error is Problems where the source is at fault, or ErrUnnamed.
func Import(source, name string, content []byte) (*Imported, error) {
	out := &Imported{}
	var problems Problems
	f := &file{source, &problems, &out.Warnings}
	if len(content) > MaxFile {
		f.problemAt(1, 1, "", "has more than 1 MiB", "check that this is the right file")
		return nil, problems
	}
	root, ok := f.parse(yamlFromJSON(unwrapped(content)))
	if !ok {
		return nil, problems
	}
	if root == nil {
		f.problemAt(1, 1, "", "declares no servers", "give a file with mcpServers, servers, packages or remotes")
		return nil, problems
	}
	es, err := importEntries(value{f, root, ""}, name)
	if err != nil {
		return nil, err
	}
	if len(es) == 0 && len(problems) == 0 {
		f.problemAt(1, 1, "", "declares no servers", "give a file with mcpServers, servers, packages or remotes")
	}
	off := importedForm(es)
	together(es)
	if len(problems) > 0 {
		slices.SortStableFunc(problems, byPlace)
		return nil, slices.Compact(problems)
	}
	slices.SortStableFunc(out.Warnings, byPlace)
	out.write(es, off, source)
	return out, nil
}

// importedForm checks each entry as Load does with one that is off: nothing is
// read, and the values stay references. It returns which of them were off.
func importedForm(es []*entry) (off map[*entry]bool) {
	off = map[*entry]bool{}
	s := &sources{dir: "/"}
	for _, e := range es {
		off[e] = !e.Enabled
		e.Enabled = false
		e.checkName()
		e.resolve(s)
		e.check(s, false)
	}
	return off
}

// importEntries finds the servers, in a whole file or in a piece of one.
func importEntries(root value, name string) ([]*entry, error) {
	how := manner{importing: true, name: name}
	at := map[string]value{}
	root.mapping(func(key string, _, val value) { at[key] = val })
	switch {
	case slices.ContainsFunc([]string{"command", "url", "serverUrl", "httpUrl"}, func(key string) bool { return at[key].node != nil && at[key].kind() != "a mapping" }):
		if name == "" {
			return nil, fmt.Errorf("%w: the server in %s has none", ErrUnnamed, root.file.name)
		}
		return []*entry{readJSONEntry(name, root, root, how)}, nil
	case slices.ContainsFunc([]string{"mcpServers", "servers", "mcp", "server", "packages", "remotes"}, func(key string) bool { return at[key].node != nil }):
	case len(at) > 0 && !slices.ContainsFunc(slices.Collect(maps.Values(at)), func(v value) bool { return v.kind() != "a mapping" }):
		var es []*entry
		root.mapping(func(own string, k, val value) { es = append(es, readJSONEntry(own, k, val, how)) })
		return renamedEntry(es, name)
	}
	es, _ := readForeign(root, how)
	return renamedEntry(es, name)
}

// renamedEntry gives the one entry its name.
func renamedEntry(es []*entry, name string) ([]*entry, error) {
	if name == "" {
		return es, nil
	}
	if len(es) > 1 {
		return nil, fmt.Errorf("%w: there are %d in %s", ErrUnnamed, len(es), es[0].name.file.name)
	}
	for _, e := range es {
		e.Name, e.Prefix = name, name
	}
	return es, nil
}

// unwrapped puts braces around a piece of a file that has none.
func unwrapped(content []byte) []byte {
	piece := bytes.TrimRight(bytes.TrimSpace(content), ",")
	blank := bytes.TrimSpace(yamlFromJSON(piece))
	if len(blank) == 0 || blank[0] == '{' || blank[0] == '[' {
		return content
	}
	return slices.Concat([]byte("{"), piece, []byte("\n}"))
}

// write fills in everything else, from entries that are well formed.
func (out *Imported) write(es []*entry, off map[*entry]bool, source string) {
	vars := map[string]*Variable{}
	note := func(name, key string, hidden, optional bool) {
		if vars[name] == nil {
			vars[name] = &Variable{Name: name, Optional: true}
		}
		v := vars[name]
		v.Hidden, v.Optional = v.Hidden || hidden, v.Optional && optional
		if !slices.Contains(v.Keys, key) {
			v.Keys = append(v.Keys, key)
		}
	}
	taken := map[string]string{}
	for _, e := range es {
		for _, r := range e.Reads {
			taken[r] = "" // an operator's own: no secret may take its name
		}
	}
	var body strings.Builder
	for _, e := range es {
		path := "upstreams." + e.Name + "."
		h := &hider{upstream: e.Name, taken: taken, found: func(name, key string) { note(name, path+key, true, false) }}
		h.hide(e)
		for key, raws := range e.texts() {
			for _, raw := range raws {
				if t, f := parseTemplate(raw, false); f == nil {
					for _, p := range t.parts {
						if p.name != "" {
							note(p.name, path+key, false, p.fallback)
						}
					}
				}
			}
		}
		out.Upstreams = append(out.Upstreams, e.Name)
		e.yaml(&body, off[e] || e.lost, e.warned(out.Warnings, len(es) == 1))
		for name, words := range e.words {
			if v := vars[name]; v != nil {
				v.Words = oneLine(words)
			}
		}
	}
	for _, name := range sortedKeys(vars) {
		slices.Sort(vars[name].Keys)
		out.Variables = append(out.Variables, *vars[name])
	}
	slices.SortStableFunc(out.Variables, func(a, b Variable) int { return strings.Compare(a.need(), b.need()) })
	out.YAML = []byte(out.head(source) + "upstreams:\n" + body.String())
}

// need is what an operator has to do about a variable, in one word.
func (v Variable) need() string {
	if v.Optional {
		return "Takes"
	}
	return "Needs"
}

// head says where the file comes from and what it reads.
func (out *Imported) head(source string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Imported from %s.\n", show(source))
	for _, v := range out.Variables {
		fmt.Fprintf(&b, "# %s: %s (%s)", v.need(), v.Name, strings.Join(v.Keys, ", "))
		if v.Words != "" {
			b.WriteString(": " + v.Words)
		}
		if v.Hidden {
			b.WriteString("; its value stood in the source")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// oneLine makes text of strangers fit for a comment.
func oneLine(s string) string {
	const most = 160
	runes := []rune(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }), " "))
	if len(runes) > most {
		runes = append(runes[:most-1], '…')
	}
	return string(runes)
}

// texts are the values of an entry that may refer to variables, by key.
func (e *entry) texts() map[string][]string {
	all := map[string][]string{"url": {e.URL}, "command": e.Command, "dir": {e.Dir}, "auth.value": {e.Auth.Value.Reveal()}}
	for name, v := range e.Env {
		all["env."+name] = []string{v.Reveal()}
	}
	return all
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
