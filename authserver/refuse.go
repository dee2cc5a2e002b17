package authserver

import (
	"net/http"
	"slices"
	"strings"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/authserver/pages"
)

// refuseEarly answers an authorization request that is refused before anybody
// was asked. Anyone can register a client, so a redirect without a word would
// let a link that names this gateway lead to any site (RFC 9700 4.11.2, open
// redirector): there the person decides, by a link on a page that says where it
// goes. The client gets the same answer as soon as they follow it.
func (s *Server) refuseEarly(w http.ResponseWriter, r *http.Request, a *authorization, e *oauthError) {
	if s.mayRedirect(r, a) {
		s.redirectError(w, r, a, e)
		return
	}
	host := pages.Text(a.RedirectHost, maxShown)
	page(w, http.StatusBadRequest, pages.Problem{
		Frame: s.frame(r, nil), Title: "This sign-in can't go on",
		What: "A program that nobody here vouches for asked for something this gateway can't accept.",
		Why:  sentence(e.description),
		Next: "If you came from " + host + " and trust it, you can tell it and go back there. If not, close this page.",
		Link: a.answerURL(e.answer()), Label: "Go back to " + host,
	}.HTML())
}

// mayRedirect says whether an error may go to the redirect URI of a without the
// person:
//   - of a client that the operator vouches for;
//   - to a program on the person's own computer, which is no site to lure
//     anybody to, and which waits at a port for the answer;
//   - with prompt=none, which is to show no page (OpenID Connect Core 3.1.2.1), of
//     a client that somebody here has let in. Of any other it is one more way to
//     be an open redirector, and RFC 9700 4.11.2 names it;
//   - to where the person, signed in, lets this client's answers go already.
func (s *Server) mayRedirect(r *http.Request, a *authorization) bool {
	if a.Client.Verified || client.Loopback(a.RedirectURI) || client.PrivateScheme(a.RedirectURI) {
		return true
	}
	if slices.Contains(strings.Fields(a.Query.Get("prompt")), "none") {
		c, err := s.Store.Client(r.Context(), a.Client.ID)
		s.unlessGone(r.Context(), "a client can't be read", err)
		if err == nil && !c.LastUsed.IsZero() {
			return true
		}
	}
	u, _ := s.signedIn(r)
	if u == nil {
		return false
	}
	all, err := s.Store.Consents(r.Context(), u.ID())
	if err != nil {
		s.unlessGone(r.Context(), "consents can't be read", err)
		return false
	}
	for _, c := range all {
		if c.Client == a.Client.ID && c.RedirectHost == a.RedirectHost {
			return true
		}
	}
	return false
}
