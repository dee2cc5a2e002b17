package main

import (
	"context"
	"errors"
	"time"

	"github.com/ostiary/ostiary/gateway/admin"
	"github.com/ostiary/ostiary/store/audit"
)

// sealedPart is what an operator's verb wants opened of a record.
type sealedPart struct {
	Why   string // the verb and what it is about, once for all parts; "" = said before
	Day   string
	Data  []byte
	Bound []byte
}

// openedPart is what stood in it.
type openedPart struct {
	Plain []byte
	OK    bool // false = there is no key of that day
}

// auditOperations open what records hold sealed, once it is on record that
// somebody does.
func (o *office) auditOperations() map[string]admin.Operation {
	return map[string]admin.Operation{
		"audit.open": operation(func(ctx context.Context, p sealedPart) (openedPart, error) {
			if p.Why != "" {
				if err := o.noteOpened(ctx, p.Why); err != nil {
					return openedPart{}, err
				}
			}
			plain, ok, err := o.store.OpenDay(p.Day, p.Data, p.Bound)
			return openedPart{plain, ok}, err
		}),
	}
}

func (o *office) noteOpened(ctx context.Context, why string) error {
	return o.audit.Append(ctx, &audit.Record{Kind: "event", Event: "audit.opened", Time: time.Now(), Detail: why})
}

// unsealer opens sealed parts of records for a verb: by the server that runs on the
// data directory, or here when there is none, but not before there is a part
// to open. It is an audit.Opener for one goroutine.
type unsealer struct {
	ctx    context.Context
	config *config
	io     stdio
	why    string

	office *office // nil = a server does it, or nothing was opened yet
	close  func() error
}

func newUnsealer(ctx context.Context, c *config, io stdio, why string) *unsealer {
	return &unsealer{ctx: ctx, config: c, io: io, why: why}
}

// OpenDay opens what was sealed for bound.
func (d *unsealer) OpenDay(day string, sealed, bound []byte) ([]byte, bool, error) {
	in := sealedPart{Why: d.why, Day: day, Data: sealed, Bound: bound}
	if d.office == nil {
		var out openedPart
		err := admin.Call(d.ctx, d.config.Data, "audit.open", in, &out)
		if !errors.Is(err, admin.ErrNoServer) {
			d.why = ""
			return out.Plain, out.OK, refused(err)
		}
		if err := d.open(); err != nil {
			return nil, false, err
		}
	}
	if d.why != "" {
		if err := d.office.noteOpened(d.ctx, d.why); err != nil {
			return nil, false, err
		}
		d.why = ""
	}
	return d.office.store.OpenDay(day, sealed, bound)
}

// open opens the office until Close.
func (d *unsealer) open() error {
	ready, done := make(chan struct{}), make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		failed <- openOffice(d.ctx, d.config, d.io, func(o *office) error {
			d.office = o
			close(ready)
			<-done
			return nil
		})
	}()
	select {
	case err := <-failed:
		return err
	case <-ready:
		d.close = func() error { close(done); return <-failed }
		return nil
	}
}

// Close ends what OpenDay opened.
func (d *unsealer) Close() error {
	if d.close == nil {
		return nil
	}
	return d.close()
}
