package tasks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"sync"
	"time"
)

// How long a task is kept, and how often a client should ask.
const (
	defaultTTL   = 5 * time.Minute
	longestTTL   = time.Hour
	pollInterval = 100 * time.Millisecond
)

// task is one job on its way. A task belongs to nobody: who knows its id may
// ask for it, which is enough for a fixture.
type task struct {
	id, tool string
	created  time.Time
	ttl      time.Duration
	cancel   context.CancelFunc

	mu        sync.Mutex
	status    string // working, input_required, completed, failed, cancelled
	message   string
	updated   time.Time
	result    object            // of a completed one
	err       *rpcError         // of a failed one
	questions map[string]object // that wait for an answer
	answers   map[string]json.RawMessage
	changed   chan struct{} // closed and made anew with each change
}

// job does a tool's work. A result or an error ends the task, unless it was
// cancelled before.
type job func(ctx context.Context, t *task) (object, *rpcError)

// start makes a task and sets it to work.
func (s *Server) start(tool string, ttl time.Duration, do job) *task {
	now := time.Now()
	ctx, cancel := context.WithCancel(s.ctx)
	t := &task{
		id: rand.Text(), tool: tool, created: now, ttl: min(ttl, longestTTL), cancel: cancel,
		status: "working", updated: now, questions: map[string]object{}, answers: map[string]json.RawMessage{}, changed: make(chan struct{}),
	}
	s.mu.Lock()
	for id, old := range s.tasks {
		if now.Sub(old.created) > old.ttl {
			old.cancel()
			delete(s.tasks, id)
		}
	}
	s.tasks[t.id] = t
	s.mu.Unlock()
	s.work.Go(func() {
		defer cancel()
		result, err := do(ctx, t)
		t.change(func() {
			if t.status == "cancelled" {
				return
			}
			clear(t.questions)
			t.status, t.result, t.err = "completed", result, err
			if err != nil {
				t.status, t.message = "failed", err.Message
			}
		})
	})
	return t
}

// find is the task of that id; nil when there is none.
func (s *Server) find(id string) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[id]
	if t == nil || time.Since(t.created) > t.ttl {
		return nil
	}
	return t
}

// change runs f and tells everyone who waits.
func (t *task) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	t.updated = time.Now()
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *task) ended() bool {
	return t.status == "completed" || t.status == "failed" || t.status == "cancelled"
}

// stop cancels the task; false when it had ended before.
func (t *task) stop() (stopped bool) {
	t.change(func() {
		if !t.ended() {
			t.status, t.message, stopped = "cancelled", "cancelled by request", true
			clear(t.questions)
		}
	})
	t.cancel()
	return stopped
}

// ask puts questions to the client and waits until all are answered.
func (t *task) ask(ctx context.Context, questions map[string]object) (map[string]json.RawMessage, error) {
	t.change(func() {
		if !t.ended() {
			t.status = "input_required"
			maps.Copy(t.questions, questions)
		}
	})
	for {
		t.mu.Lock()
		changed, answers := t.changed, map[string]json.RawMessage{}
		for key := range questions {
			if a, ok := t.answers[key]; ok {
				answers[key] = a
			}
		}
		t.mu.Unlock()
		if len(answers) == len(questions) {
			return answers, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// answer takes what of the responses was asked for, and ignores the rest
// (SEP-2663: unknown and satisfied keys).
func (t *task) answer(responses map[string]json.RawMessage) {
	t.change(func() {
		for key, response := range responses {
			if _, pending := t.questions[key]; pending {
				delete(t.questions, key)
				t.answers[key] = response
			}
		}
		if t.status == "input_required" && len(t.questions) == 0 {
			t.status = "working"
		}
	})
}

// modern is the task in the form of SEP-2663; detailed adds what tasks/get has.
func (t *task) modern(detailed bool) object {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.common()
	o["ttlMs"], o["pollIntervalMs"] = t.ttl.Milliseconds(), pollInterval.Milliseconds()
	if detailed {
		switch t.status {
		case "input_required":
			o["inputRequests"] = maps.Clone(t.questions)
		case "completed":
			o["result"] = t.result
		case "failed":
			o["error"] = t.err
		}
	}
	return o
}

// legacy is the task in the form of MCP 2025-11-25, where a tool's own error
// is a failed task.
func (t *task) legacy() object {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.common()
	o["ttl"], o["pollInterval"] = t.ttl.Milliseconds(), pollInterval.Milliseconds()
	if t.status == "completed" && t.result["isError"] == true {
		o["status"] = "failed"
	}
	return o
}

func (t *task) common() object {
	o := object{
		"taskId": t.id, "status": t.status,
		"createdAt": t.created.UTC().Format(time.RFC3339Nano), "lastUpdatedAt": t.updated.UTC().Format(time.RFC3339Nano),
	}
	if t.message != "" {
		o["statusMessage"] = t.message
	}
	return o
}

// state is what a waiter looks at, and the channel that says when to look
// again.
func (t *task) state() (ended bool, questions map[string]object, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ended(), maps.Clone(t.questions), t.changed
}
