package gateway

import (
	"crypto/rand"

	"github.com/ostiary/ostiary/gateway/wire"
)

// fitQuestion makes a request of an upstream's own one that a legacy agent of
// this revision, which declared these capabilities, can be asked. missing says
// what the agent lacks for it. What the revision knows stays byte for byte.
func fitQuestion(version string, caps []byte, method string, params []byte) (fitted []byte, missing string) {
	switch method {
	case "elicitation/create":
		return fitElicitation(version, caps, params)
	case "sampling/createMessage":
		if version < wire.Version20251125 {
			if params, missing = fitSampling(version, params); missing != "" {
				return nil, missing
			}
		}
	case "roots/list":
	default:
		return nil, method
	}
	if !declares(caps, method, params) {
		return nil, missingFor(method, params)
	}
	return params, ""
}

// missingFor is the capability that a request needs, in words.
func missingFor(method string, params []byte) string {
	switch {
	case method == "elicitation/create" && modeOf(params) == "url":
		return "elicitation.url"
	case method == "elicitation/create":
		return "elicitation.form"
	case method == "sampling/createMessage" && needsTools(params):
		return "sampling.tools"
	case method == "sampling/createMessage":
		return "sampling"
	}
	return "roots"
}

func fitElicitation(version string, caps, params []byte) (fitted []byte, missing string) {
	byURL := modeOf(params) == "url"
	switch {
	case version < wire.Version20250618:
		return nil, "elicitation (protocol revision 2025-06-18 or later)"
	case byURL && version < wire.Version20251125:
		return nil, "elicitation.url (protocol revision 2025-11-25 or later)"
	case !declares(caps, "elicitation/create", params):
		return nil, missingFor("elicitation/create", params)
	}
	o, err := wire.Fields(params)
	if err != nil {
		return nil, "elicitation.form"
	}
	p := wire.NewPatch(o)
	if byURL {
		if _, ok := o.Get("elicitationId"); !ok { // MCP 2026-07-28 dropped it; 2025-11-25 requires it
			p.Set("elicitationId", wire.AppendString(nil, rand.Text()))
		}
		return p.Bytes(), ""
	}
	if version < wire.Version20251125 {
		p.Remove("mode")
		if schema := fitSchema(o); schema != nil {
			p.Set("requestedSchema", schema)
		}
	}
	return p.Bytes(), ""
}

// fitSchema is requestedSchema for 2025-06-18, which knows a choice as enum
// and enumNames only (SEP-1330); nil where nothing has to change. What it can't
// say in those words, such as a choice of several values, stays as it is:
// agents offer older revisions than they understand, and a server that they
// reach without a gateway asks them the same.
func fitSchema(params wire.Object) (schema []byte) {
	raw, _ := params.Get("requestedSchema")
	o, err := wire.Fields(raw)
	if err != nil {
		return nil
	}
	properties, _ := o.Get("properties")
	all, err := wire.Fields(properties)
	if err != nil {
		return nil
	}
	p := wire.NewPatch(all)
	changed := false
	for _, m := range all.Members {
		property, err := wire.Fields(all.Raw[m.Start:m.End])
		if err != nil {
			continue
		}
		choices, titled := property.Get("oneOf")
		if !titled {
			continue
		}
		values, names, ok := titledChoices(choices)
		if !ok {
			continue
		}
		p.Set(m.Key, wire.NewPatch(property).Remove("oneOf").Set("enum", values).Set("enumNames", names).Bytes())
		changed = true
	}
	if !changed {
		return nil
	}
	return wire.NewPatch(o).Set("properties", p.Bytes()).Bytes()
}

// titledChoices splits [{"const":…,"title":…}, …] in two lists.
func titledChoices(raw []byte) (values, names []byte, ok bool) {
	all, err := wire.Elements(raw)
	if err != nil {
		return nil, nil, false
	}
	values, names = []byte{'['}, []byte{'['}
	for i, e := range all {
		o, err := wire.Fields(e)
		if err != nil {
			return nil, nil, false
		}
		value, ok := o.Get("const")
		if !ok {
			return nil, nil, false
		}
		name, ok := o.Get("title")
		if !ok {
			name = value
		}
		if i > 0 {
			values, names = append(values, ','), append(names, ',')
		}
		values, names = append(values, value...), append(names, name...)
	}
	return append(values, ']'), append(names, ']'), true
}

// needsTools reports whether a sampling request uses what sampling.tools
// declares.
func needsTools(params []byte) bool {
	o, err := wire.Fields(params)
	if err != nil {
		return false
	}
	_, tools := o.Get("tools")
	_, choice := o.Get("toolChoice")
	return tools || choice
}
