package wire

// Error codes of JSON-RPC 2.0 (section 5.1) and of MCP. The gateway's own
// codes are gateway's business; they lie outside -32768..-32000.
const (
	CodeParse          int64 = -32700 // not JSON
	CodeInvalidRequest int64 = -32600
	CodeMethodNotFound int64 = -32601
	CodeInvalidParams  int64 = -32602
	CodeInternal       int64 = -32603

	CodeHeaderMismatch     int64 = -32020 // MCP 2026-07-28: headers and body differ
	CodeMissingCapability  int64 = -32021 // MCP 2026-07-28: data.requiredCapabilities
	CodeUnsupportedVersion int64 = -32022 // MCP 2026-07-28: data.supported, data.requested

	CodeLegacyNotFound       int64 = -32002 // resource not found, up to 2025-11-25; never in a modern answer
	CodeLegacyURLElicitation int64 = -32042 // 2025-11-25; never in a modern answer
)
