package federation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

func parsed(t *testing.T, raw string) *wire.Message {
	t.Helper()
	m, err := wire.ParseAnswer([]byte(raw), wire.Limits{}, false)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestQuestionsOfOneCallAreBoundedAndReachTheAgentOneByOne(t *testing.T) {
	var mu sync.Mutex
	var asked, most, at int
	release := make(chan bool)
	c := &Call{Ask: func(ctx context.Context, _ string, _ []byte) ([]byte, *wire.Error, error) {
		mu.Lock()
		asked++
		at++
		most = max(most, at)
		mu.Unlock()
		<-release
		mu.Lock()
		at--
		mu.Unlock()
		return []byte(`{}`), nil, nil
	}}
	ctx, clock := withDeadline(t.Context(), time.Minute)
	defer clock.stop()
	i := newInflight(ctx, c, clock, []byte("1"))
	answers := make(chan string, 2*maxQuestions)
	ask := func(id int) {
		i.question(parsed(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"roots/list"}`, id)), func(b []byte) { answers <- string(b) })
	}
	for id := range maxQuestions {
		ask(id)
	}
	select {
	case a := <-answers:
		t.Fatal("refused within the bound:", a)
	case <-time.After(10 * time.Millisecond):
	}
	ask(maxQuestions)
	if a := <-answers; !strings.Contains(a, "-32600") {
		t.Error("over the bound:", a)
	}
	ask(0)
	if a := <-answers; !strings.Contains(a, "-32600") {
		t.Error("the same id twice:", a)
	}
	close(release)
	for range maxQuestions {
		if a := <-answers; !strings.Contains(a, `"result":{}`) {
			t.Error(a)
		}
	}
	i.finish()
	if asked != maxQuestions || most != 1 {
		t.Errorf("asked %d times, %d at once", asked, most)
	}
}

func TestQuestionTakenBackIsNotAnswered(t *testing.T) {
	h := newHub([]byte(`{"elicitation":{}}`))
	asked := make(chan bool)
	c := &Call{Ask: func(ctx context.Context, _ string, _ []byte) ([]byte, *wire.Error, error) {
		close(asked)
		<-ctx.Done()
		return []byte(`{}`), nil, nil
	}}
	ctx, clock := withDeadline(t.Context(), time.Minute)
	defer clock.stop()
	i := newInflight(ctx, c, clock, []byte("1"))
	h.enter(i)
	q := parsed(t, `{"jsonrpc":"2.0","id":"q","method":"elicitation/create"}`)
	h.request(h.owner(q), q, func([]byte) { t.Error("answered") })
	<-asked
	h.withdrawn(parsed(t, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q"}}`))
	i.asking.Wait()
	if ctx.Err() != nil {
		t.Error("the call ended with its question")
	}
	i.finish()
}

func TestSlowListenerGetsWhatMattersOnce(t *testing.T) {
	h := newHub(nil)
	l, fresh := h.join(listenFilter{Tools: true, URIs: []string{"x://a", "x://b"}})
	if len(fresh) != 2 {
		t.Error(fresh)
	}
	changed := parsed(t, `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	log := parsed(t, `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}`)
	for range 1000 {
		h.publish(changed)
		h.publish(parsed(t, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x://a/part"}}`))
		h.publish(parsed(t, `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x://abc"}}`)) // another's
	}
	if len(l.pending) != 2 {
		t.Errorf("%d pending", len(l.pending))
	}
	for range maxPending - 2 {
		h.publish(log)
	}
	if len(l.pending) != maxPending {
		t.Errorf("%d pending below the bound", len(l.pending))
	}
	h.publish(log)
	if len(l.pending) != maxPending {
		t.Errorf("%d pending above it", len(l.pending))
	}
	other, fresh := h.join(listenFilter{URIs: []string{"x://a"}})
	if len(fresh) != 0 || len(h.part(l)) != 1 || len(h.part(other)) != 1 {
		t.Error("subscriptions are not counted")
	}
}

func TestMailOfASlowCallIsBounded(t *testing.T) {
	x := newDemux(&dialConfig{Upstream: entryFor(""), Logger: (&logged{}).logger()}, 0, nil, nil)
	i := &inflight{mail: make(chan *wire.Message, mailLength)}
	for range mailLength + 1 { // the last one neither waits nor gets in
		x.mail(i, &wire.Message{})
	}
	if len(i.mail) != mailLength {
		t.Error(len(i.mail))
	}
}

func TestDeadlineStopsWhileTheAgentIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, d := withDeadline(t.Context(), 10*time.Second)
		time.Sleep(6 * time.Second)
		d.pause()
		d.pause()
		time.Sleep(time.Hour)
		d.resume()
		time.Sleep(time.Hour)
		d.resume()
		time.Sleep(4*time.Second - time.Nanosecond)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Fatal("ended too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if context.Cause(ctx) != errTimedOut {
			t.Error("did not end in time")
		}
		d.stop()
		d.resume()
		time.Sleep(time.Hour)
	})
}

func TestDeadlineEndsWithTheCallerUnlessDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, cancel := context.WithCancel(t.Context())
		one, d1 := withDeadline(caller, time.Minute)
		two, d2 := withDeadline(caller, time.Minute)
		d2.linger(time.Second)
		cancel()
		synctest.Wait()
		if one.Err() == nil || two.Err() != nil {
			t.Error(one.Err(), two.Err())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if two.Err() == nil {
			t.Error("lingers for ever")
		}
		d1.stop()
		d2.stop()
	})
}

func TestOwnMetaIsNeverDoubled(t *testing.T) {
	w := newMetaWriter(wire.Legacy, "1")
	for _, tt := range []struct{ params, meta, token, want string }{
		{`{}`, ``, ``, `{}`},
		{`{ "a" : 1 }`, ``, ``, `{ "a" : 1 }`},
		{`{ }`, `{"k":1}`, ``, `{"_meta":{"k":1}}`},
		{`{ "a" : 1 }`, `{"k":1}`, `7`, `{"_meta":{"progressToken":7,"k":1},"a" : 1 }`},
		{`{"a":1}`, `{"progressToken":5}`, ``, `{"a":1}`},
		{`{"a":1}`, `{"progressToken":5,"k": [1, 2]}`, `7`, `{"_meta":{"progressToken":7,"k": [1, 2]},"a":1}`},
	} {
		c := &Call{Params: []byte(tt.params)}
		if tt.meta != "" {
			c.Meta = []byte(tt.meta)
		}
		var token []byte
		if tt.token != "" {
			token = []byte(tt.token)
		}
		if got := string(w.params(c, token)); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestLineEndsInsideAMessageBecomeSpaces(t *testing.T) {
	if got := string(oneLine([]byte("{\r\n\"a\":\"\\n\"\n}"))); got != "{  \"a\":\"\\n\" }\n" {
		t.Errorf("%q", got)
	}
}
