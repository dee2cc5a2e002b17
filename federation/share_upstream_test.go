package federation

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ostiary/ostiary/catalogs"
)

// gossip is a legacy upstream that says of every call who made it: in its
// answer, and in notifications of every kind, some of them too late, some of
// them under a wrong name. It is both a process and an HTTP server.
type gossip struct {
	hello json.RawMessage // params of initialize
}

const gossipHello = `{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"logging":{},"resources":{"subscribe":true}},"serverInfo":{"name":"gossip","version":"1"}}`

func init() {
	if os.Getenv("TEST_GOSSIP") != "" {
		gossipOverPipes()
		os.Exit(0)
	}
}

// talk answers m. What goes to say is of the call's own stream, where the
// transport has such; aside is the one for what belongs to no call.
func (g *gossip) talk(m rpc, instance string, say, aside func(string)) {
	var p struct {
		URI       string
		Arguments struct {
			Who string
			N   int
		}
	}
	json.Unmarshal(m.Params, &p)
	canary := fmt.Sprintf("%s-%d.", p.Arguments.Who, p.Arguments.N)
	log := func() string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":%q}}`, canary)
	}
	progress := func(token string) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1,"message":%q}}`, token, canary)
	}
	switch m.Method {
	case "initialize":
		g.hello = m.Params
		say(m.result(gossipHello))
	case "server/discover":
		say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, m.ID))
	case "tools/call":
		if visit(m, say, aside) {
			return
		}
		aside(log())
		say(log())
		say(progress(m.token()))
		say(progress("987654321"))
		aside(progress(`"nobody's"`))
		aside(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"x://%s"}}`, p.Arguments.Who))
		aside(fmt.Sprintf(`{"jsonrpc":"2.0","id":"q%d","method":"elicitation/create","params":{"message":%q}}`, p.Arguments.N, canary))
		say(m.result(fmt.Sprintf(`{"canary":%q,"instance":%q,"hello":%s}`, canary, instance, g.hello)))
		aside(log())
		aside(progress(m.token()))
	default:
		if m.ID != nil && m.Method != "" {
			say(m.result(`{}`))
		}
	}
}

func gossipOverPipes() {
	var g gossip
	var mu sync.Mutex
	say := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(s)
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var m rpc
		json.Unmarshal(in.Bytes(), &m)
		if m.Method == "tools/call" {
			go g.talk(m, strconv.Itoa(os.Getpid()), say, say)
		} else {
			g.talk(m, "", say, say)
		}
	}
}

// gossipOverHTTP serves sessions. What belongs to no call goes to the GET
// stream of its session.
func gossipOverHTTP(t *testing.T) string {
	var mu sync.Mutex
	sessions := map[string]*gossip{}
	streams := map[string]chan string{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		stream := streams[r.Header.Get("Mcp-Session-Id")]
		mu.Unlock()
		send := sendEvents(w)
		for {
			select {
			case s := <-stream:
				send(s)
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("DELETE /", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		m := readRPC(r)
		id := r.Header.Get("Mcp-Session-Id")
		mu.Lock()
		if m.Method == "initialize" {
			id = fmt.Sprintf("session-%d", len(sessions))
			sessions[id], streams[id] = &gossip{}, make(chan string, 4096)
			w.Header().Set("Mcp-Session-Id", id)
		}
		g, stream := sessions[id], streams[id]
		mu.Unlock()
		switch {
		case g == nil:
			sendJSON(w, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Bad Request"}}`)
		case m.ID == nil || m.Method == "":
			w.WriteHeader(202)
		default:
			aside := func(s string) {
				select {
				case stream <- s:
				default:
				}
			}
			g.talk(m, id, sendEvents(w), aside)
		}
	})
	s := newServer(t, mux)
	return s
}

// gossipEntries are its two forms.
func gossipEntries(t *testing.T) map[string]*catalogs.Upstream {
	process := processFor("")
	process.Env["TEST_GOSSIP"] = "yes"
	remote := entryFor(gossipOverHTTP(t))
	return map[string]*catalogs.Upstream{"stdio": process, "http": remote}
}

// names of whom a notification is about.
func about(params []byte) string {
	var p struct{ Data, Message, URI string }
	json.Unmarshal(params, &p)
	return strings.TrimSpace(p.Data + p.Message + p.URI)
}
