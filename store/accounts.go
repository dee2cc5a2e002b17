package store

import (
	"errors"
	"time"
)

// Errors of the verbs that keep people, clients and what was granted.
var (
	// ErrNotFound: there is no such record, or it has expired.
	ErrNotFound = errors.New("not found")
	// ErrExists: a record with this id is there already.
	ErrExists = errors.New("exists already")
	// ErrSpent: the code was redeemed or the refresh token was rotated before.
	ErrSpent = errors.New("used already")
	// ErrRevoked: the grant behind a code or token has ended.
	ErrRevoked = errors.New("revoked")
	// ErrTooMany: a cap on the number of records is reached; nothing was kept.
	ErrTooMany = errors.New("too many")
)

// User is a person who may sign in.
type User struct {
	Issuer     string // "local", or the identity provider's issuer URL
	Subject    string // of a local account its name; never an e-mail address
	Name       string // for people to read
	Groups     []string
	Password   string // argon2id in PHC form; "" = none
	TOTP       []byte // RFC 6238 secret; nil = not enrolled
	TOTPStep   int64  // the last time step that was used, so that no code works twice
	Handle     []byte // WebAuthn user handle: random, nil until the first passkey
	Disabled   bool
	Created    time.Time
	LastSignIn time.Time

	ProviderRefresh string    // the identity provider's refresh token, "" = none
	Vouched         time.Time // when the identity provider last vouched for the person
}

// ID is the user id that policy, records and grants use.
func (u *User) ID() string { return u.Issuer + ":" + u.Subject }

// Client is a program that asks for tokens.
type Client struct {
	ID           string
	Kind         string // "static", "dynamic" (RFC 7591), "document" (client id metadata document)
	Name         string // client_name; self-asserted unless Verified
	Verified     bool   // Name comes from the operator
	URI          string // client_uri
	RedirectURIs []string
	AuthMethod   string    // token_endpoint_auth_method: "none", "client_secret_basic", "client_secret_post", "private_key_jwt"
	SecretHash   []byte    // SHA-256 of a random secret
	Keys         []byte    // JWK Set, JSON
	KeysURI      string    // jwks_uri
	GrantTypes   []string  // "authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"
	Scopes       []string  // what a client_credentials client may ask for; nil = "mcp"
	Application  string    // application_type: "native" or "web"
	Software     string    // software_id
	Digest       string    // of the security-relevant fields of a document; consents hold it
	Fetched      time.Time // when the document was last read
	Created      time.Time
	LastUsed     time.Time
	Expires      time.Time // zero = never; of an unused registration
}

// Consent is what a person allowed a client, once.
type Consent struct {
	ID           string
	User         string // User.ID
	Client       string // Client.ID
	RedirectHost string // where codes go; of a private-use scheme, the scheme and ":"
	Resource     string
	Scopes       []string
	Digest       string // Client.Digest at that time
	At           time.Time
}

// Session is a person signed in with a browser. Its cookie is kept as a hash.
type Session struct {
	Hash     string // SHA-256 of the cookie's value, hex
	User     string // User.ID
	AuthTime time.Time
	AMR      []string // RFC 8176
	Created  time.Time
	LastSeen time.Time
	Expires  time.Time // absolute
	Agent    string    // User-Agent, cut
	Address  string    // of the sign-in
}

// Grant is what tokens stand on: one authorization, from the code on, through
// all rotations of its refresh token. Revoking it ends them all.
type Grant struct {
	ID           string
	User         string // User.ID; "" for a client that acts for itself
	Client       string
	Consent      string // Consent.ID; "" = none was needed (operator, enterprise-managed)
	ConsentedAt  time.Time
	RedirectHost string
	Resource     string
	Scopes       []string
	AuthTime     time.Time
	AMR          []string
	Groups       []string // of a user whom no User record names (enterprise-managed authorization)
	Name         string   // the same
	Created      time.Time
	LastUsed     time.Time
	Expires      time.Time // absolute; tombstones live as long
	Revoked      time.Time // zero = live
	Reason       string    // why it was revoked
}

// Code is an authorization code, kept under the hash of what was sent.
type Code struct {
	Hash        string
	Grant       Grant // as it will be once the code is redeemed
	RedirectURI string
	Challenge   string // PKCE S256
	Request     []byte // what the flow needs again at the token endpoint
	Expires     time.Time
	Used        time.Time // zero = not redeemed
}

// Token is an access or refresh token, kept under the hash of what was sent.
type Token struct {
	Hash    string
	Kind    string // "access" or "refresh"
	Grant   string // Grant.ID
	Scopes  []string
	Request []byte // what the flow needs again, of a refresh token
	Issued  time.Time
	Expires time.Time
	Rotated time.Time // of a refresh token: when it was exchanged; zero = not
	Next    string    // of a rotated one: hash of its successor
}
