package tasks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

type object = map[string]any

// request is what of a message is looked at.
type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"` // of a response
	Error  json.RawMessage `json:"error"`
	Params struct {
		Meta            map[string]json.RawMessage `json:"_meta"`
		Name            string                     `json:"name"`
		Arguments       json.RawMessage            `json:"arguments"`
		TaskID          string                     `json:"taskId"`
		Task            *struct{ TTL *int64 }      `json:"task"` // MCP 2025-11-25
		InputResponses  map[string]json.RawMessage `json:"inputResponses"`
		ProtocolVersion string                     `json:"protocolVersion"`
		Notifications   struct {
			TaskIDs []string `json:"taskIds"`
		} `json:"notifications"`
	} `json:"params"`
}

// Error codes of JSON-RPC and of MCP.
const (
	invalidRequest     = -32600
	methodNotFound     = -32601
	invalidParams      = -32602
	internalError      = -32603
	headerMismatch     = -32020
	missingCapability  = -32021
	unsupportedVersion = -32022
)

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

func fault(code int, format string, args ...any) *rpcError {
	return &rpcError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// encode is the response with this outcome.
func encode(id json.RawMessage, result object, rpcErr *rpcError) []byte {
	answer := object{"jsonrpc": "2.0", "id": id}
	if rpcErr != nil {
		answer["error"] = rpcErr
	} else {
		answer["result"] = result
	}
	return marshal(answer)
}

// marshal is v as JSON, characters of HTML as they are.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // nothing here is of a type that JSON lacks
		return []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"internal error"}}`)
	}
	return bytes.TrimSpace(b.Bytes())
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body)
}

// stream is one event stream. Safe for concurrent use.
type stream struct {
	mu sync.Mutex
	w  http.ResponseWriter
}

func openStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	s := &stream{w: w}
	s.flush()
	return s
}

// send writes one message; a client that is gone gets nothing.
func (s *stream) send(message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "data: %s\n\n", message)
	s.flush()
}

func (s *stream) flush() {
	if f, ok := s.w.(http.Flusher); ok {
		f.Flush()
	}
}
