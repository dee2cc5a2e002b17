package authserver

import (
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/authserver/pages"
	"github.com/ostiary/ostiary/store"
)

const (
	purposeEnrol = "one-time-code"
	enrolLife    = 15 * time.Minute
)

// confirm asks for the password of a person who is signed in, before what a
// borrowed browser must not be able to do. "" = it is right; otherwise the
// status and the words for the page.
func (s *Server) confirm(w http.ResponseWriter, r *http.Request, u *store.User, password string) (int, string, error) {
	err := s.Local.Confirm(r.Context(), u, password)
	if err == nil {
		return 0, "", nil
	}
	status, problem := s.signInProblem(w, r, err, "The present password is not right.")
	if problem == "" {
		return 0, "", err
	}
	return status, problem, nil
}

// local says whether u has a password here. If not, the answer is written.
func (s *Server) local(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session) bool {
	if s.Local != nil && u.Issuer == login.LocalIssuer {
		return true
	}
	s.showAccount(w, r, http.StatusBadRequest, u, ses, pages.Account{Problem: "Your account has no password at this gateway, so nothing was done."})
	return false
}

// changePassword sets a new password and signs every other browser out.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) {
	if !s.local(w, r, u, ses) {
		return
	}
	status, problem, err := s.confirm(w, r, u, form.Get("password"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	hash := ""
	if problem == "" {
		if hash, status, problem = s.newPassword(w, r, form.Get("new"), form.Get("again")); hash == "" && problem == "" {
			return
		}
	}
	if problem != "" {
		s.showAccount(w, r, status, u, ses, pages.Account{Password: problem})
		return
	}
	_, err = s.Store.UpdateUser(r.Context(), u.ID(), func(u *store.User) error {
		u.Password = hash
		return nil
	})
	if err == nil {
		err = gone(s.Store.DeleteSessions(r.Context(), u.ID()))
	}
	if err == nil {
		s.Audit.Note(s.personEvent(eventPasswordChanged, u, ses, s.source(r), ""))
		err = s.startSession(w, r, u, ses.AMR, ses.AuthTime)
	}
	s.finish(w, r, err, "password")
}

// enrol is a secret that is not the account's yet.
type enrol struct {
	User    string    `json:"u"`
	Secret  string    `json:"s"`
	Expires time.Time `json:"e"`
}

// beginCode shows a new secret. Nothing is stored until a code of it comes
// back: a half-done set-up locks nobody out.
func (s *Server) beginCode(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, _ url.Values) {
	if s.local(w, r, u, ses) {
		s.showEnrolment(w, r, http.StatusOK, u, ses, login.NewTOTP(), "")
	}
}

func (s *Server) showEnrolment(w http.ResponseWriter, r *http.Request, status int, u *store.User, ses *store.Session, secret []byte, problem string) {
	plain, err := json.Marshal(enrol{u.ID(), base64.StdEncoding.EncodeToString(secret), s.Now().Add(enrolLife)})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.showAccount(w, r, status, u, ses, pages.Account{Enrol: &pages.Enrolment{
		Secret: login.TOTPText(secret), URI: template.URL(login.TOTPURI(secret, s.issuer.Host, u.Subject)), // built and escaped by us
		Sealed: s.Store.Seal(purposeEnrol, plain, []byte(ses.Hash)), Problem: problem,
	}})
}

// confirmCode turns the one-time code on.
func (s *Server) confirmCode(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) {
	if !s.local(w, r, u, ses) {
		return
	}
	var e enrol
	plain, err := s.Store.Unseal(purposeEnrol, form.Get("enrolment"), []byte(ses.Hash))
	if err == nil {
		err = json.Unmarshal(plain, &e)
	}
	secret, decodeErr := base64.StdEncoding.DecodeString(e.Secret)
	if err != nil || decodeErr != nil || e.User != u.ID() || !s.Now().Before(e.Expires) {
		s.showAccount(w, r, http.StatusBadRequest, u, ses, pages.Account{Problem: "That took too long, so the one-time code is still off. Please begin again."})
		return
	}
	step, fits := login.TOTPFits(secret, form.Get("code"), s.Now())
	status, problem := http.StatusForbidden, "That is not the code of this key. Check the clock of your device, and wait for the next code."
	if fits { // first: a slip in the new code must not spend the old second factor
		status, problem, err = s.confirmAll(w, r, u, ses, form)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if problem != "" {
		s.showEnrolment(w, r, status, u, ses, secret, problem)
		return
	}
	_, err = s.Store.UpdateUser(r.Context(), u.ID(), func(u *store.User) error {
		u.TOTP, u.TOTPStep = secret, step
		return nil
	})
	if err == nil {
		s.Audit.Note(s.personEvent(eventCodeOn, u, ses, s.source(r), ""))
	}
	s.finish(w, r, err, "code-on")
}

// dropCode turns the one-time code off.
func (s *Server) dropCode(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) {
	if !s.local(w, r, u, ses) {
		return
	}
	status, problem, err := s.confirmAll(w, r, u, ses, form)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if problem != "" {
		s.showAccount(w, r, status, u, ses, pages.Account{Problem: problem})
		return
	}
	_, err = s.Store.UpdateUser(r.Context(), u.ID(), func(u *store.User) error {
		u.TOTP, u.TOTPStep = nil, 0
		return nil
	})
	if err == nil {
		s.Audit.Note(s.personEvent(eventCodeOff, u, ses, s.source(r), ""))
	}
	s.finish(w, r, err, "code-off")
}
