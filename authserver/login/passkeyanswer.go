package login

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/ostiary/ostiary/store"
)

// SignIn judges the answer to BeginSignIn: who it is and how they proved it.
//
// Errors: ErrWrong, and ErrCloned with the person; *TooManyError; others are
// the store's.
func (p *Passkeys) SignIn(ctx context.Context, state, answer []byte, source string, once Once) (*store.User, []string, error) {
	return p.local.judgeSource(source, func() (*store.User, []string, error) {
		session, parsed, err := assertion(state, answer)
		if err != nil {
			return nil, nil, err
		}
		var asked *holder
		var failed error
		_, credential, err := p.web.ValidatePasskeyLogin(func(id, _ []byte) (webauthn.User, error) {
			if asked, failed = p.holderOf(ctx, id); failed != nil {
				return nil, failed
			}
			return asked, nil // the library holds the user handle against it
		}, session, parsed)
		if failed != nil && !errors.Is(failed, store.ErrNotFound) {
			return nil, nil, failed
		}
		if err != nil || failed != nil {
			return nil, nil, ErrWrong
		}
		return p.take(ctx, asked.user, credential, parsed, once)
	})
}

// Prove judges the answer to BeginProof for the local account name. The methods
// are those of a sign-in with the password before it. Errors are SignIn's.
func (p *Passkeys) Prove(ctx context.Context, name string, state, answer []byte, once Once) (*store.User, []string, error) {
	u, amr, err := p.local.judgeKnown(&p.local.codes, name, func() (*store.User, []string, error) {
		session, parsed, err := assertion(state, answer)
		if err != nil {
			return nil, nil, err
		}
		u, err := p.local.user(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		h, err := p.holder(ctx, u)
		if err != nil {
			return nil, nil, err
		}
		credential, err := p.web.ValidateLogin(h, session, parsed)
		if err != nil {
			return nil, nil, ErrWrong
		}
		return p.take(ctx, u, credential, parsed, once)
	})
	if err == nil {
		amr = append([]string{"pwd"}, amr...)
	}
	return u, amr, err
}

// Add judges the answer to BeginAdd and keeps the new passkey of u's.
//
// Errors: ErrWrong; store.ErrTooMany and store.ErrExists as CreatePasskey has
// them; others are the store's.
func (p *Passkeys) Add(ctx context.Context, u *store.User, name string, state, answer []byte, once Once) (*store.Passkey, error) {
	var session webauthn.SessionData
	if err := json.Unmarshal(state, &session); err != nil {
		return nil, ErrWrong
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return nil, ErrWrong
	}
	credential, err := p.web.CreateCredential(&holder{user: u}, session, parsed)
	if err != nil {
		return nil, ErrWrong
	}
	if first, err := once(ctx); err != nil {
		return nil, err
	} else if !first {
		return nil, ErrWrong
	}
	k := store.Passkey{
		ID: keyID(credential.ID), User: u.ID(), Name: name, Key: credential.PublicKey,
		Count: credential.Authenticator.SignCount, Synced: credential.Flags.BackupEligible, Created: p.local.now(),
	}
	for _, t := range credential.Transport {
		if len(k.Transports) < maxTransports && len(t) <= maxTransport {
			k.Transports = append(k.Transports, string(t))
		}
	}
	return &k, p.keys.CreatePasskey(ctx, k)
}

// Transports are hints that a browser reports: so many, each so long in bytes.
const (
	maxTransports = 8
	maxTransport  = 32
)

// take counts a right answer of u's. Its order matters: a disabled person moves
// no counter, an answer that comes twice is not taken for a copied key.
func (p *Passkeys) take(ctx context.Context, u *store.User, credential *webauthn.Credential, parsed *protocol.ParsedCredentialAssertionData, once Once) (*store.User, []string, error) {
	if u.Disabled {
		return nil, nil, ErrWrong
	}
	if first, err := once(ctx); err != nil {
		return nil, nil, err
	} else if !first {
		return nil, nil, ErrWrong
	}
	count := parsed.Response.AuthenticatorData.Counter
	k, err := p.keys.UpdatePasskey(ctx, keyID(credential.ID), func(k *store.Passkey) error {
		// 7.2 step 22, against what is kept now: two answers may have met.
		if count <= k.Count && (count != 0 || k.Count != 0) {
			return ErrCloned
		}
		k.Count, k.LastUsed = count, p.local.now()
		return nil
	})
	switch {
	case errors.Is(err, ErrCloned):
		return u, nil, ErrCloned
	case errors.Is(err, store.ErrNotFound): // removed at this moment
		return nil, nil, ErrWrong
	case err != nil:
		return nil, nil, err
	}
	// RFC 8176: who could copy the key to another device has it in software.
	// Nothing is attested, so hwk is the authenticator's own word.
	held := "hwk"
	if k.Synced {
		held = "swk"
	}
	return u, []string{held, "user", "mfa"}, nil
}

// assertion reads the two halves of a ceremony; ErrWrong when they can't be.
func assertion(state, answer []byte) (session webauthn.SessionData, parsed *protocol.ParsedCredentialAssertionData, err error) {
	if err = json.Unmarshal(state, &session); err == nil {
		parsed, err = protocol.ParseCredentialRequestResponseBytes(answer)
	}
	if err != nil {
		err = ErrWrong
	}
	return session, parsed, err
}
