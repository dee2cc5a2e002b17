package federation

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/gateway/wire"
)

func TestOnlyPlainNamesGoOutAsTheyAre(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		name string
		want string // part of the reason; "" = it may
	}{
		{Tool, "Read_file-2.0", ""},
		{Tool, strings.Repeat("n", maxName), ""},
		{Tool, "read file", "characters besides"},
		{Tool, "read/file", "characters besides"},
		{Tool, "re\u0430d_file", "characters besides"},      // Cyrillic a
		{Tool, "read\u200bfile", "characters besides"},      // zero width
		{Tool, "ｒead", "characters besides"},                // full width
		{Tool, "cafe\u0301", "characters besides"},          // NFD
		{Tool, "\u202eelif_daer", "characters besides"},     // right to left
		{Prompt, "Write a résumé (2 pages)/draft", ""},      // free
		{Prompt, "要約 summary", ""},                          // scripts that look nothing like each other
		{Prompt, "отчёт-report за_q3", ""},                  // each word of one alphabet
		{Prompt, "re\u0430d", "mixes alphabets"},            // Cyrillic a
		{Prompt, "ask_re\u03bfd", "mixes alphabets"},        // Greek o
		{Prompt, "ask\u200b", "invisible"},                  // zero width
		{Prompt, "ask\u202e", "invisible"},                  // right to left
		{Prompt, "ask\U000e0041", "invisible"},              // tag
		{Prompt, "ask\u3164", "invisible"},                  // Hangul filler
		{Prompt, "ask\ufe0f", "invisible"},                  // variation selector
		{Prompt, "ask\u00a0it", "no plain spaces"},          // no-break space
		{Prompt, "ask\u2028it", "invisible"},                // line separator
		{Resource, "file:///re\u0430d\u200b", ""},           // URIs are not names
		{Template, "file:///re\u0430d\u200b/{path}", ""},    // nor are templates
		{Prompt, "emoji \U0001f600 and m\u0301arks ok", ""}, // pictures and accents can be seen
	} {
		if got := unfit(c.kind, c.name); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%v %+q: %q, want %q", c.kind, c.name, got, c.want)
		}
	}
}

// A tool that is not fit to go out under its own name is offered under its
// mapped name alone, and can be called there.
func TestNamesThatHideSomethingGoOutMappedOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		odd := "re\u0430d"
		bad := func() *script { return tools("read", odd) }
		w := newWorld(t, nil, map[string]*script{"a": bad(), "b": bad()})
		defer w.stop()
		w.apply(entry("a"), bare("b"))
		s := w.Snapshot()

		exposed := ExposeName("a", odd)
		i, ok := s.Find(Merged, Tool, exposed)
		if !ok || i.Name != odd {
			t.Fatalf("merged, with a prefix: %v", i)
		}
		for _, endpoint := range []string{"a", "b"} {
			if list := s.List(endpoint, Tool); len(list) != 1 || list[0].Name != "read" {
				t.Errorf("/mcp/%s lists %d", endpoint, len(list))
			}
			if _, ok := s.Find(endpoint, Tool, odd); ok {
				t.Errorf("/mcp/%s has it", endpoint)
			}
			if _, ok := s.Find(endpoint, Tool, "read"); !ok {
				t.Errorf("/mcp/%s lacks the plain one", endpoint)
			}
		}
		if list := s.List(Merged, Tool); len(list) != 3 {
			t.Errorf("merged: %d tools, want a's two and b's plain one", len(list))
		}
		if _, ok := s.Find(Merged, Tool, odd); ok {
			t.Error("merged, without a prefix, has it")
		}
		for name, want := range map[string]string{"a": "merged namespace alone has it, as " + exposed, "b": "give the entry a prefix"} {
			if st := w.status(name); len(st.LeftOut) != 1 || st.LeftOut[0].Name != odd || !strings.Contains(st.LeftOut[0].Reason, want) || st.Tools != 2 {
				t.Errorf("%s: %+v", name, st)
			}
		}
	})
}

func TestAMappedToolIsRefreshedUnderItsOwnName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := tools("a b")
		refusals := 1
		up.answer = func(_ context.Context, _ *link, _ *Call) (*Answer, error) {
			if refusals--; refusals >= 0 {
				return &Answer{Era: wire.Modern, Error: &wire.Error{Code: wire.CodeHeaderMismatch}}, nil
			}
			return &Answer{Era: wire.Modern, Result: []byte(`{}`)}, nil
		}
		w := newWorld(t, nil, map[string]*script{"up": up})
		defer w.stop()
		w.apply(entry("up"))
		i, _ := w.Snapshot().Find(Merged, Tool, ExposeName("up", "a b"))
		answer, err := w.Call(t.Context(), nil, &Call{Upstream: "up", Method: "tools/call", Item: i, Params: []byte(`{"name":"a b"}`)})
		if err != nil || answer.Error != nil {
			t.Errorf("%+v, %v", answer, err)
		}
	})
}

func TestNamesThatLookAlikeAreNoted(t *testing.T) {
	for _, c := range []struct {
		rule, a, b string
		want       bool
	}{
		{"the same name is no look-alike", "read_file", "read_file", false},
		{"another name is none", "read_file", "read_files", false},
		{"letter case", "Read_File", "read_file", true},
		{"0 and O", "g0", "GO", true},
		{"1, l and I", "l1st_aII", "Iist_al1", true},
		{"Cyrillic", "re\u0430d_file", "read_file", true},
		{"Cyrillic capital", "\u0420ay", "pay", true},
		{"Greek", "g\u03bf", "go", true},
		{"full width", "ｒｅａｄ", "read", true},
		{"zero width", "re\u200bad", "read", true},
		{"NFC and NFD", "caf\u00e9", "cafe\u0301", true},
		{"an accent is a difference", "caf\u00e9", "cafe", false},
		{"invisible filler", "read\u3164", "read", true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if got := c.a != c.b && skeleton(c.a) == skeleton(c.b); got != c.want {
				t.Errorf("%+q and %+q: %q, %q", c.a, c.b, skeleton(c.a), skeleton(c.b))
			}
			sections := map[string]*section{}
			for name, own := range map[string]string{"a": c.a, "b": c.b} {
				i := encodeOne(t, entry(name), Tool, `{"name":`+string(wire.AppendString(nil, own))+`,"inputSchema":{}}`)
				sections[name] = newSection(i.Upstream, nil, [kinds][]*Item{Tool: {i}}, [kinds][]LeftOut{})
			}
			notes := lookAlikes(sections, sortedInfos(sections))
			if !c.want {
				if len(notes) != 0 {
					t.Errorf("noted: %v", notes)
				}
				return
			}
			for name, other := range map[string]string{"a": "b", "b": "a"} {
				if n := notes[name]; len(n) != 1 || n[0].Note != LookAlike || n[0].Kind != "tool" || !strings.HasSuffix(n[0].Text, "of upstream "+other) {
					t.Errorf("%s: %+v", name, n)
				}
			}
		})
	}
}

func TestLookAlikesAreBothServedAndInStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := tools("pay", "other")
		a.set(Prompt, "sum", "\u0455um")
		w := newWorld(t, nil, map[string]*script{"a": a, "b": tools("Pay"), "c": tools("pay")})
		defer w.stop()
		w.apply(entry("a"), entry("b"), entry("c"))
		if n := len(w.Snapshot().List(Merged, Tool)); n != 4 {
			t.Errorf("%d tools are served", n)
		}
		want := map[string]string{
			"a": "tool pay: its name looks like Pay of upstream b|prompt sum: its name looks like \\u0455um of upstream a|prompt \u0455um: its name looks like sum of upstream a",
			"b": "tool Pay: its name looks like pay of upstream a",
			"c": "tool pay: its name looks like Pay of upstream b",
		}
		for name, text := range want {
			var got []string
			for _, n := range w.status(name).Notes {
				got = append(got, n.Kind+" "+n.Name+": "+n.Text)
			}
			if strings.Join(got, "|") != text {
				t.Errorf("%s: %q", name, got)
			}
		}
		// A listing that changes no item changes no note.
		a.set(Tool, "pay", "other", `{"name":7}`)
		synctest.Wait()
		a.say("notifications/tools/list_changed", "")
		time.Sleep(time.Second)
		synctest.Wait()
		if st := w.status("a"); len(st.LeftOut) != 2 || len(st.Notes) != 3 {
			t.Errorf("a malformed tool more: %+v", st)
		}
		// What is gone is not noted any more.
		w.apply(entry("a"), entry("c"))
		if n := w.status("c").Notes; len(n) != 0 {
			t.Errorf("b is gone: %v", n)
		}
	})
}

func TestNotesOfOneUpstreamAreBounded(t *testing.T) {
	for _, pairs := range []int{maxNotes / 2, maxNotes/2 + 1} {
		var items []*Item
		u := entry("up")
		for n := range pairs {
			name := ExposeName("x", strings.Repeat("y", n+1))
			for _, own := range []string{name, strings.ToUpper(name)} {
				items = append(items, encodeOne(t, u, Tool, `{"name":"`+own+`"}`))
			}
		}
		sections := map[string]*section{"up": newSection(u, nil, [kinds][]*Item{Tool: items}, [kinds][]LeftOut{})}
		if n := len(lookAlikes(sections, sortedInfos(sections))["up"]); n != min(2*pairs, maxNotes) {
			t.Errorf("%d pairs: %d notes", pairs, n)
		}
	}
}

func BenchmarkLookAlikesOfTenThousandTools(b *testing.B) {
	u := &catalogs.Upstream{Name: "up", Prefix: "up"}
	var raws [][]byte
	for n := range 10_000 {
		raws = append(raws, []byte(typicalTool(n)))
	}
	items, _ := encode(u, Tool, raws, nil)
	sections := map[string]*section{"up": newSection(u, nil, [kinds][]*Item{Tool: items}, [kinds][]LeftOut{})}
	infos := sortedInfos(sections)
	for b.Loop() {
		lookAlikes(sections, infos)
	}
}
