package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/gateway/admin"
	"github.com/ostiary/ostiary/store"
)

// userWish is what an operator wants to become of a user. A nil field stays as
// it is.
type userWish struct {
	Name         string // as on the command line
	Called       *string
	Groups       *[]string
	Password     string // argon2id, in PHC form: the password itself stays in the verb
	DropCode     bool   // end the one-time code, too
	DropPasskeys bool   // and the passkeys
}

// shownUser is a user as verbs show them: nothing secret.
type shownUser struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Issuer     string    `json:"issuer"`
	Groups     []string  `json:"groups"`
	Password   bool      `json:"password"`
	TOTP       bool      `json:"totp"`
	Passkeys   int       `json:"passkeys"`
	Disabled   bool      `json:"disabled"`
	Created    time.Time `json:"created"`
	LastSignIn time.Time `json:"last_sign_in,omitzero"`
}

func showUser(u *store.User) shownUser {
	return shownUser{
		ID: u.ID(), Name: u.Name, Issuer: u.Issuer, Groups: append([]string{}, u.Groups...),
		Password: u.Password != "", TOTP: u.TOTP != nil, Disabled: u.Disabled, Created: u.Created, LastSignIn: u.LastSignIn,
	}
}

// showUser shows u with what is kept beside the record.
func (o *office) showUser(ctx context.Context, u *store.User) (shownUser, error) {
	shown := showUser(u)
	keys, err := o.store.Passkeys(ctx, u.ID())
	shown.Passkeys = len(keys)
	return shown, err
}

func (o *office) userOperations() map[string]admin.Operation {
	return map[string]admin.Operation{
		"user.add": operation(o.addUser),
		"user.list": operation(func(ctx context.Context, _ nothing) ([]shownUser, error) {
			all, err := o.store.Users(ctx)
			shown := []shownUser{}
			for i := range all {
				u, keysErr := o.showUser(ctx, &all[i])
				shown, err = append(shown, u), errors.Join(err, keysErr)
			}
			return shown, err
		}),
		"user.set":    operation(o.setUser),
		"user.passwd": operation(o.setPassword),
		"user.disable": operation(func(ctx context.Context, name string) (nothing, error) {
			return nothing{}, noUser(name, o.accounts.DisableUser(ctx, userID(name)))
		}),
		"user.enable": operation(func(ctx context.Context, name string) (nothing, error) {
			return nothing{}, noUser(name, o.accounts.EnableUser(ctx, userID(name)))
		}),
		"user.delete": operation(func(ctx context.Context, name string) (nothing, error) {
			return nothing{}, noUser(name, o.accounts.DeleteUser(ctx, userID(name)))
		}),
	}
}

func (o *office) addUser(ctx context.Context, w userWish) (shownUser, error) {
	name, err := login.UserName(w.Name)
	switch {
	case err != nil:
		return shownUser{}, usagef("user add: %v", err)
	case name == localUser.Subject:
		return shownUser{}, usagef("user add: %q is the user of --no-auth; choose another name", name)
	}
	u := store.User{Issuer: login.LocalIssuer, Subject: name, Name: name, Password: w.Password}
	if err := w.apply(&u); err != nil {
		return shownUser{}, err
	}
	if err := o.accounts.CreateUser(ctx, u); errors.Is(err, store.ErrExists) {
		return shownUser{}, fmt.Errorf("user %s: %w; `ostiary user set` and `user passwd` change them", name, err)
	} else if err != nil {
		return shownUser{}, err
	}
	made, err := o.store.User(ctx, u.ID())
	if err != nil {
		return shownUser{}, err
	}
	return o.showUser(ctx, made)
}

func (o *office) setUser(ctx context.Context, w userWish) (shownUser, error) {
	u, err := o.accounts.UpdateUser(ctx, userID(w.Name), w.apply)
	if err != nil {
		return shownUser{}, noUser(w.Name, err)
	}
	return o.showUser(ctx, u)
}

// setPassword also signs the person out everywhere: who knew the old password
// may be signed in with it. Passkeys go first: of a sign-in with one of them that
// is under way, the change of the password is what stops it.
func (o *office) setPassword(ctx context.Context, w userWish) (shownUser, error) {
	id := userID(w.Name)
	if w.DropPasskeys {
		if err := o.store.DeletePasskeys(ctx, id); err != nil {
			return shownUser{}, err
		}
	}
	u, err := o.accounts.UpdateUser(ctx, id, func(u *store.User) error {
		if u.Issuer != login.LocalIssuer {
			return fmt.Errorf("%s signs in at %s, and has no password here", w.Name, u.Issuer)
		}
		u.Password = w.Password
		if w.DropCode {
			u.TOTP, u.TOTPStep = nil, 0
		}
		return nil
	})
	if err != nil {
		return shownUser{}, noUser(w.Name, err)
	}
	if err := errors.Join(o.store.DeleteSessions(ctx, id), o.accounts.SignOutEverywhere(ctx, id)); err != nil {
		return shownUser{}, err
	}
	return o.showUser(ctx, u)
}

// Bounds of what an operator says about a user.
const (
	maxGroups = 1000
	maxWord   = 256 // bytes of a group's or a person's name
)

// apply lays the wish over u.
func (w *userWish) apply(u *store.User) error {
	if w.Called != nil {
		if err := checkWord("name", *w.Called); err != nil {
			return err
		}
		u.Name = *w.Called
	}
	if w.Groups == nil {
		return nil
	}
	groups := slices.Clone(*w.Groups)
	slices.Sort(groups)
	groups = slices.Compact(groups)
	if len(groups) > maxGroups {
		return usagef("%d groups are too many; at most %d", len(groups), maxGroups)
	}
	for _, g := range groups {
		if err := checkWord("group", g); err != nil {
			return err
		}
	}
	u.Groups = groups
	return nil
}

func checkWord(what, s string) error {
	if s == "" || len(s) > maxWord || strings.TrimSpace(s) != s || strings.ContainsFunc(s, unicode.IsControl) {
		return usagef("%s %.40q: want 1 to %d bytes without control characters and outer spaces", what, s, maxWord)
	}
	return nil
}

// userID is the id of the user that an operator calls name: a local account, or
// issuer and subject of somebody who signs in elsewhere.
func userID(name string) string {
	if strings.Contains(name, ":") {
		return name
	}
	return login.LocalIssuer + ":" + strings.ToLower(name)
}

// noUser says where the names are when there is no such user.
func noUser(name string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("no user %s; `ostiary user list` shows who there is", name)
	}
	return err
}
