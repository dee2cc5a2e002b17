// Package federation is the inner door: live connections to upstream MCP
// servers and the one namespace that they make together. It never sees an
// inbound request: what an agent wants arrives here as a Call.
package federation
