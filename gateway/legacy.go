package gateway

import (
	"context"
	"errors"
	"net/http"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// serveLegacy serves one message of a session (MCP 2025-11-25 and earlier).
func (x *exchange) serveLegacy(w http.ResponseWriter, r *http.Request) {
	if !x.endpointExists() {
		x.answerHTTP(w, refuse(http.StatusNotFound, codeMethodNotFound, "unknown_endpoint", "no such endpoint"))
		return
	}
	if _, known := wire.KnownVersion(x.version); !known {
		x.answerHTTP(w, unsupported(x.version)) // MCP 2025-06-18, Transports: an invalid version header is 400
		return
	}
	if x.m.Kind == wire.Request && x.m.Method == "initialize" {
		// No keep-alive: the answer must stay one document, its header names the session.
		x.reply = newReply(w, r, replyOptions{json: x.accept.json, sse: x.accept.sse})
		defer x.reply.close()
		defer x.rescue()
		x.initialize(r.Context(), w)
		return
	}
	if f := x.openSession(r); f != nil {
		x.answerHTTP(w, f)
		return
	}
	switch x.m.Kind {
	case wire.Response:
		x.session.answer(x.m) // late or unknown answers are dropped: nobody waits for them
		w.WriteHeader(http.StatusAccepted)
		return
	case wire.Notification:
		x.legacyNotification()
		w.WriteHeader(http.StatusAccepted)
		return
	}
	// A lost connection is no cancellation in this era: the call goes on, and
	// its answer waits in the stream's buffer for the agent to resume.
	ctx, cancel := untilEnded(context.WithoutCancel(r.Context()), x.p.Ended)
	defer cancel()
	release, ok := x.session.register(x.m.ID, cancel)
	if !ok {
		x.answerHTTP(w, refuse(http.StatusBadRequest, codeInvalidRequest, "duplicate_id", "a request with this id is still in flight in this session"))
		return
	}
	defer release()
	x.reply = newReply(w, r, replyOptions{json: x.accept.json, sse: x.accept.sse, session: x.session, keepAlive: x.g.Limits.KeepAlive})
	defer x.reply.close()
	defer x.rescue()
	x.runLegacy(ctx)
}

// runLegacy answers a request of a session, once it has its reply.
func (x *exchange) runLegacy(ctx context.Context) {
	switch x.m.Method {
	case "tools/list":
		x.list(ctx, federation.Tool)
	case "prompts/list":
		x.list(ctx, federation.Prompt)
	case "resources/list":
		x.list(ctx, federation.Resource)
	case "resources/templates/list":
		x.list(ctx, federation.Template)
	default:
		x.answer(x.legacyMethod(ctx))
	}
}

// openSession finds the session that the request belongs to.
func (x *exchange) openSession(r *http.Request) *refusal {
	if len(r.Header.Values("Mcp-Session-Id")) > 1 {
		return refuse(http.StatusBadRequest, codeInvalidRequest, "two_sessions", "Mcp-Session-Id is sent more than once")
	}
	token := r.Header.Get("Mcp-Session-Id")
	if token == "" {
		return refuse(http.StatusBadRequest, codeInvalidRequest, "no_session", "Mcp-Session-Id is missing; send initialize first")
	}
	s, err := x.g.sessions.open(r.Context(), x.p, x.endpoint, token)
	if err != nil && !errors.Is(err, errNoSession) {
		return unrecorded(err)
	}
	if err != nil {
		return refuse(http.StatusNotFound, codeInvalidRequest, "unknown_session", "no such session; send initialize again")
	}
	x.session, x.version, x.caps, x.agent, x.level = s, s.version, s.capabilities, s.agent, s.level()
	return nil
}

func (x *exchange) legacyMethod(ctx context.Context) ([]byte, *refusal) {
	switch x.m.Method {
	case "ping":
		x.lifecycle()
		return []byte("{}"), nil
	case "tools/call":
		return x.callTool(ctx)
	case "prompts/get":
		return x.getPrompt(ctx)
	case "resources/read":
		return x.readResource(ctx)
	case "completion/complete":
		return x.complete(ctx)
	case "logging/setLevel":
		return x.setLevel()
	case "tasks/get", "tasks/result", "tasks/cancel":
		return x.taskLegacy(ctx)
	case "tasks/list":
		return x.listTasks(ctx)
	case "resources/subscribe":
		return x.subscribe(ctx)
	case "resources/unsubscribe":
		return x.unsubscribe(ctx)
	}
	return nil, x.noMethod()
}

// legacyNotification acts on what the agent tells: cancellation, and changed
// roots. The rest (initialized, progress) needs nothing from us.
func (x *exchange) legacyNotification() {
	switch x.m.Method {
	case "notifications/cancelled":
		if id, ok := x.m.Params.Get("requestId"); ok {
			x.session.cancelled(id)
		}
	case "notifications/roots/list_changed":
		for _, u := range x.upstreams() {
			x.g.Federation.RootsChanged(x.p, u.Config.Name)
		}
	}
}

// setLevel answers logging/setLevel: the level is the session's, and each of
// its calls asks its upstream for it.
func (x *exchange) setLevel() ([]byte, *refusal) {
	if !x.offers("logging") {
		return nil, x.noMethod()
	}
	level, ok := x.m.Params.String("level")
	if !ok || !logLevels[level] {
		return nil, refuse(http.StatusOK, codeInvalidParams, "log_level", "params.level is not a log level")
	}
	x.session.setLevel(level)
	x.lifecycle()
	return []byte("{}"), nil
}
