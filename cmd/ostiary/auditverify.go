package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ostiary/ostiary/store/audit"
)

func auditVerifyVerb() verb {
	return verb{
		name: "audit verify", short: "check the hash chain and the signed checkpoints of the audit log",
		long: "Finds records that were changed, removed, inserted or moved. Also works beside a running\n" +
			"server, and on a copy of DIR/audit. What it can find depends on what it is given:\n" +
			"--checkpoint FILE (a copy from audit.checkpoint: notes, or syslog lines) finds a log whose\n" +
			"end was cut off together with its checkpoints; --key (a file, or the text that\n" +
			"`ostiary audit key` prints) finds one that was signed anew. Both may be repeated. Without\n" +
			"them it takes key and checkpoints from beside the log, and says what that can't prove.",
		examples: []string{"ostiary audit verify", "ostiary audit verify --checkpoint /mnt/worm/checkpoints --key /etc/ostiary/audit.pub", "ostiary audit verify --data /var/lib/ostiary --format json"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "data")
			format := formatFlag(fs, "text")
			var v audit.Verifier
			fs.Func("checkpoint", "hold the log against the checkpoints in this `FILE`, kept elsewhere", func(path string) error { return readOutside(&v, path) })
			fs.Func("key", "trust this public key alone: a `FILE`, or the key itself", func(s string) error { return readKeys(&v, s) })
			return func(_ context.Context, args []string) error {
				if err := noWords("audit verify", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				if err := dataExists(c.Data); err != nil {
					return err
				}
				report, bad := v.Verify(c.Data)
				if format.json() {
					err = writeJSON(io.Out, report)
				} else {
					err = showVerified(io, report, bad == nil)
				}
				if bad != nil {
					return fmt.Errorf("%w; what stands before it is sound, what follows is not proven", bad)
				}
				return err
			}
		},
	}
}

func readOutside(v *audit.Verifier, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	found, err := audit.ParseCheckpoints(b)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case len(found) == 0:
		return fmt.Errorf("%s holds no checkpoint", path)
	}
	v.Outside = append(v.Outside, found...)
	return nil
}

// readKeys takes a key as it is, or a file of keys.
func readKeys(v *audit.Verifier, s string) error {
	if k, err := audit.ParseKey(s); err == nil {
		v.Keys = append(v.Keys, k)
		return nil
	}
	b, err := os.ReadFile(s)
	if err != nil {
		return errors.New("is neither a public key, as `ostiary audit key` prints it, nor a file that can be read")
	}
	keys, err := audit.ParseKeys(b)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", s, err)
	case len(keys) == 0:
		return fmt.Errorf("%s holds no key", s)
	}
	v.Keys = append(v.Keys, keys...)
	return nil
}

// showVerified says what was found, and what that does not prove.
func showVerified(io stdio, r audit.Report, sound bool) error {
	fmt.Fprintf(io.Out, "%d records, %d to %d, in %s; head %s\n", r.Records, r.First, r.Last, plural(r.Segments, "segment"), r.Head)
	if r.SignedAt != nil {
		fmt.Fprintf(io.Out, "%s, up to record %d at %s, signed by %s\n", plural(r.Checkpoints, "checkpoint"), r.Signed, r.SignedAt.Format(time.RFC3339), r.Key)
	}
	if r.Outside > 0 {
		fmt.Fprintf(io.Out, "checkpoints from elsewhere cover records up to %d\n", r.Outside)
	}
	if !sound {
		return nil
	}
	if r.First > 1 {
		fmt.Fprintf(io.Out, "records before %d were removed by retention, as a signed checkpoint says\n", r.First)
	}
	var open []string
	if r.Checkpoints == 0 {
		open = append(open, "nothing is signed: who can write to the log could have written all of it anew")
	} else {
		if r.Last > r.Signed {
			open = append(open, fmt.Sprintf("records %d to %d are newer than the last checkpoint", r.Signed+1, r.Last))
		}
		if r.Outside == 0 {
			open = append(open, "no checkpoint from elsewhere was given: an end that was cut off with its checkpoints is not found; give --checkpoint FILE")
		}
		if !r.Pinned {
			open = append(open, "the key was taken from beside the log: a log that was signed anew is not found; give --key")
		}
	}
	for _, line := range open {
		if _, err := fmt.Fprintf(io.Out, "not proven: %s\n", line); err != nil {
			return err
		}
	}
	return nil
}

func auditKeyVerb() verb {
	return verb{
		name: "audit key", short: "print the public key that the audit log's checkpoints are signed with",
		long:     "Keep it elsewhere and give it to audit verify --key. Its text is a verifier key of C2SP\nsigned notes. --format json also lists older keys that signed parts of the log.",
		examples: []string{"ostiary audit key > /etc/ostiary/audit.pub"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := configFlags(fs, io, "data")
			format := formatFlag(fs, "text")
			return func(_ context.Context, args []string) error {
				if err := noWords("audit key", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				if err := dataExists(c.Data); err != nil {
					return err
				}
				keys, err := audit.PublicKeys(c.Data)
				if err != nil {
					return err
				}
				if len(keys) == 0 {
					return fmt.Errorf("the audit log in %s was never signed; `ostiary serve` makes a key when it starts", c.Data)
				}
				words := []string{}
				for _, k := range slices.Backward(keys) {
					words = append(words, k.String())
				}
				if format.json() {
					return writeJSON(io.Out, map[string]any{"key": words[0], "older": words[1:]})
				}
				_, err = fmt.Fprintln(io.Out, words[0])
				return err
			}
		},
	}
}
