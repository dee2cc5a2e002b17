// Package tasks is a small MCP server whose tools run as tasks: the Tasks
// extension of MCP 2026-07-28 (SEP-2663) and the tasks of MCP 2025-11-25, over
// Streamable HTTP on one URL. It is the fixture for everything that concerns
// tasks; its tools have the names that the public conformance suite calls.
package tasks

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	modernVersion = "2026-07-28"
	legacyVersion = "2025-11-25"

	metaVersion      = "io.modelcontextprotocol/protocolVersion"
	metaCapabilities = "io.modelcontextprotocol/clientCapabilities"
	metaSubscription = "io.modelcontextprotocol/subscriptionId"
	metaRelated      = "io.modelcontextprotocol/related-task"
	extension        = "io.modelcontextprotocol/tasks"

	maxBody = 1 << 20
)

var serverInfo = object{"name": "taskserver", "title": "Tasks", "version": "1.0.0"}

// Server serves both eras at once. Close it when it is no longer needed.
type Server struct {
	// Era, set before the first request, is the only one served: legacy or
	// modern; "" is both.
	Era string

	second time.Duration
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	tasks    map[string]*task
	sessions map[string]*session
}

// New makes a Server; second is how long a second of its tools lasts.
func New(second time.Duration) *Server {
	s := &Server{second: second, tasks: map[string]*task{}, sessions: map[string]*session{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends all jobs.
func (s *Server) Close() {
	s.cancel()
	s.work.Wait()
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !local(r) {
		http.Error(w, "foreign host or origin", http.StatusForbidden)
		return
	}
	switch r.Method {
	case http.MethodPost:
	case http.MethodGet:
		s.notifications(w, r)
		return
	case http.MethodDelete:
		s.endSession(w, r)
		return
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	var m request
	if err := json.Unmarshal(body, &m); err != nil {
		writeJSON(w, http.StatusBadRequest, encode(nil, nil, fault(invalidRequest, "not a JSON-RPC message")))
		return
	}
	// The era is in the markers, never in the method.
	_, marked := m.Params.Meta[metaVersion]
	modern := marked || r.Header.Get("Mcp-Protocol-Version") >= modernVersion
	switch {
	case modern && s.Era == "legacy", !modern && s.Era == "modern": // as a server of the other era alone would
		w.WriteHeader(http.StatusBadRequest)
	case modern:
		s.serveModern(w, r, &m)
	default:
		s.serveLegacy(w, r, &m)
	}
}

// local stops pages of other origins (DNS rebinding): this server is for the
// machine that it runs on.
func local(r *http.Request) bool {
	names := []string{r.Host}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil {
			return false
		}
		names = append(names, u.Host)
	}
	for _, name := range names {
		if h, _, err := net.SplitHostPort(name); err == nil {
			name = h
		}
		if name != "localhost" && name != "127.0.0.1" && name != "::1" {
			return false
		}
	}
	return true
}
