package store

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// layoutVersion is the first byte of every record, wrapped key and token.
const layoutVersion = 1

// sealHead is the clear part in front of sealed bytes: version, key id.
const sealHead = 1 + 4

// ErrBadToken: the token was not made by this installation for this purpose
// and these bound bytes. It says no more, whatever is wrong.
var ErrBadToken = errors.New("bad token")

// Seal makes a token that only this installation can open: purpose separates
// uses, bound is authenticated but not stored. base64url, no padding. It holds
// no expiry; put one into plain. It survives restarts and key rotations.
func (s *Store) Seal(purpose string, plain, bound []byte) string {
	sealed := s.keys.Load().set(tokenKeys).seal("token", []byte(purpose), plain, bound)
	return base64.RawURLEncoding.EncodeToString(sealed)
}

// Unseal opens a token that Seal made with the same purpose and bound bytes,
// and returns ErrBadToken for everything else.
func (s *Store) Unseal(purpose, token string, bound []byte) ([]byte, error) {
	// The decoder skips line ends: two spellings of one token.
	if strings.ContainsAny(token, "\r\n") {
		return nil, ErrBadToken
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return nil, ErrBadToken
	}
	plain, err := s.keys.Load().set(tokenKeys).open("token", []byte(purpose), sealed, bound)
	if err != nil {
		return nil, ErrBadToken
	}
	return plain, nil
}

// seal and open are the record codec: a value opens only in the bucket and
// under the key that it was sealed for.
func (r *keyring) seal(bucket string, key, plain []byte) []byte {
	return r.set(recordKeys).seal(bucket, key, plain, nil)
}

func (r *keyring) open(bucket string, key, value []byte) ([]byte, error) {
	plain, err := r.set(recordKeys).open(bucket, key, value, nil)
	if err != nil {
		return nil, fmt.Errorf("a record in %q: %w", bucket, err)
	}
	return plain, nil
}

func (k *keyset) seal(space string, key, plain, bound []byte) []byte {
	c := k.current
	c.seals.Add(1)
	out := make([]byte, sealHead, sealHead+c.aead.Overhead()+len(plain))
	out[0] = layoutVersion
	binary.BigEndian.PutUint32(out[1:], c.id)
	return c.aead.Seal(out, nil, plain, sealAAD(space, key, bound, out))
}

var errSealed = errors.New("changed, moved or sealed by a key that is not in the keyring")

func (k *keyset) open(space string, key, sealed, bound []byte) ([]byte, error) {
	if len(sealed) < sealHead || sealed[0] != layoutVersion {
		return nil, errSealed
	}
	d, ok := k.byID[binary.BigEndian.Uint32(sealed[1:])]
	if !ok {
		return nil, errSealed
	}
	plain, err := d.aead.Open(nil, nil, sealed[sealHead:], sealAAD(space, key, bound, sealed[:sealHead]))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

// sealAAD is bucket + key + version (with the key id), and what is bound.
func sealAAD(space string, key, bound, head []byte) []byte {
	aad := make([]byte, 0, 12+len(space)+len(key)+len(bound)+len(head))
	aad = append(aad, head...)
	aad = appendParts(aad, space)
	aad = binary.BigEndian.AppendUint32(aad, uint32(len(key)))
	aad = append(aad, key...)
	return append(aad, bound...)
}
