package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/ostiary/ostiary/authserver/client"
)

const clientWords = "Works beside a running server, over its admin socket, and without one."

func clientAddVerb() verb {
	return verb{
		name: "client add", args: "[ID]", short: "register a client yourself",
		long: "For agents that can't register themselves, and for programs that act without a person.\n" +
			"The secret is printed this once. A loopback redirect URI (http://127.0.0.1/callback) fits\n" +
			"any port.\n\n" + clientWords,
		examples: []string{
			"ostiary client add desk --name 'Desk app' --redirect-uri http://127.0.0.1/callback",
			"ostiary client add nightly --secret --client-credentials --scope mcp --format json",
			"ostiary client add batch --keys jwks.json --client-credentials",
		},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			w := clientWish{}
			fs.StringVar(&w.Name, "name", "", "`NAME` for consent pages (default ID)")
			redirects := wordsFlag(fs, "redirect-uri", "`URI` that codes may be sent to; may be repeated")
			fs.BoolVar(&w.Secret, "secret", false, "give it a secret, and print that")
			keys := fs.String("keys", "", "`FILE` with its public keys, a JWK Set: it proves itself by signing (private_key_jwt)")
			fs.BoolVar(&w.ClientCredentials, "client-credentials", false, "let it ask for tokens for itself, without a person")
			scopes := wordsFlag(fs, "scope", "`SCOPE` that it may ask for itself; may be repeated (default mcp)")
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				switch {
				case len(args) > 1:
					return usagef("client add: want at most one ID")
				case len(args) == 1:
					w.ID = args[0]
				}
				c, err := load()
				if err != nil {
					return err
				}
				if w.RedirectURIs, w.Scopes = *redirects, *scopes; len(*scopes) == 0 {
					w.Scopes = nil
				}
				if *keys != "" {
					if w.Keys, err = os.ReadFile(*keys); err != nil {
						return fmt.Errorf("client add: %w", err)
					}
				}
				var made madeClient
				if err := ask(ctx, c, io, "client.add", w, &made); err != nil {
					return err
				}
				if format.json() {
					return writeJSON(io.Out, made)
				}
				fmt.Fprintf(io.Out, "client_id      %s\n", made.ID)
				if made.Secret != "" {
					fmt.Fprintf(io.Out, "client_secret  %s\n", made.Secret)
				}
				return nil
			}
		},
	}
}

func clientListVerb() verb {
	return verb{
		name: "client list", short: "list the programs that may ask for tokens",
		long:     "KIND static: set up by you; dynamic: registered itself; document: described at its ID.\nA name in quotes is what the client says of itself.\n\n" + clientWords,
		examples: []string{"ostiary client list", "ostiary client list --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			format := formatFlag(fs, "table")
			return func(ctx context.Context, args []string) error {
				if err := noWords("client list", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				var all []shownClient
				if err := ask(ctx, c, io, "client.list", nothing{}, &all); err != nil {
					return err
				}
				if format.json() {
					return writeJSON(io.Out, all)
				}
				t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "ID\tKIND\tNAME\tCODES GO TO\tLAST USED")
				for _, k := range all {
					name := k.Name
					if !k.Verified {
						name = fmt.Sprintf("%q", name)
					}
					var hosts []string
					for _, uri := range k.RedirectURIs {
						hosts = append(hosts, client.RedirectHost(uri))
					}
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", cell(k.ID), k.Kind, cell(name), cell(strings.Join(hosts, " ")), day(k.LastUsed))
				}
				return t.Flush()
			}
		},
	}
}

func clientRevokeVerb() verb {
	return verb{
		name: "client revoke", args: "ID", short: "end a client: its tokens, its consents and its registration",
		long:     "Its tokens stop working within a second, open streams included; it has to register again,\nand people are asked again. One that stands in ostiary.yaml stays there.\n\n" + clientWords,
		examples: []string{"ostiary client revoke 3f6c1a"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				id, err := oneName("client revoke", "ID", args)
				if err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				if err := ask(ctx, c, io, "client.revoke", id, nil); err != nil {
					return err
				}
				return showDone(io, format, map[string]string{"revoked": id}, "revoked "+id)
			}
		},
	}
}
