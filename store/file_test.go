package store

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// filled makes a closed store with some of everything in it.
func filled(t testing.TB, o Options) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, o)
	var wg sync.WaitGroup
	for i := range 200 { // together: few commits
		wg.Go(func() {
			if err := s.SaveSnapshot(t.Context(), fmt.Sprint("up", i), bytes.Repeat([]byte{byte(i)}, 300)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := s.InsertIfAbsent(t.Context(), "c", "k", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveSnapshot(t.Context(), "big", make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Security catalogue A-072.
func TestNothingStandsInTheFilesInClear(t *testing.T) {
	t.Parallel()
	const canary = "CANARY-7c1f4e"
	dir := t.TempDir()
	s := open(t, dir, Options{})
	ctx := t.Context()
	for range 3 { // also in pages that were freed
		if err := errors.Join(s.SaveSnapshot(ctx, canary, []byte(strings.Repeat(canary, 3))), s.RotateKeys(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := s.InsertIfAbsent(ctx, canary, canary, time.Now().Add(time.Hour)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if token := s.Seal(canary, []byte(canary), []byte(canary)); strings.Contains(token, canary) {
		t.Error("a token shows what it seals")
	}
	var backup bytes.Buffer
	if err := s.Backup(&backup); err != nil {
		t.Fatal(err)
	}
	s.Close()
	files := map[string][]byte{"backup": backup.Bytes()}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = b
	}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(string(files[masterKeyFile])))
	if len(key) != keySize || len(files[databaseFile]) == 0 {
		t.Fatal("files are missing")
	}
	for name, b := range files {
		if bytes.Contains(b, []byte(canary)) || bytes.Contains(b, key) {
			t.Errorf("%s shows a secret", name)
		}
	}
	if names := slices.Sorted(maps.Keys(files)); strings.Join(names, " ") != "backup epoch master.key ostiary.db reserve" {
		t.Errorf("%v: something was left behind", names)
	}
}

func TestDataDirectoryAndFilesBelongToTheOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	open(t, dir, Options{})
	for path, want := range map[string]os.FileMode{"": 0o700, databaseFile: 0o600, masterKeyFile: 0o600, epochFile: 0o600, reserveFile: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", path, info.Mode(), err)
		}
	}
}

// raw changes the closed database behind the store's back.
func raw(t *testing.T, dir string, fn func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, databaseFile), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestMovedAndChangedRecordsAreFoundAtOpen(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(tx *bbolt.Tx) error{
		"value swapped with another key's": func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucketSnapshots))
			k1, v1 := b.Cursor().First()
			k2, v2 := b.Cursor().Last()
			v1, v2 = bytes.Clone(v1), bytes.Clone(v2)
			return errors.Join(b.Put(bytes.Clone(k1), v2), b.Put(bytes.Clone(k2), v1))
		},
		"value copied to another bucket": func(tx *bbolt.Tx) error {
			k, v := tx.Bucket([]byte(bucketSnapshots)).Cursor().First()
			return tx.Bucket([]byte(bucketOnce)).Put(bytes.Clone(k), bytes.Clone(v))
		},
		"one bit of a value": func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucketOnce))
			k, v := b.Cursor().First()
			v = bytes.Clone(v)
			v[len(v)-1] ^= 1
			return b.Put(bytes.Clone(k), v)
		},
		"unknown layout": func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucketOnce))
			k, v := b.Cursor().First()
			v = bytes.Clone(v)
			v[0] = layoutVersion + 1
			return b.Put(bytes.Clone(k), v)
		},
		"unknown key id": func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(bucketOnce))
			k, v := b.Cursor().First()
			v = bytes.Clone(v)
			binary.BigEndian.PutUint32(v[1:], 99)
			return b.Put(bytes.Clone(k), v)
		},
		"empty value":   func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketOnce)).Put([]byte("k"), nil) },
		"bucket gone":   func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(bucketExpiry)) },
		"keyring empty": func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketKeys)).Delete([]byte{2, 0, 0, 0, 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t, Options{})
			raw(t, dir, change)
			if _, err := Open(dir, Options{}); !errors.Is(err, ErrDamaged) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A whole file of somebody else's is not called damaged, which would send people
// to a backup.
func TestAnotherProgramsFileIsCalledThat(t *testing.T) {
	dir := t.TempDir()
	db, err := bbolt.Open(filepath.Join(dir, databaseFile), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("theirs"))
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, Options{MasterKey: make([]byte, keySize)})
	if !errors.Is(err, ErrForeign) || !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "damaged") || strings.Contains(err.Error(), "restore") ||
		!strings.Contains(err.Error(), "another program") || !strings.Contains(err.Error(), databaseFile) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("got %v", err)
	}
}

func TestMovedRecordIsFoundOnRead(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), Options{})
	if err := errors.Join(s.SaveSnapshot(t.Context(), "a", []byte("1")), s.SaveSnapshot(t.Context(), "b", []byte("2"))); err != nil {
		t.Fatal(err)
	}
	ring := s.keys.Load()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucketSnapshots))
		return b.Put(ring.name(bucketSnapshots, "a"), bytes.Clone(b.Get(ring.name(bucketSnapshots, "b"))))
	})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.LoadSnapshot(t.Context(), "a"); v != nil || !errors.Is(err, errSealed) {
		t.Errorf("%q, %v", v, err)
	}
}

func TestDamagedFilesAreRefusedBeforeServing(t *testing.T) {
	t.Parallel()
	good := filled(t, Options{})
	file, err := os.ReadFile(filepath.Join(good, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	zero := func(b []byte, from, to int) []byte { clear(b[from:to]); return b }
	cases := map[string]func(b []byte) []byte{
		"empty":                    func(b []byte) []byte { return nil },
		"one byte":                 func(b []byte) []byte { return b[:1] },
		"first page only":          func(b []byte) []byte { return b[:page] },
		"half":                     func(b []byte) []byte { return b[:len(b)/2] },
		"first meta page zeroed":   func(b []byte) []byte { return zero(b, 0, page) },
		"second meta page zeroed":  func(b []byte) []byte { return zero(b, page, 2*page) },
		"both meta pages zeroed":   func(b []byte) []byte { return zero(b, 0, 2*page) },
		"one bit of a meta page":   func(b []byte) []byte { b[pageHeader+17] ^= 1; return b },
		"meta page of another age": func(b []byte) []byte { copy(b, b[page:2*page]); return b },
		"not a database":           func(b []byte) []byte { return bytes.Repeat([]byte("text "), len(b)/5) },
		"all but meta zeroed":      func(b []byte) []byte { return zero(b, 2*page, len(b)) },
		"all but meta filled":      func(b []byte) []byte { copy(b[2*page:], bytes.Repeat([]byte{0xff}, len(b)-2*page)); return b },
	}
	meta, other := mustMeta(t, file, 0), mustMeta(t, file, int64(page))
	if other.txid > meta.txid {
		meta = other
	}
	root, high := int(meta.root)*page, int(meta.high)*page
	cases["one byte short of its pages"] = func(b []byte) []byte { return b[:high-1] }
	cases["root page zeroed"] = func(b []byte) []byte { return zero(b, root, root+page) }
	cases["root page's count too large"] = func(b []byte) []byte { binary.NativeEndian.PutUint16(b[root+10:], 0xfff0); return b }
	cases["root page's overflow too large"] = func(b []byte) []byte { binary.NativeEndian.PutUint32(b[root+12:], 1<<30); return b }
	cases["element outside its page"] = func(b []byte) []byte { binary.NativeEndian.PutUint32(b[root+pageHeader+4:], 1<<31); return b }
	cases["free list page zeroed"] = func(b []byte) []byte { return zero(b, int(meta.freelist)*page, int(meta.freelist+1)*page) }
	cases["free list names the root"] = func(b []byte) []byte {
		at := int(meta.freelist) * page
		binary.NativeEndian.PutUint16(b[at+10:], 1)
		binary.NativeEndian.PutUint64(b[at+pageHeader:], meta.root)
		return b
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			key, err := os.ReadFile(filepath.Join(good, masterKeyFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(filepath.Join(dir, masterKeyFile), key, 0o600),
				os.WriteFile(filepath.Join(dir, databaseFile), damage(bytes.Clone(file)), 0o600)); err != nil {
				t.Fatal(err)
			}
			_, err = Open(dir, Options{})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "restore a backup") {
				t.Errorf("got %v", err)
			}
		})
	}
	open(t, good, Options{}) // the undamaged one opens
}

func mustMeta(t *testing.T, file []byte, off int64) metaPage {
	t.Helper()
	m, err := readMeta(bytes.NewReader(file), off)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFileOfExactlyItsPagesOpens(t *testing.T) {
	t.Parallel()
	dir := filled(t, Options{})
	path := filepath.Join(dir, databaseFile)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	high := max(mustMeta(t, file, 0).high, mustMeta(t, file, int64(page)).high)
	if err := os.Truncate(path, int64(high)*int64(page)); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
}

// FuzzInspect: whatever the pages hold, the walk ends without a fault.
func FuzzInspect(f *testing.F) {
	dir := filled(f, Options{})
	file, err := os.ReadFile(filepath.Join(dir, databaseFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(4096, uint64(1)<<63)
	f.Add(8200, uint64(0xffff))
	f.Fuzz(func(t *testing.T, at int, word uint64) {
		b := bytes.Clone(file)
		if at < 0 || at > len(b)-8 {
			return
		}
		binary.NativeEndian.PutUint64(b[at:], word)
		_ = inspect(bytes.NewReader(b), int64(len(b)))
	})
}

func TestMasterKey(t *testing.T) {
	t.Parallel()
	key := bytes.Repeat([]byte{7}, keySize)
	dir := filled(t, Options{MasterKey: key})
	if _, err := os.Stat(filepath.Join(dir, masterKeyFile)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a key file was made beside a given key")
	}
	for name, o := range map[string]Options{
		"wrong":     {MasterKey: bytes.Repeat([]byte{8}, keySize)},
		"too short": {MasterKey: key[1:]},
		"too long":  {MasterKey: append(bytes.Clone(key), 0)},
		"missing":   {},
	} {
		if _, err := Open(dir, o); !errors.Is(err, ErrMasterKey) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, masterKeyFile)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a key was made up for an old database")
	}
	open(t, dir, Options{MasterKey: key})
}

func TestKeyFileIsRefusedUnlessItIsPrivateAndWhole(t *testing.T) {
	t.Parallel()
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, keySize))
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		ok   bool
	}{
		"private":              {good + "\n", 0o600, true},
		"read-only":            {good, 0o400, true},
		"readable by group":    {good, 0o640, false},
		"readable by others":   {good, 0o604, false},
		"writable by others":   {good, 0o602, false},
		"empty":                {"", 0o600, false},
		"one byte short":       {base64.StdEncoding.EncodeToString(make([]byte, keySize-1)), 0o600, false},
		"one byte long":        {base64.StdEncoding.EncodeToString(make([]byte, keySize+1)), 0o600, false},
		"not base64":           {"hello", 0o600, false},
		"of another alphabet":  {strings.Repeat("-_", 21) + "8=", 0o600, false},
		"a key and something ": {good + "x", 0o600, false},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, masterKeyFile)
		if err := errors.Join(os.WriteFile(path, []byte(c.text), 0o600), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{})
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrMasterKey) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			s.Close()
		} else if c.text != "" && strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
}

func TestDirectoryHasOneOwner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir, Options{})
	start := time.Now()
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	s.Close()
	open(t, dir, Options{})
}

func TestFailedCreationLeavesNothingThatIsTakenForAStore(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"keyfile.write", "keyfile.link", "create.database", "create.link"} {
		dir := t.TempDir()
		_, err := Open(dir, Options{Fail: func(p string) error {
			if p == point {
				return syscall.EIO
			}
			return nil
		}})
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", point, err)
		}
		open(t, dir, Options{})
		if entries, _ := os.ReadDir(dir); len(entries) != 4 {
			t.Errorf("%s: %v is left", point, entries)
		}
	}
}
