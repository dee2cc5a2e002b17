package gateway

import (
	"context"
	"net/http"
	"sync"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// listenTasks bounds the tasks of one subscriptions/listen stream.
const listenTasks = 256

// listenedTasks reads taskIds of a subscriptions/listen filter and judges each.
// What is not there for this principal is left out of the acknowledgement.
func (x *exchange) listenedTasks(ctx context.Context, filter wire.Object) (tasks []*target, honoured []byte, f *refusal) {
	raw, ok := filter.Get("taskIds")
	if !ok || !x.offersTasks() {
		return nil, nil, nil
	}
	if !x.tasks { // SEP-2663: MUST
		return nil, nil, needTasks()
	}
	ids, err := wire.Elements(raw)
	if err != nil || len(ids) > listenTasks {
		return nil, nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.notifications.taskIds must be an array of at most 256 task ids")
	}
	x.tasking = &tasking{form: taskExtended, declare: true}
	var shown [][]byte
	for _, raw := range ids {
		handle, ok := wire.Unquote(raw)
		if !ok {
			return nil, nil, refuse(http.StatusOK, codeInvalidParams, "params", "params.notifications.taskIds must be an array of strings")
		}
		t := x.taskTarget(ctx, handle)
		y, f := x.judgeApart(ctx, t)
		switch {
		case f != nil && (f.code == CodeUnrecorded || f.challenge != ""):
			return nil, nil, f
		case f != nil:
			continue
		}
		y.outcome("ok", 0, "", nil)
		tasks, shown = append(tasks, t), append(shown, raw)
	}
	return tasks, array(shown), nil
}

// standTasks follows tasks at their upstreams for a stream of the agent's.
func (x *exchange) standTasks(ctx, bounded context.Context, tasks []*target, out *listener, followers, waits *sync.WaitGroup) {
	byUpstream := make(map[string][]*target)
	for _, t := range tasks {
		byUpstream[t.upstream.Name] = append(byUpstream[t.upstream.Name], t)
	}
	for _, of := range byUpstream {
		ready := make(chan struct{})
		followers.Go(func() {
			x.followTasks(ctx, of, func() { close(ready) }, func(t *target, method string, params wire.Object) {
				x.postTask(ctx, t, out, method, params)
			})
		})
		waits.Go(func() { wait(bounded, ready) })
	}
}

// followTasks hears what one upstream says of its tasks until ctx ends.
func (x *exchange) followTasks(ctx context.Context, tasks []*target, ready func(), tell func(t *target, method string, params wire.Object)) {
	byID := make(map[string]*target)
	ids := make([]string, 0, len(tasks))
	for _, t := range tasks {
		byID[t.task.id] = t
		ids = append(ids, t.task.id)
	}
	agent := x.taskCall(tasks[0], tasks[0].task, "tasks/get", "").Agent
	upstream := tasks[0].upstream.Name
	err := x.g.Federation.Follow(ctx, x.p, agent, upstream, ids, ready, func(method string, raw []byte) {
		params, err := wire.Fields(raw)
		if err != nil {
			return
		}
		id, _ := params.String("taskId")
		if t := byID[id]; t != nil && x.stillTask(ctx, t) {
			tell(t, method, params)
		}
	})
	if err != nil && ctx.Err() == nil {
		x.g.Logger.Warn("tasks are not followed any more", "upstream", upstream, "error", err)
	}
}

// stillTask re-judges for as long as a task is followed: nothing is told of one
// whose tool the principal may no longer see.
func (x *exchange) stillTask(ctx context.Context, t *target) bool {
	y := &exchange{g: x.g, p: x.p, endpoint: x.endpoint, era: x.era, agent: x.agent, m: &wire.Message{}, start: x.g.Now(), snap: x.g.Federation.Snapshot()}
	return y.taskTarget(ctx, t.exposed).known
}

// postTask puts a task's state on the stream (SEP-2663: the whole task, as
// tasks/get would have it). What an upstream of 2025-11-25 tells lacks most of
// that, so it is asked.
func (x *exchange) postTask(ctx context.Context, t *target, out *listener, method string, params wire.Object) {
	if method != federation.MethodTask {
		var f *refusal
		if params, f = x.taskState(ctx, t, t.task); f != nil {
			return
		}
	}
	shown, f := x.shownTask(ctx, t, params)
	if f != nil {
		return
	}
	o, err := wire.Fields(shown)
	if err != nil {
		return
	}
	meta := wire.NewPatch(inside(o, "_meta")).Set(wire.MetaSubscription, x.m.ID).Bytes()
	out.post(wire.AppendNotification(nil, federation.MethodTask, wire.NewPatch(o).Remove("resultType").Set("_meta", meta).Bytes()))
}

// statusKey names a followed task among a session's subscriptions; no URI
// begins like that.
func statusKey(handle string) string { return "\x00task " + handle }

// followStatus sends a legacy session notifications/tasks/status of a task, as
// long as it goes on. Without a GET stream nobody would hear them, and the
// agent asks.
func (x *exchange) followStatus(t *target, ref *taskRef, handle string) {
	if x.session.newest() == nil {
		return
	}
	// It goes on without x: nothing of the request's body stays in it.
	y := &exchange{
		g: x.g, p: x.p, endpoint: x.endpoint, era: x.era, version: x.version, caps: x.caps, agent: x.agent,
		session: x.session, snap: x.snap, start: x.start, tasking: &tasking{form: taskRequest, declare: true},
		m: &wire.Message{Method: federation.MethodTaskStatus},
	}
	followed := &target{
		method: t.method, kind: t.kind, exposed: handle, name: t.item.Name, upstream: t.upstream, item: t.item, known: true, task: ref, masks: ref.masksOf(),
	}
	// Too many subscriptions, or a session that ends: status notifications are
	// the upstream's option, and agents MUST NOT rely on them.
	_ = x.session.subscribe(statusKey(handle), func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		y.followTasks(ctx, []*target{followed}, func() {}, func(t *target, method string, params wire.Object) {
			if _, whole := params.Get("status"); !whole { // something was missed
				var f *refusal
				if params, f = y.askTask(ctx, t, ref, "tasks/get", ""); f != nil {
					return
				}
			}
			p := wire.NewPatch(params)
			if ref.era == wire.Modern {
				p = legacyTask(params)
			}
			state := t.masks.maskTask(params, p).Set("taskId", wire.AppendString(nil, handle)).Bytes()
			y.g.taskTable.note(y.taskOwner(), listedTask{handle: handle, ref: ref, state: state})
			y.session.broadcast(wire.AppendNotification(nil, federation.MethodTaskStatus, state))
			if status, _ := params.String("status"); ended(status) {
				cancel()
			}
		})
	})
}
