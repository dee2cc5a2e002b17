package catalogs

import (
	"regexp"
	"strings"
)

// manner is how another tool's file is read.
type manner struct {
	inputs    map[string]string // what stands for ${input:ID}, in our words
	words     map[string]string // what is said of the variables of inputs
	importing bool              // what can't be kept is a warning, for people to read
	name      string            // for the one server of a server.json; "" = its own
}

// readForeign finds the servers in a file of another tool: under mcpServers,
// or under servers (VS Code; in its settings below mcp), or the file is a
// server.json.
func readForeign(root value, how manner) (es []*entry, declared bool) {
	at := map[string]value{}
	root.mapping(func(key string, _, val value) { at[key] = val })
	if isRegistry(at) {
		return readRegistry(root, at, how)
	}
	if mcp, ok := at["mcp"]; ok && mcp.kind() == "a mapping" {
		mcp.mapping(func(key string, _, val value) {
			if _, above := at[key]; !above && (key == "servers" || key == "inputs") {
				at[key] = val
			}
		})
	}
	if inputs, ok := at["inputs"]; ok {
		how.readInputs(inputs)
	}
	for _, key := range []string{"mcpServers", "servers"} {
		if val, ok := at[key]; ok && !val.null() {
			declared = true
			val.mapping(func(name string, k, val value) { es = append(es, readJSONEntry(name, k, val, how)) })
		}
	}
	return es, declared
}

// dollarName is a whole value that Gemini CLI would look up.
var dollarName = regexp.MustCompile(`^\$[A-Z_][A-Z0-9_]*$`)

// editors are names that VS Code and Cursor have for what everyone has.
var editors = strings.NewReplacer("${env:", "${", "${userHome}", "${HOME}", "${pathSeparator}", "/", "${/}", "/")

// asked is where VS Code would ask its user.
var asked = regexp.MustCompile(`\$\{input:[^}]*\}`)

// native writes a value of another tool in our words: ${env:NAME} and $NAME
// are ${NAME}, ${input:ID} is the variable of that input, and file: is nothing
// special.
func (m manner) native(raw string) string {
	if dollarName.MatchString(raw) {
		return "${" + raw[1:] + "}"
	}
	raw = editors.Replace(raw)
	raw = asked.ReplaceAllStringFunc(raw, func(found string) string {
		id := strings.TrimSuffix(strings.TrimPrefix(found, "${input:"), "}")
		if to, declared := m.inputs[id]; declared {
			return to
		}
		return "${" + variable(id) + "}"
	})
	if strings.HasPrefix(raw, "file:") || strings.HasPrefix(raw, "$file:") {
		raw = "$" + raw
	}
	return raw
}

// readInputs reads what VS Code would ask its user: each input is a variable
// named after its id, with the default that it may have. A default password
// would be none.
func (m *manner) readInputs(v value) {
	m.inputs, m.words = map[string]string{}, map[string]string{}
	v.list(func(item value) {
		said := map[string]string{}
		item.mapping(func(key string, _, val value) {
			if val.kind() == "text" || key == "password" {
				said[key] = val.node.Value
			}
		})
		if said["password"] == "true" {
			delete(said, "default")
		}
		if id := said["id"]; id != "" {
			m.inputs[id] = named(variable(id), said["default"])
			m.words[variable(id)] = said["description"]
		}
	})
}
