package store

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"
)

// dayClock is a clock that tests set.
type dayClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *dayClock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *dayClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = t
}

var firstDay = time.Date(2026, 11, 24, 23, 59, 59, 0, time.UTC)

func openDays(t *testing.T, dir string, o Options) (*Store, *dayClock) {
	t.Helper()
	c := &dayClock{at: firstDay}
	o.Now, o.Reserve = c.now, -1
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, c
}

func TestADayOpensUntilItIsDestroyed(t *testing.T) {
	dir := t.TempDir()
	s, clock := openDays(t, dir, Options{})
	day, sealed, err := s.SealDay([]byte("what policy saw"), []byte("d1"))
	if err != nil || day != "2026-11-24" || bytes.Contains(sealed, []byte("policy")) {
		t.Fatal(day, err)
	}
	clock.set(firstDay.Add(time.Second))
	next, later, err := s.SealDay([]byte("later"), []byte("d2"))
	if err != nil || next != "2026-11-25" {
		t.Fatal(next, err)
	}
	if err := errors.Join(s.RotateKeys(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}

	s, _ = openDays(t, dir, Options{})
	if plain, ok, err := s.OpenDay(day, sealed, []byte("d1")); !ok || err != nil || string(plain) != "what policy saw" {
		t.Fatal(string(plain), ok, err)
	}
	for name, open := range map[string]func() ([]byte, bool, error){
		"another record": func() ([]byte, bool, error) { return s.OpenDay(day, sealed, []byte("d2")) },
		"another day":    func() ([]byte, bool, error) { return s.OpenDay(next, sealed, []byte("d1")) },
		"changed":        func() ([]byte, bool, error) { return s.OpenDay(day, append(bytes.Clone(sealed), 0), []byte("d1")) },
		"cut":            func() ([]byte, bool, error) { return s.OpenDay(day, sealed[:3], []byte("d1")) },
		"no day":         func() ([]byte, bool, error) { return s.OpenDay("today", sealed, []byte("d1")) },
	} {
		if _, ok, err := open(); ok || err == nil {
			t.Errorf("%s: opens, or is taken for a day that was destroyed", name)
		}
	}

	for _, tt := range []struct {
		before time.Time
		want   int
	}{{firstDay, 0}, {firstDay.Add(time.Second), 1}, {firstDay.Add(time.Hour), 0}} {
		if n, err := s.DestroyDays(t.Context(), tt.before); n != tt.want || err != nil {
			t.Errorf("before %s: %d destroyed, want %d; %v", tt.before, n, tt.want, err)
		}
	}
	for range 2 {
		if _, ok, err := s.OpenDay(day, sealed, []byte("d1")); ok || err != nil {
			t.Errorf("a destroyed day: %t, %v", ok, err)
		}
		if plain, ok, err := s.OpenDay(next, later, []byte("d2")); !ok || err != nil || string(plain) != "later" {
			t.Errorf("the day after: %t, %v", ok, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, _ = openDays(t, dir, Options{})
	}
}

func TestADayHasOneKeyWhoeverBeginsIt(t *testing.T) {
	s, _ := openDays(t, t.TempDir(), Options{})
	var work sync.WaitGroup
	parts := make([][]byte, 50)
	for i := range parts {
		work.Go(func() {
			var err error
			if _, parts[i], err = s.SealDay([]byte{byte(i)}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	for i, p := range parts {
		if plain, ok, err := s.OpenDay("2026-11-24", p, nil); !ok || err != nil || plain[0] != byte(i) {
			t.Errorf("%d: %v, %t, %v", i, plain, ok, err)
		}
	}
	if n := len(s.keys.Load().set(dayKeys).byID); n != 1 {
		t.Errorf("%d keys", n)
	}
}

// What a key sealed must never outlive the key: where the commit fails, nothing
// is sealed, and a day whose destruction failed is not taken for destroyed.
func TestACommitThatFailsLeavesNoDayBehind(t *testing.T) {
	broken := errors.New("no")
	var fail error
	s, _ := openDays(t, t.TempDir(), Options{Fail: func(point string) error {
		if point == "commit.before" {
			return fail
		}
		return nil
	}})
	fail = broken
	if _, sealed, err := s.SealDay([]byte("x"), nil); !errors.Is(err, broken) || sealed != nil {
		t.Errorf("%x, %v", sealed, err)
	}
	if len(s.keys.Load().set(dayKeys).byID) > 0 {
		t.Error("a key that was not stored is used")
	}

	dir := t.TempDir()
	fail = nil
	s, _ = openDays(t, dir, Options{Fail: func(point string) error {
		if point == "commit.before" {
			return fail
		}
		return nil
	}})
	day, sealed, err := s.SealDay([]byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	fail = broken
	if n, err := s.DestroyDays(t.Context(), firstDay.Add(48*time.Hour)); !errors.Is(err, broken) || n != 0 {
		t.Errorf("%d, %v", n, err)
	}
	if _, ok, err := s.OpenDay(day, sealed, nil); !ok || err != nil {
		t.Errorf("gone though it stands in the database: %v", err)
	}
}

func TestADayKeySealsNoMoreThanItMay(t *testing.T) {
	s, _ := openDays(t, t.TempDir(), Options{})
	if _, _, err := s.SealDay([]byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	for _, k := range s.keys.Load().set(dayKeys).byID {
		k.seals.Store(maxSeals - 1)
	}
	if _, _, err := s.SealDay([]byte("x"), nil); err != nil {
		t.Error(err)
	}
	if _, _, err := s.SealDay([]byte("x"), nil); !errors.Is(err, errDaySpent) {
		t.Errorf("%v", err)
	}
}

func TestAMarkIsTheSameForTheLifeOfTheDatabase(t *testing.T) {
	dir := t.TempDir()
	s, _ := openDays(t, dir, Options{})
	first := s.Mark("a", []byte("x"))
	if bytes.Equal(first, s.Mark("b", []byte("x"))) || bytes.Equal(first, s.Mark("a", []byte("y"))) || len(first) != 32 {
		t.Error("marks don't differ by use and data")
	}
	if err := errors.Join(s.RotateKeys(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	s, _ = openDays(t, dir, Options{})
	if !bytes.Equal(first, s.Mark("a", []byte("x"))) {
		t.Error("another mark after a rotation and a restart")
	}
	other, _ := openDays(t, t.TempDir(), Options{})
	if bytes.Equal(first, other.Mark("a", []byte("x"))) {
		t.Error("another installation makes the same mark")
	}
}
