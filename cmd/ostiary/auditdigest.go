package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/ostiary/ostiary/gateway/admin"
)

// digests are what records may have of the same bytes.
type digests struct {
	Plain string `json:"sha256"`
	Keyed string `json:"hmac_sha256"`
}

func (o *office) digestOperations() map[string]admin.Operation {
	return map[string]admin.Operation{
		"audit.digest": operation(func(_ context.Context, d digests) (digests, error) {
			r, err := newRedactor(o.config, o.store)
			if err != nil {
				return d, err
			}
			d.Keyed = r.Keyed(d.Plain)
			return d, nil
		}),
	}
}

func auditDigestVerb() verb {
	return verb{
		name: "audit digest", args: "FILE", short: "print the digests that records have of these bytes",
		long: "Records name arguments and results by the SHA-256 of the bytes as they were sent, and those\n" +
			"with a redacted value by a keyed hash of it, since a plain one would tell a short secret to\n" +
			"whoever tries all. FILE holds the bytes; - is stdin. They do not leave this process.\n\n" +
			"Works beside a running server, over its admin socket, and without one.",
		examples: []string{"ostiary audit digest arguments.json"},
		define: func(fs *flag.FlagSet, stdio stdio) func(context.Context, []string) error {
			load := officeFlags(fs, stdio)
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				if len(args) != 1 {
					return usagef("audit digest: name one file, or - for stdin")
				}
				c, err := load()
				if err != nil {
					return err
				}
				d, err := digestOf(args[0], stdio)
				if err != nil {
					return err
				}
				if err := ask(ctx, c, stdio, "audit.digest", d, &d); err != nil {
					return err
				}
				if format.json() {
					return writeJSON(stdio.Out, d)
				}
				_, err = fmt.Fprintf(stdio.Out, "sha256       %s\nhmac_sha256  %s\n", d.Plain, d.Keyed)
				return err
			}
		},
	}
}

// digestOf hashes a file, or stdin.
func digestOf(name string, stdio stdio) (d digests, err error) {
	in := stdio.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return d, fmt.Errorf("audit digest: %w", err)
		}
		defer f.Close()
		in = f
	}
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return d, fmt.Errorf("audit digest: %w", err)
	}
	d.Plain = hex.EncodeToString(h.Sum(nil))
	return d, nil
}
