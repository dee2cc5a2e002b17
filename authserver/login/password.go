package login

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// Limits of a password, in bytes of UTF-8 after normalisation. RFC 9106 has
// none; OWASP asks for at least 8 and for a limit, so that nobody can hand in
// a megabyte to be hashed.
const (
	MinPassword = 8
	MaxPassword = 1024
)

// The cost of one hash: OWASP's first choice for argon2id, about 30 ms.
const (
	hashMemory = 19 << 10 // KiB
	hashTime   = 2
	hashLanes  = 1
	hashSalt   = 16 // bytes
	hashSize   = 32 // bytes
)

// At most hashSlots hashes run at once: a flood of sign-ins holds at most
// maxHashes × 19 MiB and leaves a core to the token checks of everyone else. At
// most hashQueue more wait, for hashWait each.
const (
	maxHashes = 4
	hashQueue = 32
	hashWait  = 5 * time.Second
)

var (
	hashSlots = slotsFor(runtime.GOMAXPROCS(0))
	slots     = make(chan struct{}, hashSlots)
	queue     = make(chan struct{}, hashSlots+hashQueue)
)

// slotsFor is how many of so many cores may hash: all but one, and one where
// there is no other.
func slotsFor(cores int) int { return min(max(cores-1, 1), maxHashes) }

// ErrPassword: the password can't be taken; the text says why.
var ErrPassword = errors.New("password")

// CheckPassword says whether a new password may be used. Length is the only
// rule: composition rules make passwords worse (NIST SP 800-63B 5.1.1.2).
func CheckPassword(password string) error {
	switch n := len(normal(password)); {
	case n < MinPassword:
		return fmt.Errorf("%w is too short: use at least %d characters", ErrPassword, MinPassword)
	case n > MaxPassword:
		return fmt.Errorf("%w is too long: use at most %d bytes", ErrPassword, MaxPassword)
	}
	return nil
}

// HashPassword makes the argon2id hash of a new password in PHC form. Errors
// wrap ErrPassword, ErrBusy or the end of ctx.
func HashPassword(ctx context.Context, password string) (string, error) {
	if err := CheckPassword(password); err != nil {
		return "", err
	}
	salt := make([]byte, hashSalt)
	rand.Read(salt)
	key, err := argon(ctx, normal(password), salt)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%s$%s", phcHead, phc64.EncodeToString(salt), phc64.EncodeToString(key)), nil
}

var (
	phcHead = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, hashMemory, hashTime, hashLanes)
	phc64   = base64.RawStdEncoding.Strict()
	// nobody is the hash that stands in for an account without one, so that
	// an unknown name costs as much as a known one. No password fits it.
	nobody = phcHead + strings.Repeat("A", 22) + "$" + strings.Repeat("A", 43)
)

// passwordFits compares in constant time. A hash that isn't one of ours fits
// nothing, after the same work.
func passwordFits(ctx context.Context, hash, password string) (bool, error) {
	salt, want, ok := parsePHC(hash)
	if !ok {
		salt, want, _ = parsePHC(nobody)
	}
	got, err := argon(ctx, normal(password), salt)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && ok, nil
}

// parsePHC reads what HashPassword writes. Other parameters are refused: a
// stored hash must not choose how much memory a sign-in takes.
func parsePHC(hash string) (salt, key []byte, ok bool) {
	rest, ok := strings.CutPrefix(hash, phcHead)
	if !ok {
		return nil, nil, false
	}
	s, k, ok := strings.Cut(rest, "$")
	if !ok {
		return nil, nil, false
	}
	salt, serr := phc64.DecodeString(s)
	key, kerr := phc64.DecodeString(k)
	return salt, key, serr == nil && kerr == nil && len(salt) == hashSalt && len(key) == hashSize
}

// argon hashes when it is its turn.
func argon(ctx context.Context, password string, salt []byte) ([]byte, error) {
	select {
	case queue <- struct{}{}:
		defer func() { <-queue }()
	default:
		return nil, ErrBusy
	}
	wait := time.NewTimer(hashWait)
	defer wait.Stop()
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-wait.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), salt, hashTime, hashMemory, hashLanes, hashSize), nil
}

// normal is Unicode NFC (RFC 8265 4.2, OpaqueString): the same password typed
// on two keyboards is the same bytes.
func normal(password string) string { return norm.NFC.String(password) }
