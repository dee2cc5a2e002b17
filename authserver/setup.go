package authserver

import (
	"context"
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
	purposeSetup = "setup"
	setupLife    = 24 * time.Hour
)

// setup is what a set-up link holds, sealed.
type setup struct {
	Expires time.Time `json:"e"`
}

// SetupLink is the address at which the first user can be made: once, within 24
// hours, and only while there is no user. It is "" when there are users, or no
// local accounts. Whoever has the link owns the gateway, so it goes to the
// operator's terminal and nowhere else.
func (s *Server) SetupLink(ctx context.Context) (string, error) {
	if s.Local == nil {
		return "", nil
	}
	if fresh, err := s.noUser(ctx); err != nil || !fresh {
		return "", err
	}
	plain, err := json.Marshal(setup{s.Now().Add(setupLife)})
	if err != nil {
		return "", err
	}
	token := s.Store.Seal(purposeSetup, plain, nil)
	return s.Issuer + "/setup?" + url.Values{"token": {token}}.Encode(), nil
}

func (s *Server) noUser(ctx context.Context) (bool, error) {
	users, err := s.Store.Users(ctx)
	return len(users) == 0, err
}

// serveSetup makes the first user.
func (s *Server) serveSetup(w http.ResponseWriter, r *http.Request) {
	if !methods(w, r) {
		return
	}
	token := r.URL.Query().Get("token")
	var form url.Values
	if r.Method == http.MethodPost {
		var ok bool
		if form, ok = s.browserForm(w, r); !ok {
			return
		}
		token = form.Get("token")
	}
	expires, good := s.openSetup(token)
	if !good { // before the store is asked: anybody can come here
		s.setupOver(w, r)
		return
	}
	fresh, err := s.noUser(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !fresh || s.Local == nil {
		s.setupOver(w, r)
		return
	}
	v := pages.Setup{Frame: s.frame(r, nil), Token: token}
	if form == nil {
		page(w, http.StatusOK, v.HTML())
		return
	}
	v.Username = pages.Text(form.Get("username"), 64)
	s.makeFirst(w, r, form, v, expires)
}

// openSetup says whether token is a set-up link's, and until when.
func (s *Server) openSetup(token string) (expires time.Time, ok bool) {
	plain, err := s.Store.Unseal(purposeSetup, token, nil)
	if err != nil {
		return time.Time{}, false
	}
	var v setup
	err = json.Unmarshal(plain, &v)
	return v.Expires, err == nil && s.Now().Before(v.Expires)
}

func (s *Server) setupOver(w http.ResponseWriter, r *http.Request) {
	page(w, http.StatusNotFound, pages.Problem{Frame: s.frame(r, nil), Title: "This link is over",
		What: "A set-up link works once, for a day, and only while the gateway has no accounts.",
		Next: "If there are accounts, sign in. If not, restart the gateway: it prints a new link.", Link: "/login", Label: "Sign in"}.HTML())
}

// makeFirst makes the account and signs it in.
func (s *Server) makeFirst(w http.ResponseWriter, r *http.Request, form url.Values, v pages.Setup, expires time.Time) {
	again := func(status int, problem string) {
		v.Problem = problem
		page(w, status, v.HTML())
	}
	name, err := login.UserName(form.Get("username"))
	if err != nil {
		again(http.StatusBadRequest, sentence(err.Error()))
		return
	}
	if name == "local" {
		again(http.StatusBadRequest, "The name local is kept for a gateway without sign-in. Please choose another.")
		return
	}
	hash, status, problem := s.newPassword(w, r, form.Get("password"), form.Get("again"))
	if problem != "" {
		again(status, problem)
		return
	}
	if hash == "" {
		return
	}
	// Of two forms sent with one link, one makes the user.
	first, err := s.Store.InsertIfAbsent(r.Context(), purposeSetup, about(v.Token), expires)
	if err == nil && !first {
		s.setupOver(w, r)
		return
	}
	u := store.User{Issuer: login.LocalIssuer, Subject: name, Name: name, Password: hash, Created: s.Now()}
	if err == nil {
		err = s.Audit.Append(r.Context(), s.personEvent(eventFirstUser, &u, nil, s.source(r), "by the set-up link"))
	}
	if err == nil {
		err = s.Store.CreateUser(r.Context(), u)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.enter(w, r, &u, []string{"pwd"}, "")
}

// newPassword checks and hashes a new password. With a problem, the form is
// shown again; without one and without a hash, the answer is written.
func (s *Server) newPassword(w http.ResponseWriter, r *http.Request, password, repeated string) (hash string, status int, problem string) {
	if err := login.CheckPassword(password); err != nil {
		return "", http.StatusBadRequest, sentence("the " + err.Error())
	}
	if password != repeated {
		return "", http.StatusBadRequest, "The two passwords are not the same."
	}
	hash, err := login.HashPassword(r.Context(), password)
	switch {
	case errors.Is(err, login.ErrBusy):
		retryAfter(w, login.BusyRetry)
		return "", http.StatusServiceUnavailable, "Many people are signing in at this moment. Try again in a few seconds."
	case err != nil:
		s.fail(w, r, err)
	}
	return hash, 0, ""
}
