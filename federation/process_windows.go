package federation

import (
	"os"
	"syscall"
)

// ownGroup detaches a process from the gateway's console signals.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func terminateGroup(p *os.Process) { p.Kill() }
func killGroup(p *os.Process)      { p.Kill() }
