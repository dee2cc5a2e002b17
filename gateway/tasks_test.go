package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
	"github.com/ostiary/ostiary/policy"
)

// jobAt is the rig of most tests: one upstream with tasks, one agent.
func jobAt(t *testing.T, c combination, support, caps string) (*rig, *tasker, *talker) {
	t.Helper()
	u := newTasker(t, c.ups, support)
	r := newRig(t, map[string]*upstream{"up": u.upstream})
	return r, u, r.talk(c.agent, "2025-11-25", caps)
}

// TestTasks goes through the life of a task in all four combinations of eras.
func TestTasks(t *testing.T) {
	for _, c := range combinations {
		for name, test := range map[string]func(*testing.T, combination){
			"a task is under a handle of ours from creation to result":   taskCourse,
			"what a task asks reaches the agent and its answer the task": taskQuestions,
			"a tool's own error and a JSON-RPC error end a task apart":   taskEnds,
			"cancelling":                           taskCancel,
			"status notifications have the handle": taskNotices,
		} {
			t.Run(c.name+" "+name, func(t *testing.T) { test(t, c) })
		}
	}
}

func taskCourse(t *testing.T, c combination) {
	r, u, k := jobAt(t, c, "optional", taskCaps)
	task := k.made(t, "up__job", `,"arguments":{"n":1.10}`)
	if task.TaskID == "" || task.TaskID == "own-1" || task.Status != "working" {
		t.Fatalf("created: %+v", task)
	}
	if k.era == wire.Modern && (task.ResultType != "task" || task.TTLMs == nil || task.PollIntervalMs != 1 || task.TTL != nil) ||
		k.era == wire.Legacy && (task.TTL == nil || task.PollInterval != 1 || task.TTLMs != nil) {
		t.Errorf("not the agent's form: %+v", task)
	}
	call := u.calls("tools/call")[0].body
	if c.ups == wire.Legacy != strings.Contains(call, `"task":{`) ||
		c.ups == wire.Modern != strings.Contains(call, tasksExtension) || !strings.Contains(call, `"arguments":{"n":1.10}`) {
		t.Errorf("the upstream got %s", call)
	}
	got := k.about("tasks/get", task.TaskID, "")
	if now := readTask(t, got); now.TaskID != task.TaskID || now.Status != "working" || !strings.Contains(said(got), `"x-own":1.10`) {
		t.Errorf("tasks/get: %s", said(got))
	}
	own := ""
	if c.ups == wire.Modern { // which has no business there, and names the task by the upstream's id
		own = `,"_meta":{"` + relatedTask + `":{"taskId":"own-1"}}`
	}
	u.done(1, `{"content":[{"type":"resource_link","name":"r","uri":"file:///r"}],"x":1.10`+own+`}`)
	var result string
	if c.agent == wire.Modern {
		now := readTask(t, k.about("tasks/get", task.TaskID, ""))
		if now.ResultType != "complete" || now.Status != "completed" {
			t.Errorf("completed: %+v", now)
		}
		result = string(now.Result)
		if strings.Contains(result, relatedTask) {
			t.Errorf("the result names the task again: %s", result)
		}
	} else {
		if s := readTask(t, k.about("tasks/get", task.TaskID, "")).Status; s != "completed" {
			t.Errorf("status %s", s)
		}
		result = said(k.about("tasks/result", task.TaskID, ""))
		if !strings.Contains(result, `"io.modelcontextprotocol/related-task":{"taskId":"`+task.TaskID+`"}`) {
			t.Errorf("the result does not name the task: %s", result)
		}
	}
	if strings.Contains(result, "own-1") || !strings.Contains(result, "file:///r#upstream=up") || !strings.Contains(result, `"x":1.10`) {
		t.Errorf("result: %s", result)
	}
	for _, h := range u.all() {
		if strings.Contains(h.body, task.TaskID) || h.method == "tasks/get" && c.ups == wire.Modern && h.header.Get("Mcp-Name") != "own-1" {
			t.Errorf("the upstream got %v %s", h.header, h.body)
		}
	}
	r.stop()
	for _, rec := range r.records() {
		if rec.Kind == "decision" && strings.HasPrefix(rec.Detail, "tasks/") &&
			(rec.Request.Method != "tools/call" || rec.Target.Name != "job" || string(rec.Arguments.Value) != `{"n":1.10}`) {
			t.Errorf("%s was not judged as the call: %+v", rec.Detail, rec)
		}
	}
}

func taskQuestions(t *testing.T, c combination) {
	_, u, k := jobAt(t, c, "optional", taskCaps)
	task := k.made(t, "up__job", "")
	u.with(1, func(s *scripted) { s.status, s.question = "input_required", "q7" })
	const yes = `{"action":"accept","content":{"ok":true,"n":1.10}}`
	if c.agent == wire.Modern {
		now := readTask(t, k.about("tasks/get", task.TaskID, ""))
		if now.Status != "input_required" || len(now.InputRequests) != 1 {
			t.Fatalf("%+v", now)
		}
		for key, q := range now.InputRequests {
			if !strings.HasSuffix(string(q), taskQuestion[len(`{"method":"elicitation/create","params":{`):]) || strings.Contains(string(q), relatedTask) {
				t.Errorf("question: %s", q)
			}
			m := k.about("tasks/update", task.TaskID, `,"inputResponses":{"nobody":{},"`+key+`":`+yes+`}`)
			if !strings.Contains(said(m), `"resultType":"complete"`) || strings.Contains(said(m), "taskId") {
				t.Errorf("tasks/update: %s", said(m))
			}
		}
	} else {
		k.answer = func(_ string, params []byte) string {
			if !strings.Contains(string(params), `"taskId":"`+task.TaskID+`"`) {
				t.Errorf("the question does not name the task: %s", params)
			}
			return yes
		}
		soon(t, func() bool {
			u.mu.Lock()
			defer u.mu.Unlock()
			s := u.tasks["own-1"]
			if s.answer != "" {
				s.status, s.result = "completed", textResult("done")
			}
			return s.answer != ""
		})
		if got := said(k.about("tasks/result", task.TaskID, "")); !strings.Contains(got, "done") {
			t.Errorf("result: %s", got)
		}
	}
	until(t, "the task has the answer", func() bool {
		ok := false
		u.with(1, func(s *scripted) { ok = s.answer == yes })
		return ok
	})
	if c.agent == wire.Modern {
		u.done(1, textResult("done"))
		until(t, "completed", func() bool { return readTask(t, k.about("tasks/get", task.TaskID, "")).Status == "completed" })
	}
}

func taskEnds(t *testing.T, c combination) {
	_, u, k := jobAt(t, c, "optional", taskCaps)
	own := k.made(t, "up__job", "")
	u.done(1, `{"content":[],"isError":true}`)
	broken := k.made(t, "up__job", "")
	u.with(2, func(s *scripted) { s.status, s.err = "failed", `{"code":-32000,"message":"boom","data":{"n":1.10}}` })
	first, second := readTask(t, k.about("tasks/get", own.TaskID, "")), readTask(t, k.about("tasks/get", broken.TaskID, ""))
	if c.agent == wire.Modern {
		if first.Status != "completed" || !strings.Contains(string(first.Result), `"isError":true`) {
			t.Errorf("tool error: %+v", first)
		}
		if second.Status != "failed" || string(second.Error) != `{"code":-32000,"message":"boom","data":{"n":1.10}}` || second.Result != nil {
			t.Errorf("JSON-RPC error: %+v", second)
		}
		return
	}
	if first.Status != "failed" || second.Status != "failed" {
		t.Errorf("%+v %+v", first, second)
	}
	if got := said(k.about("tasks/result", own.TaskID, "")); !strings.Contains(got, `"isError":true`) {
		t.Errorf("tool error: %s", got)
	}
	if got := k.about("tasks/result", broken.TaskID, ""); got.Error == nil || got.Error.Code != -32000 || got.Error.Message != "boom" {
		t.Errorf("JSON-RPC error: %s", said(got))
	}
}

func taskCancel(t *testing.T, c combination) {
	_, _, k := jobAt(t, c, "optional", taskCaps)
	task := k.made(t, "up__job", "")
	m := k.about("tasks/cancel", task.TaskID, "")
	again := k.about("tasks/cancel", task.TaskID, "")
	if c.agent == wire.Modern {
		for _, m := range []*wire.Message{m, again} { // SEP-2663: an empty acknowledgement, also of what has ended
			if !strings.Contains(said(m), `"resultType":"complete"`) || strings.Contains(said(m), "taskId") {
				t.Errorf("cancel: %s", said(m))
			}
		}
	} else {
		if now := readTask(t, m); now.Status != "cancelled" || now.TaskID != task.TaskID {
			t.Errorf("cancel: %s", said(m))
		}
		if again.Error == nil || again.Error.Code != codeInvalidParams || strings.Contains(again.Error.Message, "own-1") {
			t.Errorf("cancel again: %s", said(again))
		}
		if got := k.about("tasks/result", task.TaskID, ""); got.Error == nil {
			t.Errorf("result of a cancelled task: %s", said(got))
		}
	}
	if s := readTask(t, k.about("tasks/get", task.TaskID, "")).Status; s != "cancelled" {
		t.Errorf("status %s", s)
	}
}

func taskNotices(t *testing.T, c combination) {
	u := newTasker(t, c.ups, "optional")
	send := u.notices()
	r := newRig(t, map[string]*upstream{"up": u.upstream})
	k := r.talk(c.agent, "2025-11-25", taskCaps)
	var events <-chan event
	if c.agent == wire.Legacy { // whose tasks are followed while it has a stream
		events = k.watch(t, "")
	}
	task := k.made(t, "up__job", "")
	if c.agent == wire.Modern {
		events = k.watch(t, `"taskIds":["`+task.TaskID+`","other"]`)
	}
	u.done(1, textResult("done"))
	until(t, "the upstream is listened to", func() bool {
		method := "subscriptions/listen"
		if c.ups == wire.Legacy {
			return true
		}
		for _, h := range u.calls(method) {
			if strings.Contains(h.body, `"taskIds":["own-1"]`) {
				return true
			}
		}
		return false
	})
	method := "notifications/tasks"
	if c.ups == wire.Legacy {
		method += "/status"
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() { // again and again: whose stream is open when is the transport's business
		for {
			select {
			case send <- `{"jsonrpc":"2.0","method":"` + method + `","params":{` + u.state("own-1") + `}}`:
				time.Sleep(10 * time.Millisecond)
			case <-stop:
				return
			}
		}
	}()
	got := hear(t, events, "notifications/tasks")
	if !strings.Contains(got, `"taskId":"`+task.TaskID+`"`) || strings.Contains(got, "own-1") || !strings.Contains(got, `"status":"completed"`) {
		t.Errorf("heard %s", got)
	}
	if c.agent == wire.Modern != strings.Contains(got, `"text":"done"`) {
		t.Errorf("the whole task is SEP-2663's alone: %s", got)
	}
	if c.agent == wire.Modern && !strings.Contains(got, wire.MetaSubscription) {
		t.Errorf("without a subscription id: %s", got)
	}
}

func TestAnAgentThatKnowsNoTasksGetsTheResult(t *testing.T) {
	for _, c := range combinations {
		t.Run(c.name, func(t *testing.T) {
			_, u, k := jobAt(t, c, "required", `{"elicitation":{}}`)
			soon(t, func() bool {
				u.mu.Lock()
				defer u.mu.Unlock()
				if s := u.tasks["own-1"]; s != nil && s.status == "working" && s.answer == "" {
					s.status, s.question = "input_required", "q1"
				} else if s != nil && s.answer != "" {
					s.status, s.result = "completed", textResult("after all")
					return true
				}
				return false
			})
			m := k.call("tools/call", `"name":"up__job"`)
			if !strings.Contains(said(m), "after all") || strings.Contains(said(m), relatedTask) || strings.Contains(said(m), "own-1") {
				t.Errorf("%s", said(m))
			}
			if len(k.asked) != 1 || strings.Contains(string(k.asked[0].params), relatedTask) {
				t.Errorf("asked: %s", k.asked)
			}
			if n := len(u.tasks); n != 1 {
				t.Errorf("%d tasks", n)
			}
		})
	}
}

// SEP-2663: a server MUST NOT make a task for a client that did not declare
// the extension. One that does it anyway is waited for.
func TestATaskThatNobodyAskedForIsWaitedFor(t *testing.T) {
	_, u, k := jobAt(t, combination{"", wire.Modern, wire.Modern}, "optional", `{}`)
	u.refuses = true
	soon(t, func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		s := u.tasks["own-1"]
		if s != nil {
			s.status, s.result = "completed", textResult("late")
		}
		return s != nil
	})
	if m := k.call("tools/call", `"name":"up__job"`); !strings.Contains(said(m), "late") {
		t.Error(said(m))
	}
}

func TestAtOneUpstreamsOwnEndpointAModernAgentIsToldWhatItLacks(t *testing.T) {
	r, u, k := jobAt(t, combination{"", wire.Modern, wire.Modern}, "required", `{}`)
	k.path = "/mcp/up"
	m := k.call("tools/call", `"name":"job"`)
	if m.Error == nil || m.Error.Code != codeMissingCap || !strings.Contains(string(m.Error.Data), tasksExtension) {
		t.Errorf("%s", said(m))
	}
	if n := len(u.calls("tools/call")); n != 1 {
		t.Errorf("%d calls", n)
	}
	// In its own era a legacy agent can't declare it: the gateway waits.
	s := r.legacy("/mcp/up")
	soon(t, func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		if s := u.tasks["own-1"]; s != nil {
			s.status, s.result = "completed", textResult("late")
		}
		return len(u.tasks) > 0
	})
	if got := r.in(s, "/mcp/up", "tools/call", `"name":"job"`).result(t); !strings.Contains(got, "late") {
		t.Error(got)
	}
}

func TestAnAgentThatHangsUpTakesItsUnseenTaskWithIt(t *testing.T) {
	_, u, k := jobAt(t, combination{"", wire.Modern, wire.Modern}, "required", `{}`)
	ctx, cancel := context.WithCancel(t.Context())
	soon(t, func() bool {
		followed := len(u.calls("tasks/get")) > 0
		if followed {
			cancel()
		}
		return followed
	})
	if _, err := k.once(ctx, "tools/call", `"name":"up__job"`); err == nil {
		t.Error("it was answered")
	}
	until(t, "the task is cancelled", func() bool {
		cancelled := false
		u.with(1, func(s *scripted) { cancelled = s.status == "cancelled" })
		return cancelled
	})
}

// Promise 2, hidden = unknown: a handle binds principal and endpoint.
// Security catalogue A-030.
func TestAHandleIsGoodForItsPrincipalAndEndpointAlone(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().Unix())
	decider := &hidden{}
	u := newTasker(t, wire.Modern, "optional")
	r := newRig(t, map[string]*upstream{"up": u.upstream}, func(_ *rig, c *Config) {
		c.Now = func() time.Time { return time.Unix(now.Load(), 0) }
		c.Decider = decider
	})
	k := r.talk(wire.Modern, "", taskCaps)
	task := k.made(t, "up__job", "")
	readTask(t, k.about("tasks/get", task.TaskID, ""))
	u.reset()
	refused := func(rule string, k *talker, handle string) {
		t.Helper()
		for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
			before := decider.decided.Load()
			m := k.about(method, handle, `,"inputResponses":{}`)
			if m.Error == nil || m.Error.Code != codeInvalidParams || m.Error.Message != "Unknown task" || m.Error.Data != nil {
				t.Errorf("%s, %s: %s", rule, method, said(m))
			}
			if n := decider.decided.Load() - before; n != 1 {
				t.Errorf("%s, %s: %d decisions", rule, method, n)
			}
		}
	}
	mallory, direct := *k, *k
	mallory.user, direct.path = "mallory", "/mcp/up"
	refused("another principal", &mallory, task.TaskID)
	refused("another endpoint", &direct, task.TaskID)
	refused("no handle at all", k, "own-1")
	refused("a changed handle", k, task.TaskID[:len(task.TaskID)-1])
	decider.hide.Store(true)
	refused("a tool that is hidden now", k, task.TaskID)
	decider.hide.Store(false)
	now.Add(int64(taskLeast / time.Second))
	r.g.views.m = nil
	readTask(t, k.about("tasks/get", task.TaskID, ""))
	u.reset()
	now.Add(1)
	refused("an expired handle", k, task.TaskID)
	if u.heard() != 0 {
		t.Errorf("the upstream heard of it: %v", u.all())
	}
	// What the upstream has forgotten reads the same, in our words.
	now.Add(-1)
	u.mu.Lock()
	clear(u.tasks)
	u.mu.Unlock()
	if m := k.about("tasks/get", task.TaskID, ""); m.Error == nil || m.Error.Message != "Unknown task" {
		t.Errorf("forgotten: %s", said(m))
	}
}

// hidden hides everything from lists when told to.
type hidden struct {
	policy.AllowAll
	hide    atomic.Bool
	decided atomic.Int64
}

func (h *hidden) Decide(context.Context, *policy.Request) (policy.Decision, error) {
	h.decided.Add(1)
	return policy.Decision{Allow: true}, nil
}

func (h *hidden) Visible(_ context.Context, _ *policy.Request, _ []string, targets []policy.Target) ([]bool, error) {
	shown := make([]bool, len(targets))
	for i := range shown {
		shown[i] = !h.hide.Load()
	}
	return shown, nil
}

func (h *hidden) Revision() string { return fmt.Sprint(h.hide.Load()) }

func TestAHandleSurvivesARestart(t *testing.T) {
	for _, c := range combinations {
		r, u, k := jobAt(t, c, "optional", taskCaps)
		task := k.made(t, "up__job", "")
		r.stop()
		r.start(map[string]*upstream{"up": u.upstream})
		if now := readTask(t, k.about("tasks/get", task.TaskID, "")); now.TaskID != task.TaskID {
			t.Errorf("%s: %+v", c.name, now)
		}
	}
}

func TestTheLifeOfAHandle(t *testing.T) {
	for _, c := range []struct{ ttl, want time.Duration }{
		{-1, taskMost}, {0, taskLeast}, {taskLeast - 1, taskLeast}, {taskLeast + 1, taskLeast + 1},
		{taskMost - 1, taskMost - 1}, {taskMost + 1, taskMost},
	} {
		if got := taskLife(c.ttl); got != c.want {
			t.Errorf("ttl %v: %v, want %v", c.ttl, got, c.want)
		}
	}
}

func TestAHandleHoldsArgumentsUpToALimitAndTheirDigestBeyond(t *testing.T) {
	r, _, k := jobAt(t, combination{"", wire.Modern, wire.Modern}, "optional", taskCaps)
	for _, over := range []int{0, 1} {
		pad := strings.Repeat("x", taskArguments-len(`{"a":""}`)+over)
		task := k.made(t, "up__job", `,"arguments":{"a":"`+pad+`"}`)
		readTask(t, k.about("tasks/get", task.TaskID, ""))
	}
	r.stop()
	var seen []bool
	for _, rec := range r.records() {
		if rec.Detail != "tasks/get" || rec.Kind != "decision" {
			continue
		}
		seen = append(seen, rec.Arguments.Value != nil)
		if rec.Arguments.Size != taskArguments+len(seen)-1 || len(rec.Arguments.Digest) != 64 {
			t.Errorf("%+v", rec.Arguments)
		}
	}
	if fmt.Sprint(seen) != "[true false]" {
		t.Errorf("in clear: %v", seen)
	}
}

func TestTheIDOfAnUpstreamsTaskIsBounded(t *testing.T) {
	x := &exchange{g: &Gateway{Config: Config{Now: time.Now, Sealer: openStore(t, t.TempDir())}}, p: person("a", "c"), tasking: &tasking{form: taskExtended}, snap: newRig(t, nil).fed.Snapshot()}
	u := &target{upstream: &catalogs.Upstream{Name: "up"}, item: &federation.Item{Name: "job"}}
	for n, ok := range map[int]bool{0: false, taskIDMax: true, taskIDMax + 1: false} {
		o, _ := wire.Fields([]byte(`{"resultType":"task","taskId":"` + strings.Repeat("i", n) + `","ttlMs":null}`))
		if _, f := x.taskMade(t.Context(), u, &madeTask{era: wire.Modern, outer: o, task: o}); (f == nil) != ok {
			t.Errorf("%d bytes: %v", n, f)
		}
	}
}

func TestTasksAreOfferedExactlyWhereTheyAnswer(t *testing.T) {
	m, l, none := newTasker(t, wire.Modern, "optional"), newTasker(t, wire.Legacy, "optional"), newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"new": m.upstream, "old": l.upstream, "none": none})
	for path, offered := range map[string]bool{"/mcp": true, "/mcp/new": true, "/mcp/old": true, "/mcp/none": false} {
		k := r.talk(wire.Modern, "", taskCaps)
		k.path = path
		if got := said(k.call("server/discover", "")); strings.Contains(got, `"extensions":{"io.modelcontextprotocol/tasks":{}}`) != offered || strings.Contains(got, `"tasks":{"list`) {
			t.Errorf("%s: %s", path, got)
		}
		want := int64(codeMethodNotFound)
		if offered {
			want = codeInvalidParams
		}
		for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
			if got := k.about(method, "x", `,"inputResponses":{}`); got.Error.Code != want {
				t.Errorf("%s, %s: %s", path, method, said(got))
			}
			plain := *k
			plain.caps = "{}"
			if got := plain.about(method, "x", ""); offered && (got.Error.Code != codeMissingCap || !strings.Contains(string(got.Error.Data), tasksExtension)) {
				t.Errorf("%s, %s, undeclared: %s", path, method, said(got))
			}
		}
		for _, method := range []string{"tasks/list", "tasks/result"} { // removed by SEP-2663
			if got := k.about(method, "x", ""); got.Error.Code != codeMethodNotFound {
				t.Errorf("%s, %s: %s", path, method, said(got))
			}
		}
		for _, version := range []string{"2025-11-25", "2025-06-18"} {
			a := r.post(path, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+`","capabilities":{}}}`)
			has := offered && version == "2025-11-25"
			if strings.Contains(a.body, `"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}`) != has || strings.Contains(a.body, tasksExtension) {
				t.Errorf("%s, %s: %s", path, version, a.body)
			}
			s := []string{"Mcp-Session-Id", a.header.Get("Mcp-Session-Id"), "Mcp-Protocol-Version", version}
			for _, method := range []string{"tasks/get", "tasks/result", "tasks/cancel", "tasks/list"} {
				if got := r.in(s, path, method, `"taskId":"x"`); (got.code(t) != codeMethodNotFound) != has {
					t.Errorf("%s, %s, %s: %s", path, version, method, got.body)
				}
			}
		}
	}
}

func TestAToolThatCantBeATask(t *testing.T) {
	m, none := newTasker(t, wire.Modern, "optional"), newUpstream(t, wire.Modern)
	r := newRig(t, map[string]*upstream{"new": m.upstream, "none": none})
	k := r.talk(wire.Legacy, "2025-11-25", "{}")
	got := k.call("tools/call", `"name":"none__echo","task":{}`)
	if got.Error == nil || got.Error.Code != codeMethodNotFound || len(none.calls("tools/call")) != 0 {
		t.Errorf("%s", said(got))
	}
	// Where nothing has tasks, the wish is ignored (MCP 2025-11-25, Task Support
	// and Handling).
	s := r.legacy("/mcp/none")
	if got := r.in(s, "/mcp/none", "tools/call", `"name":"echo","task":{}`).result(t); got != `{"content":[]}` {
		t.Error(got)
	}
	// A modern tool says for itself what becomes a task, which 2025-11-25 has a
	// word for.
	if got := said(k.call("tools/list", "")); strings.Count(got, `"execution":{"taskSupport":"optional"}`) != 2 || strings.Contains(strings.Split(got, "none__echo")[1], "taskSupport") {
		t.Error(got)
	}
}

func TestAResultThatIsThereAtOnceIsATaskToWhoAskedForOne(t *testing.T) {
	r, u, k := jobAt(t, combination{"", wire.Legacy, wire.Modern}, "optional", "{}")
	task := k.made(t, "up__plain", "")
	if task.Status != "completed" || task.TTL == nil {
		t.Fatalf("%+v", task)
	}
	if got := readTask(t, k.about("tasks/get", task.TaskID, "")); got.Status != "completed" {
		t.Errorf("%+v", got)
	}
	got := said(k.about("tasks/result", task.TaskID, ""))
	if !strings.Contains(got, "at once") || !strings.Contains(got, `"taskId":"`+task.TaskID+`"`) || strings.Contains(got, "resultType") {
		t.Error(got)
	}
	if got := k.about("tasks/cancel", task.TaskID, ""); got.Error == nil || got.Error.Code != codeInvalidParams {
		t.Error(said(got))
	}
	if len(u.calls("tasks/get")) != 0 {
		t.Error("the upstream was asked for a task that it does not have")
	}
	r.stop()
	r.start(map[string]*upstream{"up": u.upstream})
	if got := k.about("tasks/result", task.TaskID, ""); got.Error == nil || got.Error.Message != "Unknown task" {
		t.Errorf("after a restart: %s", said(got))
	}
}

func TestTasksAreListedToWhomTheyBelong(t *testing.T) {
	_, u, k := jobAt(t, combination{"", wire.Legacy, wire.Legacy}, "optional", "{}")
	var made []string
	for range tasksPage + 1 {
		made = append(made, k.made(t, "up__job", "").TaskID)
	}
	u.done(1, textResult("done"))
	var page struct {
		Tasks      []shownTask
		NextCursor string
	}
	var listed []string
	read := func(params string) {
		t.Helper()
		m := k.call("tasks/list", params)
		page.NextCursor = ""
		if m.Error != nil {
			t.Fatal(said(m))
		}
		if err := json.Unmarshal(m.Result, &page); err != nil {
			t.Fatal(err)
		}
		for _, task := range page.Tasks {
			listed = append(listed, task.TaskID)
		}
	}
	read("")
	if len(page.Tasks) != tasksPage || page.NextCursor == "" || page.Tasks[0].Status != "completed" || page.Tasks[1].Status != "working" {
		t.Errorf("first page: %d, cursor %q, %+v", len(page.Tasks), page.NextCursor, page.Tasks[0])
	}
	cursor := page.NextCursor
	read(`"cursor":"` + cursor + `"`)
	if fmt.Sprint(listed) != fmt.Sprint(made) || page.NextCursor != "" {
		t.Errorf("listed %v, made %v", listed, made)
	}
	if m := k.call("tasks/list", `"cursor":"x"`); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error(said(m))
	}
	bob := k.r.legacy("/mcp", "X-Test-User", "bob")
	if got := k.r.in(bob, "/mcp", "tasks/list", "").result(t); got != `{"tasks":[]}` {
		t.Errorf("another's list: %s", got)
	}
	if got := k.r.in(bob, "/mcp", "tasks/list", `"cursor":"`+cursor+`"`); got.code(t) != codeInvalidParams {
		t.Errorf("another's cursor: %s", got.body)
	}
	u.mu.Lock()
	delete(u.tasks, "own-2")
	u.mu.Unlock()
	listed = nil
	if read(""); len(page.Tasks) != tasksPage-1 {
		t.Errorf("%d with one forgotten", len(page.Tasks))
	}
}

func TestTheTableOfTasksIsBounded(t *testing.T) {
	var table taskTable
	all := func(string) func(*taskRef) bool { return func(*taskRef) bool { return true } }
	for i := range tasksKept + 1 {
		table.note("a", listedTask{handle: fmt.Sprint(i)})
	}
	if page, _ := table.after("a", 0, tasksKept+1, all("")); len(page) != tasksKept || page[0].handle != "1" {
		t.Errorf("%d tasks from %s on", len(page), page[0].handle)
	}
	if !table.note("b", listedTask{handle: "x", result: make([]byte, keptResults)}) {
		t.Error("a result at the limit is not kept")
	}
	if table.note("b", listedTask{handle: "y", result: make([]byte, keptResults+1)}) {
		t.Error("a result over the limit is kept")
	}
	table.note("b", listedTask{handle: "z", result: []byte("1")})
	if _, _, ok := table.kept("b", "x"); ok {
		t.Error("results over the limit in all are kept")
	}
	if _, result, ok := table.kept("b", "z"); !ok || string(result) != "1" {
		t.Error("the newest result went")
	}
	for i := range taskOwners {
		table.note("owner "+fmt.Sprint(i), listedTask{handle: "x"})
	}
	if len(table.tasks) > taskOwners {
		t.Errorf("%d owners", len(table.tasks))
	}
}

func TestListeningToTasksNeedsTheExtension(t *testing.T) {
	r, _, k := jobAt(t, combination{"", wire.Modern, wire.Modern}, "optional", "{}")
	if m, err := k.once(t.Context(), "subscriptions/listen", `"notifications":{"taskIds":["x"]}`); err != nil || m.Error == nil || m.Error.Code != codeMissingCap {
		t.Error(m, err)
	}
	k.caps = taskCaps
	for n, status := range map[int]bool{listenTasks: true, listenTasks + 1: false} {
		ids := strings.TrimSuffix(strings.Repeat(`"x",`, n), ",")
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := http.DefaultClient.Do(k.request(ctx, 1, "subscriptions/listen", `"notifications":{"taskIds":[`+ids+`]}`))
		if err != nil {
			t.Fatal(err)
		}
		if stream := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream"); stream != status {
			t.Errorf("%d ids: stream %v", n, stream)
		} else if stream {
			if ack := <-readEvents(resp.Body); !strings.Contains(ack.data, `"taskIds":[]`) {
				t.Errorf("ack: %s", ack.data)
			}
		}
		cancel()
		resp.Body.Close()
	}
	_ = r
}

// SEP-2663: keys are unique over a task's life, and updates take their time.
func TestNobodyIsAskedTwiceByATaskThatIsSlowToNotice(t *testing.T) {
	for _, c := range combinations {
		t.Run(c.name, func(t *testing.T) {
			_, u, k := jobAt(t, c, "optional", taskCaps)
			u.lag = 2
			task := k.made(t, "up__job", "")
			u.with(1, func(s *scripted) { s.status, s.question = "input_required", "q7" })
			if c.agent == wire.Legacy {
				soon(t, func() bool {
					u.mu.Lock()
					defer u.mu.Unlock()
					s := u.tasks["own-1"]
					if s.answer != "" && s.late == 0 {
						s.status, s.result = "completed", textResult("done")
					}
					return s.result != ""
				})
				if got := said(k.about("tasks/result", task.TaskID, "")); !strings.Contains(got, "done") || len(k.asked) != 1 {
					t.Errorf("asked %d times, got %s", len(k.asked), got)
				}
				return
			}
			now := readTask(t, k.about("tasks/get", task.TaskID, ""))
			for key := range now.InputRequests {
				k.about("tasks/update", task.TaskID, `,"inputResponses":{"`+key+`":{"action":"decline"}}`)
			}
			until(t, "the task has the answer", func() bool {
				answered := false
				u.with(1, func(s *scripted) { answered = s.answer != "" })
				return answered
			})
			if now := readTask(t, k.about("tasks/get", task.TaskID, "")); c.ups == wire.Legacy && (now.Status != "working" || now.InputRequests != nil) {
				t.Errorf("a question that is answered: %+v", now)
			}
		})
	}
}

// Promise 2: what an upstream asks is judged, in whatever it comes.
func TestWhatATaskAsksIsJudgedAndFitsTheAgent(t *testing.T) {
	for _, ups := range []wire.Era{wire.Modern, wire.Legacy} {
		u := newTasker(t, ups, "optional")
		r := newRig(t, map[string]*upstream{"up": u.upstream}, func(_ *rig, c *Config) { c.Decider = noQuestions{} })
		k := r.talk(wire.Modern, "", taskCaps)
		task := k.made(t, "up__job", "")
		u.with(1, func(s *scripted) { s.status, s.question = "input_required", "q7" })
		if m := k.about("tasks/get", task.TaskID, ""); m.Error == nil || m.Error.Code != CodeDenied || strings.Contains(said(m), "sure?") {
			t.Errorf("%v, denied: %s", ups, said(m))
		}
		if ups == wire.Modern { // a legacy one that was told of no elicitation can't ask
			k.caps = strings.Replace(taskCaps, `"elicitation":{},`, "", 1)
			if m := k.about("tasks/get", task.TaskID, ""); m.Error == nil || m.Error.Code != CodeBadAnswer {
				t.Errorf("undeclared: %s", said(m))
			}
		}
	}
}

// noQuestions allows everything but elicitation.
type noQuestions struct{ policy.AllowAll }

func (noQuestions) Decide(_ context.Context, r *policy.Request) (policy.Decision, error) {
	return policy.Decision{Allow: r.Request.Method != "elicitation/create"}, nil
}
