package wire

import "bytes"

// Kinds of JSON that carry URIs without being the result of a method; they
// stand where RewriteURIs takes a method.
const (
	OfTool      = "item/tool"      // one tool definition
	OfResource  = "item/resource"  // one resource, or a resource link
	OfTemplate  = "item/template"  // one resource template
	OfErrorData = "item/errorData" // the data of a JSON-RPC error
)

// uriFields is the one table of URIs that an agent may send back: the gateway
// rewrites these, and only these. For a request's result the key is its method,
// for a notification's params the notification's.
//
// A step of a path is the name of a member; "*" goes through the elements of an
// array; "?link" goes on only in an object whose type is resource_link. A path
// ends at a string. Paths that lead nowhere are passed over.
var uriFields = map[string][]uriPath{
	"resources/list":           {{"resources", "*", "uri"}},
	"resources/templates/list": {{"resourceTemplates", "*", "uriTemplate"}},
	"resources/read":           {{"contents", "*", "uri"}},
	"tools/list":               {{"tools", "*", "_meta", "ui", "resourceUri"}, {"tools", "*", "_meta", "ui/resourceUri"}},
	"tools/call":               {{"content", "*", "?link", "uri"}, {"content", "*", "resource", "uri"}},
	"prompts/get":              {{"messages", "*", "content", "?link", "uri"}, {"messages", "*", "content", "resource", "uri"}},

	// A finished task carries the result of the call that it was: inside the
	// task in the Tasks extension, alone in 2025-11-25.
	"tasks/get":           {{"result", "content", "*", "?link", "uri"}, {"result", "content", "*", "resource", "uri"}},
	"notifications/tasks": {{"result", "content", "*", "?link", "uri"}, {"result", "content", "*", "resource", "uri"}},
	"tasks/result":        {{"content", "*", "?link", "uri"}, {"content", "*", "resource", "uri"}},

	"notifications/resources/updated":          {{"uri"}},
	"notifications/subscriptions/acknowledged": {{"notifications", "resourceSubscriptions", "*"}},

	OfTool:      {{"_meta", "ui", "resourceUri"}, {"_meta", "ui/resourceUri"}}, // MCP Apps; the flat key is its older form
	OfResource:  {{"uri"}},
	OfTemplate:  {{"uriTemplate"}},
	OfErrorData: {{"uri"}},
}

type uriPath []string

// RewriteURIs replaces every URI in a result, or in one of the Of… kinds, that
// an agent may send back, by f of it; template says that it is a URI template.
// raw was validated before. Everything else stays byte for byte, and raw itself
// comes back when nothing changed.
func RewriteURIs(method string, raw []byte, f func(uri string, template bool) string) []byte {
	paths := uriFields[method]
	// All names in the table but one, unless they are written with escapes,
	// show themselves; a large text result is not walked in vain.
	if len(paths) == 0 || !bytes.Contains(raw, []byte("uri")) && !bytes.Contains(raw, []byte("Uri")) &&
		!bytes.Contains(raw, []byte("resourceSubscriptions")) && !bytes.Contains(raw, []byte(`\u`)) {
		return raw
	}
	w := uriWalk{raw: raw, f: f}
	for _, p := range paths {
		w.walk(0, len(raw), p)
	}
	if len(w.edits) == 0 {
		return raw
	}
	return Splice(make([]byte, 0, len(raw)+64*len(w.edits)), raw, w.edits)
}

type uriWalk struct {
	raw   []byte
	f     func(uri string, template bool) string
	edits []Edit
	last  string // the name of the member last entered
}

// walk follows path in the value at raw[start:end].
func (w *uriWalk) walk(start, end int, path uriPath) {
	if len(path) == 0 {
		w.rewrite(start, end)
		return
	}
	c := cursor{raw: w.raw[:end], i: start}
	switch step := path[0]; step {
	case "*":
		if !c.take('[') || c.take(']') {
			return
		}
		for {
			from, to, ok := c.value()
			if !ok {
				return
			}
			w.walk(from, to, path[1:])
			if !c.take(',') {
				return
			}
		}
	case "?link":
		if from, to, ok := find(c, "type"); ok {
			if typ, _ := Unquote(w.raw[from:to]); typ == "resource_link" {
				w.walk(start, end, path[1:])
			}
		}
	default:
		if from, to, ok := find(c, step); ok {
			w.last = step
			w.walk(from, to, path[1:])
		}
	}
}

// find is the value of a member of the object at c.
func find(c cursor, key string) (start, end int, ok bool) {
	if !c.take('{') || c.take('}') {
		return 0, 0, false
	}
	for {
		from, to, ok := c.key()
		if !ok {
			return 0, 0, false
		}
		start, end, ok := c.value()
		if !ok {
			return 0, 0, false
		}
		if isName(c.raw[from:to], key) {
			return start, end, true
		}
		if !c.take(',') {
			return 0, 0, false
		}
	}
}

// isName reports whether a quoted key is name.
func isName(quoted []byte, name string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return len(quoted) == len(name)+2 && string(quoted[1:len(quoted)-1]) == name
	}
	text, ok := Unquote(quoted)
	return ok && text == name
}

func (w *uriWalk) rewrite(start, end int) {
	uri, ok := Unquote(w.raw[start:end])
	if !ok {
		return
	}
	if changed := w.f(uri, w.last == "uriTemplate"); changed != uri {
		w.edits = append(w.edits, Edit{start, end, AppendString(nil, changed)})
	}
}
