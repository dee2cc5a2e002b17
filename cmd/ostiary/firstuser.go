package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ostiary/ostiary/authserver/login"
)

// signInWords says who can sign in, and where.
func (h *house) signInWords(ctx context.Context, c *config) string {
	if c.NoAuth {
		return "off: everybody is the user local"
	}
	users, err := h.store.Users(ctx)
	if err != nil {
		return fmt.Sprintf("the users can't be read: %v", err)
	}
	words := plural(len(users), "user")
	if c.Issuer != "" {
		words += ", identity provider " + (&login.OIDC{Issuer: c.Issuer, Title: c.Title}).Place()
	}
	return words
}

// inviteFirstUser says how there comes to be a user while there is none. The
// link goes to stderr alone: whoever has it owns the gateway.
func (h *house) inviteFirstUser(ctx context.Context, c *config, log *slog.Logger, io stdio) {
	if c.NoAuth {
		return
	}
	link, err := h.accounts.SetupLink(ctx)
	switch {
	case err != nil:
		log.Error("no set-up link for the first user", "error", err)
	case link == "":
	case c.LogFormat == "json":
		log.Warn("nobody can sign in yet; open the link once, within a day, to make the first user", "setup", link)
	default:
		fmt.Fprintf(io.Err, "ostiary: nobody can sign in yet; make the first user at\n  %s\n", link)
		fmt.Fprint(io.Err, "  (good once, for a day), or with `ostiary user add NAME --password-stdin`\n")
	}
}
