package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// SignerFile is where the key that signs checkpoints lies in the data
	// directory, 0600, and not in the folder of the log: that is copied about.
	SignerFile = "checkpoint.key"

	// keysFile lists in the log's folder the public keys that signed it, the
	// newest last.
	keysFile = "public-key"

	originPrefix = "ostiary-audit-"
	ed25519Note  = 1 // C2SP signed-note, signature types
	privateHead  = "PRIVATE+KEY+"
)

// Key verifies checkpoints. Its text is a verifier key as of C2SP signed-note:
// name+id+base64.
type Key struct {
	Name   string
	ID     uint32
	public ed25519.PublicKey
}

// newKey gives a public key its id: C2SP signed-note: the first four bytes of
// SHA-256(name, line end, type, key).
func newKey(name string, public ed25519.PublicKey) Key {
	b := append([]byte(name+"\n"), ed25519Note)
	sum := sha256.Sum256(append(b, public...))
	return Key{Name: name, ID: binary.BigEndian.Uint32(sum[:]), public: public}
}

func (k Key) String() string {
	return fmt.Sprintf("%s+%08x+%s", k.Name, k.ID, b64(append([]byte{ed25519Note}, k.public...)))
}

// ParseKey reads what Key.String writes. Its error never shows the text: it
// may be the private half, pasted by mistake.
func ParseKey(text string) (Key, error) {
	bad := errors.New("is not a public key of a log; `ostiary audit key` prints it")
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, privateHead) {
		return Key{}, errors.New("is the private key; it stays where it is: give the public one, which `ostiary audit key` prints")
	}
	name, rest, ok1 := strings.Cut(text, "+")
	id, encoded, ok2 := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok1 || !ok2 || err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != ed25519Note || !validName(name) {
		return Key{}, bad
	}
	k := newKey(name, raw[1:])
	if fmt.Sprintf("%08x", k.ID) != id {
		return Key{}, bad
	}
	return k, nil
}

// Signer signs the checkpoints of one log.
type Signer struct {
	Key
	private ed25519.PrivateKey
}

// OpenSigner reads the signing key of the data directory dir, which it makes
// when there is none. A file that others may read is refused: who read it can
// write another log that verifies.
func OpenSigner(dir string) (*Signer, error) {
	path := filepath.Join(dir, SignerFile)
	s, err := readSigner(path)
	if !errors.Is(err, os.ErrNotExist) {
		return s, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	k := newKey(originPrefix+fmt.Sprintf("%x", sha256.Sum256(public))[:8], public)
	text := fmt.Sprintf("%s%s+%08x+%s\n", privateHead, k.Name, k.ID, b64(append([]byte{ed25519Note}, private.Seed()...)))
	err = writeWhole(path, []byte(text), os.Link)
	if errors.Is(err, syscall.ENOSPC) && os.Remove(filepath.Join(dir, folder, reserveFile)) == nil {
		// A full disk, and a log from before logs were signed: its reserve is for
		// what lets revocations go on.
		err = writeWhole(path, []byte(text), os.Link)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return readSigner(path)
}

func readSigner(path string) (*Signer, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("signing key: %s has mode %v, so others may read it; chmod 600 it, and remove it if they did: another is made", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(string(text)), privateHead)
	parts := strings.SplitN(rest, "+", 3)
	if !ok || len(parts) != 3 || !validName(parts[0]) {
		return nil, fmt.Errorf("signing key: %s does not hold one; put the right file back", path)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != ed25519Note {
		return nil, fmt.Errorf("signing key: %s does not hold one; put the right file back", path)
	}
	private := ed25519.NewKeyFromSeed(raw[1:])
	k := newKey(parts[0], private.Public().(ed25519.PublicKey))
	if fmt.Sprintf("%08x", k.ID) != parts[1] {
		return nil, fmt.Errorf("signing key: %s is damaged; put the right file back", path)
	}
	return &Signer{Key: k, private: private}, nil
}

// PublicKeys are the keys that the log in the data directory dir says it was
// signed with, the newest last; none when it never was. Who can write the log
// can write them: pin one where that matters.
func PublicKeys(dir string) ([]Key, error) {
	text, err := os.ReadFile(filepath.Join(dir, folder, keysFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read public keys of the log: %w", err)
	}
	return ParseKeys(text)
}

// ParseKeys reads public keys, one a line.
func ParseKeys(text []byte) ([]Key, error) {
	var keys []Key
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		k, err := ParseKey(string(line))
		if err != nil {
			return nil, fmt.Errorf("line %d %w", len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// declareKey puts the signer's public key beside the log. A second key is worth
// a record: who lost the first can't tell a forged log from this one.
func (l *Log) declareKey() error {
	keys, err := PublicKeys(filepath.Dir(l.dir))
	if err != nil {
		return err
	}
	if n := len(keys); n > 0 && keys[n-1].String() == l.Signer.Key.String() {
		return nil
	}
	if len(keys) > 0 {
		l.mine = append(l.mine, l.event("audit.key_changed", "", "checkpoints are signed by "+l.Signer.Key.String()+" from now on"))
	}
	var text []byte
	for _, k := range append(keys, l.Signer.Key) {
		text = fmt.Appendln(text, k)
	}
	if err := writeWhole(filepath.Join(l.dir, keysFile), text, os.Rename); err != nil {
		return fmt.Errorf("write the public key: %w", err)
	}
	return nil
}

// newFile is in the name of a file that is not whole yet; one that is left was
// of a process that was killed.
const newFile = ".new-"

// writeWhole puts a file (0600) at path, whole or not at all; place is
// os.Rename, or os.Link, which replaces nothing.
func writeWhole(path string, text []byte, place func(from, to string) error) error {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, filepath.Base(path)+newFile+"*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := place(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
