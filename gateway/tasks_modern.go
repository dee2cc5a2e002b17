package gateway

import (
	"context"
	"net/http"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// taskModern answers tasks/get, tasks/update and tasks/cancel (SEP-2663).
func (x *exchange) taskModern(ctx context.Context) ([]byte, *refusal) {
	if !x.offersTasks() {
		return nil, x.noMethod()
	}
	if !x.tasks { // SEP-2663: MUST, of a client that does not declare the extension
		return nil, needTasks()
	}
	handle, ok := x.m.Params.String("taskId")
	if !ok {
		return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.taskId must be a string")
	}
	t := x.taskTarget(ctx, handle)
	if x.m.Method == "tasks/update" {
		if t.responses, ok = x.m.Params.Get("inputResponses"); !ok || t.responses[0] != '{' {
			return nil, refuse(http.StatusOK, codeInvalidParams, "input_response", "params.inputResponses must be an object")
		}
	}
	x.tasking = &tasking{form: taskExtended, declare: true}
	return x.perform(ctx, t, func(ctx context.Context) ([]byte, *refusal) {
		var f *refusal
		switch x.m.Method {
		case "tasks/get":
			o, f := x.taskState(ctx, t, t.task)
			if f != nil {
				return nil, f
			}
			return x.shownTask(ctx, t, o)
		case "tasks/update":
			f = x.updateTask(ctx, t, t.task, t.responses)
		default:
			_, f = x.cancelTask(ctx, t, t.task)
		}
		if f != nil {
			return nil, f
		}
		return append(append([]byte(`{"resultType":"complete","_meta":`), x.g.serverMeta...), '}'), nil
	})
}

// updateTask hands the agent's answers to the task.
func (x *exchange) updateTask(ctx context.Context, t *target, ref *taskRef, responses []byte) *refusal {
	if ref.era == wire.Legacy {
		return x.g.taskAsks.answer(ctx, x, t, ref, responses)
	}
	_, f := x.askTask(ctx, t, ref, "tasks/update", `,"inputResponses":`+string(responses))
	return f
}

// shownTask is the answer to tasks/get: the task under the agent's id for it.
// What the upstream asks in it is judged like any other of its requests.
func (x *exchange) shownTask(ctx context.Context, t *target, o wire.Object) ([]byte, *refusal) {
	p := wire.NewPatch(o).Set("taskId", wire.AppendString(nil, t.exposed)).Set("resultType", []byte(`"complete"`))
	if status, _ := o.String("status"); status == "input_required" {
		in, f := readInput(t.upstream.Name, o)
		if f != nil {
			return nil, f
		}
		for _, q := range in.requests {
			if f := x.showQuestion(ctx, t, q); f != nil {
				return nil, f
			}
		}
	}
	t.masks.maskTask(o, p)
	if result := inside(o, "result"); result.Raw != nil {
		masked, f := x.maskResult(t, related(result, ""))
		if f != nil {
			return nil, f
		}
		p.Set("result", masked)
	}
	return x.exposeAs("tasks/get", t, p.Bytes()), nil
}

// showQuestion has a question of a task judged before the agent sees it.
func (x *exchange) showQuestion(ctx context.Context, t *target, q inputRequest) *refusal {
	if !declares(x.caps, q.method, q.params) || !safeAsk(q.method, q.params) {
		return badAnswer(t.upstream.Name, "a task asks what the agent did not declare, or with an unsafe URL")
	}
	_, f, _ := x.put(ctx, t, q.method, q.params, func(context.Context) (response, error) { return response{}, nil })
	return f
}

// exposeAs is expose for a result that is not the request's own.
func (x *exchange) exposeAs(method string, t *target, result []byte) []byte {
	if x.endpoint != federation.Merged {
		return result
	}
	return wire.RewriteURIs(method, result, func(uri string, _ bool) string { return federation.ExposeURI(t.upstream, uri) })
}

// createdModern is the CreateTaskResult of SEP-2663: flat, the seed state
// alone.
func (x *exchange) createdModern(ref *taskRef, made *madeTask) []byte {
	p := wire.NewPatch(made.task)
	if made.era == wire.Legacy {
		p = modernTask(made.task)
		if meta := inside(made.outer, "_meta"); meta.Raw != nil {
			p.Set("_meta", meta.Raw)
		}
	}
	for _, key := range []string{"result", "error", "inputRequests", "requestState"} {
		p.Remove(key)
	}
	p.Set("taskId", wire.AppendString(nil, x.sealTask(ref))).Set("resultType", []byte(`"task"`))
	return p.Bytes()
}
