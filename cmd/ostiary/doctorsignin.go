package main

import (
	"context"
	"errors"
	"io/fs"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/gateway/admin"
	"github.com/ostiary/ostiary/store"
)

// answers says whether a server lets the operator in on the data directory, and
// who may sign in there.
func (d *doctor) answers(ctx context.Context) (users []shownUser, ok bool) {
	err := admin.Call(ctx, d.config.Data, "user.list", nothing{}, &users)
	switch {
	case errors.Is(err, admin.ErrNoServer):
		return nil, false
	case err != nil:
		d.fail("admin", "restart the server, which makes socket and key anew", "%v", err)
		return nil, true
	}
	d.ok("admin", "the server on %s takes the operator's verbs", d.config.Data)
	return users, true
}

// accounts: does the database open, who can sign in, and where.
func (d *doctor) accounts(ctx context.Context, users []shownUser, served bool) {
	known := served
	if !served {
		users, known = d.store(ctx)
	}
	if d.config.NoAuth {
		d.warn("sign-in", "drop noAuth", "off: whoever reaches the address is the user local")
		return
	}
	if err := mayServe(d.config); err != nil {
		d.fail("sign-in", "see the reason", "%v", err)
	} else {
		d.ok("sign-in", "people at %s/login, agents find it from %[1]s/mcp", d.config.base())
	}
	if d.config.Issuer != "" {
		d.provider(ctx)
	} else if known && len(users) == 0 {
		d.warn("users", "`ostiary user add NAME --password-stdin`, or the link that `ostiary serve` prints", "nobody can sign in yet")
	}
	if n := len(users); n > 0 {
		d.ok("users", "%s", plural(n, "user"))
	}
}

// store: does the database open, value by value. It changes nothing.
func (d *doctor) store(ctx context.Context) (users []shownUser, known bool) {
	options := store.Options{MasterKey: d.config.MasterKey}
	err := store.Check(d.config.Data, options)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.ok("store", "no database yet; `ostiary serve` or the first `ostiary user add` makes it")
		return nil, false
	case errors.Is(err, store.ErrLocked):
		return nil, false // said under lock
	case err != nil:
		d.fail("store", "put the right key or file back, or `ostiary restore FILE` with a backup", "%v", err)
		return nil, false
	}
	d.ok("store", "every value of the database opens")
	s, err := store.Open(d.config.Data, options)
	if err != nil {
		d.fail("store", "see the reason", "%v", err)
		return nil, false
	}
	all, err := s.Users(ctx)
	if err = errors.Join(err, s.Close()); err != nil {
		d.fail("store", "see the reason", "%v", err)
		return nil, false
	}
	for i := range all {
		users = append(users, showUser(&all[i]))
	}
	return users, true
}

// provider: does the identity provider answer.
func (d *doctor) provider(ctx context.Context) {
	c := d.config
	callback := c.base() + "/login/callback"
	p := &login.OIDC{Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.ClientSecret, Title: c.Title, Dev: c.Dev && loopback(c.Listen)}
	if _, _, err := p.Begin(ctx, callback, login.Ask{}); err != nil {
		d.fail("provider", "check oidc.issuer, and that this machine reaches it", "%v", err)
		return
	}
	d.ok("provider", "%s answers; its redirect URI for this gateway is %s", p.Place(), callback)
}
