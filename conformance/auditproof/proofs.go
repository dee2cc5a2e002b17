package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// killed kills the gateway at any moment, again and again, while it works.
func killed(ctx context.Context, s *site, rounds int) error {
	for round := range rounds {
		if err := s.start(ctx); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		stop := make(chan struct{})
		before := s.upstream.count()
		wait := s.load(ctx, round, stop)
		err := s.until(ctx, "calls run", time.Minute, func() bool { return s.upstream.count() > before+5 })
		time.Sleep(rand.N(150 * time.Millisecond))
		s.kill()
		close(stop)
		if err := errors.Join(err, wait()); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
	}
	// The last start reports what the last kill left open.
	if err := s.start(ctx); err != nil {
		return err
	}
	return s.end()
}

// trouble begins something that keeps the log from being written, shows that
// calls are refused meanwhile and served again after it ended, without a
// restart.
func (s *site) trouble(ctx context.Context, begin func() (end func() error, err error)) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	c, err := s.session(ctx)
	if err != nil {
		return err
	}
	if v, err := s.one(ctx, c); v != ran {
		return errors.Join(errors.New("a call on a sound disk did not run"), err)
	}
	end, err := begin()
	if err != nil {
		return err
	}
	refused := 0
	for began := time.Now(); refused < 5 && time.Since(began) < time.Minute; {
		v, err := s.one(ctx, c)
		if err != nil {
			return errors.Join(err, end())
		}
		if v == unavailable {
			refused++
		}
	}
	hits := s.upstream.count()
	for range 5 { // and nothing runs from now on
		if v, err := s.one(ctx, c); v != unavailable {
			return errors.Join(errors.New("a call was answered while nothing could be recorded"), err, end())
		}
	}
	if n := s.upstream.count(); n != hits || refused < 5 {
		return errors.Join(fmt.Errorf("%d calls were refused, %d ran while nothing could be recorded", refused, n-hits), end())
	}
	if err := end(); err != nil {
		return err
	}
	began := time.Now()
	var last error
	err = s.until(ctx, "calls are served again", deadline+patience, func() bool {
		v, err := s.one(ctx, c)
		last = err
		return v == ran || err != nil
	})
	s.resumed = time.Since(began)
	if err := errors.Join(err, last); err != nil {
		return err
	}
	s.words = append(s.words, fmt.Sprintf("slowest answer %.1f s, served again after %.2f s", s.slowest.Seconds(), s.resumed.Seconds()))
	return s.end()
}

// fullDisk fills the file system that the data directory lies on.
func fullDisk(ctx context.Context, s *site) error {
	return s.trouble(ctx, func() (func() error, error) {
		path := filepath.Join(s.small, "filler")
		f, err := os.Create(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		for block := make([]byte, 1<<20); len(block) > 0; {
			_, err := f.Write(block)
			if errors.Is(err, syscall.ENOSPC) {
				block = block[:len(block)/2]
			} else if err != nil {
				return nil, err
			}
		}
		return func() error { return os.Remove(path) }, nil
	})
}

// readOnly starts on a data directory that can't be written: it refuses.
func readOnly(ctx context.Context, s *site, dir string) error {
	out, err := exec.CommandContext(ctx, s.ostiary, "serve", "--no-auth", "--listen", s.listen,
		"--catalogs", filepath.Join(s.work, "catalogs"), "--data", filepath.Join(dir, "data")).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		return fmt.Errorf("it did not refuse to start: %v: %s", err, out)
	}
	s.words = append(s.words, "refused to start")
	return nil
}

// injected makes the syscalls on segments fail, or hang, with strace.
func injected(fault string) func(context.Context, *site) error {
	return func(ctx context.Context, s *site) error {
		return s.trouble(ctx, func() (func() error, error) {
			args := []string{"-f", "-qq", "-o", "/dev/null", "-e", "inject=" + fault}
			for n := range 40 {
				args = append(args, "-P", filepath.Join(s.data, "audit", fmt.Sprintf("segment-%08d.jsonl", n+1)))
			}
			strace := exec.Command("strace", append(args, "-p", fmt.Sprint(s.process.Process.Pid))...)
			strace.Stderr = os.Stderr
			if err := strace.Start(); err != nil {
				return nil, err
			}
			return func() error {
				err := strace.Process.Signal(os.Interrupt) // it lets go of the gateway
				_ = strace.Wait()                          // and ends by that signal
				return err
			}, nil
		})
	}
}

// hangingSink: a webhook that takes requests and never answers holds up nothing.
func hangingSink(ctx context.Context, s *site) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	s.config = fmt.Sprintf("    webhook: http://%s/never\n", l.Addr())
	if err := s.start(ctx); err != nil {
		return err
	}
	c, err := s.session(ctx)
	if err != nil {
		return err
	}
	for range 200 {
		if v, err := s.one(ctx, c); v != ran {
			return errors.Join(errors.New("a call did not run"), err)
		}
	}
	if s.slowest > patience {
		return fmt.Errorf("a call took %v", s.slowest)
	}
	s.words = append(s.words, fmt.Sprintf("slowest answer %.2f s", s.slowest.Seconds()))
	return s.end()
}
