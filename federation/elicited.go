package federation

// Elicited is a notifications/elicitation/complete of an upstream about an
// elicitation that no call under way made (MCP 2025-11-25, Elicitation): the
// person was done with a page after the call had ended, or the error that named
// the page had ended it.
type Elicited struct {
	Upstream  string
	Principal string // identity.Principal.Key whose connection it came on; "" = one that several share
	Params    []byte // raw, as received
}

// WatchElicited calls fn for each, from the goroutine that reads the
// connection; fn must not block for long. Whose elicitation it is, the watcher
// knows: the upstream names it by the id that it gave. stop ends it.
func (f *Federation) WatchElicited(fn func(Elicited)) (stop func()) { return f.elicited.add(fn) }

// elicited is what becomes of them on a connection for w; nil = a connection of
// the gateway's own, which nobody was asked anything on.
func (p *pool) elicited(w wish) func(params []byte) {
	owner := ""
	switch {
	case w.principal == nil:
		return nil
	case !p.u.config.Load().Shared:
		owner = w.principal.Key()
	}
	return func(params []byte) { p.u.f.elicited.notify(Elicited{p.u.name, owner, params}) }
}
