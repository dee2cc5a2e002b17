package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ostiary/ostiary/catalogs"
)

const thisBinary = "/proc/self/exe" // which runs as any user, wherever it lies

// otherUser has no account, and is not whom the tests run as.
const otherUser = "65533"

// house is a gateway's surroundings, with something to steal.
type house struct {
	prey
	content []byte
}

func newHouse(t *testing.T) *house {
	// Not t.TempDir, where another user would not get to what is theirs.
	base, err := os.MkdirTemp("", "ostiary-house-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	h := &house{content: []byte("canary-" + filepath.Base(base))}
	h.Data, h.Fixed, h.Scratch = filepath.Join(base, "house/data"), filepath.Join(base, "house/catalogs"), filepath.Join(base, "scratch")
	h.Key, h.Socket = filepath.Join(h.Data, "key"), filepath.Join(h.Data, "s")
	h.Canary, h.Address = string(h.content), uint64(uintptr(unsafe.Pointer(unsafe.SliceData(h.content))))
	h.Gateway = os.Getpid()
	if err := errors.Join(os.Chmod(base, 0o755),
		os.MkdirAll(h.Data, 0o700), os.MkdirAll(h.Fixed, 0o755), os.Mkdir(h.Scratch, 0o755), os.Chmod(h.Scratch, 0o777),
		os.WriteFile(h.Key, h.content, 0o600), os.WriteFile(filepath.Join(h.Fixed, "file"), nil, 0o644),
	); err != nil {
		t.Fatal(err)
	}
	// The path may be longer than a socket's can be.
	wd, _ := os.Open(h.Data)
	defer wd.Close()
	l, err := net.Listen("unix", filepath.Join("/proc/self/fd", strconv.Itoa(int(wd.Fd())), "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
	return h
}

// hostile is the entry of the hostile upstream.
func hostile() *catalogs.Upstream {
	u := processFor("")
	u.Command, u.Confine = []string{thisBinary}, true
	u.Env["TEST_HOSTILE"] = "server"
	return u
}

// dial dials u within h by one means, "" for the order of the house.
func (h *house) dial(t *testing.T, u *catalogs.Upstream, means string) (connection, error) {
	d := dialConfig{Upstream: u, Version: "1", Confined: []string{h.Data}, Fixed: []string{h.Fixed}, Shim: thisBinary}
	if means != "" {
		d.means = []string{means}
	}
	c, err := dial(t.Context(), d)
	if err == nil {
		t.Cleanup(func() { c.close(context.Background()) })
	}
	return c, err
}

// raid lets the hostile upstream loose and says what it got.
func (h *house) raid(t *testing.T, c connection, other connection) loot {
	t.Helper()
	p := h.prey
	p.Other = other.(*stdio).p.cmd.Process.Pid
	arguments, _ := json.Marshal(p)
	a, err := c.do(t.Context(), &Call{Method: "tools/call", Params: []byte(`{"name":"attack","arguments":` + string(arguments) + `}`)})
	if err != nil {
		t.Fatal(err)
	}
	var result struct{ Loot loot }
	if err := json.Unmarshal(a.Result, &result); err != nil {
		t.Fatalf("%s", a.Result)
	}
	return result.Loot
}

// isRefusal checks the words for where no means can be had.
func isRefusal(t *testing.T, err error) {
	t.Helper()
	for _, words := range []string{"can't be confined here (", "set confine: false to run it with this user's rights"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%v\nlacks %q", err, words)
		}
	}
}

// Promise 7, and what it rests on: a hostile program gets nothing.
func TestConfinedUpstreamGetsNothing(t *testing.T) {
	worked := 0
	for _, means := range []string{"namespace", "landlock", "user", "user, namespace", "user, landlock"} {
		t.Run(means, func(t *testing.T) {
			leavesNothing(t)
			h := newHouse(t)
			words := strings.Split(means, ", ")
			u, o := hostile(), processFor("plain")
			o.Command, o.Confine = u.Command, true
			o.Env["SECRET"] = "hunter22"
			if words[0] == "user" {
				u.User = otherUser
				// Those of one user are kept apart by the other means.
				if len(words) == 2 {
					o.User = u.User
				}
			}
			last := words[len(words)-1]
			c, err := h.dial(t, u, last)
			if err != nil {
				if os.Geteuid() != 0 && u.User != "" {
					if !strings.Contains(err.Error(), "only root can run it as") {
						t.Error(err)
					}
					return
				}
				isRefusal(t, err)
				t.Log(err)
				return
			}
			worked++
			if by := c.(*stdio).p.confinement; by != means {
				t.Errorf("confined by %q", by)
			}
			o.Confine = o.User != "" || last != "user"
			other, err := h.dial(t, o, last)
			if err != nil {
				t.Fatal(err)
			}
			got := h.raid(t, c, other)
			if last == "landlock" {
				// What its versions don't know yet: modes and owners (none
				// does), named sockets, signals.
				v := landlockVersion()
				got = slices.DeleteFunc(got, func(s string) bool {
					s = strings.TrimPrefix(s, "nested: ")
					return s == "chmod" || s == "socket" && v < 9 || strings.HasSuffix(s, ": kill") && v < 6
				})
			}
			if len(got) > 0 {
				t.Errorf("got %q", []string(got))
			}
			if content, err := os.ReadFile(h.Key); string(content) != h.Canary {
				t.Error("the key is gone:", err)
			}
			c.close(t.Context())
			other.close(t.Context())
		})
	}
	if worked == 0 && os.Geteuid() == 0 && kernelSince(5, 13) {
		t.Error("root can't confine anything on this kernel")
	}
}

func kernelSince(major, minor int) bool {
	var u unix.Utsname
	unix.Uname(&u)
	var v [2]int
	n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &v[0], &v[1])
	return n == 2 && (v[0] > major || v[0] == major && v[1] >= minor)
}

// Without confinement the same fixture gets what it tries to get, which shows
// that it tries well enough.
func TestUnconfinedUpstreamGetsEverything(t *testing.T) {
	h := newHouse(t)
	u, o := hostile(), processFor("plain")
	u.Confine = false
	c, err := h.dial(t, u, "")
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.dial(t, o, "")
	if err != nil {
		t.Fatal(err)
	}
	got := h.raid(t, c, other)
	c.close(t.Context()) // which ends its tracing of the other
	want := []string{
		"key", "key by ..", "key by /proc", "key by symbolic link", "key by hard link", "key by rename", "list", "write", "socket",
		"data moved", "fixed: new file", "fixed: write", "fixed: moved", "chmod", "remove", "privileges by exec",
		"gateway: environ", "gateway: maps", "gateway: mem", "gateway: cwd", "gateway: root", "gateway: fd", "gateway: ns",
		"gateway: key by root", "gateway: kill", "gateway: memory", "gateway: pidfd_getfd",
		"other: environ", "other: mem", "other: kill", "other: ptrace",
	}
	if os.Geteuid() == 0 {
		want = append(want, "capabilities", "mount", "kernel settings")
	}
	for _, what := range want {
		if !slices.Contains(got, what) {
			t.Errorf("did not get %s", what)
		}
	}
}
