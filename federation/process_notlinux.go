//go:build unix && !linux

package federation

import "syscall"

// dieWithParent has nothing to ask for here: a server sees its stdin closed
// when the gateway dies.
func dieWithParent(*syscall.SysProcAttr) {}
