package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// failing is a failpoint that one test sets.
type failing struct{ err atomic.Pointer[error] }

func (f *failing) set(err error) { f.err.Store(&err) }

func (f *failing) at(point string) func(string) error {
	return func(p string) error {
		if e := f.err.Load(); e != nil && p == point {
			return *e
		}
		return nil
	}
}

func TestErrorBeforeTheCommitChangesNothingAndIsOver(t *testing.T) {
	var f failing
	s := open(t, t.TempDir(), Options{Fail: f.at("commit.before")})
	f.set(syscall.ENOSPC)
	if ok, err := s.InsertIfAbsent(t.Context(), "c", "k", time.Now().Add(time.Hour)); ok || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(ok, err)
	}
	f.set(nil)
	if ok, err := s.Present(t.Context(), "c", "k"); ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := s.InsertIfAbsent(t.Context(), "c", "k", time.Now().Add(time.Hour)); !ok || err != nil {
		t.Error(ok, err)
	}
}

func TestErrorOfACommitStopsWritesUntilReopened(t *testing.T) {
	dir := t.TempDir()
	var f failing
	s := open(t, dir, Options{Fail: f.at("commit.after")})
	if err := s.SaveSnapshot(t.Context(), "u", []byte("before")); err != nil {
		t.Fatal(err)
	}
	f.set(syscall.EIO)
	if err := s.SaveSnapshot(t.Context(), "v", []byte("maybe")); !errors.Is(err, ErrBroken) || !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	f.set(nil)
	if err := s.SaveSnapshot(t.Context(), "u", []byte("after")); !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
	if err := s.Err(); !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
	if v, err := s.LoadSnapshot(t.Context(), "u"); err != nil || string(v) != "before" {
		t.Errorf("reading stops too: %q, %v", v, err)
	}
	s.Close()
	s = open(t, dir, Options{})
	if err := errors.Join(s.Err(), s.SaveSnapshot(t.Context(), "u", []byte("after"))); err != nil {
		t.Error(err)
	}
}

func TestFullDiskIsToldFromABrokenOne(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	var id int
	tx, err := s.db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	id = tx.ID()
	tx.Rollback()
	if err := s.failed(id, syscall.ENOSPC); !errors.Is(err, ErrFull) || s.Err() != nil {
		t.Errorf("not visible: %v, %v", err, s.Err())
	}
	if err := s.failed(id-1, syscall.ENOSPC); !errors.Is(err, ErrBroken) || s.Err() == nil {
		t.Errorf("visible: %v, %v", err, s.Err())
	}
}

func TestVerbThatFailsDoesNotSpoilItsBatch(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	boom := errors.New("boom")
	put := func(key string, err error, crash bool) func(*txn) error {
		return func(t *txn) error {
			if e := t.put(bucketExpiry, []byte(key), nil); e != nil {
				return e
			}
			if crash {
				panic("crash")
			}
			return err
		}
	}
	verbs := []*verb{
		{run: put("a", nil, false)}, {run: put("b", boom, false)}, {run: func(*txn) error { return boom }},
		{run: put("c", nil, false)}, {run: put("d", nil, true)}, {run: put("e", nil, false)},
	}
	for _, v := range verbs {
		v.done = make(chan struct{})
	}
	gone := &verb{run: put("withdrawn", nil, false), done: make(chan struct{})}
	gone.state.Store(withdrawn)
	s.commit(append(verbs[:len(verbs):len(verbs)], gone))
	for i, want := range []string{"", "boom", "boom", "", "a store verb failed: crash", ""} {
		<-verbs[i].done
		got := ""
		if verbs[i].err != nil {
			got = verbs[i].err.Error()
		}
		if got != want {
			t.Errorf("verb %d: %q, want %q", i, got, want)
		}
	}
	var there []string
	err := s.do(t.Context(), func(t *txn) error {
		return t.tx.Bucket([]byte(bucketExpiry)).ForEach(func(k, _ []byte) error { there = append(there, string(k)); return nil })
	})
	if got := strings.Join(there, ""); err != nil || got != "ace" {
		t.Errorf("%q stands in the database, %v", got, err)
	}
}

func TestConcurrentVerbsShareCommits(t *testing.T) {
	var commits atomic.Int32
	s := open(t, t.TempDir(), Options{Fail: func(p string) error {
		if p == "commit.before" {
			commits.Add(1)
		}
		return nil
	}})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := range 5 {
				if ok, err := s.InsertIfAbsent(t.Context(), "c", fmt.Sprint(i, " ", n), time.Now().Add(time.Hour)); !ok || err != nil {
					t.Error(ok, err)
				}
			}
		})
	}
	wg.Wait()
	if n := commits.Load(); n > 64*5/3 {
		t.Errorf("%d commits for %d verbs", n, 64*5)
	}
}

func TestSweepRemovesWhatExpiredAndNothingElse(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{Now: c.now})
	ctx := t.Context()
	for i := range 10 {
		if ok, err := s.InsertIfAbsent(ctx, "c", fmt.Sprint(i), c.now().Add(time.Duration(i+1)*time.Minute)); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	// Someone moved an index entry forward: the sealed record decides.
	name := s.keys.Load().name(bucketOnce, "c", "9")
	if err := s.do(ctx, func(t *txn) error { return t.put(bucketExpiry, append(make([]byte, 8), name...), nil) }); err != nil {
		t.Fatal(err)
	}
	c.add(5 * time.Minute)
	if met, err := s.sweepOnce(ctx); met != 6 || err != nil {
		t.Errorf("met %d, %v", met, err)
	}
	counts := map[string]int{}
	err := s.do(ctx, func(t *txn) error {
		for _, b := range []string{bucketOnce, bucketExpiry} {
			counts[b] = t.tx.Bucket([]byte(b)).Stats().KeyN
		}
		return nil
	})
	if err != nil || counts[bucketOnce] != 5 || counts[bucketExpiry] != 5 {
		t.Errorf("%v, %v", counts, err)
	}
	if ok, err := s.Present(ctx, "c", "9"); !ok || err != nil {
		t.Error("a changed index made the store forget")
	}
}

func TestWornKeysAreReplaced(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), Options{Now: c.now})
	ids := func() (records, tokens uint32) {
		ring := s.keys.Load()
		return ring.set(recordKeys).current.id, ring.set(tokenKeys).current.id
	}
	check := func(what string, records, tokens uint32) {
		t.Helper()
		if err := s.rotateWorn(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r, k := ids(); r != records || k != tokens {
			t.Errorf("%s: keys %d and %d, want %d and %d", what, r, k, records, tokens)
		}
	}
	check("new", 1, 1)
	s.keys.Load().set(tokenKeys).current.seals.Store(maxSeals - 1)
	check("one seal below the limit", 1, 1)
	s.keys.Load().set(tokenKeys).current.seals.Store(maxSeals)
	check("at the limit", 1, 2)
	c.add(maxKeyAge - time.Nanosecond)
	check("just young enough", 1, 2)
	c.add(time.Nanosecond)
	check("too old", 2, 3)
}

func BenchmarkSeal(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	plain, bound := make([]byte, 128), []byte("user client endpoint 2026-07-28")
	token := s.Seal("session", plain, bound)
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Seal("session", plain, bound)
		}
	})
	b.Run("unseal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Unseal("session", token, bound); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("present", func(b *testing.B) {
		b.ReportAllocs()
		s.InsertIfAbsent(b.Context(), "c", "k", time.Now().Add(time.Hour))
		for b.Loop() {
			if ok, err := s.Present(b.Context(), "c", "k"); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
}

func BenchmarkInsert(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for n := left.Add(-1); n >= 0; n = left.Add(-1) {
						if ok, err := s.InsertIfAbsent(context.Background(), "c", fmt.Sprint(n), time.Now().Add(time.Hour)); !ok || err != nil {
							b.Error(ok, err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
