package gateway

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
)

// anyJSON writes a random JSON value in a random but valid spelling: long
// numbers, escapes, unknown keys, deep nesting, base64.
func anyJSON(r *rand.Rand, b *strings.Builder, depth int) {
	switch n := r.IntN(9); {
	case depth > 0 && n < 3:
		anyObject(r, b, depth, "")
	case depth > 0 && n < 4:
		b.WriteByte('[')
		for i := range r.IntN(4) {
			if i > 0 {
				b.WriteByte(',')
			}
			anyJSON(r, b, depth-1)
		}
		b.WriteByte(']')
	case n < 5:
		b.WriteString([]string{"true", "false", "null", `""`, "0", "-0", "1.0", "1E5", "1e-300"}[r.IntN(9)])
	case n < 6:
		fmt.Fprintf(b, "%d%015d%015d", 1+r.IntN(9), r.Int64N(1e15), r.Int64N(1e15))
	case n < 7:
		fmt.Fprintf(b, "0.%030d", r.Int64())
	case n < 8:
		raw := make([]byte, r.IntN(200))
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		b.WriteString(`"` + base64.StdEncoding.EncodeToString(raw) + `"`)
	default:
		b.WriteString([]string{`"\u0041\u00e9"`, `"<&>"`, `"\/"`, `"\ud83d\ude00"`, `"é 😀"`, `"\n\t\\\""`, `"http://x/y#z"`}[r.IntN(7)])
	}
}

// anyObject writes a random object whose first members are given.
func anyObject(r *rand.Rand, b *strings.Builder, depth int, first string) {
	b.WriteString("{" + first)
	for i := range r.IntN(5) {
		if i > 0 || first != "" {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, `"k%d%s":`, i, []string{"", ".x", "é", `\"`, "$ref"}[r.IntN(5)])
		anyJSON(r, b, depth-1)
	}
	b.WriteByte('}')
}

func object(r *rand.Rand, depth int, first string) string {
	var b strings.Builder
	anyObject(r, &b, depth, first)
	return b.String()
}

// Promise 4: arguments arrive as they were sent, and results as they were
// answered, byte for byte, in both eras.
func TestCallsAreLosslessInBothDirections(t *testing.T) {
	for _, era := range []wire.Era{wire.Modern, wire.Legacy} {
		u := newUpstream(t, era)
		u.tools = `{"name":"free","inputSchema":{"type":"object"}}`
		var reply string
		u.call = func(http.ResponseWriter, *http.Request, *wire.Message) string { return reply }
		r := newRig(t, map[string]*upstream{"up": u})
		path := "/mcp/up"
		session := r.legacy(path)
		rnd := rand.New(rand.NewPCG(1, 2))
		for i := range 150 {
			args := object(rnd, 6, "")
			first := `"content":[{"type":"text","text":"\u003c é","_meta":` + object(rnd, 4, "") + `,"unknown":1e400}],"structuredContent":` + object(rnd, 5, "") + `,"_meta":` + object(rnd, 8, "")
			if era == wire.Modern {
				first = `"resultType":"complete",` + first
			}
			reply = object(rnd, 3, first)
			var got string
			if era == wire.Modern {
				got = r.modern(path, "tools/call", `"name":"free","extra":[1.50],"arguments":`+args).result(t)
			} else {
				got = r.in(session, path, "tools/call", `"name":"free","extra":[1.50],"arguments":`+args).result(t)
			}
			if got != reply {
				t.Fatalf("%v %d: result\nsent %s\ngot  %s", era, i, reply, got)
			}
			calls := u.calls("tools/call")
			m, err := wire.Parse([]byte(calls[len(calls)-1].body), wire.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			if raw, _ := m.Params.Get("arguments"); string(raw) != args {
				t.Fatalf("%v %d: arguments\nsent %s\ngot  %s", era, i, args, raw)
			}
			if raw, _ := m.Params.Get("extra"); string(raw) != "[1.50]" {
				t.Fatalf("%v %d: unknown param lost: %s", era, i, calls[len(calls)-1].body)
			}
		}
	}
}

// A list shows definitions as their upstream wrote them: every schema keyword,
// unknown field and digit.
func TestListsAreLossless(t *testing.T) {
	for _, era := range []wire.Era{wire.Modern, wire.Legacy} {
		u := newUpstream(t, era)
		rnd := rand.New(rand.NewPCG(3, 4))
		var own, merged []string
		for i := range 120 {
			rest := `,"inputSchema":` + object(rnd, 5, `"type":"object","$schema":"https://json-schema.org/draft/2020-12/schema","minProperties":123456789012345678901234567890`) +
				`,"outputSchema":` + object(rnd, 4, `"type":"object"`) + `,"annotations":` + object(rnd, 3, "") + `,"_meta":` + object(rnd, 5, "")
			own = append(own, object(rnd, 3, fmt.Sprintf(`"name":"t%03d"`, i)+rest))
			merged = append(merged, strings.Replace(own[i], fmt.Sprintf(`"name":"t%03d"`, i), fmt.Sprintf(`"name":"up__t%03d"`, i), 1))
		}
		u.tools = strings.Join(own, ",")
		r := newRig(t, map[string]*upstream{"up": u})
		for path, want := range map[string][]string{"/mcp/up": own, "/mcp": merged} {
			session := r.legacy(path)
			for name, got := range map[string]string{"modern": r.modern(path, "tools/list", "").result(t), "legacy": r.in(session, path, "tools/list", "").result(t)} {
				if !strings.HasPrefix(got, `{"tools":[`+strings.Join(want, ",")+`]`) {
					t.Errorf("%v upstream, %s agent, %s: the list differs", era, name, path)
				}
			}
		}
	}
}

func TestURIsAreMarkedInTheMergedNamespaceAlone(t *testing.T) {
	u := newUpstream(t, wire.Modern)
	u.extra["resources/list"] = `{"uri":"file:///a.txt","name":"a"},{"uri":"x://b#part","name":"b"}`
	u.extra["resources/templates/list"] = `{"uriTemplate":"t://{id}/data","name":"t"}`
	u.extra["resources/read"] = `{"contents":[{"uri":"file:///a.txt","text":"see x://b"}],"resultType":"complete","ttlMs":5,"cacheScope":"public"}`
	u.call = func(http.ResponseWriter, *http.Request, *wire.Message) string {
		return `{"resultType":"complete","content":[{"type":"resource_link","uri":"x://linked","name":"l"},{"type":"resource","resource":{"uri":"x://embedded","text":"t"}},{"type":"text","text":"x://text"}]}`
	}
	r := newRig(t, map[string]*upstream{"up": u})
	list := r.modern("/mcp", "resources/list", "").result(t)
	for _, want := range []string{`"file:///a.txt#upstream=up"`, `"x://b#upstream=up&fragment=part"`} {
		if !strings.Contains(list, want) {
			t.Errorf("%s lacks %s", list, want)
		}
	}
	call := r.modern("/mcp", "tools/call", `"name":"up__echo"`).result(t)
	for _, want := range []string{`"x://linked#upstream=up"`, `"x://embedded#upstream=up"`, `"text":"x://text"`} {
		if !strings.Contains(call, want) {
			t.Errorf("%s lacks %s", call, want)
		}
	}
	for _, uri := range []string{"file:///a.txt#upstream=up", "file:///a.txt", "t://7/data#upstream=up", "x://b#upstream=up&fragment=part", "x://linked#upstream=up"} {
		got := r.modern("/mcp", "resources/read", `"uri":"`+uri+`"`).result(t)
		if !strings.Contains(got, `"uri":"file:///a.txt#upstream=up"`) || !strings.Contains(got, `"cacheScope":"private"`) || !strings.Contains(got, `"ttlMs":5`) {
			t.Errorf("%s: %s", uri, got)
		}
	}
	var seen []string
	for _, h := range u.calls("resources/read") {
		m, _ := wire.Parse([]byte(h.body), wire.DefaultLimits)
		uri, _ := m.Params.String("uri")
		seen = append(seen, uri)
	}
	if got := strings.Join(seen, " "); got != "file:///a.txt file:///a.txt t://7/data x://b#part x://linked" {
		t.Error(got)
	}
	direct := r.modern("/mcp/up", "resources/read", `"uri":"file:///a.txt"`).result(t)
	if !strings.Contains(direct, `"uri":"file:///a.txt"`) {
		t.Error(direct)
	}
	missing := r.modern("/mcp", "resources/read", `"uri":"no://where"`)
	if missing.code(t) != codeInvalidParams || !strings.Contains(missing.body, `"uri":"no://where"`) {
		t.Error(missing.body)
	}
}
