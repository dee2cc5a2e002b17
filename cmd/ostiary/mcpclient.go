package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// clientVersion is the revision that the CLI's own client speaks: a legacy
// one, since a modern client must know a tool's schema to send its headers.
const clientVersion = "2025-11-25"

// maxAnswer bounds what the CLI's own client reads of one answer.
const maxAnswer = 64 << 20

// mcpClient is an agent that calls one method at a time: what `tools call`
// needs, through the same door as every other agent.
type mcpClient struct {
	URL   string
	Token string // bearer; "" = none
	HTTP  http.Client

	session string
	next    int
}

// open makes the session.
func (c *mcpClient) open(ctx context.Context) error {
	params := fmt.Sprintf(`{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":"ostiary-cli","version":%q}}`, clientVersion, thisBuild().Version)
	if _, err := c.call(ctx, "initialize", []byte(params)); err != nil {
		return err
	}
	response, err := c.send(ctx, http.MethodPost, wire.AppendNotification(nil, "notifications/initialized", nil))
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// close ends the session; one that can't be ended expires by itself.
func (c *mcpClient) close(ctx context.Context) {
	if response, err := c.send(ctx, http.MethodDelete, nil); err == nil {
		response.Body.Close()
	}
}

// call sends one request and returns its raw result, or the error it got.
func (c *mcpClient) call(ctx context.Context, method string, params []byte) ([]byte, error) {
	c.next++
	id := strconv.Itoa(c.next)
	response, err := c.send(ctx, http.MethodPost, wire.AppendRequest(nil, []byte(id), method, params))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if method == "initialize" {
		c.session = response.Header.Get("Mcp-Session-Id")
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		events := wire.NewEventReader(response.Body, maxAnswer)
		for {
			e, err := events.Next()
			if err != nil {
				return nil, fmt.Errorf("the answer's stream ended early: %w", err)
			}
			if result, done, err := answerTo(id, e.Data); done {
				return result, err
			}
		}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusUnauthorized {
		return nil, fmt.Errorf("%s asks for a token that is good there; give --as USER beside a running server, or a token in %s", c.URL, tokenVariable)
	}
	result, done, err := answerTo(id, body)
	if !done {
		return nil, fmt.Errorf("%s answered HTTP %d without a JSON-RPC answer; is it an MCP endpoint?", c.URL, response.StatusCode)
	}
	return result, err
}

// answerTo is the result or error in message when it answers id.
func answerTo(id string, message []byte) (result []byte, done bool, err error) {
	var m struct {
		ID     json.RawMessage
		Method string
		Result json.RawMessage
		Error  *struct {
			Code    int64
			Message string
		}
	}
	if json.Unmarshal(message, &m) != nil || m.Method != "" {
		return nil, false, nil
	}
	switch {
	case m.Error != nil: // the id of a request that was not understood may be missing
		return nil, true, fmt.Errorf("%s (code %d)", m.Error.Message, m.Error.Code)
	case string(m.ID) == id && m.Result != nil:
		return m.Result, true, nil
	}
	return nil, false, nil
}

func (c *mcpClient) send(ctx context.Context, method string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.URL, bytes.NewReader(body))
	if err != nil {
		return nil, usagef("--url: %v", err)
	}
	request.Header.Set("Accept", "application/json, text/event-stream")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if c.session != "" {
		request.Header.Set("Mcp-Session-Id", c.session)
		request.Header.Set("MCP-Protocol-Version", clientVersion)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no answer from %s: %w; is the server running?", c.URL, errors.Unwrap(err))
	}
	return response, nil
}

// ourServer says whether a gateway of this kind answers at base.
func ourServer(ctx context.Context, base string) bool {
	_, audited := readyChecks(ctx, base)["audit"]
	return audited
}

// readyChecks are those of /readyz of the gateway at base; nil if none answers.
func readyChecks(ctx context.Context, base string) map[string]any {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return nil
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	var ready struct {
		Status string
		Checks map[string]any
	}
	if json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&ready) != nil {
		return nil
	}
	return ready.Checks
}

// quietLogger shows errors only: for verbs whose output is their answer.
func quietLogger(io stdio) *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Err, &slog.HandlerOptions{Level: slog.LevelError}))
}
