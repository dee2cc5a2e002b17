package gateway

import (
	"context"
	"encoding/binary"
	"net/http"
	"slices"
	"sync"

	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	// tasksKept bounds the tasks that tasks/list knows of one principal at one
	// endpoint; the oldest go first.
	tasksKept = 256

	// keptResults bounds the bytes of results kept for them.
	keptResults = 4 << 20

	// taskOwners bounds for how many tasks are remembered at all; above it all
	// are forgotten, like views.
	taskOwners = 4096

	// tasksPage is the size of a page of tasks/list: each task on it that goes
	// on is asked for at its upstream.
	tasksPage = 20
)

// taskTable remembers which tasks the agents of MCP 2025-11-25 have, for
// tasks/list: SEP-2663 has no such request, and no upstream knows whose tasks
// are whose. It is lost at a restart, while the handles go on to work; a task
// that is asked for is remembered again. Safe for concurrent use.
type taskTable struct {
	mu    sync.Mutex
	last  uint64
	tasks map[string][]listedTask // by owner, oldest first
}

type listedTask struct {
	seq    uint64
	handle string
	ref    *taskRef
	state  []byte // as last seen, in the agent's form
	result []byte // of a task that is the gateway's own
}

// taskOwner is whose tasks these are.
func (x *exchange) taskOwner() string { return string(x.taskBound()) }

// note remembers a task, or its new state. false means that its result is too
// large.
func (t *taskTable) note(owner string, n listedTask) bool {
	if len(n.result) > keptResults {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tasks == nil || len(t.tasks) >= taskOwners && t.tasks[owner] == nil {
		t.tasks = make(map[string][]listedTask)
	}
	own := t.tasks[owner]
	if i := slices.IndexFunc(own, func(o listedTask) bool { return o.handle == n.handle }); i >= 0 {
		own[i].state = n.state
		return true
	}
	t.last++
	n.seq = t.last
	own = append(own, n)
	for size := resultBytes(own); len(own) > tasksKept || size > keptResults; own = own[1:] {
		size -= len(own[0].result)
	}
	t.tasks[owner] = own
	return true
}

func resultBytes(tasks []listedTask) (n int) {
	for _, t := range tasks {
		n += len(t.result)
	}
	return n
}

// kept is a task that is the gateway's own.
func (t *taskTable) kept(owner, handle string) (state, result []byte, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, own := range t.tasks[owner] {
		if own.handle == handle && own.result != nil {
			return own.state, own.result, true
		}
	}
	return nil, nil, false
}

// after are at most n tasks that came after seq, which keep accepts, and
// whether there are more.
func (t *taskTable) after(owner string, seq uint64, n int, keep func(*taskRef) bool) (page []listedTask, more bool) {
	t.mu.Lock()
	own := slices.Clone(t.tasks[owner])
	t.mu.Unlock()
	for _, o := range own {
		if o.seq <= seq || !keep(o.ref) {
			continue
		}
		if len(page) == n {
			return page, true
		}
		page = append(page, o)
	}
	return page, false
}

// listTasks answers tasks/list.
func (x *exchange) listTasks(ctx context.Context) ([]byte, *refusal) {
	if !x.offersTasks() {
		return nil, x.noMethod()
	}
	first, f := x.tasksAfter()
	if f != nil {
		return nil, f
	}
	now := x.g.Now()
	page, more := x.g.taskTable.after(x.taskOwner(), first, tasksPage, func(r *taskRef) bool {
		return !now.After(r.expires)
	})
	var targets []*target
	for _, task := range page {
		if t := x.taskTarget(ctx, task.handle); t.known {
			targets = append(targets, t)
		}
	}
	if f := x.recordList(ctx, federation.Tool, &visible{of: len(page)}, len(targets)); f != nil {
		return nil, f
	}
	x.tasking = &tasking{form: taskRequest, declare: true}
	states := make([][]byte, len(targets))
	var asking sync.WaitGroup
	for i, t := range targets {
		y := *x // an exchange is one goroutine's
		asking.Go(func() { states[i] = y.listedState(ctx, t, page) })
	}
	asking.Wait()
	states = slices.DeleteFunc(states, func(s []byte) bool { return s == nil })
	b := append(append([]byte(`{"tasks":`), array(states)...), '}')
	if o, err := wire.Fields(b); more && err == nil {
		b = wire.NewPatch(o).Set("nextCursor", wire.AppendString(nil, x.sealTasksAfter(page[len(page)-1].seq))).Bytes()
	}
	return b, nil
}

// listedState is a task as it is now; as last seen when its upstream can't
// say, and nil when that has forgotten it.
func (x *exchange) listedState(ctx context.Context, t *target, page []listedTask) []byte {
	last := page[slices.IndexFunc(page, func(l listedTask) bool { return l.handle == t.exposed })].state
	o, err := wire.Fields(last)
	if status, _ := o.String("status"); err != nil || t.task.kept || ended(status) {
		return last
	}
	state, f := x.stateLegacy(ctx, t)
	switch {
	case f == nil:
		return state
	case f.reason == "unknown_task":
		return nil
	}
	return last
}

// The cursor of tasks/list describes itself, as that of other lists: the last
// task shown, good for this principal and endpoint alone.

func (x *exchange) sealTasksAfter(seq uint64) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(x.start.Add(cursorLife).Unix()))
	return x.g.Sealer.Seal("cursor", binary.BigEndian.AppendUint64(plain, seq), x.tasksCursorBound())
}

func (x *exchange) tasksCursorBound() []byte { return append(x.taskBound(), "\x00tasks"...) }

func (x *exchange) tasksAfter() (uint64, *refusal) {
	raw, ok := x.m.Params.Get("cursor")
	if !ok || string(raw) == "null" {
		return 0, nil
	}
	cursor, _ := wire.Unquote(raw)
	plain, err := x.g.Sealer.Unseal("cursor", cursor, x.tasksCursorBound())
	if err != nil || len(plain) != 16 || int64(binary.BigEndian.Uint64(plain)) < x.start.Unix() {
		return 0, refuse(http.StatusOK, codeInvalidParams, "cursor", "invalid cursor; list again from the start")
	}
	return binary.BigEndian.Uint64(plain[8:]), nil
}
