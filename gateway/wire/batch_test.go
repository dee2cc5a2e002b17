package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseBatchTakesWhatParseTakes(t *testing.T) {
	raw := " [ " + call(`{"a":`+nested(DefaultLimits.Depth-3)+`}`) + ` ,
		{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}},
		{"jsonrpc":"2.0","id":7,"result":{}}, {"jsonrpc":"2.0","id":"7","method":"ping"} ] `
	all, err := ParseBatch([]byte(raw), Limits{})
	if err != nil || len(all) != 4 {
		t.Fatalf("%d messages, %v", len(all), err)
	}
	for i, want := range []string{"7 tools/call", " notifications/cancelled", "7 ", `"7" ping`} {
		if got := string(all[i].ID) + " " + all[i].Method; got != want {
			t.Errorf("message %d: %q, want %q", i, got, want)
		}
	}
	if one, err := Parse(all[0].Raw, Limits{}); err != nil || one.Method != "tools/call" {
		t.Errorf("the first one alone: %v", err)
	}
	for raw, want := range map[string]bool{" \n[": true, "[]": true, "{}": false, "": false, `"["`: false, "\xef\xbb\xbf[": false} {
		if IsBatch([]byte(raw)) != want {
			t.Errorf("IsBatch(%q) is %v", raw, !want)
		}
	}
}

func TestParseBatchRefusesTheWholeForOneOfItsParts(t *testing.T) {
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for _, tt := range []struct {
		rule, raw, reason, text string
	}{
		{"empty", `[]`, ReasonBatch, "empty"},
		{"one message alone", ping, ReasonEnvelope, "not a batch"},
		{"truncated", `[` + ping, ReasonSyntax, ""},
		{"trailing comma", `[` + ping + `,]`, ReasonSyntax, ""},
		{"more text behind", `[` + ping + `][]`, ReasonSyntax, ""},
		{"byte order mark", "\xef\xbb\xbf[" + ping + "]", ReasonBOM, ""},
		{"a batch in a batch", `[[` + ping + `]]`, ReasonBatch, "message 1"},
		{"a number", `[` + ping + `,1]`, ReasonEnvelope, "message 2"},
		{"a duplicate name deep in one", `[` + ping + `,` + call(`{"a":1,"a":2}`) + `]`, ReasonAmbiguous, ""},
		{"a case variant in one", `[` + ping + `,{"jsonrpc":"2.0","id":2,"Method":"ping"}]`, ReasonAmbiguous, "message 2"},
		{"a fractional id", `[{"jsonrpc":"2.0","id":1.5,"method":"ping"}]`, ReasonID, "message 1"},
		{"one level too deep", `[` + call(nested(DefaultLimits.Depth-1)) + `]`, ReasonDepth, ""},
		{"initialize", `[{"jsonrpc":"2.0","id":2,"method":"initialize"},` + ping + `]`, ReasonBatch, "message 1"},
		{"initialize without id", `[{"jsonrpc":"2.0","method":"initialize"}]`, ReasonBatch, "message 1"},
		{"an id twice", `[` + ping + `,{"jsonrpc":"2.0","id":1,"method":"x"}]`, ReasonBatch, "messages 1 and 2"},
		{"an id twice, once escaped", `[{"jsonrpc":"2.0","id":"a","method":"x"},` + ping + `,{"jsonrpc":"2.0","id":"\u0061","method":"x"}]`, ReasonBatch, "messages 1 and 3"},
		{"an answer twice", `[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":1,"result":{}}]`, ReasonBatch, "messages 1 and 2"},
	} {
		all, err := ParseBatch([]byte(tt.raw), Limits{})
		var p *ParseError
		if !errors.As(err, &p) || all != nil {
			t.Errorf("%s: %v, %v", tt.rule, all, err)
			continue
		}
		if p.Reason != tt.reason || p.ID != nil || !strings.Contains(p.Text, tt.text) {
			t.Errorf("%s: %s %q, id %q", tt.rule, p.Reason, p.Text, p.ID)
		}
	}
}

func TestParseBatchLimits(t *testing.T) {
	batch := func(n int) []byte {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`, i)
		}
		return []byte("[" + strings.Join(all, ",") + "]")
	}
	if all, err := ParseBatch(batch(DefaultLimits.Batch), Limits{}); err != nil || len(all) != DefaultLimits.Batch {
		t.Errorf("at the limit: %d, %v", len(all), err)
	}
	if _, err := ParseBatch(batch(DefaultLimits.Batch+1), Limits{}); err == nil || !strings.Contains(err.Error(), "more than 64") {
		t.Errorf("above: %v", err)
	}
	if all, err := ParseBatch(batch(2), Limits{Batch: 1}); err == nil {
		t.Errorf("above a limit of one: %d", len(all))
	}
	raw := batch(3)
	if _, err := ParseBatch(raw, Limits{Bytes: len(raw)}); err != nil {
		t.Errorf("at the size limit: %v", err)
	}
	var p *ParseError
	if _, err := ParseBatch(raw, Limits{Bytes: len(raw) - 1}); !errors.As(err, &p) || p.Reason != ReasonTooLarge {
		t.Errorf("over the size limit: %v", err)
	}
}

// What ParseBatch takes, Parse takes one by one, and the other way round but
// for what is said of batches alone.
func FuzzParseBatch(f *testing.F) {
	f.Add([]byte(`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"a","params":{}}]`))
	f.Add([]byte(`[[]]`))
	f.Add([]byte(`[{"jsonrpc":"2.0","id":"\u0061","result":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := ParseBatch(raw, Limits{Depth: 8, Batch: 4})
		if err != nil {
			if p := (*ParseError)(nil); !errors.As(err, &p) || p.ID != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		if len(all) == 0 || len(all) > 4 || !IsBatch(raw) {
			t.Fatalf("%d messages", len(all))
		}
		elements, err := Elements(raw)
		if err != nil || len(elements) != len(all) {
			t.Fatalf("%d elements, %v", len(elements), err)
		}
		for i, e := range elements {
			if m, err := Parse(e, Limits{Depth: 8}); err != nil || string(m.Raw) != string(all[i].Raw) {
				t.Fatalf("message %d: %v", i, err)
			}
		}
	})
}
