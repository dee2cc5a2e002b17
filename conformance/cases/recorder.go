package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// Recorder is an upstream that does nothing but remember what reached it. It
// speaks both eras over Streamable HTTP: modern requests as they come, legacy
// ones after initialize. It offers three tools:
//
//	echo    gives its arguments back as text, byte for byte
//	region  has parameters that modern clients mirror into Mcp-Param-Region
//	        (a string) and Mcp-Param-Count (an integer)
//	other   a second target, to tell which of two was meant
//
// The zero value is ready. It is safe for concurrent use.
type Recorder struct {
	mu       sync.Mutex
	hits     []Hit
	sessions int
}

// Hit is one request that acted: not a list, not a handshake.
type Hit struct {
	Method string
	Body   []byte
	Header http.Header
}

// Hits are the requests that acted so far, oldest first.
func (rec *Recorder) Hits() []Hit {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return slices.Clone(rec.hits)
}

// acting are the methods that do something at an upstream.
var acting = []string{"tools/call", "prompts/get", "resources/read", "completion/complete"}

const recorderTools = `[` +
	`{"name":"echo","description":"Gives its arguments back.","inputSchema":{"type":"object"}},` +
	`{"name":"other","description":"Another tool.","inputSchema":{"type":"object"}},` +
	`{"name":"region","description":"Has mirrored parameters.","inputSchema":{"type":"object","properties":{` +
	`"region":{"type":"string","x-mcp-header":"Region"},"count":{"type":"integer","x-mcp-header":"Count"}}}}]`

func (rec *Recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
	case http.MethodDelete:
		return
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var m struct {
		ID     json.RawMessage
		Method string
		Params struct {
			Name      string
			Arguments json.RawMessage
			Meta      map[string]json.RawMessage `json:"_meta"`
		}
	}
	if err := json.Unmarshal(body, &m); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	_, modern := m.Params.Meta["io.modelcontextprotocol/protocolVersion"]
	if slices.Contains(acting, m.Method) {
		rec.mu.Lock()
		rec.hits = append(rec.hits, Hit{Method: m.Method, Body: body, Header: r.Header.Clone()})
		rec.mu.Unlock()
	}

	// head is what a complete modern result has; the lists add cache hints.
	head, hints := "", ""
	if modern {
		head, hints = `"resultType":"complete",`, `"ttlMs":60000,"cacheScope":"public",`
	}
	capabilities := `"capabilities":{"tools":{}}`
	var result, rpcErr string
	switch m.Method {
	case "server/discover":
		if !modern {
			rpcErr = `{"code":-32601,"message":"method not found"}`
			break
		}
		result = `{` + head + hints + `"supportedVersions":["2026-07-28"],` + capabilities + `}`
	case "initialize":
		rec.mu.Lock()
		rec.sessions++
		w.Header().Set("Mcp-Session-Id", fmt.Sprintf("recorder-%d", rec.sessions))
		rec.mu.Unlock()
		result = `{"protocolVersion":"2025-11-25",` + capabilities + `,"serverInfo":{"name":"recorder","version":"1"}}`
	case "ping":
		result = `{}`
	case "tools/list":
		result = `{` + head + hints + `"tools":` + recorderTools + `}`
	case "tools/call":
		text, err := json.Marshal(string(m.Params.Arguments))
		if err != nil {
			text = []byte(`""`)
		}
		result = `{` + head + `"content":[{"type":"text","text":` + string(text) + `}]}`
	default:
		rpcErr = `{"code":-32601,"message":"method not found"}`
	}
	w.Header().Set("Content-Type", "application/json")
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"jsonrpc":"2.0","id":%s,`, m.ID)
	if rpcErr != "" {
		fmt.Fprintf(&b, `"error":%s}`, rpcErr)
		if modern {
			w.WriteHeader(http.StatusNotFound)
		}
	} else {
		fmt.Fprintf(&b, `"result":%s}`, result)
	}
	_, _ = w.Write(b.Bytes()) // a client that is gone is no news here
}
