package cases

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// against is a case about one upstream, to be run against a fake that relays
// everything as it is: the naive gateway.
func against(script, call, expect string) string {
	return "-- upstream modern --\n" + script + "\n\n-- call c --\n" + call + "\n\n-- expect --\n" + expect + "\n"
}

func TestWhatAnUpstreamDoesIsJudged(t *testing.T) {
	const good = `answer {"jsonrpc":"2.0","id":$ID,"result":$OK}`
	relays := func() *fake { return &fake{} }
	tests := []struct {
		rule           string
		f              *fake
		script, expect string
		call           string
		want           string // "" = no problem
	}{
		{"a good answer", relays(), good, "status 200\nhits 1\njson result.content.0.text \"fine\"", "", ""},
		{"no script is good behaviour", relays(), "", "status 200\njson result.content.0.text \"{\\\"a\\\":1}\"", `{"a":1}`, ""},
		{"an answer to another request that is relayed", relays(), `answer {"jsonrpc":"2.0","id":5,"result":$OK}`, `id "agent"`, "", `id is 5, want "agent"`},
		{"a secret that is relayed", relays(), `answer CANARY-1`, "status 200", "", "CANARY-1 is in the answer"},
		{"a secret that is logged", &fake{log: "said CANARY-1 to me"}, "# CANARY-1\n" + good, "status 200", "", ""}, // logged before the case began
		{"events are counted", relays(), "event {\"method\":\"notifications/a\"}\nevent {\"method\":\"notifications/b\"}", "events notifications/a 2", "", "notifications/a notifications are 1, want 2"},
		{"requests are counted", relays(), good, "asked tools/call 2-3\nrecords 1", "", "tools/call requests at the upstream are 1, want 2-3"},
		{"a call is made so often", relays(), good, "asked tools/call 3\nhits 3", "@times 3", ""},
		{"elements are counted", relays(), `answer {"id":"agent","result":{"a":[1,2]}}`, "count result.a 3", "", "elements of result.a are 2, want 3"},
		{"a range that is none", relays(), good, "asked tools/call few", "", "neither a number nor a range"},
		{"replies are counted", relays(), good, "replies 1", "", "replies to the upstream are 0, want 1"},
		{"only the first requests are answered so", relays(), "times 1\nanswer first", "lacks first", "@times 2", ""},
		{"a text of a given size", relays(), `answer {"id":"agent","x":"%{fill 40}"}`, `json x "xxxxxxxxxxxxxxxxxxx"`, "", ""},
		{"another method", relays(), "on tools/list\nanswer {\"id\":$ID,\"n\":$N}", "json n 1\nasked tools/list 1", "@list", ""},
		{"a step is repeated until it is right", relays(), "answer {\"id\":$ID,\"n\":$N}", "json n 3\nasked tools/call 3", "@within 5s", ""},
		{"headers and status", relays(), "status 429\nheader Retry-After: 7\nanswer", "status 429\nheader Retry-After: 7", "", ""},
		{"a lost session", relays(), "lose", "status 404", "", ""},
		{"a slow reader", relays(), "slowly 1000", "contains xxxx", `{"big":"%{fill 5000}"}`, ""},
		{"a drip is read to its end", relays(), "answer {\"id\":$ID,\nafter 1ms write \"x\":1}", "json x 1", "", ""},
		{"other calls that fail meanwhile", &fake{refuse: `"well"`}, good, "status 200", "", "a call to a healthy upstream failed meanwhile"},
		{"an upstream that is not used again", &fake{refuse: `"well"`}, good, "status 200", "", "behaves again, but a call to it fails"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			problems := strings.Join(check(t, tt.f, against(tt.script, tt.call, tt.expect)), "\n")
			switch {
			case tt.want == "" && problems != "":
				t.Errorf("problems: %s", problems)
			case !strings.Contains(problems, tt.want):
				t.Errorf("problems %q, want …%s…", problems, tt.want)
			}
		})
	}
}

func TestAnUpstreamThatDropsTheConnectionGivesNoAnswer(t *testing.T) {
	problems := strings.Join(check(t, &fake{}, against("drop", "", "status 200")), "\n")
	if !strings.Contains(problems, "status is 0") {
		t.Errorf("problems %q", problems)
	}
}

func TestBothErasAreAskedAtOnceAndJudgedApart(t *testing.T) {
	const text = "-- upstream modern legacy --\nanswer {\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{$COMPLETE\"n\":1}}\n\n-- call c --\n-- expect --\nhits 1\nsent \"agent\"\njson result {\"n\":1,\"resultType\":\"complete\"}\n"
	problems := strings.Join(check(t, &fake{}, text), "\n")
	if strings.Count(problems, "test.txtar:") != 1 || !strings.Contains(problems, `result is {"n":1}, want`) {
		t.Errorf("problems %q; want that of the legacy one alone, which has no resultType", problems)
	}
}

func TestASecretInAFileIsFound(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"audit/1.log": "x CANARY-A x CANARY-B", "state.db": "CANARY-B"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Parse("test", []byte("-- allow CANARY-B audit --\n-- upstream modern --\nanswer CANARY-A CANARY-B\n-- call c --\n-- expect --\nstatus 200\n"))
	if err != nil {
		t.Fatal(err)
	}
	problems, err := Kept([]Case{c}, Target{Data: dir})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(problems, "\n")
	if len(problems) != 2 || !strings.Contains(got, "CANARY-A is in audit/1.log") || !strings.Contains(got, "CANARY-B is in state.db") {
		t.Errorf("problems %q", got)
	}
}

func TestTheCatalogNamesEveryUpstreamThatTheRecorderPlays(t *testing.T) {
	text := string(Catalog("http://127.0.0.1:1"))
	for _, endpoint := range Endpoints() {
		name := strings.TrimPrefix(endpoint, "/mcp/")
		if !strings.Contains(text, "  "+name+":\n    url: http://127.0.0.1:1/"+name+"\n") {
			t.Errorf("no %s in\n%s", name, text)
		}
		if _, ok := nameOf("/" + name); !ok {
			t.Errorf("nobody plays %s", name)
		}
	}
	if _, ok := nameOf("/elsewhere"); ok {
		t.Error("where a redirect leads is no upstream")
	}
}
