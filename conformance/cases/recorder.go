package cases

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Recorder is a set of upstreams that remember what reached them. Where a case
// says nothing, they behave; else they do to one step's requests what its
// script says. Each has a path of its own and stands in the target's catalog
// (Catalog). All offer these tools:
//
//	echo    gives its arguments back as text, byte for byte
//	region  has parameters that modern clients mirror into Mcp-Param-Region
//	        (a string) and Mcp-Param-Count (an integer)
//	other   a second target, to tell which of two was meant
//	hasty   is echo with a very short time limit in the catalog
//	shaped  has an output schema
//
// The zero value is ready. It is safe for concurrent use.
type Recorder struct {
	mu      sync.Mutex
	hits    []Hit
	counts  map[string]int      // requests by upstream and method
	replies []Hit               // responses that the gateway posted
	lost    map[string]bool     // sessions that are gone
	opened  map[string]int      // sessions by upstream
	playing map[string]*playing // by upstream
	streams map[string]map[chan struct{}]bool
}

// playing is a script and how often it was played.
type playing struct {
	*script
	n int
}

// Hit is one request that acted: not a list, not a handshake.
type Hit struct {
	Upstream string
	Method   string
	Body     []byte
	Header   http.Header
}

// asked is one request as a script sees it.
type asked struct {
	upstream  string
	id, token json.RawMessage
	n         int // that the script answers, 1 first
	replies   int // there were when it began
}

// acting are the methods that do something at an upstream.
var acting = []string{"tools/call", "prompts/get", "resources/read", "completion/complete"}

// message is what a Recorder reads of what it gets.
type message struct {
	ID     json.RawMessage
	Method string
	Result json.RawMessage
	Error  json.RawMessage
	Params struct {
		Name      string
		Arguments json.RawMessage
		Cursor    string
		Meta      map[string]json.RawMessage `json:"_meta"`
	}
}

func (m *message) modern() bool {
	_, ok := m.Params.Meta["io.modelcontextprotocol/protocolVersion"]
	return ok
}

func (rec *Recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, ok := nameOf(r.URL.Path)
	if !ok {
		// Nobody was told to come here: a redirect was followed.
		rec.remember(Hit{Upstream: elsewhere, Method: r.Method, Header: r.Header.Clone()})
		return
	}
	session := r.Header.Get("Mcp-Session-Id")
	rec.mu.Lock()
	gone := rec.lost[session]
	rec.mu.Unlock()
	switch {
	case gone:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPost:
		rec.post(w, r, name)
	case r.Method == http.MethodGet && lists(name) && eraOf(name) == legacy:
		rec.stream(w, r, name, "")
	case r.Method == http.MethodDelete:
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (rec *Recorder) post(w http.ResponseWriter, r *http.Request, name string) {
	body, err := rec.body(r, name)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if m.Method == "" && (m.Result != nil || m.Error != nil) {
		rec.mu.Lock()
		rec.replies = append(rec.replies, Hit{Upstream: name, Body: body})
		rec.mu.Unlock()
	}
	if m.ID == nil || m.Method == "" {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	if slices.Contains(acting, m.Method) {
		rec.remember(Hit{Upstream: name, Method: m.Method, Body: body, Header: r.Header.Clone()})
	}
	if s, in := rec.next(name, &m); s != nil {
		rec.play(s, w, r, in)
		return
	}
	rec.behave(w, r, name, &m)
}

// body reads a request, slowly where the step says so and it is large.
func (rec *Recorder) body(r *http.Request, name string) ([]byte, error) {
	rec.mu.Lock()
	p := rec.playing[name]
	rec.mu.Unlock()
	if p != nil && p.slowly > 0 && r.ContentLength > int64(p.slowly) {
		return readSlowly(r, p.slowly)
	}
	return io.ReadAll(r.Body)
}

func (rec *Recorder) remember(h Hit) {
	if h.Upstream == control {
		return
	}
	rec.mu.Lock()
	rec.hits = append(rec.hits, h)
	rec.mu.Unlock()
}

// next is the script that answers a request of this step, if one does.
func (rec *Recorder) next(name string, m *message) (*script, *asked) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.counts == nil {
		rec.counts = map[string]int{}
	}
	rec.counts[name+" "+m.Method]++
	p := rec.playing[name]
	if p == nil || p.method != m.Method || len(p.acts) == 0 || p.times > 0 && p.n >= p.times {
		return nil, nil
	}
	p.n++
	token := m.Params.Meta["progressToken"]
	if token == nil {
		token = json.RawMessage("null")
	}
	return p.script, &asked{upstream: name, id: m.ID, token: token, n: p.n, replies: count(rec.replies, name)}
}

// begin makes an upstream follow a script, and tells who listens that its
// tools changed where the script is about them. The function ends it.
func (rec *Recorder) begin(name string, s *script) (end func()) {
	if s == nil {
		return func() {}
	}
	rec.mu.Lock()
	if rec.playing == nil {
		rec.playing = map[string]*playing{}
	}
	rec.playing[name] = &playing{script: s}
	rec.mu.Unlock()
	aboutLists := s.changed > 0 || s.method == "tools/list"
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; i < max(s.changed, 1) && aboutLists; i++ {
			rec.change(name)
			select {
			case <-stop:
				return
			case <-time.After(s.every):
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		rec.mu.Lock()
		delete(rec.playing, name)
		rec.mu.Unlock()
		if aboutLists {
			rec.change(name)
		}
	}
}

// lose forgets a session; who has none loses none.
func (rec *Recorder) lose(session string) {
	if session == "" {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.lost == nil {
		rec.lost = map[string]bool{}
	}
	rec.lost[session] = true
}

// awaitReply waits until more responses were posted than before.
func (rec *Recorder) awaitReply(in *asked, rest func(time.Duration) bool) bool {
	for range replyTime / tick {
		rec.mu.Lock()
		n := count(rec.replies, in.upstream)
		rec.mu.Unlock()
		if n > in.replies {
			return true
		}
		if !rest(tick) {
			return false
		}
	}
	return true // the step's expectations say what is missing
}

// nameOf is the upstream whose path this is. /mcp is the first one's too, for
// catalogs that were written by hand.
func nameOf(path string) (string, bool) {
	name := strings.TrimPrefix(path, "/")
	if name == "mcp" {
		name = plain
	}
	return name, slices.Contains(names(), name)
}
