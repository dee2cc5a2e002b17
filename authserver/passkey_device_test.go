package authserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/ostiary/ostiary/store"
)

// Flags of authenticator data (Web Authentication Level 3, 6.1).
const (
	flagPresent  = 1
	flagVerified = 4
	flagSynced   = 8 | 16
	flagKey      = 64
)

// device is an authenticator in software: ES256, attestation "none". What it
// signs can be bent by a test.
type device struct {
	key    *ecdsa.PrivateKey
	id     []byte
	handle []byte // of whom it was made for
	flags  byte
	count  uint32
	still  bool   // its counter never moves
	origin string // of the page that it thinks it is on
	place  string // RP ID
}

func newDevice(h *house) *device {
	id := make([]byte, 20)
	rand.Read(id)
	u := must(url.Parse(h.url))
	return &device{key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), id: id, flags: flagPresent | flagVerified, origin: h.url, place: u.Hostname()}
}

// publicKey is what a test reads of the options that the gateway sends.
type publicKey struct {
	Challenge string `json:"challenge"`
	RPID      string `json:"rpId"`
	RP        struct {
		ID string `json:"id"`
	} `json:"rp"`
	User struct {
		ID, Name string
	} `json:"user"`
	AllowCredentials   []struct{ ID string } `json:"allowCredentials"`
	ExcludeCredentials []struct{ ID string } `json:"excludeCredentials"`
	UserVerification   string                `json:"userVerification"`
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// data is the authenticator data, with more after the counter.
func (d *device) data(flags byte, more ...byte) []byte {
	if !d.still {
		d.count++
	}
	place := sha256.Sum256([]byte(d.place))
	return append(binary.BigEndian.AppendUint32(append(place[:], flags), d.count), more...)
}

func (d *device) client(kind, challenge string) []byte {
	return must(json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": d.origin, "crossOrigin": false}))
}

// cose is the public key, RFC 9052 7.
func (d *device) cose() []byte {
	point := must(d.key.PublicKey.Bytes()) // 4, X, Y
	return slices.Concat([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32}, point[1:33], []byte{0x22, 0x58, 32}, point[33:])
}

// give makes d a passkey of name's without the page, which takes a password and
// is slow on purpose.
func (h *house) give(d *device, name string) *device {
	h.t.Helper()
	u := must(h.Store.UpdateUser(h.t.Context(), "local:"+name, func(u *store.User) error {
		if u.Handle == nil {
			u.Handle = []byte("the handle of " + name)
		}
		return nil
	}))
	d.handle = u.Handle
	must(0, h.Store.CreatePasskey(h.t.Context(), store.Passkey{ID: b64(d.id), User: u.ID(), Name: "Given", Key: d.cose(), Count: d.count, Synced: d.flags&flagSynced != 0, Created: h.clock()}))
	return d
}

// create answers a request for a new passkey.
func (d *device) create(o publicKey) string {
	d.handle = must(base64.RawURLEncoding.DecodeString(o.User.ID))
	more := slices.Concat(make([]byte, 16), []byte{0, byte(len(d.id))}, d.id, d.cose())
	data := d.data(d.flags|flagKey, more...)
	object := slices.Concat([]byte{0xa3, 0x63}, []byte("fmt"), []byte{0x64}, []byte("none"), []byte{0x67}, []byte("attStmt"), []byte{0xa0, 0x68},
		[]byte("authData"), []byte{0x59, byte(len(data) >> 8), byte(len(data))}, data)
	return d.answer(map[string]any{"clientDataJSON": b64(d.client("webauthn.create", o.Challenge)), "attestationObject": b64(object), "transports": []string{"internal"}})
}

// get answers a request for a signature.
func (d *device) get(o publicKey) string {
	client, data := d.client("webauthn.get", o.Challenge), d.data(d.flags)
	hash := sha256.Sum256(client)
	sum := sha256.Sum256(slices.Concat(data, hash[:]))
	return d.answer(map[string]any{"clientDataJSON": b64(client), "authenticatorData": b64(data),
		"signature": b64(must(ecdsa.SignASN1(rand.Reader, d.key, sum[:]))), "userHandle": b64(d.handle)})
}

func (d *device) answer(response map[string]any) string {
	return string(must(json.Marshal(map[string]any{"id": b64(d.id), "rawId": b64(d.id), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{}})))
}

// ask sends a form for a challenge, as the script does.
func (b *browser) ask(path string, form url.Values) (a struct {
	ask
	key    publicKey
	status int
	raw    string
}) {
	b.h.t.Helper()
	res := b.post(path, form)
	a.status, a.raw = res.StatusCode, res.body
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		must(0, json.Unmarshal([]byte(res.body), &a.ask))
		if a.PublicKey != nil {
			must(0, json.Unmarshal(a.PublicKey, &a.key))
		}
	}
	return a
}

// onLocalhost gives the gateway a name, which passkeys need.
func onLocalhost(_ *house, c *Config) {
	c.Issuer = strings.Replace(c.Issuer, "127.0.0.1", "localhost", 1)
}

// account is a form of the account page, which takes the password.
func (b *browser) account(do string, more ...string) url.Values {
	f := url.Values{"do": {do}, "password": {password}, "ticket": {b.get("/account").field("ticket")}}
	for i := 0; i < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return f
}

// prove answers, with d, the question that the account page asks for f.
func (b *browser) prove(d *device, f url.Values) url.Values {
	b.h.t.Helper()
	a := b.ask("/account/passkey", f)
	if a.status != 200 || a.Create {
		b.h.t.Fatalf("no question: %d %s", a.status, a.raw)
	}
	f.Set("challenge", a.Challenge)
	f.Set("passkey", d.get(a.key))
	return f
}

// addKey adds d on the account page; with more come fields of the form.
func (b *browser) addKey(d *device, more ...string) answer {
	b.h.t.Helper()
	f := b.account("passkey-add", more...)
	a := b.ask("/account/passkey", f)
	if a.status != 200 || !a.Create {
		b.h.t.Fatalf("no challenge for a new passkey: %d %s", a.status, a.raw)
	}
	f.Set("challenge", a.Challenge)
	f.Set("passkey", d.create(a.key))
	return b.post("/account", f)
}

// keySignIn is the form that signs in with d.
func (b *browser) keySignIn(d *device) url.Values {
	b.h.t.Helper()
	a := b.ask("/login/passkey", url.Values{})
	if a.status != 200 {
		b.h.t.Fatalf("no challenge: %d %s", a.status, a.raw)
	}
	return url.Values{"challenge": {a.Challenge}, "passkey": {d.get(a.key)}}
}
