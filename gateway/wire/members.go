package wire

import (
	"maps"
	"slices"

	"github.com/mark3labs/mcp-go/mcp"
)

// The members whose case variants are refused: a peer that matches names
// without regard to case (encoding/json does) would read another value than we
// judged. Matching is by Unicode simple folding, so that "paramſ" (U+017F)
// counts as a variant of "params".
var (
	envelopeMembers = foldSet("jsonrpc", "id", "method", "params", "result", "error")

	// Of a response's error.
	errorMembers = foldSet("code", "message", "data")

	// Of params, for all methods of all revisions together: no method uses two
	// members that differ only in case.
	paramsMembers = foldSet(
		"_meta", "name", "arguments", "uri", "cursor", // tools, prompts, resources, lists
		"ref", "argument", "context", // completion/complete
		"inputResponses", "requestState", // multi round trip
		"protocolVersion", "capabilities", "clientInfo", // initialize
		"task", "taskId", // tasks
		"level", "logger", "data", // logging
		"notifications",       // subscriptions/listen
		"requestId", "reason", // notifications/cancelled
		"progressToken", "progress", "total", "message", // notifications/progress
		"mode", "requestedSchema", "url", "elicitationId", // elicitation/create
		"messages", "modelPreferences", "systemPrompt", "includeContext", "temperature",
		"maxTokens", "stopSequences", "metadata", "tools", "toolChoice", // sampling/createMessage
	)

	// Of params._meta: what the revisions and SEP-414 (trace context) reserve.
	metaMembers = foldSet(
		"progressToken", "traceparent", "tracestate", "baggage",
		mcp.MetaKeyProtocolVersion, mcp.MetaKeyClientInfo, mcp.MetaKeyClientCapabilities,
		mcp.MetaKeyServerInfo, mcp.MetaKeyLogLevel, mcp.MetaKeySubscriptionID,
		"io.modelcontextprotocol/related-task",
	)

	// Of the objects inside params that name a target or a filter, one level
	// deeper than the others: the decision reads these as well.
	nestedMembers = map[string]map[string]string{
		"ref":           foldSet("type", "name", "uri"),
		"argument":      foldSet("name", "value"),
		"context":       foldSet("arguments"),
		"task":          foldSet("taskId", "ttl", "ttlMs", "pollInterval", "pollIntervalMs"),
		"notifications": foldSet("toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions", "taskIds"),
	}

	// words maps every name above, every method and some frequent names to
	// themselves: a lookup by bytes gives the string without making one. No two
	// words are case variants of each other, so a key that is a word is a
	// variant of no member.
	words = wordSet()
)

// methods are those that messages of the common kinds carry.
var methods = []string{
	"initialize", "notifications/initialized", "ping", "server/discover", "logging/setLevel",
	"tools/list", "tools/call", "prompts/list", "prompts/get",
	"resources/list", "resources/templates/list", "resources/read", "resources/subscribe", "resources/unsubscribe",
	"completion/complete", "subscriptions/listen",
	"tasks/get", "tasks/update", "tasks/cancel", "tasks/list", "tasks/result",
	"elicitation/create", "sampling/createMessage", "roots/list",
	"notifications/cancelled", "notifications/progress", "notifications/message",
	"notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed",
	"notifications/resources/updated", "notifications/roots/list_changed", "notifications/elicitation/complete",
	"notifications/subscriptions/acknowledged", "notifications/tasks", "notifications/tasks/status",
}

func wordSet() map[string]string {
	set := make(map[string]string)
	add := func(names []string) {
		for _, n := range names {
			set[n] = n
		}
	}
	for _, s := range []map[string]string{envelopeMembers, paramsMembers, metaMembers} {
		add(slices.Collect(maps.Values(s)))
	}
	for _, s := range nestedMembers {
		add(slices.Collect(maps.Values(s)))
	}
	// Frequent names of results and definitions.
	add([]string{"content", "contents", "text", "title", "description", "inputSchema", "outputSchema", "annotations",
		"mimeType", "resource", "resources", "resourceTemplates", "uriTemplate", "prompts", "isError",
		"structuredContent", "nextCursor", "resultType", "ttlMs", "cacheScope", "code", "properties", "required", "items"})
	add(methods)
	add(Versions())
	add([]string{"2.0", "resource_link"})
	return set
}

// foldSet maps the folded form of each name to the name.
func foldSet(names ...string) map[string]string {
	set := make(map[string]string, len(names))
	for _, n := range names {
		set[string(appendFolded(nil, n))] = n
	}
	return set
}
