package login

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/ostiary/ostiary/store"
)

// ErrCloned wraps ErrWrong: the signature is right, but the passkey's counter
// did not go on from where it was, so a copy of it may exist (Web Authentication
// Level 3, 6.1.1). Whose it is comes with the error.
var ErrCloned = fmt.Errorf("%w: its signature counter went back", ErrWrong)

// ErrNoPasskey: the person has no passkey to ask for.
var ErrNoPasskey = errors.New("no passkey")

// handleSize is the length of a user handle in bytes: random, so that an
// authenticator tells nobody who its owner is (Web Authentication 14.6.1).
const handleSize = 32

// Keys is what passkeys need of the store besides Users.
type Keys interface {
	CreatePasskey(ctx context.Context, k store.Passkey) error
	Passkey(ctx context.Context, id string) (*store.Passkey, error)
	UpdatePasskey(ctx context.Context, id string, fn func(*store.Passkey) error) (*store.Passkey, error)
}

// Passkeys are the WebAuthn credentials of local accounts. Its methods are safe
// for concurrent use.
//
// Each ceremony has two halves. The first makes the options for the browser and
// a state that must come back with the answer, unseen and unchanged. The second
// judges an answer; it calls once when all else is right, and refuses when that
// says no: of any number of answers to one challenge, one counts. A wrong answer
// writes nothing, and is slowed down like a wrong password.
type Passkeys struct {
	local *Local
	keys  Keys
	web   *webauthn.WebAuthn
}

// Once says whether a challenge is answered rightly for the first time.
type Once func(ctx context.Context) (bool, error)

// NewPasskeys makes those of the gateway at origin. It is nil where browsers
// have none: the RP ID must be a domain or localhost, so at an IP address
// (Web Authentication 5.1.3, step 8; 127.0.0.1 among them) none can be made.
func NewPasskeys(origin string, local *Local, keys Keys) *Passkeys {
	u, err := url.Parse(origin)
	if err != nil || local == nil {
		return nil
	}
	web, err := webauthn.New(&webauthn.Config{
		// A browser compares it with its own, lower-case word for the host.
		RPID: strings.ToLower(u.Hostname()), RPDisplayName: "Ostiary at " + u.Host, RPOrigins: []string{origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		},
		// Password managers report properties that nobody asked for; nothing here
		// reads any.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil
	}
	return &Passkeys{local: local, keys: keys, web: web}
}

// algorithms are the signatures that are taken: what authenticators have.
var algorithms = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
}

// SecondFactor says whether u signs in with more than a password.
func (l *Local) SecondFactor(ctx context.Context, u *store.User) (bool, error) {
	if u.TOTP != nil {
		return true, nil
	}
	keys, err := l.Users.Passkeys(ctx, u.ID())
	return len(keys) > 0, err
}

// ConfirmCode judges a one-time code of a person who is signed in already.
func (l *Local) ConfirmCode(ctx context.Context, u *store.User, code string) error {
	_, _, err := l.judgeCode(ctx, u.Subject, code)
	return err
}

// judgeSource runs an attempt of somebody who has not said who they are.
func (l *Local) judgeSource(source string, attempt func() (*store.User, []string, error)) (*store.User, []string, error) {
	l.limits()
	source = SourceKey(source)
	counted, wait := l.sources.admit(source, l.now())
	if wait > 0 {
		return nil, nil, tooMany(wait)
	}
	u, amr, err := attempt()
	if !errors.Is(err, ErrWrong) {
		l.sources.undo(counted)
	}
	return u, amr, err
}

// BeginSignIn asks any passkey of this gateway to say whose it is. The options
// name no account and no credential: they go to strangers.
func (p *Passkeys) BeginSignIn() (options, state []byte, err error) {
	assertion, session, err := p.web.BeginDiscoverableLogin()
	if err != nil {
		return nil, nil, fmt.Errorf("begin a sign-in by passkey: %w", err)
	}
	return both(assertion.Response, session)
}

// BeginProof asks for one of u's passkeys. The options list them, so they are
// for somebody who has given u's password or is signed in. ErrNoPasskey when
// there is none.
func (p *Passkeys) BeginProof(ctx context.Context, u *store.User) (options, state []byte, err error) {
	h, err := p.holder(ctx, u)
	if err != nil {
		return nil, nil, err
	}
	if len(h.keys) == 0 {
		return nil, nil, ErrNoPasskey
	}
	assertion, session, err := p.web.BeginLogin(h)
	if err != nil {
		return nil, nil, fmt.Errorf("ask for a passkey: %w", err)
	}
	return both(assertion.Response, session)
}

// BeginAdd makes the options for a new passkey of u's.
func (p *Passkeys) BeginAdd(ctx context.Context, u *store.User) (options, state []byte, err error) {
	if len(u.Handle) == 0 {
		u, err = p.local.Users.UpdateUser(ctx, u.ID(), func(u *store.User) error {
			if len(u.Handle) == 0 { // of two at once, the first stays
				u.Handle = make([]byte, handleSize)
				rand.Read(u.Handle)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	h, err := p.holder(ctx, u)
	if err != nil {
		return nil, nil, err
	}
	creation, session, err := p.web.BeginRegistration(h, webauthn.WithCredentialParameters(algorithms),
		webauthn.WithExclusions(webauthn.Credentials(h.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return nil, nil, fmt.Errorf("begin a passkey: %w", err)
	}
	return both(creation.Response, session)
}

// both encodes the halves of a beginning.
func both(response any, session *webauthn.SessionData) (options, state []byte, err error) {
	if options, err = json.Marshal(response); err == nil {
		state, err = json.Marshal(session)
	}
	return options, state, err
}

func keyID(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// holder is a person as the library sees them.
type holder struct {
	user *store.User
	keys []store.Passkey
}

func (p *Passkeys) holder(ctx context.Context, u *store.User) (*holder, error) {
	keys, err := p.local.Users.Passkeys(ctx, u.ID())
	return &holder{u, keys}, err
}

// holderOf finds whose credential id is.
func (p *Passkeys) holderOf(ctx context.Context, id []byte) (*holder, error) {
	k, err := p.keys.Passkey(ctx, keyID(id))
	if err != nil {
		return nil, err
	}
	u, err := p.local.Users.User(ctx, k.User)
	if err != nil {
		return nil, err
	}
	return &holder{u, []store.Passkey{*k}}, nil
}

func (h *holder) WebAuthnID() []byte   { return h.user.Handle }
func (h *holder) WebAuthnName() string { return h.user.Subject }
func (h *holder) WebAuthnDisplayName() string {
	if h.user.Name != "" {
		return h.user.Name
	}
	return h.user.Subject
}

func (h *holder) WebAuthnCredentials() (all []webauthn.Credential) {
	for _, k := range h.keys {
		id, err := base64.RawURLEncoding.DecodeString(k.ID)
		if err != nil {
			continue // not one that Add kept
		}
		c := webauthn.Credential{ID: id, PublicKey: k.Key, Authenticator: webauthn.Authenticator{SignCount: k.Count}}
		c.Flags.BackupEligible = k.Synced
		for _, t := range k.Transports {
			c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
		}
		all = append(all, c)
	}
	return all
}
