package federation

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ostiary/ostiary/catalogs"
)

// confinedFor is processFor through the shim.
func confinedFor(name string) *catalogs.Upstream {
	u := processFor(name)
	u.Confine = true
	return u
}

// had says whether a means can be had here.
var had = map[string]func() error{confinedByNamespace: tryOnce(confinedByNamespace), confinedByLandlock: tryOnce(confinedByLandlock)}

func tryOnce(means string) func() error {
	return sync.OnceValue(func() error {
		c, err := dial(context.Background(), dialConfig{Upstream: confinedFor("plain"), Shim: thisBinary, means: []string{means}})
		if err == nil {
			c.close(context.Background())
		}
		return err
	})
}

// byEach runs test with every means that can be had here.
func byEach(t *testing.T, test func(t *testing.T, d dialConfig)) {
	for _, means := range []string{confinedByNamespace, confinedByLandlock} {
		t.Run(means, func(t *testing.T) {
			d := dialConfig{Upstream: confinedFor("plain"), Confined: []string{t.TempDir()}, Shim: thisBinary, means: []string{means}}
			if err := had[means](); err != nil {
				isRefusal(t, err)
				return
			}
			test(t, d)
		})
	}
}

func TestConfinedProgramHasItsOwnEnvironmentAndNothingElse(t *testing.T) {
	byEach(t, func(t *testing.T, d dialConfig) {
		d.Upstream.Env["ODD"] = "a\xff b\n" // which no text format would carry
		d.Upstream.Command = append(d.Upstream.Command, "an argument", "--confine")
		var got [2]string
		for n, confine := range []bool{true, false} {
			d.Upstream.Confine = confine
			a, err := connect(t, d).do(t.Context(), toolNamed("env", 0))
			if err != nil {
				t.Fatal(err)
			}
			got[n] = string(a.Result)
		}
		if got[0] != got[1] || !strings.Contains(got[0], "ODD=a") {
			t.Errorf("confined   %s\nunconfined %s", got[0], got[1])
		}
		c := connect(t, dialConfig{Upstream: d.Upstream, Shim: d.Shim, Confined: d.Confined, means: d.means})
		pid := c.(*stdio).p.cmd.Process.Pid
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if want := strings.Join(d.Upstream.Command, "\x00") + "\x00"; string(cmdline) != want {
			t.Errorf("command line %q", cmdline)
		}
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		for _, fd := range fds {
			if link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name())); strings.HasPrefix(link, "socket:") {
				t.Errorf("descriptor %s of the shim is left", fd.Name())
			}
		}
	})
}

func TestShimChangesNothingAboutHowAProcessEnds(t *testing.T) {
	byEach(t, func(t *testing.T, d dialConfig) {
		leavesNothing(t)
		run := func(script string) string {
			d := d
			u := *d.Upstream
			u.Command = []string{"/bin/sh", "-c", script}
			d.Upstream = &u
			_, err := dial(t.Context(), d)
			return wantKind(t, err, ErrUnavailable).Detail
		}
		if s := run("read x; exit 4"); !strings.Contains(s, "exit status 4") {
			t.Error(s)
		}
		if s := run("read x; sh -c 'kill -9 $$'; exit $?"); !strings.Contains(s, "exit status 137") {
			t.Error(s)
		}
		c := connect(t, d)
		if _, err := c.do(t.Context(), toolNamed("crash", 0)); err == nil {
			t.Error("survived")
		}
		<-c.(*stdio).p.exited
		if s := c.(*stdio).p.status; s != "exit status 7" {
			t.Error(s)
		}
		// Closing its input is enough for one that is well-behaved.
		c = connect(t, d)
		began := time.Now()
		c.close(t.Context())
		if s := c.(*stdio).p.status; s != "exit status 0" || time.Since(began) >= termAfter {
			t.Error(s, time.Since(began))
		}
		// The others are killed.
		d.Upstream = confinedFor("plain stubborn")
		c = connect(t, d)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		c.close(ctx)
		// (Go's runtime ends with 2 where it can't end by a signal.)
		if s := c.(*stdio).p.status; s != "signal: killed" && s != "signal: terminated" && s != "exit status 2" {
			t.Error(s)
		}
	})
}

// withMark are the processes that have mark in their environment.
func withMark(mark string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if environ, _ := os.ReadFile(f); bytes.Contains(environ, []byte(mark)) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

func wantNoneWith(t *testing.T, mark string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); len(withMark(mark)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("processes %v are left", withMark(mark))
		}
	}
}

func TestConfinedUpstreamLeavesNoProcess(t *testing.T) {
	byEach(t, func(t *testing.T, d dialConfig) {
		leavesNothing(t)
		mark := "MARK=" + filepath.Base(t.TempDir()) + t.Name()
		d.Upstream.Env["MARK"] = catalogs.Secret(strings.TrimPrefix(mark, "MARK="))
		c := connect(t, d)
		if _, err := c.do(t.Context(), toolNamed("family", 0)); err != nil {
			t.Fatal(err)
		}
		// A process that was forked a moment ago may not show its environment yet.
		for deadline := time.Now().Add(20 * time.Second); len(withMark(mark)) != 3; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d processes", len(withMark(mark)))
			}
		}
		c.close(t.Context())
		wantNoneWith(t, mark)
	})
}

// One that left its group, even its session, can't leave its namespace.
func TestNamespaceEndsWithItsProgram(t *testing.T) {
	byEach(t, func(t *testing.T, d dialConfig) {
		if d.means[0] != confinedByNamespace {
			return
		}
		mark := "MARK=" + filepath.Base(t.TempDir()) + t.Name()
		d.Upstream.Env["MARK"] = catalogs.Secret(strings.TrimPrefix(mark, "MARK="))
		d.Upstream.Command = []string{"/bin/sh", "-c", "setsid sleep 60 >/dev/null 2>&1 </dev/null & exit 0"}
		_, err := dial(t.Context(), d)
		wantKind(t, err, ErrUnavailable)
		wantNoneWith(t, mark)
	})
}

// beGateway dials a confined upstream and says so, for a test to kill it.
func beGateway() {
	u := &catalogs.Upstream{Name: "up", Enabled: true, Confine: true, Command: []string{thisBinary}, Transport: catalogs.Stdio,
		Env: map[string]catalogs.Secret{"TEST_UPSTREAM": "plain stubborn", "MARK": catalogs.Secret(os.Getenv("TEST_MARK"))}}
	_, err := dial(context.Background(), dialConfig{Upstream: u, Shim: os.Args[0], means: []string{os.Getenv("TEST_MEANS")}})
	fmt.Println("dialed", err)
	select {}
}

func TestConfinedUpstreamDiesWithTheGateway(t *testing.T) {
	byEach(t, func(t *testing.T, d dialConfig) {
		value := filepath.Base(t.TempDir()) + d.means[0]
		gateway := exec.Command(os.Args[0])
		gateway.Env = []string{"TEST_HOSTILE=gateway", "TEST_MEANS=" + d.means[0], "TEST_MARK=" + value}
		out, err := gateway.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := gateway.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		if line != "dialed <nil>\n" || len(withMark("MARK="+value)) == 0 {
			t.Errorf("%q", line)
		}
		gateway.Process.Signal(syscall.SIGKILL)
		gateway.Wait()
		wantNoneWith(t, "MARK="+value)
	})
}

func TestConfinedProgramThatCantStartSaysWhy(t *testing.T) {
	byEach(t, func(t *testing.T, d dialConfig) {
		leavesNothing(t)
		dir := d.Confined[0]
		os.WriteFile(dir+"/inside", []byte("#!/bin/sh\n"), 0o700)
		os.Mkdir(dir+"/sub", 0o700)
		outside := t.TempDir()
		os.WriteFile(outside+"/text", nil, 0o600)
		os.WriteFile(outside+"/broken", []byte("#!/no/such/interpreter\n"), 0o700)
		for name, tt := range map[string]struct {
			change func(*catalogs.Upstream)
			words  string
		}{
			"no program":        {func(u *catalogs.Upstream) { u.Command = []string{"no-such-program-here"} }, "is not installed"},
			"not executable":    {func(u *catalogs.Upstream) { u.Command = []string{outside + "/text"} }, "may not be executed"},
			"no interpreter":    {func(u *catalogs.Upstream) { u.Command = []string{outside + "/broken"} }, "is not installed"},
			"in a hidden place": {func(u *catalogs.Upstream) { u.Command = []string{dir + "/inside"} }, "program " + dir + "/inside"},
			"works in a hidden one": {func(u *catalogs.Upstream) {
				u.Dir = dir + "/sub"
				u.Command = []string{"/bin/sh", "-c", "read x; ls . || exit 9"}
			}, ""},
		} {
			u := confinedFor("plain")
			tt.change(u)
			d.Upstream = u
			_, err := dial(t.Context(), d)
			if f := wantKind(t, err, ErrUnavailable); !strings.Contains(f.Detail, tt.words) || strings.Contains(f.Detail, "can't be confined") {
				t.Errorf("%s: %v", name, f)
			}
		}
	})
}

func TestMeansAreTriedInOrder(t *testing.T) {
	leavesNothing(t)
	d := dialConfig{Upstream: confinedFor("plain"), Shim: thisBinary, means: []string{"magic", confinedByNamespace, confinedByLandlock}}
	c, err := dial(t.Context(), d)
	if err != nil {
		isRefusal(t, err)
	} else {
		if by := c.(*stdio).p.confinement; by != confinedByNamespace && by != confinedByLandlock {
			t.Error(by)
		}
		c.close(t.Context())
	}

	d.means = []string{"magic", "luck"}
	_, err = dial(t.Context(), d)
	isRefusal(t, err)
	if f := wantKind(t, err, ErrUnavailable); !strings.Contains(f.Detail, "(magic: unknown to this shim; luck: unknown to this shim)") {
		t.Error(f.Detail)
	}
	// A program that is no shim confines nothing: it is not taken for one.
	for _, shim := range []string{"", "/bin/false", "/bin/ls", "/no/such/program"} {
		d.Shim, d.means = shim, nil
		_, err = dial(t.Context(), d)
		isRefusal(t, err)
	}
}

// All of it again as somebody who is not root.
func TestConfinementWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		return // these tests are that test
	}
	dir, err := os.MkdirTemp("", "ostiary-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	self := exec.Command(thisBinary, "-test.run=^(TestConfinedUpstream.*|TestShim.*)$", "-test.v")
	self.Dir = "/"
	self.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}
	self.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := self.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
}

func TestUserGetsTheirOwnHome(t *testing.T) {
	if os.Geteuid() != 0 {
		u := confinedFor("plain")
		u.User = "0"
		_, err := dial(t.Context(), dialConfig{Upstream: u, Shim: thisBinary})
		if f := wantKind(t, err, ErrUnavailable); !strings.Contains(f.Detail, "only root can run it as root") {
			t.Error(f)
		}
		return
	}
	for _, confine := range []bool{true, false} {
		u := processFor("plain")
		u.Command, u.User, u.Confine, u.Env["LOGNAME"] = []string{thisBinary}, otherUser, confine, "mine"
		c := connect(t, dialConfig{Upstream: u, Shim: thisBinary})
		a, err := c.do(t.Context(), toolNamed("env", 0))
		if err != nil {
			t.Fatal(err)
		}
		var env []string
		json.Unmarshal(a.Result, &env)
		if who, err := accountFor(otherUser); err != nil || !slices.Contains(env, "HOME="+who.dir) || !slices.Contains(env, "LOGNAME=mine") || !slices.Contains(env, "USER="+who.name) {
			t.Error(env, err)
		}
		var s unix.Stat_t
		unix.Stat(fmt.Sprintf("/proc/%d", c.(*stdio).p.cmd.Process.Pid), &s)
		if s.Uid != 65533 || s.Gid != 65533 {
			t.Errorf("runs as %d:%d", s.Uid, s.Gid)
		}
		if by := c.(*stdio).p.confinement; !strings.HasPrefix(by, confinedByUser) {
			t.Error(by)
		}
	}
}

// Its own user alone protects only what modes protect.
func TestUserAloneNeedsClosedDirectories(t *testing.T) {
	if os.Geteuid() != 0 {
		return // TestUserGetsTheirOwnHome has the words
	}
	dir, err := os.MkdirTemp("", "ostiary-open-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	u := confinedFor("plain")
	u.Command, u.User = []string{thisBinary}, otherUser
	d := dialConfig{Upstream: u, Shim: thisBinary, Confined: []string{dir}, means: []string{confinedByUser}}
	for mode, open := range map[os.FileMode]bool{0o700: false, 0o711: false, 0o744: true, 0o755: true} {
		os.Chmod(dir, mode)
		c, err := dial(t.Context(), d)
		if open != (err != nil) {
			t.Errorf("%o: %v", mode, err)
		}
		if err != nil {
			isRefusal(t, err)
		} else {
			c.close(t.Context())
		}
	}
}

func TestRootsGatewayHidesItsMemory(t *testing.T) {
	if err := HideMemory(); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	dumpable, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0)
	if want := uintptr(min(os.Geteuid(), 1)); errno != 0 || dumpable != want {
		t.Errorf("%d, want %d", dumpable, want)
	}
	// And still confines.
	for _, means := range []string{confinedByNamespace, confinedByLandlock} {
		if after := tryOnce(means)(); (after == nil) != (had[means]() == nil) {
			t.Errorf("%s: %v", means, after)
		}
	}
}
