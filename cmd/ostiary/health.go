package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/store/audit"
)

// healthz says that the process answers, and nothing else.
func healthz(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusNotFound, map[string]string{"error": "not found"})
}

func answerJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	// The peer may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(v)
}

// readiness answers /readyz: may new work be sent here. It names no upstream,
// address or version, since it is on the agents' network. Safe for concurrent
// use.
type readiness struct {
	audit  audit.Sink
	store  interface{ Err() error }
	status func() []federation.Status
	signs  interface{ CheckpointErr() error } // nil = nothing is signed

	mu       sync.Mutex
	closing  bool
	catalog  string // what is wrong with the files; the last good ones serve
	policies string // likewise
}

// close makes the answer "not ready" for good.
func (r *readiness) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
}

// setCatalog keeps what is wrong with the catalog now; "" is nothing.
func (r *readiness) setCatalog(problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.catalog = problem
}

// setPolicies keeps what is wrong with the policies now; "" is nothing.
func (r *readiness) setPolicies(problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.policies = problem
}

func (r *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	r.mu.Lock()
	closing, catalog, policies := r.closing, r.catalog, r.policies
	r.mu.Unlock()

	answer := struct {
		Status string         `json:"status"`
		Checks map[string]any `json:"checks"`
	}{"ready", map[string]any{"audit": "ok", "store": "ok", "catalog": "ok", "policies": "ok", "upstreams": r.counts()}}
	code := http.StatusOK
	if r.signs != nil {
		// Calls go on: what was not copied yet is, later.
		answer.Checks["checkpoints"] = "ok"
		if r.signs.CheckpointErr() != nil {
			answer.Checks["checkpoints"] = "failing; the log says which"
		}
	}
	if catalog != "" {
		answer.Checks["catalog"] = catalog
	}
	if policies != "" {
		answer.Checks["policies"] = policies
	}
	if err := r.audit.Err(); err != nil {
		// Without the log every call is refused: send work elsewhere.
		answer.Checks["audit"] = "unavailable"
		code = http.StatusServiceUnavailable
	}
	if err := r.store.Err(); err != nil {
		// Nobody can sign in, and nothing can be revoked.
		answer.Checks["store"] = "unavailable"
		code = http.StatusServiceUnavailable
	}
	if closing {
		answer.Checks["server"] = "shutting down"
		code = http.StatusServiceUnavailable
	}
	if code != http.StatusOK {
		answer.Status = "not ready"
	}
	answerJSON(w, code, answer)
}

// counts tells upstreams by state, not by name. A down upstream is that
// upstream's trouble: the gateway stays ready.
func (r *readiness) counts() map[string]int {
	n := map[string]int{}
	for _, s := range r.status() {
		n[s.State]++
	}
	return n
}

// catalogProblem is the text for /readyz: how many problems, not which. The
// log has them.
func catalogProblem(n int) string {
	return fmt.Sprintf("%s in the files; the last good catalog serves, the log says what and where", plural(n, "problem"))
}
