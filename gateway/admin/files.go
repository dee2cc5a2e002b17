package admin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

const (
	socketFile = "admin.sock"
	keyFile    = "admin.key"

	// maxSocketPath is what fits into a Unix socket's address on every system
	// (108 bytes on Linux, 104 elsewhere, one of them for the end).
	maxSocketPath = 103

	maxKey = 256 // bytes of a key file that are read
)

// makeKey puts a new key beside the socket: complete or not at all, for its
// owner alone.
func makeKey(dir string) (string, error) {
	key := rand.Text()
	temp, err := os.CreateTemp(dir, keyFile+".new-*") // 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(temp.Name())
	_, err = temp.WriteString(key + "\n")
	if err = errors.Join(err, temp.Close()); err != nil {
		return "", err
	}
	return key, os.Rename(temp.Name(), filepath.Join(dir, keyFile))
}

// readKey reads the key of the server that runs on dir. One that others may
// read is not shown to anybody.
func readKey(dir string) (string, error) {
	path := filepath.Join(dir, keyFile)
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKey {
		return "", fmt.Errorf("%s is not a key file; restart the server, which makes it anew", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%s has mode %04o, so others may know it; restart the server, which makes it anew", path, mode)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(raw)), nil
}

// socketAddress is how the socket in dir is called, and what is to be closed
// once it has been bound or connected to. A path that is too long for a socket's
// address is reached through the open directory.
func socketAddress(dir string) (address string, done func() error, err error) {
	path := filepath.Join(dir, socketFile)
	if len(path) <= maxSocketPath {
		return path, func() error { return nil }, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	short := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketFile)
	if _, err := os.Stat(filepath.Dir(short)); err != nil {
		return "", nil, errors.Join(fmt.Errorf("the path %s is too long for a socket (over %d bytes); choose a shorter data directory", path, maxSocketPath), d.Close())
	}
	return short, d.Close, nil
}

// bind makes the socket of dir. A socket that nobody answers on is left over
// from a server that was killed, and goes.
func bind(dir string) (*net.UnixListener, error) {
	path := filepath.Join(dir, socketFile)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != os.ModeSocket:
		return nil, fmt.Errorf("%s is not a socket; move it away", path)
	default:
		if conn, err := dial(dir); err == nil {
			conn.Close()
			return nil, fmt.Errorf("another server answers on %s; stop it first", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	address, done, err := socketAddress(dir)
	if err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err := errors.Join(err, done()); err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // its name may be one of this moment only
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close(), os.Remove(path))
	}
	return ln, nil
}

// dial connects to the socket of dir.
func dial(dir string) (net.Conn, error) {
	address, done, err := socketAddress(dir)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("unix", address)
	if closeErr := done(); err == nil {
		err = closeErr
	}
	return conn, err
}
