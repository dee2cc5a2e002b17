package federation

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
)

// exchange is one HTTP request on its way, and what is known of how far it
// got: the difference between "not executed" and "outcome unknown".
type exchange struct {
	conn   *setConn // that it goes out on; nil = none yet
	mark   int64    // bytes that conn had written before
	reused bool
	trace  httptrace.ClientTrace
}

// gotConn notes the connection that the request goes out on.
func (x *exchange) gotConn(info httptrace.GotConnInfo) {
	conn := info.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if x.conn, _ = conn.(*setConn); x.conn != nil {
		x.mark, x.reused = x.conn.wrote.Load(), info.Reused
	}
}

// sent says whether the upstream may have the request, or a part of it: bytes
// left on its connection since the request got it. With the caller gone the
// transport may be writing right now, so that only the lack of a connection
// tells.
func (x *exchange) sent(ctx context.Context) bool {
	return x.conn != nil && (ctx.Err() != nil || x.conn.wrote.Load() != x.mark)
}

// connSet knows the open connections of an endpoint, so that none outlives it.
type connSet struct {
	mu     sync.Mutex
	open   map[*setConn]struct{}
	closed bool
}

type setConn struct {
	net.Conn
	set   *connSet
	wrote atomic.Int64
}

func (c *setConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wrote.Add(int64(n))
	return n, err
}

func (s *connSet) add(c net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	if s.open == nil {
		s.open = make(map[*setConn]struct{})
	}
	sc := &setConn{Conn: c, set: s}
	s.open[sc] = struct{}{}
	return sc, nil
}

func (s *connSet) close() {
	s.mu.Lock()
	open := s.open
	s.closed, s.open = true, nil
	s.mu.Unlock()
	for c := range open {
		c.Conn.Close()
	}
}

func (c *setConn) Close() error {
	c.set.mu.Lock()
	delete(c.set.open, c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}
