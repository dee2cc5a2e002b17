package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// modernVersion is the revision whose requests describe themselves; the other
// versions begin with initialize.
const modernVersion = "2026-07-28"

var legacyVersions = []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// Reserved keys of _meta (MCP 2026-07-28, Basic protocol).
const (
	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	metaServer       = "io.modelcontextprotocol/serverInfo"
)

// JSON-RPC error codes that this server uses.
const (
	parseError         = -32700
	invalidRequest     = -32600
	methodNotFound     = -32601
	invalidParams      = -32602
	unsupportedVersion = -32022 // MCP 2026-07-28
)

type object = map[string]any

type request struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"` // echoed as written
	Method  string          `json:"method"`
	Params  struct {
		Meta            map[string]json.RawMessage `json:"_meta"`
		ProtocolVersion string                     `json:"protocolVersion"`
		Name            string                     `json:"name"`
		Arguments       json.RawMessage            `json:"arguments"`
	} `json:"params"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

var serverInfo = object{"name": "hello", "title": "Hello", "version": "1.0.0"}

const instructions = "Two tools to try a connection: echo gives your text back, time tells the time in UTC."

// handle is the answer to one message, or nil where none is due.
func handle(line []byte, now time.Time) []byte {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		if json.Valid(line) {
			return encode(nil, nil, &rpcError{Code: invalidRequest, Message: "not a JSON-RPC request"})
		}
		return encode(nil, nil, &rpcError{Code: parseError, Message: "not JSON"})
	}
	if r.Method == "" { // a response: this server asked nothing
		return nil
	}
	if r.ID == nil { // a notification
		return nil
	}
	result, rpcErr := r.answer(now)
	return encode(r.ID, result, rpcErr)
}

// answer chooses the era by the request's own marker, never by its method.
func (r *request) answer(now time.Time) (object, *rpcError) {
	marker, modern := r.Params.Meta[metaVersion]
	if !modern {
		return r.legacy(now)
	}
	var version string
	if err := json.Unmarshal(marker, &version); err != nil || version != modernVersion {
		return nil, &rpcError{
			Code:    unsupportedVersion,
			Message: "unsupported protocol version",
			Data:    object{"supported": append([]string{modernVersion}, legacyVersions...), "requested": marker},
		}
	}
	if _, ok := r.Params.Meta[metaCapabilities]; !ok {
		return nil, &rpcError{Code: invalidParams, Message: "_meta lacks " + metaCapabilities}
	}
	result, rpcErr := r.modern(now)
	if rpcErr == nil {
		result["resultType"] = "complete"
		result["_meta"] = object{metaServer: serverInfo}
	}
	return result, rpcErr
}

func (r *request) modern(now time.Time) (object, *rpcError) {
	switch r.Method {
	case "server/discover":
		return cacheable(object{
			"supportedVersions": append([]string{modernVersion}, legacyVersions...),
			"capabilities":      object{"tools": object{}},
			"instructions":      instructions,
		}), nil
	case "tools/list":
		return cacheable(object{"tools": tools}), nil
	case "tools/call":
		return call(r.Params.Name, r.Params.Arguments, now)
	}
	return nil, unknownMethod(r.Method)
}

func (r *request) legacy(now time.Time) (object, *rpcError) {
	switch r.Method {
	case "initialize":
		version := r.Params.ProtocolVersion
		if !slices.Contains(legacyVersions, version) {
			version = legacyVersions[0]
		}
		return object{
			"protocolVersion": version,
			"capabilities":    object{"tools": object{}},
			"serverInfo":      serverInfo,
			"instructions":    instructions,
		}, nil
	case "ping":
		return object{}, nil
	case "tools/list":
		return object{"tools": tools}, nil
	case "tools/call":
		return call(r.Params.Name, r.Params.Arguments, now)
	}
	return nil, unknownMethod(r.Method)
}

// cacheable says that an answer is everyone's and holds for an hour: nothing
// here ever changes.
func cacheable(result object) object {
	result["ttlMs"] = time.Hour.Milliseconds()
	result["cacheScope"] = "public"
	return result
}

func unknownMethod(method string) *rpcError {
	return &rpcError{Code: methodNotFound, Message: fmt.Sprintf("method %q not found", method)}
}

func encode(id json.RawMessage, result object, rpcErr *rpcError) []byte {
	answer := object{"jsonrpc": "2.0", "id": id}
	if rpcErr != nil {
		answer["error"] = rpcErr
	} else {
		answer["result"] = result
	}
	b, err := json.Marshal(answer)
	if err != nil { // only an id that is not JSON could do this, and it was parsed
		return []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"internal error"}}`)
	}
	return b
}
