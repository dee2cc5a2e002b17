package federation

import "github.com/ostiary/ostiary/gateway/wire"

// withoutApp is a tool's definition without the resource that its MCP App is
// (SEP-1865): an app's HTML calls tools by its server's own names, which mean
// nothing in the merged namespace, so no host shall try there. What says who
// may see the tool stays: without it hosts would offer a model what is meant
// for the app alone.
func withoutApp(tool wire.Object) wire.Object {
	meta, ok := member(tool, "_meta")
	if !ok {
		return tool
	}
	_, flat := meta.Get("ui/resourceUri") // the older form
	ui, nested := member(meta, "ui")
	if nested {
		_, nested = ui.Get("resourceUri")
	}
	if !flat && !nested {
		return tool
	}
	left := wire.NewPatch(meta).Remove("ui/resourceUri")
	if nested {
		if len(ui.Members) == 1 {
			left.Remove("ui")
		} else {
			left.Set("ui", wire.NewPatch(ui).Remove("resourceUri").Bytes())
		}
	}
	p := wire.NewPatch(tool).Set("_meta", left.Bytes())
	if o, err := wire.Fields(left.Bytes()); err == nil && len(o.Members) == 0 {
		p.Remove("_meta")
	}
	o, err := wire.Fields(p.Bytes())
	if err != nil {
		return tool
	}
	return o
}
