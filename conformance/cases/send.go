package cases

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Limits of one step.
const (
	answerTime  = 60 * time.Second // until the whole answer is there
	answerBytes = 8 << 20          // of one answer's body
	quietTime   = 300 * time.Millisecond
)

// answer is what came back on a connection.
type answer struct {
	status  int
	header  http.Header
	head    string // status line and headers, as text
	body    []byte
	answers int  // on this connection
	closed  bool // by the target
}

// sending says how an answer is read.
type sending struct {
	more   bool          // wait a moment for a second answer, to see whether a second request was taken out of the same bytes
	unread time.Duration // read nothing for so long
	listen time.Duration // read for so long and hang up; 0 = to the end
}

// send writes bytes to the target and reads every answer on the connection.
func send(ctx context.Context, target *url.URL, message []byte, how sending) (*answer, error) {
	conn, err := dial(ctx, target)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	end := time.Now().Add(answerTime)
	if how.listen > 0 {
		end = time.Now().Add(how.listen)
	}
	if err := conn.SetDeadline(end); err != nil {
		return nil, err
	}
	// A target that refuses early may stop reading: what it answered counts.
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = conn.Write(message)
	}()
	defer func() { conn.Close(); <-written }()
	time.Sleep(how.unread)
	method, _, _ := strings.Cut(string(message[:min(16, len(message))]), " ")
	request := &http.Request{Method: method}
	r := bufio.NewReader(conn)
	a := &answer{}
	for {
		resp, err := http.ReadResponse(r, request)
		if err != nil {
			if a.answers == 0 && !isClosed(err) {
				return nil, fmt.Errorf("no answer: %w", err)
			}
			a.closed = a.closed || isClosed(err)
			return a, nil
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
		hungUp := how.listen > 0 && errors.Is(err, os.ErrDeadlineExceeded)
		if err != nil && !isClosed(err) && !hungUp {
			return nil, fmt.Errorf("answer's body: %w", err)
		}
		if a.answers++; a.answers == 1 {
			var head bytes.Buffer
			fmt.Fprintf(&head, "%s %s\n", resp.Proto, resp.Status)
			if err := resp.Header.Write(&head); err != nil {
				return nil, err
			}
			a.status, a.header, a.head, a.body = resp.StatusCode, resp.Header, head.String(), body
		}
		if resp.Close {
			a.closed = true
		}
		if !how.more || hungUp {
			return a, nil
		}
		if err := conn.SetReadDeadline(time.Now().Add(quietTime)); err != nil {
			return nil, err
		}
	}
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "broken pipe")
}

func dial(ctx context.Context, target *url.URL) (net.Conn, error) {
	host := target.Host
	if target.Scheme == "https" {
		if target.Port() == "" {
			host = net.JoinHostPort(host, "443")
		}
		return (&tls.Dialer{Config: &tls.Config{ServerName: target.Hostname(), NextProtos: []string{"http/1.1"}}}).DialContext(ctx, "tcp", host)
	}
	if target.Port() == "" {
		host = net.JoinHostPort(host, "80")
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", host)
}

// compose makes the bytes of a request section.
func compose(target *url.URL, text []byte) ([]byte, error) {
	head, body, _ := bytes.Cut(text, []byte("\n\n"))
	body = bytes.TrimSuffix(body, []byte("\n"))
	body = bytes.TrimSuffix(body, []byte("\n")) // the blank line before the next section
	first, rest, _ := strings.Cut(string(head), "\n")
	method, path, ok := strings.Cut(strings.TrimSpace(first), " ")
	if !ok {
		return nil, fmt.Errorf("first line is %q, want METHOD PATH", first)
	}
	var lines []string
	for line := range strings.Lines(rest) {
		line = strings.TrimRight(line, "\n")
		word, arg, _ := strings.Cut(line, " ")
		switch word {
		case "":
		case "@modern":
			lines = append(lines, "Content-Type: application/json", "Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2026-07-28")
			called, name, _ := strings.Cut(arg, " ")
			if called != "" {
				lines = append(lines, "Mcp-Method: "+called)
			}
			if name != "" {
				lines = append(lines, "Mcp-Name: "+name)
			}
		case "@legacy":
			lines = append(lines, "Content-Type: application/json", "Accept: application/json, text/event-stream", "MCP-Protocol-Version: "+arg)
		case "@gzip":
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			if _, err := z.Write(body); err != nil {
				return nil, err
			}
			if err := z.Close(); err != nil {
				return nil, err
			}
			body = b.Bytes()
		default:
			lines = append(lines, line)
		}
	}
	named := func(name string) bool {
		for _, l := range lines {
			if n, _, ok := strings.Cut(l, ":"); ok && strings.EqualFold(n, name) {
				return true
			}
		}
		return false
	}
	if !named("Host") {
		lines = append([]string{"Host: " + target.Host}, lines...)
	}
	if !named("Content-Length") && !named("Transfer-Encoding") && (len(body) > 0 || method == http.MethodPost) {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	if !named("Connection") {
		lines = append(lines, "Connection: close")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n%s\r\n\r\n", method, path, strings.Join(lines, "\r\n"))
	b.Write(body)
	return b.Bytes(), nil
}
