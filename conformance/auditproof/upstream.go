package main

import (
	"encoding/json"
	"net/http"
	"sync"
)

// upstream is an MCP server with one tool, which remembers the ids it is
// called with. It never dies: what it remembers is what really ran.
type upstream struct {
	mu   sync.Mutex
	hits map[string]int
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.hits)
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params struct {
			ProtocolVersion string            `json:"protocolVersion"`
			Arguments       map[string]string `json:"arguments"`
		} `json:"params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, "not JSON", http.StatusBadRequest)
		return
	}
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	answer := map[string]any{"jsonrpc": "2.0", "id": m.ID}
	switch m.Method {
	case "initialize":
		answer["result"] = map[string]any{
			"protocolVersion": m.Params.ProtocolVersion, "capabilities": map[string]any{"tools": map[string]any{}},
			"serverInfo": map[string]string{"name": "hits", "version": "1"},
		}
	case "tools/list":
		answer["result"] = map[string]any{"tools": []any{map[string]any{
			"name": "hit", "inputSchema": map[string]any{"type": "object", "properties": map[string]any{"id": map[string]string{"type": "string"}}},
		}}}
	case "tools/call":
		u.mu.Lock()
		u.hits[m.Params.Arguments["id"]]++
		u.mu.Unlock()
		answer["result"] = map[string]any{"content": []any{map[string]string{"type": "text", "text": "done"}}}
	case "ping":
		answer["result"] = map[string]any{}
	default:
		answer["error"] = map[string]any{"code": -32601, "message": "method not found"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the gateway may have been killed
}
