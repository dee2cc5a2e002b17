package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
)

// visiting is a legacy upstream whose tool does not run before these pages
// were visited.
func visiting(t *testing.T, elicitations string) (*rig, *upstream) {
	t.Helper()
	u := newUpstream(t, wire.Legacy)
	u.extra["prompts/list"] = `{"name":"p"}`
	u.call = func(w http.ResponseWriter, _ *http.Request, m *wire.Message) string {
		return fails(w, m, `{"code":-32042,"message":"visit","data":{"elicitations":[`+elicitations+`]}}`)
	}
	return newRig(t, map[string]*upstream{"up": u}), u
}

func TestAPageThatWasDeclinedIsNotAskedForAgain(t *testing.T) {
	r, u := visiting(t, `{"mode":"url","elicitationId":"e","url":"https://up.example/1","message":"m"},{"mode":"url","elicitationId":"f","url":"http://localhost:9/2","message":"m"}`)
	k := r.talk(wire.Modern, "", everyCapability)
	k.answer = func(_ string, params []byte) string {
		if strings.Contains(string(params), "localhost") {
			return `{"action":"decline"}`
		}
		return `{"action":"accept"}`
	}
	m := k.call("tools/call", `"name":"up__echo"`)
	if !strings.Contains(got(t, m), "which was declined") || !strings.Contains(said(m), `"isError":true`) || !strings.Contains(said(m), `"resultType":"complete"`) {
		t.Error(said(m))
	}
	if m := k.call("prompts/get", `"name":"up__p"`); m.Error == nil || m.Error.Code != CodeAskFailed {
		t.Error(said(m))
	}
	if len(k.asked) != 4 || len(u.calls("tools/call")) != 1 || len(u.calls("prompts/get")) != 1 {
		t.Errorf("asked %s", k.asked)
	}
	retry := k.parked(t, `"name":"up__echo"`)
	bad := strings.Replace(retry, `{"action":"accept"}`, `{"action":7}`, 1)
	if m, _ := k.once(t.Context(), "tools/call", `"name":"up__echo"`+bad); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error("malformed:", said(m))
	}
	bob := *k
	bob.user = "bob"
	if m, _ := bob.once(t.Context(), "tools/call", `"name":"up__echo"`+retry); m.Error == nil || m.Error.Code != codeInvalidParams {
		t.Error("another's:", said(m))
	}
}

func TestAnAgentThatCannotShowAPageGetsItsAddressInWords(t *testing.T) {
	r, _ := visiting(t, `{"mode":"url","elicitationId":"e","url":"https://up.example/1","message":"m"}`)
	k := r.talk(wire.Modern, "", `{"elicitation":{}}`)
	m := k.call("tools/call", `"name":"up__echo"`)
	if m.Error == nil || m.Error.Code != CodeAskFailed || !strings.Contains(m.Error.Message, "https://up.example/1") {
		t.Error(said(m))
	}
}

// Security catalogue A-066: an address that a client must not open reaches
// nobody, in any form.
func TestAnUnsafePageReachesNobody(t *testing.T) {
	safe := `{"mode":"url","elicitationId":"s","url":"https://up.example/1","message":"m"}`
	for _, bad := range []string{
		`{"mode":"url","elicitationId":"e","url":"javascript:canary()","message":"m"}`,
		`{"mode":"url","elicitationId":"e","url":"http://canary.example/","message":"m"}`,
		`{"mode":"url","elicitationId":"e","url":"canary://x","message":"m"}`,
		`{"mode":"form","message":"canary","requestedSchema":{}}`,
		strings.Repeat(safe+",", inputsAtOnce) + safe,
	} {
		r, _ := visiting(t, safe+","+bad)
		for name, k := range map[string]*talker{
			"modern": r.talk(wire.Modern, "", everyCapability), "modern without URLs": r.talk(wire.Modern, "", "{}"), "legacy": r.talk(wire.Legacy, "2025-11-25", everyCapability),
		} {
			m := k.call("tools/call", `"name":"up__echo"`)
			if m.Error == nil || m.Error.Code != CodeBadAnswer || strings.Contains(said(m), "canary") || len(k.asked) != 0 {
				t.Errorf("%s: %s", name, said(m))
			}
		}
	}
}
