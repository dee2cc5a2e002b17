// Package wire is the strict JSON-RPC, SSE and header layer under both doors:
// it parses a message once, refusing whatever two parsers could read
// differently, and edits raw JSON by splicing bytes, so that nothing it does
// not own is ever re-encoded. It hands its neighbours a [Message] whose fields
// alias the bytes that were received, and knows nothing of users, upstreams or
// policy.
package wire
