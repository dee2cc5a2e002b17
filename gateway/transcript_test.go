package gateway

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
)

var update = flag.Bool("update", false, "write the transcripts in testdata/bridge anew")

// The four ways that a message can take, by who sends it.
const (
	agentSays    = "agent > gateway"
	gatewayCalls = "gateway > upstream"
	upstreamSays = "upstream > gateway"
	gatewayGives = "gateway > agent"
)

// utterance is one message of a transcript.
type utterance struct {
	way    string
	text   string
	status int  // of the HTTP response that it is; 0 = not worth saying
	ours   bool // its id is one that the gateway chose
}

// transcript is a tape of what agent, gateway and upstream say to each other,
// taken at the doors of gateway and upstream: a message is on it before its
// receiver has it, so that whatever it causes comes after it. Safe for
// concurrent use; a nil one takes nothing.
type transcript struct {
	show []string // marks of messages that are left out unless they are the point

	mu     sync.Mutex
	said   []utterance
	paused bool
	deaf   string // the id of an agent's request whose answers are no longer taken
}

// silent are the methods by which a gateway gets to know an upstream, and an
// agent the gateway. When it does so is its own affair.
var silent = map[string]map[string]bool{
	"agent": {"initialize": true, "notifications/initialized": true},
	"upstream": {
		"initialize": true, "notifications/initialized": true, "server/discover": true, "subscriptions/listen": true, "notifications/subscriptions/acknowledged": true,
		"tools/list": true, "prompts/list": true, "resources/list": true, "resources/templates/list": true,
	},
}

// note takes down what no message says, like the end of a connection.
func (p *transcript) note(way, text string) {
	p.take(utterance{way: way, text: "(" + text + ")"})
}

func (p *transcript) take(u utterance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.paused {
		p.said = append(p.said, u)
	}
}

// pause leaves out what follows.
func (p *transcript) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = true
}

// lose is an agent that lost the connection of a request: what the gateway
// still writes there, nobody reads, and how much that is, is chance.
func (p *transcript) lose(id string) {
	p.note(agentSays, "loses the connection of request "+id)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = id
}

// message takes down one message. asked is the request that a response on this
// connection answers; nil = none.
func (p *transcript) message(way string, raw []byte, status int, asked *wire.Message) {
	m, err := wire.ParseAnswer(raw, wire.DefaultLimits, false)
	if err != nil {
		return
	}
	method := m.Method
	if m.Kind == wire.Response && asked != nil {
		method = asked.Method
	}
	leg := "agent"
	if way == gatewayCalls || way == upstreamSays {
		leg = "upstream"
	}
	if silent[leg][method] && !slices.ContainsFunc(p.show, func(mark string) bool { return bytes.Contains(raw, []byte(mark)) }) {
		return
	}
	p.mu.Lock()
	lost := p.deaf != "" && way == gatewayGives && asked != nil && string(asked.ID) == p.deaf
	p.mu.Unlock()
	if !lost {
		p.take(utterance{way, string(raw), status, m.Kind == wire.Request && way == gatewayCalls || m.Kind == wire.Response && way == upstreamSays})
	}
}

// between is a door with the tape at it: in is the way of what comes through
// it, out of what is answered.
func (p *transcript) between(in, out string, h http.Handler) http.Handler {
	if p == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		t := &tapped{ResponseWriter: w, tape: p, way: out}
		if m, err := wire.ParseAnswer(body, wire.DefaultLimits, false); err == nil {
			t.asked = m
			p.message(in, body, 0, nil)
		}
		h.ServeHTTP(t, r)
	})
}

// tapped takes down what is written through it.
type tapped struct {
	http.ResponseWriter
	tape   *transcript
	way    string
	asked  *wire.Message
	status int
	open   []byte // what has no end yet
}

func (w *tapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *tapped) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

func (w *tapped) WriteHeader(status int) {
	if w.status = status; status == http.StatusOK {
		w.status = 0
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *tapped) Write(b []byte) (int, error) {
	w.open = append(w.open, b...)
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
		w.tape.message(w.way, w.open, w.status, w.asked) // half a document is none
		return w.ResponseWriter.Write(b)
	}
	for {
		one, rest, ok := bytes.Cut(w.open, []byte("\n\n"))
		if !ok {
			return w.ResponseWriter.Write(b)
		}
		if e, err := wire.NewEventReader(strings.NewReader(string(one)+"\n\n"), 1<<20).Next(); err == nil {
			w.tape.message(w.way, e.Data, w.status, w.asked)
		}
		w.open = rest
	}
}

var (
	ownID  = regexp.MustCompile(`"(id|progressToken|requestId)":([0-9]+)`)
	minted = regexp.MustCompile(`"(?:[A-Z2-7]{26}|AQAAAA[0-9A-Za-z_-]{20,})"`)
)

// written is the transcript to read. While everything goes the same way, the
// first leg is told before the second, since how the two interleave is chance; a
// note stays between what was before it and what came after. Ids
// and sealed values of the gateway's own are numbered in the order of their
// appearance, and what is said twice running is said once.
func (p *transcript) written() string {
	p.mu.Lock()
	said := slices.Clone(p.said)
	p.mu.Unlock()
	north := func(u utterance) bool { return u.way == upstreamSays || u.way == gatewayGives }
	for from := 0; from < len(said); {
		to := from + 1
		for to < len(said) && north(said[to]) == north(said[from]) && said[to].text[0] != '(' {
			to++
		}
		slices.SortStableFunc(said[from:to], func(a, b utterance) int { return second(a.way) - second(b.way) })
		from = to
	}
	ids, secrets := map[string]string{}, map[string]string{}
	var lines []string
	for _, u := range said {
		text := u.text
		if u.way == gatewayCalls || u.way == upstreamSays {
			first := true
			text = ownID.ReplaceAllStringFunc(text, func(s string) string {
				m := ownID.FindStringSubmatch(s)
				if m[1] == "id" {
					if !u.ours || !first {
						return s
					}
					first = false
					if ids[m[2]] == "" {
						ids[m[2]] = fmt.Sprintf("$%d", len(ids)+1)
					}
				}
				if alias := ids[m[2]]; alias != "" {
					return `"` + m[1] + `":` + alias
				}
				return s
			})
		}
		text = minted.ReplaceAllStringFunc(text, func(s string) string {
			if secrets[s] == "" {
				secrets[s] = fmt.Sprintf(`"$own%d"`, len(secrets)+1)
			}
			return secrets[s]
		})
		way := u.way
		if u.status != 0 {
			way += fmt.Sprintf(", HTTP %d", u.status)
		}
		if line := way + "\n" + text + "\n"; len(lines) == 0 || lines[len(lines)-1] != line {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// second is 1 for the leg that a message takes after the other one.
func second(way string) int {
	if way == gatewayCalls || way == gatewayGives {
		return 1
	}
	return 0
}

// golden are the transcripts of one feature: a text, and a section for each
// combination.
type golden struct {
	path, about string

	mu       sync.Mutex
	sections map[string]string
}

const legend = `
Each message is under the way that it takes. M is an agent or upstream of MCP
2026-07-28, L one of 2025-11-25; MM, ML, LM and LL name the agent's revision
first. $1, $2 are the ids of the gateway's requests, "$own1", "$own2" ids and
sealed values that it made. Written by go test ./gateway -run TestBridge -update.
`

func openGolden(t *testing.T, feature, about string) *golden {
	g := &golden{path: filepath.Join("testdata", "bridge", feature+".txtar"), about: about + "\n" + legend, sections: map[string]string{}}
	b, err := os.ReadFile(g.path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(b), "\n-- ") {
		if name, text, ok := strings.Cut(part, " --\n"); ok && i > 0 {
			g.sections[name] = strings.TrimRight(text, "\n")
		}
	}
	t.Cleanup(func() {
		text := g.about
		for _, c := range combinations {
			text += "\n-- " + c.name + " --\n" + g.sections[c.name] + "\n"
		}
		switch {
		case !*update && text != string(b):
			t.Errorf("%s is not what -update writes", g.path)
		case *update:
			if err := os.WriteFile(g.path, []byte(text), 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	return g
}

// check holds a section against what was said now, or makes it that.
func (g *golden) check(t *testing.T, name, text string) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	text = strings.TrimRight(text, "\n")
	if *update {
		g.sections[name] = text
	} else if want := g.sections[name]; text != want {
		t.Errorf("this is not section %s of %s; if it is right, write it with go test ./gateway -run TestBridge -update\ngot:\n%s\nwant:\n%s", name, g.path, text, want)
	}
}
