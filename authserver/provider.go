package authserver

import (
	"crypto/rand"
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
	classProvider = "provider-signin"
	// providerLife is how long a person may take at the identity provider.
	providerLife = 10 * time.Minute
	callbackPath = "/login/callback"
)

// away is a sign-in that is at the identity provider. It is kept here under its
// state, and belongs to the browser that has the cookie.
type away struct {
	Pending login.Pending `json:"pending"`
	Browser string        `json:"browser"` // hash of the cookie
	Request string        `json:"request"`
}

func (s *Server) providerCookie() string { return s.cookieName() + "-signin" }

// askProvider is how the sign-in at the provider must be for a, and for a person
// who wants to be somebody else than they are there.
func askProvider(a *authorization, another bool) login.Ask {
	var ask login.Ask
	switch {
	case another, a != nil && slices.Contains(a.Prompt, "login"):
		ask.Prompt = "login"
	case a != nil && slices.Contains(a.Prompt, "select_account"):
		ask.Prompt = "select_account"
	}
	switch {
	case a == nil:
	case slices.Contains(a.Prompt, "login"):
		ask.MaxAge = new(time.Duration) // the client's demand, unlike the person's own wish
	case a.MaxAge >= 0:
		ask.MaxAge = &a.MaxAge
	}
	return ask
}

// beginProvider sends the browser to the identity provider.
func (s *Server) beginProvider(w http.ResponseWriter, r *http.Request, request string, ask login.Ask) {
	if s.base(r) != s.Issuer {
		// The provider knows one address of ours, and the cookie must be there.
		query := r.URL.Query()
		see(w, s.Issuer+"/login", query)
		return
	}
	if wait := s.begins.take(s.source(r), s.Now(), maxBegins, 0); wait > 0 {
		retryAfter(w, wait)
		page(w, http.StatusTooManyRequests, pages.Problem{Frame: s.frame(r, nil), Title: "Too many attempts",
			What: "This gateway has sent you to " + s.OIDC.Place() + " many times just now.",
			Next: "Try again in " + pages.Wait(wait) + "."}.HTML())
		return
	}
	to, pending, err := s.OIDC.Begin(r.Context(), s.Issuer+callbackPath, ask)
	if errors.Is(err, login.ErrUnavailable) {
		s.providerDown(w, r, request, err)
		return
	} else if err != nil {
		s.fail(w, r, err)
		return
	}
	// One cookie for all tabs of a browser: states tell them apart.
	browser := ""
	if c, err := r.Cookie(s.providerCookie()); err == nil && len(c.Value) == len(rand.Text()) {
		browser = c.Value
	} else {
		browser = rand.Text()
	}
	value, err := json.Marshal(away{pending, hashCookie(browser), request})
	if err == nil {
		err = s.Store.Keep(r.Context(), classProvider, hashCookie(pending.State), value, s.Now().Add(providerLife))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.setCookie(w, s.providerCookie(), browser, providerLife)
	see(w, to, nil)
}

// serveLoginCallback takes the identity provider's answer. Nothing is stored
// unless the state is one that this browser was sent away with, and it is taken
// once, whatever comes of it.
func (s *Server) serveLoginCallback(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || s.OIDC == nil {
		http.NotFound(w, r)
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > maxQuery {
		s.notOurs(w, r, "", "the answer can't be read")
		return
	}
	cookie, err := r.Cookie(s.providerCookie())
	if err != nil || query.Get("state") == "" {
		s.notOurs(w, r, "", "no sign-in was begun in this browser")
		return
	}
	value, err := s.Store.Take(r.Context(), classProvider, hashCookie(query.Get("state")))
	if errors.Is(err, store.ErrNotFound) {
		s.notOurs(w, r, "", "its state is unknown, used or too old")
		return
	} else if err != nil {
		s.fail(w, r, err)
		return
	}
	var begun away
	if err := json.Unmarshal(value, &begun); err != nil {
		s.fail(w, r, err)
		return
	}
	if begun.Browser != hashCookie(cookie.Value) {
		s.notOurs(w, r, "", "the sign-in was begun in another browser")
		return
	}
	u, how, err := s.OIDC.Finish(r.Context(), begun.Pending, query)
	switch {
	case errors.Is(err, login.ErrUnavailable):
		s.providerDown(w, r, begun.Request, err)
		return
	case errors.Is(err, login.ErrDisabled):
		s.Flood.Add(s.source(r), eventSignInFailed)
		page(w, http.StatusForbidden, pages.Problem{Frame: s.frame(r, nil), Title: "Your account is disabled",
			What: s.OIDC.Place() + " knows you, but an operator has disabled your account at this gateway.",
			Next: "Ask the operator to enable it."}.HTML())
		return
	case errors.Is(err, login.ErrTooOld):
		s.tooOld(w, r, begun.Request)
		return
	case errors.Is(err, login.ErrRefused):
		s.notOurs(w, r, begun.Request, err.Error())
		return
	case err != nil:
		s.fail(w, r, err)
		return
	}
	s.Changed(u.ID()) // name and groups may be new
	if err := s.startSession(w, r, u, how.AMR, how.At); err != nil {
		s.fail(w, r, err)
		return
	}
	see(w, next(begun.Request), nil)
}

// notOurs refuses an answer of the identity provider. why is for the log: it
// helps an operator, and an attacker as much.
func (s *Server) notOurs(w http.ResponseWriter, r *http.Request, request, why string) {
	s.Logger.WarnContext(r.Context(), "a sign-in at the identity provider was refused", "why", why, "source", s.source(r))
	s.Flood.Add(s.source(r), eventSignInFailed)
	v := pages.Problem{Frame: s.frame(r, nil), Title: "You are not signed in",
		What: "The answer from " + pages.Text(s.OIDC.Place(), 60) + " can't be used.",
		Why:  "It was cancelled there, came too late or twice, or belongs to another browser.",
		Next: "Sign in again from the beginning.", Link: "/login", Label: "Sign in"}
	if request != "" {
		v.Link += "?" + url.Values{"request": {request}}.Encode()
	}
	page(w, http.StatusBadRequest, v.HTML())
}

// tooOld says that the provider let the person in by an earlier sign-in, where
// the program asked for a new one (OpenID Connect Core 3.1.2.1, max_age and
// prompt=login).
func (s *Server) tooOld(w http.ResponseWriter, r *http.Request, request string) {
	s.Logger.WarnContext(r.Context(), "the identity provider did not have a person sign in anew, or its ID token does not say when they did (auth_time)", "issuer", s.OIDC.Issuer)
	place := pages.Text(s.OIDC.Place(), 60)
	page(w, http.StatusForbidden, pages.Problem{Frame: s.frame(r, nil), Title: "Please sign in anew",
		What: "The program that sent you here wants you to prove again who you are, and " + place + " did not confirm that you just did.",
		Next: "Sign in again. If " + place + " doesn't ask you for anything, sign out there first.",
		Link: "/login?" + url.Values{"with": {"provider"}, "request": {request}, "switch": {"1"}}.Encode(), Label: "Sign in again"}.HTML())
}

// providerDown says that the identity provider can't be reached.
func (s *Server) providerDown(w http.ResponseWriter, r *http.Request, request string, err error) {
	s.Logger.ErrorContext(r.Context(), "the identity provider can't be used", "issuer", s.OIDC.Issuer, "err", err)
	w.Header().Set("Retry-After", "10")
	v := pages.Problem{Frame: s.frame(r, nil), Title: s.OIDC.Place() + " can't be reached",
		What: "This gateway signs people in there, and gets no answer at this moment.",
		Next: "Try again in a minute.", Link: "/login", Label: "Try again"}
	if request != "" {
		v.Link += "?" + url.Values{"request": {request}}.Encode()
	}
	page(w, http.StatusServiceUnavailable, v.HTML())
}
