package login

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ostiary/ostiary/store"
)

// Local signs people in by the accounts of this gateway. The zero value with
// Users is ready; its methods are safe for concurrent use.
type Local struct {
	Users Users
	Now   func() time.Time // nil = time.Now

	once     sync.Once
	accounts attempts
	sources  attempts
}

// names are what accounts may be called, after lower-casing.
var names = regexp.MustCompile(`^[a-z0-9._@-]{1,64}$`)

// UserName is the form of a user name that is kept and compared: lower case.
func UserName(name string) (string, error) {
	name = strings.ToLower(strings.TrimSpace(name))
	if !names.MatchString(name) {
		return "", errors.New("a user name has 1 to 64 of the characters a-z 0-9 . _ @ -")
	}
	return name, nil
}

// Check judges name and password, and the one-time code where the account has
// one. source is the address that is asking. It returns the person and how
// they proved it (RFC 8176).
//
// Errors: ErrWrong; ErrCodeNeeded, when the password is right and code is ""
// (the person is returned with it, and Code goes on from there); *TooManyError;
// ErrBusy; others are the store's.
func (l *Local) Check(ctx context.Context, username, password, code, source string) (*store.User, []string, error) {
	name, err := UserName(username)
	if err != nil {
		name = "" // no account is called so: judged like any unknown name
	}
	return l.judge(ctx, name, source, func() (*store.User, []string, error) {
		u, err := l.user(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		fits := false
		if len(password) <= MaxPassword {
			if fits, err = passwordFits(ctx, u.Password, password); err != nil {
				return nil, nil, err
			}
		}
		switch {
		case !fits || u.Disabled:
			return nil, nil, ErrWrong
		case u.TOTP == nil:
			return u, []string{"pwd"}, nil
		case code == "":
			return u, nil, ErrCodeNeeded
		}
		return l.takeCode(ctx, u.ID(), code)
	})
}

// Code judges the one-time code of a person whose password was right a moment
// ago. Errors are those of Check.
func (l *Local) Code(ctx context.Context, name, code, source string) (*store.User, []string, error) {
	return l.judge(ctx, name, source, func() (*store.User, []string, error) {
		return l.takeCode(ctx, LocalIssuer+":"+name, code)
	})
}

// Confirm judges the password of a person who is signed in already, before
// something that a borrowed browser should not be able to do.
func (l *Local) Confirm(ctx context.Context, u *store.User, password, source string) error {
	_, _, err := l.judge(ctx, u.Subject, source, func() (*store.User, []string, error) {
		fits := false
		if len(password) <= MaxPassword {
			var err error
			if fits, err = passwordFits(ctx, u.Password, password); err != nil {
				return nil, nil, err
			}
		}
		if !fits {
			return nil, nil, ErrWrong
		}
		return u, nil, nil
	})
	return err
}

// judge runs one attempt under the limits. A success clears the account's
// count and takes back the source's own step: an attacker with an account of
// their own must not be able to clear their address with it.
func (l *Local) judge(ctx context.Context, name, source string, attempt func() (*store.User, []string, error)) (*store.User, []string, error) {
	l.once.Do(func() {
		l.accounts.free, l.accounts.cap = accountFree, accountCap
		l.sources.free, l.sources.cap = sourceFree, sourceCap
	})
	now, source := l.now(), SourceKey(source)
	if wait := l.sources.admit(source, now); wait > 0 {
		return nil, nil, &TooManyError{RetryAfter: max(wait, time.Second)}
	}
	if wait := l.accounts.admit(name, now); wait > 0 {
		// The source keeps its step: whoever hammers one account is slowed
		// down as a source too.
		return nil, nil, &TooManyError{RetryAfter: max(wait, time.Second)}
	}
	u, amr, err := attempt()
	switch {
	case err == nil:
		l.accounts.forget(name)
		l.sources.undo(source)
	case errors.Is(err, ErrWrong):
	default: // not a failure of the person: a code to come, or nothing was judged
		l.accounts.undo(name)
		l.sources.undo(source)
	}
	return u, amr, err
}

// user finds an account, or the stand-in for one that there isn't.
func (l *Local) user(ctx context.Context, name string) (*store.User, error) {
	u, err := l.Users.User(ctx, LocalIssuer+":"+name)
	if errors.Is(err, store.ErrNotFound) {
		return &store.User{}, nil
	} else if err != nil {
		return nil, fmt.Errorf("look up the account: %w", err)
	}
	return u, nil
}

// takeCode spends a one-time code: of two who hand in the same, one gets in.
func (l *Local) takeCode(ctx context.Context, id, code string) (*store.User, []string, error) {
	u, err := l.Users.UpdateUser(ctx, id, func(u *store.User) error {
		step, ok := TOTPFits(u.TOTP, code, l.now())
		if !ok || step <= u.TOTPStep || u.Disabled {
			return ErrWrong
		}
		u.TOTPStep = step
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, ErrWrong
	} else if err != nil {
		return nil, nil, err
	}
	return u, []string{"pwd", "otp", "mfa"}, nil
}

func (l *Local) now() time.Time {
	if l.Now != nil {
		return l.Now()
	}
	return time.Now()
}
