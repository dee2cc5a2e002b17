//go:build !linux

package federation

import "errors"

// Shim does nothing here; see its form for Linux.
func Shim() {}

// HideMemory does nothing here; see its form for Linux.
func HideMemory() error { return nil }

// confine refuses: only Linux has means that this package knows.
func (p *process) confine(d *dialConfig) error {
	if d.Upstream.User != "" {
		return errors.New("user: running as another user works on Linux alone; remove the key")
	}
	return cannotConfine([]error{errors.New("that works on Linux alone")})
}
