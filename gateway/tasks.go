package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net/http"
	"time"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// tasksExtension is the Tasks extension of MCP 2026-07-28 (SEP-2663). MCP
// 2025-11-25 has tasks of its own; the gateway carries both, and each over the
// other.
const tasksExtension = "io.modelcontextprotocol/tasks"

// taskForm is how an agent wants to be told of a task.
type taskForm uint8

const (
	taskUnknown  taskForm = iota // it knows none: the gateway waits in its place
	taskExtended                 // SEP-2663: the server decides
	taskRequest                  // MCP 2025-11-25: the request has a task member
)

// tasking is what one tools/call has to do with tasks.
type tasking struct {
	form    taskForm
	declare bool   // the upstream is told that its client knows the extension
	augment []byte // raw task member of a request to a 2025-11-25 upstream; nil = none

	needed bool      // the upstream refused for want of the extension: nothing ran
	made   *madeTask // the upstream's answer is a task
}

// madeTask is the answer of an upstream that made a task of a call.
type madeTask struct {
	era   wire.Era
	outer wire.Object // the result
	task  wire.Object // the task in it; in the modern era the same object
}

// callAsTask makes a tools/call that may become a task. An agent that knows no
// tasks gets the result, however long it takes: the gateway declares the
// extension and waits in its place.
//
// At the endpoint of one upstream, a modern agent's lack of the extension is
// between the two: the upstream's own -32021 names it.
func (x *exchange) callAsTask(ctx context.Context, t *target) ([]byte, *refusal) {
	x.tasking = new(tasking)
	if f := x.planTask(t); f != nil {
		return nil, f
	}
	result, f := x.forward(ctx, t, "name", t.item.Name)
	if x.tasking.needed && !(x.era == wire.Modern && x.endpoint != federation.Merged) {
		x.tasking = &tasking{declare: true} // refused before it ran, so made anew
		result, f = x.forward(ctx, t, "name", t.item.Name)
	}
	switch made := x.tasking.made; {
	case made != nil:
		return x.taskMade(ctx, t, made)
	case f == nil && x.tasking.form == taskRequest:
		return x.keepResult(t, result), nil
	}
	return result, f
}

// planTask decides how the call is made.
func (x *exchange) planTask(t *target) *refusal {
	u, _ := x.snap.Upstream(t.upstream.Name)
	plan := x.tasking
	task, asked := x.m.Params.Get("task")
	switch {
	case x.era == wire.Modern && x.tasks:
		plan.form = taskExtended
	case x.era == wire.Legacy && asked && task[0] == '{' && x.offersTasks():
		plan.form = taskRequest
	}
	if !hasTasks(u) {
		if plan.form == taskRequest { // MCP 2025-11-25, Tasks, Tool-Level Negotiation
			return refuse(http.StatusOK, codeMethodNotFound, "no_task", "this tool can't run as a task; call it without params.task")
		}
		plan.declare = plan.form == taskExtended
		return nil
	}
	if u.Era == wire.Modern.String() {
		plan.declare = plan.form != taskUnknown
		return nil
	}
	support := taskSupport(t.item)
	switch {
	case plan.form == taskRequest:
		plan.augment = task // the upstream says what it thinks of it
	case support == "required", support == "optional" && plan.form == taskExtended:
		plan.augment = []byte("{}")
	default:
		plan.form = taskUnknown
	}
	return nil
}

// hasTasks reports whether an upstream makes tasks of tool calls, in the form
// of either era.
func hasTasks(u federation.UpstreamInfo) bool {
	o, err := wire.Fields(u.Capabilities)
	if err != nil {
		return false
	}
	if u.Era == wire.Modern.String() {
		_, ok := inside(o, "extensions").Get(tasksExtension)
		return ok
	}
	_, ok := inside(inside(inside(o, "tasks"), "requests"), "tools").Get("call")
	return ok
}

// offersTasks reports whether the endpoint has tasks.
func (x *exchange) offersTasks() bool {
	if x.era == wire.Legacy && x.version < wire.Version20251125 {
		return false
	}
	for _, u := range x.upstreams() {
		if hasTasks(u) {
			return true
		}
	}
	return false
}

// taskSupport is execution.taskSupport of a tool (MCP 2025-11-25).
func taskSupport(i *federation.Item) string {
	o, err := wire.Fields(i.Own)
	if err != nil {
		return ""
	}
	support, _ := inside(o, "execution").String("taskSupport")
	return support
}

// inside is a member that is an object; the zero Object when it is none.
func inside(o wire.Object, key string) wire.Object {
	raw, _ := o.Get(key)
	inner, err := wire.Fields(raw)
	if err != nil {
		return wire.Object{}
	}
	return inner
}

// extend makes a Call's capabilities say which extensions its upstream gets to
// know of, and adds the task member of a 2025-11-25 call.
func (x *exchange) extend(t *target, c *federation.Call) {
	var extensions []byte
	add := func(name string, value []byte) {
		extensions = append(extensions, ","[:min(len(extensions), 1)]...)
		extensions = append(append(wire.AppendString(extensions, name), ':'), value...)
	}
	caps, err := wire.Fields(c.Agent.Capabilities)
	if err != nil {
		caps = wire.Object{}
	}
	if value := x.appsFor(t.upstream); value != nil {
		add(appsExtension, value)
	}
	if x.tasking != nil && x.tasking.declare && x.upstreamEra(t) == wire.Modern {
		add(tasksExtension, []byte("{}"))
	}
	switch _, has := caps.Get("extensions"); {
	case extensions != nil:
		c.Agent.Capabilities = wire.NewPatch(caps).Set("extensions", append(append([]byte{'{'}, extensions...), '}')).Bytes()
	case has:
		c.Agent.Capabilities = wire.NewPatch(caps).Remove("extensions").Bytes()
	}
	if x.tasking != nil && x.tasking.augment != nil && c.Method == "tools/call" {
		if params, err := wire.Fields(c.Params); err == nil {
			c.Params = wire.NewPatch(params).Set("task", x.tasking.augment).Bytes()
		}
	}
}

// becameTask notes an answer that is a task; the caller of forward goes on
// with it.
func (x *exchange) becameTask(a *federation.Answer, o wire.Object) bool {
	if x.tasking == nil {
		return false
	}
	made := &madeTask{era: a.Era, outer: o, task: o}
	if a.Era == wire.Legacy {
		if made.task = inside(o, "task"); x.tasking.augment == nil || made.task.Raw == nil {
			return false
		}
	} else if kind, _ := o.String("resultType"); kind != "task" {
		return false
	}
	x.tasking.made = made
	return true
}

// lacksTasks notes an upstream's -32021 that names the extension.
func (x *exchange) lacksTasks(e *wire.Error) {
	if x.tasking == nil || x.tasking.declare {
		return
	}
	data, err := wire.Fields(e.Data)
	if err != nil {
		return
	}
	_, x.tasking.needed = inside(inside(data, "requiredCapabilities"), "extensions").Get(tasksExtension)
}

// needTasks is the answer to a modern agent that uses what it did not declare.
func needTasks() *refusal {
	f := refuse(http.StatusBadRequest, codeMissingCap, "undeclared", "missing required client capability: the extension "+tasksExtension)
	f.data = []byte(`{"requiredCapabilities":{"extensions":{"` + tasksExtension + `":{}}}}`)
	return f
}

// declaresTasks reports whether capabilities declare the extension.
func declaresTasks(capabilities []byte) bool {
	o, err := wire.Fields(capabilities)
	if err != nil {
		return false
	}
	_, ok := inside(o, "extensions").Get(tasksExtension)
	return ok
}

// taskMade answers a call that became a task: with a handle of ours in the
// form that the agent knows, or with what comes of it.
func (x *exchange) taskMade(ctx context.Context, t *target, made *madeTask) ([]byte, *refusal) {
	id, ok := made.task.String("taskId")
	if !ok || id == "" || len(id) > taskIDMax {
		return nil, badAnswer(t.upstream.Name, "a task without a usable taskId")
	}
	now := x.g.Now()
	ref := &taskRef{
		upstream: t.upstream.Name, id: id, era: made.era, tool: t.item.Name,
		digest: sha256.Sum256(t.passed()), size: len(t.passed()), masks: t.masks.seal(), expires: now.Add(taskLife(made.ttl())),
	}
	if len(t.arguments) <= taskArguments {
		ref.arguments = bytes.Clone(t.arguments)
	}
	if masked, err := wire.Fields(t.masks.maskTask(made.task, wire.NewPatch(made.task)).Bytes()); err == nil {
		made.task = masked
	}
	switch x.tasking.form {
	case taskExtended:
		return x.createdModern(ref, made), nil
	case taskRequest:
		return x.createdLegacy(t, ref, made), nil
	}
	return x.outlast(ctx, t, ref)
}

// ttl is the task's life as its upstream says; negative when it is unlimited
// or not told.
func (m *madeTask) ttl() time.Duration {
	key := "ttlMs"
	if m.era == wire.Legacy {
		key = "ttl"
	}
	raw, _ := m.task.Get(key)
	return millis(raw, -1)
}

// withTaskSupport is a tool of a modern upstream that has tasks, as agents of
// MCP 2025-11-25 see it: without the word they MUST NOT ask for a task.
func withTaskSupport(snap *federation.Snapshot, i *federation.Item, definition []byte) []byte {
	u, _ := snap.Upstream(i.Upstream.Name)
	o, err := wire.Fields(definition)
	if err != nil || u.Era != wire.Modern.String() || !hasTasks(u) {
		return definition
	}
	execution := wire.NewPatch(inside(o, "execution")).Set("taskSupport", []byte(`"optional"`)).Bytes()
	return wire.NewPatch(o).Set("execution", execution).Bytes()
}
