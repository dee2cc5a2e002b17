package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"

	"github.com/ostiary/ostiary/authserver"
	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/gateway/admin"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// office is what the operator's verbs work on: the accounts of one data
// directory. A running server has one behind its admin socket; without a server
// a verb opens its own. Either way the same operations run.
type office struct {
	config   *config
	store    *store.Store
	audit    *audit.Log
	accounts *authserver.Server
}

// operations are all that verbs may ask for, by name.
func (o *office) operations() map[string]admin.Operation {
	all := map[string]admin.Operation{}
	for _, some := range []map[string]admin.Operation{o.userOperations(), o.clientOperations(), o.tokenOperations(), o.storeOperations(), o.auditOperations(), o.digestOperations()} {
		maps.Copy(all, some)
	}
	return all
}

// operation makes an Operation of a function over its own types.
func operation[In, Out any](do func(ctx context.Context, in In) (Out, error)) admin.Operation {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var in In
		if err := json.Unmarshal(raw, &in); err != nil {
			return nil, fmt.Errorf("the request can't be read: %w; is the server of another version than this program?", err)
		}
		out, err := do(ctx, in)
		var wrong *usageError
		if errors.As(err, &wrong) {
			return nil, &admin.Refusal{Kind: refusalUsage, Text: wrong.text}
		}
		return out, err
	}
}

// nothing is the in or out of an operation that has none.
type nothing struct{}

// refusalUsage marks a refusal of what was asked, as usageError does here.
const refusalUsage = "usage"

// ask has the server that runs on the data directory do an operation, or does
// it here when there is none.
func ask(ctx context.Context, c *config, io stdio, name string, in, out any) error {
	err := admin.Call(ctx, c.Data, name, in, out)
	if !errors.Is(err, admin.ErrNoServer) {
		return refused(err)
	}
	return openOffice(ctx, c, io, func(o *office) error {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		answer, err := o.operations()[name](ctx, raw)
		if err != nil || out == nil {
			return refused(err)
		}
		if raw, err = json.Marshal(answer); err != nil {
			return err
		}
		return json.Unmarshal(raw, out)
	})
}

// fetch is ask for an operation whose answer is a stream.
func fetch(ctx context.Context, c *config, stdio stdio, name string, in any, w io.Writer) error {
	err := admin.Fetch(ctx, c.Data, name, in, w)
	if !errors.Is(err, admin.ErrNoServer) {
		return refused(err)
	}
	return openOffice(ctx, c, stdio, func(o *office) error {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		answer, err := o.operations()[name](ctx, raw)
		if err != nil {
			return refused(err)
		}
		return answer.(admin.Stream)(w)
	})
}

// refused gives an operation's refusal its place among the errors of verbs.
func refused(err error) error {
	if r, ok := errors.AsType[*admin.Refusal](err); ok && r.Kind == refusalUsage {
		return &usageError{r.Text}
	}
	return err
}

// openOffice opens the data directory, making store and keyring when there are
// none, and closes it again after work.
func openOffice(ctx context.Context, c *config, io stdio, work func(*office) error) (err error) {
	o := &office{config: c}
	if o.store, err = store.Open(c.Data, store.Options{MasterKey: c.MasterKey}); err != nil {
		return storeRefused(c, err)
	}
	defer func() { err = errors.Join(err, closing("store", o.store.Close())) }()
	log := quietLogger(io)
	if o.audit, err = openAudit(c, log, discreet(c, o.store, nil, log)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing("audit log", o.audit.Close())) }()
	if o.accounts, err = newAccounts(ctx, c, o.store, o.audit, nil, log, nil); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing("accounts", o.accounts.Close())) }()
	return work(o)
}

func openAudit(c *config, log *slog.Logger, options ...func(*audit.Options) error) (*audit.Log, error) {
	signer, err := audit.OpenSigner(c.Data)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	o := audit.Options{
		Deadline: c.AuditDeadline, SegmentSize: c.AuditSegmentSize, Logger: log.With("part", "audit"),
		Signer: signer, CheckpointEvery: c.CheckpointEvery, Outside: c.outside(), Retention: c.Retention,
	}
	for _, set := range options {
		if err := set(&o); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
	}
	l, err := audit.Open(c.Data, o)
	if err != nil {
		return nil, fmt.Errorf("audit log in %s: %w", c.Data, err)
	}
	return l, nil
}

// storeRefused says what to do about a store that can't be opened.
func storeRefused(c *config, err error) error {
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("data directory %s: %w, which has no admin socket; wait until it has started or ended, or end it", c.Data, err)
	}
	return fmt.Errorf("data directory %s: %w", c.Data, err)
}

// checkedClient checks a client that an operator adds as one of the configuration
// is checked, and gives it the same defaults.
func checkedClient(c store.Client, privateSchemes []string) (store.Client, error) {
	r := client.Registry{Static: []store.Client{c}, PrivateSchemes: privateSchemes}
	if err := r.Check(); err != nil {
		return c, err
	}
	return r.Static[0], nil
}
