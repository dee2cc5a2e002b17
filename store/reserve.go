package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	reserveFile    = "reserve"
	defaultReserve = 4 << 20
)

// reserve is disk space kept so that it can be given back when the disk is
// full: then verbs that take something away still commit, and all others get
// ErrFull until there is space for the reserve again. Of the writer alone.
type reserve struct {
	path string
	size int64 // negative: none
	low  bool  // it was given back, or could not be made
	fail func(point string) error
}

// make takes the space if the disk has it and half as much again: a reserve
// that takes the last bytes would be dropped at the next write.
func (r *reserve) make() error {
	if r.size < 0 {
		return nil
	}
	if err := r.fail("reserve"); err != nil {
		return fmt.Errorf("reserve space: %w", err)
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("reserve space: %w", err)
	}
	if err = r.fill(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(r.path) // a part of it is of no use, and may be all there is
		return fmt.Errorf("reserve space: %w", err)
	}
	return nil
}

func (r *reserve) fill(f *os.File) error {
	var has syscall.Stat_t
	var disk syscall.Statfs_t
	if err := errors.Join(syscall.Fstat(int(f.Fd()), &has), syscall.Fstatfs(int(f.Fd()), &disk)); err != nil {
		return err
	}
	lacks := r.size - has.Blocks*512
	if lacks <= 0 {
		return nil
	}
	if free := int64(disk.Bavail) * disk.Bsize; free < lacks+r.size/2 {
		return syscall.ENOSPC
	}
	err := syscall.Fallocate(int(f.Fd()), 0, 0, r.size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		_, err = f.WriteAt(make([]byte, r.size), 0)
	}
	return err
}

// drop gives the space back and says whether there was any.
func (r *reserve) drop() bool {
	if os.Remove(r.path) != nil {
		return false
	}
	r.low = true
	return true
}

// refill tries to make a lacking reserve again.
func (r *reserve) refill() {
	if r.low && r.make() == nil {
		r.low = false
	}
}

func newReserve(dir string, o Options) reserve {
	r := reserve{path: filepath.Join(dir, reserveFile), size: o.Reserve, fail: o.Fail}
	if r.size == 0 {
		r.size = defaultReserve
	}
	return r
}
