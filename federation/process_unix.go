//go:build unix

package federation

import (
	"os"
	"syscall"
)

// ownGroup puts a process at the head of a group of its own, so that what it
// starts can be ended with it.
func ownGroup() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(attr)
	return attr
}

func terminateGroup(p *os.Process) { syscall.Kill(-p.Pid, syscall.SIGTERM) }
func killGroup(p *os.Process)      { syscall.Kill(-p.Pid, syscall.SIGKILL) }
