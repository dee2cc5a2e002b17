package tasks

import (
	"context"
	"encoding/json"
	"time"
)

// tool is one tool of the server.
type tool struct {
	name, description string
	schema            object
	support           string // execution.taskSupport of MCP 2025-11-25
	// asks: in the modern era it gathers input before it becomes a task.
	asks bool
	do   func(s *Server, args arguments) job
}

type arguments struct {
	Name     string
	Filename string
	Label    string
	Seconds  float64
}

func properties(p object) object { return object{"type": "object", "properties": p} }

var stringType, numberType = object{"type": "string"}, object{"type": "number"}

var tools = []tool{
	{name: "greet", description: "Greets, at once.", schema: properties(object{"name": stringType}), support: "forbidden",
		do: func(_ *Server, a arguments) job {
			return func(context.Context, *task) (object, *rpcError) { return text("Hello, " + a.Name + "!"), nil }
		}},
	{name: "slow_compute", description: "Takes so many seconds.", schema: properties(object{"seconds": numberType, "label": stringType}), support: "optional",
		do: func(s *Server, a arguments) job {
			return func(ctx context.Context, _ *task) (object, *rpcError) {
				if !rest(ctx, time.Duration(a.Seconds*float64(s.second))) {
					return nil, fault(internalError, "stopped")
				}
				return text("computed " + a.Label), nil
			}
		}},
	{name: "failing_job", description: "Fails in its own way after a second.", schema: properties(object{}), support: "required",
		do: func(s *Server, _ arguments) job {
			return func(ctx context.Context, _ *task) (object, *rpcError) {
				rest(ctx, s.second)
				result := text("the job failed")
				result["isError"] = true
				return result, nil
			}
		}},
	{name: "protocol_error_job", description: "Ends in a JSON-RPC error.", schema: properties(object{}), support: "required",
		do: func(s *Server, _ arguments) job {
			return func(ctx context.Context, _ *task) (object, *rpcError) {
				rest(ctx, s.second/4)
				return nil, fault(internalError, "the job broke")
			}
		}},
	{name: "confirm_delete", description: "Asks before it deletes.", schema: properties(object{"filename": stringType}), support: "required",
		do: func(_ *Server, a arguments) job {
			return func(ctx context.Context, t *task) (object, *rpcError) {
				answers, err := t.ask(ctx, map[string]object{"confirm": elicitation("Delete "+a.Filename+"?", "confirm", object{"type": "boolean"})})
				if err != nil {
					return nil, fault(internalError, "not answered")
				}
				if accepted(answers["confirm"])["confirm"] != true {
					return text("kept " + a.Filename), nil
				}
				return text("deleted " + a.Filename), nil
			}
		}},
	{name: "multi_input", description: "Asks two things at once.", schema: properties(object{}), support: "required",
		do: func(*Server, arguments) job {
			return func(ctx context.Context, t *task) (object, *rpcError) {
				if _, err := t.ask(ctx, map[string]object{
					"first":  elicitation("First name?", "name", stringType),
					"second": elicitation("Second name?", "name", stringType),
				}); err != nil {
					return nil, fault(internalError, "not answered")
				}
				return text("both answered"), nil
			}
		}},
	{name: "test_tool_with_task", description: "Asks for a name, then greets as a task.", schema: properties(object{}), support: "required", asks: true,
		do: func(_ *Server, a arguments) job {
			return func(ctx context.Context, t *task) (object, *rpcError) {
				if a.Name == "" {
					answers, err := t.ask(ctx, map[string]object{"user_name": askName})
					if err != nil {
						return nil, fault(internalError, "not answered")
					}
					a.Name, _ = accepted(answers["user_name"])["name"].(string)
				}
				return text("Hello, " + a.Name + ", from a task"), nil
			}
		}},
}

func toolNamed(name string) *tool {
	for i := range tools {
		if tools[i].name == name {
			return &tools[i]
		}
	}
	return nil
}

// definitions are the tools as listed; taskSupport is a word of MCP 2025-11-25.
func definitions(legacy bool) []object {
	var all []object
	for _, t := range tools {
		d := object{"name": t.name, "description": t.description, "inputSchema": t.schema}
		if legacy {
			d["execution"] = object{"taskSupport": t.support}
		}
		all = append(all, d)
	}
	return all
}

// prepare is the job of a call. name is what was asked for beforehand.
func (t *tool) prepare(s *Server, raw json.RawMessage, name string) (job, *rpcError) {
	var a arguments
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, fault(invalidParams, "arguments don't fit the schema of %s", t.name)
		}
	}
	if t.asks {
		a.Name = name
	}
	return t.do(s, a), nil
}

func text(s string) object { return object{"content": []object{{"type": "text", "text": s}}} }

var askName = elicitation("What is your name?", "name", stringType)

func elicitation(message, key string, schema object) object {
	return object{"method": "elicitation/create", "params": object{
		"mode": "form", "message": message,
		"requestedSchema": object{"type": "object", "properties": object{key: schema}, "required": []string{key}},
	}}
}

// accepted is the content of an answer that was accepted; empty otherwise.
func accepted(answer json.RawMessage) object {
	var a struct {
		Action  string
		Content object
	}
	if json.Unmarshal(answer, &a) != nil || a.Action != "accept" {
		return nil
	}
	return a.Content
}

// rest waits; false means that ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
