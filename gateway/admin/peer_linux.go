package admin

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// checkPeer asks the kernel whose process is at the other end: the server's own
// user's or root's may come in.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		peer, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return err
	}
	if !mayAsk(peer.Uid, os.Getuid()) {
		return fmt.Errorf("a process of user %d", peer.Uid)
	}
	return nil
}

// mayAsk says whether a process of user peer may ask a server of user own.
func mayAsk(peer uint32, own int) bool { return peer == 0 || int64(peer) == int64(own) }
