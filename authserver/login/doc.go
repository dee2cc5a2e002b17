// Package login is how people prove who they are: by the password of a local
// account, with a one-time code or a passkey where there is one; by a passkey
// alone; or at the company's OpenID Connect provider. It hands package
// authserver a person and the methods by which they were recognised; sessions,
// pages and tokens are built there.
package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ostiary/ostiary/store"
)

var (
	// ErrWrong: name, password or code is not right, or the account is
	// disabled. It says no more, and costs the same, whatever is wrong.
	ErrWrong = errors.New("that name and password do not fit")
	// ErrCodeNeeded: the password is right, and the account asks for a
	// one-time code or a passkey too.
	ErrCodeNeeded = errors.New("a one-time code is needed")
	// ErrBusy: too many passwords are being checked at this moment. Nothing
	// was judged; try again in BusyRetry.
	ErrBusy = errors.New("too many sign-ins at this moment")
	// ErrUnknownPerson: the identity provider no longer knows the person, or
	// has not vouched for them for too long. A new sign-in may help.
	ErrUnknownPerson = errors.New("the identity provider does not vouch for this person any more")
	// ErrUnavailable: the identity provider can't be asked now; nothing is
	// known either way.
	ErrUnavailable = errors.New("the identity provider can't be reached")
	// ErrRefused: the identity provider, or a check of its answer, refused
	// this sign-in.
	ErrRefused = errors.New("the identity provider's answer was refused")
	// ErrTooOld: the person had to sign in at the provider anew, and by its word
	// they did not, or it does not say when they did.
	ErrTooOld = errors.New("the sign-in at the identity provider is older than what was asked for")
	// ErrDisabled: the provider vouches for the person, but an operator has
	// disabled the account here.
	ErrDisabled = errors.New("this account is disabled")
)

// BusyRetry is what to wait after ErrBusy.
const BusyRetry = 2 * time.Second

// TooManyError: this account or this source failed too often. Nothing was
// judged, not even a right password.
type TooManyError struct {
	RetryAfter time.Duration // at least a second
}

func (e *TooManyError) Error() string {
	return fmt.Sprintf("too many failed attempts: try again in %s", e.RetryAfter.Round(time.Second))
}

// LocalIssuer is the issuer of accounts that live in this gateway.
const LocalIssuer = "local"

// Users is what this package needs of the store.
type Users interface {
	User(ctx context.Context, id string) (*store.User, error)
	CreateUser(ctx context.Context, u store.User) error
	UpdateUser(ctx context.Context, id string, fn func(*store.User) error) (*store.User, error)
	Passkeys(ctx context.Context, user string) ([]store.Passkey, error)
}
