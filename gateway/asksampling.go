package gateway

import "github.com/ostiary/ostiary/gateway/wire"

// fitSampling makes the params of sampling/createMessage those of a revision
// before 2025-11-25, whose messages have one content block each, not a list
// (SEP-1577): a message of several becomes as many of the same role. missing is
// what can't be said so.
func fitSampling(version string, params []byte) (fitted []byte, missing string) {
	const lacks = "sampling.tools (protocol revision 2025-11-25 or later)"
	if needsTools(params) {
		return nil, lacks
	}
	o, err := wire.Fields(params)
	if err != nil {
		return params, ""
	}
	raw, _ := o.Get("messages")
	messages, err := wire.Elements(raw)
	if err != nil {
		return params, ""
	}
	var all [][]byte
	changed := false
	for _, raw := range messages {
		message, err := wire.Fields(raw)
		if err != nil {
			return params, ""
		}
		content, _ := message.Get("content")
		blocks, err := wire.Elements(content)
		listed := err == nil
		if !listed {
			blocks = [][]byte{content}
		}
		for _, block := range blocks {
			b, err := wire.Fields(block)
			if kind, _ := b.String("type"); err == nil && (kind == "tool_use" || kind == "tool_result") {
				return nil, lacks
			}
			fitted := fitContent(block, version)
			if fitted != nil {
				block = fitted
			}
			if listed || fitted != nil {
				raw, changed = wire.NewPatch(message).Set("content", block).Bytes(), true
			}
			all = append(all, raw)
		}
		changed = changed || listed
	}
	if !changed {
		return params, ""
	}
	return wire.NewPatch(o).Set("messages", array(all)).Bytes(), ""
}
