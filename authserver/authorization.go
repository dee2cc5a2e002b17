package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/ostiary/ostiary/authserver/client"
	"github.com/ostiary/ostiary/store"
)

const (
	// authorizationLife is how long a person has to sign in and decide.
	authorizationLife = 10 * time.Minute
	purposeAuthorize  = "authorize"
)

// authorization is a checked authorization request on its way through sign-in
// and consent.
type authorization struct {
	Query        url.Values // as checked: one resource, one redirect_uri
	Client       *store.Client
	RedirectURI  string
	RedirectHost string
	Resource     string // canonical
	Scopes       []string
	Prompt       []string
	MaxAge       time.Duration // -1 = not asked
	State        string
	Base         string    // the issuer under the name that was used
	Issued       time.Time // when the client asked
}

// errStale: the sealed request is too old, foreign, or no longer what its
// client may ask.
var errStale = errors.New("this sign-in request has expired; go back to the program that sent you here and start again")

// sealedAuthorization is what travels through the browser. Nothing is stored
// for a person who never signs in.
type sealedAuthorization struct {
	Query  string    `json:"q"`
	Base   string    `json:"b"`
	Issued time.Time `json:"t"`
}

// sealAuthorization makes the value of the "request" parameter of the pages.
func (s *Server) sealAuthorization(a *authorization) (string, error) {
	plain, err := json.Marshal(sealedAuthorization{a.Query.Encode(), a.Base, s.Now()})
	if err != nil {
		return "", err
	}
	return s.Store.Seal(purposeAuthorize, plain, nil), nil
}

// openAuthorization opens what sealAuthorization made and checks it against
// the client as it is now. Any error means: the person starts anew.
func (s *Server) openAuthorization(ctx context.Context, sealed string) (*authorization, error) {
	plain, err := s.Store.Unseal(purposeAuthorize, sealed, nil)
	if err != nil {
		return nil, errStale
	}
	var v sealedAuthorization
	if err := json.Unmarshal(plain, &v); err != nil {
		return nil, errStale
	}
	if age := s.Now().Sub(v.Issued); age < 0 || age >= authorizationLife {
		return nil, errStale
	}
	query, err := url.ParseQuery(v.Query)
	if err != nil {
		return nil, errStale
	}
	a, oerr, err := s.checkAuthorization(ctx, query, v.Base)
	if err != nil || oerr != nil {
		return nil, errors.Join(errStale, err)
	}
	a.Issued = v.Issued
	return a, nil
}

// finishAuthorization answers the client: with a code when the person u, signed
// in as ses, consented (c), with access_denied when c is nil.
func (s *Server) finishAuthorization(w http.ResponseWriter, r *http.Request, a *authorization, u *store.User, ses *store.Session, c *store.Consent) {
	if c == nil {
		s.refuseAuthorization(w, r, a, "access_denied", "the person refused")
		return
	}
	now := s.Now()
	life := s.RefreshTTL
	if !mayRefresh(a.Client) {
		life = s.CodeTTL + s.AccessTTL
	}
	g := store.Grant{
		ID: newID(), User: u.ID(), Client: a.Client.ID, Consent: c.ID, ConsentedAt: c.At,
		RedirectHost: client.RedirectHost(a.RedirectURI), Resource: a.Resource, Scopes: a.Scopes,
		AuthTime: ses.AuthTime, AMR: ses.AMR, Created: now, Expires: now.Add(life),
	}
	code, err := s.issueCode(r.Context(), a, g)
	if err != nil {
		s.redirectError(w, r, a, s.oauthError(r.Context(), err))
		return
	}
	s.redirect(w, r, a, url.Values{"code": {code}})
}

// refuseAuthorization sends the browser back to the client with an error
// (RFC 6749 4.1.2.1; OpenID Connect Core 3.1.2.6 has login_required and its
// like). description is for the client's developer.
func (s *Server) refuseAuthorization(w http.ResponseWriter, r *http.Request, a *authorization, code, description string) {
	s.redirectError(w, r, a, &oauthError{code: code, description: description})
}
