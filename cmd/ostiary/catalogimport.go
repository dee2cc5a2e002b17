package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	goio "io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ostiary/ostiary/catalogs"
)

func catalogImportVerb() verb {
	return verb{
		name: "catalog import", args: "FILE|-", short: "turn another tool's list of servers into a catalog file",
		long: "Reads mcpServers (Claude Desktop, Claude Code, Cursor, Windsurf, Gemini CLI), servers\n" +
			"(VS Code), a server.json of the MCP Registry, or a piece of one of them on stdin (-).\n" +
			"Secrets that are written out there become references to variables, which are listed.\n" +
			"Prints the catalog file, or writes it to --out, never over another one without --force.\n" +
			"What can't be carried over is said on stderr and stands as a comment in the result; an\nentry that lost something that matters is off (enabled: false).",
		examples: []string{
			"ostiary catalog import ~/.cursor/mcp.json --out catalogs/cursor.yaml",
			"ostiary catalog import server.json --name weather",
			`echo '{"command": "uvx", "args": ["mcp-server-time"]}' | ostiary catalog import - --name time`,
		},
		define: func(flags *flag.FlagSet, io stdio) func(context.Context, []string) error {
			name := flags.String("name", "", "call the one server in it `NAME`")
			out := flags.String("out", "", "write to this `FILE`")
			force := flags.Bool("force", false, "write over a file that is there")
			format := formatFlag(flags, "text")
			return func(_ context.Context, args []string) error {
				switch {
				case len(args) != 1:
					return usagef("catalog import: which FILE? - reads stdin")
				case *force && *out == "":
					return usagef("catalog import: --force goes with --out")
				}
				content, err := importSource(args[0], io)
				if err != nil {
					return err
				}
				return catalogImport(args[0], *name, *out, *force, content, format, io)
			}
		},
	}
}

// importSource reads one byte more than an import takes, so that too much is
// told from just enough.
func importSource(file string, io stdio) ([]byte, error) {
	in := io.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("catalog import: %w; check the path, or give - for stdin", err)
		}
		defer f.Close()
		in = f
	}
	content, err := goio.ReadAll(goio.LimitReader(in, catalogs.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("catalog import: reading %s: %w", file, err)
	}
	return content, nil
}

// importedVariable is a catalogs.Variable as JSON.
type importedVariable struct {
	Name     string   `json:"name"`
	Keys     []string `json:"keys"`
	Hidden   bool     `json:"was_written_out"`
	Optional bool     `json:"optional"`
	Words    string   `json:"description,omitempty"`
}

func catalogImport(file, name, out string, force bool, content []byte, format *format, io stdio) error {
	source := filepath.Base(file)
	if file == "-" {
		source = "stdin"
	}
	imported, err := catalogs.Import(source, name, content)
	var problems catalogs.Problems
	switch {
	case errors.Is(err, catalogs.ErrUnnamed):
		return usagef("catalog import: %v; correct --name NAME", err)
	case errors.As(err, &problems):
		return errors.Join(err, fmt.Errorf("catalog import: %s; nothing was written", plural(len(problems), "problem")))
	case err != nil:
		return fmt.Errorf("catalog import: %w", err)
	}
	if out != "" {
		if err := writeCatalog(out, imported.YAML, force); err != nil {
			return fmt.Errorf("catalog import: %w", err)
		}
	}
	if format.json() {
		return importJSON(imported, out, io)
	}
	for _, w := range imported.Warnings {
		fmt.Fprintf(io.Err, "warning: %s\n", printable(w.String()))
	}
	for _, v := range imported.Variables {
		if !v.Optional {
			fmt.Fprintf(io.Err, "set %s before the gateway reads this: %s\n", v.Name, strings.Join(v.Keys, ", "))
		}
	}
	if out != "" {
		_, err = fmt.Fprintf(io.Out, "%s: %s (%s); `ostiary catalog check` judges it\n", out, plural(len(imported.Upstreams), "upstream"), strings.Join(imported.Upstreams, ", "))
	} else {
		_, err = io.Out.Write(imported.YAML)
	}
	return err
}

func importJSON(imported *catalogs.Imported, out string, io stdio) error {
	report := struct {
		Out       string             `json:"out,omitempty"`
		Upstreams []string           `json:"upstreams"`
		Variables []importedVariable `json:"variables"`
		Warnings  []problemLine      `json:"warnings"`
		YAML      string             `json:"yaml"`
	}{out, imported.Upstreams, []importedVariable{}, problemLines(imported.Warnings), string(imported.YAML)}
	for _, v := range imported.Variables {
		report.Variables = append(report.Variables, importedVariable(v))
	}
	return writeJSON(io.Out, report)
}

// writeCatalog writes a catalog file: with force over what is there, in one
// step, so that a gateway which watches the directory never reads half of it.
func writeCatalog(path string, content []byte, force bool) error {
	if !force {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s is there already; name another --out, or write over it with --force", path)
		}
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		return errors.Join(err, f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".import-*") // hidden: no catalog file
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
