package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// backedUp is a stopped store with "before" kept, and a backup of before
// "after" was.
func backedUp(t *testing.T) (dir string, backup []byte) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, Options{})
	var b bytes.Buffer
	err := errors.Join(s.SaveSnapshot(t.Context(), "before", []byte("1")), s.Backup(&b), s.SaveSnapshot(t.Context(), "after", []byte("2")))
	for range 3 { // the epoch goes on
		err = errors.Join(err, s.CreateUser(t.Context(), User{Issuer: "local", Subject: "alice"}), s.DeleteUser(t.Context(), "local:alice"))
	}
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, b.Bytes()
}

// holds says which of the snapshots a store in dir has.
func holds(t *testing.T, dir string) string {
	t.Helper()
	s := open(t, dir, Options{})
	defer s.Close()
	var there []string
	for _, name := range []string{"before", "after"} {
		if v, err := s.LoadSnapshot(t.Context(), name); err != nil {
			t.Error(err)
		} else if v != nil {
			there = append(there, name)
		}
	}
	return strings.Join(there, " ")
}

func replaced(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, databaseFile+".*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestRestoreAcceptsAnOlderDatabaseAndKeepsTheReplacedOne(t *testing.T) {
	t.Parallel()
	dir, backup := backedUp(t)
	newest := readFile(t, dir, databaseFile)
	writeFile(t, backup, dir, databaseFile)
	refused(t, dir, Options{}, ErrRolledBack, "`ostiary restore`")
	writeFile(t, newest, dir, databaseFile)
	if err := Restore(t.Context(), dir, bytes.NewReader(backup), Options{}); err != nil {
		t.Fatal(err)
	}
	kept := replaced(t, dir)
	if len(kept) != 1 || !bytes.Equal(readFile(t, kept[0]), newest) {
		t.Errorf("kept %v", kept)
	}
	if err := Check(dir, Options{}); err != nil {
		t.Error(err)
	}
	if got := holds(t, dir); got != "before" {
		t.Errorf("restored: %q", got)
	}
	// The epoch went on: what was replaced and what was restored are both old.
	for _, older := range [][]byte{newest, backup} {
		now := readFile(t, dir, databaseFile)
		writeFile(t, older, dir, databaseFile)
		refused(t, dir, Options{}, ErrRolledBack, "`ostiary restore`")
		writeFile(t, now, dir, databaseFile)
	}
	if info, err := os.Stat(filepath.Join(dir, databaseFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
}

func TestRestoreMends(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, dir string){
		"an empty database":    func(t *testing.T, dir string) { writeFile(t, nil, dir, databaseFile) },
		"a damaged database":   func(t *testing.T, dir string) { writeFile(t, make([]byte, 9999), dir, databaseFile) },
		"a missing database":   func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, databaseFile)) },
		"a missing epoch file": func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, epochFile)) },
		"a new machine": func(t *testing.T, dir string) {
			for _, f := range []string{databaseFile, epochFile, reserveFile} {
				os.Remove(filepath.Join(dir, f))
			}
		},
		"another's epoch file": func(t *testing.T, dir string) {
			writeFile(t, readFile(t, filled(t, Options{}), epochFile), dir, epochFile)
		},
		"a database of another installation": func(t *testing.T, dir string) {
			writeFile(t, readFile(t, filled(t, Options{MasterKey: masterKeyOf(t, dir)}), databaseFile), dir, databaseFile)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, backup := backedUp(t)
			harm(t, dir)
			if err := Restore(t.Context(), dir, bytes.NewReader(backup), Options{}); err != nil {
				t.Fatal(err)
			}
			if got := holds(t, dir); got != "before" {
				t.Errorf("restored: %q", got)
			}
		})
	}
}

func TestRestoreTakesNothingThatDoesNotOpen(t *testing.T) {
	t.Parallel()
	dir, backup := backedUp(t)
	foreign := filepath.Join(t.TempDir(), "x.db")
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	changed := bytes.Clone(backup)
	copy(changed[len(changed)/2:], make([]byte, len(changed)/4))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("the disk with the backup is gone")
	for name, c := range map[string]struct {
		ctx    context.Context
		backup io.Reader
		o      Options
		want   error
	}{
		"empty":                     {backup: strings.NewReader(""), want: ErrDamaged},
		"no database":               {backup: strings.NewReader(strings.Repeat("hello ", 9999)), want: ErrDamaged},
		"truncated":                 {backup: bytes.NewReader(backup[:len(backup)-4096]), want: ErrDamaged},
		"changed":                   {backup: bytes.NewReader(changed), want: ErrDamaged},
		"another program's":         {backup: bytes.NewReader(readFile(t, foreign)), want: ErrForeign},
		"another installation's":    {backup: bytes.NewReader(readFile(t, filled(t, Options{}), databaseFile)), want: ErrMasterKey},
		"under another key":         {backup: bytes.NewReader(backup), o: Options{MasterKey: make([]byte, keySize)}, want: ErrMasterKey},
		"unreadable":                {backup: io.MultiReader(bytes.NewReader(backup), &failingReader{broken}), want: broken},
		"with its context ended":    {ctx: ended, backup: bytes.NewReader(backup), want: context.Canceled},
		"stopped just before":       {backup: bytes.NewReader(backup), o: Options{Fail: at("restore.swap", syscall.EIO)}, want: syscall.EIO},
		"with the disk full":        {backup: bytes.NewReader(backup), o: Options{Fail: at("restore.copy", syscall.ENOSPC)}, want: syscall.ENOSPC},
		"with no key at hand":       {backup: bytes.NewReader(backup), o: Options{MasterKey: []byte("short")}, want: ErrMasterKey},
		"while another one runs":    {backup: bytes.NewReader(backup), want: ErrLocked},
		"whole, so the test is one": {backup: bytes.NewReader(backup)},
	} {
		t.Run(name, func(t *testing.T) {
			newest := readFile(t, dir, databaseFile)
			if errors.Is(c.want, ErrLocked) {
				s := open(t, dir, Options{})
				defer s.Close()
			}
			if c.ctx == nil {
				c.ctx = t.Context()
			}
			err := Restore(c.ctx, dir, c.backup, c.o)
			if !errors.Is(err, c.want) || c.want != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if c.want == nil || errors.Is(c.want, ErrLocked) {
				return
			}
			if !bytes.Equal(readFile(t, dir, databaseFile), newest) {
				t.Error("the database was replaced")
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "*restore-*")); len(files) > 0 {
				t.Errorf("%v is left", files)
			}
		})
	}
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestCopyThatWasPutBackIsAcceptedWhereItStands(t *testing.T) {
	t.Parallel()
	dir, backup := backedUp(t)
	writeFile(t, backup, dir, databaseFile)
	f, err := os.Open(filepath.Join(dir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Restore(t.Context(), dir, f, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, dir); got != "before" {
		t.Errorf("restored: %q", got)
	}
}

func TestRestoreReplacesNothingThatCameMeanwhile(t *testing.T) {
	t.Parallel()
	dir, backup := backedUp(t)
	os.Remove(filepath.Join(dir, databaseFile))
	err := Restore(t.Context(), dir, bytes.NewReader(backup), Options{Fail: func(p string) error {
		if p == "restore.swap" { // a server starts
			return os.WriteFile(filepath.Join(dir, databaseFile), []byte("new"), 0o600)
		}
		return nil
	}})
	if got := readFile(t, dir, databaseFile); !errors.Is(err, ErrLocked) || string(got) != "new" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	dir, backup = backedUp(t)
	first := true
	err = Restore(t.Context(), dir, &lateReader{Reader: bytes.NewReader(backup), before: func() {
		if first { // the reader is asked once the lock is held
			first = false
			if err := Restore(t.Context(), dir, bytes.NewReader(backup), Options{}); !errors.Is(err, ErrLocked) {
				t.Errorf("two at once: %v", err)
			}
		}
	}}, Options{})
	if err != nil {
		t.Error(err)
	}
}

type lateReader struct {
	io.Reader
	before func()
}

func (r *lateReader) Read(p []byte) (int, error) {
	r.before()
	return r.Reader.Read(p)
}

// at is a failpoint.
func at(point string, err error) func(string) error {
	return func(p string) error {
		if p == point {
			return err
		}
		return nil
	}
}

func TestCheckChangesNothing(t *testing.T) {
	t.Parallel()
	dir := filled(t, Options{})
	os.Remove(filepath.Join(dir, reserveFile))
	state := func() string {
		var b strings.Builder
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b.WriteString(e.Name())
			b.Write(readFile(t, dir, e.Name()))
		}
		return b.String()
	}
	before := state()
	if err := Check(dir, Options{}); err != nil {
		t.Error(err)
	}
	if state() != before {
		t.Error("it changed the directory")
	}
	s := open(t, dir, Options{})
	if err := Check(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("in use: %v", err)
	}
	s.Close()
	none := t.TempDir()
	if err := Check(none, Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if entries, _ := os.ReadDir(none); len(entries) > 0 {
		t.Errorf("it made %v", entries)
	}
}

// BenchmarkRestore restores a backup of 100 MB: one operation must stay far
// below ten seconds.
func BenchmarkRestore(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir, Options{})
	value := make([]byte, 2<<10)
	err := s.do(b.Context(), func(t *txn) error {
		for i := range 40_000 {
			name := t.ring.name(bucketSnapshots, time.Duration(i).String())
			if err := t.put(bucketSnapshots, name, t.ring.seal(bucketSnapshots, name, value)); err != nil {
				return err
			}
		}
		return nil
	})
	var backup bytes.Buffer
	if err := errors.Join(err, s.Backup(&backup), s.Close()); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(backup.Len()))
	for b.Loop() {
		if err := Restore(b.Context(), dir, bytes.NewReader(backup.Bytes()), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
