// Package credential gives the gateway's own credential for an upstream and a
// user. A credential can authorize a request, fill a process environment or a
// TLS handshake, and hides its own values in what an upstream says. Nothing
// here ever sees an inbound request.
package credential

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/ostiary/ostiary/authserver/identity"
	"github.com/ostiary/ostiary/catalogs"
)

// Credential is one ready to use. A nil field means that the kind has nothing
// to say there.
type Credential struct {
	ID        string // names it in records; never its value
	Owner     string // "" = no one's or the operator's; else the user id it belongs to
	Authorize func(*http.Request) error
	Environ   map[string]catalogs.Secret
	TLS       *tls.Config

	// Renew is told that the upstream answered a request that Authorize
	// prepared with 401. true: Authorize would prepare it differently now, so
	// it is worth sending once more.
	Renew func(*http.Request) bool

	// Mask hides what must not come back from the upstream, as of now.
	Mask func() *Mask
}

// Source finds credentials. Implementations are safe for concurrent use.
type Source interface {
	// Credential returns the credential for u on behalf of p; p is nil for
	// the gateway's own use (listing).
	Credential(ctx context.Context, u *catalogs.Upstream, p *identity.Principal) (Credential, error)
}

// ErrUnsupported: the entry asks for a kind of credential that is not built.
var ErrUnsupported = errors.New("auth type not supported yet")

// None is the source for upstreams that need no credential.
type None struct{}

// Credential returns the empty credential, and ErrUnsupported for every entry
// that needs another: calling it bare would be a silent downgrade.
func (None) Credential(_ context.Context, u *catalogs.Upstream, _ *identity.Principal) (Credential, error) {
	if u.Auth.Type != "" && u.Auth.Type != catalogs.AuthNone {
		return Credential{}, unsupported(u)
	}
	return Credential{}, nil
}

func unsupported(u *catalogs.Upstream) error {
	return fmt.Errorf("auth type %s (%s): %w; change it in the catalog, or set enabled: false", u.Auth.Type, u.Source, ErrUnsupported)
}
