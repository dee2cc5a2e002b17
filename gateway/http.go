package gateway

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

// ServeHTTP serves /mcp and /mcp/{upstream}. The order of checks is fixed:
// limits, Host and Origin, bearer, strict parse, era and headers,
// and then what the method's own function does.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint, ok := endpointOf(r.URL.Path)
	if !ok {
		g.unknownSender(r, "mcp.endpoint")
		plain(w, http.StatusNotFound, "no such endpoint; use /mcp or /mcp/{upstream}")
		return
	}
	// A request with both Content-Length and Transfer-Encoding shows here as
	// chunked alone. Whatever follows a chunked body on its connection is not
	// read, so nothing can be smuggled behind one (RFC 9112 6.1).
	if len(r.TransferEncoding) > 0 {
		w.Header().Set("Connection", "close")
	}
	if !g.hostAllowed(r.Host) {
		g.unknownSender(r, "mcp.host")
		plain(w, http.StatusForbidden, "this host name is not served here; add it to publicUrl")
		return
	}
	origin, ok := g.originAllowed(r)
	if !ok {
		g.unknownSender(r, "mcp.origin")
		plain(w, http.StatusForbidden, "this origin is not allowed; add it to allowedOrigins")
		return
	}
	if origin != "" {
		g.cors(w.Header(), origin, r.Header.Get("Access-Control-Request-Headers"))
	}
	if r.Method == http.MethodOptions && origin != "" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	p, err := g.Verifier.Verify(r.Context(), r)
	if err != nil {
		g.unverified(w, r, err)
		return
	}
	if p.Ended != nil { // whatever is open then ends with it
		ctx, cancel := untilEnded(r.Context(), p.Ended)
		defer cancel()
		r = r.WithContext(ctx)
	}
	switch r.Method {
	case http.MethodPost:
		g.post(w, r, p, endpoint)
	case http.MethodGet:
		g.get(w, r, p, endpoint)
	case http.MethodDelete:
		g.delete(w, r, p, endpoint)
	default:
		w.Header().Set("Allow", "GET, POST, DELETE, OPTIONS")
		g.unread(w, r, p, endpoint, refuse(http.StatusMethodNotAllowed, codeInvalidRequest, "http_method", "use POST, GET or DELETE"))
	}
}

// endpointOf is the endpoint that a path names: federation.Merged for /mcp,
// else the upstream's name.
func endpointOf(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/mcp")
	if !ok {
		return "", false
	}
	rest = strings.TrimSuffix(rest, "/")
	if rest == "" {
		return federation.Merged, true
	}
	name := rest[1:]
	if rest[0] != '/' || name == "" || strings.Contains(name, "/") {
		return "", false
	}
	return name, true
}

// hostAllowed stops DNS rebinding: a page that made its own name resolve to
// this address still sends its own name (MCP, Streamable HTTP, security).
func (g *Gateway) hostAllowed(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	return loopbackName(name) || slices.Contains(g.Hosts, host) || slices.Contains(g.Hosts, name)
}

func loopbackName(name string) bool {
	switch name {
	case "localhost", "127.0.0.1", "::1", "[::1]":
		return true
	}
	return false
}

// originAllowed reports whether the request's Origin may speak to us, and
// returns it when CORS headers are due. Browsers always send it on POST;
// other programs send none. A page on this very machine is let in without
// CORS, so a browser still withholds our answers from it.
func (g *Gateway) originAllowed(r *http.Request) (cors string, ok bool) {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return "", true
	}
	if len(values) > 1 {
		return "", false
	}
	origin := values[0]
	if slices.Contains(g.AllowedOrigins, origin) {
		return origin, true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != origin {
		return "", false
	}
	return "", loopbackName(u.Hostname()) && loopbackHost(r.Host) || u.Host == r.Host && slices.Contains(g.Hosts, u.Host)
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return loopbackName(host)
}

// cors answers for an allowed origin; asked is what a preflight wants to send.
// Which Mcp-Param-* there are, the tools' schemas say (SEP-2243).
func (g *Gateway) cors(h http.Header, origin, asked string) {
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin")
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, Last-Event-ID, Mcp-Session-Id, Mcp-Protocol-Version, Mcp-Method, Mcp-Name, Traceparent, Tracestate"+mirrored(asked))
	h.Set("Access-Control-Expose-Headers", "Mcp-Session-Id, WWW-Authenticate")
	h.Set("Access-Control-Max-Age", "600")
}

// mirrored are the Mcp-Param-* among the headers that a preflight names, each
// behind a comma.
func mirrored(asked string) string {
	var b strings.Builder
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		rest, ok := strings.CutPrefix(name, "mcp-param-")
		if ok && rest != "" && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" {
			b.WriteString(", " + name)
		}
	}
	return b.String()
}

// plain answers before a JSON-RPC message was read.
func plain(w http.ResponseWriter, status int, text string) {
	plainCode(w, status, codeInvalidRequest, text)
}

func plainCode(w http.ResponseWriter, status int, code int64, text string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(wire.AppendError(nil, nil, &wire.Error{Code: code, Message: text}))
}

var bodies = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// post serves one POSTed message.
func (g *Gateway) post(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint string) {
	if !g.quota.enter(p.Key(), g.Limits.Calls) {
		w.Header().Set("Retry-After", "1")
		plainCode(w, http.StatusTooManyRequests, CodeBusy, "too many requests of yours are in flight (limits.calls)")
		return
	}
	var x *exchange
	defer func() {
		if x == nil || !x.stands {
			g.quota.leave(p.Key())
		}
	}()
	g.running.Add(1)
	defer g.running.Done()

	refused := func(status int, reason, text string) {
		g.unread(w, r, p, endpoint, refuse(status, codeInvalidRequest, reason, text))
	}
	if ct, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(ct), "application/json") {
		refused(http.StatusUnsupportedMediaType, "media_type", "Content-Type must be application/json")
		return
	}
	if r.Header.Get("Content-Encoding") != "" {
		refused(http.StatusUnsupportedMediaType, "encoding", "Content-Encoding is not accepted; send the body as it is")
		return
	}
	accept := acceptOf(r.Header)
	if !accept.json && !accept.sse {
		refused(http.StatusNotAcceptable, "accept", "Accept must name application/json, text/event-stream or both")
		return
	}
	buf := bodies.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= 256<<10 { // a rare large body is left to the collector
			bodies.Put(buf)
		}
	}()
	body, err := readBody((*buf)[:0], r, g.Limits.Body)
	*buf = body
	if err != nil {
		if errors.Is(err, errTooLarge) {
			// A client that sends all before it reads would find its connection
			// reset instead of this answer.
			if r.Header.Get("Expect") == "" {
				_, _ = io.CopyN(io.Discard, r.Body, int64(g.Limits.Body))
			}
			w.Header().Set("Connection", "close")
			refused(http.StatusRequestEntityTooLarge, "too_large", "body over the limit (limits.body)")
			return
		}
		refused(http.StatusBadRequest, "body", "the body could not be read")
		return
	}
	if g.LegacySSE && r.URL.RawQuery != "" {
		if token := r.URL.Query().Get(sseSession); token != "" {
			g.postSSE(w, r, p, endpoint, token, body)
			return
		}
	}
	if wire.IsBatch(body) && g.serveBatch(w, r, p, endpoint, accept, body) {
		return
	}
	m, err := wire.Parse(body, g.parse)
	x = g.newExchange(r, p, endpoint, m)
	if err != nil {
		x.refuseParse(w, err)
		return
	}
	era, version, err := wire.EraOf(r.Header, m)
	x.era, x.version = era, version
	if err != nil {
		f := unsupported(r.Header.Get("Mcp-Protocol-Version"))
		f.text = err.Error()
		x.answerHTTP(w, f)
		return
	}
	x.accept = accept
	if f := x.overQuota(); f != nil {
		x.answerHTTP(w, f)
		return
	}
	if era == wire.Modern {
		x.serveModern(w, r)
	} else {
		x.serveLegacy(w, r)
	}
}

// get serves the legacy GET stream. MCP 2026-07-28 has none: 405.
func (g *Gateway) get(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint string) {
	if g.asksForSSE(r) {
		g.serveSSE(w, r, p, endpoint)
		return
	}
	s, ok := g.sessionOf(w, r, p, endpoint)
	if !ok {
		return
	}
	if !acceptOf(r.Header).sse {
		g.unread(w, r, p, endpoint, refuse(http.StatusNotAcceptable, codeInvalidRequest, "accept", "Accept must name text/event-stream"))
		return
	}
	g.running.Add(1)
	defer g.running.Done()
	s.serveGET(w, r)
}

// delete ends a legacy session.
func (g *Gateway) delete(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint string) {
	if _, ok := g.sessionOf(w, r, p, endpoint); !ok {
		return
	}
	if err := g.sessions.delete(r.Context(), p, endpoint, r.Header.Get("Mcp-Session-Id")); err != nil {
		g.noSession(w, r, p, endpoint, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// noSession answers when a session can't be had: it is not there, or the store
// can't say whether it was deleted, which is no permission to go on.
func (g *Gateway) noSession(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint string, err error) {
	if errors.Is(err, errNoSession) {
		g.unread(w, r, p, endpoint, refuse(http.StatusNotFound, codeInvalidRequest, "unknown_session", "no such session; send initialize again"))
		return
	}
	g.Logger.Error("session not found out", "error", err)
	w.Header().Set("Retry-After", "2")
	plainCode(w, http.StatusServiceUnavailable, CodeUnrecorded, "sessions can't be looked up now; try again")
}

// sessionOf opens the session that a GET or DELETE names, or answers why not.
func (g *Gateway) sessionOf(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint string) (*session, bool) {
	token := r.Header.Get("Mcp-Session-Id")
	if era, _, _ := wire.EraOf(r.Header, nil); era == wire.Modern || token == "" {
		w.Header().Set("Allow", "POST")
		g.unread(w, r, p, endpoint, refuse(http.StatusMethodNotAllowed, codeInvalidRequest, "no_session", "there is no session here; use POST (a legacy session needs Mcp-Session-Id)"))
		return nil, false
	}
	if len(r.Header.Values("Mcp-Session-Id")) > 1 { // readers differ in which one they take
		g.unread(w, r, p, endpoint, refuse(http.StatusBadRequest, codeInvalidRequest, "two_sessions", "Mcp-Session-Id is sent more than once"))
		return nil, false
	}
	s, err := g.sessions.open(r.Context(), p, endpoint, token)
	if err != nil {
		g.noSession(w, r, p, endpoint, err)
		return nil, false
	}
	return s, true
}

type accepts struct{ json, sse bool }

// acceptOf reads Accept. Absent means anything (RFC 9110 12.5.1); clients
// that name only one of the two types get only that one.
func acceptOf(h http.Header) accepts {
	values := h.Values("Accept")
	if len(values) == 0 {
		return accepts{true, true}
	}
	if len(values) == 1 && values[0] == "application/json, text/event-stream" { // what every SDK sends
		return accepts{true, true}
	}
	var a accepts
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			t, _, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(t)) {
			case "application/json", "application/*":
				a.json = true
			case "text/event-stream", "text/*":
				a.sse = true
			case "*/*":
				a.json, a.sse = true, true
			}
		}
	}
	return a
}

var errTooLarge = errors.New("too large")

// readBody appends the body to dst, at most limit bytes.
func readBody(dst []byte, r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength > int64(limit) {
		return dst, errTooLarge
	}
	if n := int(r.ContentLength); n > cap(dst) {
		dst = make([]byte, 0, n+1) // one more, so that the read that sees EOF needs no growth
	}
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := r.Body.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst) > limit {
			return dst, errTooLarge
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
}

// quota counts what each principal has in flight.
type quota struct {
	mu sync.Mutex
	n  map[string]int
}

func (q *quota) enter(key string, limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == nil {
		q.n = make(map[string]int)
	}
	if q.n[key] >= limit {
		return false
	}
	q.n[key]++
	return true
}

func (q *quota) leave(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n[key]--; q.n[key] <= 0 {
		delete(q.n, key)
	}
}

// answerHTTP sends a refusal as plain JSON, whatever the era.
func (x *exchange) answerHTTP(w http.ResponseWriter, f *refusal) {
	if x.reply != nil { // it may have become a stream meanwhile
		x.answer(nil, f)
		return
	}
	f = x.noteRefused(f)
	h := w.Header()
	maps.Copy(h, f.headers())
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(f.status)
	var id []byte
	if x.m != nil {
		id = x.m.ID
	}
	w.Write(wire.AppendError(nil, id, f.rpc()))
}

// refuseParse answers a message that the strict parse refused. Nothing of it
// is acted on; the record says why.
func (x *exchange) refuseParse(w http.ResponseWriter, err error) {
	f := refuse(http.StatusBadRequest, codeParse, "syntax", "not JSON")
	var pe *wire.ParseError
	if errors.As(err, &pe) {
		f.code, f.reason, f.text = pe.Code, pe.Reason, pe.Text
		x.m = &wire.Message{ID: pe.ID}
	}
	x.answerHTTP(w, f)
}
