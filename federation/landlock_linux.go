package federation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights that Landlock knows, by the version of its interface that brought
// them (landlock(7)).
const (
	landlockRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landlockV1   = landlockRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO |
		unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	landlockFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX // of which a file can have some
)

// landlockVersion is that of the kernel's interface, 0 for none.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// rules are a Landlock ruleset in the making.
type rules struct {
	fd            int
	rights        uint64 // all that are handled: what no rule allows is denied
	hidden, fixed []string
	problem       error
}

// restrict has Landlock deny this thread, and all that comes from it, what is
// hidden, what is not to be changed, and to trace, inspect or (since version
// 6) signal processes from outside.
//
// Landlock knows no exceptions from what is allowed. So each directory that
// leads to something hidden is left without a rule, and its other entries, as
// they are now, get one each: the program can neither list it nor make
// entries in it.
func (o *order) restrict() error {
	version := landlockVersion()
	if version == 0 {
		return errors.New("not in this kernel, or switched off")
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landlockV1}
	for since, right := range map[int]uint64{
		2: unix.LANDLOCK_ACCESS_FS_REFER, 3: unix.LANDLOCK_ACCESS_FS_TRUNCATE, 9: unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX,
	} {
		if version >= since {
			attr.Handled_access_fs |= right
		}
	}
	if version >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return fmt.Errorf("make rules: %w", errno)
	}
	defer unix.Close(int(fd))
	r := &rules{fd: int(fd), rights: attr.Handled_access_fs, hidden: o.Hidden, fixed: o.Fixed}
	r.allow("/")
	if r.problem != nil {
		return r.problem
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return fmt.Errorf("take effect: %w", errno)
	}
	return nil
}

// allow adds rules for everything below dir that the program may have.
func (r *rules) allow(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // what this process can't list, it can't reach
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.Type()&os.ModeSymlink != 0: // what it leads to counts
		case atOrBelow(r.hidden, path):
		case leadsToAny(r.hidden, path):
			r.allow(path)
		case atOrBelow(r.fixed, path):
			r.add(path, landlockRead|unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX, e.IsDir())
		case leadsToAny(r.fixed, path):
			r.add(path, landlockRead|unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX, e.IsDir())
			r.allow(path)
		default:
			r.add(path, r.rights, e.IsDir())
		}
	}
}

func (r *rules) add(path string, rights uint64, dir bool) {
	if !dir {
		rights &= landlockFile
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return // gone meanwhile, or out of reach
	}
	defer unix.Close(fd)
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights & r.rights, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 && r.problem == nil {
		r.problem = fmt.Errorf("allow %s: %w", path, errno)
	}
}

// atOrBelow says that path is one of those, or below one.
func atOrBelow(those []string, path string) bool {
	for _, t := range those {
		if path == t || strings.HasPrefix(path, t+"/") {
			return true
		}
	}
	return false
}

// leadsToAny says that one of those is below path.
func leadsToAny(those []string, path string) bool {
	for _, t := range those {
		if strings.HasPrefix(t, path+"/") {
			return true
		}
	}
	return false
}
