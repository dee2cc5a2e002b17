package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

// call makes a tools/call with these arguments, raw.
func call(arguments string) string {
	return `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","arguments":` + arguments + `}}`
}

func TestParseRefusesWhatCouldBeReadInTwoWays(t *testing.T) {
	const id7 = "7"
	tests := []struct {
		rule, raw, reason string
		code              int64
		id                string
	}{
		// Names.
		{"name twice in the envelope", `{"jsonrpc":"2.0","id":7,"method":"a","method":"b"}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"id twice: no id is told", `{"jsonrpc":"2.0","id":7,"id":8,"method":"a"}`, ReasonAmbiguous, CodeInvalidRequest, ""},
		{"name twice in params", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","name":"b"}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"name twice, once escaped", call(`{"a":1,"\u0061":2}`), ReasonAmbiguous, CodeInvalidRequest, id7},
		{"name twice, six levels down, in an array", call(`{"a":[{"b":{"c":[{"d":1,"d":2}]}}]}`), ReasonAmbiguous, CodeInvalidRequest, id7},
		{"METHOD beside method", `{"jsonrpc":"2.0","id":7,"method":"a","METHOD":"b"}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"only Method", `{"jsonrpc":"2.0","id":7,"Method":"tools/call","Params":{}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"long s in params", `{"jsonrpc":"2.0","id":7,"method":"a","params":{},"paramſ":{}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"long s, escaped", `{"jsonrpc":"2.0","id":7,"method":"a","params":{},"param\u017f":{}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"ID beside id: no id is told", `{"jsonrpc":"2.0","id":7,"ID":8,"method":"a"}`, ReasonAmbiguous, CodeInvalidRequest, ""},
		{"Name beside name", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","Name":"b"}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"Kelvin sign in tasK", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","tas` + "\u212a" + `":{}}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"_META", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","_META":{}}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"requeststate", `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","requeststate":""}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"progresstoken in _meta", `{"jsonrpc":"2.0","id":7,"method":"a","params":{"_meta":{"progresstoken":1}}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"TraceParent in _meta", `{"jsonrpc":"2.0","id":7,"method":"a","params":{"_meta":{"TraceParent":"x"}}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"reserved key in capitals in _meta", `{"jsonrpc":"2.0","id":7,"method":"a","params":{"_meta":{"io.modelcontextprotocol/ProtocolVersion":"x"}}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"Name in ref", `{"jsonrpc":"2.0","id":7,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"a","Name":"b"}}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
		{"NUL ends a key", call(`{"a\u0000":1}`), ReasonNUL, CodeInvalidRequest, id7},
		{"NUL in a key with space before the colon", call(`{"\\\u0000" : 1}`), ReasonNUL, CodeInvalidRequest, id7},
		{"name and NUL in the envelope", `{"jsonrpc":"2.0","id":7,"method":"a","method\u0000":"b"}`, ReasonNUL, CodeInvalidRequest, id7},

		// Text.
		{"invalid UTF-8 in a value", call("{\"a\":\"\xff\"}"), ReasonUTF8, CodeParse, id7},
		{"invalid UTF-8 in a key", call("{\"\xc0\xaf\":1}"), ReasonUTF8, CodeParse, id7},
		{"lone high surrogate", call(`{"a":"\ud800"}`), ReasonUTF8, CodeParse, id7},
		{"lone low surrogate", call(`{"a":"\udc00x"}`), ReasonUTF8, CodeParse, id7},
		{"byte order mark", "\xef\xbb\xbf" + call(`{}`), ReasonBOM, CodeParse, ""},
		{"UTF-16", "{\x00\"\x00a\x00\"\x00", ReasonSyntax, CodeParse, ""},

		// Syntax.
		{"empty", ``, ReasonSyntax, CodeParse, ""},
		{"blank", " \n", ReasonSyntax, CodeParse, ""},
		{"two messages", `{"jsonrpc":"2.0","id":7,"method":"a"}{"jsonrpc":"2.0","id":8,"method":"b"}`, ReasonSyntax, CodeParse, ""},
		{"trailing garbage", call(`{}`) + `x`, ReasonSyntax, CodeParse, ""},
		{"comment", `{/**/"jsonrpc":"2.0"}`, ReasonSyntax, CodeParse, ""},
		{"trailing comma", `{"jsonrpc":"2.0","id":7,"method":"a",}`, ReasonSyntax, CodeParse, ""},
		{"truncated", `{"jsonrpc":"2.0","id":7,"method":"a`, ReasonSyntax, CodeParse, ""},
		{"unquoted key", `{jsonrpc:"2.0"}`, ReasonSyntax, CodeParse, ""},
		{"leading zero", call(`{"a":01}`), ReasonSyntax, CodeParse, ""},
		{"NaN", call(`{"a":NaN}`), ReasonSyntax, CodeParse, ""},
		{"raw control character", call("{\"a\":\"\n\"}"), ReasonSyntax, CodeParse, ""},
		{"duplicate in what is not JSON", `{"a":1,"a":2`, ReasonSyntax, CodeParse, ""},

		// Kinds of messages.
		{"batch", `[` + call(`{}`) + `]`, ReasonBatch, CodeInvalidRequest, ""},
		{"empty batch", `[]`, ReasonBatch, CodeInvalidRequest, ""},
		{"a string", `"x"`, ReasonEnvelope, CodeInvalidRequest, ""},
		{"no version", `{"id":7,"method":"a"}`, ReasonEnvelope, CodeInvalidRequest, id7},
		{"version 1.0", `{"jsonrpc":"1.0","id":7,"method":"a"}`, ReasonEnvelope, CodeInvalidRequest, id7},
		{"version as a number", `{"jsonrpc":2.0,"id":7,"method":"a"}`, ReasonEnvelope, CodeInvalidRequest, id7},
		{"empty object", `{}`, ReasonEnvelope, CodeInvalidRequest, ""},
		{"request with result", `{"jsonrpc":"2.0","id":7,"method":"a","result":{}}`, ReasonEnvelope, CodeInvalidRequest, id7},
		{"request with error", `{"jsonrpc":"2.0","id":7,"method":"a","error":{}}`, ReasonEnvelope, CodeInvalidRequest, id7},
		{"result and error", `{"jsonrpc":"2.0","id":7,"result":{},"error":{"code":1,"message":""}}`, ReasonEnvelope, CodeInvalidRequest, id7},
		{"response with params", `{"jsonrpc":"2.0","id":7,"result":{},"params":{}}`, ReasonEnvelope, CodeInvalidRequest, id7},
		{"no method", `{"jsonrpc":"2.0","id":7}`, ReasonMethod, CodeInvalidRequest, id7},
		{"method is null", `{"jsonrpc":"2.0","id":7,"method":null}`, ReasonMethod, CodeInvalidRequest, id7},
		{"method is a number", `{"jsonrpc":"2.0","id":7,"method":1}`, ReasonMethod, CodeInvalidRequest, id7},
		{"method is empty", `{"jsonrpc":"2.0","id":7,"method":""}`, ReasonMethod, CodeInvalidRequest, id7},
		{"params is an array", `{"jsonrpc":"2.0","id":7,"method":"a","params":[]}`, ReasonParams, CodeInvalidRequest, id7},
		{"params is null", `{"jsonrpc":"2.0","id":7,"method":"a","params":null}`, ReasonParams, CodeInvalidRequest, id7},
		{"params is a string", `{"jsonrpc":"2.0","id":7,"method":"a","params":"{}"}`, ReasonParams, CodeInvalidRequest, id7},
		{"_meta is an array", `{"jsonrpc":"2.0","id":7,"method":"a","params":{"_meta":[]}}`, ReasonParams, CodeInvalidRequest, id7},

		// Ids.
		{"id 1.5", `{"jsonrpc":"2.0","id":1.5,"method":"a"}`, ReasonID, CodeInvalidRequest, ""},
		{"id 1e2", `{"jsonrpc":"2.0","id":1e2,"method":"a"}`, ReasonID, CodeInvalidRequest, ""},
		{"id object", `{"jsonrpc":"2.0","id":{"a":1},"method":"a"}`, ReasonID, CodeInvalidRequest, ""},
		{"id array", `{"jsonrpc":"2.0","id":[],"method":"a"}`, ReasonID, CodeInvalidRequest, ""},
		{"id true", `{"jsonrpc":"2.0","id":true,"method":"a"}`, ReasonID, CodeInvalidRequest, ""},
		{"id null", `{"jsonrpc":"2.0","id":null,"method":"a"}`, ReasonID, CodeInvalidRequest, ""},
		{"response without id", `{"jsonrpc":"2.0","result":{}}`, ReasonID, CodeInvalidRequest, ""},
		{"error response with id null", `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}`, ReasonID, CodeInvalidRequest, ""},

		// Errors in responses.
		{"error is a string", `{"jsonrpc":"2.0","id":7,"error":"x"}`, ReasonError, CodeInvalidRequest, id7},
		{"error without code", `{"jsonrpc":"2.0","id":7,"error":{"message":""}}`, ReasonError, CodeInvalidRequest, id7},
		{"error with a code that is no integer", `{"jsonrpc":"2.0","id":7,"error":{"code":1.5,"message":""}}`, ReasonError, CodeInvalidRequest, id7},
		{"error with a code over 64 bits", `{"jsonrpc":"2.0","id":7,"error":{"code":9223372036854775808,"message":""}}`, ReasonError, CodeInvalidRequest, id7},
		{"error without message", `{"jsonrpc":"2.0","id":7,"error":{"code":1}}`, ReasonError, CodeInvalidRequest, id7},
		{"error with Code beside code", `{"jsonrpc":"2.0","id":7,"error":{"code":1,"Code":2,"message":""}}`, ReasonAmbiguous, CodeInvalidRequest, id7},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			m, err := Parse([]byte(test.raw), DefaultLimits)
			var refused *ParseError
			if !errors.As(err, &refused) {
				t.Fatalf("accepted: %+v, %v", m, err)
			}
			if refused.Reason != test.reason || refused.Code != test.code || string(refused.ID) != test.id {
				t.Errorf("got %s %d id %q, want %s %d id %q: %s", refused.Reason, refused.Code, refused.ID, test.reason, test.code, test.id, refused.Text)
			}
		})
	}
}

func TestParseAcceptsWhatOnlyLooksSuspicious(t *testing.T) {
	for rule, raw := range map[string]string{
		"case variants of arguments are the schema's business": call(`{"a":1,"A":2,"Name":3,"name":4}`),
		"NUL in a value":                  call(`{"a":"x\u0000"}`),
		"escaped backslash before u0000":  call(`{"a\\u0000":1}`),
		"surrogate pair":                  call(`{"a":"\ud83d\ude00"}`),
		"unknown envelope member":         `{"jsonrpc":"2.0","id":7,"method":"a","extra":{"ID":1}}`,
		"unknown member of params":        `{"jsonrpc":"2.0","id":7,"method":"a","params":{"Extra":1,"extra":2}}`,
		"a member that folds to no ASCII": `{"jsonrpc":"2.0","id":7,"method":"a","params":{"ſtraße":1}}`,
		"escaped member name":             `{"jsonrpc":"2.0","id":7,"m\u0065thod":"a"}`,
		"whitespace around":               " \r\n\t" + call(`{}`) + "\n",
		"_meta null":                      `{"jsonrpc":"2.0","id":7,"method":"a","params":{"_meta":null}}`,
		"numbers as they are":             call(`[9007199254740993,-0,1.0,1e400,0.1234567890123456789012345678901]`),
	} {
		t.Run(rule, func(t *testing.T) {
			m, err := Parse([]byte(raw), DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			if string(m.Raw) != raw || string(m.ID) != "7" || m.Kind != Request {
				t.Errorf("%+v", m)
			}
		})
	}
}

func TestParseLimitsHoldJustBelowAndJustAbove(t *testing.T) {
	lim := Limits{Bytes: 600, Depth: 8, Digits: 10, Exponent: 40, ID: 12}
	pad := func(n int) string {
		s := call(`{"a":""}`)
		return call(`{"a":"` + strings.Repeat("x", n-len(s)) + `"}`)
	}
	method := func(n int) string {
		return `{"jsonrpc":"2.0","id":7,"method":"` + strings.Repeat("m", n) + `"}`
	}
	id := func(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"method":"a"}` }
	tests := []struct{ rule, below, above, reason string }{
		{"Bytes", pad(600), pad(601), ReasonTooLarge},
		{"Depth", call(nested(6)), call(nested(7)), ReasonDepth},
		{"Digits", call(`1234567890`), call(`12345678901`), ReasonNumber},
		{"Digits with a fraction", call(`-12345.67890`), call(`-123456.78901`), ReasonNumber},
		{"Digits of zeros", call(`0.000000000`), call(`0.0000000000`), ReasonNumber},
		{"Exponent", call(`1e40`), call(`1e41`), ReasonNumber},
		{"negative Exponent", call(`1.5E-40`), call(`1.5E-41`), ReasonNumber},
		{"Exponent written long", call(`1e+0000000040`), call(`1e+00000000040`), ReasonNumber},
		{"Exponent beyond any int", call(`1e040`), call(`1e9999999999`), ReasonNumber},
		{"ID as a string", id(`"0123456789"`), id(`"01234567890"`), ReasonID},
		{"MaxMethod", method(256), method(257), ReasonMethod},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			if _, err := Parse([]byte(test.below), lim); err != nil {
				t.Errorf("below: %v", err)
			}
			_, err := Parse([]byte(test.above), lim)
			var refused *ParseError
			if !errors.As(err, &refused) || refused.Reason != test.reason {
				t.Errorf("above: %v", err)
			}
		})
	}
	t.Run("integer id over ID", func(t *testing.T) {
		wide := lim
		wide.Digits = 64
		if _, err := Parse([]byte(id(`123456789012`)), wide); err != nil {
			t.Error(err)
		}
		if _, err := Parse([]byte(id(`1234567890123`)), wide); err == nil {
			t.Error("accepted")
		}
	})
}

func TestDefaultLimitsAreThoseOfTheDesign(t *testing.T) {
	pass := []string{
		call(nested(62)), call(strings.Repeat("1", 64)), call("1e400"), call("1e-400"),
		call(`"` + strings.Repeat("x", 4<<20-len(call(`""`))) + `"`),
	}
	refusedOnes := []string{
		call(nested(63)), call(strings.Repeat("1", 65)), call("1e401"), call("1e-401"),
		call(`"` + strings.Repeat("x", 4<<20-len(call(`""`))+1) + `"`),
	}
	for i := range pass {
		if _, err := Parse([]byte(pass[i]), Limits{}); err != nil {
			t.Error(err)
		}
		if _, err := Parse([]byte(refusedOnes[i]), Limits{}); err == nil {
			t.Errorf("case %d accepted", i)
		}
	}
	long := func(n int) []byte {
		return []byte(`{"jsonrpc":"2.0","id":"` + strings.Repeat("x", n-2) + `","method":"a"}`)
	}
	if _, err := Parse(long(1024), Limits{}); err != nil {
		t.Error(err)
	}
	if _, err := Parse(long(1025), Limits{}); err == nil {
		t.Error("id over 1024 bytes accepted")
	}
}

func TestParseGivesTheMessageAsItWasSent(t *testing.T) {
	raw := []byte(`{"jsonrpc": "2.0", "params": {"name": "t\u00e9", "_meta": {"progressToken": 9007199254740993, "x": 1}, "arguments": {"n": 1.0}}, "id": 9007199254740993, "method": "tools\/call"}`)
	m, err := Parse(raw, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	if m.Kind != Request || string(m.ID) != "9007199254740993" || m.Method != "tools/call" {
		t.Errorf("%+v", m)
	}
	if name, _ := m.Params.String("name"); name != "té" {
		t.Errorf("name %q", name)
	}
	if arguments, _ := m.Params.Get("arguments"); string(arguments) != `{"n": 1.0}` {
		t.Errorf("arguments %s", arguments)
	}
	if string(m.Meta.Raw) != `{"progressToken": 9007199254740993, "x": 1}` || string(m.ProgressToken()) != "9007199254740993" {
		t.Errorf("meta %s", m.Meta.Raw)
	}
	for _, o := range []Object{m.Params, m.Meta} {
		again, err := Fields(o.Raw)
		if err != nil || fmt.Sprint(again.Members) != fmt.Sprint(o.Members) {
			t.Errorf("index differs from that of Fields:\n%v\n%v", o.Members, again.Members)
		}
	}
}

func TestParseTellsKinds(t *testing.T) {
	for raw, kind := range map[string]Kind{
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`:        Notification,
		`{"jsonrpc":"2.0","id":"a","method":"ping"}`:                    Request,
		`{"jsonrpc":"2.0","id":-0,"method":"ping"}`:                     Request,
		`{"jsonrpc":"2.0","id":"","result":null}`:                       Response,
		`{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}`:   Response,
		`{"jsonrpc":"2.0","id":1,"result":{"action":"accept","c":1.0}}`: Response,
	} {
		m, err := Parse([]byte(raw), DefaultLimits)
		if err != nil || m.Kind != kind {
			t.Errorf("%s: %v, %v", raw, m, err)
		}
	}
}

func TestRefusalsShowNothingOfTheMessage(t *testing.T) {
	const canary = "hunter2"
	for _, raw := range []string{
		call(`{"` + canary + `":1,"` + canary + `":2}`),
		call(`{"` + canary + `\u0000":"` + canary + `"}`),
		call(`"` + canary + "\xff\""),
		`{"jsonrpc":"2.0","id":{"` + canary + `":1},"method":"a"}`,
		`{"jsonrpc":"` + canary + `","id":1,"method":"a"}`,
		call(`{"` + canary + `"}`),
		`{"jsonrpc":"2.0","id":7,"method":"` + canary + strings.Repeat("x", 256) + `"}`,
	} {
		if _, err := Parse([]byte(raw), DefaultLimits); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestRefusalTellsIDBehindWhatIsTooDeep(t *testing.T) {
	raw := `{"jsonrpc":"2.0","method":"a","params":{"a":` + nested(100_000) + `},"id":"z"}`
	_, err := Parse([]byte(raw), DefaultLimits)
	var refused *ParseError
	if !errors.As(err, &refused) || refused.Reason != ReasonDepth || string(refused.ID) != `"z"` {
		t.Errorf("%v", err)
	}
}

// bombs are messages that cost a careless parser more than their size; n scales
// them.
var bombs = map[string]func(n int) string{
	"brackets left open": func(n int) string { return strings.Repeat("[", n) },
	"brackets":           func(n int) string { return call(nested(n)) },
	"empty arrays":       func(n int) string { return call("[[]" + strings.Repeat(",[]", n-1) + "]") },
	"keys":               func(n int) string { return call(manyKeys(n)) },
	"keys in params": func(n int) string {
		return `{"jsonrpc":"2.0","id":1,"method":"a","params":` + manyKeys(n) + `}`
	},
	"keys in the envelope": func(n int) string {
		return `{"jsonrpc":"2.0","id":1,"method":"a",` + manyKeys(n)[1:]
	},
	"escaped quotes": func(n int) string { return call(`"` + strings.Repeat(`\"`, n) + `"`) },
	"backslashes":    func(n int) string { return call(`"` + strings.Repeat(`\\`, n) + `"`) },
	"escapes in keys": func(n int) string {
		return call(`{"` + strings.Repeat(`\u0001`, n) + `":1}`)
	},
}

func manyKeys(n int) string {
	var keys bytes.Buffer
	for i := range n {
		keys.WriteString(`,"k` + strconv.Itoa(i) + `":1`)
	}
	return "{" + keys.String()[1:] + "}"
}

// A hundred times the size may cost about a hundred times the time; what is
// quadratic costs ten thousand times as much. The bound between leaves room for
// a busy machine. (BenchmarkBombs has the absolute cost.)
func TestCostOfBombsIsLinear(t *testing.T) {
	cost := func(raw string, runs int) time.Duration {
		best := time.Hour
		for range runs {
			start := time.Now()
			Parse([]byte(raw), DefaultLimits)
			best = min(best, time.Since(start))
		}
		return best
	}
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			small := cost(bomb(500), 5)
			// A run that a busy machine interrupts says nothing: one that it does
			// not is enough.
			large := time.Hour
			for tries := 0; tries < 20 && large > 2000*max(small, 10*time.Microsecond); tries++ {
				large = min(large, cost(bomb(50_000), 1))
			}
			if large > 2000*max(small, 10*time.Microsecond) {
				t.Errorf("%v became %v", small, large)
			}
		})
	}
}

func TestCheckJudgesAnyValue(t *testing.T) {
	for _, good := range []string{`1`, `"x"`, `null`, `[1,{"a":[]}]`, nested(64)} {
		if err := Check([]byte(good), Limits{}); err != nil {
			t.Errorf("%.20s: %v", good, err)
		}
	}
	for _, bad := range []string{``, `{"a":1,"a":2}`, `1 2`, `"\ud800"`, `1e401`, nested(65), `{"\u0000":1}`} {
		if err := Check([]byte(bad), Limits{}); err == nil {
			t.Errorf("%.20s: accepted", bad)
		}
	}
}

func TestNoTwoWordsAreCaseVariants(t *testing.T) {
	seen := map[string]string{}
	for word := range words {
		folded := string(appendFolded(nil, word))
		if other, ok := seen[folded]; ok {
			t.Errorf("%q and %q", word, other)
		}
		seen[folded] = word
		if len(word)*3 > longestVariant {
			t.Errorf("%q: a variant may be longer than %d bytes", word, longestVariant)
		}
	}
}

func TestFoldingIsUnicodeSimpleFolding(t *testing.T) {
	for _, set := range []map[string]string{envelopeMembers, paramsMembers, metaMembers, errorMembers} {
		for _, exact := range set {
			variant := strings.NewReplacer("s", "ſ", "k", "\u212a").Replace(strings.ToUpper(exact))
			if !strings.EqualFold(variant, exact) {
				t.Fatalf("%q does not fold to %q", variant, exact)
			}
			variant = strings.NewReplacer("S", "ſ", "K", "\u212a").Replace(variant)
			if variantOf(set, variant) != exact {
				t.Errorf("%q passes beside %q", variant, exact)
			}
			if variantOf(set, exact) != "" || variantOf(set, exact+"x") != "" {
				t.Errorf("%q is refused itself", exact)
			}
		}
	}
}
