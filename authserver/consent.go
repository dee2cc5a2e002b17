package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/authserver/pages"
	"github.com/ostiary/ostiary/policy"
	"github.com/ostiary/ostiary/store"
	"github.com/ostiary/ostiary/store/audit"
)

const (
	maxCovers = 12  // upstreams that the consent page names
	maxShown  = 300 // characters of a client id or address on a page
)

// serveConsent asks the person, and answers the client. GET decides nothing
// new: it goes on without asking only where the same was allowed before.
func (s *Server) serveConsent(w http.ResponseWriter, r *http.Request) {
	if !methods(w, r) {
		return
	}
	request := r.URL.Query().Get("request")
	var form url.Values
	if r.Method == http.MethodPost {
		var ok bool
		if form, ok = s.browserForm(w, r); !ok {
			return
		}
		request = form.Get("request")
	}
	a, err := s.openAuthorization(r.Context(), request)
	if err != nil {
		s.stale(w, r)
		return
	}
	u, ses := s.signedIn(r)
	none := slices.Contains(a.Prompt, "none")
	switch {
	case u == nil && none, u != nil && none && s.signInAgain(a, ses):
		s.refuseEarly(w, r, a, refuse("login_required", "nobody is signed in, or not recently enough"))
		return
	case u == nil, s.signInAgain(a, ses):
		see(w, "/login", url.Values{"request": {request}})
		return
	}
	if form != nil {
		s.decide(w, r, a, u, ses, form)
		return
	}
	c, err := s.standing(r.Context(), u, a)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	switch {
	case c != nil && s.mayGoOn(w, r, u, request):
		s.finishAuthorization(w, r, a, u, ses, c)
	case c != nil: // mayGoOn has answered
	case none:
		s.refuseEarly(w, r, a, refuse("consent_required", "the person has to be asked"))
	default:
		s.askConsent(w, r, a, u, ses, request)
	}
}

// decide takes the person's answer.
func (s *Server) decide(w http.ResponseWriter, r *http.Request, a *authorization, u *store.User, ses *store.Session, form url.Values) {
	decision := form.Get("decision")
	if decision != "approve" && decision != "deny" {
		page(w, http.StatusBadRequest, pages.Problem{Frame: s.frame(r, u), Title: "Approve or deny?",
			What: "The form came without a decision, so nothing was done.", Next: "Go back and choose one of the two buttons."}.HTML())
		return
	}
	switch err := s.spendTicket(r.Context(), ses, form.Get("ticket"), about(form.Get("request"))); {
	case errors.Is(err, errForeignTicket):
		s.foreign(w, r)
		return
	case errors.Is(err, errSpentTicket):
		page(w, http.StatusBadRequest, pages.Problem{Frame: s.frame(r, u), Title: "Already decided",
			What: "This form was sent before. The first answer counts, and the program has it.",
			Next: "Go back to the program. If it is still waiting, start again there.", Link: "/account", Label: "Your account"}.HTML())
		return
	case errors.Is(err, errStale):
		s.stale(w, r)
		return
	case err != nil:
		s.fail(w, r, err)
		return
	}
	if decision == "deny" {
		s.Audit.Note(s.consentEvent(eventConsentDenied, u, ses, a, s.source(r)))
		s.finishAuthorization(w, r, a, u, ses, nil)
		return
	}
	if !s.mayGoOn(w, r, u, form.Get("request")) {
		return
	}
	c, err := s.keepConsent(r, a, u, ses)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.finishAuthorization(w, r, a, u, ses, c)
}

// mayGoOn asks the identity provider whether it still knows the person: a
// session outlives an employment. When it does not, the answer is written.
func (s *Server) mayGoOn(w http.ResponseWriter, r *http.Request, u *store.User, request string) bool {
	err := s.stillKnown(r.Context(), u)
	switch {
	case err == nil:
		return true
	case errors.Is(err, errGrant):
		see(w, "/login", url.Values{"request": {request}})
	default:
		s.fail(w, r, err)
	}
	return false
}

// consentID names what one consent is about; a newer one takes its place.
func consentID(u *store.User, a *authorization) string {
	return about(u.ID(), a.Client.ID, a.RedirectHost, a.Resource)[:32]
}

// standing is the consent that makes asking again needless: the person allowed
// this client all of this before, it is the same client, and nobody else can
// stand where its answers go. A loopback port or a private-use scheme belongs
// to whichever program takes it, so those are asked every time (RFC 8252 8.6).
func (s *Server) standing(ctx context.Context, u *store.User, a *authorization) (*store.Consent, error) {
	if slices.Contains(a.Prompt, "consent") || client.Loopback(a.RedirectURI) || client.PrivateScheme(a.RedirectURI) {
		return nil, nil
	}
	c, err := s.consent(ctx, u, consentID(u, a))
	if c == nil || err != nil {
		return nil, err
	}
	if c.Digest != a.Client.Digest {
		return nil, nil
	}
	for _, scope := range a.Scopes {
		if !slices.Contains(c.Scopes, scope) {
			return nil, nil
		}
	}
	return c, nil
}

// consent finds one of u's consents; nil = there is none.
func (s *Server) consent(ctx context.Context, u *store.User, id string) (*store.Consent, error) {
	all, err := s.Store.Consents(ctx, u.ID())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(c store.Consent) bool { return c.ID == id })
	if i < 0 {
		return nil, nil
	}
	return &all[i], nil
}

// keepConsent records and stores that the person approved.
func (s *Server) keepConsent(r *http.Request, a *authorization, u *store.User, ses *store.Session) (*store.Consent, error) {
	ctx := r.Context()
	c := &store.Consent{
		ID: consentID(u, a), User: u.ID(), Client: a.Client.ID, RedirectHost: a.RedirectHost,
		Resource: a.Resource, Scopes: slices.Clone(a.Scopes), Digest: a.Client.Digest, At: s.Now(),
	}
	before, err := s.consent(ctx, u, c.ID)
	if err != nil {
		return nil, err
	}
	if before != nil && before.Digest == c.Digest { // what was allowed before still is
		c.Scopes = append(c.Scopes, before.Scopes...)
		slices.Sort(c.Scopes)
		c.Scopes = slices.Compact(c.Scopes)
	}
	if err := s.Audit.Append(ctx, s.consentEvent(eventConsentGiven, u, ses, a, s.source(r))); err != nil {
		return nil, err
	}
	return c, s.Store.PutConsent(ctx, *c)
}

// consentEvent is the record of a decision at the consent page.
func (s *Server) consentEvent(name string, u *store.User, ses *store.Session, a *authorization, source string) *audit.Record {
	rec := s.personEvent(name, u, ses, source, "")
	rec.Client = policy.Client{ID: a.Client.ID, Kind: a.Client.Kind, RedirectHost: a.RedirectHost}
	if a.Client.Verified {
		rec.Client.VerifiedName = a.Client.Name
	}
	rec.Grant = policy.Grant{Scopes: a.Scopes, Resource: a.Resource}
	return rec
}

// askConsent shows the page.
func (s *Server) askConsent(w http.ResponseWriter, r *http.Request, a *authorization, u *store.User, ses *store.Session, request string) {
	ticket, err := s.newTicket(ses, about(request), authorizationLife)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	v := pages.Consent{Frame: s.frame(r, u), Request: request, Ticket: ticket, Client: shown(a), Resource: pages.Text(a.Resource, maxShown)}
	v.All, v.Covers, v.More = s.covers(a.Resource)
	for _, scope := range a.Scopes {
		v.Scopes = append(v.Scopes, pages.Scope{Name: scope, Words: s.scopeWords(scope)})
	}
	pageOnward(w, http.StatusOK, v.HTML())
}

// covers says in titles what a resource opens.
func (s *Server) covers(resource string) (all bool, titles []string, more int) {
	name, one := strings.CutPrefix(resource, s.Issuer+mergedPath+"/")
	for _, u := range s.Upstreams() {
		if one && u.Name != name {
			continue
		}
		title := pages.Text(u.Title, 60)
		if title == "" {
			title = u.Name
		}
		titles = append(titles, title)
	}
	if one && len(titles) == 0 {
		titles = []string{pages.Text(name, 60)}
	}
	if over := len(titles) - maxCovers; over > 0 {
		titles, more = titles[:maxCovers], over
	}
	return !one, titles, more
}

// scopeWords are what a scope means to a person.
func (s *Server) scopeWords(scope string) string {
	switch words := s.Scopes[scope]; {
	case words != "":
		return words
	case scope == scopeMCP:
		return "Use the tools, prompts and resources that you may use here, in your name"
	case scope == scopeOffline:
		return "Stay connected while you are away, until you take it back"
	}
	return "Use what this gateway calls " + scope
}

// shown is the client of a in words fit for a page.
func shown(a *authorization) pages.Client {
	c := shownClient(a.Client)
	u, err := url.Parse(a.RedirectURI)
	switch {
	case client.Loopback(a.RedirectURI) && err == nil:
		c.To = pages.Destination{Kind: "computer", Host: pages.Text(u.Host, maxShown)}
	case client.PrivateScheme(a.RedirectURI):
		c.To = pages.Destination{Kind: "app", Host: pages.Text(a.RedirectHost, maxShown)}
	default:
		c.To = pages.Destination{Kind: "site", Host: pages.Text(a.RedirectHost, maxShown)}
	}
	return c
}

func shownClient(c *store.Client) pages.Client {
	v := pages.Client{Verified: c.Verified, ID: pages.Text(c.ID, maxShown)}
	v.Name, v.Odd = pages.Name(c.Name)
	if v.Verified {
		v.Odd = "" // the operator's own word
	}
	if c.Kind == client.Document {
		if u, err := url.Parse(c.ID); err == nil {
			v.Site = u.Host
		}
	}
	return v
}
