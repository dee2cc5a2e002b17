package federation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Stages of ending a process (MCP, stdio, Shutdown).
const (
	termAfter    = 2 * time.Second        // of stdin closed, until SIGTERM
	killAfter    = 2 * time.Second        // more, until SIGKILL
	leftoverTime = 500 * time.Millisecond // for output that is left when the process is gone
)

// process is a running stdio upstream: its own process group, no shell, a
// minimal environment.
type process struct {
	cmd    *exec.Cmd
	stdin  *os.File // our end
	stdout *os.File // our end

	exited      chan struct{} // closed when it was waited for and its group is gone
	status      string        // how it ended; after exited
	confinement string        // by what it is confined; once it runs
	work        sync.WaitGroup
	closing     sync.Once
}

// start runs d's command. The error says what is wrong in the operator's
// words.
func start(d *dialConfig) (*process, error) {
	u := d.Upstream
	if u.Dir != "" {
		if info, err := os.Stat(u.Dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("the working directory %s does not exist", u.Dir)
		}
	}
	p := &process{cmd: exec.Command(u.Command[0], u.Command[1:]...), exited: make(chan struct{})}
	env, secrets := environment(d)
	p.cmd.Env, p.cmd.Dir = env, u.Dir
	p.cmd.SysProcAttr = ownGroup()
	// Pipes of our own: exec's would need a goroutine each, and have no
	// deadlines.
	var theirs [3]*os.File
	var stderr *os.File
	var errs [3]error
	theirs[0], p.stdin, errs[0] = os.Pipe()
	p.stdout, theirs[1], errs[1] = os.Pipe()
	stderr, theirs[2], errs[2] = os.Pipe()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	err := errors.Join(errs[:]...)
	if err == nil {
		err = p.launch(d)
	}
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		p.stdin.Close()
		p.stdout.Close()
		stderr.Close()
		return nil, err
	}
	log := newStderrLog(d, secrets)
	p.work.Go(func() {
		log.read(stderr)
		stderr.Close()
	})
	p.work.Go(func() {
		<-p.exited
		// What it wrote last is still in the pipes. Something that left its
		// group may hold them open for ever, though.
		soon := time.Now().Add(leftoverTime)
		p.stdout.SetReadDeadline(soon)
		stderr.SetReadDeadline(soon)
	})
	return p, nil
}

// run starts the process and a goroutine that waits for it. What admit says of
// it, if there is one, decides whether it may stay.
func (p *process) run(admit func() error) error {
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that started it ends
		// (PR_SET_PDEATHSIG), so that thread stays with it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		if admit != nil {
			if err := admit(); err != nil {
				killGroup(p.cmd.Process)
				p.cmd.Wait()
				started <- err
				return
			}
		}
		started <- nil
		p.cmd.Wait()
		// Whatever it started goes with it. The group's number can't have
		// been given away yet: it still has members, or was freed just now.
		killGroup(p.cmd.Process)
		p.status = p.cmd.ProcessState.String()
		close(p.exited)
	}()
	return <-started
}

func cannotStart(program string, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("program %s is not installed", program)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("program %s may not be executed", program)
	}
	return fmt.Errorf("program %s can't be started: %w", program, err)
}

// environment is what the process gets: a few variables of ours that programs
// need to run at all, the entry's own and the credential's. secrets are the
// values that must not turn up in a log.
func environment(d *dialConfig) (env, secrets []string) {
	vars := make(map[string]string)
	for _, name := range []string{"PATH", "HOME", "LANG", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			vars[name] = v
		}
	}
	for name, v := range d.Upstream.Env {
		vars[name] = v.Reveal()
		secrets = append(secrets, v.Reveal())
	}
	for name, v := range d.Credential.Environ {
		vars[name] = v.Reveal()
		secrets = append(secrets, v.Reveal())
	}
	for name, v := range vars {
		// The gateway's own configuration is no upstream's business, whoever
		// puts it into an entry.
		if !strings.HasPrefix(name, "OSTIARY_") {
			env = append(env, name+"="+v)
		}
	}
	slices.Sort(env)
	return env, secrets
}

// stop ends the process and everything in its group: stdin is closed, then
// SIGTERM, then SIGKILL. When ctx ends first, SIGKILL comes at once.
func (p *process) stop(ctx context.Context) {
	p.closing.Do(func() {
		p.stdin.Close()
		for _, step := range []struct {
			wait time.Duration
			then func(*os.Process)
		}{{termAfter, terminateGroup}, {killAfter, killGroup}} {
			if p.exitsWithin(ctx, step.wait) {
				break
			}
			step.then(p.cmd.Process)
		}
		<-p.exited
	})
	p.work.Wait()
}

func (p *process) exitsWithin(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.exited:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}
