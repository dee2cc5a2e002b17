package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/ostiary/ostiary/store"
)

var endChapters = map[string]func(*testing.T, *Place){
	"an ended context changes nothing":               endedContext,
	"a closed store refuses":                         closedRefuses,
	"nothing acknowledged is missing after Close":    closeKeeps,
	"verbs of many callers are all there afterwards": manyVerbs,
}

func endedContext(t *testing.T, p *Place) {
	b := p.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	end := p.Now().Add(time.Hour)
	if ok, err := b.InsertIfAbsent(ctx, "c", "k", end); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", ok, err)
	}
	if _, err := b.Present(ctx, "c", "k"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := b.SaveSnapshot(ctx, "u", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if present(t, b, "c", "k") {
		t.Error("it ran all the same")
	}
}

func closedRefuses(t *testing.T, p *Place) {
	b := p.Open(t)
	if err := errors.Join(b.Err(), b.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	_, insertErr := b.InsertIfAbsent(t.Context(), "c", "k", p.Now().Add(time.Hour))
	_, presentErr := b.Present(t.Context(), "c", "k")
	for i, err := range []error{insertErr, presentErr, b.Err(), b.Backup(io.Discard), b.RotateKeys(t.Context())} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func closeKeeps(t *testing.T, p *Place) {
	b := p.Open(t)
	var wg sync.WaitGroup
	var kept sync.Map
	for i := range 32 {
		wg.Go(func() {
			key := fmt.Sprint(i)
			ok, err := b.InsertIfAbsent(t.Context(), "c", key, p.Now().Add(time.Hour))
			if err == nil && ok {
				kept.Store(key, true)
			} else if !errors.Is(err, store.ErrClosed) {
				t.Error(ok, err)
			}
		})
	}
	b.Close()
	wg.Wait()
	b = p.Open(t)
	kept.Range(func(key, _ any) bool {
		if !present(t, b, "c", key.(string)) {
			t.Errorf("%s is lost", key)
		}
		return true
	})
}

func manyVerbs(t *testing.T, p *Place) {
	b := p.Open(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprint("u", i)
			for n := range 10 {
				if err := b.SaveSnapshot(t.Context(), name, fmt.Append(nil, i, n)); err != nil {
					t.Error(err)
				}
				if v, err := b.LoadSnapshot(t.Context(), name); err != nil || string(v) != fmt.Sprint(i, n) {
					t.Errorf("%q, %v", v, err)
				}
			}
		})
	}
	wg.Wait()
}
