// Command ostiary runs the gateway and its tools: one file per verb, and
// wire.go, where the parts become one program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/ostiary/ostiary/federation"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	federation.Shim() // in a process that is to become a confined upstream
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default action is back: a second one ends
	// the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.LookupEnv})
	stop()
	os.Exit(code)
}

// stdio is what a verb has of the world around the process.
type stdio struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) (string, bool)
}

// verb is one thing that the program can do.
type verb struct {
	name     string // "serve", "catalog check"
	args     string // synopsis of what follows the flags
	short    string // one line for the table
	long     string // paragraphs for --help
	examples []string

	// define declares the verb's flags and returns what runs once they are
	// parsed. An error of type *usageError ends with exit code 2.
	define func(fs *flag.FlagSet, io stdio) func(ctx context.Context, args []string) error
}

func verbs() []verb {
	return []verb{
		serveVerb(),
		catalogCheckVerb(), catalogListVerb(), catalogTestVerb(), catalogImportVerb(),
		toolsListVerb(), toolsCallVerb(), toolsDiffVerb(),
		policyCheckVerb(), policyTestVerb(), policyEvalVerb(), policyExplainVerb(), policyReplayVerb(), policySchemaVerb(),
		userAddVerb(), userListVerb(), userSetVerb(), userPasswdVerb(), userDisableVerb(), userEnableVerb(), userDeleteVerb(),
		clientAddVerb(), clientListVerb(), clientRevokeVerb(),
		tokenIssueVerb(), tokenListVerb(), tokenRevokeVerb(),
		auditQueryVerb(), auditTailVerb(), auditVerifyVerb(), auditExportVerb(), auditKeyVerb(), auditDigestVerb(),
		keyRotateVerb(), backupVerb(), restoreVerb(),
		doctorVerb(),
		conformanceVerb(), conformanceOfficialVerb(),
		benchVerb(),
		versionVerb(),
	}
}

// plannedVerbs are words of the contract whose parts do not exist yet. They
// are answered, not listed.
var plannedVerbs = []string{
	"upstream",
}

// usageError is a command line that can't be carried out as written.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, a ...any) error { return &usageError{fmt.Sprintf(format, a...)} }

// errSilent ends a verb with exit code 1 when it has already said why.
var errSilent = errors.New("failed")

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, io stdio) int {
	err := dispatch(ctx, args, io)
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errSilent):
		return exitFailed
	case errors.As(err, &usage):
		complain(io.Err, err)
		return exitUsage
	default:
		complain(io.Err, err)
		return exitFailed
	}
}

// complain writes each line of err as one line of its own.
func complain(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "ostiary: %s\n", printable(strings.TrimRight(line, "\n")))
	}
}

func dispatch(ctx context.Context, args []string, io stdio) error {
	if len(args) == 0 {
		overview(io.Err)
		return usagef("no verb given; `ostiary help` lists them")
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		return help(args[1:], io)
	case "--version", "-version":
		args[0] = "version"
	}
	if v, ok := hiddenVerb(args[0]); ok {
		return invoke(ctx, v, args[1:], io)
	}
	v, rest, err := findVerb(args)
	if err != nil {
		return err
	}
	return invoke(ctx, v, rest, io)
}

// invoke parses flags wherever they stand and runs the verb. `--` ends them.
func invoke(ctx context.Context, v verb, args []string, io stdio) error {
	fs := flag.NewFlagSet(v.name, flag.ContinueOnError)
	fs.SetOutput(discard{})
	do := v.define(fs, io)
	words, err := parseFlags(fs, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(io.Out, v)
		return nil
	case err != nil:
		return usagef("%s: %s; `ostiary %s --help` lists its flags", v.name, flagError(fs, err), v.name)
	}
	return do(ctx, words)
}

// parseFlags lets flags and words stand in any order.
func parseFlags(fs *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		left := fs.Args()
		if len(left) == 0 {
			return words, nil
		}
		if used := len(args) - len(left); used > 0 && args[used-1] == "--" {
			return append(words, left...), nil
		}
		words = append(words, left[0])
		args = left[1:]
	}
}

// findVerb finds the verb that args begin with, two words before one.
func findVerb(args []string) (verb, []string, error) {
	for n := min(2, len(args)); n > 0; n-- {
		name := strings.Join(args[:n], " ")
		for _, v := range verbs() {
			if v.name == name {
				return v, args[n:], nil
			}
		}
		if slices.Contains(plannedVerbs, name) {
			return verb{}, nil, usagef("%s: not built yet in this version; `ostiary help` lists what is", name)
		}
	}
	var names, group []string
	for _, v := range verbs() {
		names = append(names, v.name)
		if first, second, two := strings.Cut(v.name, " "); two {
			names = append(names, first)
			if first == args[0] {
				group = append(group, second)
			}
		}
	}
	if len(group) > 0 {
		if len(args) == 1 || strings.HasPrefix(args[1], "-") {
			return verb{}, nil, usagef("%s: needs one of %s; `ostiary help %s` explains", args[0], strings.Join(group, ", "), args[0])
		}
		return verb{}, nil, usagef("%s: no verb %q%s; it has %s", args[0], args[1], didYouMean(args[1], group), strings.Join(group, ", "))
	}
	return verb{}, nil, usagef("no verb %q%s; `ostiary help` lists them", args[0], didYouMean(args[0], names))
}

// discard drops what package flag prints: this program says it itself.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
