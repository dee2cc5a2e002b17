package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	richTool = `{"name":"echo","title":"Echo","icons":[{"src":"https://x/i.png"}],"inputSchema":{"type":"object","n":1.50},"outputSchema":{"type":"object","n":1.50}}`
	richList = `{"name":"any","title":"Any","inputSchema":{"type":"object"},"outputSchema":{"type":["object"]},"icons":[]}`
	richPrm  = `{"name":"p","title":"P","icons":[],"arguments":[{"name":"a","title":"A","required":true}]}`
	richRes  = `{"uri":"x://r","name":"r","title":"R","icons":[],"size":1.50}`
	richTmp  = `{"uriTemplate":"t://{a}","name":"t","title":"T","icons":[]}`
	richBody = `"content":[{"type":"text","text":"\u0074"},{"type":"resource_link","uri":"x://l","name":"l","title":"L","icons":[]},{"type":"audio","data":"AA==","mimeType":"audio/wav"}],"structuredContent":{"a":1.50}`
	richMsgs = `"messages":[{"role":"user","content":{"type":"audio","data":"AA==","mimeType":"audio/wav"}},{"role":"user","content":{"type":"resource_link","uri":"x://l","name":"l"}}]`
)

// rich is an upstream that uses everything that revisions added.
func rich(t *testing.T, era wire.Era, version string) *rig {
	u := newUpstream(t, era)
	u.version = version
	u.tools = richTool + "," + richList
	u.extra["prompts/list"], u.extra["resources/list"], u.extra["resources/templates/list"] = richPrm, richRes, richTmp
	u.call = func(_ http.ResponseWriter, _ *http.Request, m *wire.Message) string {
		body := richBody
		if m.Method == "prompts/get" {
			body = richMsgs
		}
		if era == wire.Modern {
			return `{"resultType":"complete",` + body + `}`
		}
		return `{` + body + `}`
	}
	return newRig(t, map[string]*upstream{"up": u})
}

// legacyAt is a legacy agent of one upstream's own endpoint.
func (r *rig) legacyAt(version string) *talker {
	k := r.talk(wire.Legacy, version, "{}")
	a := r.post("/mcp/up", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+`","capabilities":{},"clientInfo":{"name":"old","version":"1"}}}`)
	k.path, k.session = "/mcp/up", []string{"Mcp-Session-Id", a.header.Get("Mcp-Session-Id"), "Mcp-Protocol-Version", version}
	return k
}

func TestAnOlderAgentGetsWhatItsRevisionKnows(t *testing.T) {
	const (
		link    = `{"type":"resource_link","uri":"x://l","name":"l","title":"L","icons":[]}`
		asText  = `{"type":"text","text":"Resource: x://l (l)"}`
		audio   = `{"type":"audio","data":"AA==","mimeType":"audio/wav"}`
		noAudio = `{"type":"text","text":"[audio content (audio/wav) is left out: your protocol revision has none]"}`
		text    = `{"content":[{"type":"text","text":"\u0074"},`
	)
	r := rich(t, wire.Modern, "")
	for _, c := range []struct {
		version                           string
		tools, prompts, resources, templs string
		call, prompt                      string
	}{
		{
			"2025-11-25",
			richTool + `,` + strings.Replace(richList, `,"outputSchema":{"type":["object"]}`, "", 1), richPrm, richRes, richTmp,
			text + link + `,` + audio + `],"structuredContent":{"a":1.50}}`, `{` + richMsgs + `}`,
		},
		{
			"2025-06-18",
			strings.Replace(richTool, `"icons":[{"src":"https://x/i.png"}],`, "", 1) + `,{"name":"any","title":"Any","inputSchema":{"type":"object"}}`,
			strings.Replace(richPrm, `"icons":[],`, "", 1), strings.Replace(richRes, `"icons":[],`, "", 1), strings.Replace(richTmp, `,"icons":[]`, "", 1),
			text + strings.Replace(link, `,"icons":[]`, "", 1) + `,` + audio + `],"structuredContent":{"a":1.50}}`, `{` + richMsgs + `}`,
		},
		{
			"2025-03-26",
			`{"name":"echo","inputSchema":{"type":"object","n":1.50}},{"name":"any","inputSchema":{"type":"object"}}`,
			`{"name":"p","arguments":[{"name":"a","required":true}]}`, `{"uri":"x://r","name":"r","size":1.50}`, `{"uriTemplate":"t://{a}","name":"t"}`,
			text + asText + `,` + audio + `]}`, `{"messages":[{"role":"user","content":` + audio + `},{"role":"user","content":` + asText + `}]}`,
		},
		{
			"2024-11-05",
			`{"name":"echo","inputSchema":{"type":"object","n":1.50}},{"name":"any","inputSchema":{"type":"object"}}`,
			`{"name":"p","arguments":[{"name":"a","required":true}]}`, `{"uri":"x://r","name":"r","size":1.50}`, `{"uriTemplate":"t://{a}","name":"t"}`,
			text + asText + `,` + noAudio + `]}`, `{"messages":[{"role":"user","content":` + noAudio + `},{"role":"user","content":` + asText + `}]}`,
		},
	} {
		t.Run(c.version, func(t *testing.T) {
			k := r.legacyAt(c.version)
			for _, q := range [][3]string{
				{"tools/list", "", `{"tools":[` + sorted(c.tools) + `]}`}, {"prompts/list", "", `{"prompts":[` + c.prompts + `]}`},
				{"resources/list", "", `{"resources":[` + c.resources + `]}`}, {"resources/templates/list", "", `{"resourceTemplates":[` + c.templs + `]}`},
				{"tools/call", `"name":"echo"`, c.call}, {"prompts/get", `"name":"p"`, c.prompt},
			} {
				if got := said(k.call(q[0], q[1])); got != q[2] {
					t.Errorf("%s:\ngot  %s\nwant %s", q[0], got, q[2])
				}
			}
		})
	}
}

// sorted puts the two tools in the order of a list.
func sorted(tools string) string {
	i := strings.Index(tools, `,{"name":"any"`)
	return tools[i+1:] + "," + tools[:i]
}

// Between peers of one revision nothing is touched, whatever it says.
func TestPeersOfOneRevisionAreNotConverted(t *testing.T) {
	for _, version := range []string{"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"} {
		era, want := wire.Legacy, ""
		if version == "2026-07-28" {
			era, want = wire.Modern, `"resultType":"complete",`
		}
		r := rich(t, era, version)
		k := r.talk(wire.Modern, "", "{}")
		k.path = "/mcp/up"
		if era == wire.Legacy {
			k = r.legacyAt(version)
		}
		for _, q := range [][3]string{
			{"tools/list", "", `{"tools":[` + richList + `,` + richTool + `]`}, {"prompts/list", "", `{"prompts":[` + richPrm + `]`},
			{"resources/list", "", `{"resources":[` + richRes + `]`}, {"resources/templates/list", "", `{"resourceTemplates":[` + richTmp + `]`},
			{"tools/call", `"name":"echo"`, `{` + want + richBody + `}`}, {"prompts/get", `"name":"p"`, `{` + want + richMsgs + `}`},
		} {
			if got := said(k.call(q[0], q[1])); !strings.HasPrefix(got, q[2]) {
				t.Errorf("%s, %s:\ngot  %s\nwant %s", version, q[0], got, q[2])
			}
		}
	}
}

// Pages are cut from the same variant as the whole list.
func TestPagesAreConvertedToo(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.tools = richTool + "," + richList
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Limits.Page = 1 })
	k := r.legacyAt("2025-03-26")
	first := k.call("tools/list", "")
	o, _ := wire.Fields(first.Result)
	cursor, _ := o.Get("nextCursor")
	second := k.call("tools/list", `"cursor":`+string(cursor))
	if !strings.HasPrefix(said(first), `{"tools":[{"name":"any","inputSchema":{"type":"object"}}],`) || said(second) != `{"tools":[{"name":"echo","inputSchema":{"type":"object","n":1.50}}]}` {
		t.Errorf("%s\n%s", said(first), said(second))
	}
	modern := r.modern("/mcp/up", "tools/list", "").result(t)
	if !strings.HasPrefix(modern, `{"tools":[`+richList+`],`) {
		t.Error(modern)
	}
}

// A list is converted once for a view, not once for a request.
func TestAListIsConvertedOnce(t *testing.T) {
	r := rich(t, wire.Modern, "")
	x := &exchange{g: r.g, p: person("alice", "cli"), endpoint: "up", version: "2025-06-18", m: &wire.Message{}, snap: r.fed.Snapshot()}
	v, err := x.view(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, b := v.encoded(0, "up", "2025-06-18"), v.encoded(0, "up", "2025-06-18")
	if &a[0] != &b[0] {
		t.Error("encoded twice")
	}
}
