package gateway

import (
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// What an older agent gets of a newer upstream's answers. Between peers of one
// revision, and for a newer agent, nothing is touched.

// older reports whether the agent's revision is older than that of u, which
// counts as the newest while it is not known.
func (x *exchange) older(u federation.UpstreamInfo) bool { return older(x.version, u.Version) }

func older(agent, upstream string) bool { return upstream == "" || agent < upstream }

// fitResult makes the result of a call one of the agent's revision.
func (x *exchange) fitResult(t *target, result []byte) []byte {
	u, _ := x.snap.Upstream(t.upstream.Name)
	if x.era == wire.Modern || !x.older(u) {
		return result
	}
	o, err := wire.Fields(result)
	if err != nil {
		return result
	}
	p := wire.NewPatch(o)
	switch x.m.Method {
	case "tools/call":
		fitContents(p, o, "content", x.version)
		fitStructured(p, o, x.version)
	case "prompts/get":
		fitMessages(p, o, x.version)
	}
	return p.Bytes()
}

// fitStructured drops structuredContent where the agent's revision has none
// (before 2025-06-18), or only objects (before 2026-07-28). What it says stays
// in the text that accompanies it; where there is none, it becomes the text.
func fitStructured(p *wire.Patch, o wire.Object, version string) {
	structured, ok := o.Get("structuredContent")
	if !ok || structured[0] == '{' && version >= wire.Version20250618 {
		return
	}
	p.Remove("structuredContent")
	raw, _ := o.Get("content")
	if content, err := wire.Elements(raw); err != nil || len(content) == 0 {
		p.Set("content", append(append([]byte{'['}, textContent(string(wire.Compact(nil, structured)))...), ']'))
	}
}

// fitContents converts the array of content blocks in o's member key.
func fitContents(p *wire.Patch, o wire.Object, key, version string) {
	raw, _ := o.Get(key)
	blocks, err := wire.Elements(raw)
	if err != nil {
		return
	}
	changed := false
	for i, b := range blocks {
		if fitted := fitContent(b, version); fitted != nil {
			blocks[i], changed = fitted, true
		}
	}
	if changed {
		p.Set(key, array(blocks))
	}
}

// fitMessages converts the content of a prompt's messages.
func fitMessages(p *wire.Patch, o wire.Object, version string) {
	raw, _ := o.Get("messages")
	messages, err := wire.Elements(raw)
	if err != nil {
		return
	}
	changed := false
	for i, m := range messages {
		message, err := wire.Fields(m)
		if err != nil {
			continue
		}
		content, _ := message.Get("content")
		if fitted := fitContent(content, version); fitted != nil {
			messages[i], changed = wire.NewPatch(message).Set("content", fitted).Bytes(), true
		}
	}
	if changed {
		p.Set("messages", array(messages))
	}
}

// fitContent is a content block for a revision; nil when it may stay.
func fitContent(block []byte, version string) []byte {
	o, err := wire.Fields(block)
	if err != nil {
		return nil
	}
	kind, _ := o.String("type")
	switch {
	case kind == "resource_link" && version < wire.Version20250618:
		uri, _ := o.String("uri")
		name, _ := o.String("name")
		if name != "" {
			name = " (" + name + ")"
		}
		return textContent("Resource: " + uri + name)
	case kind == "resource_link" && version < wire.Version20251125:
		if _, ok := o.Get("icons"); ok {
			return wire.NewPatch(o).Remove("icons").Bytes()
		}
	case kind == "audio" && version < wire.Version20250326:
		mime, _ := o.String("mimeType")
		return textContent("[audio content (" + mime + ") is left out: your protocol revision has none]")
	}
	return nil
}

func textContent(text string) []byte {
	return append(wire.AppendString([]byte(`{"type":"text","text":`), text), '}')
}

func array(values [][]byte) []byte {
	b := []byte{'['}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, v...)
	}
	return append(b, ']')
}

// form is how definitions are shown to agents of a span of revisions.
type form int

const (
	formOwn  form = iota // as their upstream gave them
	form2511             // 2025-11-25: outputSchema describes objects only
	form2506             // 2025-06-18: no icons
	form2503             // 2025-03-26 and before: no outputSchema, no title
	forms
)

// formOf is the form for an agent's revision.
func formOf(version string) form {
	switch {
	case version > wire.Version20251125:
		return formOwn
	case version == wire.Version20251125:
		return form2511
	case version == wire.Version20250618:
		return form2506
	}
	return form2503
}

// newest is the newest revision that a form serves. What an upstream of that or
// an older one lists stays as it is.
var newest = [forms]string{wire.LatestModern, wire.Version20251125, wire.Version20250618, wire.Version20250326}

// fitItem is the definition of i at an endpoint in a form.
func fitItem(i *federation.Item, endpoint string, f form) []byte {
	own := i.BytesAt(endpoint)
	o, err := wire.Fields(own)
	if err != nil || f == formOwn {
		return own
	}
	p := wire.NewPatch(o)
	if schema, ok := o.Get("outputSchema"); ok && (f == form2503 || !describesObject(schema)) {
		p.Remove("outputSchema")
	}
	if f >= form2506 {
		p.Remove("icons")
	}
	if f >= form2503 {
		p.Remove("title")
		fitArguments(p, o)
	}
	return p.Bytes()
}

// fitArguments takes the titles from a prompt's arguments.
func fitArguments(p *wire.Patch, o wire.Object) {
	raw, _ := o.Get("arguments")
	arguments, err := wire.Elements(raw)
	if err != nil {
		return
	}
	for i, a := range arguments {
		if argument, err := wire.Fields(a); err == nil {
			arguments[i] = wire.NewPatch(argument).Remove("title").Bytes()
		}
	}
	p.Set("arguments", array(arguments))
}

// describesObject: the schema of MCP 2025-11-25 and earlier wants "type":
// "object" in every outputSchema.
func describesObject(schema []byte) bool {
	o, err := wire.Fields(schema)
	if err != nil {
		return false
	}
	kind, _ := o.String("type")
	return kind == "object"
}
