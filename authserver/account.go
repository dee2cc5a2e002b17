package authserver

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ostiary/ostiary/authserver/login"
	"github.com/ostiary/ostiary/authserver/pages"
	"github.com/ostiary/ostiary/store"
)

const (
	aboutAccount = "account"
	accountLife  = time.Hour // of the forms on the account page
)

// done are the notices of the account page. The address names one by its key,
// so that nobody can put words of their own on the page.
var done = map[string]string{
	"client":      "Removed. The program can do nothing in your name any more.",
	"consent":     "Taken back. What stood on it has ended.",
	"grant":       "Disconnected. The program has to ask you again.",
	"session":     "That browser is signed out.",
	"password":    "Your password is changed. Other browsers are signed out.",
	"code-on":     "The one-time code is on. You will be asked for it when you sign in.",
	"code-off":    "The one-time code is off.",
	"passkey-on":  "The passkey is added. You can sign in with it from now on.",
	"passkey-off": "The passkey is removed.",
}

// serveAccount shows a person what acts for them, and ends what they say.
func (s *Server) serveAccount(w http.ResponseWriter, r *http.Request) {
	if !methods(w, r) {
		return
	}
	if r.URL.Path != "/account" {
		http.NotFound(w, r)
		return
	}
	var form url.Values
	if r.Method == http.MethodPost {
		var ok bool
		if form, ok = s.browserForm(w, r); !ok {
			return
		}
	}
	u, ses := s.signedIn(r)
	if u == nil {
		see(w, "/login", nil)
		return
	}
	if form == nil {
		s.showAccount(w, r, http.StatusOK, u, ses, pages.Account{Notice: done[r.URL.Query().Get("done")]})
		return
	}
	switch _, err := s.openTicket(ses, form.Get("ticket"), about(aboutAccount)); {
	case errors.Is(err, errForeignTicket):
		s.foreign(w, r)
		return
	case err != nil: // an old page: nothing was done, and here is a new one
		s.showAccount(w, r, http.StatusBadRequest, u, ses, pages.Account{Problem: "The page was open for too long, so nothing was done. Please try again."})
		return
	}
	act, ok := actions[form.Get("do")]
	if !ok {
		s.showAccount(w, r, http.StatusBadRequest, u, ses, pages.Account{Problem: "That form is not one of this page's, so nothing was done."})
		return
	}
	act(s, w, r, u, ses, form)
}

// actions are what the forms of the account page do. Each answers the request.
var actions = map[string]func(s *Server, w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values){
	"revoke-client":    (*Server).removeClient,
	"withdraw-consent": (*Server).withdrawConsent,
	"revoke-grant":     (*Server).disconnect,
	"end-session":      (*Server).endOtherSession,
	"everywhere":       (*Server).signOutEverywhere,
	"password":         (*Server).changePassword,
	"totp-begin":       (*Server).beginCode,
	"totp-confirm":     (*Server).confirmCode,
	"totp-off":         (*Server).dropCode,
	"passkey-add":      (*Server).addPasskey,
	"passkey-remove":   (*Server).removePasskey,
}

// showAccount fills in everything that the page shows.
func (s *Server) showAccount(w http.ResponseWriter, r *http.Request, status int, u *store.User, ses *store.Session, v pages.Account) {
	ctx := r.Context()
	ticket, err := s.newTicket(ses, about(aboutAccount), accountLife)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	v.Frame, v.Ticket, v.Now = s.frame(r, u), ticket, s.Now()
	v.Name, v.ID = pages.Text(displayName(u), 80), pages.Text(u.ID(), maxShown)
	for _, g := range u.Groups {
		v.Groups = append(v.Groups, pages.Text(g, 60))
	}
	if u.Issuer == login.LocalIssuer {
		v.Local, v.TOTP = s.Local != nil, u.TOTP != nil
		v.User = u.Subject
		if err := s.showPasskeys(r, u, &v); err != nil {
			s.fail(w, r, err)
			return
		}
	} else if s.OIDC != nil {
		v.Provider = pages.Text(s.OIDC.Place(), 60)
	}
	if v.Programs, err = s.programs(ctx, u); err != nil {
		s.fail(w, r, err)
		return
	}
	sessions, err := s.Store.Sessions(ctx, u.ID())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	for _, o := range sessions {
		if v.Now.Sub(o.LastSeen) >= sessionIdle {
			continue
		}
		v.Sessions = append(v.Sessions, pages.Session{
			ID: o.Hash, This: o.Hash == ses.Hash, Browser: pages.Browser(o.Agent), Address: pages.Text(o.Address, 60),
			Since: o.Created, LastSeen: o.LastSeen,
		})
	}
	slices.SortFunc(v.Sessions, func(a, b pages.Session) int {
		switch {
		case a.This:
			return -1
		case b.This:
			return 1
		}
		return b.LastSeen.Compare(a.LastSeen)
	})
	send(w, status, v.HTML(), false, v.Passkeys)
}

// programs are the clients that u allowed, or that hold something of u's.
func (s *Server) programs(ctx context.Context, u *store.User) ([]pages.Program, error) {
	consents, err := s.Store.Consents(ctx, u.ID())
	if err != nil {
		return nil, err
	}
	now := s.Now()
	grants, err := s.Store.Grants(ctx, func(g *store.Grant) bool {
		return g.User == u.ID() && g.Revoked.IsZero() && now.Before(g.Expires)
	})
	if err != nil {
		return nil, err
	}
	found := map[string]*pages.Program{}
	program := func(id string) (*pages.Program, error) {
		if p := found[id]; p != nil {
			return p, nil
		}
		c, known, err := s.knownClient(ctx, id)
		if err != nil {
			return nil, err
		}
		if !known {
			c = &store.Client{ID: id, Name: id}
		}
		p := &pages.Program{Client: shownClient(c)}
		found[id] = p
		return p, nil
	}
	for _, c := range consents {
		p, err := program(c.Client)
		if err != nil {
			return nil, err
		}
		p.Consents = append(p.Consents, pages.Consented{ID: c.ID, Resource: c.Resource, Host: pages.Text(c.RedirectHost, maxShown), Scopes: c.Scopes, At: c.At})
	}
	for _, g := range grants {
		p, err := program(g.Client)
		if err != nil {
			return nil, err
		}
		used, tokens := s.live(&g)
		p.Grants = append(p.Grants, pages.Grant{ID: g.ID, Resource: g.Resource, Scopes: g.Scopes, Since: g.Created, LastUsed: used, Until: g.Expires, Tokens: tokens})
	}
	list := make([]pages.Program, 0, len(found))
	for id, p := range found {
		p.Key = id
		slices.SortFunc(p.Grants, func(a, b pages.Grant) int { return b.Since.Compare(a.Since) })
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b pages.Program) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Key, b.Key))
	})
	return list, nil
}

// live is when g was last used, as exactly as the index knows, and how many
// access tokens of it are live.
func (s *Server) live(g *store.Grant) (used time.Time, tokens int) {
	used = g.LastUsed
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	e := s.index.grants[g.ID]
	if e == nil {
		return used, 0
	}
	if at := e.used.Load(); at > 0 && time.Unix(at, 0).After(used) {
		used = time.Unix(at, 0)
	}
	return used, len(e.tokens)
}

// finish goes back to the page with a notice.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, err error, what string) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	see(w, "/account", url.Values{"done": {what}})
}

// removeClient ends everything that one client has of u's.
func (s *Server) removeClient(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) {
	id := form.Get("client")
	consents, err := s.Store.Consents(r.Context(), u.ID())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	for _, c := range consents {
		if c.Client == id {
			err = errors.Join(err, gone(s.Store.DeleteConsent(r.Context(), c.ID)))
		}
	}
	err = errors.Join(err, s.endGrants(r.Context(), "person", func(g *store.Grant) bool { return g.User == u.ID() && g.Client == id }))
	s.Audit.Note(s.personEvent(eventClientRemoved, u, ses, s.source(r), "client "+pages.Text(id, maxShown)))
	s.finish(w, r, err, "client")
}

// withdrawConsent takes one consent back; what stands on it ends.
func (s *Server) withdrawConsent(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) {
	c, err := s.consent(r.Context(), u, form.Get("consent"))
	if err == nil && c != nil {
		err = gone(s.Store.DeleteConsent(r.Context(), c.ID))
		s.index.endWhere(func(g *store.Grant) bool { return g.Consent == c.ID })
		s.Audit.Note(s.personEvent(eventConsentBack, u, ses, s.source(r), "client "+pages.Text(c.Client, maxShown)))
	}
	s.finish(w, r, err, "consent")
}

// disconnect ends one grant.
func (s *Server) disconnect(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) {
	id := form.Get("grant")
	mine, err := s.Store.Grants(r.Context(), func(g *store.Grant) bool { return g.ID == id && g.User == u.ID() && g.Revoked.IsZero() })
	for _, g := range mine {
		err = errors.Join(err, s.revoke(r.Context(), &g, eventGrantRevoked, "person"))
	}
	s.finish(w, r, err, "grant")
}

// endGrants revokes in the store and then in the index.
func (s *Server) endGrants(ctx context.Context, reason string, match func(*store.Grant) bool) error {
	ids, err := s.Store.RevokeGrants(ctx, match, reason)
	s.index.end(ids...)
	s.index.endWhere(match) // also what the store could not write: it ends here at least
	return err
}

// gone is err, unless it says that there is nothing left to end.
func gone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// endOtherSession signs one browser out, perhaps this one.
func (s *Server) endOtherSession(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, form url.Values) {
	hash := form.Get("session")
	o, err := s.Store.Session(r.Context(), hash)
	if err == nil && o.User == u.ID() {
		err = s.Store.DeleteSession(r.Context(), hash)
		s.Audit.Note(s.personEvent(eventSignedOut, u, o, s.source(r), ""))
	}
	if hash == ses.Hash && gone(err) == nil {
		s.setCookie(w, s.cookieName(), "", 0)
		s.signedOut(w, r, "You are signed out", "This browser can do nothing here any more. Programs that you allowed stay connected.")
		return
	}
	s.finish(w, r, gone(err), "session")
}

// signOutEverywhere ends every session and every grant of u's. What was allowed
// stays written down; using it takes a new sign-in.
func (s *Server) signOutEverywhere(w http.ResponseWriter, r *http.Request, u *store.User, ses *store.Session, _ url.Values) {
	err := errors.Join(
		gone(s.Store.DeleteSessions(r.Context(), u.ID())),
		s.endGrants(r.Context(), "person", func(g *store.Grant) bool { return g.User == u.ID() }))
	s.Audit.Note(s.personEvent(eventSignedOutAll, u, ses, s.source(r), ""))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.setCookie(w, s.cookieName(), "", 0)
	s.signedOut(w, r, "Signed out everywhere", "Every browser is signed out and every program is disconnected.")
}
