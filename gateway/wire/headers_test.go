package wire

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// parse makes a message; "%" in the body stands for method.
func parse(t *testing.T, body, method string) *Message {
	t.Helper()
	m, err := Parse([]byte(strings.Replace(body, "%", method, 1)), DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStandardHeadersMustMirrorTheBody(t *testing.T) {
	const (
		tool     = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_weather"}}`
		umlaut   = `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"\u4e16\u754c"}}`
		sentinel = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"=?base64?literal?="}}`
		half     = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"=?base64?YQ=="}}`
		read     = `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a b"}}`
		task     = `{"jsonrpc":"2.0","id":1,"method":"tasks/cancel","params":{"taskId":"t1"}}`
		list     = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
		nameless = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":1}}`
		notice   = `{"jsonrpc":"2.0","method":"notifications/x"}`
	)
	type headers map[string][]string
	base := func(method string, name ...string) headers {
		h := headers{"Mcp-Protocol-Version": {"2026-07-28"}, "Mcp-Method": {method}}
		if len(name) > 0 {
			h["Mcp-Name"] = name
		}
		return h
	}
	without := func(h headers, name string) headers { delete(h, name); return h }
	with := func(h headers, name string, values ...string) headers { h[name] = values; return h }
	tests := []struct {
		rule, body string
		h          headers
		header     string // of the error; "" = accepted
	}{
		{"all right", tool, base("tools/call", "get_weather"), ""},
		{"outer whitespace", tool, base("tools/call", " get_weather\t"), ""},
		{"encoded without need", tool, base("tools/call", "=?base64?Z2V0X3dlYXRoZXI=?="), ""},
		{"encoded", umlaut, base("prompts/get", "=?base64?5LiW55WM?="), ""},
		{"a literal that looks encoded, encoded", sentinel, base("tools/call", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="), ""},
		{"a literal with the prefix alone", half, base("tools/call", "=?base64?YQ=="), ""},
		{"uri", read, base("resources/read", "file:///a b"), ""},
		{"task", task, base("tasks/cancel", "t1"), ""},
		{"list needs no name", list, base("tools/list"), ""},
		{"notification needs no method", notice, without(base(""), "Mcp-Method"), ""},
		{"body without name, no header", nameless, base("tools/call"), ""},

		{"version missing", tool, without(base("tools/call", "get_weather"), "Mcp-Protocol-Version"), "Mcp-Protocol-Version"},
		{"version differs", tool, with(base("tools/call", "get_weather"), "Mcp-Protocol-Version", "2025-11-25"), "Mcp-Protocol-Version"},
		{"version twice", tool, with(base("tools/call", "get_weather"), "Mcp-Protocol-Version", "2026-07-28", "2026-07-28"), "Mcp-Protocol-Version"},
		{"method missing", tool, without(base("", "get_weather"), "Mcp-Method"), "Mcp-Method"},
		{"method differs", tool, base("tools/list", "get_weather"), "Mcp-Method"},
		{"method in capitals", tool, base("TOOLS/CALL", "get_weather"), "Mcp-Method"},
		{"method is not decoded", tool, base("=?base64?dG9vbHMvY2FsbA==?=", "get_weather"), "Mcp-Method"},
		{"name missing", tool, base("tools/call"), "Mcp-Name"},
		{"name empty", tool, base("tools/call", ""), "Mcp-Name"},
		{"name differs", tool, base("tools/call", "get_time"), "Mcp-Name"},
		{"name in capitals", tool, base("tools/call", "Get_weather"), "Mcp-Name"},
		{"name twice", tool, base("tools/call", "get_weather", "get_weather"), "Mcp-Name"},
		{"name with raw UTF-8", umlaut, base("prompts/get", "世界"), "Mcp-Name"},
		{"name with a control character", tool, base("tools/call", "get_weather\x01"), "Mcp-Name"},
		{"bad padding", umlaut, base("prompts/get", "=?base64?5LiW55W?="), "Mcp-Name"},
		{"bad alphabet", umlaut, base("prompts/get", "=?base64?5LiW 5WM?="), "Mcp-Name"},
		{"bits left over", tool, base("tools/call", "=?base64?Z2V0X3dlYXRoZXJ=?="), "Mcp-Name"},
		{"URL alphabet", sentinel, base("tools/call", "=?base64?PT9iYXNlNjQ_bGl0ZXJhbD89?="), "Mcp-Name"},
		{"not UTF-8 inside", tool, base("tools/call", "=?base64?/w==?="), "Mcp-Name"},
		{"mark in capitals is literal", umlaut, base("prompts/get", "=?BASE64?5LiW55WM?="), "Mcp-Name"},
		{"a literal that looks encoded, as it is", sentinel, base("tools/call", "=?base64?literal?="), "Mcp-Name"},
		{"task differs", task, base("tasks/cancel", "t2"), "Mcp-Name"},
		{"name claimed, but not in the body", nameless, base("tools/call", "get_weather"), "Mcp-Name"},
		{"notification with another method", notice, base("notifications/y"), "Mcp-Method"},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			err := CheckStandardHeaders(http.Header(test.h), parse(t, test.body, ""), "2026-07-28")
			if test.header == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var wrong *HeaderError
			if !errors.As(err, &wrong) || wrong.Header != test.header {
				t.Fatalf("%v", err)
			}
			for name, values := range test.h {
				for _, v := range values {
					if v != "" && name != "Mcp-Protocol-Version" && strings.Contains(err.Error(), v) {
						t.Errorf("the error shows the value: %v", err)
					}
				}
			}
		})
	}
}

func TestSetStandardHeadersPassesItsOwnCheck(t *testing.T) {
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":" padded "}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"=?base64?literal?="}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":""}}`,
		`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"a\u0000\r\nb"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"test://caf\u00e9"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`,
	} {
		m := parse(t, body, "")
		h := http.Header{}
		SetStandardHeaders(h, "2026-07-28", m.Method, m.Params)
		if err := CheckStandardHeaders(h, m, "2026-07-28"); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	h := http.Header{}
	SetStandardHeaders(h, "2025-11-25", "tools/list", Object{})
	if len(h) != 1 || h.Get("MCP-Protocol-Version") != "2025-11-25" {
		t.Errorf("a legacy request has %v", h)
	}
}

func TestHeaderValuesAreEncodedAsTheSpecificationShows(t *testing.T) {
	for text, want := range map[string]string{
		"us-west1":           "us-west1",
		"Hello, 世界":          "=?base64?SGVsbG8sIOS4lueVjA==?=",
		" padded ":           "=?base64?IHBhZGRlZCA=?=",
		"line1\nline2":       "=?base64?bGluZTEKbGluZTI=?=",
		"=?base64?literal?=": "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
		"":                   "",
		"=?base64?no suffix": "=?base64?no suffix",
	} {
		if got := encodeHeader(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
		if back, ok := decodeHeader(want); !ok || back != text {
			t.Errorf("%q comes back as %q", want, back)
		}
	}
}
