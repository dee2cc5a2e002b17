package federation

import "syscall"

// dieWithParent has the kernel end the process when the gateway dies without
// having had the time to.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
