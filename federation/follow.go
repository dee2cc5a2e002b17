package federation

import (
	"context"
	"strings"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

// metaRelated associates a message with a task (MCP 2025-11-25, Tasks).
const metaRelated = "io.modelcontextprotocol/related-task"

// Follow delivers what the upstream tells of these tasks (its own ids) to fn
// until ctx ends: method is MethodTask or MethodTaskStatus, in the upstream's
// own form. It fails and comes back as Subscribe does; as changes may have been
// missed meanwhile, fn then gets a MethodTaskStatus with nothing but the
// taskId, for every task. An upstream need not tell anything.
func (f *Federation) Follow(ctx context.Context, p *identity.Principal, a Agent, upstream string, tasks []string, ready func(), fn func(method string, params []byte)) error {
	return f.subscribe(ctx, upstream, &subscription{
		principal: p, agent: a, filter: listenFilter{Tasks: tasks}, ready: ready,
		fn: func(method string, params []byte) {
			if method == MethodTask || method == MethodTaskStatus {
				fn(method, params)
			}
		},
	})
}

// task is the task that a call asks about; "" when it is about none.
func (c *Call) task() string {
	if !strings.HasPrefix(c.Method, "tasks/") {
		return ""
	}
	o, err := wire.Fields(c.Params)
	if err != nil {
		return ""
	}
	id, _ := o.String("taskId")
	return id
}

// relatedTask is the task that a request of an upstream says it belongs to.
func relatedTask(m *wire.Message) string {
	raw, _ := m.Meta.Get(metaRelated)
	o, err := wire.Fields(raw)
	if err != nil {
		return ""
	}
	id, _ := o.String("taskId")
	return id
}
