package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func readFile(t testing.TB, parts ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, b []byte, parts ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(parts...), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// refused wants Open and Check to refuse dir alike, in one line that names the
// way out.
func refused(t *testing.T, dir string, o Options, wanted error, hint string) {
	t.Helper()
	s, err := Open(dir, o)
	if err == nil {
		s.Close()
	}
	check := Check(dir, o)
	for _, err := range []error{err, check} {
		if !errors.Is(err, wanted) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), hint) {
			t.Errorf("got %v\nwant %v … %s", err, wanted, hint)
		}
	}
}

func TestOlderCopyPutBackIsRefused(t *testing.T) {
	t.Parallel()
	revoke := func(t *testing.T, s *Store) error { return s.RevokeGrant(t.Context(), "g", "test") }
	for name, c := range map[string]struct {
		between func(t *testing.T, s *Store) error // what happens after the copy, in the same run
		restart bool
		ok      bool
	}{
		"from before a revocation": {between: revoke},
		"from before a deletion":   {between: func(t *testing.T, s *Store) error { return s.DeleteUser(t.Context(), "local:alice") }},
		"from before a user was disabled": {between: func(t *testing.T, s *Store) error {
			_, err := s.UpdateUser(t.Context(), "local:alice", func(u *User) error { u.Disabled = true; return nil })
			return err
		}},
		"from before a sweep": {between: func(t *testing.T, s *Store) error {
			return errors.Join(s.SaveSnapshot(t.Context(), "up", []byte("x")), s.advance(t.Context()))
		}},
		"from before the last start": {restart: true},
		"from before nothing":        {ok: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			g := Grant{ID: "g", User: "local:alice", Client: "c", Expires: time.Now().Add(time.Hour)}
			if err := errors.Join(s.CreateUser(t.Context(), User{Issuer: "local", Subject: "alice"}), s.PutGrant(t.Context(), g)); err != nil {
				t.Fatal(err)
			}
			if c.restart {
				s.Close()
			}
			older := readFile(t, dir, databaseFile)
			if c.restart {
				s = open(t, dir, Options{})
			}
			if c.between != nil {
				if err := c.between(t, s); err != nil {
					t.Fatal(err)
				}
			}
			s.Close()
			latest := readFile(t, dir, databaseFile)
			writeFile(t, older, dir, databaseFile)
			if c.ok {
				open(t, dir, Options{}).Close()
				return
			}
			refused(t, dir, Options{}, ErrRolledBack, "`ostiary restore`")
			writeFile(t, latest, dir, databaseFile)
			open(t, dir, Options{}).Close()
		})
	}
}

// A crash between the commit and the file leaves the database ahead; a torn
// write leaves one slot. Neither locks anybody out, however often it happens.
func TestCrashAroundTheEpochFileLocksNobodyOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	behind := Options{Fail: func(p string) error {
		if p == "epoch" {
			return syscall.EIO
		}
		return nil
	}}
	open(t, dir, Options{}).Close()
	for range 3 {
		s := open(t, dir, behind)
		if err := s.CreateUser(t.Context(), User{Issuer: "local", Subject: "alice"}); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteUser(t.Context(), "local:alice"); err != nil {
			t.Errorf("a revocation fails when the file can't be written: %v", err)
		}
		s.Close()
		if err := Check(dir, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		s := open(t, dir, Options{})
		newest := int64(s.counter % 2)
		s.Close()
		torn := readFile(t, dir, epochFile)
		clear(torn[newest*slotSize : newest*slotSize+20])
		writeFile(t, torn, dir, epochFile)
		if err := Check(dir, Options{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDatabaseWithoutItsEpochFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := filled(t, Options{})
	other := filled(t, Options{MasterKey: masterKeyOf(t, dir)})
	good := readFile(t, dir, epochFile)
	for name, damage := range map[string]func(){
		"missing":   func() { os.Remove(filepath.Join(dir, epochFile)) },
		"empty":     func() { writeFile(t, nil, dir, epochFile) },
		"too short": func() { writeFile(t, good[:20], dir, epochFile) },
		"changed":   func() { writeFile(t, make([]byte, len(good)), dir, epochFile) },
		"another's": func() { writeFile(t, readFile(t, other, epochFile), dir, epochFile) },
	} {
		damage()
		t.Log(name)
		refused(t, dir, Options{}, ErrRolledBack, "`ostiary restore`")
	}
	writeFile(t, good, dir, epochFile)
	open(t, dir, Options{})
}

func masterKeyOf(t testing.TB, dir string) []byte {
	t.Helper()
	key, err := readKeyFile(filepath.Join(dir, masterKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestDatabaseOfAnOlderLayoutOpensAndLosesNothing(t *testing.T) {
	t.Parallel()
	dir := filled(t, Options{})
	epoch := readFile(t, dir, epochFile)
	raw(t, dir, func(tx *bbolt.Tx) (err error) {
		for _, b := range laterBuckets {
			err = errors.Join(err, tx.DeleteBucket([]byte(b)))
		}
		return err
	})
	refused(t, dir, Options{}, ErrRolledBack, "`ostiary restore`") // this installation has seen the newer one
	if err := os.Remove(filepath.Join(dir, epochFile)); err != nil {
		t.Fatal(err)
	}
	if err := Check(dir, Options{}); err != nil {
		t.Error(err)
	}
	for range 2 {
		s := open(t, dir, Options{})
		if v, err := s.LoadSnapshot(t.Context(), "up7"); err != nil || len(v) != 300 {
			t.Errorf("%d bytes, %v", len(v), err)
		}
		if ok, err := s.Present(t.Context(), "c", "k"); !ok || err != nil {
			t.Error(ok, err)
		}
		if err := s.PutClient(t.Context(), Client{ID: "agent"}); err != nil {
			t.Error(err)
		}
		s.Close()
	}
	writeFile(t, epoch, dir, epochFile)
	open(t, dir, Options{})
}

func TestDatabaseOfANewerLayoutIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{})
	err := s.do(t.Context(), func(t *txn) error {
		return t.put(bucketMeta, metaName, t.ring.seal(bucketMeta, metaName, []byte(`{"Layout":4,"Epoch":9}`)))
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	refused(t, dir, Options{}, ErrNewer, "use the newer version")
}

func TestBucketGoneFromAPresentLayoutIsDamage(t *testing.T) {
	t.Parallel()
	for _, b := range []string{bucketTokens, bucketLinks} {
		dir := t.TempDir()
		open(t, dir, Options{}).Close()
		raw(t, dir, func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(b)) })
		refused(t, dir, Options{}, ErrDamaged, "`ostiary restore`")
	}
}
