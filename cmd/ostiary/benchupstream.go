package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"github.com/ostiary/ostiary/gateway/wire"
)

// hiddenVerb finds the verbs that this program starts itself as; they are
// listed nowhere.
func hiddenVerb(name string) (verb, bool) {
	for _, v := range []verb{benchUpstreamVerb(), benchProxyVerb(), benchLoadVerb(), benchIllVerb()} {
		if v.name == name {
			return v, true
		}
	}
	return verb{}, false
}

// benchUpstreamVerb serves the fastest reasonable MCP server of both eras: an
// echo tool and as many look-alikes as asked for. It prints its address.
func benchUpstreamVerb() verb {
	return verb{name: "bench-upstream", short: "upstream of bench",
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			tools := fs.Int("tools", 500, "")
			return func(ctx context.Context, _ []string) error {
				return serveOnLoopback(ctx, newEcho(*tools), io)
			}
		}}
}

// benchProxyVerb serves the yardstick: a bare reverse proxy.
func benchProxyVerb() verb {
	return verb{name: "bench-proxy", short: "yardstick of bench",
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			to := fs.String("to", "", "")
			return func(ctx context.Context, _ []string) error {
				target, err := url.Parse(*to)
				if err != nil {
					return err
				}
				proxy := &httputil.ReverseProxy{
					Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
					// The default keeps 2 idle connections a host: it would measure dialling.
					Transport: &http.Transport{MaxIdleConnsPerHost: 256},
				}
				return serveOnLoopback(ctx, proxy, io)
			}
		}}
}

func serveOnLoopback(ctx context.Context, h http.Handler, io stdio) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "http://%s\n", ln.Addr())
	s := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout}
	context.AfterFunc(ctx, func() { s.Close() })
	if err := s.Serve(ln); ctx.Err() == nil {
		return err
	}
	return nil
}

// echo is an MCP server that answers from prepared bytes.
type echo struct {
	legacyList, modernList []byte
}

// Result members that only the modern era has.
const (
	modernComplete  = `,"resultType":"complete"`
	modernCacheable = `,"ttlMs":300000,"cacheScope":"private"` + modernComplete
)

func newEcho(tools int) *echo {
	list := []byte(`{"tools":[` + benchTool("echo"))
	for i := 1; i < tools; i++ {
		list = append(list, ',')
		list = append(list, benchTool("lookup_record_"+strconv.Itoa(i))...)
	}
	list = append(list, ']')
	return &echo{
		legacyList: append(bytes.Clone(list), '}'),
		modernList: append(bytes.Clone(list), modernCacheable+"}"...),
	}
}

// benchTool is a definition of about 540 bytes, as real ones have.
func benchTool(name string) string {
	return `{"name":"` + name + `","title":"Look a record up","description":"` +
		strings.Repeat("Finds records by key and returns what is known of them. ", 3) +
		`","inputSchema":{"type":"object","properties":{"text":{"type":"string","description":"What to look for"},"limit":{"type":"integer","minimum":1,"maximum":100},"kind":{"type":"string","enum":["any","open","closed"]}},"required":["text"]},"annotations":{"readOnlyHint":true,"openWorldHint":false}}`
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	body := make([]byte, 0, max(int(r.ContentLength), 512))
	buf := bytes.NewBuffer(body)
	if _, err := io.Copy(buf, http.MaxBytesReader(w, r.Body, 4<<20)); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	m, err := wire.Parse(buf.Bytes(), wire.Limits{})
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if m.Kind != wire.Request {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	_, modern := m.Meta.Get("io.modelcontextprotocol/protocolVersion")
	code, answer := http.StatusOK, []byte(nil)
	if result := e.result(m, modern); result != nil {
		answer = wire.AppendResult(nil, m.ID, result)
	} else {
		code = http.StatusNotFound
		answer = wire.AppendError(nil, m.ID, &wire.Error{Code: -32601, Message: "Method not found"})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.WriteHeader(code)
	_, _ = w.Write(answer) // the peer may be gone
}

// result is nil for a method that is not there.
func (e *echo) result(m *wire.Message, modern bool) []byte {
	switch {
	case m.Method == "tools/call":
		arguments, _ := m.Params.Get("arguments")
		text := []byte(`""`)
		if o, err := wire.Fields(arguments); err == nil {
			if t, ok := o.Get("text"); ok {
				text = t
			}
		}
		out := append([]byte(`{"content":[{"type":"text","text":`), text...)
		out = append(out, `}]`...)
		if modern {
			out = append(out, modernComplete...)
		}
		return append(out, '}')
	case m.Method == "tools/list" && modern:
		return e.modernList
	case m.Method == "tools/list":
		return e.legacyList
	case m.Method == "server/discover" && modern:
		return []byte(`{"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}` + modernCacheable + `}`)
	case m.Method == "initialize" && !modern:
		return []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}}`)
	case m.Method == "ping" && !modern:
		return []byte(`{}`)
	}
	return nil
}
