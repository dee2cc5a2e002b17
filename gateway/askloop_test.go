package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// modernAsking is a modern upstream that asks, and a legacy agent.
func modernAsking(t *testing.T, version, caps string, limits Limits, questions ...inputRequest) (*upstream, *talker) {
	t.Helper()
	u := newUpstream(t, wire.Modern)
	u.extra["prompts/list"] = `{"name":"p"}`
	u.asks(t, questions...)
	r := newRig(t, map[string]*upstream{"up": u}, func(_ *rig, c *Config) { c.Limits = limits })
	return u, r.talk(wire.Legacy, version, caps)
}

func TestRoundsOfQuestionsAreBounded(t *testing.T) {
	for _, c := range []struct {
		rounds int
		want   string
	}{{askRounds, "done"}, {askRounds + 1, "upstream up asked for input too often; the request was not completed"}} {
		u, k := modernAsking(t, "2025-11-25", everyCapability, Limits{})
		calls := 0
		u.call = func(_ http.ResponseWriter, _ *http.Request, m *wire.Message) string {
			if calls++; calls > c.rounds {
				return `{"resultType":"complete",` + textResult("done")[1:]
			}
			state, _ := m.Params.Get("requestState")
			if want := fmt.Sprintf(`"s%d"`, calls-1); calls > 1 && string(state) != want {
				t.Errorf("requestState %s, want %s", state, want)
			}
			if calls%2 == 0 { // some rounds ask nothing
				return fmt.Sprintf(`{"resultType":"input_required","requestState":"s%d"}`, calls)
			}
			return fmt.Sprintf(`{"resultType":"input_required","requestState":"s%d","inputRequests":{"a":{"method":"roots/list"}}}`, calls)
		}
		k.answer = func(string, []byte) string { return `{"roots":[]}` }
		if text := got(t, k.call("tools/call", `"name":"up__echo"`)); text != c.want {
			t.Errorf("%d rounds: %s", c.rounds, text)
		}
		if calls != askRounds+1 {
			t.Errorf("%d rounds: %d calls", c.rounds, calls)
		}
		ids := map[string]bool{}
		for _, h := range u.calls("tools/call") {
			m, _ := wire.Parse([]byte(h.body), wire.DefaultLimits)
			ids[string(m.ID)] = true
		}
		if len(ids) != calls {
			t.Error("an id was used twice")
		}
	}
}

func TestQuestionsOfOneRoundAreBounded(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{{inputsAtOnce, "roots"}, {inputsAtOnce + 1, "error -31005"}} {
		var questions []inputRequest
		for i := range c.n {
			questions = append(questions, inputRequest{fmt.Sprint("q", i), "roots/list", nil})
		}
		_, k := modernAsking(t, "2025-11-25", everyCapability, Limits{}, questions...)
		k.answer = func(string, []byte) string { return `{"roots":[]}` }
		if m := k.call("tools/call", `"name":"up__echo"`); !strings.Contains(said(m), c.want) {
			t.Errorf("%d questions: %s", c.n, said(m))
		}
	}
}

// What a legacy agent lacks is said where a model reads it.
func TestWhatALegacyAgentLacksIsNamed(t *testing.T) {
	urlAsk := inputRequest{"a", "elicitation/create", []byte(`{"mode":"url","message":"m","url":"https://up.example/"}`)}
	tools := inputRequest{"a", "sampling/createMessage", []byte(`{"messages":[],"maxTokens":1,"tools":[]}`)}
	several := inputRequest{"a", "elicitation/create", []byte(`{"message":"m","requestedSchema":{"type":"object","properties":{"c":{"type":"array","items":{"enum":["x"]}}}}}`)}
	for _, c := range []struct {
		version, caps string
		ask           inputRequest
		lacks         string // "" = it is asked
	}{
		{"2025-03-26", `{"elicitation":{}}`, formAsk("a"), "elicitation (protocol revision 2025-06-18 or later)"},
		{"2025-06-18", `{"elicitation":{}}`, formAsk("a"), ""},
		{"2025-06-18", `{}`, formAsk("a"), "elicitation.form"},
		{"2025-06-18", everyCapability, urlAsk, "elicitation.url (protocol revision 2025-11-25 or later)"},
		{"2025-11-25", everyCapability, urlAsk, ""},
		{"2025-11-25", `{"elicitation":{}}`, urlAsk, "elicitation.url"},
		{"2025-11-25", `{"elicitation":{"url":{}}}`, formAsk("a"), "elicitation.form"},
		{"2025-06-18", everyCapability, tools, "sampling.tools (protocol revision 2025-11-25 or later)"},
		{"2025-11-25", everyCapability, tools, ""},
		{"2025-11-25", `{"sampling":{}}`, tools, "sampling.tools"},
		{"2025-11-25", `{}`, inputRequest{"a", "roots/list", nil}, "roots"},
		{"2024-11-05", `{"roots":{}}`, inputRequest{"a", "roots/list", nil}, ""},
		{"2025-06-18", everyCapability, several, ""},
		{"2025-11-25", everyCapability, several, ""},
	} {
		t.Run(c.version+" "+c.caps+" "+c.ask.method, func(t *testing.T) {
			t.Parallel()
			u, k := modernAsking(t, c.version, c.caps, Limits{}, c.ask)
			m := k.call("tools/call", `"name":"up__echo"`)
			if c.lacks == "" {
				if len(k.asked) != 1 || strings.Contains(said(m), "isError") {
					t.Error(said(m))
				}
				return
			}
			want := "upstream up needs a capability that this client does not have: " + c.lacks + "; the request was not completed"
			if got(t, m) != want || !strings.HasSuffix(said(m), `"isError":true}`) || len(k.asked) != 0 {
				t.Error(said(m))
			}
			if m := k.call("prompts/get", `"name":"up__p"`); m.Error == nil || m.Error.Code != CodeAskFailed || m.Error.Message != want {
				t.Error(said(m))
			}
			for _, h := range u.calls("tools/call") {
				if strings.Contains(h.body, "inputResponses") {
					t.Error("the upstream was asked again")
				}
			}
		})
	}
}

// An upstream learns of a legacy agent only what its revision can do.
func TestAnOldAgentDeclaresNoMoreThanItsRevisionHas(t *testing.T) {
	for version, want := range map[string]string{
		"2025-11-25": everyCapability,
		"2025-06-18": `{"elicitation":{"form":{}},"sampling":{},"roots":{}}`,
		"2025-03-26": `{"sampling":{},"roots":{}}`,
	} {
		u, k := modernAsking(t, version, everyCapability, Limits{})
		u.call = nil
		k.call("tools/call", `"name":"up__echo"`)
		if body := u.calls("tools/call")[0].body; !strings.Contains(body, `"io.modelcontextprotocol/clientCapabilities":`+want) {
			t.Errorf("%s: %s", version, body)
		}
	}
}

func TestAQuestionThatGetsNoAnswerEndsTheRequest(t *testing.T) {
	_, k := modernAsking(t, "2025-11-25", everyCapability, Limits{Parked: 30 * time.Millisecond}, formAsk("a"), formAsk("b"))
	silent := true
	k.answer = func(string, []byte) string {
		if silent {
			return ""
		}
		return `{"action":"decline"}`
	}
	if text := got(t, k.call("tools/call", `"name":"up__echo"`)); !strings.Contains(text, "no answer in time (limits.parked)") {
		t.Error(text)
	}
	silent = false
	if text := got(t, k.call("tools/call", `"name":"up__echo"`)); text != `{"action":"decline"} {"action":"decline"}` {
		t.Error("what the agent declined is its answer:", text)
	}
}

// A choice with titles is written in the way of the agent's revision (SEP-1330),
// and nothing else is touched.
func TestFormsAreWrittenInTheAgentsRevision(t *testing.T) {
	const titled = `{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{"n":{"type":"number","minimum":1.50},"c":{"type":"string","oneOf":[{"const":"a","title":"A"},{"const":"b"}],"default":"a"}},"required":["c"]}}`
	for version, want := range map[string]string{
		"2025-11-25": titled,
		"2025-06-18": `{"message":"m","requestedSchema":{"type":"object","properties":{"n":{"type":"number","minimum":1.50},"c":{"type":"string","default":"a","enum":["a","b"],"enumNames":["A","b"]}},"required":["c"]}}`,
	} {
		for _, era := range []wire.Era{wire.Modern, wire.Legacy} {
			u := newUpstream(t, era)
			u.asks(t, inputRequest{"a", "elicitation/create", []byte(titled)})
			r := newRig(t, map[string]*upstream{"up": u})
			k := r.talk(wire.Legacy, version, everyCapability)
			k.call("tools/call", `"name":"up__echo"`)
			if len(k.asked) != 1 || string(k.asked[0].params) != want {
				t.Errorf("%s, %v upstream: %s", version, era, k.asked)
			}
		}
	}
}
