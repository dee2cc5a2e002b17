// Package admin is the operator's door: a Unix socket in the data directory
// over which verbs speak to the server that owns it. What can be asked for is
// handed in by name; here is only who may ask, and how.
//
// Three locks, each enough by itself where the machine is as it should be: the
// socket is in a directory and has a mode for its owner alone; the peer's user
// is asked of the kernel; and each request shows a key from a file beside the
// socket, made anew at each start. The key is there because a confined upstream
// process may run as the same user: what keeps it from reading files of the
// data directory does not, on older kernels, keep it from connecting to a
// socket there.
package admin
