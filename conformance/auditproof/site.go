package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// site is a gateway, its upstream and what the callers were told.
type site struct {
	ostiary, work, data string
	small               string // file system of the data directory; "" = none of its own
	config              string // of ostiary.yaml, besides the checkpoint file

	upstream upstream
	server   *http.Server
	listen   string
	process  *exec.Cmd
	calls    int // for ids
	answered int // calls that the caller was told to have run
	refused  int // calls that the caller was told not to have run
	slowest  time.Duration
	resumed  time.Duration
	words    []string
}

// open makes the upstream and the gateway's files.
func (s *site) open() error {
	s.upstream.hits = map[string]int{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.server = &http.Server{Handler: &s.upstream, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(l) }() // ends with close
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.listen = free.Addr().String()
	free.Close()
	catalog := fmt.Sprintf("upstreams:\n  hits:\n    url: http://%s/mcp\n    limits: {concurrency: 64}\n", l.Addr())
	return errors.Join(
		os.Mkdir(filepath.Join(s.work, "catalogs"), 0o700),
		os.WriteFile(filepath.Join(s.work, "catalogs", "hits.yaml"), []byte(catalog), 0o600),
	)
}

func (s *site) close() error {
	s.kill()
	var err error
	if s.small != "" {
		err = os.RemoveAll(s.data)
	}
	return errors.Join(err, s.server.Close())
}

// start runs the gateway until it answers that it is ready.
func (s *site) start(ctx context.Context) error {
	config := fmt.Sprintf("audit:\n  segmentSize: 256KiB\n  checkpoint:\n    every: 200ms\n    file: %s\n%s", s.outside(), s.config)
	file := filepath.Join(s.work, "ostiary.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.work, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process = exec.Command(s.ostiary, "serve", "--no-auth", "--config", file, "--listen", s.listen,
		"--catalogs", filepath.Join(s.work, "catalogs"), "--data", s.data)
	s.process.Dir, s.process.Stderr, s.process.Stdout = s.work, log, log
	if err := s.process.Start(); err != nil {
		return err
	}
	return s.until(ctx, "the gateway is ready", time.Minute, func() bool {
		answer, err := http.Get("http://" + s.listen + "/readyz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

func (s *site) outside() string { return filepath.Join(s.work, "checkpoints") }

// kill ends the gateway as a power cut would.
func (s *site) kill() {
	if s.process != nil {
		_ = s.process.Process.Kill() // it may be gone
		_ = s.process.Wait()
		s.process = nil
	}
}

// end lets it close in good order.
func (s *site) end() error {
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := s.process.Wait()
	s.process = nil
	return err
}

// until waits for a condition.
func (s *site) until(ctx context.Context, what string, limit time.Duration, ok func() bool) error {
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not within %v", what, limit)
		}
	}
	return nil
}

// verb runs one of the gateway's verbs on the data directory.
func (s *site) verb(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.ostiary, append(args, "--data", s.data)...)
	var errs bytes.Buffer
	cmd.Stderr, cmd.Dir = &errs, s.work
	cmd.Env = append(os.Environ(), "OSTIARY_CONFIG="+filepath.Join(s.work, "ostiary.yaml"))
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out, nil
}

// lastWords of the gateway's log.
func (s *site) lastWords() string {
	b, err := os.ReadFile(filepath.Join(s.work, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}
