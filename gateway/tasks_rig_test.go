package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

const taskCaps = `{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`

// tasker is a scripted upstream with one tool, job, that becomes a task. The
// test says how its tasks go on.
type tasker struct {
	*upstream
	support string // execution.taskSupport; of a modern one, required = -32021 without the extension
	refuses bool   // it makes tasks for clients that did not declare the extension

	lag int // how often an answered task still says that it waits

	mu    sync.Mutex
	tasks map[string]*scripted
}

// scripted is one task. Raw JSON.
type scripted struct {
	status, result, err string
	question            string // key of an open elicitation
	answer              string
	late                int
	last                string
}

func newTasker(t *testing.T, era wire.Era, support string) *tasker {
	k := &tasker{upstream: newUpstream(t, era), support: support, tasks: map[string]*scripted{}}
	k.tools = `{"name":"job","inputSchema":{"type":"object"}},{"name":"plain","inputSchema":{"type":"object"}}`
	k.more = `,"extensions":{"io.modelcontextprotocol/tasks":{}}`
	if era == wire.Legacy {
		k.tools = strings.Replace(k.tools, `"job"`, `"job","execution":{"taskSupport":"`+support+`"}`, 1)
		k.more = `,"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}`
	}
	k.call = k.answer
	return k
}

// with runs f on the only task there is, or on that of the given number.
func (k *tasker) with(n int, f func(*scripted)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f(k.tasks[fmt.Sprintf("own-%d", n)])
}

func (k *tasker) done(n int, result string) {
	k.with(n, func(s *scripted) { s.status, s.result, s.question = "completed", result, "" })
}

// state is a task as its era shows it. It has members that nobody knows, and a
// number that no float must touch.
func (k *tasker) state(id string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := *k.tasks[id]
	if s.late > 0 {
		k.tasks[id].late--
		s.status, s.question = "input_required", s.last
	}
	b := `"taskId":"` + id + `","status":"` + s.status + `","createdAt":"2026-11-24T00:00:00Z","lastUpdatedAt":"2026-11-24T00:00:01Z","x-own":1.10`
	if k.era == wire.Legacy {
		if strings.Contains(s.result, `"isError":true`) && s.status == "completed" {
			b = strings.Replace(b, `"completed"`, `"failed"`, 1)
		}
		return b + `,"ttl":60000,"pollInterval":1`
	}
	b += `,"ttlMs":60000,"pollIntervalMs":1`
	switch {
	case s.status == "completed":
		b += `,"result":` + s.result
	case s.status == "failed":
		b += `,"error":` + s.err
	case s.question != "":
		b += `,"inputRequests":{"` + s.question + `":` + taskQuestion + `}`
	}
	return b
}

const (
	questionParams = `{"message":"sure?","requestedSchema":{"type":"object","properties":{"ok":{"type":"boolean"}}}}`
	taskQuestion   = `{"method":"elicitation/create","params":` + questionParams + `}`
)

func (k *tasker) answer(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
	id, _ := m.Params.String("taskId")
	k.mu.Lock()
	s := k.tasks[id]
	k.mu.Unlock()
	if strings.HasPrefix(m.Method, "tasks/") && s == nil {
		return fails(w, m, `{"code":-32602,"message":"no task `+id+` here"}`)
	}
	if caps, _ := m.Meta.Get(wire.MetaCapabilities); k.era == wire.Modern && m.Method != "tools/call" && !declaresTasks(caps) {
		return fails(w, m, `{"code":-32021,"message":"no"}`)
	}
	ack := `{"resultType":"complete"}`
	switch m.Method {
	case "tools/call":
		return k.make(w, m)
	case "tasks/get":
		if k.era == wire.Legacy {
			return "{" + k.state(id) + "}"
		}
		return `{"resultType":"complete",` + k.state(id) + "}"
	case "tasks/update":
		responses, _ := m.Params.Get("inputResponses")
		k.mu.Lock()
		defer k.mu.Unlock()
		if given, _ := wire.Fields(responses); s.question != "" {
			if a, ok := given.Get(s.question); ok {
				s.answer, s.last, s.question, s.status, s.late = string(a), s.question, "", "working", k.lag
			}
		}
		return ack
	case "tasks/cancel":
		k.mu.Lock()
		over := s.status != "working" && s.status != "input_required"
		if !over {
			s.status = "cancelled"
		}
		k.mu.Unlock()
		if k.era == wire.Modern {
			return ack
		}
		if over {
			return fails(w, m, `{"code":-32602,"message":"`+id+` has ended"}`)
		}
		return "{" + k.state(id) + "}"
	case "tasks/result":
		return k.finish(w, r, m, id, s)
	}
	return `{"content":[]}`
}

// make answers tools/call.
func (k *tasker) make(w http.ResponseWriter, m *wire.Message) string {
	name, _ := m.Params.String("name")
	caps, _ := m.Meta.Get(wire.MetaCapabilities)
	_, asked := m.Params.Get("task")
	if k.era == wire.Modern {
		asked = declaresTasks(caps) || k.refuses
	}
	switch {
	case name == "plain":
		return textResult("at once")
	case !asked && k.support == "required" && k.era == wire.Modern:
		return fails(w, m, `{"code":-32021,"message":"no","data":{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}}`)
	case !asked && k.support == "required":
		return fails(w, m, `{"code":-32601,"message":"a task is required"}`)
	case !asked:
		return textResult("at once")
	}
	k.mu.Lock()
	id := fmt.Sprintf("own-%d", len(k.tasks)+1)
	k.tasks[id] = &scripted{status: "working"}
	k.mu.Unlock()
	if k.era == wire.Legacy {
		return `{"task":{` + k.state(id) + `},"_meta":{"io.modelcontextprotocol/model-immediate-response":"wait"}}`
	}
	return `{"resultType":"task",` + k.state(id) + `}`
}

// finish answers tasks/result: it asks what is open, and waits for the end.
func (k *tasker) finish(w http.ResponseWriter, r *http.Request, m *wire.Message, id string, s *scripted) string {
	related := `"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"` + id + `"},"keep":1}`
	k.mu.Lock()
	key := s.question
	k.mu.Unlock()
	if key != "" {
		reply := k.expects(`"` + key + `"`)
		emit(w, string(wire.AppendRequest(nil, []byte(`"`+key+`"`), "elicitation/create", []byte(strings.Replace(questionParams, "{", "{"+related+",", 1)))))
		select {
		case a := <-reply:
			k.with(int(id[4]-'0'), func(s *scripted) {
				s.answer, s.last, s.question, s.status, s.late = said(a), s.question, "", "working", k.lag
			})
		case <-r.Context().Done():
			return ""
		}
		for over := false; !over && r.Context().Err() == nil; time.Sleep(time.Millisecond) {
			k.mu.Lock()
			over = s.status != "working"
			k.mu.Unlock()
		}
	}
	k.mu.Lock()
	result, failure := s.result, s.err
	k.mu.Unlock()
	answer := string(wire.AppendResult(nil, m.ID, []byte(strings.Replace(result, "{", "{"+related+",", 1))))
	if failure != "" {
		answer = `{"jsonrpc":"2.0","id":` + string(m.ID) + `,"error":` + failure + `}`
	}
	if key != "" {
		emit(w, answer)
	} else {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(answer))
	}
	return ""
}

// task is the task in an answer to an agent, of either form.
type shownTask struct {
	TaskID                       string
	Status                       string
	ResultType                   string
	TTLMs                        *int
	TTL                          *int
	PollIntervalMs, PollInterval int
	Result, Error                json.RawMessage
	InputRequests                map[string]json.RawMessage
}

// made is the task that an agent's call became.
func (k *talker) made(t *testing.T, name, more string) shownTask {
	t.Helper()
	if k.era == wire.Legacy {
		more += `,"task":{"ttl":60000}`
	}
	m := k.call("tools/call", `"name":"`+name+`"`+more)
	return readTask(t, m)
}

func readTask(t *testing.T, m *wire.Message) shownTask {
	t.Helper()
	if m.Error != nil {
		t.Fatal(said(m))
	}
	var outer struct {
		shownTask
		Task *shownTask
	}
	if err := json.Unmarshal(m.Result, &outer); err != nil {
		t.Fatal(err, said(m))
	}
	if outer.Task != nil {
		return *outer.Task
	}
	return outer.shownTask
}

// about asks something about a task.
func (k *talker) about(method, handle, more string) *wire.Message {
	k.r.t.Helper()
	m, err := k.once(k.r.t.Context(), method, `"taskId":"`+handle+`"`+more)
	if err != nil {
		k.r.t.Fatal(err)
	}
	return m
}

// soon does step again and again beside the test, until it says that it is
// done or the test is.
func soon(t *testing.T, step func() bool) {
	go func() {
		for t.Context().Err() == nil && !step() {
			time.Sleep(time.Millisecond)
		}
	}()
}
