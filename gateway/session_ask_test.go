package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// asked is what an ask returned.
type asked struct {
	result string
	rpc    *wire.Error
	err    error
}

func askLater(ctx context.Context, s *session, rp *reply) <-chan asked {
	c := make(chan asked, 1)
	go func() {
		result, rpc, err := s.ask(ctx, rp, "elicitation/create", []byte(`{"message":"sure?"}`))
		c <- asked{string(result), rpc, err}
	}()
	return c
}

// idOf is the raw id of a request of ours.
func idOf(t *testing.T, data string) string {
	t.Helper()
	m, err := wire.Parse([]byte(data), wire.DefaultLimits)
	if err != nil || m.Kind != wire.Request {
		t.Fatalf("not a request: %s", data)
	}
	return string(m.ID)
}

func answerTo(id, rest string) *wire.Message {
	m, err := wire.Parse([]byte(`{"jsonrpc":"2.0","id":`+id+`,`+rest+`}`), wire.DefaultLimits)
	if err != nil {
		panic(err)
	}
	return m
}

func TestAskGoesOnTheCallsStreamAndTakesItsAnswer(t *testing.T) {
	s := newSession(t, "2025-06-18", Limits{})
	got := make(chan asked, 2)
	url := agentOf(t, s, func(rp *reply) {
		got <- <-askLater(t.Context(), s, rp)
		got <- <-askLater(t.Context(), s, rp)
		rp.finish(http.StatusOK, []byte(result), nil)
	})
	_, events := request(t, t.Context(), http.MethodPost, url, "")
	first := <-events
	id := idOf(t, first.data)
	if !strings.Contains(first.data, `"params":{"message":"sure?"}`) {
		t.Errorf("question: %s", first.data)
	}
	m := answerTo(id, `"result":{"action":"accept","n":1e400}`)
	if !s.answer(m) {
		t.Error("the answer was not awaited")
	}
	clear(m.Raw) // the request's buffer is used again
	if a := <-got; a.result != `{"action":"accept","n":1e400}` || a.rpc != nil || a.err != nil {
		t.Errorf("answer: %+v", a)
	}
	if s.answer(answerTo(id, `"result":{}`)) {
		t.Error("the same question was answered twice")
	}
	second := idOf(t, (<-events).data)
	if second == id {
		t.Error("an id was used twice")
	}
	if !s.answer(answerTo(second, `"error":{"code":-1,"message":"no","data":[1]}`)) {
		t.Error("the error was not awaited")
	}
	if a := <-got; a.rpc == nil || a.rpc.Code != -1 || a.rpc.Message != "no" || string(a.rpc.Data) != "[1]" || a.err != nil {
		t.Errorf("error: %+v", a)
	}
	if e := <-events; e.data != result {
		t.Errorf("last: %+v", e)
	}
}

func TestAnswerCountsInTheAskedSessionOnly(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	open := func() *session {
		_, token := g.sessions.create(person("alice", "cli"), "", "2025-06-18", nil, noAgent)
		return reopen(t, g, token)
	}
	s, other := open(), open()
	w := newTape()
	rp := newReply(w, post(t.Context()), replyOptions{sse: true, session: s})
	got := askLater(t.Context(), s, rp)
	for w.text() == "" {
		time.Sleep(time.Millisecond)
	}
	_, data, _ := strings.Cut(w.text(), "data: ")
	id := idOf(t, strings.TrimSpace(data))
	if other.answer(answerTo(id, `"result":{"from":"elsewhere"}`)) {
		t.Error("another session answered")
	}
	if s.answer(answerTo(`"unknown"`, `"result":{}`)) {
		t.Error("an answer nobody waits for was taken")
	}
	if !s.answer(answerTo(id, `"result":{"from":"here"}`)) {
		t.Error("its own answer was not taken")
	}
	if a := <-got; a.result != `{"from":"here"}` {
		t.Errorf("answer: %+v", a)
	}
}

func TestSecondAnswerIsNotTaken(t *testing.T) {
	s := newSession(t, "2025-06-18", Limits{})
	waiting := make(chan response, 1)
	if err := s.expect(`"q"`, waiting); err != nil {
		t.Fatal(err)
	}
	if !s.answer(answerTo(`"q"`, `"result":1`)) {
		t.Error("the first answer was not taken")
	}
	done := make(chan bool, 1)
	go func() { done <- s.answer(answerTo(`"q"`, `"result":2`)) }()
	select {
	case took := <-done:
		if took {
			t.Error("the second answer was taken")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the second answer blocks the session")
	}
	if r := <-waiting; string(r.result) != "1" {
		t.Errorf("answer %s", r.result)
	}
}

func TestAskThatIsNotAnswered(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(cancel context.CancelFunc, s *session)
		want error
	}{
		{"in time", func(context.CancelFunc, *session) {}, errNoAnswer},
		{"before its call was cancelled", func(cancel context.CancelFunc, _ *session) { cancel() }, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSession(t, "2025-06-18", Limits{Parked: time.Minute})
				w := newTape()
				rp := newReply(w, post(t.Context()), replyOptions{sse: true, session: s})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				got := askLater(ctx, s, rp)
				time.Sleep(time.Minute - time.Nanosecond)
				synctest.Wait()
				if len(got) != 0 {
					t.Fatalf("just below Limits.Parked: %+v", <-got)
				}
				c.end(cancel, s)
				time.Sleep(time.Nanosecond)
				if a := <-got; !errors.Is(a.err, c.want) {
					t.Errorf("ask: %v, want %v", a.err, c.want)
				}
				_, question, _ := strings.Cut(w.text(), "data: ")
				question, _, _ = strings.Cut(question, "\n")
				id := idOf(t, question)
				if want := `"notifications/cancelled","params":{"requestId":` + id + `}`; !strings.Contains(w.text(), want) {
					t.Errorf("the agent was not told: %s", w.text())
				}
				if s.answer(answerTo(id, `"result":{}`)) {
					t.Error("a late answer was taken")
				}
				rp.close()
			})
		})
	}
}

func TestAskUsesTheGETStreamWhenTheCallHasNone(t *testing.T) {
	s := newSession(t, "2025-06-18", Limits{})
	jsonOnly := newReply(newTape(), post(t.Context()), replyOptions{json: true, session: s})
	if _, _, err := s.ask(t.Context(), jsonOnly, "roots/list", nil); !errors.Is(err, errCannotAsk) {
		t.Errorf("without any stream: %v", err)
	}
	url := agentOf(t, s, nil)
	_, older := request(t, t.Context(), http.MethodGet, url, "")
	waitFor(t, func() bool { return s.busy() })
	_, events := request(t, t.Context(), http.MethodGet, url, "")
	waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.gets) == 2 })
	got := askLater(t.Context(), s, jsonOnly)
	id := idOf(t, (<-events).data)
	if !s.answer(answerTo(id, `"result":{"roots":[]}`)) {
		t.Error("the answer was not awaited")
	}
	if a := <-got; a.result != `{"roots":[]}` {
		t.Errorf("answer: %+v", a)
	}
	if len(older) != 0 {
		t.Errorf("the question went to two streams: %+v", <-older)
	}
}

func TestQuestionsOfOneSessionAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t, "2025-06-18", Limits{})
		rp := newReply(newTape(), post(t.Context()), replyOptions{sse: true, session: s})
		ctx, cancel := context.WithCancel(t.Context())
		var waiting []<-chan asked
		for range asksWaiting {
			waiting = append(waiting, askLater(ctx, s, rp))
		}
		synctest.Wait()
		for i, c := range waiting {
			if len(c) != 0 {
				t.Fatalf("question %d: %+v", i+1, <-c)
			}
		}
		if a := <-askLater(ctx, s, rp); !errors.Is(a.err, errAsksBusy) {
			t.Errorf("just above: %v", a.err)
		}
		cancel()
		for _, c := range waiting {
			<-c
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.asks) != 0 {
			t.Errorf("%d questions are still noted", len(s.asks))
		}
		rp.close()
	})
}

func TestAskEndsWithTheSession(t *testing.T) {
	g := newSessionGateway(t, Limits{})
	_, token := g.sessions.create(person("alice", "cli"), "", "2025-06-18", nil, noAgent)
	s := reopen(t, g, token)
	rp := newReply(newTape(), post(t.Context()), replyOptions{sse: true, session: s})
	got := askLater(t.Context(), s, rp)
	waitFor(t, s.busy)
	if err := g.sessions.delete(t.Context(), person("alice", "cli"), "", token); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.err == nil {
		t.Errorf("ask: %+v", a)
	}
}

// A question asked while the agent is away reaches it when it resumes.
func TestQuestionWaitsForAnAgentThatResumes(t *testing.T) {
	s := newSession(t, "2025-11-25", Limits{})
	goOn := make(chan struct{})
	url := agentOf(t, s, func(rp *reply) {
		rp.notify("notifications/message", []byte(`{}`))
		<-goOn
		a := <-askLater(t.Context(), s, rp)
		rp.finish(http.StatusOK, fmt.Appendf(nil, `{"answer":%s}`, a.result), nil)
	})
	ctx, hangUp := context.WithCancel(t.Context())
	_, events := request(t, ctx, http.MethodPost, url, "")
	prime := <-events
	if prime.data != "" || prime.id == "" {
		t.Fatalf("priming event: %+v", prime)
	}
	<-events
	hangUp()
	close(goOn)
	waitFor(t, s.busy)
	_, events = request(t, t.Context(), http.MethodGet, url, prime.id)
	<-events // the message, again
	id := idOf(t, (<-events).data)
	s.answer(answerTo(id, `"result":{"ok":true}`))
	if e := <-events; e.data != `{"answer":{"ok":true}}` {
		t.Errorf("result: %+v", e)
	}
}

func waitFor(t *testing.T, ready func() bool) {
	t.Helper()
	for range 5000 {
		if ready() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not happen within 5 s")
}
