package catalogs

import (
	"regexp"
	"strings"
	"time"
	"unicode"
)

// entry is one upstream while it is read: what the file says, where it says
// it, and the values that still have to be expanded.
type entry struct {
	Upstream
	name   value            // the key
	at     map[string]value // its keys
	auth   map[string]value // the keys of auth
	values []reference

	foreign bool              // from another tool's file, where values have other words
	how     manner            // of a foreign one
	lost    bool              // something that matters could not be imported
	words   map[string]string // what its makers say of the variables that it reads
}

// reference is a value that may name variables or a file. set receives the
// expanded text, or the text as written when the entry is disabled.
type reference struct {
	value
	raw  string
	path bool // a path already: file: has no meaning in it
	set  func(string)
}

// fileFields are the keys of a file.
var fileFields = []field[[]*entry]{
	{"upstreams", func(es *[]*entry, v value) {
		v.mapping(func(name string, k, val value) { *es = append(*es, readEntry(name, k, val)) })
	}},
}

// entryFields are the keys of an upstream.
var entryFields = []field[entry]{
	{"title", (*entry).readTitle},
	{"enabled", func(e *entry, v value) { setBool(&e.Enabled, v) }},
	{"url", func(e *entry, v value) { e.refer(v, false, func(s string) { e.URL = s }) }},
	{"command", (*entry).readCommand},
	{"env", (*entry).readEnv},
	{"dir", func(e *entry, v value) { e.refer(v, true, func(s string) { e.Dir = s }) }},
	{"transport", (*entry).readTransport},
	{"auth", (*entry).readAuth},
	{"prefix", (*entry).readPrefix},
	{"labels", func(e *entry, v value) { e.Labels = readLabels(v) }},
	{"tools", (*entry).readTools},
	{"sharing", (*entry).readSharing},
	{"apps", (*entry).readApps},
	{"limits", func(e *entry, v value) { readFields(v, &e.Limits, limitFields) }},
	{"trustAnnotations", func(e *entry, v value) { setBool(&e.TrustAnnotations, v) }},
	{"meta", (*entry).readMeta},
	{"foldedArguments", func(e *entry, v value) { setBool(&e.FoldedArguments, v) }},
	{"proxy", func(e *entry, v value) { e.refer(v, false, func(s string) { e.Proxy = s }) }},
	{"caFile", func(e *entry, v value) { e.refer(v, true, func(s string) { e.CAFile = s }) }},
	{"user", func(e *entry, v value) { e.refer(v, false, func(s string) { e.User = s }) }},
	{"confine", func(e *entry, v value) { setBool(&e.Confine, v) }},
}

var limitFields = []field[Limits]{
	{"timeout", func(l *Limits, v value) { setDuration(&l.Timeout, v) }},
	{"concurrency", func(l *Limits, v value) {
		if n, ok := v.whole(MaxConcurrency); ok {
			l.Concurrency = n
		}
	}},
	{"response", func(l *Limits, v value) {
		if n, ok := v.size(); ok {
			l.Response = n
		}
	}},
}

var toolFields = []field[Tool]{
	{"labels", func(t *Tool, v value) { t.Labels = readLabels(v) }},
	{"timeout", func(t *Tool, v value) { setDuration(&t.Timeout, v) }},
}

func newEntry(name string, k value) *entry {
	return &entry{name: k, Upstream: Upstream{
		Name:    name,
		Enabled: true,
		Confine: true,
		Prefix:  name,
		Auth:    Auth{Type: AuthNone},
		Limits:  Limits{DefaultTimeout, DefaultConcurrency, DefaultResponse},
		Source:  k.position(),
	}}
}

func readEntry(name string, k, v value) *entry {
	e := newEntry(name, k)
	if v.null() {
		v.node.Line, v.node.Column = k.node.Line, k.node.Column
		v.problem("says nothing", "give it a url or a command")
		e.Enabled = false
		return e
	}
	before := len(*v.problems)
	e.at = readFields(v, e, entryFields)
	if len(e.at) == 0 && len(*v.problems) > before {
		e.at = nil // what is missing is not worth saying beside what is wrong
	}
	return e
}

// refer keeps a value for expansion.
func (e *entry) refer(v value, path bool, set func(string)) {
	if s, ok := v.text(); ok {
		e.add(v, s, path, set)
	}
}

func (e *entry) add(v value, raw string, path bool, set func(string)) {
	if e.foreign {
		raw = e.how.native(raw)
	}
	e.values = append(e.values, reference{v, raw, path, set})
}

func (e *entry) readTitle(v value) {
	s, ok := v.text()
	switch {
	case !ok:
	case s == "" || len([]rune(s)) > MaxTitle:
		v.problem("must have between 1 and 128 characters", "shorten it, or drop the key")
	// Users read titles where they consent: nothing invisible belongs there.
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }):
		v.problem("holds invisible characters", "write letters, digits, spaces and signs alone")
	default:
		e.Title = s
	}
}

func (e *entry) readCommand(v value) {
	if v.kind() == "text" {
		v.problem("must be a list, not one text: no shell takes it apart",
			`write a list, such as [npx, -y, "@scope/server"]`)
		return
	}
	v.list(e.addArgument)
}

func (e *entry) addArgument(v value) {
	i := len(e.Command)
	e.Command = append(e.Command, "")
	if s, ok := v.literal(); ok {
		e.add(v, s, false, func(s string) { e.Command[i] = s })
	}
}

// Portable names (POSIX.1-2017, 8.1), lower-case letters included.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (e *entry) readEnv(v value) {
	e.Env = map[string]Secret{}
	v.mapping(func(key string, k, val value) {
		if !envName.MatchString(key) {
			// A misplaced secret may stand here: the key is not repeated.
			k.path = v.path
			k.problem("has a key that cannot name a variable", "use letters, digits and _, and no digit first")
			return
		}
		if s, ok := val.literal(); ok {
			e.add(val, s, false, func(s string) { e.Env[key] = Secret(s) })
		}
	})
}

func setBool(to *bool, v value) {
	if b, ok := v.boolean(); ok {
		*to = b
	}
}

func setDuration(to *time.Duration, v value) {
	if d, ok := v.duration(); ok {
		*to = d
	}
}
