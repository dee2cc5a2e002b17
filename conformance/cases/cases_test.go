package cases

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a tiny gateway: it relays /mcp/recorder to a Recorder and records
// what it relays. Its one virtue or vice is a field.
type fake struct {
	upstream Recorder
	mu       sync.Mutex
	records  []map[string]any

	refuse     string // bodies with this text are refused
	rewrite    func(body string) string
	copies     int    // records of each request that is not the harness's question for life
	unfinished bool   // records say nothing of how it ended
	log        string // what it says it logged
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	text := string(body)
	kind, outcome, reason := "decision", "ok", ""
	if strings.Contains(text, "server/discover") {
		kind, outcome = "lifecycle", ""
	}
	refused := f.refuse != "" && strings.Contains(text, f.refuse)
	if refused {
		outcome, reason = "refused", "ambiguous_json"
	}
	f.record(r, kind, outcome, reason)
	if refused {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"refused"}}`)
		return
	}
	if f.rewrite != nil {
		text = f.rewrite(text)
	}
	relayed := r.Clone(r.Context())
	relayed.Body = io.NopCloser(strings.NewReader(text))
	relayed.ContentLength = int64(len(text))
	relayed.URL.Path = strings.TrimPrefix(r.URL.Path, "/mcp")
	f.upstream.ServeHTTP(w, relayed)
}

// record writes as many records of a request as the fake is said to.
func (f *fake) record(r *http.Request, kind, outcome, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	copies := 1
	if kind == "decision" {
		copies = cmp.Or(f.copies, 1)
	}
	for range copies {
		m := map[string]any{"kind": kind, "decision_id": strconv.Itoa(len(f.records)), "depth": map[string]any{"n": json.Number("1")}, "request": map[string]any{"endpoint": r.URL.Path}}
		for key, value := range map[string]string{"outcome": outcome, "reason": reason} {
			if value != "" && (key != "outcome" || !f.unfinished) {
				m[key] = value
			}
		}
		if trace := r.Header.Get("Traceparent"); trace != "" {
			m["trace_id"] = trace[3:35]
		}
		f.records = append(f.records, m)
	}
}

func (f *fake) Records(time.Time) ([]map[string]any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.records), nil
}

// check runs one case text against a fake and returns all problems.
func check(t *testing.T, f *fake, text string) []string {
	t.Helper()
	c, err := Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(f)
	defer server.Close()
	results, err := c.Check(t.Context(), Target{URL: server.URL, Upstream: &f.upstream, Records: f.Records, Log: func() string { return f.log }, patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	for _, r := range results {
		problems = append(problems, r.Problems...)
	}
	return problems
}

const echo = "-- request r --\nPOST /mcp/recorder\n@modern tools/call echo\n\n" +
	`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"n":9007199254740993},$META}}` + "\n\n-- expect --\n"

func TestARightTargetHasNoProblems(t *testing.T) {
	for rule, text := range map[string]string{
		"what was sent arrives digit for digit": echo + "status 200\nid 1\nhits 1\nsent 9007199254740993\n" + `json result.content.0.text "{\"n\":9007199254740993}"` + "\nheader Content-Type: application/json\nheader X-Not absent\n",
		"a legacy session is opened first": "-- session 2025-11-25 --\n-- request r --\nPOST /mcp/recorder\n@legacy 2025-11-25\nMcp-Session-Id: $SESSION\n\n" +
			`{"jsonrpc":"2.0","id":"$SESSION","method":"ping"}` + "\n-- expect --\nstatus 200\nid \"recorder-1\"\nhits 0\n",
		"one alternative is enough": echo + "status 400\nor\nstatus 200\nhits 1\n",
		"raw bytes are sent as they stand": "-- raw r --\nPOST /mcp/recorder HTTP/1.1\nHost: $HOST\nContent-Length: 2, 7\n\n{}\n-- expect --\n" +
			"status 400\nclosed\nanswers 1\nhits 0\nrecords 0\n",
	} {
		if problems := check(t, &fake{}, text); len(problems) > 0 {
			t.Errorf("%s: %q", rule, problems)
		}
	}
}

func TestAWrongTargetIsFound(t *testing.T) {
	refusing := func() *fake { return &fake{refuse: `"echo"`} }
	rounding := func() *fake {
		return &fake{rewrite: func(body string) string {
			return strings.ReplaceAll(body, "9007199254740993", "9007199254740992")
		}}
	}
	tests := []struct {
		rule   string
		f      *fake
		expect string
		want   string // "" = no problem
	}{
		{"a call that should have been refused", &fake{}, "status 400\nhits 0", "status is 200, want 400"},
		{"a call that ran although it should not", &fake{}, "hits 0", "requests at the upstream is 1, want 0"},
		{"a call that was refused", refusing(), "status 200", "status is 400"},
		{"a refusal with another code", refusing(), "code -32700 -32020", "error code is -32600, want -32700 or -32020"},
		{"a refusal with the right code", refusing(), "status 400\ncode -32700 -32600\nid 1\nhits 0", ""},
		{"a number that was rounded on the way", rounding(), "sent 9007199254740993", "nothing with"},
		{"a text that must not arrive", &fake{}, "unsent echo", `"echo" reached the upstream`},
		{"an answer that says too much", refusing(), "lacks refused", "the answer contains"},
		{"an answer that says too little", &fake{}, "contains refused", "the answer lacks"},
		{"a header that is missing", &fake{}, "header X-A: b", "header X-A is []"},
		{"a header that is too many", &fake{}, "header Content-Type absent", "want none"},
		{"another id", &fake{}, "id 2", "id is 1, want 2"},
		{"an id although none is due", &fake{}, "id absent", "id is 1, want absent"},
		{"a record that is there", refusing(), `record {"reason":"ambiguous_json","depth":{"n":1}}`, ""},
		{"a record that is missing", refusing(), `record {"reason":"too_deep"}`, "no record of 1 holds"},
		{"an attempt that is recorded twice", &fake{copies: 2}, "status 200", "2 attempts are recorded, want 1"},
		{"two records are right where the step says so", &fake{copies: 2}, "status 200\nrecords 2", ""},
		{"a decision without an outcome", &fake{unfinished: true}, "status 200", "1 decisions have no outcome"},
		{"no alternative holds", &fake{}, "status 400\nor\nstatus 413", "status is 200"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			problems := strings.Join(check(t, tt.f, echo+tt.expect+"\n"), "\n")
			switch {
			case tt.want == "" && problems != "":
				t.Errorf("problems: %s", problems)
			case !strings.Contains(problems, tt.want):
				t.Errorf("problems %q, want …%s…", problems, tt.want)
			}
		})
	}
}

func TestATargetThatDiesOfAStepIsFound(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked > 2 { // the question for life before the step, and the step
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	c, err := Parse("test", []byte(echo+"status 200\n"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := c.Check(t.Context(), Target{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(results[0].Problems, " "); !strings.Contains(got, "does not answer afterwards") {
		t.Errorf("problems %q", got)
	}
}

func TestHitsAndRecordsAreNotJudgedWhereNobodyLooks(t *testing.T) {
	server := httptest.NewServer(&fake{})
	defer server.Close()
	c, err := Parse("test", []byte(echo+"hits 7\nsent nothing like it\nrecord {\"a\":1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := c.Check(t.Context(), Target{URL: server.URL})
	if err != nil || len(results[0].Problems) > 0 {
		t.Errorf("%v, %v", results, err)
	}
}

func TestACaseThatCannotBeReadIsRefused(t *testing.T) {
	for want, text := range map[string]string{
		"no section":                   "only a comment\n",
		"unknown section":              "-- reqest a --\n",
		"no upstream":                  "-- upstream nobody --\n",
		"can't \"dance\"":              "-- upstream modern --\ndance\n",
		"without an upstream":          "-- call a --\n-- expect --\n",
		"want: allow":                  "-- allow me --\n",
		"without a name":               "-- request --\nGET /\n-- expect --\nstatus 200\n",
		"expects nothing":              "-- request a --\nGET /\n",
		"does not follow":              "-- expect --\nstatus 200\n",
		`unknown expectation "staus`:   "-- request a --\nGET /\n-- expect --\nstaus 200\n",
		"expect does not follow a req": "-- request a --\nGET /\n-- expect --\nstatus 200\n-- expect --\nstatus 200\n",
	} {
		if _, err := Parse("bad", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want …%s…", err, want)
		}
	}
}

func TestMacros(t *testing.T) {
	for text, want := range map[string]string{
		"a%{x 00 ff}b":                        "a\x00\xffb",
		"%{repeat 3 [}1%{repeat 3 ]}":         "[[[1]]]",
		`%{repeat 2 {"a":}%1`:                 `{"a":{"a":1`,
		`{%{list 3 "k%":1}}`:                  `{"k0":1,"k1":1,"k2":1}`,
		"$HOST":                               "there",
		`{"a":"%{repeat 2 x}","b":{}}`:        `{"a":"xx","b":{}}`,
		`{"d":%{repeat 2 [}1%{repeat 2 ]}},1`: `{"d":[[1]]},1`,
	} {
		got, err := expand(text, map[string]string{"HOST": "there"})
		if err != nil || string(got) != want {
			t.Errorf("expand(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"%{x zz}", "%{repeat many [}"} {
		if _, err := expand(text, nil); err == nil {
			t.Errorf("expand(%q) has no error", text)
		}
	}
}

// TestEveryAttackOfTheCatalogHasACase: the wire-level attacks by their ids.
func TestEveryAttackOfTheCatalogHasACase(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	steps := map[string]int{}
	for _, c := range all {
		if c.Comment == "" || !strings.HasPrefix(c.Comment, c.Name[:5]) {
			t.Errorf("%s: the comment says no rule", c.Name)
		}
		seen := map[string]bool{}
		for _, s := range c.Steps {
			if seen[s.Name] {
				t.Errorf("%s: two steps %q", c.Name, s.Name)
			}
			seen[s.Name] = true
		}
		steps[c.Name[:5]] += len(c.Steps)
	}
	for _, id := range []string{"001", "003", "005", "007", "008", "009", "010", "011", "012", "013", "014", "016", "017", "018", "019", "020", "021", "022",
		"074", "075", "076", "077", "078", "080", "082", "084", "085", "086", "087"} {
		if steps["A-"+id] == 0 {
			t.Errorf("A-%s has no case", id)
		}
	}
}

func TestTheRecorderSpeaksBothEras(t *testing.T) {
	server := httptest.NewServer(&Recorder{})
	defer server.Close()
	ask := func(body string) string {
		t.Helper()
		resp, err := http.Post(server.URL+"/recorder", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b) {
			t.Fatalf("not JSON: %s", b)
		}
		return string(b)
	}
	if got := dig([]byte(ask(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+meta+`}}`)), "result.resultType"); got != `"complete"` {
		t.Errorf("modern list: resultType %s", got)
	}
	if got := dig([]byte(ask(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`)), "result.protocolVersion"); got != `"2025-11-25"` {
		t.Errorf("initialize: version %s", got)
	}
	if got := dig([]byte(ask(`{"jsonrpc":"2.0","id":1,"method":"server/discover"}`)), "error.code"); got != "-32601" {
		t.Errorf("discover without markers: code %s", got)
	}
}
