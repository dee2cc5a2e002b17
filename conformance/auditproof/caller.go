package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// verdict is what a caller was told.
type verdict int

const (
	unheard verdict = iota // the connection broke
	ran
	unavailable // 503 with Retry-After
)

// deadline is the gateway's own for a record, and patience what a caller on a
// busy machine adds to it.
const (
	deadline = 2 * time.Second
	patience = 8 * time.Second
)

var errAnswer = errors.New("an answer that is neither a result nor 503 with Retry-After")

// session is an agent that speaks MCP 2025-11-25.
type session struct {
	client *http.Client
	url    string
	id     string
}

func (s *site) session(ctx context.Context) (*session, error) {
	c := &session{client: &http.Client{Timeout: time.Minute}, url: "http://" + s.listen + "/mcp"}
	answer, body, err := c.post(ctx, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"auditproof","version":"1"}}}`)
	if err != nil {
		return nil, err
	}
	if c.id = answer.Header.Get("Mcp-Session-Id"); answer.StatusCode != http.StatusOK || c.id == "" {
		return nil, fmt.Errorf("initialize: %s: %.200s", answer.Status, body)
	}
	_, _, err = c.post(ctx, `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return c, err
}

func (c *session) post(ctx context.Context, message string) (*http.Response, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader([]byte(message)))
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	if c.id != "" {
		request.Header.Set("Mcp-Session-Id", c.id)
		request.Header.Set("MCP-Protocol-Version", "2025-11-25")
	}
	answer, err := c.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return answer, body, err
}

// call calls the tool with this id and says what the caller was told.
func (c *session) call(ctx context.Context, id string) (verdict, time.Duration, error) {
	began := time.Now()
	argument, err := json.Marshal(id)
	if err != nil {
		return unheard, 0, err
	}
	answer, body, err := c.post(ctx, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hits__hit","arguments":{"id":%s}}}`, argument))
	took := time.Since(began)
	switch {
	case err != nil:
		return unheard, took, nil
	case answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != "":
		return unavailable, took, nil
	case answer.StatusCode == http.StatusOK && bytes.Contains(body, []byte(`"content"`)):
		return ran, took, nil
	}
	return unheard, took, fmt.Errorf("%w: %s: %.300s", errAnswer, answer.Status, body)
}

// one makes one call and counts what came of it.
func (s *site) one(ctx context.Context, c *session) (verdict, error) {
	s.calls++
	v, took, err := c.call(ctx, fmt.Sprint("call-", s.calls))
	s.slowest = max(s.slowest, took)
	switch v {
	case ran:
		s.answered++
	case unavailable:
		s.refused++
		if took > deadline+patience {
			return v, fmt.Errorf("refused after %v only", took)
		}
	}
	return v, err
}

// load calls from many callers until stop is closed or nobody answers, and
// counts.
func (s *site) load(ctx context.Context, round int, stop <-chan struct{}) (wait func() error) {
	const callers = 16
	var mu sync.Mutex
	var work sync.WaitGroup
	var errs []error
	for n := range callers {
		work.Go(func() {
			c, err := s.session(ctx)
			if err != nil {
				return // killed already
			}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				v, _, err := c.call(ctx, fmt.Sprintf("round-%d-%d-%d", round, n, i))
				mu.Lock()
				if err != nil {
					errs = append(errs, err)
				}
				if v == ran {
					s.answered++
				}
				mu.Unlock()
				if v == unheard {
					return
				}
			}
		})
	}
	return func() error { work.Wait(); return errors.Join(errs...) }
}
