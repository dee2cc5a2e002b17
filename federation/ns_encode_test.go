package federation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

func encodeOne(t *testing.T, u *catalogs.Upstream, k Kind, raw string) *Item {
	t.Helper()
	items, leftOut := encode(u, k, [][]byte{[]byte(raw)}, nil)
	if len(items) != 1 {
		t.Fatalf("left out: %v", leftOut)
	}
	return items[0]
}

func TestToolIsDescribed(t *testing.T) {
	u := entry("up")
	u.Labels = []string{"private", "b"}
	u.Limits.Timeout = 7 * time.Second
	u.MergedApps = true
	u.Tools = map[string]catalogs.Tool{"slow": {Labels: []string{"a", "b"}, Timeout: time.Minute}}
	raw := `{ "name": "slow", "x-unknown": {"n": 123456789012345678901234567890.50},
		"inputSchema": {"type": "object", "properties": {"Path": {}, "id": {}, "ID": {}, "region": {"type": "string", "x-mcp-header": "Region"}}},
		"annotations": {"readOnlyHint": true},
		"_meta": {"ui": {"resourceUri": "ui://a#b", "visibility": ["app", "model"]}, "ui/resourceUri": "ui://a", "keep": "<&>"} }`
	i := encodeOne(t, u, Tool, raw)

	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(raw)); err != nil {
		t.Fatal(err)
	}
	if string(i.Own) != compact.String() {
		t.Errorf("own: %s", i.Own)
	}
	want := strings.NewReplacer(`"slow"`, `"up__slow"`, `"ui://a#b"`, `"ui://a#upstream=up&fragment=b"`, `"ui://a"`, `"ui://a#upstream=up"`).Replace(compact.String())
	if string(i.Merged) != want {
		t.Errorf("merged:\n got %s\nwant %s", i.Merged, want)
	}
	equal(t, "labels", i.Labels, []string{"a", "b", "private"})
	equal(t, "visibility", i.Visibility, []string{"app", "model"})
	if string(i.Annotations) != `{"readOnlyHint":true}` || i.Timeout != time.Minute || len(i.Digest) != 64 {
		t.Errorf("annotations %s, timeout %v, digest %q", i.Annotations, i.Timeout, i.Digest)
	}
	if len(i.ParamHeaders) != 1 || i.ParamHeaders[0].Name != "Region" {
		t.Errorf("param headers: %v", i.ParamHeaders)
	}
	equal(t, "properties", i.Properties, []string{"ID", "Path", "id", "region"})
	if other := encodeOne(t, u, Tool, `{"name":"other","inputSchema":{}}`); other.Timeout != 7*time.Second {
		t.Errorf("the entry's timeout: %v", other.Timeout)
	}
	if other := encodeOne(t, entry("x"), Tool, `{"name":"other"}`); other.Timeout != defaultTimeout {
		t.Errorf("default timeout: %v", other.Timeout)
	}
}

func TestOneMalformedItemIsLeftOutAlone(t *testing.T) {
	good := `{"name":"good","inputSchema":{"type":"object"}}`
	for _, c := range []struct {
		rule string
		kind Kind
		bad  string
		want string
	}{
		{"not an object", Tool, `[]`, "not an object"},
		{"null", Tool, `null`, "not an object"},
		{"no name", Tool, `{"inputSchema":{}}`, "name is missing"},
		{"empty name", Tool, `{"name":""}`, "name is empty"},
		{"name not a string", Tool, `{"name":7}`, "name is missing or not a string"},
		{"name of 129", Tool, `{"name":"` + strings.Repeat("n", 129) + `"}`, "longer than 128"},
		{"control character", Tool, `{"name":"a\u0000b"}`, "control characters"},
		{"twice", Tool, good, "same name"},
		{"duplicate key deep inside", Tool, `{"name":"x","inputSchema":{"a":{"b":1,"b":2}}}`, ""},
		{"65 digits", Tool, `{"name":"x","inputSchema":{"maximum":` + strings.Repeat("9", 65) + `}}`, ""},
		{"too deep", Tool, `{"name":"x","inputSchema":` + strings.Repeat("[", 65) + strings.Repeat("]", 65) + `}`, ""},
		{"inputSchema not an object", Tool, `{"name":"x","inputSchema":true}`, "inputSchema is not an object"},
		{"outputSchema not an object", Tool, `{"name":"x","outputSchema":[]}`, "outputSchema is not an object"},
		{"properties not an object", Tool, `{"name":"x","inputSchema":{"properties":[]}}`, "properties is not an object"},
		{"invalid x-mcp-header", Tool, `{"name":"x","inputSchema":{"type":"object","properties":{"a":{"type":"string","x-mcp-header":""}}}}`, "x-mcp-header"},
		{"uri missing", Resource, `{"name":"x"}`, "uri is missing"},
		{"uri over the limit", Resource, `{"uri":"` + strings.Repeat("u", maxURI+1) + `"}`, "longer than"},
		{"template unclosed", Template, `{"uriTemplate":"x{"}`, "not a URI template"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			members := map[Kind]string{Tool: good, Resource: `{"uri":"good"}`, Template: `{"uriTemplate":"good"}`}
			items, leftOut := encode(entry("up"), c.kind, [][]byte{[]byte(members[c.kind]), []byte(c.bad)}, nil)
			if len(items) != 1 || items[0].Name != "good" {
				t.Errorf("items: %v", items)
			}
			if len(leftOut) != 1 || !strings.Contains(leftOut[0].Reason, c.want) || leftOut[0].Kind != c.kind.String() {
				t.Errorf("left out: %v", leftOut)
			}
		})
	}
}

func TestNamesAtTheirLimitsAreOffered(t *testing.T) {
	encodeOne(t, entry("up"), Tool, `{"name":"`+strings.Repeat("n", maxName)+`"}`)
	encodeOne(t, entry("up"), Resource, `{"uri":"`+strings.Repeat("u", maxURI)+`"}`)
	pad := func(n int) string {
		return `{"name":"x","d":"` + strings.Repeat("d", n-len(`{"name":"x","d":""}`)) + `"}`
	}
	encodeOne(t, entry("up"), Tool, pad(maxItem))
	if items, _ := encode(entry("up"), Tool, [][]byte{[]byte(pad(maxItem + 1))}, nil); len(items) != 0 {
		t.Error("an item over the limit was offered")
	}
}

func TestUnchangedItemIsUsedAgain(t *testing.T) {
	u := entry("up")
	raw := []byte(`{"name":"x", "d":1}`)
	first, _ := encode(u, Tool, [][]byte{raw}, nil)
	known := map[string]*Item{"x": first[0]}
	if again, _ := encode(u, Tool, [][]byte{[]byte(`{"name":"x","d":1}`)}, known); again[0] != first[0] {
		t.Error("made anew from the same bytes")
	}
	if changed, _ := encode(u, Tool, [][]byte{[]byte(`{"name":"x","d":2}`)}, known); changed[0] == first[0] {
		t.Error("used again after a change")
	}
	if changed, _ := encode(entry("up"), Tool, [][]byte{raw}, known); changed[0] == first[0] {
		t.Error("used again for another entry")
	}
}

// Own keeps every token of what the upstream sent; Merged differs from it in
// what the gateway owns alone.
func TestDefinitionsAreLossless(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	u := entry("up")
	for range 2000 {
		var b strings.Builder
		fmt.Fprintf(&b, `{`)
		for n := range r.IntN(4) {
			fmt.Fprintf(&b, `"before%d" : %s ,`, n, randomJSON(r, 4))
		}
		fmt.Fprintf(&b, ` "name" : "na<me\u00e9" , "last": %s}`, randomJSON(r, 5))
		i := encodeOne(t, u, Tool, b.String())
		if got, want := tokens(t, i.Own), tokens(t, []byte(b.String())); !slices.Equal(got, want) {
			t.Fatalf("own %s from %s", i.Own, b.String())
		}
		quoted := string(wire.AppendString(nil, i.Exposed))
		if want := strings.Replace(string(i.Own), `"na<me\u00e9"`, quoted, 1); string(i.Merged) != want {
			t.Fatalf("merged %s from %s", i.Merged, i.Own)
		}
	}
}

func randomJSON(r *rand.Rand, depth int) string {
	kind := r.IntN(7)
	if depth == 0 {
		kind %= 4
	}
	switch kind {
	case 0:
		return fmt.Sprintf("%d%020d.%019d", 1+r.IntN(9), r.Int64(), r.Int64())
	case 1:
		return []string{"null", "true", "1e400", "-0.10", "1E+2", "0"}[r.IntN(6)]
	case 2, 3:
		return []string{`""`, `"\u003c\/é\ud83d\ude00"`, `"<>& "`, `"\"\\"`}[r.IntN(4)]
	case 4, 5:
		parts := make([]string, r.IntN(4))
		for n := range parts {
			parts[n] = fmt.Sprintf(`"k%d<" : %s`, n, randomJSON(r, depth-1))
		}
		return "{ " + strings.Join(parts, " ,") + "}"
	}
	parts := make([]string, r.IntN(4))
	for n := range parts {
		parts[n] = randomJSON(r, depth-1)
	}
	return "[" + strings.Join(parts, "\n,\t") + " ]"
}

// tokens are a JSON text's pieces as written: white space outside of strings is
// all that may differ.
func tokens(t *testing.T, raw []byte) []string {
	t.Helper()
	var out []string
	for i := 0; i < len(raw); {
		switch b := raw[i]; {
		case strings.IndexByte(" \t\r\n", b) >= 0:
			i++
		case b == '"':
			end := i + 1
			for raw[end] != '"' {
				if raw[end] == '\\' {
					end++
				}
				end++
			}
			out = append(out, string(raw[i:end+1]))
			i = end + 1
		case strings.IndexByte("{}[],:", b) >= 0:
			out = append(out, string(b))
			i++
		default:
			end := i
			for end < len(raw) && strings.IndexByte("{}[],: \t\r\n", raw[end]) < 0 {
				end++
			}
			out = append(out, string(raw[i:end]))
			i = end
		}
	}
	return out
}
