package federation

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

// Limits of one item. An item over one of them is left out alone.
const (
	maxItem = 1 << 20 // bytes of one definition
	maxName = 128     // characters of a tool's or prompt's name (MCP, Tools)
)

// words of the protocol for each kind: the list method, the member of its
// result, the member that names an item.
var vocabulary = [kinds]struct{ method, list, name string }{
	Tool:     {"tools/list", "tools", "name"},
	Prompt:   {"prompts/list", "prompts", "name"},
	Resource: {"resources/list", "resources", "uri"},
	Template: {"resources/templates/list", "resourceTemplates", "uriTemplate"},
}

// encode turns raw definitions into items. What is malformed is left out alone
// and reported (promise 7); the rest keeps every byte but white space
// (promise 4). An item of known that was made from the same bytes for the same
// entry is used again, so an unchanged list costs no hashing and no splicing.
func encode(u *catalogs.Upstream, k Kind, raws [][]byte, known map[string]*Item) ([]*Item, []LeftOut) {
	items := make([]*Item, 0, len(raws))
	seen := make(map[string]bool, len(raws))
	var leftOut []LeftOut
	for _, raw := range raws {
		i, name, err := newItem(u, k, raw, known)
		if err == nil && seen[name] {
			err = errors.New("another of this list has the same name")
		}
		if err != nil {
			leftOut = append(leftOut, LeftOut{Kind: k.String(), Name: shortened(name), Reason: err.Error()})
			continue
		}
		seen[name] = true
		items = append(items, i)
	}
	slices.SortFunc(items, func(a, b *Item) int { return cmp.Compare(a.Name, b.Name) })
	return items, leftOut
}

// newItem makes one item. name is returned as far as it could be read, also
// with an error.
func newItem(u *catalogs.Upstream, k Kind, raw []byte, known map[string]*Item) (_ *Item, name string, err error) {
	limits := wire.DefaultLimits
	limits.Bytes = maxItem
	if err := wire.Check(raw, limits); err != nil {
		return nil, "", err
	}
	own := wire.Compact(make([]byte, 0, len(raw)), raw)
	object, err := wire.Fields(own)
	if err != nil {
		return nil, "", errors.New("not an object")
	}
	member := vocabulary[k].name
	name, ok := object.String(member)
	if err := checkName(k, member, name, ok); err != nil {
		return nil, name, err
	}
	if i := known[name]; i != nil && i.Upstream == u && bytes.Equal(i.Own, own) {
		return i, name, nil
	}

	i := &Item{Kind: k, Upstream: u, Name: name, Own: own, Labels: u.Labels, Timeout: cmp.Or(u.Limits.Timeout, defaultTimeout)}
	i.sum, i.Digest, i.unfit = sha256.Sum256(own), digest(k, object), unfit(k, name)
	switch k {
	case Tool:
		i.Exposed = ExposeName(u.Prefix, name)
		if err := i.describeTool(u.Tools[name], object); err != nil {
			return nil, name, err
		}
	case Prompt:
		i.Exposed = ExposeName(u.Prefix, name)
	case Template:
		if i.template, err = parseTemplate(name); err != nil {
			return nil, name, err
		}
		i.Exposed = ExposeURI(u, name)
	case Resource:
		i.Exposed = ExposeURI(u, name)
	}
	i.Labels = sortedSet(i.Labels)
	i.Merged = i.rewrite(object)
	return i, name, nil
}

func checkName(k Kind, member, name string, present bool) error {
	limit := maxName
	if k == Resource || k == Template {
		limit = maxURI
	}
	switch {
	case !present:
		return fmt.Errorf("%s is missing or not a string", member)
	case name == "":
		return fmt.Errorf("%s is empty", member)
	case len(name) > limit:
		return fmt.Errorf("%s is longer than %d bytes", member, limit)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%s has control characters", member)
	}
	return nil
}

// describeTool fills in what policy, the argument check and the header rules
// need to know of a tool.
func (i *Item) describeTool(said catalogs.Tool, object wire.Object) error {
	if said.Timeout > 0 {
		i.Timeout = said.Timeout
	}
	i.Labels = slices.Concat(i.Labels, said.Labels)

	if raw, ok := object.Get("outputSchema"); ok {
		if _, err := wire.Fields(raw); err != nil {
			return errors.New("outputSchema is not an object")
		}
	}
	if raw, ok := object.Get("inputSchema"); ok {
		schema, err := wire.Fields(raw)
		if err != nil {
			return errors.New("inputSchema is not an object")
		}
		// MCP 2026-07-28, Tools, x-mcp-header: clients MUST exclude a tool
		// whose annotation is invalid from the result of tools/list.
		if i.ParamHeaders, err = wire.ParamHeaders(raw); err != nil {
			return fmt.Errorf("x-mcp-header: %w", err)
		}
		if properties, ok := schema.Get("properties"); ok {
			if i.Properties, err = propertyNames(properties); err != nil {
				return err
			}
		}
	}
	if raw, ok := object.Get("annotations"); ok {
		if _, err := wire.Fields(raw); err == nil {
			i.Annotations = raw
		}
	}
	if ui, ok := uiMeta(object); ok {
		i.Visibility = stringsOf(ui, "visibility")
	}
	return nil
}

// propertyNames are the names of a schema's properties, sorted.
func propertyNames(raw []byte) ([]string, error) {
	o, err := wire.Fields(raw)
	if err != nil {
		return nil, errors.New("inputSchema.properties is not an object")
	}
	names := make([]string, len(o.Members))
	for i, member := range o.Members {
		names[i] = member.Key
	}
	slices.Sort(names)
	return names, nil
}

// uiMeta is _meta.ui of a definition (MCP Apps).
func uiMeta(object wire.Object) (wire.Object, bool) {
	meta, ok := member(object, "_meta")
	if !ok {
		return wire.Object{}, false
	}
	return member(meta, "ui")
}

func member(o wire.Object, key string) (wire.Object, bool) {
	raw, ok := o.Get(key)
	if !ok {
		return wire.Object{}, false
	}
	inner, err := wire.Fields(raw)
	return inner, err == nil
}

func stringsOf(o wire.Object, key string) []string {
	raw, ok := o.Get(key)
	if !ok {
		return nil
	}
	elements, err := wire.Elements(raw)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range elements {
		if s, ok := wire.Unquote(e); ok {
			out = append(out, s)
		}
	}
	return out
}

// rewrite is the definition in the merged namespace: what the gateway owns
// there spliced into the rest.
func (i *Item) rewrite(object wire.Object) []byte {
	if i.Kind == Tool && !i.Upstream.MergedApps {
		object = withoutApp(object)
	}
	if i.Upstream.Prefix == "" {
		return object.Raw
	}
	if i.Kind == Tool { // the resource of an MCP App
		rewritten := wire.RewriteURIs(wire.OfTool, object.Raw, func(uri string, _ bool) string { return ExposeURI(i.Upstream, uri) })
		if o, err := wire.Fields(rewritten); err == nil {
			object = o
		}
	}
	name := wire.AppendString(nil, i.Exposed)
	return wire.NewPatch(object).Set(vocabulary[i.Kind].name, name).Bytes()
}

func sortedSet(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}

// shortened keeps a report readable whatever an upstream calls its things.
func shortened(s string) string {
	const enough = 200
	if len(s) > enough {
		s = strings.ToValidUTF8(s[:enough], "") + "…"
	}
	return s
}
