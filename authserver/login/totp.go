package login

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// RFC 6238 as every authenticator app speaks it: SHA-1, six digits, 30 s. A
// step to either side is accepted (5.2), a step that was used is not.
const (
	totpStep   = 30 * time.Second
	totpSkew   = 1
	totpSecret = 20 // bytes, RFC 4226 4 R6
)

var base32Plain = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewTOTP makes a secret for an authenticator app.
func NewTOTP() []byte {
	secret := make([]byte, totpSecret)
	rand.Read(secret)
	return secret
}

// TOTPText is the secret as people type it into an app, in groups of four.
func TOTPText(secret []byte) string {
	var groups []string
	for group := range slices.Chunk([]byte(base32Plain.EncodeToString(secret)), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, " ")
}

// TOTPURI is the secret as apps read it, in the form that Google Authenticator
// introduced and the others took over. place is shown in the app.
func TOTPURI(secret []byte, place, name string) string {
	return fmt.Sprintf("otpauth://totp/%s:%s?secret=%s&issuer=%s",
		url.PathEscape(place), url.PathEscape(name), base32Plain.EncodeToString(secret), url.QueryEscape(place))
}

// TOTPFits says whether code is one of the present codes of secret, and the
// step that it belongs to.
func TOTPFits(secret []byte, code string, now time.Time) (step int64, ok bool) {
	code = strings.ReplaceAll(code, " ", "")
	if len(secret) == 0 || len(code) != 6 {
		return 0, false
	}
	at := now.Unix() / int64(totpStep/time.Second)
	for s := at - totpSkew; s <= at+totpSkew; s++ {
		if subtle.ConstantTimeCompare([]byte(totpCode(secret, s)), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// totpCode is the code of one step, RFC 4226 5.3.
func totpCode(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(step)))
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	n := binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff
	return fmt.Sprintf("%06d", n%1_000_000)
}
