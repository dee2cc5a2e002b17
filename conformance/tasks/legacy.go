package tasks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// session is one legacy client.
type session struct {
	mu    sync.Mutex
	asked map[string]func(json.RawMessage) // by the id of our request
	get   *stream                          // for notifications/tasks/status
}

func (s *Server) session(r *http.Request) (*session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.sessions[r.Header.Get("Mcp-Session-Id")]
	return c, ok
}

func (s *Server) serveLegacy(w http.ResponseWriter, r *http.Request, m *request) {
	if m.Method == "initialize" {
		id := rand.Text()
		s.mu.Lock()
		s.sessions[id] = &session{asked: map[string]func(json.RawMessage){}}
		s.mu.Unlock()
		w.Header().Set("Mcp-Session-Id", id)
		writeJSON(w, http.StatusOK, encode(m.ID, object{
			"protocolVersion": legacyVersion,
			"capabilities": object{"tools": object{}, "tasks": object{
				"list": object{}, "cancel": object{}, "requests": object{"tools": object{"call": object{}}},
			}},
			"serverInfo": serverInfo,
		}, nil))
		return
	}
	c, ok := s.session(r)
	switch {
	case !ok && r.Header.Get("Mcp-Session-Id") == "":
		w.WriteHeader(http.StatusBadRequest)
		return
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		return
	case m.Method == "": // a response to a question of ours
		c.answered(m)
		w.WriteHeader(http.StatusAccepted)
		return
	case m.ID == nil:
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if t := s.find(m.Params.TaskID); m.Method == "tasks/result" && t != nil {
		s.taskResult(w, r, c, m, t)
		return
	}
	result, rpcErr := s.legacy(r, c, m)
	writeJSON(w, http.StatusOK, encode(m.ID, result, rpcErr))
}

func (s *Server) legacy(r *http.Request, c *session, m *request) (object, *rpcError) {
	switch m.Method {
	case "ping":
		return object{}, nil
	case "tools/list":
		return object{"tools": definitions(true)}, nil
	case "tools/call":
		return s.callLegacy(r, c, m)
	case "tasks/list":
		s.mu.Lock()
		defer s.mu.Unlock()
		all := []object{}
		for _, t := range s.tasks {
			all = append(all, t.legacy())
		}
		return object{"tasks": all}, nil
	case "tasks/get", "tasks/cancel", "tasks/result":
		t := s.find(m.Params.TaskID)
		if t == nil {
			return nil, fault(invalidParams, "task not found")
		}
		if m.Method == "tasks/cancel" && !t.stop() {
			return nil, fault(invalidParams, "the task has ended")
		}
		return t.legacy(), nil
	}
	return nil, fault(methodNotFound, "method %q not found", m.Method)
}

// callLegacy runs a tool: the client decides what becomes a task, as far as
// the tool allows it.
func (s *Server) callLegacy(r *http.Request, c *session, m *request) (object, *rpcError) {
	t := toolNamed(m.Params.Name)
	switch {
	case t == nil:
		return nil, fault(invalidParams, "unknown tool %q", m.Params.Name)
	case t.support == "required" && m.Params.Task == nil, t.support == "forbidden" && m.Params.Task != nil:
		return nil, fault(methodNotFound, "task support of this tool: %s", t.support)
	}
	do, rpcErr := t.prepare(s, m.Params.Arguments, "")
	if rpcErr != nil {
		return nil, rpcErr
	}
	if m.Params.Task == nil {
		return do(r.Context(), nil)
	}
	ttl := defaultTTL
	if asked := m.Params.Task.TTL; asked != nil {
		ttl = time.Duration(*asked) * time.Millisecond
	}
	created := s.start(t.name, ttl, do)
	s.work.Go(func() {
		follow(s.ctx.Done(), created, func() {
			c.notify(object{"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": created.legacy()})
		})
	})
	return object{"task": created.legacy()}, nil
}

// taskResult answers tasks/result when the task has ended. Until then the
// task's questions go out on its stream (MCP 2025-11-25, Tasks, Input Required
// Status).
func (s *Server) taskResult(w http.ResponseWriter, r *http.Request, c *session, m *request, t *task) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	related := object{metaRelated: object{"taskId": t.id}}
	out := openStream(w)
	asked := map[string]bool{}
	for {
		ended, questions, changed := t.state()
		if ended {
			break
		}
		for key, q := range questions {
			if asked[key] {
				continue
			}
			asked[key] = true
			params := object{"_meta": related}
			for k, v := range q["params"].(object) {
				params[k] = v
			}
			id := c.expect(ctx, func(answer json.RawMessage) { t.answer(map[string]json.RawMessage{key: answer}) })
			out.send(marshal(object{"jsonrpc": "2.0", "id": id, "method": q["method"], "params": params}))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
	t.mu.Lock()
	result, rpcErr, status := object{"_meta": related}, t.err, t.status
	for k, v := range t.result {
		result[k] = v
	}
	t.mu.Unlock()
	if status == "cancelled" {
		rpcErr = fault(internalError, "the task was cancelled")
	}
	out.send(encode(m.ID, result, rpcErr))
}

// expect waits for an answer until ctx ends; the id is the question's.
func (c *session) expect(ctx context.Context, take func(json.RawMessage)) string {
	id := rand.Text()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[id] = take
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asked, id)
	})
	return id
}

// answered takes a response. One that is an error counts as a question that
// was not answered: null.
func (c *session) answered(m *request) {
	var id string
	if json.Unmarshal(m.ID, &id) != nil {
		return
	}
	c.mu.Lock()
	take := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if take == nil {
		return
	}
	if m.Result == nil {
		m.Result = json.RawMessage("null")
	}
	take(m.Result)
}

// notifications is a session's GET stream; a new one takes over.
func (s *Server) notifications(w http.ResponseWriter, r *http.Request) {
	c, ok := s.session(r)
	if !ok {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	out := openStream(w)
	c.mu.Lock()
	c.get = out
	c.mu.Unlock()
	select {
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.get == out {
		c.get = nil
	}
}

func (c *session) notify(message object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.get != nil {
		c.get.send(marshal(message))
	}
}

func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, r.Header.Get("Mcp-Session-Id"))
	w.WriteHeader(http.StatusNoContent)
}
