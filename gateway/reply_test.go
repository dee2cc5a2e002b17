package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tape is a ResponseWriter that remembers what was flushed. While stuck is
// open, writes wait: an agent that does not read.
type tape struct {
	mu     sync.Mutex
	header http.Header
	status int
	body   bytes.Buffer
	stuck  chan struct{} // nil = never stuck
	gone   bool
}

func newTape() *tape { return &tape{header: make(http.Header)} }

func (w *tape) Header() http.Header { return w.header }

func (w *tape) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == 0 {
		w.status = status
	}
}

func (w *tape) Write(b []byte) (int, error) {
	if w.stuck != nil && len(b) > 0 {
		<-w.stuck
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return 0, errors.New("connection reset")
	}
	return w.body.Write(b)
}

func (w *tape) Flush() {}

func (w *tape) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.body.String()
}

func (w *tape) code() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

func both() replyOptions { return replyOptions{json: true, sse: true} }

func post(ctx context.Context) *http.Request {
	r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "/mcp", nil)
	return r
}

const (
	note   = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":%d}}`
	result = `{"jsonrpc":"2.0","id":1,"result":{}}`
)

func TestQuietReplyIsOneJSONDocument(t *testing.T) {
	w := newTape()
	rp := newReply(w, post(t.Context()), both())
	rp.finish(http.StatusOK, []byte(result), http.Header{"X-Test": {"1"}})
	if w.status != http.StatusOK || w.text() != result {
		t.Errorf("answer: %d %s", w.status, w.text())
	}
	if rp.streamed() {
		t.Error("nothing was streamed, yet streamed")
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Content-Length": fmt.Sprint(len(result)), "X-Test": "1",
	} {
		if got := w.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestNotificationsComeInOrderBeforeTheResult(t *testing.T) {
	w := newTape()
	rp := newReply(w, post(t.Context()), both())
	for i := range 3 {
		rp.notify("notifications/progress", fmt.Appendf(nil, `{"progress":%d}`, i))
	}
	rp.finish(http.StatusOK, []byte(result), nil)
	rp.notify("notifications/progress", []byte(`{"progress":3}`))
	want := ""
	for i := range 3 {
		want += "data: " + fmt.Sprintf(note, i) + "\n\n"
	}
	want += "data: " + result + "\n\n"
	if w.text() != want {
		t.Errorf("stream:\n%s\nwant:\n%s", w.text(), want)
	}
	if !rp.streamed() {
		t.Error("streamed is false")
	}
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
	} {
		if got := w.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestEventsLeaveAsTheyHappen(t *testing.T) {
	seen := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rp := newReply(w, r, both())
		rp.notify("notifications/message", []byte(`{}`))
		<-seen
		rp.finish(http.StatusOK, []byte(result), nil)
	}))
	defer server.Close()
	resp, err := http.Post(server.URL, "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := readEvents(resp.Body)
	if e := <-events; !strings.Contains(e.data, "notifications/message") {
		t.Errorf("first event: %+v", e)
	}
	close(seen)
	if e := <-events; e.data != result {
		t.Errorf("last event: %+v", e)
	}
	if e, ok := <-events; ok {
		t.Errorf("an event after the result: %+v", e)
	}
}

func TestReplyByWhatTheAgentAccepts(t *testing.T) {
	for _, c := range []struct {
		name      string
		json, sse bool
		notify    bool
		status    int
		want      string
		err       error // of send
	}{
		{"JSON only: notifications are dropped", true, false, true, 200, result, errNoStream},
		{"SSE only: the result is an event", false, true, false, 200, "data: " + result + "\n\n", nil},
		{"SSE only: an error keeps its status", false, true, false, 404, result, nil},
		{"both: an error keeps its status", true, true, false, 403, result, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTape()
			rp := newReply(w, post(t.Context()), replyOptions{json: c.json, sse: c.sse})
			if c.notify {
				rp.notify("notifications/message", []byte(`{}`))
				if err := rp.send([]byte(`{}`)); !errors.Is(err, c.err) {
					t.Errorf("send: %v, want %v", err, c.err)
				}
			}
			rp.finish(c.status, []byte(result), nil)
			if w.status != c.status || w.text() != c.want {
				t.Errorf("answer: %d %q, want %d %q", w.status, w.text(), c.status, c.want)
			}
		})
	}
}

func TestOnlyTheFirstFinishCounts(t *testing.T) {
	for _, streamed := range []bool{false, true} {
		w := newTape()
		rp := newReply(w, post(t.Context()), both())
		if streamed {
			rp.notify("notifications/message", []byte(`{}`))
		}
		rp.finish(http.StatusOK, []byte(result), nil)
		before := w.text()
		rp.finish(http.StatusOK, []byte(`{"second":true}`), nil)
		rp.close()
		if err := rp.send([]byte(`{}`)); !errors.Is(err, errStreamEnded) {
			t.Errorf("send after finish: %v", err)
		}
		if w.text() != before {
			t.Errorf("streamed %v: something after the result: %q", streamed, w.text())
		}
	}
}

func TestCloseAnswersNothing(t *testing.T) {
	w := newTape()
	rp := newReply(w, post(t.Context()), both())
	rp.close()
	rp.finish(http.StatusOK, []byte(result), nil)
	rp.notify("notifications/message", []byte(`{}`))
	if w.text() != "" {
		t.Errorf("answer after close: %d %q", w.status, w.text())
	}
}

func TestFinishWithoutMessageIsAnEmptyBody(t *testing.T) {
	w := newTape()
	newReply(w, post(t.Context()), both()).finish(http.StatusAccepted, nil, nil)
	if w.status != http.StatusAccepted || w.text() != "" || w.header.Get("Content-Type") != "" {
		t.Errorf("answer: %d %q %v", w.status, w.text(), w.header)
	}
}

func TestQuietCallTurnsIntoStreamAtKeepAlive(t *testing.T) {
	const every = 15 * time.Second
	for _, c := range []struct {
		name  string
		after time.Duration
		sse   bool
		want  string
	}{
		{"just below", every - time.Nanosecond, true, result},
		{"at it", every, true, keepAliveComment + "data: " + result + "\n\n"},
		{"twice", 2 * every, true, keepAliveComment + keepAliveComment + "data: " + result + "\n\n"},
		{"no SSE accepted", 2 * every, false, result},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTape()
				rp := newReply(w, post(t.Context()), replyOptions{json: true, sse: c.sse, keepAlive: every})
				time.Sleep(c.after)
				synctest.Wait()
				rp.finish(http.StatusOK, []byte(result), nil)
				time.Sleep(10 * every) // no comment after the end
				if w.text() != c.want {
					t.Errorf("answer %q, want %q", w.text(), c.want)
				}
			})
		})
	}
}

func TestModernAgentThatHungUpGetsNothingMore(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	w := newTape()
	rp := newReply(w, post(ctx), both())
	rp.notify("notifications/message", []byte(`{}`))
	before := w.text()
	hangUp()
	if err := rp.send([]byte(`{}`)); !errors.Is(err, errGone) {
		t.Errorf("send: %v, want errGone", err)
	}
	rp.finish(http.StatusOK, []byte(result), nil)
	if w.text() != before {
		t.Errorf("sent after the agent hung up: %q", w.text())
	}
}

// A handler that returned without finish has no ResponseWriter any more.
func TestKeepAliveEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, ends := context.WithCancel(t.Context())
		w := newTape()
		newReply(w, post(ctx), replyOptions{json: true, sse: true, keepAlive: time.Second})
		ends()
		time.Sleep(time.Minute)
		if w.code() != 0 || w.text() != "" {
			t.Errorf("written after the request ended: %d %q", w.code(), w.text())
		}
	})
}

func TestReplyConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newTape()
		rp := newReply(w, post(t.Context()), replyOptions{json: true, sse: true, keepAlive: time.Millisecond})
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				for range 50 {
					rp.notify("notifications/message", []byte(`{}`))
					time.Sleep(time.Millisecond)
				}
			})
		}
		calls.Wait()
		rp.finish(http.StatusOK, []byte(result), nil)
		if got := strings.Count(w.text(), "notifications/message"); got != 200 {
			t.Errorf("%d notifications, want 200", got)
		}
		if !strings.HasSuffix(w.text(), "data: "+result+"\n\n") {
			t.Error("the result is not last")
		}
	})
}

// BenchmarkQuietReply is what a call that answers at once pays, beside
// net/http.
func BenchmarkQuietReply(b *testing.B) {
	w, r := newTape(), post(b.Context())
	message := []byte(result)
	b.ReportAllocs()
	for b.Loop() {
		w.body.Reset()
		newReply(w, r, replyOptions{json: true, sse: true, keepAlive: 15 * time.Second}).finish(http.StatusOK, message, nil)
	}
}
