package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// CPUs of the benchmark, by place among those that this process may use.
const (
	loadCPU   = 0 // load and upstream
	serverCPU = 1 // the server under test
)

// child is a server that the benchmark started.
type child struct {
	cmd   *exec.Cmd
	url   string        // without path
	ended chan struct{} // closed when the process was reaped
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop asks it to end and waits; it is killed when it takes too long.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-c.ended:
	case <-time.After(5 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

// startChild starts this program again with args, on one CPU, and waits for
// the URL that it says: a line on stdout, or serve's "serving" record on
// stderr.
func startChild(ctx context.Context, cpu int, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: selfCommand(ctx, self, args...), ended: make(chan struct{})}
	said, w := io.Pipe()
	var tail lastBytes
	c.cmd.Stdout, c.cmd.Stderr = w, io.MultiWriter(&tail, w)
	if err := startPinned(c.cmd, cpu); err != nil {
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait() // how it ended is told by tail
		w.Close()
		close(c.ended)
	}()
	found := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if url := urlIn(lines.Bytes()); url != "" {
				found <- url
				break
			}
		}
		_, _ = io.Copy(io.Discard, said) // a full pipe would block the child
	}()
	select {
	case c.url = <-found:
		return c, nil
	case <-c.ended:
		err = errors.New("it ended")
	case <-time.After(benchStartTime):
		err = errors.New("it does not say its address")
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.stop()
	return nil, fmt.Errorf("%s: %w: %s", args[0], err, tail.String())
}

// urlIn is the base URL that a line says, or "".
func urlIn(line []byte) string {
	if bytes.HasPrefix(line, []byte("http://")) {
		return string(line)
	}
	var record struct{ Msg, URL string }
	if json.Unmarshal(line, &record) == nil && record.Msg == "serving" {
		return strings.TrimSuffix(record.URL, "/mcp")
	}
	return ""
}

// selfCommand ends with ctx in good order, later by force.
func selfCommand(ctx context.Context, self string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// lastBytes keeps the end of what is written to it. Safe for concurrent use.
type lastBytes struct {
	mu  sync.Mutex
	end []byte
}

// keptBytes is how much of a child's words an error shows.
const keptBytes = 1024

func (l *lastBytes) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end = append(l.end, p...)
	if len(l.end) > keptBytes {
		l.end = bytes.Clone(l.end[len(l.end)-keptBytes:])
	}
	return len(p), nil
}

func (l *lastBytes) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.TrimSpace(l.end))
}
