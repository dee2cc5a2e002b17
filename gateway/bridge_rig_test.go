package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ostiary/ostiary/gateway/wire"
)

// combination is one column of the table of eras.
type combination struct {
	name       string
	agent, ups wire.Era
}

var combinations = []combination{
	{"MM", wire.Modern, wire.Modern}, {"ML", wire.Modern, wire.Legacy},
	{"LM", wire.Legacy, wire.Modern}, {"LL", wire.Legacy, wire.Legacy},
}

// everyCapability is an agent that can be asked anything.
const everyCapability = `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}`

// talker is an agent of either era that answers what it is asked.
type talker struct {
	r       *rig
	era     wire.Era
	caps    string
	meta    string // further members of a modern request's _meta, and of a legacy one's
	user    string
	path    string
	session []string // legacy

	// answer gives the raw result for a request of the upstream's; "" = the
	// agent is silent.
	answer func(method string, params []byte) string

	asked []inputRequest // what it was asked, in order
	notes []string       // notifications, in order
	tries int            // requests that it took
}

// talk makes an agent; version is that of a legacy one's session.
func (r *rig) talk(era wire.Era, version, caps string) *talker {
	r.t.Helper()
	k := &talker{r: r, era: era, caps: caps, path: "/mcp"}
	k.answer = func(string, []byte) string { return `{"action":"accept","content":{"ok":true}}` }
	if era == wire.Legacy {
		a := r.post(k.path, `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+version+`","capabilities":`+caps+`,"clientInfo":{"name":"talker","version":"1"}}}`)
		k.session = []string{"Mcp-Session-Id", a.header.Get("Mcp-Session-Id"), "Mcp-Protocol-Version", version}
		r.post(k.path, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, k.session...)
	}
	return k
}

// request is one HTTP request for method; params is the inside of the object.
func (k *talker) request(ctx context.Context, id int, method, params string) *http.Request {
	k.r.t.Helper()
	meta := k.meta
	headers := k.session
	if k.era == wire.Modern {
		meta = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":` + k.caps
		if k.meta != "" {
			meta += "," + k.meta
		}
		headers = modernHeaders(method, params)
	}
	if meta != "" {
		params = strings.TrimSuffix(`"_meta":{`+meta+`},`+params, ",")
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s}}`, id, method, params)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.r.URL+k.path, strings.NewReader(body))
	if err != nil {
		k.r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if k.user != "" {
		req.Header.Set("X-Test-User", k.user)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// once makes one request and returns its response; what comes before it on the
// stream is noted, and a legacy agent's questions are answered.
func (k *talker) once(ctx context.Context, method, params string) (*wire.Message, error) {
	k.r.t.Helper()
	k.r.id++
	k.tries++
	resp, err := http.DefaultClient.Do(k.request(ctx, k.r.id, method, params))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		return wire.ParseAnswer(b, wire.DefaultLimits, false)
	}
	events := wire.NewEventReader(resp.Body, 1<<20)
	for {
		e, err := events.Next()
		if err != nil {
			return nil, err
		}
		if len(e.Data) == 0 {
			continue
		}
		m, err := wire.ParseAnswer(e.Data, wire.DefaultLimits, false)
		if err != nil {
			return nil, err
		}
		switch m.Kind {
		case wire.Response:
			return m, nil
		case wire.Notification:
			k.notes = append(k.notes, string(e.Data))
		case wire.Request:
			if k.era == wire.Modern {
				k.r.t.Errorf("a modern agent got a request on its stream: %s", e.Data)
			}
			k.asked = append(k.asked, inputRequest{string(m.ID), m.Method, bytes.Clone(m.Params.Raw)})
			if a := k.answer(m.Method, m.Params.Raw); a != "" {
				k.r.post(k.path, `{"jsonrpc":"2.0","id":`+string(m.ID)+`,"result":`+a+`}`, k.session...)
			}
		}
	}
}

// call makes a request to its end: a modern agent comes back with the answers
// as long as it is told to.
func (k *talker) call(method, params string) *wire.Message {
	k.r.t.Helper()
	retry := ""
	for {
		m, err := k.once(k.r.t.Context(), method, strings.Trim(params+retry, ","))
		if err != nil {
			k.r.t.Fatal(err)
		}
		if retry = k.retry(m); retry == "" {
			return m
		}
	}
}

// retry is what a retry adds to the params when m asks for input.
func (k *talker) retry(m *wire.Message) string {
	o, err := wire.Fields(m.Result)
	if err != nil {
		return ""
	}
	if kind, _ := o.String("resultType"); kind != "input_required" {
		return ""
	}
	in, f := readInput("agent", o)
	if f != nil {
		k.r.t.Fatal(f)
	}
	var answers []string
	for _, q := range in.requests {
		k.asked = append(k.asked, q)
		if a := k.answer(q.method, q.params); a != "" {
			answers = append(answers, string(wire.AppendString(nil, q.key))+":"+a)
		}
	}
	retry := `,"inputResponses":{` + strings.Join(answers, ",") + `}`
	if in.state != nil {
		retry += `,"requestState":` + string(in.state)
	}
	return retry
}

// said is what m says: its result, or its error in words.
func said(m *wire.Message) string {
	if m.Error != nil {
		return fmt.Sprintf("error %d: %s %s", m.Error.Code, m.Error.Message, m.Error.Data)
	}
	return string(m.Result)
}

func textResult(text string) string {
	return `{"content":[` + string(textContent(text)) + `]}`
}

// asks makes u a server whose tools ask something before they answer: in the
// way of its era, and all questions at once. The answer to the call holds the
// answers, each as the server got it.
func (u *upstream) asks(t *testing.T, questions ...inputRequest) {
	u.call = func(w http.ResponseWriter, r *http.Request, m *wire.Message) string {
		var got []string
		if u.era == wire.Modern {
			responses, ok := m.Params.Get("inputResponses")
			if !ok {
				b := []byte(`{"resultType":"input_required","requestState":"exact \u0041 state","inputRequests":{`)
				for i, q := range questions {
					if i > 0 {
						b = append(b, ',')
					}
					b = appendInput(append(wire.AppendString(b, q.key), ':'), q.method, q.params)
				}
				return string(b) + `}}`
			}
			if state, _ := m.Params.Get("requestState"); string(state) != `"exact \u0041 state"` && string(state) != `"exact A state"` {
				t.Errorf("requestState came back as %s", state)
			}
			o, _ := wire.Fields(responses)
			for _, q := range questions {
				a, _ := o.Get(q.key)
				got = append(got, string(a))
			}
			return `{"resultType":"complete",` + textResult(strings.Join(got, " "))[1:]
		}
		var replies []chan *wire.Message
		for i, q := range questions {
			id := fmt.Sprintf("%d%03d", i+1, len(u.calls("tools/call")))
			replies = append(replies, u.expects(id))
			emit(w, string(wire.AppendRequest(nil, []byte(id), q.method, q.params)))
		}
		for _, c := range replies {
			select {
			case a := <-c:
				got = append(got, said(a))
			case <-r.Context().Done():
				return ""
			}
		}
		emit(w, string(wire.AppendResult(nil, m.ID, []byte(textResult(strings.Join(got, " "))))))
		return ""
	}
}

// fails answers m with an error, raw.
func fails(w http.ResponseWriter, m *wire.Message, e string) string {
	w.Header().Set("Content-Type", "application/json")
	w.Write([]byte(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"error":` + e + `}`))
	return ""
}

// until waits for something that happens beside the test.
func until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for range 5000 {
		if ready() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not happen within 5 s:", what)
}

// got is the text of the first content of a result.
func got(t *testing.T, m *wire.Message) string {
	t.Helper()
	o, err := wire.Fields(m.Result)
	if err != nil {
		t.Fatal(said(m))
	}
	raw, _ := o.Get("content")
	content, err := wire.Elements(raw)
	if err != nil || len(content) == 0 {
		t.Fatal(said(m))
	}
	first, _ := wire.Fields(content[0])
	text, _ := first.String("text")
	return text
}
