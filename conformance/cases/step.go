package cases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of what must go on while an upstream misbehaves.
const (
	controlBound = 15 * time.Second       // for one call to a healthy upstream; generous, for busy machines
	controlPause = 100 * time.Millisecond // between two such calls
	settleBound  = 30 * time.Second       // until an upstream that behaves again is used again
	retryPause   = 100 * time.Millisecond // between two attempts of a step that is repeated
)

// step sends one step and collects all that can be known at once. The outcome
// is nil where nothing came back.
func (r *runner) step(ctx context.Context, s Step) (*outcome, error) {
	if s.upstream == "" {
		message, err := r.bytes(s)
		if err != nil {
			return nil, err
		}
		return r.once(ctx, message, sending{more: s.Raw})
	}
	c, err := parseCall(s.Text)
	if err != nil {
		return nil, err
	}
	session := ""
	if eraOf(s.upstream) == legacy {
		if session, err = r.session(ctx, s.upstream); err != nil {
			return nil, fmt.Errorf("session: %w", err)
		}
	}
	message, err := c.compose(r.at, s.upstream, session)
	if err != nil {
		return nil, err
	}
	if r.Upstream != nil {
		defer r.Upstream.begin(s.upstream, s.script)()
	}
	stop := r.control(ctx, s.script != nil)
	o, err := r.repeat(ctx, s, c, r.signed(message))
	if trouble := stop(); trouble != nil && o != nil {
		o.trouble = append(o.trouble, trouble.Error())
	}
	return o, err
}

// repeat sends a call as often as its section says.
func (r *runner) repeat(ctx context.Context, s Step, c call, message []byte) (*outcome, error) {
	end := time.Now().Add(c.within)
	var begin mark
	if r.Upstream != nil {
		begin = r.Upstream.mark()
	}
	for n := 1; ; n++ {
		o, err := r.once(ctx, message, sending{unread: c.unread, listen: c.listen})
		if err != nil {
			return o, err
		}
		o.sent = n
		if r.Upstream != nil {
			o.seen = r.Upstream.since(begin, s.upstream)
		}
		switch {
		case n < c.times:
		case c.within == 0 || time.Now().After(end) || len(judge(o, r.expected(s))) == 0:
			return o, nil
		default:
			time.Sleep(retryPause)
		}
	}
}

// bytes are what a request or raw section sends.
func (r *runner) bytes(s Step) ([]byte, error) {
	if s.Raw {
		text := strings.TrimSuffix(s.Text, "\n") // the blank line before the next section
		message, err := expand(strings.ReplaceAll(text, "\n", "\r\n"), r.vars)
		return r.signed(message), err
	}
	message, err := expand(s.Text, r.vars)
	if err == nil {
		message, err = compose(r.at, message)
	}
	return r.signed(message), err
}

// signed adds the bearer to a request that names no Authorization.
func (r *runner) signed(message []byte) []byte {
	if r.Bearer == "" || strings.Contains(strings.ToLower(string(message)), "\r\nauthorization:") {
		return message
	}
	return []byte(strings.Replace(string(message), "\r\n", "\r\nAuthorization: Bearer "+r.Bearer+"\r\n", 1))
}

// once sends a message and sees what comes of it.
func (r *runner) once(ctx context.Context, message []byte, how sending) (*outcome, error) {
	o := &outcome{hitsOK: r.Upstream != nil, sent: 1}
	var begin mark
	if o.hitsOK {
		begin = r.Upstream.mark()
	}
	var err error
	if o.answer, err = send(ctx, r.at, message, how); err != nil {
		return nil, err
	}
	if o.hitsOK {
		o.seen = r.Upstream.since(begin, "")
	}
	return o, nil
}

// control calls a healthy upstream again and again while another misbehaves.
// The function ends that and says what went wrong.
func (r *runner) control(ctx context.Context, wanted bool) (stop func() error) {
	if !wanted {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	var trouble error
	work.Go(func() {
		for trouble == nil {
			asking, done := context.WithTimeout(context.WithoutCancel(ctx), controlBound)
			if err := r.echo(asking, control); err != nil {
				trouble = fmt.Errorf("a call to a healthy upstream failed meanwhile: %w", err)
			}
			done()
			select {
			case <-ctx.Done():
				return
			case <-time.After(controlPause):
			}
		}
	})
	return func() error {
		cancel()
		work.Wait()
		return trouble
	}
}

// settle waits until an upstream that misbehaved is used again: its slot was
// freed, and the breaker is closed.
func (r *runner) settle(ctx context.Context, s Step) error {
	if s.script == nil || r.Upstream == nil {
		return nil
	}
	end := time.Now().Add(cmp.Or(r.patience, settleBound))
	for {
		err := r.echo(ctx, s.upstream)
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the upstream behaves again, but a call to it fails: %w", err)
		}
		time.Sleep(retryPause)
	}
}

// echo makes one good call to an upstream.
func (r *runner) echo(ctx context.Context, upstream string) error {
	resp, body, err := r.post(ctx, upstream, `{"jsonrpc":"2.0","id":"echo","method":"tools/call","params":{"name":"echo","arguments":{"well":true},`+meta+`}}`,
		map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "echo"})
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK || dig(body, "result.content.0.text") != `"{\"well\":true}"`:
		return fmt.Errorf("%s %.200s", resp.Status, body)
	}
	return nil
}

// alive asks a question that every gateway answers. Its record, which the
// mark finds again, stands behind those of everything asked before.
func (r *runner) alive(ctx context.Context) (mark string, err error) {
	resp, _, err := r.post(ctx, plain, `{"jsonrpc":"2.0","id":"alive","method":"server/discover","params":{`+meta+`}}`,
		map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "server/discover"})
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	return resp.Request.Header.Get("Traceparent")[3:35], nil
}

// session is the case's legacy session at an upstream's endpoint.
func (r *runner) session(ctx context.Context, upstream string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id := r.open[upstream]; id != "" {
		return id, nil
	}
	id, err := r.openSession(ctx, upstream, legacyVersion)
	r.open[upstream] = id
	return id, err
}

func (r *runner) openSession(ctx context.Context, upstream, version string) (string, error) {
	resp, _, err := r.post(ctx, upstream, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+
		`","capabilities":{},"clientInfo":{"name":"cases","version":"1"}}}`, nil)
	if err != nil {
		return "", err
	}
	id := resp.Header.Get("Mcp-Session-Id")
	if resp.StatusCode != http.StatusOK || id == "" {
		return "", fmt.Errorf("initialize: %s, session %q", resp.Status, id)
	}
	_, _, err = r.post(ctx, upstream, `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		map[string]string{"MCP-Protocol-Version": version, "Mcp-Session-Id": id})
	return id, err
}

// post sends what is not under test.
func (r *runner) post(ctx context.Context, upstream, body string, header map[string]string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+"/mcp/"+upstream, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Traceparent", ourTrace())
	if r.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+r.Bearer)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := r.Client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	return resp, got, err
}

// Ready tells whether the target offers every upstream of Catalog.
func Ready(ctx context.Context, target Target) error {
	if target.Client == nil {
		target.Client = http.DefaultClient
	}
	r := &runner{Target: target}
	for _, name := range names() {
		if err := r.echo(ctx, name); err != nil {
			return fmt.Errorf("%s/mcp/%s: %w", target.URL, name, err)
		}
	}
	return nil
}
