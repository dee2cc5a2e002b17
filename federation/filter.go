package federation

import (
	"slices"
	"strings"

	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	toolsChanged     = "notifications/tools/list_changed"
	promptsChanged   = "notifications/prompts/list_changed"
	resourcesChanged = "notifications/resources/list_changed"
)

// kinds are the list_changed notifications that the filter asks for.
func (f *listenFilter) kinds() []string {
	var kinds []string
	for _, k := range []struct {
		on     bool
		method string
	}{{f.Tools, toolsChanged}, {f.Prompts, promptsChanged}, {f.Resources, resourcesChanged}} {
		if k.on {
			kinds = append(kinds, k.method)
		}
	}
	return kinds
}

// params is the filter as subscriptions/listen takes it.
func (f *listenFilter) params() []byte {
	dst := []byte{'{'}
	for _, k := range []struct {
		on  bool
		key string
	}{{f.Tools, "toolsListChanged"}, {f.Prompts, "promptsListChanged"}, {f.Resources, "resourcesListChanged"}} {
		if k.on {
			dst = append(comma(dst, 1), `"`+k.key+`":true`...)
		}
	}
	if len(f.URIs) > 0 {
		dst = append(comma(dst, 1), `"resourceSubscriptions":[`...)
		for n, uri := range f.URIs {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = wire.AppendString(dst, uri)
		}
		dst = append(dst, ']')
	}
	if len(f.Tasks) > 0 { // SEP-2663, task status notifications
		dst = append(comma(dst, 1), `"taskIds":[`...)
		for n, id := range f.Tasks {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = wire.AppendString(dst, id)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// wants says whether a notification is one that the filter asks for: an
// upstream's word alone does not make it so.
func (f *listenFilter) wants(m *wire.Message) bool {
	switch m.Method {
	case toolsChanged:
		return f.Tools
	case promptsChanged:
		return f.Prompts
	case resourcesChanged:
		return f.Resources
	case methodUpdated:
		uri, _ := m.Params.String("uri")
		for _, u := range f.URIs {
			// A server may report a part of what was subscribed to (MCP,
			// Resources, Subscriptions: sub-resources).
			if uri == u || strings.HasPrefix(uri, strings.TrimSuffix(u, "/")+"/") {
				return true
			}
		}
	case MethodTask, MethodTaskStatus:
		id, ok := m.Params.String("taskId")
		return ok && slices.Contains(f.Tasks, id)
	}
	return false
}

// withoutSubscription takes our subscription id out of a notification: ids
// are each side's own.
func withoutSubscription(params wire.Object) []byte {
	raw, ok := params.Get("_meta")
	if !ok {
		return params.Raw
	}
	meta, err := wire.Fields(raw)
	if err != nil {
		return params.Raw
	}
	if len(meta.Members) == 1 && meta.Members[0].Key == wire.MetaSubscription {
		return wire.NewPatch(params).Remove("_meta").Bytes()
	}
	return wire.NewPatch(params).Set("_meta", wire.NewPatch(meta).Remove(wire.MetaSubscription).Bytes()).Bytes()
}
