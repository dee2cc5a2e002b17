package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/policy/rego"
)

// asked is one request as flags describe it.
type asked struct {
	user, client, tool, args, source, at, input string
	groups, labels, scopes                      words
	explain                                     bool
}

// words are the values of a flag that may stand several times.
type words []string

func (w *words) String() string { return strings.Join(*w, ",") }

func (w *words) Set(s string) error { *w = append(*w, s); return nil }

func policyEvalVerb() verb {
	v := verb{
		name: "policy eval", args: "[DIR]", short: "decide one request by the policies, and do nothing",
		long: "The request comes from flags, or as a whole input document from --input: what\n" +
			"policy/input.schema.json describes. Exit code 0 for a denial too; 1 when the rules fail.",
		examples: []string{
			`ostiary policy eval --user ann --group engineering --tool github/create_issue --args '{"title":"x"}'`,
			"ostiary policy eval --user ann --tool github/delete_repo --explain",
			"ostiary policy eval ./policies --input request.json --format json",
		},
	}
	v.define = func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
		load := configFlags(fs, io, "policies")
		format := formatFlag(fs, "table")
		var a asked
		fs.StringVar(&a.user, "user", "local", "`NAME` of the user")
		fs.Var(&a.groups, "group", "`GROUP` of the user; may stand several times")
		fs.StringVar(&a.tool, "tool", "", "the tool, as `UPSTREAM/NAME`")
		fs.StringVar(&a.args, "args", "", "arguments as a `JSON` object")
		fs.Var(&a.labels, "label", "`LABEL` of the tool in the catalog; may stand several times")
		fs.StringVar(&a.client, "client", "cli", "`ID` of the client")
		fs.Var(&a.scopes, "scope", "`SCOPE` of the token; may stand several times (default mcp)")
		fs.StringVar(&a.source, "source", "127.0.0.1", "`IP` address that the request comes from")
		fs.StringVar(&a.at, "at", "", "`TIME` of the request, such as 2026-01-31T15:04:05Z (default now)")
		fs.BoolVar(&a.explain, "explain", false, "also show each rule: whether it held, where it stopped, what it read")
		fs.StringVar(&a.input, "input", "", "`FILE` with an input document, - for stdin; goes without the flags above")
		return func(ctx context.Context, args []string) error {
			alone := true
			fs.Visit(func(f *flag.Flag) {
				switch f.Name {
				case "user", "group", "tool", "args", "label", "client", "scope", "source", "at":
					alone = false
				}
			})
			switch {
			case a.input != "" && !alone:
				return usagef("policy eval: --input is the whole request; leave the other flags out")
			case a.input == "" && a.tool == "":
				return usagef("policy eval: which request? name a tool with --tool UPSTREAM/NAME, or give --input")
			}
			c, dir, err := policyArgs(v.name, load, args)
			if err != nil {
				return err
			}
			r, err := a.request(c, io)
			if err != nil {
				return err
			}
			return policyEval(ctx, c, dir, r, a.explain, format, io)
		}
	}
	return v
}

// maxInput bounds --input.
const maxInput = 4 << 20

// request is what the flags ask, as the gateway would build it.
func (a *asked) request(c *config, world stdio) (*policy.Request, error) {
	if a.input != "" {
		return readInput(a.input, world)
	}
	upstream, name, ok := strings.Cut(a.tool, "/")
	if !ok || upstream == "" || name == "" {
		return nil, usagef("policy eval: --tool %q is not UPSTREAM/NAME", a.tool)
	}
	now := clock(c)()
	if a.at != "" {
		at, err := time.Parse(time.RFC3339, a.at)
		if err != nil {
			return nil, usagef("policy eval: --at %q is not a time; write 2026-01-31T15:04:05Z", a.at)
		}
		now = at.In(now.Location())
	}
	scopes := a.scopes
	if len(scopes) == 0 {
		scopes = words{"mcp"}
	}
	r := &policy.Request{
		Version:  policy.Version,
		Request:  policy.Act{Method: "tools/call", Kind: "tool", Era: "modern", Endpoint: "/mcp"},
		Upstream: upstream,
		Target:   policy.Target{Kind: "tool", Name: name, Labels: append([]string{}, a.labels...)},
		User:     policy.User{ID: "local:" + a.user, Name: a.user, Groups: append([]string{}, a.groups...), AMR: []string{}},
		Client:   policy.Client{ID: a.client, Kind: "static"},
		Grant:    policy.Grant{Scopes: scopes},
		Source:   policy.Source{IP: a.source},
		Time:     policy.At(now),
	}
	if a.args != "" {
		if !json.Valid([]byte(a.args)) || !strings.HasPrefix(strings.TrimSpace(a.args), "{") {
			return nil, usagef("policy eval: --args is not a JSON object")
		}
		r.Arguments = json.RawMessage(a.args)
	}
	return r, nil
}

// readInput reads a whole document. A field that there is not would be ignored
// by rules, and is a mistake.
func readInput(file string, world stdio) (*policy.Request, error) {
	from := world.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("policy eval: %w; check --input", err)
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("policy eval: reading --input: %w", err)
	case len(text) > maxInput:
		return nil, fmt.Errorf("policy eval: --input has more than %s", sizeWords(maxInput))
	}
	r := &policy.Request{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("policy eval: --input is not an input document: %w; policy/input.schema.json describes it", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("policy eval: --input has more than one document")
	}
	return r, nil
}

func policyEval(ctx context.Context, c *config, dir string, r *policy.Request, explain bool, format *format, io stdio) error {
	e, err := rego.Load(dir, policyOptions(c))
	if err != nil {
		return policiesRefused(dir, err)
	}
	d, failed := e.Decide(ctx, r)
	shown, err := e.Visible(ctx, r, []string{r.Upstream}, []policy.Target{r.Target})
	if err != nil {
		failed = errors.Join(failed, err)
	}
	report := struct {
		Allow       bool              `json:"allow"`
		Reasons     []string          `json:"reasons"`
		Obligations []json.RawMessage `json:"obligations"`
		Listed      bool              `json:"listed"`
		Revision    string            `json:"revision"`
		Failure     string            `json:"failure,omitempty"`
		Rules       []rego.RuleTrace  `json:"rules,omitempty"`
	}{d.Allow, append([]string{}, d.Reasons...), append([]json.RawMessage{}, d.Obligations...), err == nil && shown[0], d.Revision, "", nil}
	if explain {
		x, err := e.Explain(ctx, r)
		if err != nil {
			return err
		}
		report.Rules = x.Rules
	}
	if failed != nil {
		report.Failure = failed.Error()
	}
	if format.json() {
		if err := writeJSON(io.Out, report); err != nil {
			return err
		}
	} else {
		t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "decision\t%s\n", decisionWord(d.Allow))
		for _, reason := range d.Reasons {
			fmt.Fprintf(t, "reason\t%s\n", printable(reason))
		}
		for _, o := range d.Obligations {
			fmt.Fprintf(t, "obligation\t%s\n", o)
		}
		fmt.Fprintf(t, "listed\t%s\n", yesNo(report.Listed))
		if err := t.Flush(); err != nil {
			return err
		}
		var b strings.Builder
		showRules(report.Rules, &b, lineTo(&b))
		if _, err := fmt.Fprint(io.Out, b.String()); err != nil {
			return err
		}
	}
	if failed != nil {
		complain(io.Err, fmt.Errorf("the rules fail on this request, which denies it: %w", failed))
		return errSilent
	}
	return nil
}

func decisionWord(allow bool) string {
	if allow {
		return "allow"
	}
	return "deny"
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
