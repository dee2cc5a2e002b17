package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ostiary/ostiary/authserver/login"
)

const userWords = "Works beside a running server, over its admin socket, and without one. NAME is a local\n" +
	"account, or the ID of `ostiary user list` for somebody of the identity provider's."

// wordsFlag collects the values of a flag that may be given more than once.
func wordsFlag(fs *flag.FlagSet, name, usage string) *[]string {
	all := &[]string{}
	fs.Func(name, usage, func(v string) error { *all = append(*all, v); return nil })
	return all
}

// oneName wants exactly one word.
func oneName(verb, what string, args []string) (string, error) {
	if len(args) != 1 {
		return "", usagef("%s: want one %s", verb, what)
	}
	return args[0], nil
}

// officeFlags are the flags of every verb that needs the store.
func officeFlags(fs *flag.FlagSet, io stdio) func() (*config, error) {
	return configFlags(fs, io, "data", "listen", "public-url")
}

func userAddVerb() verb {
	return verb{
		name: "user add", args: "NAME", short: "add a local account",
		long: "Without --password-stdin the account has no password: tokens can be issued for it, but\n" +
			"nobody can sign in. The password is the first line of stdin, never an argument.\n\n" + userWords,
		examples: []string{
			"ostiary user add alice --password-stdin < password-file",
			"ostiary user add ci --group bots --group read-only",
		},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			groups := wordsFlag(fs, "group", "member of `GROUP`; may be repeated")
			called := fs.String("name", "", "`NAME` for people to read (default NAME)")
			stdin := fs.Bool("password-stdin", false, "read the password from stdin")
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				name, err := oneName("user add", "NAME", args)
				if err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				w := userWish{Name: name, Groups: groups}
				if *called != "" {
					w.Called = called
				}
				if *stdin {
					if w.Password, err = readPassword(ctx, io.In); err != nil {
						return fmt.Errorf("user add: %w", err)
					}
				}
				var made shownUser
				if err := ask(ctx, c, io, "user.add", w, &made); err != nil {
					return err
				}
				if !*stdin {
					complain(io.Err, fmt.Errorf("user %s has no password; `ostiary user passwd %s` sets one", made.Name, name))
				}
				return showDone(io, format, made, "added "+made.ID)
			}
		},
	}
}

func userListVerb() verb {
	return verb{
		name: "user list", short: "list everybody who may sign in", long: userWords,
		examples: []string{"ostiary user list", "ostiary user list --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			format := formatFlag(fs, "table")
			return func(ctx context.Context, args []string) error {
				if err := noWords("user list", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				var all []shownUser
				if err := ask(ctx, c, io, "user.list", nothing{}, &all); err != nil {
					return err
				}
				if format.json() {
					return writeJSON(io.Out, all)
				}
				t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "ID\tNAME\tGROUPS\tSIGN-IN\tLAST SIGN-IN")
				for _, u := range all {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", cell(u.ID), cell(u.Name), cell(strings.Join(u.Groups, " ")), u.signIn(), day(u.LastSignIn))
				}
				return t.Flush()
			}
		},
	}
}

// signIn says in a word or two how the person signs in.
func (u shownUser) signIn() string {
	switch {
	case u.Disabled:
		return "disabled"
	case u.Issuer != login.LocalIssuer:
		return "provider"
	case !u.Password && u.Passkeys == 0:
		return "no password"
	}
	ways := "password"
	if u.TOTP {
		ways += "+code"
	}
	if u.Passkeys > 0 {
		ways += "+passkey"
	}
	return ways
}

// day is a moment in a table; "-" for none.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

func userSetVerb() verb {
	return verb{
		name: "user set", args: "NAME", short: "change a user's groups or name",
		long: "--group replaces all groups; groups from an identity provider come back with the next\n" +
			"sign-in. What changed counts at once; open streams of the user end.\n\n" + userWords,
		examples: []string{"ostiary user set alice --group engineering --group on-call", "ostiary user set alice --no-groups"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			groups := wordsFlag(fs, "group", "member of `GROUP`; may be repeated")
			none := fs.Bool("no-groups", false, "member of no group")
			called := fs.String("name", "", "`NAME` for people to read")
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				name, err := oneName("user set", "NAME", args)
				if err != nil {
					return err
				}
				w := userWish{Name: name}
				if len(*groups) > 0 || *none {
					w.Groups = groups
				}
				if *called != "" {
					w.Called = called
				}
				switch {
				case len(*groups) > 0 && *none:
					return usagef("user set: --group and --no-groups don't go together")
				case w.Groups == nil && w.Called == nil:
					return usagef("user set: nothing to change; give --group, --no-groups or --name")
				}
				c, err := load()
				if err != nil {
					return err
				}
				var u shownUser
				if err := ask(ctx, c, io, "user.set", w, &u); err != nil {
					return err
				}
				return showDone(io, format, u, "changed "+u.ID)
			}
		},
	}
}

func userPasswdVerb() verb {
	return verb{
		name: "user passwd", args: "NAME", short: "set a local account's password",
		long: "The password is the first line of stdin. The user is signed out everywhere, and so are\n" +
			"the agents that act for them.\n\n" + userWords,
		examples: []string{
			"ostiary user passwd alice --password-stdin < password-file",
			"ostiary user passwd alice --drop-code --drop-passkeys --password-stdin < password-file",
		},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			stdin := fs.Bool("password-stdin", false, "read the password from stdin")
			drop := fs.Bool("drop-code", false, "also end the one-time code: the phone is lost, or was not theirs")
			keys := fs.Bool("drop-passkeys", false, "also remove every passkey: the device is lost, or was not theirs")
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				name, err := oneName("user passwd", "NAME", args)
				if err != nil {
					return err
				}
				if !*stdin {
					return usagef("user passwd: give --password-stdin and the password on stdin")
				}
				c, err := load()
				if err != nil {
					return err
				}
				w := userWish{Name: name, DropCode: *drop, DropPasskeys: *keys}
				if w.Password, err = readPassword(ctx, io.In); err != nil {
					return fmt.Errorf("user passwd: %w", err)
				}
				var u shownUser
				if err := ask(ctx, c, io, "user.passwd", w, &u); err != nil {
					return err
				}
				said := "changed the password of " + userID(name)
				if u.Passkeys > 0 {
					said += fmt.Sprintf("; passkeys: %d, which sign in without it (--drop-passkeys removes them)", u.Passkeys)
				}
				return showDone(io, format, map[string]string{"changed": userID(name)}, said)
			}
		},
	}
}

func userDisableVerb() verb {
	return userActVerb("disable", "disabled", "keep a user out: no sign-in, no session, no token", "Open streams end within a second. `user enable` lets them sign in again.")
}

func userEnableVerb() verb {
	return userActVerb("enable", "enabled", "let a disabled user sign in again", "Tokens that were revoked stay so.")
}

func userDeleteVerb() verb {
	return userActVerb("delete", "deleted", "forget a user with all sessions, passkeys, consents and tokens", "Audit records stay.")
}

// userActVerb is a verb that does one thing to one user.
func userActVerb(act, done, short, long string) verb {
	name := "user " + act
	return verb{
		name: name, args: "NAME", short: short, long: long + "\n\n" + userWords, examples: []string{"ostiary " + name + " alice"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				who, err := oneName(name, "NAME", args)
				if err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				if err := ask(ctx, c, io, "user."+act, who, nil); err != nil {
					return err
				}
				return showDone(io, format, map[string]string{done: userID(who)}, done+" "+userID(who))
			}
		},
	}
}

// readPassword reads a password, the first line of in, and gives its hash.
func readPassword(ctx context.Context, in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, login.MaxPassword*4)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password from stdin: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if password == "" {
		return "", errors.New("no password on stdin; write it there as one line")
	}
	if err := login.CheckPassword(password); err != nil {
		return "", err
	}
	return login.HashPassword(ctx, password)
}

// showDone prints what was done: a word for people, the thing itself as JSON.
func showDone(io stdio, format *format, v any, words string) error {
	if format.json() {
		return writeJSON(io.Out, v)
	}
	_, err := fmt.Fprintln(io.Out, printable(words))
	return err
}
