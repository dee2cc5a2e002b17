package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"time"
)

// assertionTime is how long a client assertion is good for.
const assertionTime = time.Minute

var errKey = errors.New("privateKey is not the PEM of an RSA key of 2048 bits or more, a P-256 or an Ed25519 key")

// assertion says, signed by the entry's key, that the gateway is the client
// (RFC 7523 2.2 and 3). Each is used once.
func (g *grant) assertion(audience string) (string, error) {
	id := g.u.Auth.Client.ID
	key, alg, err := privateKey([]byte(g.u.Auth.Client.Key.Reveal()))
	if err != nil {
		return "", err
	}
	now := g.now()
	head, _ := json.Marshal(map[string]string{"alg": alg, "typ": "JWT"})
	claims, _ := json.Marshal(map[string]any{
		"iss": id, "sub": id, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionTime).Unix(),
	})
	enc := base64.RawURLEncoding
	text := enc.EncodeToString(head) + "." + enc.EncodeToString(claims)
	signature, err := sign(key, []byte(text))
	if err != nil {
		return "", errKey
	}
	return text + "." + enc.EncodeToString(signature), nil
}

// privateKey reads a key, and says by which algorithm of RFC 7518 3.1 or RFC 8037
// it signs.
func privateKey(text []byte) (crypto.Signer, string, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, "", errKey
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if err == nil && k.N.BitLen() >= 2048 {
			return k, "RS256", nil
		}
	case *ecdsa.PrivateKey:
		if err == nil && k.Curve == elliptic.P256() {
			return k, "ES256", nil
		}
	case ed25519.PrivateKey:
		return k, "EdDSA", nil
	}
	return nil, "", errKey
}

func sign(key crypto.Signer, text []byte) ([]byte, error) {
	sum := sha256.Sum256(text)
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(nil, k, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		if err != nil {
			return nil, err
		}
		// RFC 7518 3.4: both numbers, 32 bytes each.
		both := make([]byte, 64)
		r.FillBytes(both[:32])
		s.FillBytes(both[32:])
		return both, nil
	}
	return key.Sign(nil, text, crypto.Hash(0))
}
