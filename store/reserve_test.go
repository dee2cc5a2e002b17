package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fullDisk is a disk without a free byte but those of the reserve in dir.
type fullDisk struct {
	dir  string
	full atomic.Bool
}

func (d *fullDisk) fail(point string) error {
	if !d.full.Load() {
		return nil
	}
	_, err := os.Stat(filepath.Join(d.dir, reserveFile))
	if point == "reserve" || point == "commit.before" && err == nil {
		return syscall.ENOSPC
	}
	return nil
}

func TestAccessIsStillTakenAwayOnAFullDisk(t *testing.T) {
	t.Parallel()
	d := &fullDisk{dir: t.TempDir()}
	s, ctx := open(t, d.dir, Options{Fail: d.fail}), t.Context()
	end := time.Now().Add(time.Hour)
	grant := func(id string) Grant { return Grant{ID: id, User: "local:alice", Client: "agent", Expires: end} }
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"1", "2", "3", "4"} {
		must(s.PutGrant(ctx, grant(id), Token{Hash: id, Kind: accessToken, Grant: id, Expires: end}))
	}
	must(s.CreateUser(ctx, User{Issuer: "local", Subject: "alice"}), s.PutClient(ctx, Client{ID: "agent"}),
		s.PutConsent(ctx, Consent{ID: "c", User: "local:alice"}), s.CreateSession(ctx, Session{Hash: "s", Expires: end}))
	d.full.Store(true)
	for range 2 { // also once the reserve is in use
		if err := s.PutGrant(ctx, grant("5")); !errors.Is(err, ErrFull) {
			t.Fatalf("a new grant: %v", err)
		}
	}
	_, disable := s.UpdateUser(ctx, "local:alice", func(u *User) error { u.Disabled = true; return nil })
	_, revoke := s.RevokeGrants(ctx, func(g *Grant) bool { return g.ID == "2" }, "test")
	must(s.RevokeGrant(ctx, "1", "test"), revoke, disable, s.DeleteToken(ctx, "3"), s.DeleteConsent(ctx, "c"),
		s.DeleteSession(ctx, "s"), s.DeleteSessions(ctx, "local:alice"), s.DeleteClient(ctx, "agent"), s.DeleteUser(ctx, "local:alice"))
	if err := s.PutGrant(ctx, grant("5")); !errors.Is(err, ErrFull) {
		t.Errorf("what was given back was taken by a new grant: %v", err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("the store counts as broken: %v", err)
	}
	s.Close()
	s = open(t, d.dir, Options{Fail: d.fail}) // a restart changes nothing
	if err := s.PutGrant(ctx, grant("5")); !errors.Is(err, ErrFull) {
		t.Errorf("after a restart: %v", err)
	}
	must(s.RevokeGrant(ctx, "4", "test"))
	d.full.Store(false)
	must(s.PutGrant(ctx, grant("5")))
	if _, err := os.Stat(filepath.Join(d.dir, reserveFile)); err != nil {
		t.Errorf("the reserve was not made again: %v", err)
	}
}

func TestDiskThatIsWhollyFullIsReadAndNotBroken(t *testing.T) {
	t.Parallel()
	dir := filled(t, Options{})
	s := open(t, dir, Options{Fail: at("commit.before", syscall.ENOSPC)})
	if v, err := s.LoadSnapshot(t.Context(), "up7"); err != nil || len(v) != 300 {
		t.Errorf("%d bytes, %v", len(v), err)
	}
	if err := s.PutClient(t.Context(), Client{ID: "agent"}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if err := s.Err(); err != nil {
		t.Error(err)
	}
	s.Close()
	open(t, dir, Options{})
}

// freshSize is what a new data directory may take of the 32 MiB that it must
// fit in, together with the audit log's reserve of 4 MiB and its first segment.
const freshSize = 8 << 20

func TestFreshDirectoryIsSmallWithItsReserve(t *testing.T) {
	t.Parallel()
	for reserve, wanted := range map[int64]int64{0: defaultReserve, 1 << 20: 1 << 20, -1: 0} {
		dir := t.TempDir()
		open(t, dir, Options{Reserve: reserve})
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		sizes, sum := map[string]int64{}, int64(0)
		for _, e := range entries {
			var st syscall.Stat_t
			if err := syscall.Stat(filepath.Join(dir, e.Name()), &st); err != nil {
				t.Fatal(err)
			}
			sizes[e.Name()] = st.Blocks * 512
			sum += sizes[e.Name()]
		}
		if sizes[reserveFile] < wanted || wanted == 0 && sizes[reserveFile] > 0 || sum > freshSize {
			t.Errorf("reserve %d: %v", reserve, sizes)
		}
	}
}

func TestRevocationTooLargeForTheReserveGoesInSteps(t *testing.T) {
	t.Parallel()
	const many = 2*revokeStep + 1
	for name, c := range map[string]struct {
		full int // how many commits find the disk full: with the reserve, without it, in the steps
		want int
		err  error
	}{
		"space for all":        {0, many, nil},
		"space after dropping": {1, many, nil},
		"space for a step":     {2, many, nil},
		"no space":             {100, 0, ErrFull},
	} {
		t.Run(name, func(t *testing.T) {
			var left atomic.Int32
			s := open(t, t.TempDir(), Options{Fail: func(p string) error {
				if p == "commit.before" && left.Add(-1) >= 0 {
					return syscall.ENOSPC
				}
				return nil
			}})
			ctx, end := t.Context(), time.Now().Add(time.Hour)
			err := s.do(ctx, func(t *txn) error {
				for i := range many {
					g := Grant{ID: fmt.Sprint(i), Client: "agent", Expires: end}
					if err := s.addGrant(t, &g, nil); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			left.Store(int32(c.full))
			ids, err := s.RevokeGrants(ctx, func(g *Grant) bool { return g.Client == "agent" }, "test")
			if len(ids) != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("%d ids, %v", len(ids), err)
			}
			gs, err := s.Grants(ctx, func(g *Grant) bool { return g.Revoked.IsZero() })
			if err != nil || len(gs) != many-c.want {
				t.Errorf("%d are alive, %v", len(gs), err)
			}
		})
	}
}

func TestClientOfManyGrantsIsDeletedOnAFullDisk(t *testing.T) {
	t.Parallel()
	var left atomic.Int32
	s := open(t, t.TempDir(), Options{Fail: func(p string) error {
		if p == "commit.before" && left.Add(-1) >= 0 {
			return syscall.ENOSPC
		}
		return nil
	}})
	ctx := t.Context()
	if err := errors.Join(s.PutClient(ctx, Client{ID: "agent"}), s.PutGrant(ctx, Grant{ID: "g", Client: "agent"})); err != nil {
		t.Fatal(err)
	}
	left.Store(2) // the first try, with the reserve and without it
	if err := s.DeleteClient(ctx, "agent"); err != nil {
		t.Error(err)
	}
	if gs, err := s.Grants(ctx, nil); err != nil || len(gs) != 1 || gs[0].Revoked.IsZero() {
		t.Errorf("%+v, %v", gs, err)
	}
	if _, err := s.Client(ctx, "agent"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}
