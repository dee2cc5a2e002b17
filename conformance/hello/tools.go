package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

var tools = []object{
	{
		"name":        "echo",
		"title":       "Echo",
		"description": "Gives the text back unchanged.",
		"inputSchema": object{
			"type":                 "object",
			"properties":           object{"text": object{"type": "string", "description": "What to give back."}},
			"required":             []string{"text"},
			"additionalProperties": false,
		},
		"annotations": readOnly,
	},
	{
		"name":        "time",
		"title":       "Time",
		"description": "Tells the time of the server's clock in UTC, as RFC 3339.",
		"inputSchema": object{"type": "object", "additionalProperties": false},
		"annotations": readOnly,
	},
}

var readOnly = object{"readOnlyHint": true, "openWorldHint": false}

// call runs one tool. Bad arguments are a result that a model can read and
// mend (SEP-1303); an unknown tool is a protocol error.
func call(name string, arguments json.RawMessage, now time.Time) (object, *rpcError) {
	switch name {
	case "echo":
		var a struct{ Text *string }
		if err := strictly(arguments, &a); err != nil || a.Text == nil {
			return text("echo takes one argument, text, a string", true), nil
		}
		return text(*a.Text, false), nil
	case "time":
		if err := strictly(arguments, &struct{}{}); err != nil {
			return text("time takes no arguments", true), nil
		}
		return text(now.UTC().Format(time.RFC3339), false), nil
	}
	return nil, &rpcError{Code: invalidParams, Message: fmt.Sprintf("unknown tool %q", name)}
}

// strictly decodes arguments and refuses what the tool does not know. Absent
// arguments are none.
func strictly(arguments json.RawMessage, into any) error {
	if len(arguments) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(arguments))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func text(s string, isError bool) object {
	result := object{"content": []object{{"type": "text", "text": s}}}
	if isError {
		result["isError"] = true
	}
	return result
}
