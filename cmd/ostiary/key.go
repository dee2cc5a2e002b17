package main

import (
	"context"
	"flag"
	"time"

	"github.com/ostiary/ostiary/gateway/admin"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store/audit"
)

func (o *office) storeOperations() map[string]admin.Operation {
	return map[string]admin.Operation{
		"key.rotate": operation(func(ctx context.Context, _ nothing) (nothing, error) {
			if err := o.store.RotateKeys(ctx); err != nil {
				return nothing{}, err
			}
			return nothing{}, o.record(ctx, "key.rotated", "")
		}),
		"backup": operation(func(ctx context.Context, _ nothing) (admin.Stream, error) {
			if err := o.record(ctx, "store.backup", ""); err != nil {
				return nil, err
			}
			return o.store.Backup, nil
		}),
	}
}

// record writes down what the operator did, of which no other part does.
func (o *office) record(ctx context.Context, event, clientID string) error {
	return o.audit.Append(ctx, &audit.Record{
		Format: audit.Format, Kind: "event", Event: event, Time: time.Now(), RequestedBy: "operator", Client: policy.Client{ID: clientID},
	})
}

func keyRotateVerb() verb {
	return verb{
		name: "key rotate", short: "make new keys for what is stored and handed out from now on",
		long: "What the older keys sealed still opens: nobody is signed out. The master key, which seals\n" +
			"these keys, stays.\n\nWorks beside a running server, over its admin socket, and without one.",
		examples: []string{"ostiary key rotate"},
		define: func(fs *flag.FlagSet, io stdio) func(context.Context, []string) error {
			load := officeFlags(fs, io)
			format := formatFlag(fs, "text")
			return func(ctx context.Context, args []string) error {
				if err := noWords("key rotate", args); err != nil {
					return err
				}
				c, err := load()
				if err != nil {
					return err
				}
				if err := ask(ctx, c, io, "key.rotate", nothing{}, nil); err != nil {
					return err
				}
				return showDone(io, format, map[string]bool{"rotated": true}, "rotated the keys of "+c.Data)
			}
		},
	}
}
