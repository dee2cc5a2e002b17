//go:build !linux

package admin

import "net"

// checkPeer lets everybody in who reaches the socket: its mode and the key have
// to do here.
func checkPeer(*net.UnixConn) error { return nil }
