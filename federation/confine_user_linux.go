package federation

import (
	"cmp"
	"fmt"
	"os"
	osuser "os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/ostiary/ostiary/catalogs"
)

// account is whom a process runs as, where that is not the gateway's own user.
type account struct {
	name, dir string
	uid, gid  int
	groups    []uint32
}

// accountFor finds the account of a `user:` key by name or number; nil is the
// gateway's own.
func accountFor(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	u, err := osuser.Lookup(name)
	if err != nil {
		u, err = osuser.LookupId(name)
	}
	a := &account{name: name, dir: "/"}
	if err == nil {
		a.name, a.dir = u.Username, cmp.Or(u.HomeDir, "/")
		a.uid, _ = strconv.Atoi(u.Uid) // numbers, as everywhere on Unix
		a.gid, _ = strconv.Atoi(u.Gid)
		groups, _ := u.GroupIds() // without: fewer rights
		for _, g := range groups {
			if id, err := strconv.ParseUint(g, 10, 32); err == nil {
				a.groups = append(a.groups, uint32(id))
			}
		}
	} else if a.uid, err = strconv.Atoi(name); err == nil {
		a.gid = a.uid // a number needs no account
	} else {
		return nil, fmt.Errorf("user: there is no user %s here; create the account or mend the key", name)
	}
	switch own := os.Geteuid(); {
	case a.uid == own:
		return nil, nil
	case own != 0:
		return nil, fmt.Errorf("user: only root can run it as %s; run the gateway as root, or remove the key", a.name)
	}
	return a, nil
}

func (a *account) credential() *syscall.Credential {
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid), Groups: a.groups}
}

// home makes env that of the account, but for what the entry itself sets.
func (a *account) home(env []string, entry map[string]catalogs.Secret) []string {
	for name, value := range map[string]string{"HOME": a.dir, "USER": a.name, "LOGNAME": a.name} {
		if _, ok := entry[name]; ok {
			continue
		}
		env = slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// reads is the first of the paths that file modes alone don't keep from the
// account, "" when there is none.
func (a *account) reads(paths []string) string {
	for _, path := range paths {
		open := true
		for p := path; open && p != filepath.Dir(p); p = filepath.Dir(p) {
			bit := uint32(0o4) // to read it
			if p != path {
				bit = 0o1 // to pass through
			}
			var s syscall.Stat_t
			if syscall.Stat(p, &s) == nil {
				open = a.may(&s, bit)
			}
		}
		if open {
			return path
		}
	}
	return ""
}

// may judges as the kernel does: the first class that fits counts.
func (a *account) may(s *syscall.Stat_t, bit uint32) bool {
	switch {
	case int(s.Uid) == a.uid:
		return true // and if not: its owner can change that
	case int(s.Gid) == a.gid || slices.Contains(a.groups, s.Gid):
		return s.Mode>>3&bit != 0
	}
	return s.Mode&bit != 0
}
