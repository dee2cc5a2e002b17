package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/ostiary/ostiary/gateway"
	"github.com/ostiary/ostiary/gateway/wire"
)

// learnPages bounds the pages of tools that are read for their headers.
const learnPages = 100

// exchange POSTs a line and writes what comes back for it.
func (b *bridge) exchange(ctx context.Context, c *bridged) {
	for try := 0; ; try++ {
		resp, err := b.post(ctx, c)
		if err != nil {
			b.lost(ctx, c, gateway.CodeUnavailable, "the gateway can't be reached; the request did not run", err)
			return
		}
		again := b.relay(ctx, c, resp, try == 0)
		resp.Body.Close()
		if !again || !b.learn(ctx, c) {
			return
		}
	}
}

// post sends a line with the headers of its era.
func (b *bridge) post(ctx context.Context, c *bridged) (*http.Response, error) {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if c.version != "" {
		wire.SetStandardHeaders(h, c.version, c.m.Method, c.m.Params)
		if c.m.Method == "tools/call" {
			name, _ := c.m.Params.String("name")
			arguments, _ := c.m.Params.Get("arguments")
			b.mu.Lock()
			specs := b.headers[name]
			b.mu.Unlock()
			wire.SetParamHeaders(h, specs, arguments)
		}
	} else if c.m == nil || c.m.Method != "initialize" {
		b.mu.Lock()
		s := b.session
		b.mu.Unlock()
		s.sign(h)
	}
	return b.send(ctx, http.MethodPost, h, c.line)
}

func (b *bridge) send(ctx context.Context, method string, h http.Header, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, b.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header = h
	if b.token != "" {
		h.Set("Authorization", "Bearer "+b.token)
	}
	return b.http.Do(request)
}

// relay writes the messages of an answer to stdout. With retry, a header that a
// tool's schema asks for and that was not sent is not answered but reported:
// nothing ran (MCP 2026-07-28, Server Validation).
func (b *bridge) relay(ctx context.Context, c *bridged, resp *http.Response, retry bool) (again bool) {
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "text/event-stream":
		b.relayStream(ctx, c, resp.Body)
		return false
	case "application/json":
	default:
		switch {
		case resp.StatusCode >= 300:
			b.fault(c, resp.StatusCode, &wire.Error{Code: gateway.CodeBadAnswer, Message: fmt.Sprintf("the endpoint answered HTTP %d without a JSON-RPC answer; is it one of MCP?", resp.StatusCode)})
		case c.id() != nil && c.wanted() && resp.StatusCode != http.StatusOK:
			b.lost(ctx, c, gateway.CodeUnknown, "the gateway gave no answer", nil)
		}
		return false
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		b.lost(ctx, c, gateway.CodeUnknown, "the connection to the gateway was lost; it is not known whether the request ran", err)
		return false
	}
	m, err := wire.ParseAnswer(body, wire.Limits{Bytes: maxAnswer}, true)
	switch {
	case err != nil && wire.IsBatch(body): // the answers to a batch
		b.write(body)
	case err != nil:
		b.fault(c, resp.StatusCode, &wire.Error{Code: gateway.CodeBadAnswer, Message: fmt.Sprintf("the endpoint answered HTTP %d with something else than a JSON-RPC answer", resp.StatusCode)})
	case m.Error != nil && m.Error.Code == wire.CodeHeaderMismatch && retry && c.version != "" && c.m.Method == "tools/call":
		return true
	case m.Error != nil && c.m != nil && (c.id() == nil || !bytes.Equal(m.ID, c.id())):
		b.fault(c, resp.StatusCode, m.Error)
	default:
		b.answer(c, resp, body)
	}
	return false
}

// answer writes the answer to c. That to initialize opens the session first:
// the agent's next word may be here before this function returns.
func (b *bridge) answer(c *bridged, resp *http.Response, body []byte) {
	if c.m != nil && c.m.Method == "initialize" && c.version == "" {
		b.open(resp.Header.Get("Mcp-Session-Id"), body)
	}
	if c.wanted() {
		b.write(body)
	}
}

// relayStream writes the messages of an event stream, up to its end.
func (b *bridge) relayStream(ctx context.Context, c *bridged, body io.Reader) {
	events := wire.NewEventReader(body, maxAnswer)
	answered := c.id() == nil
	for {
		e, err := events.Next()
		if err != nil {
			if !answered {
				b.lost(ctx, c, gateway.CodeUnknown, "the connection to the gateway was lost; it is not known whether the request ran", err)
			}
			return
		}
		if len(e.Data) == 0 || !c.wanted() {
			continue
		}
		b.write(e.Data)
		if m, err := wire.ParseAnswer(e.Data, wire.Limits{Bytes: maxAnswer}, true); err == nil && m.Kind == wire.Response {
			answered = answered || bytes.Equal(m.ID, c.id())
		}
	}
}

// fault passes on an error that names no request, or another one. What the
// agent does not wait for goes to the log, but for a line without sense: the
// agent should know.
func (b *bridge) fault(c *bridged, status int, e *wire.Error) {
	if status == http.StatusUnauthorized {
		b.log.Warn("the gateway wants another bearer; set " + tokenVariable + " to one that `ostiary token issue` made")
	}
	if c.id() == nil && c.m != nil {
		b.log.Warn("the gateway did not take a message", "status", status, "method", c.m.Method, "error", e.Message)
		return
	}
	if c.wanted() {
		b.write(wire.AppendError(nil, c.id(), &wire.Error{Code: e.Code, Message: e.Message, Data: e.Data}))
	}
}

// lost answers a request that got no answer, unless it was the agent who took
// it back or went away.
func (b *bridge) lost(ctx context.Context, c *bridged, code int64, text string, err error) {
	if !c.wanted() || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	b.log.Warn("a message was not answered", "error", err)
	if c.id() != nil {
		b.fail(c.id(), code, text)
	}
}

// learn reads which headers the tools of the endpoint ask for, on behalf of a
// call that lacked one. It is true when the call should be made again.
func (b *bridge) learn(ctx context.Context, c *bridged) bool {
	found := make(map[string][]wire.ParamHeader)
	meta := wire.NewPatch(c.m.Meta).Remove("progressToken").Bytes()
	cursor := []byte(nil)
	for page := range learnPages {
		params := append(append([]byte(`{"_meta":`), meta...), '}')
		if cursor != nil {
			params = append(append(append(params[:len(params)-1], `,"cursor":`...), cursor...), '}')
		}
		id := strconv.Quote("tools " + strconv.Itoa(page))
		h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
		o, err := wire.Fields(params)
		if err != nil {
			return false
		}
		wire.SetStandardHeaders(h, c.version, "tools/list", o)
		resp, err := b.send(ctx, http.MethodPost, h, wire.AppendRequest(nil, []byte(id), "tools/list", params))
		if err != nil {
			b.lost(ctx, c, gateway.CodeUnavailable, "the gateway can't be reached; the request did not run", err)
			return false
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		resp.Body.Close()
		if err != nil {
			b.lost(ctx, c, gateway.CodeUnavailable, "the gateway can't be reached; the request did not run", err)
			return false
		}
		if cursor = readHeaders(body, found); cursor == nil {
			break
		}
	}
	b.mu.Lock()
	b.headers = found
	b.mu.Unlock()
	return true
}

// readHeaders notes the header annotations of one page of tools and gives the
// cursor of the next, nil when there is none.
func readHeaders(body []byte, found map[string][]wire.ParamHeader) (next []byte) {
	m, err := wire.ParseAnswer(body, wire.Limits{Bytes: maxAnswer}, true)
	if err != nil {
		return nil
	}
	result, err := wire.Fields(m.Result)
	if err != nil {
		return nil
	}
	raw, _ := result.Get("tools")
	tools, err := wire.Elements(raw)
	if err != nil {
		return nil
	}
	for _, t := range tools {
		tool, err := wire.Fields(t)
		if err != nil {
			continue
		}
		name, _ := tool.String("name")
		schema, _ := tool.Get("inputSchema")
		if specs, err := wire.ParamHeaders(schema); err == nil && len(specs) > 0 {
			found[name] = specs
		}
	}
	next, _ = result.Get("nextCursor")
	return next
}
