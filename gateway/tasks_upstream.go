package gateway

import (
	"context"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// taskCall is a request about a task to its upstream. more is the inside of an
// object, after a comma.
func (x *exchange) taskCall(t *target, ref *taskRef, method, more string) *federation.Call {
	params := wire.AppendString([]byte(`{"taskId":`), ref.id)
	c := x.callOf(t, append(append(params, more...), '}'))
	c.Method, c.Item = method, nil
	c.ProgressToken, c.Notify, c.Ask = nil, nil, nil
	return c
}

// askTask makes a request about a task and gives back its result.
func (x *exchange) askTask(ctx context.Context, t *target, ref *taskRef, method, more string) (wire.Object, *refusal) {
	a, err := x.g.Federation.Call(ctx, x.p, x.taskCall(t, ref, method, more))
	x.used(a, err)
	switch {
	case err != nil:
		return wire.Object{}, fromFailure(err)
	case a.Error == nil:
	case a.Error.Code != codeInvalidParams:
		return wire.Object{}, x.translateError(t, a)
	case method == "tasks/get" || method == "tasks/result":
		return wire.Object{}, unknownTask() // in our words: the upstream's may hold its own id
	default:
		// Invalid are an unknown task, a task that has ended, answers that don't
		// fit. The agent must not need the upstream's words to tell the first.
		if _, f := x.askTask(ctx, t, ref, "tasks/get", ""); f != nil {
			return wire.Object{}, f
		}
		return wire.Object{}, x.translateError(t, a)
	}
	o, err := wire.Fields(a.Result)
	if err != nil {
		return o, badAnswer(t.upstream.Name, "result of "+method+" is not an object")
	}
	return o, nil
}

// taskState is the task now, as SEP-2663 shows it: with its result, its error
// or the open questions in it. The id in it is the upstream's.
func (x *exchange) taskState(ctx context.Context, t *target, ref *taskRef) (wire.Object, *refusal) {
	o, f := x.askTask(ctx, t, ref, "tasks/get", "")
	if f != nil {
		return o, f
	}
	if ref.era == wire.Legacy {
		return x.detailed(ctx, t, ref, o)
	}
	if status, _ := o.String("status"); !knownStatus[status] {
		return o, badAnswer(t.upstream.Name, "a task of unknown status")
	}
	return o, nil
}

// knownStatus are the states of a task, and whether they are the last one.
var knownStatus = map[string]bool{"working": true, "input_required": true, "completed": true, "failed": true, "cancelled": true}

func ended(status string) bool {
	return status == "completed" || status == "failed" || status == "cancelled"
}

// detailed makes a task of MCP 2025-11-25 one of SEP-2663. What that has in one
// answer is got piece by piece: results, and the questions, which only come
// while somebody waits for the result.
func (x *exchange) detailed(ctx context.Context, t *target, ref *taskRef, o wire.Object) (wire.Object, *refusal) {
	p := modernTask(o)
	status, _ := o.String("status")
	switch status {
	case "completed", "failed":
		// Failed there is also a tool's own error, which SEP-2663 calls completed.
		a, err := x.g.Federation.Call(ctx, x.p, x.taskCall(t, ref, "tasks/result", ""))
		x.used(a, err)
		if err != nil {
			return o, fromFailure(err)
		}
		if a.Error != nil {
			p.Set("status", []byte(`"failed"`)).Set("error", errorObject(x.translateError(t, a).rpc()))
			break
		}
		result, err := wire.Fields(a.Result)
		if err != nil {
			return o, badAnswer(t.upstream.Name, "result of tasks/result is not an object")
		}
		p.Set("status", []byte(`"completed"`)).Set("result", related(result, ""))
	case "input_required":
		requests, f := x.g.taskAsks.open(ctx, x, t, ref)
		if f != nil {
			return o, f
		}
		if requests == nil { // answered, and not yet noticed
			p.Set("status", []byte(`"working"`))
		} else {
			p.Set("inputRequests", requests)
		}
	default:
		if !knownStatus[status] {
			return o, badAnswer(t.upstream.Name, "a task of unknown status")
		}
	}
	o, err := wire.Fields(p.Bytes())
	if err != nil {
		return o, badAnswer(t.upstream.Name, "the task can't be read")
	}
	return o, nil
}

// modernTask renames what the two forms of a task call differently.
func modernTask(o wire.Object) *wire.Patch {
	p := wire.NewPatch(o).Remove("ttl").Remove("pollInterval")
	ttl, _ := o.Get("ttl")
	if millis(ttl, 0) <= 0 {
		ttl = nil // unlimited, or not a number of milliseconds
	}
	p.Set("ttlMs", ttl)
	if every, _ := o.Get("pollInterval"); millis(every, 0) > 0 {
		p.Set("pollIntervalMs", every)
	}
	return p
}

// legacyTask is the reverse, without what MCP 2025-11-25 does not have in a
// task. The keys of the answer that a task was part of go as well.
func legacyTask(o wire.Object) *wire.Patch {
	p := wire.NewPatch(o)
	for _, key := range []string{"ttlMs", "pollIntervalMs", "resultType", "ttl", "pollInterval", "result", "error", "inputRequests", "requestState"} {
		p.Remove(key)
	}
	ttl, _ := o.Get("ttlMs")
	p.Set("ttl", ttl)
	if every, ok := o.Get("pollIntervalMs"); ok {
		p.Set("pollInterval", every)
	}
	if status, _ := o.String("status"); status == "completed" {
		if failed, _ := inside(o, "result").Get("isError"); string(failed) == "true" {
			p.Set("status", []byte(`"failed"`)) // MCP 2025-11-25, Tasks, Task Status
		}
	}
	return p
}

// related is a result or the params of a question with the id that this side
// knows the task by in _meta; "" takes it out.
func related(o wire.Object, handle string) []byte {
	meta := inside(o, "_meta")
	if handle != "" {
		value := append(wire.AppendString([]byte(`{"taskId":`), handle), '}')
		return wire.NewPatch(o).Set("_meta", wire.NewPatch(meta).Set(relatedTask, value).Bytes()).Bytes()
	}
	switch _, ok := meta.Get(relatedTask); {
	case !ok:
		return wire.NewPatch(o).Bytes()
	case len(meta.Members) == 1:
		return wire.NewPatch(o).Remove("_meta").Bytes()
	}
	return wire.NewPatch(o).Set("_meta", wire.NewPatch(meta).Remove(relatedTask).Bytes()).Bytes()
}

// relatedTask is the key in _meta that MCP 2025-11-25 associates messages with
// a task by.
const relatedTask = "io.modelcontextprotocol/related-task"

// errorObject is a JSON-RPC error as a value.
func errorObject(e *wire.Error) []byte {
	o, _ := wire.Fields(wire.AppendError(nil, nil, e))
	raw, _ := o.Get("error")
	return raw
}

// cancelTask asks the upstream to cancel. A task that has ended is no error
// here: cancelling is a wish (SEP-2663).
func (x *exchange) cancelTask(ctx context.Context, t *target, ref *taskRef) (wire.Object, *refusal) {
	a, err := x.g.Federation.Call(ctx, x.p, x.taskCall(t, ref, "tasks/cancel", ""))
	x.used(a, err)
	switch {
	case err != nil:
		return wire.Object{}, fromFailure(err)
	case a.Error != nil && a.Error.Code == codeInvalidParams:
		return x.askTask(ctx, t, ref, "tasks/get", "")
	case a.Error != nil:
		return wire.Object{}, x.translateError(t, a)
	}
	o, err := wire.Fields(a.Result)
	if err != nil {
		return o, badAnswer(t.upstream.Name, "result of tasks/cancel is not an object")
	}
	return o, nil
}

// How often the gateway asks for a task of its own accord, whatever the
// upstream suggests.
const (
	pollLeast   = 20 * time.Millisecond
	pollMost    = 10 * time.Second
	pollDefault = time.Second
)

// pollAgain waits until the task may be asked for again; false when ctx ended.
func pollAgain(ctx context.Context, o wire.Object) bool {
	every, _ := o.Get("pollIntervalMs")
	return quiet(ctx, nil, min(max(millis(every, pollDefault), pollLeast), pollMost))
}
