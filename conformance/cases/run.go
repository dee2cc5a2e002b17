package cases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Target is a gateway under test.
type Target struct {
	URL      string                  // its origin, without a path
	Upstream *Recorder               // behind /mcp/recorder; nil = hits are not judged
	Records  func() []map[string]any // audit records so far; nil = not judged
	Client   *http.Client            // for what is not under test; nil = http.DefaultClient
	Bearer   string                  // sent with every request that names no Authorization; "" = none
}

// Result is one step's verdict.
type Result struct {
	Case, Step string
	Problems   []string // none = right
}

// Run runs every built-in case as a subtest.
func Run(t *testing.T, target Target) {
	t.Helper()
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		t.Run(c.Name, func(t *testing.T) {
			results, err := c.Check(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				t.Run(r.Step, func(t *testing.T) {
					for _, p := range r.Problems {
						t.Error(p)
					}
				})
			}
		})
	}
}

// Check runs one case. The error says why it could not be run; what the target
// did wrong is in the results.
func (c Case) Check(ctx context.Context, target Target) ([]Result, error) {
	at, err := url.Parse(target.URL)
	if err != nil {
		return nil, err
	}
	if target.Client == nil {
		target.Client = http.DefaultClient
	}
	_, port, _ := strings.Cut(at.Host, ":")
	vars := map[string]string{"HOST": at.Host, "PORT": port}
	if c.Session != "" {
		if vars["SESSION"], err = openSession(ctx, target, c.Session); err != nil {
			return nil, fmt.Errorf("case %s: session: %w", c.Name, err)
		}
	}
	var results []Result
	for _, s := range c.Steps {
		problems, err := s.check(ctx, at, target, vars)
		if err != nil {
			problems = append(problems, err.Error())
		}
		if err := alive(ctx, target); err != nil {
			problems = append(problems, "the target does not answer afterwards: "+err.Error())
		}
		results = append(results, Result{Case: c.Name, Step: s.Name, Problems: problems})
	}
	return results, nil
}

func (s Step) check(ctx context.Context, at *url.URL, target Target, vars map[string]string) ([]string, error) {
	var message []byte
	var err error
	if s.Raw {
		text := strings.TrimSuffix(s.Text, "\n") // the blank line before the next section
		text = strings.ReplaceAll(text, "\n", "\r\n")
		message, err = expand(text, vars)
	} else {
		if message, err = expand(s.Text, vars); err == nil {
			message, err = compose(at, message)
		}
	}
	if err != nil {
		return nil, err
	}
	if target.Bearer != "" && !strings.Contains(strings.ToLower(string(message)), "\r\nauthorization:") {
		message = []byte(strings.Replace(string(message), "\r\n", "\r\nAuthorization: Bearer "+target.Bearer+"\r\n", 1))
	}
	o := &outcome{hitsOK: target.Upstream != nil, audited: target.Records != nil && s.asks("record")}
	var hits, records int
	if o.hitsOK {
		hits = len(target.Upstream.Hits())
	}
	if o.audited {
		records = len(target.Records())
	}
	if o.answer, err = send(ctx, at, message, s.Raw); err != nil {
		return nil, err
	}
	if o.hitsOK {
		o.hits = target.Upstream.Hits()[hits:]
	}
	if o.audited {
		o.records = target.Records()[records:]
	}
	expect := make([][]string, len(s.Expect))
	for i, lines := range s.Expect {
		for _, line := range lines {
			for name, value := range vars {
				line = strings.ReplaceAll(line, "$"+name, value)
			}
			expect[i] = append(expect[i], line)
		}
	}
	problems := judge(o, expect)
	if len(problems) > 0 {
		problems = append(problems, fmt.Sprintf("the answer was %d %s", o.status, o.message()[:min(len(o.message()), 300)]))
	}
	return problems, nil
}

// asks tells whether an expectation uses a word.
func (s Step) asks(word string) bool {
	return slices.ContainsFunc(s.Expect, func(lines []string) bool {
		return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, word+" ") })
	})
}

// alive asks a question that every gateway answers.
func alive(ctx context.Context, target Target) error {
	resp, err := post(ctx, target, `{"jsonrpc":"2.0","id":"alive","method":"server/discover","params":{`+meta+`}}`,
		map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "server/discover"})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// openSession begins a legacy session at the recorder's endpoint.
func openSession(ctx context.Context, target Target, version string) (string, error) {
	resp, err := post(ctx, target, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+
		`","capabilities":{},"clientInfo":{"name":"cases","version":"1"}}}`, nil)
	if err != nil {
		return "", err
	}
	id := resp.Header.Get("Mcp-Session-Id")
	if resp.StatusCode != http.StatusOK || id == "" {
		return "", fmt.Errorf("initialize: %s, session %q", resp.Status, id)
	}
	_, err = post(ctx, target, `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		map[string]string{"MCP-Protocol-Version": version, "Mcp-Session-Id": id})
	return id, err
}

// post sends what is not under test; the body of the answer is read and closed.
func post(ctx context.Context, target Target, body string, header map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URL+"/mcp/recorder", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if target.Bearer != "" {
		req.Header.Set("Authorization", "Bearer "+target.Bearer)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := target.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, answerBytes))
	return resp, err
}
