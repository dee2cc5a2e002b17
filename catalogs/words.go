package catalogs

import (
	"regexp"
	"slices"
	"strings"
)

// transports are the words of the field for the same few things.
var transports = map[string]Transport{
	"auto":            Auto,
	"http":            StreamableHTTP,
	"streamable-http": StreamableHTTP,
	"streamable_http": StreamableHTTP,
	"streamableHttp":  StreamableHTTP,
	"sse":             SSE,
	"stdio":           Stdio,
}

func (e *entry) readTransport(v value) {
	s, ok := v.text()
	if !ok {
		return
	}
	if e.Transport, ok = transports[s]; !ok {
		v.problem("is not a transport that is known here", "write auto, streamable-http, sse or stdio")
	}
}

// No underscore: the first double one in a merged name ends the prefix.
var prefixForm = regexp.MustCompile(`^[A-Za-z0-9-]*$`)

func (e *entry) readPrefix(v value) {
	s, ok := v.text()
	switch {
	case !ok:
	case len(s) > MaxPrefix:
		v.problem("is longer than 32 characters", "shorten it")
	case !prefixForm.MatchString(s):
		v.problem("may hold letters, digits and - alone", "an underscore cannot be told from the separator __; use - instead")
	case slices.Contains(reserved, strings.ToLower(s)):
		v.problem("is reserved for the gateway itself", "choose another word")
	default:
		e.Prefix = s
	}
}

var labelForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]*$`)

// readLabels keeps the order and drops repetitions, which change nothing.
func readLabels(v value) (labels []string) {
	v.list(func(item value) {
		s, ok := item.text()
		switch {
		case !ok:
		case len(s) > MaxLabel:
			item.problem("is longer than 64 characters", "shorten the label")
		case !labelForm.MatchString(s):
			item.problem("may hold letters, digits and . _ : / - alone, a letter or digit first", "write a plain word, such as private-read")
		case !slices.Contains(labels, s):
			labels = append(labels, s)
		}
	})
	return labels
}

func (e *entry) readTools(v value) {
	e.Tools = map[string]Tool{}
	v.mapping(func(name string, k, val value) {
		if name == "" || len(name) > MaxToolName {
			k.problem("a tool's name has between 1 and 256 bytes", "write the name that the upstream lists")
			return
		}
		if val.null() {
			val.problem("has no value", "give it labels or a timeout, or drop the key")
			return
		}
		var t Tool
		readFields(val, &t, toolFields)
		e.Tools[name] = t
	})
}

func (e *entry) readSharing(v value) {
	switch s, ok := v.text(); {
	case !ok:
	case s == "shared":
		e.Shared = true
	case s != "principal":
		v.problem("must be principal or shared", "principal gives each user connections of their own; shared is one for all")
	}
}

func (e *entry) readApps(v value) {
	switch s, ok := v.text(); {
	case !ok:
	case s == "merged":
		e.MergedApps = true
	case s != "direct":
		v.problem("must be direct or merged", "direct shows MCP Apps at /mcp/{upstream} alone; merged shows them at /mcp too")
	}
}

// MCP 2025-06-18, Basic, _meta: an optional prefix of dotted labels and a
// slash, then a name.
var metaKey = regexp.MustCompile(`^([A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

func (e *entry) readMeta(v value) {
	v.list(func(item value) {
		s, ok := item.text()
		switch {
		case !ok:
		case len(s) > MaxMetaKey || !metaKey.MatchString(s):
			item.problem("cannot be a key of _meta", "write the key in full, such as com.example/trace")
		case s == "progressToken":
			item.problem("belongs to the gateway", "drop it: progress travels without it")
		case !slices.Contains(e.Meta, s):
			e.Meta = append(e.Meta, s)
		}
	})
}
