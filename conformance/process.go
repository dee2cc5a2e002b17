package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second // until a process that we started answers
	stopTimeout  = 10 * time.Second // between TERM and KILL
)

// process is a server that we started.
type process struct {
	name string
	addr string // host:port
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan struct{} // closed when it ended

	bearer string // what a gateway lets in; "" = it asks for none
}

// start runs a program that listens on addr and waits until it accepts.
func start(ctx context.Context, name, addr, program string, args ...string) (*process, error) {
	p := &process{name: name, addr: addr, log: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopTimeout
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is told by its log, where anyone asks
	}()
	err := p.wait(ctx, func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// wait tries until ready succeeds, the process ends, or startTimeout is over.
func (p *process) wait(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready; its log ends:\n%s", p.name, tail(p.log.String(), 2000))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; its log ends:\n%s", p.name, err, tail(p.log.String(), 2000))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// startFixture runs the suite's upstream for one revision.
func startFixture(ctx context.Context, program string, r revision) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	stateless := strconv.FormatBool(r.upstream == modern)
	return start(ctx, "everything-server for "+r.name, addr, program, "-http", addr, "-stateless="+stateless)
}

// startGateway runs ostiary with these upstreams (name → URL), lets who sign in
// (nil = it runs without sign-in), and waits until each endpoint lists a tool of
// this name.
func startGateway(ctx context.Context, program, dir string, merged bool, upstreams map[string]string, tool string, who *person) (*process, error) {
	var endpoints []string
	for name := range upstreams {
		endpoint := "/mcp"
		if !merged {
			endpoint += "/" + name
		}
		endpoints = append(endpoints, endpoint)
	}
	return startWith(ctx, program, dir, catalog(upstreams, merged), endpoints, tool, who)
}

// startWith is startGateway for a catalog file.
func startWith(ctx context.Context, program, dir string, catalog []byte, endpoints []string, tool string, who *person) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	catalogs := filepath.Join(dir, "catalogs")
	if err := os.MkdirAll(catalogs, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(catalogs, "conformance.yaml"), catalog, 0o644); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	args := []string{"serve", "--listen", addr, "--catalogs", catalogs, "--data", data}
	if who == nil {
		args = append(args, "--no-auth")
	} else if err := who.known(ctx, program, data); err != nil {
		return nil, err
	}
	p, err := start(ctx, "ostiary", addr, program, args...)
	if err != nil {
		return nil, err
	}
	if who != nil {
		if p.bearer, err = who.bearer(ctx, localhost(addr)); err != nil {
			p.stop()
			return nil, fmt.Errorf("%w; the gateway's log ends:\n%s", err, tail(p.log.String(), 2000))
		}
	}
	for _, endpoint := range endpoints {
		url := "http://" + addr + endpoint
		if err := p.wait(ctx, func() error { return lists(ctx, url, p.bearer, tool) }); err != nil {
			p.stop()
			return nil, fmt.Errorf("%s: %w", url, err)
		}
	}
	return p, nil
}

// catalog declares the fixtures. Merged: names and URIs unchanged, since the
// scenarios call them by exact name.
func catalog(upstreams map[string]string, merged bool) []byte {
	var b bytes.Buffer
	b.WriteString("upstreams:\n")
	for name, url := range upstreams {
		fmt.Fprintf(&b, "  %s:\n    title: conformance, %s\n    url: %s\n", name, name, url)
		if merged {
			b.WriteString("    prefix: \"\"\n")
		}
	}
	return b.Bytes()
}

// lists asks for the tools at url as a modern agent does: one request, no
// session.
func lists(ctx context.Context, url, bearer, tool string) error {
	const list = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{` +
		`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(list))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
		"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list",
	} {
		req.Header.Set(name, value)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return err
	}
	if !bytes.Contains(body, []byte(strconv.Quote(tool))) {
		return fmt.Errorf("tools/list does not show %s: %s %s", tool, resp.Status, tail(string(body), 500))
	}
	return nil
}

// freeAddr is a loopback address where nobody listens now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// lockedBuffer keeps the end of what a process says.
type lockedBuffer struct {
	mu sync.Mutex
	b  []byte
}

// logKept bounds what is remembered of a process that talks a lot.
const logKept = 64 << 10

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if len(l.b) > 2*logKept {
		l.b = append(l.b[:0], l.b[len(l.b)-logKept:]...)
	}
	return len(p), nil
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
