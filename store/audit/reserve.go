package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const reserveFile = "reserve"

// makeReserve takes Options.Reserve bytes from the disk, so that they can be
// given back when it is full. It is not an error of the log
// that there is no space for it now: the log is low.
func (l *Log) makeReserve() error {
	if l.Reserve < 0 {
		return nil
	}
	if err := l.Fail("reserve"); err != nil {
		return fmt.Errorf("reserve space: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(l.dir, reserveFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("reserve space: %w", err)
	}
	err = syscall.Fallocate(int(f.Fd()), 0, 0, l.Reserve)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		_, err = f.WriteAt(make([]byte, l.Reserve), 0)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name()) // a part of it is of no use, and may be all there is
		return fmt.Errorf("reserve space: %w", err)
	}
	return nil
}

// dropReserve gives the reserve back and says whether there was one. From then
// on only events and outcomes are recorded, until there is space for it again.
func (l *Log) dropReserve() bool {
	if os.Remove(filepath.Join(l.dir, reserveFile)) != nil {
		return false
	}
	l.setLow(true)
	return true
}

func (l *Log) setLow(low bool) {
	l.mu.Lock()
	changed := l.low != low
	l.low = low
	l.mu.Unlock()
	switch {
	case changed && low:
		l.Logger.Error("the disk is full: calls are refused, revocations are still recorded", "dir", l.dir)
	case changed:
		l.Logger.Info("the disk has space again", "dir", l.dir)
	}
}
