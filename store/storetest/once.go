package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

var onceChapters = map[string]func(*testing.T, *Place){
	"exactly one of 64 inserts wins":      oneInsertWins,
	"expiry is checked on read":           expiryOnRead,
	"what can't be remembered is refused": expiredInsert,
	"classes and keys are apart":          classesApart,
	"snapshots survive reopening":         snapshotsSurvive,
}

func insert(t *testing.T, b Backend, class, key string, expires time.Time) bool {
	t.Helper()
	ok, err := b.InsertIfAbsent(t.Context(), class, key, expires)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func present(t *testing.T, b Backend, class, key string) bool {
	t.Helper()
	ok, err := b.Present(t.Context(), class, key)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func oneInsertWins(t *testing.T, p *Place) {
	b := p.Open(t)
	lost := errors.New("there already")
	for round := range 5 {
		if won := race(t, racers, lost, func(int) error {
			ok, err := b.InsertIfAbsent(t.Context(), "jti", fmt.Sprint("k", round), p.Now().Add(time.Hour))
			if err == nil && !ok {
				err = lost
			}
			return err
		}); won != 1 {
			t.Errorf("round %d: %d of %d won", round, won, racers)
		}
	}
}

func expiryOnRead(t *testing.T, p *Place) {
	b := p.Open(t)
	end := p.Now().Add(time.Minute)
	if !insert(t, b, "session", "k", end) || !present(t, b, "session", "k") {
		t.Fatal("not inserted")
	}
	p.Add(time.Minute - 1)
	if !present(t, b, "session", "k") || insert(t, b, "session", "k", end.Add(time.Hour)) {
		t.Error("gone just before its expiry")
	}
	p.Add(1)
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

func expiredInsert(t *testing.T, p *Place) {
	b := p.Open(t)
	if insert(t, b, "jti", "k", p.Now()) || present(t, b, "jti", "k") {
		t.Error("a key that expires now was inserted")
	}
	if !insert(t, b, "jti", "k", p.Now().Add(1)) {
		t.Error("a key that expires later was not inserted")
	}
}

func classesApart(t *testing.T, p *Place) {
	b := p.Open(t)
	end := p.Now().Add(time.Hour)
	for _, k := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"a", "b"}, {"", "abc"}, {"abc", ""}, {"a\x00", "b"}, {"a", "\x00b"}} {
		if present(t, b, k[0], k[1]) || !insert(t, b, k[0], k[1], end) {
			t.Errorf("%q was taken for another", k)
		}
	}
}

func snapshotsSurvive(t *testing.T, p *Place) {
	b := p.Open(t)
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
	b = p.Open(t)
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
