package gateway

import (
	"context"
	"crypto/rand"
	"net/http"
	"strconv"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// cancelSettle is how long a cancelled task of SEP-2663, where cancelling is a
// wish, may take to be cancelled: MCP 2025-11-25 wants to be told afterwards.
const cancelSettle = 2 * time.Second

// taskLegacy answers tasks/get, tasks/result and tasks/cancel (MCP 2025-11-25,
// Tasks).
func (x *exchange) taskLegacy(ctx context.Context) ([]byte, *refusal) {
	if !x.offersTasks() {
		return nil, x.noMethod()
	}
	handle, ok := x.m.Params.String("taskId")
	if !ok {
		return nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.taskId must be a string")
	}
	t := x.taskTarget(ctx, handle)
	x.tasking = &tasking{form: taskRequest, declare: true}
	return x.perform(ctx, t, func(ctx context.Context) ([]byte, *refusal) {
		switch x.m.Method {
		case "tasks/get":
			return x.stateLegacy(ctx, t)
		case "tasks/result":
			return x.resultLegacy(ctx, t)
		}
		return x.cancelLegacy(ctx, t)
	})
}

// stateLegacy is the task as MCP 2025-11-25 has it, under the agent's id.
func (x *exchange) stateLegacy(ctx context.Context, t *target) ([]byte, *refusal) {
	if t.task.kept {
		state, _, ok := x.g.taskTable.kept(x.taskOwner(), t.exposed)
		if !ok {
			return nil, unknownTask()
		}
		return state, nil
	}
	o, f := x.askTask(ctx, t, t.task, "tasks/get", "")
	if f != nil {
		return nil, f
	}
	return x.showLegacy(t, o), nil
}

// showLegacy makes a task of either form the agent's, and remembers it.
func (x *exchange) showLegacy(t *target, o wire.Object) []byte {
	p := wire.NewPatch(o)
	if t.task.era == wire.Modern {
		p = legacyTask(o)
	}
	state := t.masks.maskTask(o, p).Set("taskId", wire.AppendString(nil, t.exposed)).Bytes()
	x.g.taskTable.note(x.taskOwner(), listedTask{handle: t.exposed, ref: t.task, state: state})
	if status, _ := o.String("status"); ended(status) {
		x.session.unsubscribe(statusKey(t.exposed))
	}
	return state
}

// resultLegacy waits until the task has ended and answers what the call would
// have answered.
func (x *exchange) resultLegacy(ctx context.Context, t *target) ([]byte, *refusal) {
	if t.task.kept {
		_, result, ok := x.g.taskTable.kept(x.taskOwner(), t.exposed)
		if !ok {
			return nil, unknownTask()
		}
		// Its call's masks are in it already; rules may hide more by now.
		return x.maskResult(t, result)
	}
	a, _, f := x.taskOutcome(ctx, t, t.task, t.exposed)
	if f != nil {
		return nil, f
	}
	call := *x // as the tools/call's answer would have been
	call.m = &wire.Message{Method: "tools/call", ID: x.m.ID}
	result, f := call.translate(ctx, t, a, nil)
	if f != nil {
		return nil, f
	}
	o, err := wire.Fields(result)
	if err != nil {
		return nil, badAnswer(t.upstream.Name, "result is not an object")
	}
	return related(o, t.exposed), nil // MCP 2025-11-25: MUST, the result does not name the task
}

// cancelLegacy cancels the task and answers how it is then. One that has ended
// can't be cancelled (MCP 2025-11-25, Tasks, Task Cancellation).
func (x *exchange) cancelLegacy(ctx context.Context, t *target) ([]byte, *refusal) {
	over := refuse(http.StatusOK, codeInvalidParams, "task_ended", "the task has ended already")
	if t.task.kept {
		return nil, over
	}
	before, f := x.askTask(ctx, t, t.task, "tasks/get", "")
	if f != nil {
		return nil, f
	}
	if status, _ := before.String("status"); ended(status) {
		return nil, over
	}
	o, f := x.cancelTask(ctx, t, t.task)
	if f != nil {
		return nil, f
	}
	if t.task.era == wire.Modern {
		ctx, cancel := context.WithTimeout(ctx, cancelSettle)
		defer cancel()
		for o = before; ; {
			now, f := x.askTask(ctx, t, t.task, "tasks/get", "")
			if f != nil {
				break // the last state is the best that can be said
			}
			o = now
			if status, _ := o.String("status"); ended(status) || !pollAgain(ctx, o) {
				break
			}
		}
	}
	return x.showLegacy(t, o), nil
}

// createdLegacy is the CreateTaskResult of MCP 2025-11-25: the task in a
// member of its own.
func (x *exchange) createdLegacy(t *target, ref *taskRef, made *madeTask) []byte {
	p := wire.NewPatch(made.task)
	if made.era == wire.Modern {
		p = legacyTask(made.task).Remove("_meta")
	}
	handle := x.sealTask(ref)
	task := p.Set("taskId", wire.AppendString(nil, handle)).Bytes()
	x.g.taskTable.note(x.taskOwner(), listedTask{handle: handle, ref: ref, state: task})
	x.followStatus(t, ref, handle)
	if made.era == wire.Legacy && !t.masks.hidesResult() {
		return wire.NewPatch(made.outer).Set("task", task).Bytes()
	}
	outer := append(append([]byte(`{"task":`), task...), '}')
	meta := inside(made.outer, "_meta")
	if o, err := wire.Fields(outer); err == nil && meta.Raw != nil {
		return wire.NewPatch(o).Set("_meta", meta.Raw).Bytes()
	}
	return outer
}

// keepResult makes a task of a result that was there at once: an agent that
// asked for a task gets one (MCP 2025-11-25: MUST). A result too large to be
// kept is answered as it is.
func (x *exchange) keepResult(t *target, result []byte) []byte {
	if x.upstreamEra(t) == wire.Legacy {
		return result // of an upstream that heard the wish itself
	}
	now := x.g.Now()
	ref := &taskRef{upstream: t.upstream.Name, id: rand.Text(), tool: t.item.Name, kept: true, expires: now.Add(taskLeast)}
	handle := x.sealTask(ref)
	at := now.UTC().Format(time.RFC3339)
	status := "completed"
	o, err := wire.Fields(result)
	if failed, _ := o.Get("isError"); err != nil || string(failed) == "true" {
		status = "failed"
	}
	state := wire.AppendString([]byte(`{"taskId":`), handle)
	state = append(state, `,"status":"`+status+`","createdAt":"`+at+`","lastUpdatedAt":"`+at+`","ttl":`...)
	state = append(strconv.AppendInt(state, taskLeast.Milliseconds(), 10), '}')
	kept := listedTask{handle: handle, ref: ref, state: state, result: related(o, handle)}
	if !x.g.taskTable.note(x.taskOwner(), kept) {
		return result
	}
	return append(append([]byte(`{"task":`), state...), '}')
}
