package tasks

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
)

// capabilities are what a modern request declares of its client.
type capabilities struct {
	Elicitation *json.RawMessage
	Extensions  map[string]json.RawMessage
}

func (c capabilities) tasks() bool { _, ok := c.Extensions[extension]; return ok }

func (s *Server) serveModern(w http.ResponseWriter, r *http.Request, m *request) {
	if m.ID == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	caps, rpcErr := check(r, m)
	if rpcErr == nil && m.Method == "subscriptions/listen" {
		if rpcErr = s.listen(w, r, m, caps); rpcErr == nil {
			return
		}
	}
	var result object
	if rpcErr == nil {
		result, rpcErr = s.modern(r, m, caps)
	}
	status := http.StatusOK
	switch {
	case rpcErr == nil:
		if _, ok := result["resultType"]; !ok {
			result["resultType"] = "complete"
		}
	case rpcErr.Code == methodNotFound:
		status = http.StatusNotFound
	case rpcErr.Code <= headerMismatch && rpcErr.Code >= unsupportedVersion, rpcErr.Code == invalidParams && caps == nil:
		status = http.StatusBadRequest
	}
	writeJSON(w, status, encode(m.ID, result, rpcErr))
}

// check holds a request against its headers and reads what its client can do.
func check(r *http.Request, m *request) (*capabilities, *rpcError) {
	var version string
	if err := json.Unmarshal(m.Params.Meta[metaVersion], &version); err != nil {
		return nil, fault(invalidParams, "_meta lacks %s", metaVersion)
	}
	raw, ok := m.Params.Meta[metaCapabilities]
	if !ok {
		return nil, fault(invalidParams, "_meta lacks %s", metaCapabilities)
	}
	want := map[string]string{"Mcp-Protocol-Version": version, "Mcp-Method": m.Method}
	switch m.Method {
	case "tools/call":
		want["Mcp-Name"] = m.Params.Name
	case "tasks/get", "tasks/update", "tasks/cancel": // SEP-2663, routing headers
		want["Mcp-Name"] = m.Params.TaskID
	}
	for name, value := range want {
		if r.Header.Get(name) != value {
			return nil, fault(headerMismatch, "%s does not match the body", name)
		}
	}
	if version != modernVersion {
		e := fault(unsupportedVersion, "unsupported protocol version")
		e.Data = object{"supported": []string{modernVersion, legacyVersion}, "requested": version}
		return nil, e
	}
	caps := new(capabilities)
	if err := json.Unmarshal(raw, caps); err != nil {
		return nil, fault(invalidParams, "_meta.%s is not an object of capabilities", metaCapabilities)
	}
	return caps, nil
}

func (s *Server) modern(r *http.Request, m *request, caps *capabilities) (object, *rpcError) {
	switch m.Method {
	case "server/discover":
		return cacheable(object{
			"supportedVersions": []string{modernVersion, legacyVersion},
			"capabilities":      object{"tools": object{}, "extensions": object{extension: object{}}},
			"_meta":             object{"io.modelcontextprotocol/serverInfo": serverInfo},
		}), nil
	case "tools/list":
		return cacheable(object{"tools": definitions(false)}), nil
	case "tools/call":
		return s.callModern(r, m, caps)
	case "tasks/get", "tasks/update", "tasks/cancel":
		if !caps.tasks() {
			return nil, needs(object{"extensions": object{extension: object{}}})
		}
		t := s.find(m.Params.TaskID)
		switch {
		case t == nil:
			return nil, fault(invalidParams, "task not found")
		case m.Method == "tasks/get":
			return t.modern(true), nil
		case m.Method == "tasks/update":
			t.answer(m.Params.InputResponses)
		default:
			t.stop()
		}
		return object{}, nil
	}
	return nil, fault(methodNotFound, "method %q not found", m.Method)
}

// callModern runs a tool: the server decides what becomes a task.
func (s *Server) callModern(r *http.Request, m *request, caps *capabilities) (object, *rpcError) {
	t := toolNamed(m.Params.Name)
	if t == nil {
		return nil, fault(invalidParams, "unknown tool %q", m.Params.Name)
	}
	if !caps.tasks() && t.support == "required" {
		return nil, needs(object{"extensions": object{extension: object{}}})
	}
	var name string
	if t.asks {
		name, _ = accepted(m.Params.InputResponses["user_name"])["name"].(string)
		if name == "" && caps.Elicitation == nil {
			return nil, needs(object{"elicitation": object{}})
		}
		if name == "" { // SEP-2663: what is asked before the task is asked the ordinary way
			return object{"resultType": "input_required", "requestState": "asked", "inputRequests": object{"user_name": askName}}, nil
		}
	}
	do, rpcErr := t.prepare(s, m.Params.Arguments, name)
	if rpcErr != nil {
		return nil, rpcErr
	}
	var a arguments
	_ = json.Unmarshal(m.Params.Arguments, &a) // prepare refused what can't be read
	if !caps.tasks() || t.support == "forbidden" || t.name == "slow_compute" && a.Seconds == 0 {
		return do(r.Context(), nil)
	}
	created := s.start(t.name, defaultTTL, do).modern(false)
	created["resultType"] = "task"
	return created, nil
}

// listen follows tasks on a subscriptions/listen stream.
func (s *Server) listen(w http.ResponseWriter, r *http.Request, m *request, caps *capabilities) *rpcError {
	if len(m.Params.Notifications.TaskIDs) > 0 && !caps.tasks() {
		return needs(object{"extensions": object{extension: object{}}})
	}
	var followed []*task
	ids := []string{}
	for _, id := range m.Params.Notifications.TaskIDs {
		if t := s.find(id); t != nil {
			followed, ids = append(followed, t), append(ids, id)
		}
	}
	meta := object{metaSubscription: m.ID}
	out := openStream(w)
	out.send(marshal(object{"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
		"params": object{"_meta": meta, "notifications": object{"taskIds": ids}}}))
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	var following sync.WaitGroup
	defer following.Wait() // nothing is written once the handler is back
	for _, t := range followed {
		following.Go(func() {
			follow(ctx.Done(), t, func() {
				params := t.modern(true)
				params["_meta"] = meta
				out.send(marshal(object{"jsonrpc": "2.0", "method": "notifications/tasks", "params": params}))
			})
		})
	}
	<-ctx.Done()
	return nil
}

// follow calls changed after each change of t, until it ends or gone is closed.
func follow(gone <-chan struct{}, t *task, changed func()) {
	_, _, more := t.state()
	for {
		select {
		case <-more:
		case <-gone:
			return
		}
		var ended bool
		ended, _, more = t.state()
		changed()
		if ended {
			return
		}
	}
}

func needs(capabilities object) *rpcError {
	e := fault(missingCapability, "missing required client capability")
	e.Data = object{"requiredCapabilities": capabilities}
	return e
}

func cacheable(result object) object {
	result["ttlMs"], result["cacheScope"] = 60000, "public"
	return result
}
