package authserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/authserver/pages"
	"github.com/ostiary/ostiary/store"
)

const (
	purposeStep = "signin-step"
	stepLife    = 5 * time.Minute // between the password and the one-time code
)

// step says that the password of a local account was right.
type step struct {
	Name     string    `json:"n"`
	Password string    `json:"p"` // which one, as a hash of its hash: a newer one ends the step
	Request  string    `json:"r"`
	Expires  time.Time `json:"e"`
}

// serveLogin is where people prove who they are. request, when there is one, is
// the sealed authorization request to go on with.
func (s *Server) serveLogin(w http.ResponseWriter, r *http.Request) {
	if !methods(w, r) {
		return
	}
	if r.Method == http.MethodPost {
		form, ok := s.browserForm(w, r)
		if !ok {
			return
		}
		s.signIn(w, r, form)
		return
	}
	query := r.URL.Query()
	request := query.Get("request")
	a, ok := s.behind(w, r, request)
	if !ok {
		return
	}
	if query.Get("with") == "provider" && s.OIDC != nil {
		s.beginProvider(w, r, request, askProvider(a, query.Get("switch") != ""))
		return
	}
	if u, ses := s.signedIn(r); u != nil && query.Get("switch") == "" && !s.signInAgain(a, ses) {
		see(w, next(request), nil)
		return
	}
	s.showSignIn(w, r, http.StatusOK, a, pages.SignIn{Request: request})
}

// behind opens the request that a sign-in is for: nil, true when there is none.
// When it is not ok, the answer is written.
func (s *Server) behind(w http.ResponseWriter, r *http.Request, request string) (*authorization, bool) {
	if request == "" {
		return nil, true
	}
	a, err := s.openAuthorization(r.Context(), request)
	if err != nil {
		s.stale(w, r)
		return nil, false
	}
	return a, true
}

// next is where a sign-in leads.
func next(request string) string {
	if request == "" {
		return "/account"
	}
	return "/consent?" + url.Values{"request": {request}}.Encode()
}

// signInAgain says whether a asks for a newer sign-in than ses (OpenID Connect
// Core 3.1.2.1, prompt and max_age). One that was made for it is new enough,
// however long the person took since; that a session is new says nothing, for
// the identity provider may have let them in by an older sign-in of theirs.
func (s *Server) signInAgain(a *authorization, ses *store.Session) bool {
	if a == nil || !ses.Created.Before(a.Issued) && !ses.AuthTime.Before(a.Issued.Add(-clockSkew)) {
		return false
	}
	return slices.Contains(a.Prompt, "login") || a.MaxAge >= 0 && s.Now().Sub(ses.AuthTime) > a.MaxAge
}

// showSignIn fills in what every sign-in page shows.
func (s *Server) showSignIn(w http.ResponseWriter, r *http.Request, status int, a *authorization, v pages.SignIn) {
	v.Frame = s.frame(r, nil)
	v.Local = s.Local != nil
	v.Passkeys = v.Local && s.passkeysAt(r) != nil
	if s.OIDC != nil {
		v.Provider = pages.Text(s.OIDC.Place(), 60)
	}
	if a != nil {
		c := shown(a)
		v.For = &c
	}
	send(w, status, v.HTML(), true, v.Passkeys)
}

// signIn judges the form of the sign-in page, or of the page for the code.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request, form url.Values) {
	a, ok := s.behind(w, r, form.Get("request"))
	if !ok {
		return
	}
	if s.Local == nil {
		s.showSignIn(w, r, http.StatusForbidden, a, pages.SignIn{Request: form.Get("request"), Problem: "There are no passwords at this gateway."})
		return
	}
	if form.Get("passkey") != "" {
		s.signInPasskey(w, r, a, form)
		return
	}
	if form.Get("step") != "" {
		s.signInCode(w, r, a, form)
		return
	}
	v := pages.SignIn{Request: form.Get("request"), Username: pages.Text(form.Get("username"), 64)}
	u, amr, err := s.Local.Check(r.Context(), form.Get("username"), form.Get("password"), form.Get("code"), s.source(r))
	if errors.Is(err, login.ErrCodeNeeded) {
		s.askCode(w, r, http.StatusOK, step{u.Subject, about(u.Password), about(v.Request), s.Now().Add(stepLife)}, v.Request, "")
		return
	}
	if err != nil {
		status, problem := s.signInProblem(w, r, err, "The user name or the password is not right.")
		if problem == "" {
			s.fail(w, r, err)
			return
		}
		v.Problem = problem
		s.showSignIn(w, r, status, a, v)
		return
	}
	s.enter(w, r, u, amr, v.Request)
}

// openStep opens the step of a form, and whose it is; not ok = too old, not for
// its request, or of a password that is not theirs any more.
func (s *Server) openStep(ctx context.Context, form url.Values) (st step, u *store.User, ok bool) {
	plain, err := s.Store.Unseal(purposeStep, form.Get("step"), nil)
	if err == nil {
		err = json.Unmarshal(plain, &st)
	}
	if err == nil {
		u, err = s.Store.User(ctx, login.LocalIssuer+":"+st.Name)
	}
	return st, u, err == nil && st.Password == about(u.Password) && st.Request == about(form.Get("request")) && s.Now().Before(st.Expires)
}

// signInCode judges the second step.
func (s *Server) signInCode(w http.ResponseWriter, r *http.Request, a *authorization, form url.Values) {
	request := form.Get("request")
	st, _, ok := s.openStep(r.Context(), form)
	if !ok {
		s.showSignIn(w, r, http.StatusForbidden, a, pages.SignIn{Request: request, Problem: "That took too long. Please begin again."})
		return
	}
	u, amr, err := s.Local.Code(r.Context(), st.Name, form.Get("code"), s.source(r))
	if err != nil {
		status, problem := s.signInProblem(w, r, err, "That code is not right, or it was used before. Wait for the next one.")
		if problem == "" {
			s.fail(w, r, err)
			return
		}
		s.askCode(w, r, status, st, request, problem)
		return
	}
	s.enter(w, r, u, amr, request)
}

// askCode shows the page for what comes after the password.
func (s *Server) askCode(w http.ResponseWriter, r *http.Request, status int, st step, request, problem string) {
	id := login.LocalIssuer + ":" + st.Name
	plain, err := json.Marshal(st)
	u := &store.User{}
	if err == nil {
		u, err = s.Store.User(r.Context(), id)
	}
	if errors.Is(err, store.ErrNotFound) { // deleted meanwhile: nothing will fit
		u, err = &store.User{}, nil
	}
	var keys []store.Passkey
	if err == nil {
		keys, err = s.Store.Passkeys(r.Context(), id)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	v := pages.Code{
		Frame: s.frame(r, nil), Request: request, Step: s.Store.Seal(purposeStep, plain, nil), Problem: problem,
		TOTP: u.TOTP != nil, Passkey: len(keys) > 0, Passkeys: s.passkeysAt(r) != nil,
	}
	send(w, status, v.HTML(), true, v.Passkey && v.Passkeys)
}

// signInProblem says in words what went wrong, and how the answer says it. ""
// = not the person's doing.
func (s *Server) signInProblem(w http.ResponseWriter, r *http.Request, err error, wrong string) (status int, problem string) {
	many := (*login.TooManyError)(nil)
	switch {
	case errors.Is(err, login.ErrWrong):
		s.Flood.Add(s.source(r), eventSignInFailed)
		return http.StatusForbidden, wrong
	case errors.As(err, &many):
		s.Flood.Add(s.source(r), eventSignInFailed)
		retryAfter(w, many.RetryAfter)
		return http.StatusTooManyRequests, "Too many attempts. Try again in " + pages.Wait(many.RetryAfter) + "."
	case errors.Is(err, login.ErrBusy):
		retryAfter(w, login.BusyRetry)
		return http.StatusServiceUnavailable, "Many people are signing in at this moment. Try again in a few seconds."
	}
	return 0, ""
}

// enter signs a local person in and sends them on.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, u *store.User, amr []string, request string) {
	now := s.Now()
	// Hashing takes a while, in which the operator may have shut them out.
	_, err := s.Store.UpdateUser(r.Context(), u.ID(), func(found *store.User) error {
		if found.Disabled || found.Password != u.Password {
			return login.ErrWrong
		}
		found.LastSignIn = now
		return nil
	})
	if err == nil {
		err = s.startSession(w, r, u, amr, now)
	}
	if err == nil { // and once more, with the session where they would find it
		var last *store.User
		if last, err = s.Store.User(r.Context(), u.ID()); err == nil && (last.Disabled || last.Password != u.Password) {
			err = errors.Join(login.ErrWrong, s.Store.DeleteSessions(r.Context(), u.ID()))
		}
	}
	if errors.Is(err, login.ErrWrong) {
		see(w, "/login", url.Values{"request": {request}})
		return
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	see(w, next(request), nil)
}

// signedOut is the page after a session has ended.
func (s *Server) signedOut(w http.ResponseWriter, r *http.Request, title, text string) {
	page(w, http.StatusOK, pages.Notice{Frame: s.frame(r, nil), Title: title, Text: text, Link: "/login", Label: "Sign in again"}.HTML())
}

// displayName is what people call u.
func displayName(u *store.User) string { return cmp.Or(u.Name, u.Subject) }
