package gateway

import (
	"net/http"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/gateway/wire"
)

// unread refuses a request of somebody known before a message was read from
// it, and records the attempt: every one of theirs is on record. What came
// before the bearer was checked is not, and neither is what is over
// limits.calls, so that nobody can fill the log from there.
func (g *Gateway) unread(w http.ResponseWriter, r *http.Request, p *identity.Principal, endpoint string, f *refusal) {
	x := g.newExchange(r, p, endpoint, nil)
	x.era, x.version, _ = wire.EraOf(r.Header, nil) // a refused version is not what this is about
	plainCode(w, f.status, f.code, f.text)
	x.noteRefused(f)
}
