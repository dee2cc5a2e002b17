package tasks

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// client is a client of either era.
type client struct {
	t       *testing.T
	url     string
	caps    string // modern
	session string // legacy
	id      int
}

func start(t *testing.T, era string) string {
	s := New(5 * time.Millisecond)
	s.Era = era
	h := httptest.NewServer(s)
	t.Cleanup(func() { s.cancel(); h.Close(); s.Close() })
	return h.URL + "/mcp"
}

type reply struct {
	status int
	Result map[string]any
	Error  *rpcError
}

func (c *client) post(body string, header map[string]string) *http.Response {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func (c *client) headers(method, params string) map[string]string {
	if c.session != "" {
		return map[string]string{"Mcp-Session-Id": c.session}
	}
	h := map[string]string{"Mcp-Protocol-Version": modernVersion, "Mcp-Method": method}
	var p struct{ Name, TaskID string }
	json.Unmarshal([]byte("{"+params+"}"), &p)
	if p.Name+p.TaskID != "" {
		h["Mcp-Name"] = p.Name + p.TaskID
	}
	return h
}

func (c *client) body(method, params string) string {
	c.id++
	if c.session == "" {
		meta := `"_meta":{"` + metaVersion + `":"` + modernVersion + `","` + metaCapabilities + `":` + c.caps + `}`
		params = strings.TrimSuffix(meta+","+params, ",")
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s}}`, c.id, method, params)
}

// call makes a request; a question on the way is answered with yes.
func (c *client) call(method, params string) reply {
	c.t.Helper()
	resp := c.post(c.body(method, params), c.headers(method, params))
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
			c.t.Fatal(resp.Status, err)
		}
		return r
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var q request
		if err := json.Unmarshal([]byte(data), &q); err != nil {
			c.t.Fatal(err)
		}
		if q.Method == "" {
			json.Unmarshal([]byte(data), &r)
			return r
		}
		if q.Params.Meta[metaRelated] == nil {
			c.t.Errorf("a question without its task: %s", data)
		}
		c.post(`{"jsonrpc":"2.0","id":`+string(q.ID)+`,"result":{"action":"accept","content":{"confirm":true,"name":"Ada"}}}`, c.headers("", "")).Body.Close()
	}
	c.t.Fatal("the stream ended without an answer")
	return r
}

// settled polls until the task is in one of the states.
func (c *client) settled(id string, states ...string) map[string]any {
	c.t.Helper()
	for range 2000 {
		r := c.call("tasks/get", `"taskId":"`+id+`"`)
		for _, s := range states {
			if r.Result["status"] == s {
				return r.Result
			}
		}
		time.Sleep(time.Millisecond)
	}
	c.t.Fatal("the task did not become ", states)
	return nil
}

const declared = `{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`

func TestModernTasks(t *testing.T) {
	c := &client{t: t, url: start(t, ""), caps: declared}
	call := func(name, arguments string) map[string]any {
		t.Helper()
		r := c.call("tools/call", `"name":"`+name+`","arguments":`+arguments)
		if r.Error != nil {
			t.Fatal(name, *r.Error)
		}
		return r.Result
	}
	if r := call("greet", `{"name":"Ada"}`); r["resultType"] != "complete" || !strings.Contains(fmt.Sprint(r), "Hello, Ada!") {
		t.Error(r)
	}
	if r := call("slow_compute", `{"seconds":0}`); r["resultType"] != "complete" {
		t.Error("nothing to wait for, and still a task:", r)
	}
	made := call("slow_compute", `{"seconds":1,"label":"x"}`)
	if made["resultType"] != "task" || made["task"] != nil || made["ttlMs"] == nil || made["ttl"] != nil {
		t.Error(made)
	}
	done := c.settled(made["taskId"].(string), "completed")
	if !strings.Contains(fmt.Sprint(done["result"]), "computed x") || done["resultType"] != "complete" {
		t.Error(done)
	}
	if r := c.settled(call("failing_job", `{}`)["taskId"].(string), "completed"); r["result"].(map[string]any)["isError"] != true {
		t.Error(r)
	}
	if r := c.settled(call("protocol_error_job", `{}`)["taskId"].(string), "failed"); r["error"] == nil || r["result"] != nil {
		t.Error(r)
	}
	long := call("slow_compute", `{"seconds":1000000}`)["taskId"].(string)
	for range 2 { // idempotent
		if r := c.call("tasks/cancel", `"taskId":"`+long+`"`); r.Error != nil || len(r.Result) != 1 {
			t.Error(r)
		}
	}
	c.settled(long, "cancelled")

	multi := call("multi_input", `{}`)["taskId"].(string)
	if r := c.settled(multi, "input_required"); len(r["inputRequests"].(map[string]any)) != 2 {
		t.Error(r)
	}
	yes := `{"action":"accept","content":{"name":"x"}}`
	c.call("tasks/update", `"taskId":"`+multi+`","inputResponses":{"first":`+yes+`,"nobody":{}}`)
	if r := c.settled(multi, "input_required"); len(r["inputRequests"].(map[string]any)) != 1 {
		t.Error("after a part of the answers:", r)
	}
	c.call("tasks/update", `"taskId":"`+multi+`","inputResponses":{"second":`+yes+`}`)
	c.settled(multi, "completed")

	if r := call("test_tool_with_task", `{}`); r["resultType"] != "input_required" || r["taskId"] != nil {
		t.Error(r)
	}
	r := c.call("tools/call", `"name":"test_tool_with_task","inputResponses":{"user_name":`+yes+`}`)
	if got := c.settled(r.Result["taskId"].(string), "completed"); !strings.Contains(fmt.Sprint(got), "Hello, x") {
		t.Error(got)
	}

	for _, tt := range []struct {
		rule, caps, method, params string
		status, code               int
	}{
		{"unknown task", declared, "tasks/get", `"taskId":"x"`, 200, invalidParams},
		{"not declared: get", `{}`, "tasks/get", `"taskId":"x"`, 400, missingCapability},
		{"not declared: a tool that needs it", `{}`, "tools/call", `"name":"failing_job"`, 400, missingCapability},
		{"not declared: listen", `{}`, "subscriptions/listen", `"notifications":{"taskIds":["x"]}`, 400, missingCapability},
		{"removed: result", declared, "tasks/result", `"taskId":"x"`, 404, methodNotFound},
		{"removed: list", declared, "tasks/list", ``, 404, methodNotFound},
		{"unknown tool", declared, "tools/call", `"name":"x"`, 200, invalidParams},
	} {
		d := *c
		d.caps = tt.caps
		if r := d.call(tt.method, tt.params); r.Error == nil || r.Error.Code != tt.code || r.status != tt.status {
			t.Errorf("%s: %d %v", tt.rule, r.status, r.Error)
		}
	}
	h := c.headers("tasks/get", `"taskId":"`+multi+`"`)
	h["Mcp-Name"] = "other"
	resp := c.post(c.body("tasks/get", `"taskId":"`+multi+`"`), h)
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Error("a header that names another task:", resp.Status)
	}
}

func TestModernListenersHearOfTheirTasks(t *testing.T) {
	c := &client{t: t, url: start(t, ""), caps: declared}
	id := c.call("tools/call", `"name":"slow_compute","arguments":{"seconds":10}`).Result["taskId"].(string)
	params := `"notifications":{"taskIds":["` + id + `","other"]}`
	resp := c.post(c.body("subscriptions/listen", params), c.headers("subscriptions/listen", ""))
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	var heard []string
	for len(heard) < 2 && lines.Scan() {
		if lines.Text() != "" {
			heard = append(heard, lines.Text())
		}
	}
	if len(heard) != 2 || !strings.Contains(heard[0], `"taskIds":["`+id+`"]`) || !strings.Contains(heard[1], `"status":"completed"`) {
		t.Errorf("%q", heard)
	}
}

func open(t *testing.T, url string) *client {
	c := &client{t: t, url: url}
	resp := c.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`, nil)
	resp.Body.Close()
	c.session = resp.Header.Get("Mcp-Session-Id")
	return c
}

func TestLegacyTasks(t *testing.T) {
	c := open(t, start(t, ""))
	made := func(name, arguments string) string {
		t.Helper()
		r := c.call("tools/call", `"name":"`+name+`","arguments":`+arguments+`,"task":{"ttl":60000}`)
		if r.Error != nil {
			t.Fatal(name, *r.Error)
		}
		task := r.Result["task"].(map[string]any)
		if task["ttl"] != 60000.0 || task["ttlMs"] != nil || task["status"] == nil {
			t.Error(task)
		}
		return task["taskId"].(string)
	}
	result := func(id string) reply { return c.call("tasks/result", `"taskId":"`+id+`"`) }
	if r := result(made("slow_compute", `{"seconds":1,"label":"x"}`)); !strings.Contains(fmt.Sprint(r.Result), "computed x") || r.Result["_meta"] == nil {
		t.Error(r)
	}
	failing := made("failing_job", `{}`)
	if r := result(failing); r.Result["isError"] != true {
		t.Error(r)
	}
	c.settled(failing, "failed") // there, a tool's own error is one
	if r := result(made("protocol_error_job", `{}`)); r.Error == nil {
		t.Error(r)
	}
	confirm := made("confirm_delete", `{"filename":"f"}`)
	c.settled(confirm, "input_required")
	if r := result(confirm); !strings.Contains(fmt.Sprint(r.Result), "deleted f") {
		t.Error(r)
	}
	if r := result(made("test_tool_with_task", `{}`)); !strings.Contains(fmt.Sprint(r.Result), "Hello, Ada") {
		t.Error(r)
	}
	long := made("slow_compute", `{"seconds":1000000}`)
	if r := c.call("tasks/cancel", `"taskId":"`+long+`"`); r.Result["status"] != "cancelled" {
		t.Error(r)
	}
	if r := c.call("tasks/cancel", `"taskId":"`+long+`"`); r.Error == nil || r.Error.Code != invalidParams {
		t.Error("cancelled twice:", r)
	}
	if r := c.call("tasks/list", ""); len(r.Result["tasks"].([]any)) != 6 {
		t.Error(r)
	}
	for rule, params := range map[string]string{
		"required, and no task": `"name":"failing_job"`, "forbidden, and a task": `"name":"greet","task":{}`,
	} {
		if r := c.call("tools/call", params); r.Error == nil || r.Error.Code != methodNotFound {
			t.Errorf("%s: %v", rule, r)
		}
	}
}

func TestOneEraAlone(t *testing.T) {
	body := `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`
	for era, want := range map[string][2]int{"": {200, 200}, "legacy": {400, 200}, "modern": {200, 400}} {
		c := &client{t: t, url: start(t, era), caps: `{}`}
		m := c.post(c.body("server/discover", ""), c.headers("server/discover", ""))
		l := c.post(body, nil)
		m.Body.Close()
		l.Body.Close()
		if got := [2]int{m.StatusCode, l.StatusCode}; got != want {
			t.Errorf("%q: %v, want %v", era, got, want)
		}
	}
}

func TestAForeignHostOrOriginIsRefused(t *testing.T) {
	c := &client{t: t, url: start(t, "")}
	for origin, want := range map[string]int{"http://evil.example": 403, "http://localhost:1": 200} {
		resp := c.post(`{"jsonrpc":"2.0","id":0,"method":"initialize"}`, map[string]string{"Origin": origin})
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", origin, resp.StatusCode)
		}
	}
}

func TestATaskThatIsOldIsForgotten(t *testing.T) {
	s := New(time.Millisecond)
	defer s.Close()
	kept := s.start("x", time.Hour, toolNamed("multi_input").do(s, arguments{}))
	old := s.start("x", time.Nanosecond, toolNamed("multi_input").do(s, arguments{}))
	time.Sleep(time.Millisecond)
	if s.find(old.id) != nil || s.find(kept.id) == nil {
		t.Error("the ttl does not hold")
	}
	s.start("x", time.Hour, toolNamed("greet").do(s, arguments{}))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tasks) != 2 {
		t.Errorf("%d tasks are kept", len(s.tasks))
	}
}
