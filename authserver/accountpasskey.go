package authserver

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/authserver/pages"
	"github.com/ostiary/ostiary/store"
)

// Events of passkeys.
const (
	eventPasskeyAdded   = "account.passkey_added"
	eventPasskeyRemoved = "account.passkey_removed"
	eventPasskeyCloned  = "signin.passkey_counter"
)

// maxPasskeyName is how many characters of a passkey's name are kept.
const maxPasskeyName = 40

// passkeyProblem is an account page that says what is wrong with a wish about
// passkeys.
func passkeyProblem(problem string) pages.Account { return pages.Account{Refused: problem} }

// confirmAll asks for the password and, of whoever signs in with more, for the
// second factor anew: who found an open browser and the password must not be
// able to put a factor of their own in the place of the owner's. "" = all is
// right; otherwise the status and the words for the page.
func (s *Server) confirmAll(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) (int, string, error) {
	status, problem, err := s.confirm(w, r, u, form.Get("password"))
	if problem != "" || err != nil {
		return status, problem, err
	}
	needed, err := s.Local.SecondFactor(r.Context(), u)
	if !needed || err != nil {
		return 0, "", err
	}
	wrong := wrongPasskey
	switch keys := s.passkeysAt(r); {
	case form.Get("second") != "":
		wrong = "The code from your app is not right, or it was used before. Wait for the next one."
		err = s.Local.ConfirmCode(r.Context(), u, form.Get("second"))
	case form.Get("passkey") != "" && keys != nil:
		state, once, staleErr := s.openChallenge(form.Get("challenge"), ses.Hash, about(aboutPasskeyProof, u.ID()))
		if staleErr != nil {
			return http.StatusForbidden, "That took too long, so nothing was done. Please try again.", nil
		}
		var of *store.User
		of, _, err = keys.Prove(r.Context(), u.Subject, state, []byte(form.Get("passkey")), once)
		s.notePasskey(r, of, err)
	default:
		return http.StatusForbidden, "This takes your second factor too: a code from your app, or one of your passkeys. Nothing was done.", nil
	}
	if err == nil {
		return 0, "", nil
	}
	status, problem = s.signInProblem(w, r, err, wrong)
	if problem == "" {
		return 0, "", err
	}
	return status, problem, nil
}

// servePasskeyAccount gives our script the challenges of the account page. A new
// passkey takes the password, and a second factor where there is one, before
// its challenge is made: the challenge is the proof that they were given.
func (s *Server) servePasskeyAccount(w http.ResponseWriter, r *http.Request) {
	keys := s.passkeysAt(r)
	if r.Method != http.MethodPost || keys == nil {
		http.NotFound(w, r)
		return
	}
	form, ok := s.browserForm(w, r)
	if !ok {
		return
	}
	u, ses := s.signedIn(r)
	if u == nil || u.Issuer != login.LocalIssuer {
		sendAsk(w, http.StatusForbidden, ask{Problem: "You are not signed in any more. Please reload this page."})
		return
	}
	if _, err := s.openTicket(ses, form.Get("ticket"), about(aboutAccount)); err != nil {
		sendAsk(w, http.StatusForbidden, ask{Problem: "The page was open for too long. Please reload it."})
		return
	}
	adding := form.Get("do") == "passkey-add"
	needed, err := s.Local.SecondFactor(r.Context(), u)
	if err == nil && (!adding || needed && form.Get("second") == "" && form.Get("passkey") == "") {
		options, state, err := keys.BeginProof(r.Context(), u)
		if errors.Is(err, login.ErrNoPasskey) {
			sendAsk(w, http.StatusForbidden, ask{Problem: "This takes a code from your app too."})
			return
		}
		a := ask{}
		if err == nil {
			a, err = s.newChallenge(options, state, ses.Hash, about(aboutPasskeyProof, u.ID()))
		}
		if err == nil {
			a.More = adding
			sendAsk(w, http.StatusOK, a)
			return
		}
		s.answerAsk(w, r, nil, nil, err, "", "")
		return
	}
	status, problem := 0, ""
	if err == nil {
		status, problem, err = s.confirmAll(w, r, u, ses, form)
	}
	if problem != "" {
		sendAsk(w, status, ask{Problem: problem})
		return
	}
	var options, state []byte
	if err == nil {
		options, state, err = keys.BeginAdd(r.Context(), u)
	}
	a := ask{}
	if err == nil {
		a, err = s.newChallenge(options, state, ses.Hash, about(aboutPasskeyAdd, u.ID()))
	}
	if err != nil {
		s.answerAsk(w, r, nil, nil, err, "", "")
		return
	}
	a.Create = true
	sendAsk(w, http.StatusOK, a)
}

// addPasskey keeps a passkey that the browser has made.
func (s *Server) addPasskey(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) {
	if !s.local(w, r, u, ses) {
		return
	}
	keys := s.passkeysAt(r)
	if keys == nil {
		s.showAccount(w, r, http.StatusBadRequest, u, ses, passkeyProblem("Passkeys can't be used at this address, so nothing was done."))
		return
	}
	state, once, err := s.openChallenge(form.Get("challenge"), ses.Hash, about(aboutPasskeyAdd, u.ID()))
	if err != nil {
		s.showAccount(w, r, http.StatusForbidden, u, ses, passkeyProblem("That took too long, or this browser runs no script, so no passkey was added. Please try again."))
		return
	}
	name := pages.Text(form.Get("name"), maxPasskeyName)
	if name == "" {
		name = pages.Browser(r.UserAgent())
	}
	_, err = keys.Add(r.Context(), u, name, state, []byte(form.Get("passkey")), once)
	switch {
	case errors.Is(err, login.ErrWrong):
		s.showAccount(w, r, http.StatusForbidden, u, ses, passkeyProblem("What your browser sent is not a passkey for this gateway, so none was added. Please try again."))
		return
	case errors.Is(err, store.ErrTooMany):
		s.showAccount(w, r, http.StatusForbidden, u, ses, passkeyProblem("You have as many passkeys as an account may have, so none was added. Remove one first."))
		return
	case errors.Is(err, store.ErrExists):
		s.showAccount(w, r, http.StatusForbidden, u, ses, passkeyProblem("That passkey is in use already, so it was not added."))
		return
	}
	if err == nil {
		s.Audit.Note(s.personEvent(eventPasskeyAdded, u, ses, s.source(r), ""))
	}
	s.finish(w, r, err, "passkey-on")
}

// removePasskey forgets one passkey.
func (s *Server) removePasskey(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) {
	if !s.local(w, r, u, ses) {
		return
	}
	status, problem, err := s.confirmAll(w, r, u, ses, form)
	if problem != "" {
		s.showAccount(w, r, status, u, ses, passkeyProblem(problem))
		return
	}
	var k *store.Passkey
	if err == nil {
		k, err = s.Store.Passkey(r.Context(), form.Get("key"))
	}
	if err == nil && k.User == u.ID() {
		if err = s.Store.DeletePasskey(r.Context(), k.ID); err == nil {
			s.Audit.Note(s.personEvent(eventPasskeyRemoved, u, ses, s.source(r), ""))
		}
	}
	s.finish(w, r, gone(err), "passkey-off")
}

// showPasskeys fills in the passkeys of the account page.
func (s *Server) showPasskeys(r *http.Request, u *store.User, v *pages.Account) error {
	keys, err := s.Store.Passkeys(r.Context(), u.ID())
	for _, k := range keys {
		v.Keys = append(v.Keys, pages.Passkey{ID: k.ID, Name: k.Name, Synced: k.Synced, Since: k.Created, LastUsed: k.LastUsed})
	}
	v.Passkeys, v.Full = s.passkeysAt(r) != nil, len(keys) >= store.MaxPasskeys
	return err
}
