package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAnswerIsStrictAboutTheEnvelope(t *testing.T) {
	for rule, raw := range map[string]string{
		"result and error":                  `{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}`,
		"neither":                           `{"jsonrpc":"2.0","id":1}`,
		"result twice":                      `{"jsonrpc":"2.0","id":1,"result":{},"result":{"a":1}}`,
		"result and Result":                 `{"jsonrpc":"2.0","id":1,"result":{},"Result":{"a":1}}`,
		"id twice":                          `{"jsonrpc":"2.0","id":1,"id":2,"result":{}}`,
		"result without id":                 `{"jsonrpc":"2.0","result":{}}`,
		"result with id null":               `{"jsonrpc":"2.0","id":null,"result":{}}`,
		"id of another kind":                `{"jsonrpc":"2.0","id":1.0,"result":{}}`,
		"error without a message":           `{"jsonrpc":"2.0","id":1,"error":{"code":1}}`,
		"error code is a string":            `{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}`,
		"error with code and CODE":          `{"jsonrpc":"2.0","id":1,"error":{"code":1,"CODE":2,"message":""}}`,
		"duplicate inside error":            `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","data":{"a":1,"a":2}}}`,
		"duplicate inside params":           `{"jsonrpc":"2.0","method":"n","params":{"a":1,"a":2}}`,
		"duplicate beside result":           `{"jsonrpc":"2.0","id":1,"x":{"a":1,"a":2},"result":{}}`,
		"names of result not unique":        `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[1]}}`,
		"invalid UTF-8 in id":               "{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"result\":{}}",
		"invalid UTF-8 in a name":           "{\"jsonrpc\":\"2.0\",\"id\":1,\"\xff\":1,\"result\":{}}",
		"not JSON inside result":            `{"jsonrpc":"2.0","id":1,"result":{"a":}}`,
		"batch":                             `[{"jsonrpc":"2.0","id":1,"result":{}}]`,
		"too deep even for lenient":         `{"jsonrpc":"2.0","id":1,"result":{"a":` + nested(lenientDepth-1) + `}}`,
		"params is an array":                `{"jsonrpc":"2.0","method":"n","params":[]}`,
		"a string result that is not UTF-8": "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}",
	} {
		for _, lenient := range []bool{false, true} {
			m, err := ParseAnswer([]byte(raw), Limits{}, lenient)
			var refused *ParseError
			if !errors.As(err, &refused) {
				t.Errorf("%s, lenient %v: accepted %+v", rule, lenient, m)
			}
		}
	}
}

func TestParseAnswerLenientPassesFaultsInsideResultAlone(t *testing.T) {
	for rule, inside := range map[string]string{
		"duplicate name": `{"name":"a","name":"b"}`,
		"invalid UTF-8":  "{\"name\":\"\xff\"}",
		"lone surrogate": `{"name":"\ud800"}`,
		"huge number":    `{"default":1e500}`,
		"NUL in a key":   `{"a\u0000":1}`,
		"too deep":       nested(100),
		"deepest":        nested(lenientDepth - 3),
	} {
		t.Run(rule, func(t *testing.T) {
			raw := []byte(`{"jsonrpc":"2.0","id":"g-1","result":{"tools":[{"name":"good"},` + inside + `],"nextCursor":"c"}}`)
			if _, err := ParseAnswer(raw, Limits{}, false); err == nil {
				t.Error("accepted by the strict parse")
			}
			m, err := ParseAnswer(raw, Limits{}, true)
			if err != nil {
				t.Fatal(err)
			}
			result, err := Fields(m.Result)
			if err != nil {
				t.Fatal(err)
			}
			tools, _ := result.Get("tools")
			items, err := Elements(tools)
			if err != nil || len(items) != 2 || Check(items[0], Limits{}) != nil || Check(items[1], Limits{}) == nil {
				t.Errorf("%q, %v", items, err)
			}
			if cursor, _ := result.String("nextCursor"); cursor != "c" {
				t.Errorf("cursor %q", cursor)
			}
		})
	}
}

func TestParseAnswerTakesWhatUpstreamsSend(t *testing.T) {
	for raw, kind := range map[string]Kind{
		`{"jsonrpc":"2.0","id":"g-1","result":{"Name":1,"name":2}}`:                                        Response,
		`{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"}}`:                                Response,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"","data":null}}`:                     Response,
		`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`:                                    Notification,
		`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":null}`:                      Notification,
		`{"jsonrpc":"2.0","id":0,"method":"elicitation/create","params":{"Message":"",` + `"message":""}}`: Request,
	} {
		m, err := ParseAnswer([]byte(raw), Limits{}, false)
		if err != nil || m.Kind != kind {
			t.Errorf("%s: %v, %v", raw, m, err)
		}
	}
}

func TestErrorIsKeptAsReceived(t *testing.T) {
	object := `{ "message":"caf\u00e9", "code":-32055, "data":{"n":1.0}, "x":9007199254740993 }`
	m, err := ParseAnswer([]byte(`{"jsonrpc":"2.0","id":1,"error":`+object+`}`), Limits{}, true)
	if err != nil {
		t.Fatal(err)
	}
	if e := m.Error; e.Code != -32055 || e.Message != "café" || string(e.Data) != `{"n":1.0}` || string(e.Raw) != object {
		t.Errorf("%+v", m.Error)
	}
	if got := string(AppendError(nil, []byte("7"), m.Error)); got != `{"jsonrpc":"2.0","id":7,"error":`+object+`}` {
		t.Error(got)
	}
}

func TestBuildersMakeMessagesThatParseBack(t *testing.T) {
	tests := []struct{ got, want string }{
		{string(AppendRequest(nil, []byte(`"g-1"`), `a"<b>`, []byte(`{"x":1}`))), `{"jsonrpc":"2.0","id":"g-1","method":"a\"<b>","params":{"x":1}}`},
		{string(AppendRequest(nil, []byte("1"), "ping", nil)), `{"jsonrpc":"2.0","id":1,"method":"ping"}`},
		{string(AppendNotification([]byte("x"), "n", []byte("{}"))), `x{"jsonrpc":"2.0","method":"n","params":{}}`},
		{string(AppendResult(nil, []byte("1"), []byte(`{"a":1}`))), `{"jsonrpc":"2.0","id":1,"result":{"a":1}}`},
		{string(AppendResult(nil, []byte("1"), nil)), `{"jsonrpc":"2.0","id":1,"result":{}}`},
		{string(AppendError(nil, []byte("1"), &Error{Code: -32601, Message: "no", Data: []byte("[]")})), `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no","data":[]}}`},
		{string(AppendError(nil, nil, &Error{Code: -32700})), `{"jsonrpc":"2.0","error":{"code":-32700,"message":""}}`},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got  %s\nwant %s", test.got, test.want)
		}
		if _, err := ParseAnswer([]byte(strings.TrimPrefix(test.got, "x")), Limits{}, false); err != nil {
			t.Error(err)
		}
	}
}
