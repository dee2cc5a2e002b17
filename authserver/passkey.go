package authserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/authserver/pages"
	"github.com/ostiary/ostiary/store"
)

const (
	purposePasskey = "passkey"
	passkeyLife    = 5 * time.Minute // of a challenge
)

// What a challenge is for. An answer to one is worth nothing for another.
const (
	aboutPasskeySignIn = "passkey-sign-in"
	aboutPasskeySecond = "passkey-second"  // after the password
	aboutPasskeyProof  = "passkey-confirm" // of somebody who is signed in
	aboutPasskeyAdd    = "passkey-add"
)

// ceremony is a WebAuthn challenge that is out. It is kept nowhere: the browser
// carries it, sealed to its session, or to the cookie it has before it has one.
// What is kept is that it was used.
type ceremony struct {
	ID      string          `json:"i"`
	About   string          `json:"a"`
	State   json.RawMessage `json:"s"` // of package login
	Expires time.Time       `json:"e"`
}

// ask is what our script gets. With a Problem there is nothing else in it.
type ask struct {
	Problem   string          `json:"problem,omitempty"` // for people
	PublicKey json.RawMessage `json:"publicKey,omitempty"`
	Create    bool            `json:"create,omitempty"` // make a passkey; otherwise use one
	Challenge string          `json:"challenge,omitempty"`
	More      bool            `json:"more,omitempty"` // another round follows
}

// passkeysAt are the passkeys, if r came to the address that they are for: to
// any other name of this gateway a browser offers none, and without TLS only
// localhost has them. nil = they are not offered.
func (s *Server) passkeysAt(r *http.Request) *login.Passkeys {
	if s.passkeys == nil || s.base(r) != s.Issuer {
		return nil
	}
	return s.passkeys
}

// newChallenge makes the answer for our script out of what a beginning gave.
func (s *Server) newChallenge(options, state []byte, bound, about string) (ask, error) {
	plain, err := json.Marshal(ceremony{rand.Text(), about, state, s.Now().Add(passkeyLife)})
	if err != nil {
		return ask{}, err
	}
	return ask{PublicKey: options, Challenge: s.Store.Seal(purposePasskey, plain, []byte(bound))}, nil
}

// openChallenge opens what newChallenge sealed: the state for package login, and
// what uses the challenge up. errStale when it is too old, or another's.
func (s *Server) openChallenge(value, bound, about string) (state []byte, once login.Once, err error) {
	var c ceremony
	plain, err := s.Store.Unseal(purposePasskey, value, []byte(bound))
	if err == nil {
		err = json.Unmarshal(plain, &c)
	}
	if err != nil || c.About != about || bound == "" || !s.Now().Before(c.Expires) {
		return nil, nil, errStale
	}
	return c.State, func(ctx context.Context) (bool, error) {
		return s.Store.InsertIfAbsent(ctx, purposePasskey, c.ID, c.Expires)
	}, nil
}

// browserOf is the hash of the cookie that a browser has before it has a
// session; "" = it has none. It is the one of sign-ins at the provider.
func (s *Server) browserOf(r *http.Request) string {
	c, err := r.Cookie(s.providerCookie())
	if err != nil || len(c.Value) != len(rand.Text()) {
		return ""
	}
	return hashCookie(c.Value)
}

// servePasskeyAsk gives our script the challenge of a sign-in: for any passkey,
// or after the password for one of that account's. To who has given no password
// it names no account and no credential.
func (s *Server) servePasskeyAsk(w http.ResponseWriter, r *http.Request) {
	keys := s.passkeysAt(r)
	if r.Method != http.MethodPost || keys == nil {
		http.NotFound(w, r)
		return
	}
	form, ok := s.browserForm(w, r)
	if !ok {
		return
	}
	bound := s.browserOf(r)
	if bound == "" {
		value := rand.Text()
		bound = hashCookie(value)
		s.setCookie(w, s.providerCookie(), value, providerLife)
	}
	if form.Get("step") == "" {
		options, state, err := keys.BeginSignIn()
		s.answerAsk(w, r, options, state, err, bound, about(aboutPasskeySignIn, form.Get("request")))
		return
	}
	st, u, ok := s.openStep(r.Context(), form)
	if !ok {
		sendAsk(w, http.StatusForbidden, ask{Problem: "That took too long. Please begin again."})
		return
	}
	options, state, err := keys.BeginProof(r.Context(), u)
	s.answerAsk(w, r, options, state, err, bound, about(aboutPasskeySecond, st.Name, form.Get("request")))
}

// answerAsk sends a challenge, or says that there is none to be had.
func (s *Server) answerAsk(w http.ResponseWriter, r *http.Request, options, state []byte, err error, bound, about string) {
	var a ask
	if err == nil {
		a, err = s.newChallenge(options, state, bound, about)
	}
	switch {
	case errors.Is(err, login.ErrNoPasskey), errors.Is(err, store.ErrNotFound):
		sendAsk(w, http.StatusForbidden, ask{Problem: "This account has no passkey any more. Please begin again."})
	case err != nil:
		s.Logger.ErrorContext(r.Context(), "a passkey can't be asked for", "err", err)
		sendAsk(w, http.StatusServiceUnavailable, ask{Problem: "This gateway can't ask for a passkey now. Try again in a minute."})
	default:
		sendAsk(w, http.StatusOK, a)
	}
}

func sendAsk(w http.ResponseWriter, status int, a ask) {
	noStore(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(a) // the browser went away: nobody is left to tell
}

// wrongPasskey is what a refused passkey is called, whatever was wrong with it.
const wrongPasskey = "That passkey does not fit, or is not known here."

// signInPasskey judges a form of the sign-in pages that holds a passkey's answer.
func (s *Server) signInPasskey(w http.ResponseWriter, r *http.Request, a *authorization, form url.Values) {
	request, second := form.Get("request"), form.Get("step") != ""
	again := func(status int, problem string) {
		s.showSignIn(w, r, status, a, pages.SignIn{Request: request, Problem: problem})
	}
	keys, st := s.passkeysAt(r), step{}
	if second {
		var ok bool
		if st, _, ok = s.openStep(r.Context(), form); !ok {
			again(http.StatusForbidden, "That took too long. Please begin again.")
			return
		}
		again = func(status int, problem string) { s.askCode(w, r, status, st, request, problem) }
	}
	if keys == nil {
		again(http.StatusForbidden, wrongPasskey)
		return
	}
	var u *store.User
	var amr []string
	what := about(aboutPasskeySignIn, request)
	if second {
		what = about(aboutPasskeySecond, st.Name, request)
	}
	state, once, err := s.openChallenge(form.Get("challenge"), s.browserOf(r), what)
	if err != nil {
		again(http.StatusForbidden, "That took too long. Please try again.")
		return
	}
	answer := []byte(form.Get("passkey"))
	if second {
		u, amr, err = keys.Prove(r.Context(), st.Name, state, answer, once)
	} else {
		u, amr, err = keys.SignIn(r.Context(), state, answer, s.source(r), once)
	}
	if err != nil {
		s.notePasskey(r, u, err)
		status, problem := s.signInProblem(w, r, err, wrongPasskey)
		if problem == "" {
			s.fail(w, r, err)
			return
		}
		again(status, problem)
		return
	}
	s.enter(w, r, u, amr, request)
}

// notePasskey records a passkey that may have been copied.
func (s *Server) notePasskey(r *http.Request, u *store.User, err error) {
	if errors.Is(err, login.ErrCloned) {
		s.Audit.Note(s.personEvent(eventPasskeyCloned, u, nil, s.source(r), "the signature counter went back: a copy of the passkey may exist"))
	}
}
