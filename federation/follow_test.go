package federation

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

func TestTasksAreFollowedOverALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("x")
		w := newWorld(t, nil, map[string]*script{"a": a})
		defer w.stop()
		w.apply(entry("a"))
		var mu sync.Mutex
		var got []string
		ready := 0
		ctx, cancel := context.WithCancel(t.Context())
		var over sync.WaitGroup
		over.Go(func() {
			w.Follow(ctx, user("u"), Agent{}, "a", []string{"t1", "t2"}, func() { ready++ }, func(method string, params []byte) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, method+" "+string(params))
			})
		})
		synctest.Wait()
		a.say(MethodTask, `{"taskId":"t1","status":"working"}`)
		a.say(MethodTaskStatus, `{"taskId":"t2","status":"completed"}`)
		a.say(toolsChanged, `{}`)
		synctest.Wait()
		a.open()[1].lose()
		time.Sleep(2 * retryFirst)
		synctest.Wait()
		equal(t, "heard", got, []string{
			MethodTask + ` {"taskId":"t1","status":"working"}`, MethodTaskStatus + ` {"taskId":"t2","status":"completed"}`,
			MethodTaskStatus + ` {"taskId":"t1"}`, MethodTaskStatus + ` {"taskId":"t2"}`, // something was missed
		})
		if ready != 1 {
			t.Errorf("ready %d times", ready)
		}
		cancel()
		over.Wait()
	})
}

func TestAFilterForTasksLetsTheirNotificationsThroughAlone(t *testing.T) {
	f := listenFilter{Tasks: []string{"a", `b"`}}
	if got := string(f.params()); got != `{"taskIds":["a","b\""]}` {
		t.Error(got)
	}
	for raw, want := range map[string]bool{
		`{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"a"}}`:        true,
		`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"a"}}`: true,
		`{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"c"}}`:        false,
		`{"jsonrpc":"2.0","method":"notifications/tasks","params":{}}`:                    false,
		`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`:                   false,
	} {
		if got := f.wants(parsed(t, raw)); got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
	// A slow listener loses no task's state to another's.
	l := &tap{filter: f, wake: make(chan struct{}, 1)}
	l.put(MethodTask, []byte(`{"taskId":"a"}`))
	l.put(MethodTask, []byte(`{"taskId":"b"}`))
	l.put(MethodTask, []byte(`{"taskId":"b"}`))
	if len(l.pending) != 2 {
		t.Errorf("%d wait", len(l.pending))
	}
}

// MCP 2025-11-25, Tasks: what a task asks says which task it is, and the
// request for that task's result takes it, whatever else is under way.
func TestAQuestionOfATaskGoesToWhoWaitsForItsResult(t *testing.T) {
	h := newHub([]byte(`{"elicitation":{}}`))
	ask := func(context.Context, string, []byte) ([]byte, *wire.Error, error) { return nil, nil, nil }
	enter := func(id, method, params string) *inflight {
		i := newInflight(t.Context(), &Call{Method: method, Params: []byte(params), Ask: ask}, nil, []byte(id))
		h.enter(i)
		return i
	}
	enter("1", "tools/call", `{"name":"x"}`)
	enter("2", "tasks/result", `{"taskId":"a"}`)
	b := enter("3", "tasks/result", `{"taskId":"b"}`)
	question := func(task string) *wire.Message {
		return parsed(t, `{"jsonrpc":"2.0","id":9,"method":"elicitation/create","params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"`+task+`"}}}}`)
	}
	if h.owner(question("b")) != b {
		t.Error("the question of a task did not find who waits for it")
	}
	if h.owner(question("c")) != nil {
		t.Error("the question of a task that nobody waits for went to somebody")
	}
}
