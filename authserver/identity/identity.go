// Package identity says who is asking: the person, the client that acts for
// them, and how both were verified. Principals are minted by the token check
// and handed on as an argument; nothing here knows a token.
package identity

import "time"

// Principal is a verified caller. It is immutable once made and safe to share.
type Principal struct {
	Issuer   string    // who vouches for Subject; "local" for accounts of this gateway
	Subject  string    // stable id at Issuer, never an e-mail address
	Name     string    // for people to read; may change
	Groups   []string  // sorted; empty when the issuer names none
	AuthTime time.Time // when the person last signed in; zero if never (no-auth)
	AMR      []string  // RFC 8176 authentication methods, as the issuer gave them

	Client Client
	Grant  Grant

	// Ended is closed when this principal no longer stands: the grant was
	// revoked or ran out, the person was disabled, or what is said of them here
	// has changed. Whoever serves a stream ends it then. nil = never.
	Ended <-chan struct{}
}

// Client is the program that acts for the person.
type Client struct {
	ID           string // client_id at this authorization server
	Kind         string // "static", "dynamic", "document", "none"
	VerifiedName string // only what an operator or a verified document says
	RedirectHost string // where authorization codes go
}

// Grant is what the person allowed the client.
type Grant struct {
	Scopes      []string
	Resource    string // the one audience of the token (RFC 8707)
	ConsentedAt time.Time
}

// ID is the principal's user id: issuer and subject, the form in which policy
// and records name a user.
func (p *Principal) ID() string { return p.Issuer + ":" + p.Subject }

// Key names the pair of user and client. Handles (sessions, cursors, request
// states) are sealed for it, so that one client's handle is worthless to
// another client of the same user.
func (p *Principal) Key() string { return p.ID() + "\x00" + p.Client.ID }
