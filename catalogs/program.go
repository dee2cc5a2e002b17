package catalogs

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
)

// ErrNoProgram: the upstream has a url, so there is nothing to install.
var ErrNoProgram = errors.New("no program: the upstream has a url")

// Program is the path of the program that a stdio upstream runs. Load does not
// look for it: a program that is not installed makes its upstream unavailable,
// never the catalog. The error wraps exec.ErrNotFound or the file system's.
func (u *Upstream) Program() (string, error) {
	if len(u.Command) == 0 {
		return "", ErrNoProgram
	}
	name := u.Command[0]
	// With a directory in it, a relative name starts where the process does.
	if filepath.Base(name) != name && !filepath.IsAbs(name) && u.Dir != "" {
		name = filepath.Join(u.Dir, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("upstream %s: its program cannot be run; install it or correct command: %w", u.Name, err)
	}
	return path, nil
}
