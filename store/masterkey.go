package store

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	masterKeyFile = "master.key"
	keySize       = 32
)

// masterKeyFile reads the key file of dir. Only beside a database that is yet
// to be made, a missing file is made: a new key couldn't open an old database,
// and would hide that the right one is missing.
func (s *Store) masterKeyFile(dir string, fresh bool) ([]byte, error) {
	path := filepath.Join(dir, masterKeyFile)
	key, err := readKeyFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	if !fresh {
		return nil, fmt.Errorf("%w: %s is missing beside an existing database; put it back or set masterKey", ErrMasterKey, path)
	}
	if err := s.makeKeyFile(dir, path); err != nil {
		return nil, fmt.Errorf("make key file %s: %w", path, err)
	}
	return readKeyFile(path)
}

// readKeyFile refuses a file that others than its owner could read: whoever
// read it can open every backup.
func readKeyFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMasterKey, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrMasterKey, path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o, so others may read it; chmod 600 it, and replace it if they did", ErrMasterKey, path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMasterKey, err)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("%w: %s does not hold %d bytes of base64", ErrMasterKey, path, keySize)
	}
	return key, nil
}

// makeKeyFile puts a new key at path, complete or not at all. A file that
// another process put there meanwhile stays.
func (s *Store) makeKeyFile(dir, path string) error {
	key := make([]byte, keySize)
	rand.Read(key)
	temp, err := os.CreateTemp(dir, masterKeyFile+".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if err = s.fail("keyfile.write"); err == nil {
		_, err = temp.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	}
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := s.fail("keyfile.link"); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(dir)
}
