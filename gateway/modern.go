package gateway

import (
	"context"
	"net/http"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// serveModern serves one stateless message (MCP 2026-07-28). Everything that
// a request needs is in it; nothing is remembered from one to the next.
func (x *exchange) serveModern(w http.ResponseWriter, r *http.Request) {
	if x.m.Kind == wire.Response {
		x.answerHTTP(w, refuse(http.StatusBadRequest, codeInvalidRequest, "response", "a response can't be sent in this protocol revision"))
		return
	}
	if f := x.checkModern(); f != nil {
		x.answerHTTP(w, f)
		return
	}
	if x.m.Kind == wire.Notification { // cancellation is the end of the connection; nothing else acts
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if !x.endpointExists() {
		x.answerHTTP(w, refuse(http.StatusNotFound, codeMethodNotFound, "unknown_endpoint", "no such endpoint"))
		return
	}
	x.reply = newReply(w, r, replyOptions{json: x.accept.json, sse: x.accept.sse, keepAlive: x.g.Limits.KeepAlive})
	defer x.reply.close()
	defer x.rescue()
	ctx := r.Context()
	switch x.m.Method {
	case "tools/list":
		x.list(ctx, federation.Tool)
		return
	case "prompts/list":
		x.list(ctx, federation.Prompt)
		return
	case "resources/list":
		x.list(ctx, federation.Resource)
		return
	case "resources/templates/list":
		x.list(ctx, federation.Template)
		return
	case "subscriptions/listen":
		x.listen(ctx)
		return
	}
	x.answer(x.modernMethod(ctx))
}

func (x *exchange) modernMethod(ctx context.Context) ([]byte, *refusal) {
	switch x.m.Method {
	case "server/discover":
		return x.discover(ctx)
	case "tools/call":
		return x.callTool(ctx)
	case "prompts/get":
		return x.getPrompt(ctx)
	case "resources/read":
		return x.readResource(ctx)
	case "completion/complete":
		return x.complete(ctx)
	case "tasks/get", "tasks/update", "tasks/cancel":
		return x.taskModern(ctx)
	}
	return nil, x.noMethod()
}

// answer sends the result or the refusal.
func (x *exchange) answer(result []byte, f *refusal) {
	if f != nil {
		f = x.noteRefused(f)
	}
	if f != nil && f.outcome == "cancelled" {
		return // MCP, cancellation: nothing more is sent; the reply is closed by its owner
	}
	if f == nil {
		x.reply.finish(http.StatusOK, wire.AppendResult(nil, x.m.ID, result), noStore)
		return
	}
	x.reply.finish(f.status, wire.AppendError(nil, x.m.ID, f.rpc()), f.headers())
}

// checkModern checks what MCP 2026-07-28 asks of every request: _meta, the
// version, and headers that mirror the body (SEP-2243).
func (x *exchange) checkModern() *refusal {
	m := x.m
	version, ok := m.Meta.String(wire.MetaVersion)
	if m.Kind == wire.Request {
		if !ok {
			if x.version != "" && x.version != wire.LatestModern {
				return unsupported(x.version)
			}
			return refuse(http.StatusBadRequest, codeInvalidParams, "meta", "params._meta[\""+wire.MetaVersion+"\"] is missing")
		}
		caps, ok := m.Meta.Get(wire.MetaCapabilities)
		if !ok || caps[0] != '{' {
			return refuse(http.StatusBadRequest, codeInvalidParams, "meta", "params._meta[\""+wire.MetaCapabilities+"\"] must be an object")
		}
		x.caps, x.tasks = relayed(caps), declaresTasks(caps)
	} else if !ok {
		version = x.version
	}
	if err := wire.CheckStandardHeaders(x.header, m, version); err != nil {
		return refuse(http.StatusBadRequest, codeHeaderMismatch, "header_mismatch", err.Error())
	}
	if version != wire.LatestModern {
		return unsupported(version)
	}
	x.version = version
	if raw, ok := m.Meta.Get(wire.MetaClientInfo); ok {
		x.agent = readAgent(raw)
	}
	if raw, ok := m.Meta.Get(wire.MetaLogLevel); ok {
		level, ok := wire.Unquote(raw)
		if !ok || !logLevels[level] {
			return refuse(http.StatusBadRequest, codeInvalidParams, "log_level", "unknown log level")
		}
		x.level = level
	}
	return nil
}

// unsupported names what is served here beside what was asked for.
func unsupported(version string) *refusal {
	f := refuse(http.StatusBadRequest, codeUnsupportedVers, "version", "unsupported protocol version")
	f.data = append([]byte(`{"supported":`), supportedVersions...)
	f.data = append(wire.AppendString(append(f.data, `,"requested":`...), clip(version, 64)), '}')
	return f
}

// logLevels are those of RFC 5424, as MCP names them.
var logLevels = map[string]bool{
	"debug": true, "info": true, "notice": true, "warning": true,
	"error": true, "critical": true, "alert": true, "emergency": true,
}

// endpointExists reports whether the endpoint is there for this principal.
func (x *exchange) endpointExists() bool {
	if x.endpoint == federation.Merged {
		return true
	}
	_, ok := x.snap.Upstream(x.endpoint)
	return ok
}
