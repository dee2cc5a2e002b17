package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/ostiary/ostiary/store"
)

const purposeTicket = "ticket"

var (
	errForeignTicket = errors.New("the form was not made for this session")
	errSpentTicket   = errors.New("the form was sent before")
)

// ticket makes a form ours: it opens only for the session that it was made for
// (sealed to its hash) and for what the form is about.
type ticket struct {
	ID      string    `json:"i"`
	About   string    `json:"a"`
	Expires time.Time `json:"e"`
}

// about names what a form decides on, for its ticket.
func about(words ...string) string {
	h := sha256.New()
	for _, w := range words {
		sum := sha256.Sum256([]byte(w))
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// newTicket makes the value of a form's "ticket" field.
func (s *Server) newTicket(ses *store.Session, about string, life time.Duration) (string, error) {
	plain, err := json.Marshal(ticket{rand.Text(), about, s.Now().Add(life)})
	if err != nil {
		return "", err
	}
	return s.Store.Seal(purposeTicket, plain, []byte(ses.Hash)), nil
}

// openTicket checks a ticket without using it up.
func (s *Server) openTicket(ses *store.Session, value, about string) (*ticket, error) {
	plain, err := s.Store.Unseal(purposeTicket, value, []byte(ses.Hash))
	if err != nil {
		return nil, errForeignTicket
	}
	var t ticket
	if err := json.Unmarshal(plain, &t); err != nil || t.About != about {
		return nil, errForeignTicket
	}
	if !s.Now().Before(t.Expires) {
		return nil, errStale
	}
	return &t, nil
}

// spendTicket uses a ticket up: of two forms sent with it, one counts.
func (s *Server) spendTicket(ctx context.Context, ses *store.Session, value, about string) error {
	t, err := s.openTicket(ses, value, about)
	if err != nil {
		return err
	}
	first, err := s.Store.InsertIfAbsent(ctx, purposeTicket, t.ID, t.Expires)
	if err != nil {
		return err
	}
	if !first {
		return errSpentTicket
	}
	return nil
}
