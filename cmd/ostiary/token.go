package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ostiary/ostiary/authserver"
	"github.com/ostiary/ostiary/gateway/admin"
	"github.com/ostiary/ostiary/store"
)

// tokenWish is a token that an operator wants.
type tokenWish struct {
	User     string // as on the command line
	Client   string
	Resource string // "" = the server's own, all upstreams
	Scopes   []string
	TTL      time.Duration
}

// issuedToken is a new token, shown this once.
type issuedToken struct {
	Token string `json:"token"`
	shownGrant
}

// shownGrant is what tokens stand on, as verbs show it.
type shownGrant struct {
	ID       string    `json:"id"`
	User     string    `json:"user"` // "" = the client itself
	Client   string    `json:"client"`
	Resource string    `json:"resource"`
	Scopes   []string  `json:"scopes"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used,omitzero"`
	Expires  time.Time `json:"expires"`
	Revoked  time.Time `json:"revoked,omitzero"`
	Reason   string    `json:"reason,omitempty"`
}

func showGrant(g *store.Grant) shownGrant {
	return shownGrant{
		ID: g.ID, User: g.User, Client: g.Client, Resource: g.Resource, Scopes: append([]string{}, g.Scopes...),
		Created: g.Created, LastUsed: g.LastUsed, Expires: g.Expires, Revoked: g.Revoked, Reason: g.Reason,
	}
}

func (o *office) tokenOperations() map[string]admin.Operation {
	return map[string]admin.Operation{
		"token.issue": operation(func(ctx context.Context, w tokenWish) (issuedToken, error) {
			bearer, g, err := o.accounts.IssueToken(ctx, authserver.TokenRequest{
				User: userID(w.User), Client: w.Client, Resource: w.Resource, Scopes: w.Scopes, TTL: w.TTL,
			})
			return issuedToken{bearer, showGrant(&g)}, err
		}),
		"token.list": operation(func(ctx context.Context, all bool) ([]shownGrant, error) {
			now := time.Now()
			grants, err := o.store.Grants(ctx, func(g *store.Grant) bool { return all || g.Revoked.IsZero() && g.Expires.After(now) })
			slices.SortFunc(grants, func(a, b store.Grant) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
			shown := []shownGrant{}
			for i := range grants {
				shown = append(shown, showGrant(&grants[i]))
			}
			return shown, err
		}),
		"token.revoke": operation(func(ctx context.Context, id string) (nothing, error) {
			err := o.accounts.RevokeGrant(ctx, id)
			if errors.Is(err, store.ErrNotFound) {
				err = fmt.Errorf("no token %s; `ostiary token list` shows their IDs", id)
			}
			return nothing{}, err
		}),
	}
}

const tokenWords = "Works beside a running server, over its admin socket, and without one."

func tokenIssueVerb() verb {
	return verb{
		name: "token issue", short: "make a token for a program that can't sign in: prints the bearer alone",
		long: "The token acts for --user: their groups and policies count. It is shown this once and kept\n" +
			"as a hash. --resource is {publicUrl}/mcp unless given, which covers all upstreams, or one\n" +
			"{publicUrl}/mcp/UPSTREAM.\n\n" + tokenWords,
		examples: []string{
			"ostiary token issue --user ci --ttl 24h",
			"export OSTIARY_TOKEN=$(ostiary token issue --user alice)",
			"ostiary token issue --user ci --resource https://mcp.example.com/mcp/github --format json",
		},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			w := tokenWish{}
			fs.StringVar(&w.User, "user", "", "`NAME` whom it acts for")
			fs.StringVar(&w.Client, "client", "", "`ID` of the client that it is for (default cli)")
			fs.StringVar(&w.Resource, "resource", "", "`URL` that it is good for (default {publicUrl}/mcp)")
			scopes := wordsFlag(fs, "scope", "`SCOPE` that it has; may be repeated (default mcp)")
			ttl := fs.String("ttl", "1h", "`TIME` until it expires")
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				if err := noWords("token issue", args); err != nil {
					return err
				}
				if w.User == "" {
					return usagef("token issue: --user NAME is needed; `ostiary user list` shows who there is")
				}
				var err error
				if w.TTL, err = parseDuration(*ttl); err != nil {
					return usagef("token issue: --ttl: %v", err)
				}
				c, err := load()
				if err != nil {
					return err
				}
				// A running server knows its own address; one that is named here must be
				// its, or the token would be good for nothing.
				if w.Scopes = *scopes; w.Resource == "" && c.PublicURL != "" {
					w.Resource = c.base() + "/mcp"
				}
				var made issuedToken
				if err := ask(ctx, c, io, "token.issue", w, &made); err != nil {
					return err
				}
				if format.json() {
					return writeJSON(io.Out, made)
				}
				_, err = fmt.Fprintln(io.Out, made.Token)
				return err
			}
		},
	}
}

func tokenListVerb() verb {
	return verb{
		name: "token list", short: "list who lets what act for them: one line a sign-in, with all its tokens",
		long:     tokenWords,
		examples: []string{"ostiary token list", "ostiary token list --all --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			all := fs.Bool("all", false, "also what was revoked or has expired, as far as it is remembered")
			format := formatFlag(fs, "table")
			return func(ctx context.Context, args []string) error {
				if err := noWords("token list", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				var grants []shownGrant
				if err := ask(ctx, c, io, "token.list", *all, &grants); err != nil {
					return err
				}
				if format.json() {
					return writeJSON(io.Out, grants)
				}
				t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "ID\tUSER\tCLIENT\tSCOPES\tLAST USED\tEXPIRES")
				for _, g := range grants {
					ends := day(g.Expires)
					if !g.Revoked.IsZero() {
						ends = "revoked"
					}
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", g.ID, cell(g.User), cell(g.Client), cell(strings.Join(g.Scopes, " ")), day(g.LastUsed), ends)
				}
				return t.Flush()
			}
		},
	}
}

func tokenRevokeVerb() verb {
	return verb{
		name: "token revoke", args: "ID", short: "end a token and all others of the same sign-in",
		long:     "ID is that of `ostiary token list`, never the token itself. It stops working within a\nsecond, open streams included.\n\n" + tokenWords,
		examples: []string{"ostiary token revoke 9f1b6c20"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				id, err := oneName("token revoke", "ID", args)
				if err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				if err := ask(ctx, c, io, "token.revoke", id, nil); err != nil {
					return err
				}
				return showDone(io, format, map[string]string{"revoked": id}, "revoked "+id)
			}
		},
	}
}
