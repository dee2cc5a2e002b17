package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// illnesses are the first path elements of the ill upstream, each an upstream
// of its own.
var illnesses = []string{"hanging", "garbage", "flapping"}

// benchIllVerb serves upstreams that are well until GET /fall.
func benchIllVerb() verb {
	return verb{name: "bench-ill", short: "bad neighbours of bench",
		define: func(fs *flag.FlagSet, std stdio) func(context.Context, []string) error {
			tools := fs.Int("tools", 1, "")
			return func(ctx context.Context, _ []string) error {
				return serveOnLoopback(ctx, newIll(newEcho(*tools)), std)
			}
		}}
}

// newIll is well until GET /fall, and then as each of the illnesses.
func newIll(well http.Handler) http.Handler {
	var fallen atomic.Pointer[time.Time]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		if r.URL.Path == "/fall" {
			fallen.CompareAndSwap(nil, &now)
			return
		}
		since := fallen.Load()
		if since == nil {
			well.ServeHTTP(w, r)
			return
		}
		illness, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		switch illness {
		case "hanging":
			_, _ = io.Copy(io.Discard, r.Body) // net/http notices that the caller hung up after that alone
			<-r.Context().Done()
		case "garbage":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(bytes.Repeat([]byte("{\x00]<html>"), 1<<10)) // the caller may be gone
		case "flapping":
			if now.Sub(*since)/flapTime%2 == 0 {
				panic(http.ErrAbortHandler)
			}
			well.ServeHTTP(w, r)
		}
	})
}

// besides is what goes on beside a cell without being part of its figures.
type besides struct {
	work    sync.WaitGroup
	longest time.Duration // of the lists within the window; read after work ended
}

const (
	besidePace = 50 * time.Millisecond // between two requests of one agent
	stuckCalls = 8                     // agents of each tool that one suffers from
)

// start begins what the plan wants beside its cell. A list that fails ends the
// cell; a call of an ill upstream may end as it will.
func (b *besides) start(ctx context.Context, cancel context.CancelCauseFunc, p *cellPlan, measuring *atomic.Bool) error {
	open := func(plan cellPlan) (*benchAgent, error) {
		a := &benchAgent{plan: &plan}
		if err := a.open(); err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { a.conn.Close() })
		return a, nil
	}
	for _, tool := range p.Suffer {
		for range stuckCalls {
			plan := *p
			plan.Tool = tool
			a, err := open(plan)
			if err != nil {
				return err
			}
			b.work.Go(func() {
				defer a.conn.Close()
				for ctx.Err() == nil {
					_ = a.exchange(a.request) // HTTP errors and refusals are what is expected
					pause(ctx, stuckCalls*besidePace)
				}
			})
		}
	}
	if p.Lists == 0 {
		return nil
	}
	plan := *p
	plan.List, plan.Tools = true, p.Lists
	a, err := open(plan)
	if err != nil {
		return err
	}
	b.work.Go(func() {
		defer a.conn.Close()
		for ctx.Err() == nil {
			start := time.Now()
			if err := a.list(); err != nil {
				if ctx.Err() == nil {
					cancel(err)
				}
				return
			}
			if measuring.Load() {
				b.longest = max(b.longest, time.Since(start))
			}
			pause(ctx, besidePace)
		}
	})
	return nil
}
