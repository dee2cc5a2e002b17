package client

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

// Defaults of Registration. One source that registers as fast as it may makes
// fewer than MaxRegistered in the lifetime of an unused registration, so it
// can't use up the cap alone.
const (
	MaxRegistered = 10_000
	Burst         = 30
	Every         = 10 * time.Second
	UnusedTTL     = 24 * time.Hour
	UsedTTL       = 90 * 24 * time.Hour
)

// maxRegistration bounds the body of a registration.
const maxRegistration = 16 << 10

// Registration is dynamic registration (RFC 7591; MCP 2026-07-28 keeps it for
// clients that have no document). Anyone may register, so what is kept is bounded
// and forgets itself; a live registration is never dropped for a new one.
type Registration struct {
	Enabled   bool
	Max       int           // registrations at a time; 0 = MaxRegistered
	Burst     int           // a source may make at once; 0 = 30
	Every     time.Duration // one more for each source; 0 = 10 s
	UnusedTTL time.Duration // until the first redeemed code; 0 = 24 h
	UsedTTL   time.Duration // after the last use; 0 = 90 days
}

func (g *Registration) defaults() {
	set(&g.Max, MaxRegistered)
	set(&g.Burst, Burst)
	set(&g.Every, Every)
	set(&g.UnusedTTL, UnusedTTL)
	set(&g.UsedTTL, UsedTTL)
}

func set[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// registered is the answer of RFC 7591 3.2.1: everything that was stored, as it
// was stored. There is no registration_client_uri: a registration is not changed
// but made anew.
type registered struct {
	ID            string          `json:"client_id"`
	IssuedAt      int64           `json:"client_id_issued_at"`
	Secret        string          `json:"client_secret,omitempty"`
	SecretExpires *int64          `json:"client_secret_expires_at,omitempty"`
	Name          string          `json:"client_name,omitempty"`
	URI           string          `json:"client_uri,omitempty"`
	RedirectURIs  []string        `json:"redirect_uris"`
	AuthMethod    string          `json:"token_endpoint_auth_method"`
	GrantTypes    []string        `json:"grant_types"`
	ResponseTypes []string        `json:"response_types"`
	Application   string          `json:"application_type"`
	Software      string          `json:"software_id,omitempty"`
	Keys          json.RawMessage `json:"jwks,omitempty"`
}

// ServeHTTP is POST /oauth/register.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.setup()
	switch {
	case !r.Registration.Enabled:
		fail(w, http.StatusForbidden, "access_denied", "registration is off on this server: use a client id metadata document, or ask its operator for a client id")
		return
	case req.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		fail(w, http.StatusMethodNotAllowed, "invalid_request", "register with POST")
		return
	}
	if wait := r.limits.take(r.Source(req), r.Now()); wait > 0 {
		tooMany(w, wait)
		return
	}
	c, err := r.readRegistration(w, req)
	if err != nil {
		var m *metadataError
		if !errors.As(err, &m) {
			m = &metadataError{invalidMetadata, err}
		}
		fail(w, http.StatusBadRequest, m.code, m.Error())
		return
	}
	answer, err := r.register(req, c)
	switch {
	case errors.Is(err, store.ErrTooMany):
		r.Logger.Warn("registration refused: the cap is reached; unused ones expire by themselves", "max", r.Registration.Max)
		tooMany(w, r.Registration.Every)
		return
	case err != nil:
		r.Logger.Error("registration not kept", "error", err)
		fail(w, http.StatusServiceUnavailable, "temporarily_unavailable", "the registration can't be kept now; try again")
		return
	}
	writeJSON(w, http.StatusCreated, answer)
}

func (r *Registry) readRegistration(w http.ResponseWriter, req *http.Request) (*store.Client, error) {
	if media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, errors.New("send the metadata as application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxRegistration))
	if err != nil {
		return nil, errors.New("the metadata can't be read or is longer than 16 KiB")
	}
	o, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	return rules{
		privateSchemes: r.PrivateSchemes,
		grants:         []string{authorizationCode, refreshToken},
		auth:           []string{authNone, authBasic, authPost, authPrivateKey},
		defaultAuth:    authBasic, // RFC 7591 2
	}.read(o)
}

// register keeps c under a new id and makes the answer.
func (r *Registry) register(req *http.Request, c *store.Client) (*registered, error) {
	now := r.Now()
	c.ID, c.Kind = "ost_dc_"+random(16), Dynamic
	c.Created, c.Expires = now, now.Add(r.Registration.UnusedTTL)
	answer := &registered{
		ID: c.ID, IssuedAt: now.Unix(), Name: c.Name, URI: c.URI, RedirectURIs: c.RedirectURIs,
		AuthMethod: c.AuthMethod, GrantTypes: c.GrantTypes, ResponseTypes: []string{"code"},
		Application: c.Application, Software: c.Software, Keys: c.Keys,
	}
	if c.AuthMethod == authBasic || c.AuthMethod == authPost {
		answer.Secret = "ost_cs_" + random(32)
		answer.SecretExpires = new(int64) // 0: as long as the registration
		c.SecretHash = SecretHash(answer.Secret)
	}
	if err := r.Store.CreateClient(req.Context(), *c, r.Registration.Max); err != nil {
		return nil, err
	}
	if r.Audit != nil {
		rec := &audit.Record{Kind: "event", Event: "client.registered", Time: now, Detail: "redirects to " + RedirectHost(c.RedirectURIs[0])}
		rec.Client.ID, rec.Client.Kind, rec.Source.IP = c.ID, c.Kind, r.Source(req).String()
		r.Audit.Note(rec)
	}
	return answer, nil
}

// SecretHash is what store.Client keeps of a client secret. Secrets are random
// and long, or the operator's choice: no slow hash is needed, and one would let
// strangers burn processor time.
func SecretHash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func tooMany(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int((wait+time.Second-1)/time.Second))))
	fail(w, http.StatusTooManyRequests, "temporarily_unavailable", "too many registrations; try again later")
}

// fail answers in the form of RFC 7591 3.2.2.
func fail(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": description})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
