package federation

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/ostiary/ostiary/gateway/wire"
)

// BenchmarkCall is one small tools/call over loopback to an upstream that
// costs next to nothing, so that what is measured is the connection.
func BenchmarkCall(b *testing.B) {
	for _, e := range []wire.Era{wire.Modern, wire.Legacy} {
		b.Run(e.String(), func(b *testing.B) {
			c, err := dial(b.Context(), dialConfig{Upstream: entryFor(bareUpstream(b)), Era: &e})
			if err != nil {
				b.Fatal(err)
			}
			defer c.close(b.Context())
			call := echoCall()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.do(b.Context(), call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("stdio", func(b *testing.B) {
		c, err := dial(b.Context(), dialConfig{Upstream: processFor("plain")})
		if err != nil {
			b.Fatal(err)
		}
		defer c.close(b.Context())
		call := echoCall()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.do(b.Context(), call); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// bareUpstream answers on raw sockets with as little as possible.
func bareUpstream(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	serve := func(conn net.Conn) {
		defer conn.Close()
		in := bufio.NewReader(conn)
		for {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			_, id, _ := strings.Cut(string(body), `"id":`)
			id, _, _ = strings.Cut(id, ",")
			result := `{"content":[{"type":"text","text":"0123456789abcdef"}]}`
			switch {
			case strings.Contains(string(body), "server/discover"):
				result = discoverResult
			case strings.Contains(string(body), `"initialize"`):
				result = helloResult
			case r.Method != "POST" || strings.Contains(string(body), "notifications/"):
				io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
				continue
			}
			answer := `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(answer))+"\r\n\r\n"+answer)
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return "http://" + l.Addr().String()
}
