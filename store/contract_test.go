package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// backend is what every backend offers. The chapters below are its contract:
// they know nothing of bbolt and of files.
type backend interface {
	Seal(purpose string, plain, bound []byte) string
	Unseal(purpose, token string, bound []byte) ([]byte, error)
	RotateKeys(ctx context.Context) error
	InsertIfAbsent(ctx context.Context, class, key string, expires time.Time) (bool, error)
	Present(ctx context.Context, class, key string) (bool, error)
	SaveSnapshot(ctx context.Context, upstream string, value []byte) error
	LoadSnapshot(ctx context.Context, upstream string) ([]byte, error)
	DeleteSnapshot(ctx context.Context, upstream string) error
	Backup(w io.Writer) error
	Err() error
	Close() error
}

// clock is an injected clock.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time      { return time.Unix(0, c.nanos.Load()) }
func (c *clock) add(d time.Duration) { c.nanos.Add(int64(d)) }

// place is where a backend keeps its data: it can be opened again and again.
type place struct {
	open func(t *testing.T) backend
	*clock
}

func TestContract(t *testing.T) {
	contract(t, func(t *testing.T) place {
		dir, c := t.TempDir(), newClock()
		return place{clock: c, open: func(t *testing.T) backend {
			t.Helper()
			s, err := Open(dir, Options{Now: c.now})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		}}
	})
}

// contract is the suite; a new backend calls it with places of its own.
func contract(t *testing.T, at func(t *testing.T) place) {
	for name, chapter := range map[string]func(t *testing.T, p place){
		"exactly one of 64 inserts wins":                 oneInsertWins,
		"expiry is checked on read":                      expiryOnRead,
		"what can't be remembered is refused":            expiredInsert,
		"classes and keys are apart":                     classesApart,
		"snapshots survive reopening":                    snapshotsSurvive,
		"tokens bind purpose and bound bytes":            tokensBind,
		"tokens survive reopening and rotation":          tokensSurvive,
		"an altered token is a bad token":                alteredTokens,
		"an ended context changes nothing":               endedContext,
		"a closed store refuses":                         closedRefuses,
		"nothing acknowledged is missing after Close":    closeKeeps,
		"verbs of many callers are all there afterwards": manyVerbs,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); chapter(t, at(t)) })
	}
}

func insert(t *testing.T, b backend, class, key string, expires time.Time) bool {
	t.Helper()
	ok, err := b.InsertIfAbsent(t.Context(), class, key, expires)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func present(t *testing.T, b backend, class, key string) bool {
	t.Helper()
	ok, err := b.Present(t.Context(), class, key)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func oneInsertWins(t *testing.T, p place) {
	b := p.open(t)
	for round := range 5 {
		var won atomic.Int32
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 64 {
			wg.Go(func() {
				<-start
				ok, err := b.InsertIfAbsent(t.Context(), "jti", fmt.Sprint("k", round), p.now().Add(time.Hour))
				if err != nil {
					t.Error(err)
				}
				if ok {
					won.Add(1)
				}
			})
		}
		close(start)
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Errorf("round %d: %d of 64 won", round, n)
		}
	}
}

func expiryOnRead(t *testing.T, p place) {
	b := p.open(t)
	end := p.now().Add(time.Minute)
	if !insert(t, b, "session", "k", end) || !present(t, b, "session", "k") {
		t.Fatal("not inserted")
	}
	p.add(time.Minute - 1)
	if !present(t, b, "session", "k") || insert(t, b, "session", "k", end.Add(time.Hour)) {
		t.Error("gone just before its expiry")
	}
	p.add(1)
	if present(t, b, "session", "k") {
		t.Error("present at its expiry")
	}
	if !insert(t, b, "session", "k", end.Add(time.Hour)) || !present(t, b, "session", "k") {
		t.Error("an expired key can't be inserted again")
	}
	if insert(t, b, "session", "k", end.Add(time.Hour)) {
		t.Error("inserted twice")
	}
	if !insert(t, b, "session", "for ever", time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)) || !present(t, b, "session", "for ever") {
		t.Error("a far expiry counts as past")
	}
}

func expiredInsert(t *testing.T, p place) {
	b := p.open(t)
	if insert(t, b, "jti", "k", p.now()) || present(t, b, "jti", "k") {
		t.Error("a key that expires now was inserted")
	}
	if !insert(t, b, "jti", "k", p.now().Add(1)) {
		t.Error("a key that expires later was not inserted")
	}
}

func classesApart(t *testing.T, p place) {
	b := p.open(t)
	end := p.now().Add(time.Hour)
	for _, k := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"a", "b"}, {"", "abc"}, {"abc", ""}, {"a\x00", "b"}, {"a", "\x00b"}} {
		if present(t, b, k[0], k[1]) || !insert(t, b, k[0], k[1], end) {
			t.Errorf("%q was taken for another", k)
		}
	}
}

func snapshotsSurvive(t *testing.T, p place) {
	b := p.open(t)
	ctx := t.Context()
	if v, err := b.LoadSnapshot(ctx, "github"); v != nil || err != nil {
		t.Errorf("no snapshot: %q, %v", v, err)
	}
	big := bytes.Repeat([]byte("0123456789"), 200_000)
	for _, v := range [][]byte{[]byte("first"), big} {
		if err := b.SaveSnapshot(ctx, "github", v); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.SaveSnapshot(ctx, "gone", []byte("x")), b.SaveSnapshot(ctx, "empty", nil),
		b.DeleteSnapshot(ctx, "gone"), b.DeleteSnapshot(ctx, "never")); err != nil {
		t.Fatal(err)
	}
	b.Close()
	b = p.open(t)
	if v, err := b.LoadSnapshot(ctx, "github"); err != nil || !bytes.Equal(v, big) {
		t.Errorf("%d bytes, %v", len(v), err)
	}
	if v, err := b.LoadSnapshot(ctx, "gone"); v != nil || err != nil {
		t.Errorf("deleted, but %q, %v", v, err)
	}
	if v, err := b.LoadSnapshot(ctx, "empty"); len(v) != 0 || err != nil {
		t.Errorf("empty, but %q, %v", v, err)
	}
}

func tokensBind(t *testing.T, p place) {
	b := p.open(t)
	token := b.Seal("session", []byte("plain"), []byte("alice"))
	if strings.ContainsAny(token, "+/=") || strings.Contains(token, "plain") {
		t.Errorf("token %q", token)
	}
	if b.Seal("session", []byte("plain"), []byte("alice")) == token {
		t.Error("two tokens are alike")
	}
	if got, err := b.Unseal("session", token, []byte("alice")); err != nil || string(got) != "plain" {
		t.Errorf("%q, %v", got, err)
	}
	for _, c := range [][2]string{{"cursor", "alice"}, {"session", "bob"}, {"session", ""}, {"sessiona", "lice"}, {"", "sessionalice"}} {
		if got, err := b.Unseal(c[0], token, []byte(c[1])); got != nil || err != ErrBadToken {
			t.Errorf("for %q it opens as %q, %v", c, got, err)
		}
	}
	if got, err := b.Unseal("p", b.Seal("p", nil, nil), nil); err != nil || len(got) != 0 {
		t.Errorf("an empty token: %q, %v", got, err)
	}
}

func tokensSurvive(t *testing.T, p place) {
	b := p.open(t)
	ctx := t.Context()
	tokens := []string{b.Seal("session", []byte("0"), nil)}
	if err := b.SaveSnapshot(ctx, "up", []byte("sealed by the first key")); err != nil {
		t.Fatal(err)
	}
	insert(t, b, "jti", "old", p.now().Add(time.Hour))
	for i := range 2 {
		if err := b.RotateKeys(ctx); err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, b.Seal("session", []byte{byte('1' + i)}, nil))
		b.Close()
		b = p.open(t)
	}
	for i, token := range tokens {
		if got, err := b.Unseal("session", token, nil); err != nil || string(got) != fmt.Sprint(i) {
			t.Errorf("token of key %d: %q, %v", i+1, got, err)
		}
	}
	if v, err := b.LoadSnapshot(ctx, "up"); err != nil || string(v) != "sealed by the first key" {
		t.Errorf("%q, %v", v, err)
	}
	if !present(t, b, "jti", "old") {
		t.Error("a key of before the rotation is gone")
	}
}

func alteredTokens(t *testing.T, p place) {
	b := p.open(t)
	token := b.Seal("session", []byte("plain text"), []byte("bound"))
	bad := []string{"", "A", "AQ", token + "A", token[1:], token[:len(token)-1], token + "\n", "\n" + token, token[:9] + "\r\n" + token[9:], token + "=", strings.ToUpper(token)}
	for i := range token {
		c := byte('A')
		if token[i] == c {
			c = 'B'
		}
		bad = append(bad, token[:i]+string(c)+token[i+1:])
	}
	for _, s := range bad {
		if got, err := b.Unseal("session", s, []byte("bound")); got != nil || err != ErrBadToken {
			t.Errorf("%q opens as %q, %v", s, got, err)
		}
	}
}

func endedContext(t *testing.T, p place) {
	b := p.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	end := p.now().Add(time.Hour)
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

func closedRefuses(t *testing.T, p place) {
	b := p.open(t)
	if err := errors.Join(b.Err(), b.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
	_, insertErr := b.InsertIfAbsent(t.Context(), "c", "k", p.now().Add(time.Hour))
	_, presentErr := b.Present(t.Context(), "c", "k")
	for i, err := range []error{insertErr, presentErr, b.Err(), b.Backup(io.Discard), b.RotateKeys(t.Context())} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func closeKeeps(t *testing.T, p place) {
	b := p.open(t)
	var wg sync.WaitGroup
	var kept sync.Map
	for i := range 32 {
		wg.Go(func() {
			key := fmt.Sprint(i)
			ok, err := b.InsertIfAbsent(t.Context(), "c", key, p.now().Add(time.Hour))
			if err == nil && ok {
				kept.Store(key, true)
			} else if !errors.Is(err, ErrClosed) {
				t.Error(ok, err)
			}
		})
	}
	b.Close()
	wg.Wait()
	b = p.open(t)
	kept.Range(func(key, _ any) bool {
		if !present(t, b, "c", key.(string)) {
			t.Errorf("%s is lost", key)
		}
		return true
	})
}

func manyVerbs(t *testing.T, p place) {
	b := p.open(t)
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
