package federation

import (
	"cmp"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// shimTime is how long a shim may take until its program runs.
const shimTime = 20 * time.Second

// HideMemory keeps other processes of the same user out of the memory and the
// environment of this one, and it from dumping core. Call it once, at start.
//
// It is for root alone: to put an upstream into a user namespace, any other
// user must own the files of its child in /proc, which this takes away. Such a
// gateway is protected by the confinement itself.
func HideMemory() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// order is what the gateway tells a shim: what to run, and what to keep from
// it. It travels over a socket: arguments and environment of a process can be
// read by others, and act on the shim itself (LD_PRELOAD).
type order struct {
	Means  string
	Path   string
	Args   []string
	Env    []string
	Dir    string
	Hidden []string // files and directories that the program must not see into
	Fixed  []string // those that it must not change
}

// report is what a shim says: that it is confined, and then, if it could not
// become the program, why not.
type report struct {
	Means   string        // why the means can't be had; "" = confined
	Doing   string        // what of the program's own failed
	Problem syscall.Errno // and how; 0 = nothing
}

// confine starts the program of p.cmd confined, by the first means that can be
// had here. With `user:` it runs as that user, and a namespace or Landlock
// keeps it from others of the same user besides.
func (p *process) confine(d *dialConfig) error {
	u := d.Upstream
	who, err := accountFor(u.User)
	if err != nil {
		return err
	}
	program := p.cmd
	if who != nil {
		program.Env = who.home(program.Env, u.Env)
	}
	if !u.Confine {
		if who == nil {
			p.confinement = unconfined
		} else {
			program.SysProcAttr.Credential, p.confinement = who.credential(), confinedByUser
		}
		if err := p.run(nil); err != nil {
			return cannotStart(u.Command[0], err)
		}
		return nil
	}
	o := newOrder(d, program, who)
	means := d.means
	if means == nil {
		means = []string{confinedByNamespace, confinedByLandlock}
		if who != nil {
			means = append(means, confinedByUser)
		}
	}
	var reasons []error
	for _, o.Means = range means {
		err := p.obey(o, program, who, d.Shim)
		if reason, ok := errors.AsType[*meansError](err); ok {
			reasons = append(reasons, reason)
			continue
		}
		p.confinement = o.Means
		if who != nil && o.Means != confinedByUser {
			p.confinement = confinedByUser + ", " + o.Means
		}
		return err
	}
	return cannotConfine(reasons)
}

// newOrder says what to run and what to hide from it.
func newOrder(d *dialConfig, program *exec.Cmd, who *account) *order {
	o := &order{Path: program.Path, Args: program.Args, Env: program.Env, Dir: program.Dir}
	if o.Dir == "" {
		dir, _ := os.Getwd() // fails where it was deleted
		o.Dir = cmp.Or(dir, "/")
	}
	uid := os.Geteuid()
	if who != nil {
		uid = who.uid
	}
	o.Hidden = resolved(slices.Concat(d.Confined, doorsOut(uid)))
	o.Fixed = resolved(d.Fixed)
	if uid == 0 {
		// Root needs no capability to write what it owns: the kernel would
		// run any program that it puts into /proc/sys/kernel/core_pattern.
		o.Fixed = append(o.Fixed, "/proc", "/sys")
	}
	return o
}

// doorsOut are ways around any confinement: services that start programs for
// this user, or for root the disks themselves.
func doorsOut(uid int) []string {
	doors := []string{fmt.Sprintf("/run/user/%d", uid)}
	if uid != 0 {
		return doors
	}
	doors = append(doors, "/run/dbus", "/run/systemd/private")
	filepath.WalkDir("/dev", func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type()&os.ModeDevice != 0 && e.Type()&os.ModeCharDevice == 0 {
			doors = append(doors, path)
		}
		return nil // what can't be listed can't be opened
	})
	return doors
}

// resolved follows symbolic links. What does not exist needs no hiding.
func resolved(paths []string) []string {
	var real []string
	for _, path := range paths {
		if path, err := filepath.EvalSymlinks(path); err == nil {
			real = append(real, path)
		}
	}
	slices.Sort(real)
	return slices.Compact(real)
}

// obey starts a shim, hands it the order and waits until it has become the
// program. A *meansError says that the means can't be had.
func (p *process) obey(o *order, program *exec.Cmd, who *account, shim string) error {
	if shim == "" {
		return &meansError{o.Means, "this program has no shim"}
	}
	if o.Means == confinedByUser {
		if open := who.reads(o.Hidden); open != "" {
			return &meansError{o.Means, fmt.Sprintf("%s may read %s (chmod 700 helps)", who.name, open)}
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return cannotStart(o.Path, err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "shim"), os.NewFile(uintptr(pair[1]), "gateway")
	defer ours.Close()
	defer theirs.Close()

	p.cmd = &exec.Cmd{
		Path: shim, Args: []string{shimName}, Env: []string{}, SysProcAttr: shimAttributes(o.Means, who),
		Stdin: program.Stdin, Stdout: program.Stdout, Stderr: program.Stderr, ExtraFiles: []*os.File{theirs},
	}
	handed := false
	err = p.run(func() error {
		handed = true
		theirs.Close()
		return handOver(ours, o)
	})
	if err != nil && !handed {
		return &meansError{o.Means, err.Error()}
	}
	return err
}

// handOver gives the order and reads the reports, one if all is well: the
// shim's end is closed by the exec that makes it the program.
func handOver(shim *os.File, o *order) error {
	shim.SetDeadline(time.Now().Add(shimTime))
	if err := gob.NewEncoder(shim).Encode(o); err != nil {
		return &meansError{o.Means, "the shim does not listen: " + err.Error()}
	}
	in := gob.NewDecoder(shim)
	var r report
	if err := in.Decode(&r); err != nil {
		return &meansError{o.Means, "the shim does not answer: " + err.Error()}
	}
	if r.Means != "" {
		return &meansError{o.Means, r.Means}
	}
	switch err := in.Decode(&r); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("the shim of program %s does not answer: %w", o.Args[0], err)
	case r.Doing != "":
		return fmt.Errorf("%s: %w", r.Doing, r.Problem)
	}
	return cannotStart(o.Args[0], r.Problem)
}

// shimAttributes are those of a shim's process.
func shimAttributes(means string, who *account) *syscall.SysProcAttr {
	attr := ownGroup()
	// A session of its own, which is a group too: nothing can be typed into
	// the terminal that the gateway was started from.
	attr.Setpgid, attr.Setsid = false, true
	if who != nil {
		attr.Credential = who.credential()
	}
	if means != confinedByNamespace {
		return attr
	}
	attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC
	attr.UidMappings, attr.GidMappings = sameIDs("/proc/self/uid_map", os.Geteuid()), sameIDs("/proc/self/gid_map", os.Getegid())
	attr.GidMappingsEnableSetgroups = who != nil
	// The shim mounts; it drops this before it becomes the program.
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	return attr
}

// sameIDs maps ids to themselves: root all that there are, anyone else their
// own alone, which is what the kernel lets them.
func sameIDs(file string, own int) []syscall.SysProcIDMap {
	only := []syscall.SysProcIDMap{{ContainerID: own, HostID: own, Size: 1}}
	if os.Geteuid() != 0 {
		return only
	}
	f, err := os.Open(file)
	if err != nil {
		return only
	}
	defer f.Close()
	var all []syscall.SysProcIDMap
	for {
		var inside, outside, size int
		if _, err := fmt.Fscan(f, &inside, &outside, &size); err != nil {
			break
		}
		all = append(all, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: size})
	}
	if all == nil {
		return only
	}
	return all
}
