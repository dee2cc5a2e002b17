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
	sources  attempts
	pairs    attempts // of account and source
	accounts attempts
	codes    attempts // one-time codes, by account
	confirms attempts // passwords of people who are signed in, by account
	homes    homes
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
		if !fits || u.Disabled {
			return nil, nil, ErrWrong
		}
		switch more, err := l.SecondFactor(ctx, u); {
		case err != nil:
			return nil, nil, err
		case !more:
			return u, []string{"pwd"}, nil
		case code == "":
			return u, nil, ErrCodeNeeded
		}
		return l.judgeCode(ctx, name, code)
	})
}

// Code judges the one-time code of a person whose password was right a moment
// ago. Errors are those of Check.
func (l *Local) Code(ctx context.Context, name, code, source string) (*store.User, []string, error) {
	return l.judge(ctx, name, source, func() (*store.User, []string, error) { return l.judgeCode(ctx, name, code) })
}

// Confirm judges the password of a person who is signed in already, before
// something that a borrowed browser should not be able to do. What strangers do
// at the sign-in page does not count here.
func (l *Local) Confirm(ctx context.Context, u *store.User, password string) error {
	_, _, err := l.judgeKnown(&l.confirms, u.Subject, func() (*store.User, []string, error) {
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

// limits gives the counters their measures.
func (l *Local) limits() {
	l.once.Do(func() {
		l.sources.free, l.sources.cap = sourceFree, sourceCap
		l.pairs.free, l.pairs.cap = pairFree, pairCap
		l.accounts.free, l.accounts.cap = accountFree, accountCap
		l.codes.free, l.codes.cap = knownFree, knownCap
		l.confirms.free, l.confirms.cap = knownFree, knownCap
	})
}

// judge runs one attempt under the limits. A success clears the count of this
// source at this account and takes back the steps of the source and of the
// account: an attacker with an account of their own must not be able to clear
// their address with it.
func (l *Local) judge(ctx context.Context, name, source string, try func() (*store.User, []string, error)) (*store.User, []string, error) {
	l.limits()
	now, source := l.now(), SourceKey(source)
	pair := name + "\x00" + source
	ofSource, wait := l.sources.admit(source, now)
	if wait > 0 {
		return nil, nil, tooMany(wait)
	}
	ofPair, wait := l.pairs.admit(pair, now)
	if wait > 0 {
		// The source keeps its step: whoever hammers one account is slowed
		// down as a source too.
		return nil, nil, tooMany(wait)
	}
	var ofAccount *attempt // nil: from here the account was signed in before
	if !l.homes.has(pair, now) {
		if ofAccount, wait = l.accounts.admit(name, now); wait > 0 {
			l.pairs.undo(ofPair) // held back by what others did
			return nil, nil, tooMany(wait)
		}
	}
	u, amr, err := try()
	if err != nil && errors.Is(err, ErrWrong) {
		return u, amr, err
	}
	l.sources.undo(ofSource)
	if ofAccount != nil {
		l.accounts.undo(ofAccount)
	}
	if err == nil {
		l.pairs.forget(pair, ofPair)
		l.homes.add(pair, now)
	} else { // not a failure of the person: a code to come, or nothing was judged
		l.pairs.undo(ofPair)
	}
	return u, amr, err
}

// judgeKnown runs one attempt of somebody who has proved something already,
// counted by their account alone.
func (l *Local) judgeKnown(a *attempts, name string, attempt func() (*store.User, []string, error)) (*store.User, []string, error) {
	l.limits()
	counted, wait := a.admit(name, l.now())
	if wait > 0 {
		return nil, nil, tooMany(wait)
	}
	u, amr, err := attempt()
	switch {
	case err == nil:
		a.forget(name, counted)
	case errors.Is(err, ErrWrong):
	default: // nothing was judged
		a.undo(counted)
	}
	return u, amr, err
}

func tooMany(wait time.Duration) error { return &TooManyError{RetryAfter: max(wait, time.Second)} }

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

// judgeCode judges a one-time code after the password.
func (l *Local) judgeCode(ctx context.Context, name, code string) (*store.User, []string, error) {
	return l.judgeKnown(&l.codes, name, func() (*store.User, []string, error) {
		return l.takeCode(ctx, LocalIssuer+":"+name, code)
	})
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
