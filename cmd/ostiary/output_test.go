package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

// What agents and upstreams name is shown as JSON on terminals, too.
func TestJSONThatIsPrintedDrivesNoTerminal(t *testing.T) {
	in := map[string]string{"a\u202e": "\u009b2J\x1b[2J\x7f\u200b\u2028\U000e0041 <ü> 𝄞"}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"a document": func(b *bytes.Buffer) error { return writeJSON(b, in) },
		"a line":     func(b *bytes.Buffer) error { return writeLine(b, in) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		text := bytes.TrimSpace(b.Bytes())
		if name == "a line" && bytes.ContainsRune(text, '\n') {
			t.Errorf("several lines: %s", text)
		}
		for _, r := range string(text) {
			if r != '\n' && harmless(r) != r {
				t.Errorf("%s: %q in %s", name, r, text)
			}
		}
		var out map[string]string
		if err := json.Unmarshal(text, &out); err != nil || out["a\u202e"] != in["a\u202e"] {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
