package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ostiary/ostiary/catalogs"
	"github.com/ostiary/ostiary/federation"
	"github.com/ostiary/ostiary/gateway/wire"
)

func toolsListVerb() verb {
	return verb{
		name: "tools list", short: "list the tools that agents see, and whose they are",
		long: "Connects to the enabled upstreams itself; no server is needed. With --as or a token, only what\n" +
			"that user may call, as the running server says, or this process where none runs.",
		examples: []string{"ostiary tools list", "ostiary tools list --as alice --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "listen", "public-url", "catalogs", "data", "policies")
			as := askerFlags(fs, io)
			url := fs.String("url", "", "with --as or a token: endpoint `URL` of a running server")
			format := formatFlag(fs, "table")
			return func(ctx context.Context, args []string) error {
				if err := noWords("tools list", args); err != nil {
					return err
				}
				who, err := as()
				if err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				catalog, err := catalogs.Load(c.Catalogs, catalogOptions(c, io))
				if err != nil {
					return catalogRefused(c.Catalogs, err)
				}
				var only map[string]bool // nil = all
				if !who.local() {
					d, err := openDoor(ctx, c, io, *url, who)
					if err != nil {
						return err
					}
					only, err = d.visible(ctx)
					d.end()
					if err != nil {
						return err
					}
				}
				return toolsList(ctx, c, catalog, only, format, io)
			}
		},
	}
}

// listedTool is one row of `tools list`.
type listedTool struct {
	Name     string   `json:"name"` // in the merged namespace
	Upstream string   `json:"upstream"`
	Own      string   `json:"own_name"`
	Title    string   `json:"title,omitempty"` // or the first line of the description
	Labels   []string `json:"labels"`
	Digest   string   `json:"digest"`
}

func toolsList(ctx context.Context, c *config, catalog *catalogs.Catalog, only map[string]bool, format *format, io stdio) error {
	fed, err := openFederation(ctx, c, catalog, catalogTestTime)
	if err != nil {
		return err
	}
	rows := []listedTool{}
	for _, i := range fed.Snapshot().List(federation.Merged, federation.Tool) {
		if only != nil && !only[i.Exposed] {
			continue
		}
		rows = append(rows, listedTool{i.Exposed, i.Upstream.Name, i.Name, titleOf(i.Own), append([]string{}, i.Labels...), i.Digest})
	}
	var down []error
	for _, s := range fed.Status() {
		if s.State != "ready" && s.State != "disabled" {
			down = append(down, fmt.Errorf("upstream %s is %s: %s; its tools are missing", s.Name, s.State, cmp.Or(s.Detail, "no answer yet")))
		}
	}
	if err := closeFederation(ctx, fed); err != nil {
		down = append(down, err)
	}
	if format.json() {
		err = writeJSON(io.Out, rows)
	} else {
		t := tabwriter.NewWriter(io.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "NAME\tUPSTREAM\tOWN NAME\tTITLE")
		for _, r := range rows {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.Name, r.Upstream, printable(r.Own), r.Title)
		}
		err = t.Flush()
	}
	if err != nil {
		return err
	}
	// What is listed is right as far as it goes; that it is not all is a failure.
	return errors.Join(down...)
}

// titleOf is what people may call a tool: its title, else the first line of
// its description, at most 60 letters.
func titleOf(definition []byte) string {
	var d struct {
		Title       string
		Description string
		Annotations struct{ Title string }
	}
	if json.Unmarshal(definition, &d) != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(cmp.Or(d.Title, d.Annotations.Title, d.Description)), "\n")
	return clipped(printable(line), cellLetters)
}

// callTime bounds one `tools call`.
const callTime = 2 * time.Minute

func toolsCallVerb() verb {
	return verb{
		name: "tools call", args: "NAME [KEY=VALUE...]", short: "call a tool through the gateway: decided and recorded like an agent's call",
		long: "Speaks to the server at --url, by default the one that runs on --listen; without a\n" +
			"server it opens the data directory and serves itself for this one call. A VALUE that is\n" +
			"JSON is taken as such, anything else as text. Exit code 1 when the tool reports an error.",
		examples: []string{
			"ostiary tools call hello__echo text=hi",
			`ostiary tools call github__create_issue --as alice --args '{"title":"Door sticks"}'`,
			"ostiary tools call hello__echo text=hi --url http://127.0.0.1:8080/mcp --format json",
		},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "listen", "public-url", "catalogs", "data", "policies")
			as := askerFlags(fs, io)
			args := fs.String("args", "", "arguments as one `JSON` object")
			url := fs.String("url", "", "endpoint `URL` of a running server")
			format := formatFlag(fs, "text")
			return func(ctx context.Context, words []string) error {
				if len(words) == 0 {
					return usagef("tools call: which tool? `ostiary tools list` shows their names")
				}
				who, err := as()
				if err != nil {
					return err
				}
				arguments, err := callArguments(*args, words[1:])
				if err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(ctx, callTime)
				defer cancel()
				return toolsCall(ctx, c, io, *url, who, words[0], arguments, format)
			}
		},
	}
}

// callArguments makes the raw arguments object of --args and key=value words.
func callArguments(object string, words []string) ([]byte, error) {
	if object != "" {
		if len(words) > 0 {
			return nil, usagef("tools call: --args and KEY=VALUE don't go together")
		}
		o, err := wire.Fields([]byte(object))
		if err != nil {
			return nil, usagef("tools call: --args is not a JSON object")
		}
		return o.Raw, nil
	}
	out := []byte{'{'}
	for i, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok || key == "" {
			return nil, usagef("tools call: %q is not KEY=VALUE", w)
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(wire.AppendString(out, key), ':')
		if json.Valid([]byte(value)) {
			out = append(out, value...)
		} else {
			out = wire.AppendString(out, value)
		}
	}
	return append(out, '}'), nil
}

func toolsCall(ctx context.Context, c *config, io stdio, url string, who asker, name string, arguments []byte, format *format) error {
	client, err := openDoor(ctx, c, io, url, who)
	if err != nil {
		return err
	}
	defer client.end()
	params := append(wire.AppendString([]byte(`{"name":`), name), `,"arguments":`...)
	params = append(append(params, arguments...), '}')
	result, err := client.call(ctx, "tools/call", params)
	if err != nil {
		return fmt.Errorf("tools call %s: %w", name, err)
	}
	return showResult(name, result, format, io)
}

// openForCall composes the gateway over the data directory for one call.
func openForCall(ctx context.Context, c *config, io stdio) (*house, error) {
	catalog, err := catalogs.Load(c.Catalogs, catalogOptions(c, io))
	if err != nil {
		return nil, catalogRefused(c.Catalogs, err)
	}
	h, err := buildHouse(ctx, c, catalog, quietLogger(io))
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, catalogTestTime)
	defer cancel()
	h.federation.Settle(wait)
	return h, nil
}

// showResult prints text content, without what would steer the terminal, and
// names the rest. --format json has every byte.
func showResult(name string, result []byte, format *format, io stdio) error {
	var r struct {
		IsError bool
		Content []struct{ Type, Text, MimeType, URI string }
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return fmt.Errorf("tools call %s: the answer is not a tool result", name)
	}
	if format.json() {
		fmt.Fprintf(io.Out, "%s\n", result)
	} else {
		for _, c := range r.Content {
			if c.Type == "text" {
				fmt.Fprintln(io.Out, printableText(strings.TrimSuffix(c.Text, "\n")))
			} else {
				fmt.Fprintf(io.Out, "[%s %s]\n", printable(c.Type), printable(cmp.Or(c.MimeType, c.URI)))
			}
		}
	}
	if r.IsError {
		complain(io.Err, fmt.Errorf("tools call %s: the tool reports an error", name))
		return errSilent
	}
	return nil
}
