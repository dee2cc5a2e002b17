package gateway

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	// taskWait bounds how long the gateway waits for one task, on behalf of an
	// agent that knows none, or of one that asked for the result.
	taskWait = time.Hour

	// taskGiveUp bounds the request that cancels a task which nobody waits for
	// any more.
	taskGiveUp = 5 * time.Second
)

// outlast waits for a task in place of an agent that knows none, and gives the
// result as if the call had just taken its time. A modern agent is asked the
// task's questions by input_required; its retry goes on with the same task. An
// agent that hangs up takes the task with it: it has no handle to come back
// with.
func (x *exchange) outlast(ctx context.Context, t *target, ref *taskRef) ([]byte, *refusal) {
	x.tasking.declare = true // what is asked about the task is asked by one who knows tasks
	a, requests, f := x.taskOutcome(ctx, t, ref, "")
	if requests != nil {
		h := handle{kind: ofTask, text: x.sealTask(ref)}
		return x.inputRequiredResult(x.exposeAs("tasks/get", t, requests), x.sealHandle(h, x.g.Limits.State, x.stateBound(t))), nil
	}
	if f != nil {
		if f.outcome != "not_found" {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), taskGiveUp)
			defer cancel()
			x.cancelTask(ctx, t, ref)
		}
		return x.explainedTask(f)
	}
	result, f := x.translate(ctx, t, a, nil)
	if f != nil {
		return x.explainedTask(f)
	}
	return result, nil
}

// explainedTask is explained for a legacy agent, as its other calls have it.
func (x *exchange) explainedTask(f *refusal) ([]byte, *refusal) {
	if x.era == wire.Modern {
		return nil, f
	}
	return x.explained(nil, f)
}

// resumeTask goes on with a task that asked an agent which knows none.
func (x *exchange) resumeTask(ctx context.Context, t *target, h handle) ([]byte, *refusal) {
	ref, ok := x.openTask(h.text)
	if !ok {
		return nil, badState()
	}
	x.tasking = &tasking{declare: true}
	responses, _ := x.m.Params.Get("inputResponses")
	if _, f := readResponses(responses); f != nil {
		return nil, f
	}
	if responses != nil {
		if f := x.updateTask(ctx, t, ref, responses); f != nil {
			return nil, f
		}
	}
	return x.outlast(ctx, t, ref)
}

// taskOutcome waits until the task has ended and gives what the call would
// have answered. A legacy agent is asked the task's questions on the way,
// which name the task by handle; for a modern one they come back as requests.
func (x *exchange) taskOutcome(ctx context.Context, t *target, ref *taskRef, handle string) (a *federation.Answer, requests []byte, f *refusal) {
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, taskWait)
	defer cancel()
	answered := make(map[string]bool)
	for {
		o, f := x.taskState(ctx, t, ref)
		if f != nil {
			return nil, nil, f
		}
		status, _ := o.String("status")
		switch status {
		case "completed":
			result := inside(o, "result")
			if result.Raw == nil {
				return nil, nil, badAnswer(t.upstream.Name, "a completed task without a result")
			}
			return &federation.Answer{Result: related(result, ""), Era: ref.era}, nil, nil
		case "failed":
			return nil, nil, x.taskFailed(t, o)
		case "cancelled":
			return nil, nil, &refusal{status: http.StatusOK, code: codeInternal, outcome: "error", reason: "task_cancelled", text: "the task was cancelled"}
		case "input_required":
			in, f := readInput(t.upstream.Name, o)
			if f != nil {
				return nil, nil, f
			}
			if x.era == wire.Modern {
				for _, q := range in.requests {
					if f := x.showQuestion(ctx, t, q); f != nil {
						return nil, nil, f
					}
				}
				raw, _ := o.Get("inputRequests")
				return nil, raw, nil
			}
			if f := x.answerTask(ctx, t, ref, in, answered, handle); f != nil {
				return nil, nil, f
			}
		}
		if !pollAgain(ctx, o) {
			if parent.Err() != nil {
				return nil, nil, fromFailure(context.Canceled)
			}
			return nil, nil, fromFailure(&federation.Failure{Upstream: t.upstream.Name, Kind: federation.ErrTimeout, Detail: "a task was waited for too long"})
		}
	}
}

// taskFailed is the JSON-RPC error that ended a task.
func (x *exchange) taskFailed(t *target, o wire.Object) *refusal {
	e := inside(o, "error")
	code, _ := e.Get("code")
	message, _ := e.String("message")
	data, _ := e.Get("data")
	said := &wire.Error{Code: int64(codeInternal), Message: message, Data: data}
	if n, err := strconv.ParseInt(string(code), 10, 64); err == nil {
		said.Code = n
	}
	return x.translateError(t, &federation.Answer{Error: said, Era: x.upstreamEra(t)})
}

// answerTask asks a legacy agent what a task asks and hands the answers to it.
// What was answered before is not asked again, though the task may not have
// noticed yet (SEP-2663: keys are unique over a task's life).
func (x *exchange) answerTask(ctx context.Context, t *target, ref *taskRef, in *input, answered map[string]bool, handle string) *refusal {
	var fresh input
	for _, q := range in.requests {
		if answered[q.key] {
			continue
		}
		if len(fresh.requests) == inputsAtOnce {
			return badAnswer(t.upstream.Name, "too many input requests at once")
		}
		fitted, missing := fitQuestion(x.version, x.caps, q.method, q.params)
		if missing != "" {
			return x.askFailed(t, "needs a capability that this client does not have: "+missing, "capability")
		}
		if !safeAsk(q.method, fitted) {
			return badAnswer(t.upstream.Name, "input request with an unsafe URL")
		}
		if params, err := wire.Fields(fitted); err == nil || fitted == nil {
			fitted = related(params, handle)
		}
		q.params = fitted
		fresh.requests = append(fresh.requests, q)
	}
	responses, f := x.answers(ctx, t, &fresh)
	if f != nil || responses == nil {
		return f
	}
	for _, q := range fresh.requests {
		answered[q.key] = true
	}
	return x.updateTask(ctx, t, ref, responses)
}
