package gateway

import (
	"strings"
	"testing"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

const (
	appCaps  = `{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]},"com.example/other":{}}}`
	appTool  = `{"name":"show","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://show/page","visibility":["model","app"]}}}`
	appReply = `{"contents":[{"uri":"ui://show/page","mimeType":"text/html;profile=mcp-app","text":"<p>hi"}]}`
)

func appUpstream(t *testing.T, era wire.Era) *upstream {
	u := newUpstream(t, era)
	u.tools = appTool
	u.more = `,"extensions":{"io.modelcontextprotocol/ui":{"n":1.10},"com.example/other":{}}`
	u.extra["resources/read"] = appReply
	if era == wire.Modern {
		u.extra["resources/read"] = `{"resultType":"complete",` + appReply[1:]
	}
	return u
}

// declared is what an upstream was told of its client's extensions.
func (u *upstream) declared() string {
	methods := []string{"tools/call", "resources/read"}
	if u.era == wire.Legacy {
		methods = []string{"initialize"}
	}
	all := ""
	for _, m := range methods {
		for _, h := range u.calls(m) {
			all += h.body
		}
	}
	return all
}

func TestAppsWorkAtTheirUpstreamsOwnEndpoint(t *testing.T) {
	for _, c := range combinations {
		t.Run(c.name, func(t *testing.T) {
			u := appUpstream(t, c.ups)
			r := newRig(t, map[string]*upstream{"up": u})
			k := r.talk(wire.Modern, "", appCaps)
			k.era, k.path = c.agent, "/mcp/up"
			hello := ""
			if c.agent == wire.Legacy {
				a := r.post(k.path, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":`+appCaps+`}}`)
				k.session = []string{"Mcp-Session-Id", a.header.Get("Mcp-Session-Id"), "Mcp-Protocol-Version", "2025-11-25"}
				hello = a.body
			} else {
				hello = said(k.call("server/discover", ""))
			}
			if !strings.Contains(hello, `"extensions":{"io.modelcontextprotocol/ui":{"n":1.10}}`) {
				t.Errorf("the upstream's apps are not offered: %s", hello)
			}
			if list := said(k.call("tools/list", "")); !strings.Contains(list, appTool) {
				t.Errorf("the tool was touched: %s", list)
			}
			k.call("tools/call", `"name":"show"`)
			if got := u.declared(); !strings.Contains(got, `"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}`) || strings.Contains(got, "com.example") {
				t.Errorf("the upstream was told %s", got)
			}
			if page := said(k.call("resources/read", `"uri":"ui://show/page"`)); !strings.Contains(page, `"uri":"ui://show/page"`) || !strings.Contains(page, "<p>hi") {
				t.Errorf("the page: %s", page)
			}
		})
	}
}

func TestAppsWorkInTheMergedNamespaceOnlyWhereTheOperatorSaysSo(t *testing.T) {
	for _, era := range []wire.Era{wire.Modern, wire.Legacy} {
		u := appUpstream(t, era)
		r := newRig(t, map[string]*upstream{"up": u})
		k := r.talk(wire.Modern, "", appCaps)
		k.call("tools/call", `"name":"up__show"`)
		for what, text := range map[string]string{
			"offered": said(k.call("server/discover", "")), "told": u.declared(), "listed": said(k.call("tools/list", "")),
		} {
			if strings.Contains(text, appsExtension) || strings.Contains(text, "resourceUri") {
				t.Errorf("%v, direct, %s: %s", era, what, text)
			}
		}
		if list := said(k.call("tools/list", "")); !strings.Contains(list, `"visibility":["model","app"]`) {
			t.Errorf("%v: who may see the tool is not told: %s", era, list)
		}

		v := appUpstream(t, era)
		r = newRig(t, map[string]*upstream{"up": v}, func(r *rig, _ *Config) {
			c := &catalogs.Catalog{Revision: "merged", Upstreams: []*catalogs.Upstream{{
				Name: "up", Prefix: "up", Enabled: true, URL: v.URL + "/mcp", Transport: catalogs.Auto, Auth: catalogs.Auth{Type: "none"}, MergedApps: true, Confine: true,
			}}}
			if err := r.fed.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			r.fed.Settle(t.Context())
		})
		k = r.talk(wire.Modern, "", appCaps)
		if got := said(k.call("server/discover", "")); !strings.Contains(got, `"io.modelcontextprotocol/ui":{"n":1.10}`) {
			t.Errorf("%v, merged: not offered: %s", era, got)
		}
		list := said(k.call("tools/list", ""))
		if !strings.Contains(list, `"resourceUri":"ui://show/page#upstream=up"`) {
			t.Fatalf("%v, merged: %s", era, list)
		}
		page := said(k.call("resources/read", `"uri":"ui://show/page#upstream=up"`))
		if !strings.Contains(page, `"uri":"ui://show/page#upstream=up"`) || !strings.Contains(page, "<p>hi") {
			t.Errorf("%v, merged: %s", era, page)
		}
		if got := v.declared(); !strings.Contains(got, `"io.modelcontextprotocol/ui":{"mimeTypes"`) {
			t.Errorf("%v, merged: the upstream was told %s", era, got)
		}
	}
}

func TestTheSettingsOfAnExtensionAreBounded(t *testing.T) {
	for over, want := range map[int]bool{0: true, 1: false} {
		value := `{"a":"` + strings.Repeat("x", extensionMax-len(`{"a":""}`)+over) + `"}`
		got := relayed([]byte(`{"tasks":{},"extensions":{"` + appsExtension + `":` + value + `}}`))
		if strings.Contains(string(got), value) != want || strings.Contains(string(got), "tasks") {
			t.Errorf("%d bytes over: %s", over, got)
		}
		if len(got) > sessionCapabilities {
			t.Errorf("%d bytes don't fit into a session", len(got))
		}
	}
}
