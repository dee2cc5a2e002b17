package wire

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// mark is the rewriting of these tests.
func mark(uri string, template bool) string {
	if template {
		return uri + "#T"
	}
	return uri + "#M"
}

func TestEveryURIOfTheTableIsRewrittenAndNothingElse(t *testing.T) {
	// In the input a URI to be rewritten ends in @, a template in %.
	tests := []struct{ method, raw string }{
		{"resources/list", `{"resources":[{"uri":"a://x@","name":"uri"},{"name":"n", "uri" : "b://@","_meta":{"uri":"c"}}],"uri":"d","nextCursor":"e"}`},
		{"resources/templates/list", `{"resourceTemplates":[{"uriTemplate":"a://{x}%","uri":"b"}]}`},
		{"resources/read", `{"contents":[{"uri":"a@","text":"\u003c uri"},{"uri":"b@","blob":""}],"n":123456789012345678901234567890}`},
		{"tools/list", `{"tools":[{"name":"uri","_meta":{"ui":{"resourceUri":"ui://a@","visibility":["app"]},"ui/resourceUri":"ui://a@","uri":"b"}},{"name":"x"}]}`},
		{"tools/call", `{"content":[{"type":"resource_link","uri":"a@","icons":[{"src":"i"}]},{"type":"text","text":"t","uri":"b"},{"uri":"c@","type":"resource_link"},{"type":"resource","resource":{"uri":"d@","text":""}},{"type":"future","uri":"e"}],"structuredContent":{"uri":"f","content":[{"type":"resource_link","uri":"g"}]},"isError":false}`},
		{"prompts/get", `{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a@"}}},{"content":{"type":"resource_link","uri":"b@"}},{"content":{"type":"text","text":"uri","uri":"c"}}]}`},
		{"tasks/get", `{"taskId":"t","result":{"content":[{"type":"resource_link","uri":"a@"},{"resource":{"uri":"b@"}}]}}`},
		{"notifications/tasks", `{"taskId":"t","result":{"content":[{"type":"resource_link","uri":"a@"}]}}`},
		{"tasks/result", `{"content":[{"type":"resource_link","uri":"a@"}]}`},
		{"notifications/resources/updated", `{"uri":"a@","_meta":{}}`},
		{"notifications/subscriptions/acknowledged", `{"notifications":{"resourceSubscriptions":["a@","b@"],"toolsListChanged":true}}`},
		{OfTool, `{"name":"t","_meta":{"ui":{"resourceUri":"ui://a@"},"ui/resourceUri":"ui://a@"},"uri":"x"}`},
		{OfResource, `{"uri":"a@","name":"n"}`},
		{OfTemplate, `{"uriTemplate":"a/{b}%"}`},
		{OfErrorData, `{"uri":"a@","why":1.0}`},
		{OfResource, `{"\u0075ri":"\u0061@"}`},
		{"completion/complete", `{"completion":{"values":["uri"]}}`},
		{"tools/call", `{"content":[]}`},
		{"tools/call", `{"content":{"uri":"a"},"uri":"b"}`},
		{"tools/call", `{"content":[{"type":"resource_link","uri":7}]}`},
		{"tools/call", `{"content":"uri"}`},
		{"resources/read", `null`},
		{OfTool, `{"_meta":null,"uri":"a"}`},
	}
	rewrite := strings.NewReplacer(`@"`, `@#M"`, `%"`, `%#T"`, `\u0061@"`, `a@#M"`)
	for _, test := range tests {
		t.Run(test.method, func(t *testing.T) {
			raw := []byte(test.raw)
			got := RewriteURIs(test.method, raw, mark)
			if want := rewrite.Replace(test.raw); string(got) != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if string(raw) != test.raw {
				t.Error("the input changed")
			}
			same := RewriteURIs(test.method, raw, func(uri string, _ bool) string { return uri })
			if len(same) > 0 && &same[0] != &raw[0] {
				t.Error("an unchanged result was copied")
			}
		})
	}
	seen := map[string]bool{}
	for _, test := range tests {
		seen[test.method] = true
	}
	for method := range uriFields {
		if !seen[method] {
			t.Errorf("%s has no case here", method)
		}
	}
}

func TestRewrittenURIsComeBackInRandomResults(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		item := document(r, 3)
		member := `"uri":"a:\/\/b"`
		if item != "{}" {
			member += ","
		}
		raw := `{"contents":[` + document(r, 2) + `,{` + member + item[1:] + `],"x":` + document(r, 2) + `}`
		want := strings.Replace(raw, member, strings.Replace(member, `"a:\/\/b"`, `"a://b#M"`, 1), 1)
		if strings.Count(raw, `"a:\/\/b"`) != 1 {
			t.Fatal(raw)
		}
		if got := string(RewriteURIs("resources/read", []byte(raw), mark)); got != want {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}
