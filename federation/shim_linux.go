package federation

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// shimName is argument 0, and the only one, of a process that is to become a
// confined upstream; its orders come on descriptor 3.
const (
	shimName = "ostiary: confining an upstream"
	shimLine = 3
)

// Shim must be the first thing that the main function of Config.Shim calls.
// In a process that was started to become a confined upstream it does that,
// and does not return. In every other process it does nothing.
//
// The program takes the shim's place: same process, same descriptors, same
// exit status. It may exec and fork at will, but has no capabilities and never
// gets any (PR_SET_NO_NEW_PRIVS), and dies with the gateway.
func Shim() {
	if len(os.Args) != 1 || os.Args[0] != shimName {
		return
	}
	// Landlock, capabilities and the like belong to a thread: this one will
	// be the program's.
	runtime.LockOSThread()
	unix.CloseOnExec(shimLine)
	line := os.NewFile(shimLine, "gateway")
	var o order
	if err := gob.NewDecoder(line).Decode(&o); err != nil {
		fmt.Fprintln(os.Stderr, "ostiary: no order from the gateway:", err)
		os.Exit(1)
	}
	out := gob.NewEncoder(line)
	if err := o.confine(); err != nil {
		out.Encode(report{Means: err.Error()}) // a gateway that is gone has killed us
		os.Exit(1)
	}
	if out.Encode(report{}) == nil {
		out.Encode(o.become())
	}
	os.Exit(1)
}

// become makes this process the program; it returns what kept it from that.
func (o *order) become() report {
	// Anew, also where it is there already: what it was when the process
	// started may since have been hidden.
	if err := unix.Chdir(o.Dir); err != nil {
		return failing("its working directory "+o.Dir, err)
	}
	return failing("", syscall.Exec(o.Path, o.Args, o.Env))
}

func failing(doing string, err error) report {
	errno, _ := errors.AsType[syscall.Errno](err) // as all errors of system calls
	return report{Doing: doing, Problem: errno}
}

// confine gives up whatever the program must not have.
func (o *order) confine() (err error) {
	// Again for this thread: it was set for another one of the process.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("die with the gateway: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	switch o.Means {
	case confinedByNamespace:
		err = o.mask()
	case confinedByLandlock:
		err = o.restrict()
	case confinedByUser: // that it is already
	default:
		err = errors.New("unknown to this shim")
	}
	if err != nil {
		return err
	}
	none := [2]unix.CapUserData{}
	if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// mask works in mount and process namespaces of the program's own: it puts
// nothing over what is hidden, and a /proc of its own over everyone's. A
// program without capabilities can't take that away; one that makes another
// namespace to get some finds these mounts locked (mount_namespaces(7)).
func (o *order) mask() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	const bare = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "/proc", "proc", bare, ""); err != nil {
		return fmt.Errorf("a /proc of its own: %w", err)
	}
	// A mount can't be renamed: nobody moves what is fixed out of the way by
	// the directories above it, to put something else in its place.
	for _, path := range o.Fixed {
		for _, above := range above(path) {
			if err := unix.Mount(above, above, "", unix.MS_BIND|unix.MS_REC, ""); errors.Is(err, fs.ErrPermission) {
				break // out of the program's reach, with all that is below
			} else if err != nil {
				return fmt.Errorf("keep %s in its place: %w", above, err)
			}
		}
	}
	for _, path := range o.Hidden {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			continue // hidden already
		case err != nil:
		case info.IsDir():
			err = unix.Mount("tmpfs", path, "tmpfs", bare|unix.MS_RDONLY, "mode=555,size=4k")
		default:
			err = unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("hide %s: %w", path, err)
		}
	}
	for _, path := range o.Fixed {
		err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, "")
		if err == nil {
			err = unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("write-protect %s: %w", path, err)
		}
	}
	return nil
}

// above are the directories that lead to path, the uppermost first, without
// the root.
func above(path string) []string {
	var dirs []string
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		dirs = append(dirs, dir)
	}
	slices.Reverse(dirs)
	return dirs
}
