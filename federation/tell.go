package federation

import (
	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

// teller is a connection of the legacy era, which can be told something that
// has no answer. say does not block.
type teller interface{ say(body []byte) }

func (l *legacyHTTP) say(body []byte) { l.beside(func() { l.post(body) }) }

func (s *stdio) say(body []byte) {
	if peer := s.peer(); peer != nil && peer.Era == wire.Legacy {
		s.tell(body)
	}
}

func (s *sseHTTP) say(body []byte) { s.tell(body) }

// RootsChanged tells a legacy upstream that the roots of p's agent changed, on
// the connections that are open for p (MCP 2025-11-25, Roots). It does not
// block, and opens nothing.
func (f *Federation) RootsChanged(p *identity.Principal, name string) {
	u := f.upstream(name)
	if u == nil {
		return
	}
	u.pool.mu.Lock()
	defer u.pool.mu.Unlock()
	for key, m := range u.pool.members {
		if key.principal != p.Key() || m.conn == nil {
			continue
		}
		if t, ok := behind(m.conn).(teller); ok {
			t.say(wire.AppendNotification(nil, "notifications/roots/list_changed", nil))
		}
	}
}
